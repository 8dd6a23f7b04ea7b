import dataclasses
from collections.abc import Sequence

import pytest
import torch

from allocator.adapters import AdapterSpec
from allocator.allocation import Allocation
from allocator.config import TrainingConfig
from allocator.training import loop
from allocator.training.backbone import Backbone
from allocator.training.evaluation import Evaluation, evaluate_majority, evaluate_slot
from allocator.training.loop import Outcome, Splits, TrainedTrial, Verdict, boundary_steps, train
from allocator.training.metrics import Score
from allocator.training.slot import Slot

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
ALLOCATION = Allocation(ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0)
CONFIG = TrainingConfig(epochs=2, boundaries_per_epoch=2)  # of 10 steps an epoch
Told = list[tuple[int, int, float, float]]


class Run:
    """Trains on the tiny backbone and remembers what was told at boundaries."""

    def __init__(self, spec: AdapterSpec, backbone: Backbone, splits: Splits) -> None:
        self.spec, self.backbone, self.splits = spec, backbone, splits
        self.told: Told = []

    def __call__(
        self,
        allocation: Allocation = ALLOCATION,
        config: TrainingConfig = CONFIG,
        verdicts: Sequence[Verdict] = (),
    ) -> TrainedTrial:
        answers = iter(verdicts)

        def on_boundary(trial: int, step: int, score: float, loss: float) -> Verdict:
            self.told.append((trial, step, score, loss))
            return next(answers, "continue")

        return train(7, allocation, self.spec, self.backbone, self.splits, config, on_boundary)


@pytest.fixture
def run(tiny_spec: AdapterSpec, tiny_backbone: Backbone, tiny_splits: Splits) -> Run:
    return Run(tiny_spec, tiny_backbone, tiny_splits)


def timeless(outcome: Outcome) -> Outcome:
    return dataclasses.replace(outcome, seconds=0.0)


def scripted(
    monkeypatch: pytest.MonkeyPatch, losses: Sequence[float], constant: Sequence[bool]
) -> None:
    """Let evaluations find these losses, and whether all answers are the same."""
    found = iter(
        Evaluation(score=Score(value=0.1, parts={}), loss=loss, is_constant=same)
        for loss, same in zip(losses, constant, strict=True)
    )
    monkeypatch.setattr(loop, "evaluate_slot", lambda *_: next(found))


@pytest.mark.parametrize(
    ("examples", "batch_size", "epochs", "per_epoch", "expected"),
    [
        (320, 32, 1, 1, (10,)),
        (321, 32, 2, 1, (11, 22)),
        (320, 32, 2, 2, (5, 10, 15, 20)),
        (96, 32, 2, 3, (1, 2, 3, 4, 5, 6)),
        (224, 32, 1, 3, (2, 5, 7)),
    ],
)
def test_boundaries_divide_every_epoch_evenly_and_end_with_it(
    examples: int, batch_size: int, epochs: int, per_epoch: int, expected: tuple[int, ...]
) -> None:
    config = TrainingConfig(epochs=epochs, batch_size=batch_size, boundaries_per_epoch=per_epoch)
    assert boundary_steps(examples, config) == expected


def test_more_boundaries_than_steps_are_refused() -> None:
    config = TrainingConfig(epochs=1, batch_size=32, boundaries_per_epoch=4)
    with pytest.raises(ValueError, match="an epoch of 3 steps cannot have 4 boundaries"):
        boundary_steps(96, config)


def test_every_boundary_is_told_with_score_and_loss(run: Run) -> None:
    outcome = run().outcome
    assert [(trial, step) for trial, step, _, _ in run.told] == [(7, 1), (7, 2), (7, 3), (7, 4)]
    assert outcome.ending == "completed"
    assert outcome.step == 4
    assert (outcome.score, outcome.loss) == run.told[-1][2:]
    assert outcome.best_score == max(score for _, _, score, _ in run.told)


def test_the_outcome_counts_what_was_built(run: Run) -> None:
    trained = run(config=TrainingConfig(epochs=1))
    assert trained.outcome.num_parameters == run.spec.shape.num_parameters(RANKS)
    pooler, classifier = 32 * 32 + 32, 32 * 2 + 2
    assert trained.outcome.head_parameters == pooler + classifier
    assert trained.outcome.seconds > 0


