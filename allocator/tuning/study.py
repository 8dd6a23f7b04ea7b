"""One study: asks for trials, hears their scores, and remembers everything it was told."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from allocator.errors import StorageError, StudyError, unknown
from allocator.training.loop import Outcome, Verdict
from allocator.training.recipe import write_yaml
from allocator.tuning.pruning import LOSSES, PROTECTED, make_pruner
from allocator.tuning.samplers import make_sampler
from allocator.tuning.space import Params, Space, build_space
from allocator.tuning.storage import open_storage, storage_url
from allocator.tuning.study_config import StudyConfig, read_study_config

CONFIG_FILE = "config.yaml"
_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class SearchStudy:
    """A study with its space, as the coordinator uses it.

    Args:
        study: Optuna's study.
        space: The search space.
        config: What all trials share.
        folder: The study's folder.
    """

    def __init__(
        self, study: optuna.Study, space: Space, config: StudyConfig, folder: Path
    ) -> None:
        self.study, self.space, self.config, self.folder = study, space, config, folder
        self._running: dict[int, optuna.Trial] = {}

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    @property
    def num_finished(self) -> int:
        """Trials that count towards the total: completed, pruned, or given up."""
        return sum(
            trial.state in _FINISHED
            or (trial.state == TrialState.FAIL and trial.user_attrs.get("given_up", False))
            for trial in self.trials
        )

    @property
    def final_step(self) -> int:
        """Boundaries of a whole trial."""
        return self.config.training.epochs * self.config.training.boundaries_per_epoch

    def ask(self) -> FrozenTrial:
        """Start the next trial."""
        trial = self.study.ask(dict(self.space.distributions))
        trial.set_user_attr("num_parameters", self.space.num_parameters(trial.params))
        self._running[trial.number] = trial
        return self.study.get_trials(deepcopy=False)[trial.number]

    def on_boundary(self, number: int, step: int, score: float, loss: float) -> Verdict:
        """Note a running trial's score and loss, and decide whether it goes on."""
        trial = self._running[number]
        trial.report(score, step)
        trial.set_user_attr(LOSSES, [*trial.user_attrs.get(LOSSES, []), loss])
        return "stop" if step < self.final_step and trial.should_prune() else "continue"

    def tell(self, number: int, outcome: Outcome) -> None:
        """Note how a trial ended."""
        trial = self._running.pop(number)
        for name, value in {
            "ending": outcome.ending,
            "loss": outcome.loss,
            "best_score": outcome.best_score,
            "train_loss": outcome.train_loss,
            "head_parameters": outcome.head_parameters,
            "seconds": round(outcome.seconds, 2),
            **outcome.parts,
        }.items():
            trial.set_user_attr(name, value)
        if outcome.ending == "stopped":
            self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            self.study.tell(number, outcome.score, skip_if_finished=True)

    def fail(self, number: int, reason: str, *, retry: bool) -> None:
        """Note that a trial broke off through no fault of its allocation.

        Args:
            number: The trial.
            reason: What happened.
            retry: Whether its allocation is to be tried again, before any other.
        """
        trial = self._running.pop(number)
        trial.set_user_attr("given_up", not retry)
        trial.set_user_attr("reason", reason)
        self._break_off(self.trials[number], retry=retry)

    def interrupt(self) -> None:
        """Break off the running trials, also those that a killed run left; they are tried again.

        Only the process that holds the study's lock may call this.
        """
        for trial in self.trials:
            if trial.state == TrialState.RUNNING:
                self._break_off(trial, retry=trial.params.keys() >= self.space.distributions.keys())

    def attempts(self, number: int) -> int:
        """Count how often a trial's allocation has been tried, this time included."""
        earlier = self.trials[number].user_attrs.get("retry_of")
        return 1 if earlier is None else 1 + self.attempts(earlier)

    def start(self) -> None:
        """Queue what a killed run left behind, and the baseline where it is still to come."""
        self.interrupt()
        has_baseline = any(
            trial.user_attrs.get("baseline")
            and (trial.state != TrialState.FAIL or trial.user_attrs.get("given_up"))
            for trial in self.trials
        )
        if not has_baseline:
            self.study.enqueue_trial(
                dict(baseline_params(self.space)), user_attrs={"baseline": True, PROTECTED: True}
            )

    def adapter_path(self, number: int) -> Path:
        """Say where a completed trial's adapter is."""
        return self.folder / "trials" / f"{number:05d}.safetensors"

    def _break_off(self, trial: FrozenTrial, *, retry: bool) -> None:
        self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        if retry:
            kept = {k: v for k, v in trial.user_attrs.items() if k in ("baseline", PROTECTED)}
            self.study.enqueue_trial(trial.params, user_attrs={**kept, "retry_of": trial.number})


