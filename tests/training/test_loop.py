import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone
from allocator.config import Calibration, TrainingConfig
from allocator.data.scoring.metrics import Score
from allocator.data.sources import TaskData
from allocator.training import loop
from allocator.training.evaluation import Evaluation, evaluate_majority, evaluate_pack
from allocator.training.loop import train_trials
from allocator.training.messages import Boundary, Job, Orders, Report
from allocator.training.pack import TrainingPack
from allocator.training.splits import Splits
from allocator.training.training_slot import TrainingSlot
from tests.training.seeds import hold_out_parts

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
ALLOCATION = Allocation(ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0)
OTHER = Allocation(ranks=RANKS | {"input": 2}, learning_rate=5e-3)
ABSURD = Allocation(ranks=RANKS, learning_rate=1e30, core_lr_multiplier=1e8)
CONFIG = TrainingConfig(epochs=2, boundaries_per_epoch=2)  # of 10 steps an epoch


class Loop:
    """Runs the loop on the tiny backbone with scripted orders, and records its boundaries."""

    def __init__(self, spec: AdapterSpec, backbone: Backbone, splits: Splits) -> None:
        self.spec, self.backbone, self.splits = spec, backbone, splits
        self.told: list[Boundary] = []
        self.completed: dict[int, TrainingSlot] = {}

    def __call__(
        self,
        *waiting: Allocation,
        config: TrainingConfig = CONFIG,
        slots: int = 1,
        seeds: Sequence[int] = (),
        stop: Sequence[tuple[int, int]] = (),
        is_measured: bool = False,
        calibrates: bool = True,
    ) -> dict[int, list[Report]]:
        """Train allocations in their order, as slots become free.

        Args:
            waiting: The trials, numbered from 0.
            config: The training configuration.
            slots: Largest number of trials that train together.
            seeds: Seeds of the trials; empty for 0.
            stop: Trials to stop, each with its last boundary.
            is_measured: Whether the trials are measured.
            calibrates: Whether heads are calibrated on the examples that they are scored on.

        Returns:
            Reports by trial.
        """
        jobs = [
            Job(
                trial=i,
                spec=self.spec,
                allocation=a,
                seed=seed,
                save_to=Path(),  # saved by nobody
                is_measured=is_measured,
                calibration=None if calibrates else Calibration(),
            )
            for i, (a, seed) in enumerate(zip(waiting, seeds or [0] * len(waiting), strict=True))
        ]
        reports: dict[int, list[Report]] = {}
        self.told, self.completed = [], {}

        def on_boundary(boundary: Boundary) -> Orders | None:
            self.told.append(boundary)
            for report in boundary.reports:
                reports.setdefault(report.trial, []).append(report)
            stopped = {r.trial for r in boundary.reports if (r.trial, r.step) in stop}
            going_on = [r for r in boundary.reports if r.ending is None and r.trial not in stopped]
            free = boundary.slots - len(going_on) if boundary.may_start else 0
            new = [jobs.pop(0) for _ in range(min(free, len(jobs)))]
            if not new and not jobs and not going_on:
                return None
            return Orders(stop=frozenset(stopped), jobs=tuple(new))

        def on_completed(job: Job, slot: TrainingSlot) -> None:
            self.completed[job.trial] = slot

        train_trials(
            self.backbone,
            self.splits,
            config,
            slots=slots,
            on_boundary=on_boundary,
            on_completed=on_completed,
        )
        return reports

    def last(
        self,
        allocation: Allocation = ALLOCATION,
        config: TrainingConfig = CONFIG,
        *,
        calibrates: bool = True,
    ) -> Report:
        """Train one trial and return its last report."""
        return self(allocation, config=config, calibrates=calibrates)[0][-1]

    def evaluate(self, slot: TrainingSlot, *, on_train: bool = False) -> Evaluation:
        pack = TrainingPack(self.backbone, width=1)
        pack.slots = [slot]
        split = self.splits.train if on_train else self.splits.of_seed(0).scoring
        return evaluate_pack(pack, split, self.splits.metric)[0]


