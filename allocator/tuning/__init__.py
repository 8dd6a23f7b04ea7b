"""The search: spaces, samplers, pruning and studies; the only room that imports Optuna."""
