"""Where people look already: trainings as runs of TensorBoard, Weights & Biases and MLflow."""