def limit_memory(
    monkeypatch: pytest.MonkeyPatch, fits: int, *, only_in_evaluations: bool = False
) -> None:
    """Let memory run out in a pass of more than `fits` slots."""
    compute_hidden = TrainingPack.compute_hidden

    def compute(
        self: TrainingPack, slots: Sequence[TrainingSlot], *args: Any, **options: Any
    ) -> Tensor:
        if len(slots) > fits and not (only_in_evaluations and torch.is_grad_enabled()):
            raise torch.OutOfMemoryError("out of memory")
        return compute_hidden(self, slots, *args, **options)

    monkeypatch.setattr(TrainingPack, "compute_hidden", compute)


@pytest.fixture
def run(tiny_spec: AdapterSpec, tiny_backbone: Backbone, tiny_splits: Splits) -> Loop:
    return Loop(tiny_spec, tiny_backbone, tiny_splits)


def timeless(reports: Sequence[Report]) -> list[Report]:
    return [dataclasses.replace(report, seconds=0.0) for report in reports]


def losses(reports: Sequence[Report]) -> list[float]:
    return [report.loss for report in reports]


def scripted(
    monkeypatch: pytest.MonkeyPatch, losses: Sequence[float], blind: Sequence[bool]
) -> None:
    """Script the losses of the evaluations, and whether all inputs get the same answer."""
    evaluations = iter(
        Evaluation(
            score=Score(value=0.1, components={}),
            loss=loss,
            calibrated_loss=loss,
            spread=0.002 if same else 0.05,
            calibration=Calibration(scale=0.5),
        )
        for loss, same in zip(losses, blind, strict=True)
    )
    monkeypatch.setattr(loop, "evaluate_pack", lambda *_: [next(evaluations)])


def test_every_boundary_is_reported_with_score_and_loss(run: Loop) -> None:
    reports = run(ALLOCATION)[0]
    assert [report.step for report in reports] == [1, 2, 3, 4]
    assert [report.ending for report in reports] == [None, None, None, "completed"]
    assert reports[-1].best_score == max(report.score for report in reports)


def test_a_report_counts_what_was_built(run: Loop) -> None:
    report = run.last(config=TrainingConfig(epochs=1))
    assert report.num_parameters == run.spec.shape.num_parameters(RANKS)
    pooler, classifier = 32 * 32 + 32, 32 * 2 + 2
    assert report.head_parameters == pooler + classifier
    assert report.seconds > 0


def test_the_trained_parts_have_the_score_that_was_reported(run: Loop) -> None:
    report = run.last(calibrates=False)
    again = run.evaluate(run.completed[0])
    assert (again.score.value, again.loss) == (report.score, report.loss)
    assert again.score.components == report.components
    assert again.calibration == report.calibration


def test_a_completed_trial_is_calibrated_and_decides_as_it_was_trained(run: Loop) -> None:
    as_trained = run.last(calibrates=False)
    assert timeless([run.last()]) == timeless([as_trained])
    delivered = run.evaluate(run.completed[0])
    assert delivered.score.value == as_trained.score
    assert delivered.loss < as_trained.loss
    assert delivered.calibrated_loss == pytest.approx(as_trained.calibrated_loss, rel=1e-4)
    # Nothing is left to be corrected.
    assert delivered.calibration is not None
    assert delivered.calibration.scale == pytest.approx(1.0, rel=1e-4)


def test_a_calibration_changes_nothing_that_is_measured(run: Loop) -> None:
    calibrated, as_trained = (
        run(ALLOCATION, is_measured=True, calibrates=calibrates)[0][-1].measures
        for calibrates in (True, False)
    )
    assert calibrated is not None
    assert as_trained is not None
    assert calibrated.truncation == as_trained.truncation
    assert calibrated.gradients == as_trained.gradients


def test_orders_to_stop_end_a_trial_at_its_boundary(run: Loop) -> None:
    reports = run(ALLOCATION, stop=[(0, 2)])[0]
    assert [report.step for report in reports] == [1, 2]
    assert not run.completed


