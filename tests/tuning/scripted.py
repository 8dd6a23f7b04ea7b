"""Studies whose workers train nothing: losses follow from allocation, seed and step alone."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from allocator.allocation.constructions import BackboneShape
from allocator.config import Calibration, TrainingConfig
from allocator.coordination.coordinator import Coordinator
from allocator.coordination.protocols import Watcher
from allocator.files.recipe import ModelSection, TaskSection
from allocator.training.measures import Measures
from allocator.training.messages import Boundary, Job, OnStage, Orders, Report
from allocator.tuning.samplers.make_sampler import make_sampler
from allocator.tuning.screen.watchers import QuietWatcher
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.rivals import add_rivals
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import SpaceFile, read_space
from allocator.tuning.storage.objective import make_objective
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import list_standing
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.pruning import make_pruner
from allocator.tuning.study.study import SearchStudy

TINY = BackboneShape(d_in=32, heads=4, head_size=8, layers=2)
MAJORITY_LOSS = 0.7
BOUNDARIES = 3

Loss = Callable[[Job], float | None]
"""The loss of a training at its end, or None if it collapses at its first boundary."""


def smooth_loss(job: Job) -> float:
    """Return a loss that has its minimum at a learning rate, with the luck of a training."""
    rate = math.log10(job.allocation.learning_rate / 2e-3)
    core = math.log10(job.allocation.core_lr_multiplier / 8)
    return 0.4 + 0.1 * rate**2 + 0.05 * core**2 + 0.02 * draw_luck(job) + 0.03 * (job.seed % 3)


def draw_luck(job: Job) -> float:
    """Draw a number between -1 and 1 for an allocation and a seed, always the same one."""
    allocation = job.allocation
    text = f"{job.spec.shape.construction} {sorted(allocation.ranks.items())} {job.seed} "
    text += f"{allocation.learning_rate!r} {allocation.core_lr_multiplier!r}"
    return zlib.crc32(text.encode()) / 2**31 - 1


class Killed(BaseException):
    """The process was killed."""


class MortalStorage(InMemoryStorage):
    """A storage whose process is killed when it has written a number of times.

    Attributes:
        left: Number of times that the process still writes; it then writes nothing any more.
    """

    left = math.inf

    def _count(self) -> None:
        if not self.left:
            raise Killed
        self.left -= 1

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Count, and write."""
        self._count()
        return super().create_new_trial(study_id, template_trial)

    def set_trial_param(
        self, trial_id: int, param_name: str, value: float, distribution: BaseDistribution
    ) -> None:
        """Count, and write."""
        self._count()
        super().set_trial_param(trial_id, param_name, value, distribution)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Count, and write."""
        self._count()
        return super().set_trial_state_values(trial_id, state, values)

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        """Count, and write."""
        self._count()
        super().set_trial_intermediate_value(trial_id, step, value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: object) -> None:
        """Count, and write."""
        self._count()
        super().set_trial_user_attr(trial_id, key, value)

    def set_study_user_attr(self, study_id: int, key: str, value: object) -> None:
        """Count, and write."""
        self._count()
        super().set_study_user_attr(study_id, key, value)


class ScriptedWorker:
    """A worker that reports losses as they are scripted, and writes adapters of a few bytes.

    Args:
        loss: The losses.
        slots: Number of trials that it takes at once.
        receive: Called before a boundary is reported; it may raise what ends the process.
    """

    def __init__(self, loss: Loss, slots: int, receive: Callable[[], None]) -> None:
        self._loss, self._slots, self._receive = loss, slots, receive
        self._running: dict[int, tuple[Job, int]] = {}
        self._reports: list[Report] = []

    def send_orders(self, orders: Orders) -> None:
        """Take jobs, and go on to the next boundary."""
        for number in orders.stop:
            self._running.pop(number, None)
        self._running |= {job.trial: (job, 0) for job in orders.jobs}
        assert len(self._running) <= self._slots
        self._reports = [self._make_report(job, step + 1) for job, step in self._running.values()]
        self._running = {
            report.trial: (self._running[report.trial][0], report.step)
            for report in self._reports
            if report.ending is None
        }

    def receive_boundary(self, on_stage: OnStage) -> Boundary:
        """Report the losses at the boundary."""
        del on_stage
        self._receive()
        return Boundary(reports=tuple(self._reports), may_start=True, slots=self._slots)

    def close(self) -> None:
        """End."""

    def _make_report(self, job: Job, step: int) -> Report:
        final = self._loss(job)
        loss = MAJORITY_LOSS if final is None else final + 0.1 * (1 - step / BOUNDARIES)
        completed = final is not None and step == BOUNDARIES
        if completed:
            job.save_to.parent.mkdir(exist_ok=True)
            job.save_to.write_bytes(b"adapter")
        return Report(
            trial=job.trial,
            ending="collapsed" if final is None else "completed" if completed else None,
            score=1 - loss,
            loss=loss + 0.05,
            calibrated_loss=loss,
            majority_loss=MAJORITY_LOSS,
            components={"matthews_correlation": 1 - loss},
            best_score=1 - loss,
            step=step,
            train_loss=loss,
            num_parameters=100,
            head_parameters=10,
            seconds=1.0,
            measures=_make_measures(job) if job.is_measured else None,
            calibration=Calibration(scale=0.8) if completed else None,
        )


def _make_measures(job: Job) -> Measures:
    """Make gradients that give every mode another rank."""
    norms = {name: (1.0 + place, 2.0) for place, name in enumerate(job.allocation.ranks)}
    return Measures(gradients={"core": (1.0, 2.0), **norms}, spectra=())


def make_space(file: SpaceFile | None = None, budget: int = 700) -> tuple[SpaceFile, Space]:
    """Make a space on a tiny backbone; the default one unless a file is given."""
    file = read_space("tenslora_plus") if file is None else file
    return file, build_space(file, TINY, budget)


@dataclass(kw_only=True, slots=True)
class Script:
    """A study and how its trainings go; it can be run, interrupted, killed and resumed.

    Attributes:
        folder: The study's folder.
        trials: As for a search.
        verdict_seeds: As for a search.
        loss: The losses.
        slots: Trials that a worker trains together.
        devices: Number of workers.
        prior: Name of the prior; `gradient` needs the baseline's measures.
        rivals: Names of the rivals.
        seed: Seed of the sampler.
        storage: Where the trials are.
    """

    folder: Path
    trials: int = 16
    verdict_seeds: int = 3
    loss: Loss = smooth_loss
    slots: int = 4
    devices: int = 1
    prior: str = "gradient"
    pruner: str = "halving"
    sampler: str = "random"
    decide_by: str = "loss"
    space: tuple[SpaceFile, Space] | None = None
    rivals: tuple[str, ...] = ()
    smaller_budgets: tuple[int, ...] = ()
    seed: int = 0
    storage: BaseStorage = field(default_factory=InMemoryStorage)

    def open(self) -> SearchStudy:
        """Open the study as another process would, with a sampler that remembers nothing."""
        file, space = self.space or make_space()
        space = dataclasses.replace(space, smaller_budgets=self.smaller_budgets)
        config = StudyConfig.model_validate(
            {
                "study": "scripted",
                "model": ModelSection(name="minilm", sha256=""),
                "task": TaskSection(
                    name="cola",
                    text_columns=("sentence",),
                    labels=("0", "1"),
                    source="script",
                    fingerprint="",
                    metric="matthews_correlation",
                ),
                "select_on": "held_out",
                "backbone": TINY,
                "training": TrainingConfig(epochs=BOUNDARIES),
                "precision": "float32",
                "versions": {},
                "budget": space.feasible.budget,
                "smaller_budgets": self.smaller_budgets,
                "space_name": "scripted",
                "space": file,
                "rivals": self.rivals,
                "decide_by": self.decide_by,
                "sampler": self.sampler,
                "pruner": self.pruner,
                "prior": self.prior,
                "prior_strength": 3.0,
                "start": (),
            }
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name="scripted",
            storage=self.storage,
            load_if_exists=True,
            direction=make_objective(config.decide_by, config.task).direction,
            sampler=make_sampler(config.sampler, space, seed=self.seed, final_step=BOUNDARIES),
            pruner=make_pruner(config.pruner, warmup=0.1, final_step=BOUNDARIES),
        )
        goal = Goal(
            trials=self.trials,
            verdict_seeds=self.verdict_seeds,
            rivals=len(self.rivals),
            budgets=len(space.budgets),
        )
        contested = add_rivals(space, self.rivals)
        search = SearchStudy(study, contested, config, self.folder, goal)
        search.begin()
        return search

    def run(
        self,
        receive: Callable[[], None] = lambda: None,
        watch: Callable[[SearchStudy], Watcher] = lambda _study: QuietWatcher(),
    ) -> SearchStudy:
        """Go on with the study until it has all trials, or `receive` raises."""
        search = self.open()
        Coordinator(
            search,
            lambda _device, slots: ScriptedWorker(self.loss, slots or self.slots, receive),
            [f"cpu:{number}" for number in range(self.devices)],
            watch(search),
            slots=self.slots,
        ).run()
        return search


def describe(trial: FrozenTrial) -> dict[str, object]:
    """Describe a training by all that must not depend on interrupts."""
    names = ("seed", "purpose", "rival", "round", "position", "proposed_by", "budget")
    return {
        "params": trial.params,
        "state": trial.state,
        "value": trial.value,
        "values": trial.intermediate_values,
        **{name: trial.user_attrs.get(name) for name in names},
    }


def describe_study(search: SearchStudy) -> list[dict[str, object]]:
    """Describe the trainings of a study in the order of its decisions."""
    return [describe(trial) for trial in list_standing(search.trials)]