def baseline_params(space: Space) -> Params:
    """Give the uniform-rank baseline: lambda 1, and the middle of the learning rates' range."""
    values: dict[str, float] = {
        space.rank_parameters[name]: rank for name, rank in space.feasible.uniform().items()
    }
    for name in space.rate_parameters:
        distribution = space.distributions[name]
        assert isinstance(distribution, optuna.distributions.FloatDistribution)
        middle = (distribution.low * distribution.high) ** 0.5
        values[name] = middle if name == "learning_rate" else max(1.0, distribution.low)
    return {name: value for name, value in values.items() if name in space.distributions}


@contextlib.contextmanager
def open_study(config: StudyConfig, space: Space, folder: Path, url: str) -> Iterator[SearchStudy]:
    """Create a study, or go on with it where it was made with the same configuration.

    Args:
        config: What all trials share.
        space: The search space.
        folder: The study's folder.
        url: URL of its storage.

    Raises:
        StudyError: If another process searches it, or it was made with another configuration.
        StorageError: If the storage does not answer.
    """
    recorded = folder / CONFIG_FILE
    if recorded.exists():
        config.require_same(read_study_config(recorded))
    elif folder.exists() and any(folder.iterdir()):
        raise StudyError(f"{folder} is not empty and holds no {CONFIG_FILE}; give another --study")
    storage = _storage_in_new_folder(url, folder)
    with _locked(folder):
        write_yaml(recorded, config, "What all trials of this study share.")
        study = optuna.create_study(
            study_name=config.study,
            storage=storage,
            direction="maximize",
            load_if_exists=True,
            sampler=make_sampler(
                config.sampler,
                space,
                seed=config.training.seed,
                final_step=config.training.epochs * config.training.boundaries_per_epoch,
            ),
            pruner=make_pruner(
                config.pruner,
                warmup=config.training.warmup,
                final_step=config.training.epochs * config.training.boundaries_per_epoch,
            ),
        )
        _describe(study, config)
        search = SearchStudy(study, space, config, folder)
        search.start()
        yield search


@contextlib.contextmanager
def load_study(folder: Path, url: str | None) -> Iterator[SearchStudy]:
    """Open a study that there is, to read it and export from it.

    Args:
        folder: The study's folder.
        url: URL of its storage, in place of the file in its folder.

    Raises:
        StudyError: If there is no such study, or another process searches it.
        StorageError: If the storage does not answer.
    """
    if not folder.is_dir():
        known = [path.parent.name for path in folder.parent.glob(f"*/{CONFIG_FILE}")]
        raise StudyError(f"{unknown('study', folder.name, known)} in {folder.parent}")
    config = read_study_config(folder / CONFIG_FILE)
    space = build_space(config.space, config.backbone, config.budget)
    storage = open_storage(storage_url(url, folder))
    with _locked(folder):
        try:
            study = optuna.load_study(study_name=config.study, storage=storage)
        except KeyError:
            raise StudyError(
                f"study {config.study!r} is not in its storage; "
                "give the --storage that it was searched with"
            ) from None
        yield SearchStudy(study, space, config, folder)


def _storage_in_new_folder(url: str, folder: Path) -> BaseStorage:
    """Open a storage that may lie in a folder to be made; leave none behind where that fails."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return open_storage(url)
    except OSError as problem:
        raise StudyError(f"{folder} cannot be made: {problem.strerror}") from None
    except StorageError:
        if is_new:
            folder.rmdir()
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise StudyError(
            f"study {folder.name!r} is being searched by another process; wait for it, "
            "or name another study with --study"
        ) from None


def _describe(study: optuna.Study, config: StudyConfig) -> None:
    recorded = study.user_attrs.get("config")
    if recorded is not None:
        config.require_same(StudyConfig.model_validate(recorded))
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names([config.task.metric])
    study.set_user_attr("config", config.model_dump(mode="json"))
    study.set_user_attr("task", config.task.name)
    study.set_user_attr("data", config.task.source)
    study.set_user_attr("model", config.model.name)
    study.set_user_attr("budget", config.budget)
    study.set_user_attr("scored on", config.select_on)