def test_one_seed_gives_one_trial_whoever_trained_before(run: Loop) -> None:
    first = run(ALLOCATION)[0]
    run(OTHER)
    torch.rand(10)
    assert timeless(run(ALLOCATION)[0]) == timeless(first)


def test_another_seed_gives_another_trial(run: Loop) -> None:
    first = run.last()
    assert run(ALLOCATION, seeds=[1])[0][-1].loss != first.loss


def test_a_trial_does_not_know_its_neighbours_or_when_it_came(run: Loop) -> None:
    alone = {i: run(a)[0] for i, a in enumerate((ALLOCATION, OTHER))}
    # Trial 1 is stopped at the first epoch's end, so that trial 2 starts there beside trial 0.
    together = run(ALLOCATION, ABSURD, OTHER, ALLOCATION, slots=2)
    assert losses(together[0]) == pytest.approx(losses(alone[0]), rel=1e-4)
    assert losses(together[2]) == pytest.approx(losses(alone[1]), rel=1e-4)
    assert losses(together[3]) == pytest.approx(losses(alone[0]), rel=1e-4)
    assert together[1][-1].ending == "diverged"


@pytest.mark.parametrize("fits", [4, 1], ids=["together", "in turns"])
def test_trials_of_several_seeds_are_trained_and_scored_together_as_each_is_alone(
    fits: int, run: Loop, small_task: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.splits = hold_out_parts(run.splits.train, small_task.task, small_task.train)
    seeds, trials = (4, 0, 4, 9), (ALLOCATION, OTHER, OTHER, ABSURD)
    alone = [run(a, seeds=[seed])[0] for a, seed in zip(trials, seeds, strict=True)]
    limit_memory(monkeypatch, fits)
    together = run(*trials, seeds=seeds, slots=4)
    assert run.told[-1].slots == fits
    for trial, expected in enumerate(alone):
        found = together[trial]
        assert [report.ending for report in found] == [report.ending for report in expected]
        for name in ("score", "loss", "calibrated_loss", "best_score"):
            assert [getattr(report, name) for report in found] == pytest.approx(
                [getattr(report, name) for report in expected], rel=1e-4
            )


def test_memory_that_runs_out_while_seeds_are_scored_changes_no_evaluation(
    run: Loop, small_task: TaskData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.splits = hold_out_parts(run.splits.train, small_task.task, small_task.train)
    seeds, trials = (4, 4, 0, 4), (ALLOCATION, OTHER, OTHER, OTHER)
    expected = run(*trials, seeds=seeds, slots=4)
    limit_memory(monkeypatch, 2, only_in_evaluations=True)
    found = run(*trials, seeds=seeds, slots=4)
    assert run.told[-1].slots == 1
    for trial, reports in expected.items():
        assert losses(found[trial]) == pytest.approx(losses(reports), rel=1e-4)


def test_each_trial_is_scored_on_what_its_seed_holds_out(run: Loop, small_task: TaskData) -> None:
    run.splits = hold_out_parts(run.splits.train, small_task.task, small_task.train)
    reports = run(ALLOCATION, ALLOCATION, seeds=[4, 0], slots=2)
    for trial, seed in enumerate((4, 0)):
        pack = TrainingPack(run.backbone, [run.completed[trial]], width=1)
        (mine,) = evaluate_pack(pack, run.splits.of_seed(seed).scoring, run.splits.metric)
        # A completed trial was calibrated after its report, which leaves this loss as it is.
        found = reports[trial][-1].calibrated_loss
        assert found == pytest.approx(mine.calibrated_loss, rel=1e-4)
    assert reports[0][-1].loss != pytest.approx(reports[1][-1].loss, rel=1e-3)


def test_a_diverged_trial_is_scored_as_the_majority_class_of_its_own_seed(
    run: Loop, small_task: TaskData
) -> None:
    run.splits = hold_out_parts(run.splits.train, small_task.task, small_task.train)
    reports = run(ABSURD, ABSURD, seeds=[4, 0], slots=2)
    for trial, seed in enumerate((4, 0)):
        own = run.splits.of_seed(seed)
        shares = torch.bincount(own.train.labels) / len(own.train)
        loss = -shares.log()[own.scoring.labels].mean().item()
        assert reports[trial][-1].loss == pytest.approx(loss, rel=1e-5)


def test_a_free_place_is_taken_where_the_next_epoch_starts(run: Loop) -> None:
    run(ALLOCATION, OTHER, OTHER, slots=2, stop=[(1, 1)])
    assert [boundary.may_start for boundary in run.told] == [True, False] * 3 + [True]
    trials = [[report.trial for report in boundary.reports] for boundary in run.told]
    assert trials == [[], [0, 1], [0], [0, 2], [0, 2], [2], [2]]


def test_the_place_of_a_stopped_trial_is_taken_at_once(run: Loop) -> None:
    run(ALLOCATION, OTHER, OTHER, slots=2, stop=[(1, 2)])
    trials = [[report.trial for report in boundary.reports] for boundary in run.told]
    assert trials == [[], [0, 1], [0, 1], [0, 2], [0, 2], [2], [2]]


def test_training_loss_is_the_mean_over_all_steps(run: Loop) -> None:
    config = TrainingConfig(epochs=1, head_learning_rate=1e-12)
    still = Allocation(ranks=RANKS, learning_rate=1e-12)
    first = run.last(still, config, calibrates=False)
    second = run.last(still, config.model_copy(update={"epochs": 2}), calibrates=False)
    on_train = run.evaluate(run.completed[0], on_train=True)
    # Nothing moves, so both are the loss of the fresh adapter on train.
    assert first.train_loss == pytest.approx(on_train.loss, rel=1e-4)
    assert second.train_loss == pytest.approx(on_train.loss, rel=1e-4)


def test_an_absurd_learning_rate_diverges_and_is_scored_as_the_majority_class(run: Loop) -> None:
    (report,) = run(ABSURD)[0]
    majority = evaluate_majority(run.splits.train, run.splits.of_seed(0).scoring, run.splits.metric)
    assert report.ending == "diverged"
    assert (report.score, report.loss) == (majority.score.value, majority.loss)
    assert report.components == majority.score.components
    assert report.calibration is None
    assert report.step == 0
    assert not run.completed


def test_a_measured_trial_that_diverges_is_told_like_any_other(run: Loop) -> None:
    (report,) = run(ABSURD, is_measured=True)[0]
    assert report.ending == "diverged"
    assert report.measures is None


def test_divergence_between_boundaries_is_seen_within_a_few_steps(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_DIVERGENCE_CHECK", 2)
    steps: list[int] = []
    monkeypatch.setattr(TrainingPack, "step", lambda self, *_: steps.append(len(self.slots)))
    monkeypatch.setattr(
        TrainingPack, "list_diverged", lambda self: self.slots if len(steps) >= 3 else []
    )
    assert run.last(config=TrainingConfig(epochs=1)).ending == "diverged"
    assert steps == [1] * 4 + [0] * 6


@pytest.mark.parametrize(
    ("blind", "ending", "boundaries"),
    [
        ([True, False, False, False], "completed", 4),  # early, it may still recover
        ([False, True, False, False], "collapsed", 2),
        ([False, False, True, False], "collapsed", 3),
        ([False, False, False, True], "collapsed", 4),
    ],
)
def test_a_trial_that_answers_the_same_to_all_after_half_of_its_training_has_collapsed(
    blind: list[bool],
    ending: str,
    boundaries: int,
    run: Loop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted(monkeypatch, [5.0] * 4, blind)
    report = run.last()
    assert (report.ending, report.step) == (ending, boundaries)
    assert bool(run.completed) == (ending == "completed")


def test_a_collapsed_trial_is_scored_as_the_majority_class(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [5.0, 5.0], [False, True])
    report = run.last()
    majority = evaluate_majority(run.splits.train, run.splits.of_seed(0).scoring, run.splits.metric)
    assert (report.score, report.loss) == (majority.score.value, majority.loss)
    assert report.best_score == max(0.1, majority.score.value)
    assert report.calibration is None


def test_a_trial_that_answers_one_class_but_reads_goes_on(
    run: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, [5.0] * 4, [False] * 4)
    assert run.last().ending == "completed"
