"""Searches replayed on recorded trainings: the product's own study, with a table for its workers.

Everything but the training is what a search runs: coordinator, study, rounds, sampler, prior,
pruner, race and choice. A `TableWorker` answers jobs with what was recorded of their allocation.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Required, TypedDict, Unpack

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from tables import Curve, Table

from allocator.allocation.factorizations import Flags
from allocator.config import TrainingConfig
from allocator.coordination.coordinator import Coordinator
from allocator.errors import StudyError
from allocator.files.recipe import ModelSection, TaskSection
from allocator.files.study_folder import baseline_folder
from allocator.training.messages import Boundary, Job, OnStage, Orders, Report
from allocator.tuning.evidence.choice import select_best
from allocator.tuning.evidence.expectations import compute_expectations
from allocator.tuning.names import DecideBy
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.screen.watchers import QuietWatcher
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Params
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.pruning import make_pruner
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.surrogate.encoder import Encoder

STARTUP_CANDIDATES = 64


class TableDomain(Domain):
    """A domain of which a table's points are all there is."""

    def __init__(self, table: Table, budget: int | None = None) -> None:
        super().__init__(table.space, budget=budget)
        fitting = [p for p in table.params if table.space.fits_budget(p, budget)]
        self.table = self.params_to_points(fitting)

    def sample_points(self, n: int, rng: np.random.Generator) -> Points:
        """Draw `n` points of the table."""
        return np.asarray(self.table[rng.integers(len(self.table), size=n)])

    def are_feasible(self, points: Points) -> Flags:
        """Tell which points the table has."""
        return ~self.are_new(points, self.table)


class TableGPSampler(FeasibleGPSampler):
    """The default sampler, choosing among a table's points."""

    def __init__(self, table: Table, seed: int, **options: float) -> None:
        super().__init__(table.space, seed=seed, final_step=table.boundaries, **options)  # type: ignore[arg-type]
        self.table = table

    def make_domain(self, required: Params, budget: int | None) -> Domain:
        """Return the domain of the table's points within a budget."""
        del required
        return TableDomain(self.table, budget)

    def _fill_space(
        self, place: int, domain: Domain, used: Points, rng: np.random.Generator
    ) -> Points:
        """Take, of some points, the one that is farthest from those that were tried."""
        del place
        points = domain.sample_points(STARTUP_CANDIDATES, rng)
        points = points[domain.are_new(points, used)]
        encoder = Encoder(self.space)
        inputs, tried = encoder.encode_points(points), encoder.encode_points(used)
        distance = np.abs(inputs[:, None] - tried[None]).sum(axis=2).min(axis=1, initial=np.inf)
        at = int(np.argmax(distance))
        return points[at : at + 1]