def test_the_trained_parts_have_the_outcomes_score(run: Run) -> None:
    trained = run()
    again = evaluate_slot(trained.slot, run.splits.scoring, run.splits.metric)
    assert (again.score.value, again.loss) == (trained.outcome.score, trained.outcome.loss)
    assert again.score.parts == trained.outcome.parts


def test_a_verdict_to_stop_ends_a_trial_at_its_boundary(run: Run) -> None:
    outcome = run(verdicts=["continue", "stop"]).outcome
    assert outcome.ending == "stopped"
    assert outcome.step == len(run.told) == 2
    assert (outcome.score, outcome.loss) == run.told[-1][2:]


def test_a_verdict_to_stop_at_the_end_changes_nothing(run: Run) -> None:
    outcome = run(verdicts=["continue", "continue", "continue", "stop"]).outcome
    assert outcome.ending == "completed"


def test_one_seed_gives_one_outcome_whoever_trained_before(run: Run) -> None:
    first = run().outcome
    run(Allocation(ranks=RANKS | {"input": 1}, learning_rate=1e-2))
    torch.rand(10)
    assert timeless(run().outcome) == timeless(first)
    assert run.told[:4] == run.told[-4:]


def test_another_seed_gives_another_outcome(run: Run) -> None:
    first = run().outcome
    assert run(config=dataclasses.replace(CONFIG, seed=1)).outcome.loss != first.loss


def test_training_loss_is_the_mean_over_all_steps(run: Run) -> None:
    config = TrainingConfig(epochs=1, head_learning_rate=1e-12)
    still = Allocation(ranks=RANKS, learning_rate=1e-12)
    outcome = run(still, config).outcome
    trained = run(still, dataclasses.replace(config, epochs=2))
    on_train = evaluate_slot(trained.slot, run.splits.train, run.splits.metric)
    # Nothing moves, so both are the loss of the fresh adapter on train.
    assert outcome.train_loss == pytest.approx(on_train.loss, rel=1e-4)
    assert trained.outcome.train_loss == pytest.approx(on_train.loss, rel=1e-4)


def test_an_absurd_learning_rate_diverges_and_is_scored_as_the_majority_class(run: Run) -> None:
    absurd = Allocation(ranks=RANKS, learning_rate=1e30, core_lr_multiplier=1e8)
    outcome = run(absurd).outcome
    majority = evaluate_majority(run.splits.train, run.splits.scoring, run.splits.metric)
    assert outcome.ending == "diverged"
    assert (outcome.score, outcome.loss) == (majority.score.value, majority.loss)
    assert outcome.parts == majority.score.parts
    assert outcome.step == 0
    assert run.told == []


def test_divergence_between_boundaries_is_seen_within_a_few_steps(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_DIVERGENCE_CHECK", 2)
    steps = []
    monkeypatch.setattr(Slot, "step", lambda self, _: steps.append(self))
    monkeypatch.setattr(Slot, "has_diverged", lambda _: len(steps) >= 3)
    outcome = run(config=TrainingConfig(epochs=1)).outcome
    assert outcome.ending == "diverged"
    assert len(steps) == 4


@pytest.mark.parametrize(
    ("constant", "ending", "boundaries"),
    [
        ([True, False, False, False], "completed", 4),  # early, it may still recover
        ([False, True, False, False], "collapsed", 2),
        ([False, False, True, False], "collapsed", 3),
        ([False, False, False, True], "completed", 4),  # at its end nothing is left to stop
    ],
)
def test_a_trial_that_answers_one_class_after_half_of_its_training_has_collapsed(
    constant: list[bool],
    ending: str,
    boundaries: int,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, [5.0] * 4, constant)
    outcome = run().outcome
    assert (outcome.ending, outcome.step) == (ending, boundaries)
    assert len(run.told) == (boundaries - 1 if ending == "collapsed" else boundaries)


def test_a_collapsed_trial_is_scored_as_the_majority_class(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [5.0, 5.0], [False, True])
    outcome = run().outcome
    majority = evaluate_majority(run.splits.train, run.splits.scoring, run.splits.metric)
    assert (outcome.score, outcome.loss) == (majority.score.value, majority.loss)
    assert outcome.best_score == max(0.1, majority.score.value)


def test_a_trial_that_answers_one_class_but_knows_more_than_shares_goes_on(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    majority = evaluate_majority(run.splits.train, run.splits.scoring, run.splits.metric)
    scripted(monkeypatch, [majority.loss - 1e-3] * 4, [True] * 4)
    assert run().outcome.ending == "completed"
