"""Pruning a real Trainer through a real study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from datasets import Dataset
from optuna.trial import TrialState
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

from allocator import PruningCallback
from allocator.errors import UnknownNameError
from allocator.tuning.study.pruning import SuccessiveHalvingPruner

Objective = Callable[[optuna.Trial], float]

METRIC = "eval_accuracy"


@pytest.fixture
def objective(tiny_bert: Path, tmp_path: Path) -> Objective:
    """Trains three epochs; trials from the third on cannot learn."""

    def train(trial: optuna.Trial) -> float:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
        ids = torch.randint(4, 100, (32, 7), generator=torch.Generator().manual_seed(0))
        data = Dataset.from_dict({"input_ids": ids.tolist(), "labels": [0, 1] * 16})
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(tmp_path),
                num_train_epochs=3,
                learning_rate=3e-3 if trial.number < 2 else 0.0,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=data,
            eval_dataset=data,
            compute_metrics=lambda p: {"accuracy": (p[0].argmax(1) == p[1]).mean()},
            callbacks=[PruningCallback(trial, METRIC)],
        )
        trainer.train()
        return trainer.evaluate()[METRIC]

    return train


def test_a_trial_that_falls_behind_is_pruned_and_others_complete(objective: Objective) -> None:
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=2)
    )
    study.optimize(objective, n_trials=3)
    first, second, third = study.trials
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.COMPLETE)
    assert third.state == TrialState.PRUNED
    assert list(third.intermediate_values) == [1]
    # The last is the objective's own evaluation, after the training.
    assert list(first.intermediate_values) == [1, 2, 3, 4]
    assert first.intermediate_values[4] == first.value


def test_a_searchs_own_pruners_decide_by_what_is_reported(objective: Objective) -> None:
    pruner = SuccessiveHalvingPruner(first_step=2, min_trials=3)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.optimize(objective, n_trials=3)
    assert study.trials[2].state == TrialState.PRUNED
    assert list(study.trials[2].intermediate_values) == [1, 2]
    assert study.trials[2].intermediate_values[2] < study.trials[0].intermediate_values[2]


def test_a_metric_that_an_evaluation_lacks_is_named() -> None:
    def misnamed(trial: optuna.Trial) -> float:
        callback = PruningCallback(trial, "eval_acuracy")
        callback.on_evaluate(None, None, None, {"eval_accuracy": 0.5, "eval_loss": 1.0})  # type: ignore[arg-type]
        return 0.0

    study = optuna.create_study()
    with pytest.raises(
        UnknownNameError, match=r"^unknown metric 'eval_acuracy': did you mean 'eval_accuracy'\?"
    ):
        study.optimize(misnamed, n_trials=1)