class TableRandomSampler(TableGPSampler):
    """Points of a table at random."""

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Draw a new point."""
        used = self.list_used_points(study.get_trials(deepcopy=False), domain)
        points = domain.sample_points(256, self.make_rng(study, trial))
        return points[domain.are_new(points, used)][:1]


class NearestSampler(TableGPSampler):
    """Optuna's own sampler: the nearest point of the table that no trial has had."""

    def __init__(self, table: Table, seed: int, make: Callable[[int], BaseSampler]) -> None:
        super().__init__(table, seed)
        self._make = make

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Ask Optuna, and take the nearest new point."""
        sampler = self._make(int(self.make_rng(study, trial).integers(2**31)))
        spaces = dict(self.space.distributions)
        relative = sampler.infer_relative_search_space(study, trial)
        wanted = sampler.sample_relative(study, trial, relative)
        for name, distribution in spaces.items():
            if name not in wanted:
                wanted[name] = sampler.sample_independent(study, trial, name, distribution)
        encoder, table = Encoder(self.space), TableDomain(self.table).table
        used = self.list_used_points(study.get_trials(deepcopy=False), domain)
        new = table[domain.are_new(table, used)]
        steps = encoder.encode_points(new) - encoder.encode_points(
            domain.params_to_points([wanted])
        )
        at = int(np.argmin((steps**2).sum(axis=1)))
        return np.asarray(new[at : at + 1])


class TableWorker:
    """A worker that looks trainings up instead of training them.

    Args:
        table: The table.
        search: Number of the replayed search.
        slots: Trainings that it takes at once.
    """

    def __init__(self, table: Table, search: int, slots: int) -> None:
        self._table, self._search, self._slots = table, search, slots
        self._running: dict[int, tuple[Curve, int]] = {}
        self._reports: list[Report] = []
        self._points = {_identify(table, p): i for i, p in enumerate(table.params)}

    def send_orders(self, orders: Orders) -> None:
        """Take jobs, and go on to the next boundary."""
        for number in orders.stop:
            self._running.pop(number, None)
        for job in orders.jobs:
            self._running[job.trial] = self.draw(job), 0
        self._reports = []
        for number, (curve, step) in list(self._running.items()):
            self._reports.append(self._make_report(number, curve, step + 1))
            self._running[number] = curve, step + 1
            if step + 1 == len(curve.losses):
                del self._running[number]

    def draw(self, job: Job) -> Curve:
        """Draw a training of a job's allocation."""
        return self._table.draw(self._points[_describe_job(job)], job.seed, self._search)

    def receive_boundary(self, on_stage: OnStage) -> Boundary:
        """Report what was recorded at the boundary."""
        del on_stage
        return Boundary(reports=tuple(self._reports), may_start=True, slots=self._slots)

    def close(self) -> None:
        """End."""

    def _make_report(self, number: int, curve: Curve, step: int) -> Report:
        is_last = step == len(curve.losses)
        loss, score = curve.losses[step - 1], curve.scores[step - 1]
        return Report(
            trial=number,
            ending=("collapsed" if curve.collapsed else "completed") if is_last else None,
            score=score,
            loss=loss,
            calibrated_loss=loss,
            majority_loss=1.0,
            components={},
            best_score=max(curve.scores[:step]),
            step=step,
            train_loss=loss,
            num_parameters=0,
            head_parameters=0,
            seconds=0.0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What a replayed search found.

    Attributes:
        point: The point that it chose.
        gain: What it gains over the baseline.
        trainings: Trainings that it made, without those of the verdict.
        cost: The same, a stopped one counted by the fraction of its boundaries.
        study: The study.
    """

    point: int
    gain: float
    trainings: int
    cost: float
    study: SearchStudy


def replay_search(table: Table, **options: Unpack[Options]) -> Found:
    """Search a table once, and choose; arguments as for `replay_study`."""
    return judge(table, replay_study(table, **options))


class Options(TypedDict, total=False):
    """The keyword arguments of `replay_study`."""

    search: Required[int]
    trials: Required[int]
    slots: int
    verdict_seeds: int
    prior: str
    pruner: str
    decide_by: DecideBy
    make_sampler: Callable[[Table, int], BaseSampler]
    make_worker: Callable[[Table, int, int], TableWorker]
    starts: Sequence[Params]
    goal: type[Goal]


def replay_study(
    table: Table,
    *,
    search: int,
    trials: int,
    slots: int = 4,
    verdict_seeds: int = 0,
    prior: str = "gradient",
    pruner: str = "halving",
    decide_by: DecideBy = "loss",
    make_sampler: Callable[[Table, int], BaseSampler] = TableGPSampler,
    make_worker: Callable[[Table, int, int], TableWorker] = TableWorker,
    starts: Sequence[Params] = (),
    goal: type[Goal] = Goal,
) -> SearchStudy:
    """Search a table once.

    Args:
        table: The recorded trainings.
        search: Number of the search, which seeds sampler and noise.
        trials: Trainings of the study.
        slots: Trainings that train together.
        verdict_seeds: As for a search.
        prior: Name of the prior.
        pruner: Name of the pruner.
        decide_by: What the study optimises.
        make_sampler: Makes the sampler, from the table and a seed.
        make_worker: Makes the worker, from the table, `search` and `slots`.
        starts: Allocations that are tried first.
        goal: How trainings are divided: `Exploration` tries a new allocation each time.
    """
    config = make_config(table, prior=prior, pruner=pruner, decide_by=decide_by, starts=starts)
    folder = Path(tempfile.mkdtemp())
    study = optuna.create_study(
        direction="minimize" if decide_by == "loss" else "maximize",
        sampler=make_sampler(table, search),
        pruner=make_pruner(config.pruner, warmup=0.1, final_step=table.boundaries),
    )
    budgets = len(table.space.budgets)
    divided = goal(trials=trials, verdict_seeds=verdict_seeds, budgets=budgets)
    replayed = SearchStudy(study, table.space, config, folder, divided)
    replayed.begin()
    if table.baseline is not None:  # as if the study's own baseline had shown it
        shutil.copytree(table.baseline, baseline_folder(folder))
    Coordinator(
        replayed,
        lambda _device, _slots: make_worker(table, search, slots),
        ["table"],
        QuietWatcher(),
        slots=slots,
    ).run()
    shutil.rmtree(folder)
    return replayed


class Exploration(Goal):
    """A goal without a race."""

    @property
    def num_allocations(self) -> int:
        """Every training tries a new allocation."""
        return self.num_search


def judge(table: Table, study: SearchStudy) -> Found:
    """Compare what a study chose with the baseline, by the table's truth."""
    searched = [t for t in study.trials if t.user_attrs["purpose"] != "verdict"]
    try:
        expectations = compute_expectations(
            study.space, study.trials, final_step=study.final_step, objective=study.objective
        )
        params = select_best(study.space, expectations).best.allocation.params
        point = next(i for i, p in enumerate(table.params) if p == params)
    except StudyError:
        point = 0  # nothing was sound: a user would stay with the baseline
    return Found(
        point=point,
        gain=float(table.truth[0] - table.truth[point]),
        trainings=len(searched),
        cost=sum(len(t.intermediate_values) / table.boundaries for t in searched),
        study=study,
    )


def make_config(
    table: Table, *, prior: str, pruner: str, decide_by: DecideBy, starts: Sequence[Params]
) -> StudyConfig:
    """Make the configuration of a study on a table."""
    return StudyConfig(
        study="replay",
        model=ModelSection(name="minilm", sha256=""),
        task=TaskSection(
            name="cola",
            text_columns=("sentence",),
            labels=("0", "1"),
            source="table",
            fingerprint="",
            metric="matthews_correlation",
        ),
        select_on="held_out",
        backbone=table.space.shape.backbone,
        training=TrainingConfig(epochs=table.boundaries),
        precision="float32",
        versions={},
        budget=table.space.feasible.budget,
        smaller_budgets=table.space.smaller_budgets,
        space_name="table",
        space=table.file,
        rivals=(),
        decide_by=decide_by,
        sampler="gp",
        pruner=pruner,  # type: ignore[arg-type]
        prior=prior,
        prior_strength=3.0,
        start=tuple(dict(params) for params in starts),
    )


def _identify(table: Table, params: Params) -> tuple[object, ...]:
    shape = table.space.find_variant(params).shape
    allocation = table.space.make_allocation(params)
    return _key(shape.construction, shape.factorization, allocation.ranks, allocation)


def _describe_job(job: Job) -> tuple[object, ...]:
    shape = job.spec.shape
    return _key(shape.construction, shape.factorization, job.allocation.ranks, job.allocation)


def _key(
    construction: str, factorization: str, ranks: Mapping[str, int], allocation: object
) -> tuple[object, ...]:
    rates = (allocation.learning_rate, allocation.core_lr_multiplier)  # type: ignore[attr-defined]
    return construction, factorization, *sorted(ranks.items()), *rates
