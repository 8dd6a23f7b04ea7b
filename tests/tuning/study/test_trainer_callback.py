"""Pruning a real Trainer through a real study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
MakeTrainer = Callable[..., Trainer]

METRIC = "eval_accuracy"


@pytest.fixture
def make_trainer(tiny_bert: Path, tmp_path: Path) -> MakeTrainer:
    """Makes a Trainer of three epochs, with any of its arguments replaced."""

    def make(trial: optuna.Trial, metric: str = METRIC, **changes: Any) -> Trainer:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
        ids = torch.randint(4, 100, (32, 7), generator=torch.Generator().manual_seed(0))
        data = Dataset.from_dict({"input_ids": ids.tolist(), "labels": [0, 1] * 16})
        sets = changes.pop("sets", None)
        arguments: dict[str, Any] = {
            "output_dir": str(tmp_path),
            "num_train_epochs": 3,
            "learning_rate": 3e-3,
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
        }
        return Trainer(
            model=model,
            args=TrainingArguments(**{**arguments, **changes}),
            train_dataset=data,
            eval_dataset=data if sets is None else dict.fromkeys(sets, data),
            compute_metrics=lambda p: {"accuracy": (p[0].argmax(1) == p[1]).mean()},
            callbacks=[PruningCallback(trial, metric)],
        )

    return make


@pytest.fixture
def objective(make_trainer: MakeTrainer) -> Objective:
    """Trains; trials from the third on cannot learn."""

    def train(trial: optuna.Trial) -> float:
        trainer = make_trainer(trial, learning_rate=3e-3 if trial.number < 2 else 0.0)
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
    # The objective's own evaluation after the training is none of its steps.
    assert list(first.intermediate_values) == [1, 2, 3]
    assert first.intermediate_values[3] == first.value


def test_a_searchs_own_pruners_decide_by_what_is_reported(objective: Objective) -> None:
    pruner = SuccessiveHalvingPruner(first_step=2, min_trials=3)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    study.optimize(objective, n_trials=3)
    assert study.trials[2].state == TrialState.PRUNED
    assert list(study.trials[2].intermediate_values) == [1, 2]
    assert study.trials[2].intermediate_values[2] < study.trials[0].intermediate_values[2]


def test_a_metric_of_one_of_several_sets_is_followed_once_a_boundary(
    make_trainer: MakeTrainer,
) -> None:
    def train(trial: optuna.Trial) -> float:
        trainer = make_trainer(
            trial, "eval_second_accuracy", sets=("first", "second", "third"), eval_on_start=True
        )
        trainer.evaluate()  # before the training
        trainer.train()
        return trainer.evaluate()["eval_second_accuracy"]

    study = optuna.create_study(direction="maximize")
    study.optimize(train, n_trials=1)
    (trial,) = study.trials
    assert list(trial.intermediate_values) == [1, 2, 3]
    assert trial.intermediate_values[3] == trial.value


@pytest.mark.parametrize(
    ("metric", "nearest"),
    [("eval_acuracy", "eval_accuracy"), ("eval_secnd_accuracy", "eval_second_accuracy")],
)
def test_a_metric_that_no_set_has_is_named_after_the_first_evaluation(
    metric: str, nearest: str, make_trainer: MakeTrainer
) -> None:
    sets = ("first", "second") if "secnd" in metric else None

    def train(trial: optuna.Trial) -> float:
        trainer = make_trainer(trial, metric, sets=sets)
        try:
            trainer.train()
        finally:
            assert trainer.state.epoch == 1
        return 0.0

    study = optuna.create_study()
    rule = rf"^unknown metric '{metric}': did you mean '{nearest}'\?"
    with pytest.raises(UnknownNameError, match=rule):
        study.optimize(train, n_trials=1)


def test_a_metric_is_missed_at_the_end_of_a_training_that_evaluates_last(
    make_trainer: MakeTrainer,
) -> None:
    study = optuna.create_study()
    with pytest.raises(UnknownNameError, match="unknown metric 'eval_f1'"):
        study.optimize(
            lambda trial: make_trainer(trial, "eval_f1", num_train_epochs=1).train().training_loss,
            n_trials=1,
        )
