"""The names that a user chooses by: one list each, for options, checks and makers alike."""

from __future__ import annotations

from typing import Literal

SamplerName = Literal["gp", "tpe", "random"]
PrunerName = Literal["halving", "median", "none"]
PriorName = Literal["none", "uniform", "entropy", "tenslora_plus", "gradient", "truncation"]
DecideBy = Literal["loss", "metric"]
KindName = Literal["lora", "cp", "tt", "tucker"]
SweepName = Literal["tenslora-plus"]
LoggerName = Literal["tensorboard", "wandb", "mlflow"]

STUDY_PRIOR = "study:"
"""What stands before the name of a study that serves as the prior."""
