"""Frozen backbones, tasks and the loop that trains adapters on them; knows nothing of Optuna."""
