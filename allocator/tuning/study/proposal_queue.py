"""A prior's proposals as a study's first allocations, and the prior of its sampler."""

from __future__ import annotations

from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from pydantic import BaseModel, ConfigDict

from allocator.files.study_folder import baseline_folder
from allocator.tuning.priors.baseline_evidence import read_baseline
from allocator.tuning.priors.make_prior import make_prior, needs_baseline
from allocator.tuning.priors.prior import Prior
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import is_baseline, is_finished

PROPOSALS = 3
"""Number of a prior's proposals that are tried before the sampler is asked.

With five, replays found no more where the proposals were good, and lost a third of the gain where
they were the worst allocations of all.
"""

_ATTRIBUTE = "prior"  # user attribute of Optuna's study
_START = "start"  # proposer of the allocations that the user gave with --start


class Proposal(BaseModel):
    """An allocation that was proposed, and the name of the prior that proposed it."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    proposed_by: str
    params: dict[str, int | float | str]


class _PriorState(BaseModel):
    """A study's record of its prior, so that it never changes and nothing is queued twice."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    used: str
    proposals: tuple[dict[str, int | float | str], ...]
    queued: tuple[Proposal, ...]


class ProposalQueue:
    """The prior of one study, and its proposals that wait to be tried.

    Args:
        study: Optuna's study.
        space: The search space.
        config: The configuration that all trials share.
        folder: The study's folder.
        baseline_params: Parameters of the uniform-rank baseline.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        config: StudyConfig,
        folder: Path,
        baseline_params: Params,
    ) -> None:
        self._study, self._space, self._config = study, space, config
        self._folder, self._baseline_params = folder, baseline_params

    def find_next(self) -> Proposal | None:
        """Find the next proposal that no trial has tried, not even a failed one.

        A prior that reads the baseline is made when the baseline has ended. Until then, what may
        train beside it is proposed: the baseline's ranks at other core learning rates.
        """
        state = self._update()
        queued = state.queued if state else self._list_proposals_beside_baseline()
        tried = [trial.params for trial in self._trials]
        return next((p for p in queued if p.params not in tried), None)

    @property
    def is_prior_known(self) -> bool:
        """Whether the prior was made, or can be made now."""
        return self._update() is not None

    @property
    def used(self) -> str | None:
        """Name of the prior once it was made; `uniform` if the requested one lacked evidence."""
        state = self._read_state()
        return None if state is None else state.used

    def _update(self) -> _PriorState | None:
        """Make the prior as soon as that is possible, and set that of the sampler."""
        state = self._read_state()
        if state is None and (not needs_baseline(self._config.prior) or self._has_baseline_ended()):
            state = self._write_state(self._make_prior())
        if state is not None:
            # Every time, because the sampler of a resumed study starts without a prior.
            self._set_sampler_prior(state)
        return state

    def _make_prior(self) -> Prior | None:
        tables, baseline = baseline_folder(self._folder), None
        # Without tables the baseline failed, and `make_prior` falls back to `uniform`.
        if tables.is_dir():
            baseline = read_baseline(tables, self._space.read_ranks(self._baseline_params))
        return make_prior(
            self._config.prior,
            self._space,
            self._baseline_params,
            baseline=baseline,
            starts=self._config.start,
            studies_dir=self._folder.parent,
        )

    def _read_state(self) -> _PriorState | None:
        content = self._study.user_attrs.get(_ATTRIBUTE)
        return None if content is None else _PriorState.model_validate(content)

    def _write_state(self, prior: Prior | None) -> _PriorState:
        """Decide which proposals to queue, and record them before the first is queued.

        If the process is killed in between, the resumed study queues the same proposals.
        """
        starts = [dict(params) for params in self._config.start]
        proposals = [dict(params) for params in prior.proposals] if prior else []
        tried = [*(trial.params for trial in self._trials), *starts]
        # Allocations from the user do not count towards `PROPOSALS`.
        own = [params for params in proposals if params not in tried][:PROPOSALS]
        used = prior.name if prior else self._config.prior
        state = _PriorState(
            used=used,
            proposals=tuple(proposals),
            queued=(
                *(_make_proposal(_START, p) for p in starts),
                *(_make_proposal(used, p) for p in own),
            ),
        )
        self._study.set_user_attr(_ATTRIBUTE, state.model_dump(mode="json"))
        return state

    def _list_proposals_beside_baseline(self) -> list[Proposal]:
        """List what may train beside the baseline: the user's, then its ranks at other rates."""
        uniform = make_prior("uniform", self._space, self._baseline_params)
        # It proposes at least the baseline's ranks.
        assert uniform is not None
        # Which other ranks to try is for the prior to say, and that still waits for the baseline.
        ranks = self._space.params_to_row(self._baseline_params)
        return [
            *(_make_proposal(_START, params) for params in self._config.start),
            *(
                _make_proposal("uniform", p)
                for p in uniform.proposals
                if self._space.params_to_row(p) == ranks
            ),
        ]

    def _set_sampler_prior(self, state: _PriorState) -> None:
        # Other samplers know no prior; they see its proposals only as trials.
        if isinstance(self._study.sampler, FeasibleGPSampler) and state.proposals:
            self._study.sampler.prior = Prior(
                name=state.used, space=self._space, proposals=state.proposals
            )

    def _has_baseline_ended(self) -> bool:
        return any(is_baseline(trial) and is_finished(trial) for trial in self._trials)

    @property
    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)


def _make_proposal(proposed_by: str, params: Params) -> Proposal:
    return Proposal(proposed_by=proposed_by, params=dict(params))
