"""Queues a prior's proposals as a study's first trials, and tells the sampler of the prior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import BaseModel, ConfigDict

from allocator.files.study_layout import FOLDER
from allocator.tuning.priors.baseline_evidence import read_baseline
from allocator.tuning.priors.make_prior import make_prior, needs_baseline
from allocator.tuning.priors.prior import Prior
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.study_config import StudyConfig

PROPOSALS = 5
"""Proposals of a prior that are trained before the sampler is asked, a user's own not counted."""

PROPOSED_BY = "proposed_by"
"""User attribute of a trial that a prior proposed: the prior's name, or `start` for a user's."""

_ATTRIBUTE = "prior"
_START = "start"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    proposed_by: str
    params: dict[str, int | float | str]


class _Record(BaseModel):
    """What a study remembers of its prior, so that it never changes and nothing is queued twice."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    asked: str
    used: str
    proposals: tuple[dict[str, int | float | str], ...]
    queued: tuple[_Entry, ...]


class ProposalQueue:
    """The prior of one study, from before its baseline was trained to after.

    Args:
        study: Optuna's study.
        space: The search space.
        config: What all trials share.
        folder: The study's folder.
        base: Parameters of the uniform-rank baseline.
    """

    def __init__(
        self, study: optuna.Study, space: Space, config: StudyConfig, folder: Path, base: Params
    ) -> None:
        self._study, self._space, self._config = study, space, config
        self._folder, self._base = folder, base

    def queue(self) -> None:
        """Queue the next proposal, where nothing else waits; called before every ask.

        One at a time, so that none is left waiting when the study has all its trials.
        A prior that reads the baseline is made when that has ended. Until then, whatever else
        would train beside the baseline is the baseline's ranks at other core learning rates.
        """
        record = self._recorded()
        if record is None and (
            not needs_baseline(self._config.prior) or self._has_baseline_ended()
        ):
            record = self._record(self._make())
        if record is not None:
            self._tell_sampler(record)
        if not any(trial.state == TrialState.WAITING for trial in self._trials):
            self._queue_first_missing(record.queued if record else self._beside_baseline())

    @property
    def used(self) -> str | None:
        """Name of the prior that is used, once it was made; `uniform` where one lacks evidence."""
        record = self._recorded()
        return None if record is None else record.used

    def _make(self) -> Prior | None:
        tables, baseline = self._folder / FOLDER, None
        if tables.is_dir():
            baseline = read_baseline(tables, self._space.ranks(self._base))
        return make_prior(
            self._config.prior,
            self._space,
            self._base,
            baseline=baseline,
            starts=self._config.start,
            studies_dir=self._folder.parent,
        )

    def _recorded(self) -> _Record | None:
        recorded = self._study.user_attrs.get(_ATTRIBUTE)
        return None if recorded is None else _Record.model_validate(recorded)

    def _record(self, prior: Prior | None) -> _Record:
        """Decide what is queued, and remember it before anything is: a kill may come between."""
        starts = [dict(params) for params in self._config.start]
        proposals = [dict(params) for params in prior.proposals] if prior else []
        tried = [*map(_params, self._trials), *starts]
        own = [params for params in proposals if params not in tried][:PROPOSALS]
        used = prior.name if prior else self._config.prior
        record = _Record(
            asked=self._config.prior,
            used=used,
            proposals=tuple(proposals),
            queued=(*(_entry(_START, p) for p in starts), *(_entry(used, p) for p in own)),
        )
        self._study.set_user_attr(_ATTRIBUTE, record.model_dump(mode="json"))
        return record

    def _queue_first_missing(self, entries: Sequence[_Entry]) -> None:
        """Queue the first that no trial has had, whatever became of that trial."""
        tried = list(map(_params, self._trials))
        for entry in entries:
            if entry.params not in tried:
                attributes = {PROPOSED_BY: entry.proposed_by}
                self._study.enqueue_trial(dict(entry.params), user_attrs=attributes)
                return

    def _beside_baseline(self) -> list[_Entry]:
        """List what may train beside the baseline: a user's own, and the baseline's ranks."""
        uniform = make_prior("uniform", self._space, self._base)
        assert uniform is not None
        base = self._space.params_to_row(self._base)
        return [
            *(_entry(_START, params) for params in self._config.start),
            *(
                _entry("uniform", p)
                for p in uniform.proposals
                if self._space.params_to_row(p) == base
            ),
        ]

    def _tell_sampler(self, record: _Record) -> None:
        if isinstance(self._study.sampler, FeasibleGPSampler) and record.proposals:
            self._study.sampler.prior = Prior(
                name=record.used, space=self._space, proposals=record.proposals
            )

    def _has_baseline_ended(self) -> bool:
        return any(
            trial.user_attrs.get("baseline")
            and (
                trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
                or (trial.state == TrialState.FAIL and trial.user_attrs.get("given_up", False))
            )
            for trial in self._trials
        )

    @property
    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def _entry(proposed_by: str, params: Params) -> _Entry:
    return _Entry(proposed_by=proposed_by, params=dict(params))


def _params(trial: FrozenTrial) -> dict[str, float | str]:
    queued: dict[str, float | str] = trial.system_attrs.get("fixed_params", trial.params)
    return queued
