"""Pruning for trials that transformers' Trainer trains."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from allocator.errors import UnknownNameError


class PruningCallback(TrainerCallback):
    """Report every evaluation to an Optuna trial, and end the training if it is pruned.

    The trial's pruner decides, one of Optuna's or of this package. Its steps are evaluations,
    counted from 1.

    Args:
        trial: The trial that this training belongs to.
        metric: Key, among the evaluation's metrics, of what the study optimises, such as
            `eval_accuracy` or `eval_loss`.

    Raises:
        optuna.TrialPruned: Out of `Trainer.train`, when the pruner stops the trial.
        UnknownNameError: If an evaluation lacks the metric.
    """

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self._trial, self._metric = trial, metric
        self._step = 0

    def on_evaluate(  # type: ignore[override]  # called with metrics by name
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float],
        **_: object,
    ) -> None:
        """Report an evaluation and ask the pruner."""
        del args, control
        if self._metric not in metrics:
            raise UnknownNameError("metric", self._metric, metrics)
        self._step += 1
        step = self._step
        self._trial.report(metrics[self._metric], step)
        if self._trial.should_prune():
            raise optuna.TrialPruned(
                f"pruned at evaluation {step}, optimizer step {state.global_step}"
            )
