"""Pruning for trials that transformers' Trainer trains."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from allocator.errors import UnknownNameError


class PruningCallback(TrainerCallback):
    """Report a metric to an Optuna trial while it trains, and end the training if it is pruned.

    The trial's pruner decides, one of Optuna's or of this package. Its steps are the evaluations
    during training, counted from 1: one for each optimizer step at which there was one. Those of
    other sets are passed over, and so are those before the first step and after the training.

    Args:
        trial: The trial that this training belongs to.
        metric: Key, among the evaluation's metrics, of what the study optimises, such as
            `eval_accuracy`, `eval_loss` or, of several sets, `eval_mismatched_accuracy`.

    Raises:
        optuna.TrialPruned: Out of `Trainer.train`, when the pruner stops the trial.
        UnknownNameError: Out of `Trainer.train`, if no set's evaluation has the metric.
    """

    def __init__(self, trial: optuna.Trial, metric: str) -> None:
        self._trial, self._metric = trial, metric
        self._step = 0
        self._reported_at = 0  # optimizer step
        self._is_training = False
        self._seen: set[str] = set()  # metrics of the evaluations since the last optimizer step

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Begin to follow evaluations."""
        del args, state, control
        self._is_training, self._seen = True, set()

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
        if not self._is_training:
            return
        self._seen |= metrics.keys()
        if self._metric not in metrics or self._reported_at == state.global_step:
            return
        self._step, self._reported_at = self._step + 1, state.global_step
        self._trial.report(metrics[self._metric], self._step)
        if self._trial.should_prune():
            raise optuna.TrialPruned(
                f"pruned at evaluation {self._step}, optimizer step {state.global_step}"
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Refuse a metric that none of the sets had, now that all of them were evaluated."""
        del args, state, control
        self._require_metric()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Cease to follow evaluations."""
        del args, state, control
        self._require_metric()
        self._is_training = False

    def _require_metric(self) -> None:
        seen, self._seen = self._seen, set()
        if seen and self._metric not in seen:
            raise UnknownNameError("metric", self._metric, sorted(seen))
