"""The rounds of a study: which trainings are decided on together, and what each of them is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial

from allocator.errors import StudyError
from allocator.tuning.evidence.allocations import list_allocations
from allocator.tuning.evidence.choice import select_best
from allocator.tuning.evidence.expectations import Expectations, compute_expectations
from allocator.tuning.evidence.race import SEARCH_SEEDS, choose_contenders
from allocator.tuning.space.space import Params, Space, make_baseline_params
from allocator.tuning.storage.objective import make_objective
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import (
    BASELINE,
    Attributes,
    Purpose,
    is_finished,
    leave_out_verdict,
    list_standing,
    make_attributes,
    read_purpose,
    read_round,
    read_seed,
)
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.proposal_queue import ProposalQueue


_BESIDE_BASELINE = 1  # allocations that train beside the baseline, for which a prior waits


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A training that a study decided on.

    Attributes:
        params: Parameters of its allocation; None for the sampler to suggest one.
        attributes: What the study remembers of it.
    """

    params: Params | None
    attributes: Attributes


class RoundPlanner:
    """Decide, one after the other, on the trainings of a round.

    First come the baseline and what is known to be worth a try, then a prior's proposals and the
    sampler's suggestions, all with the study's own seed; then the race, with further seeds; last
    the verdict on the choice.

    Args:
        study: Optuna's study.
        space: The search space.
        config: The configuration that all trials share.
        goal: The number of trainings that the study is to have.
        proposals: The prior's proposals.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: Space,
        config: StudyConfig,
        goal: Goal,
        proposals: ProposalQueue,
    ) -> None:
        self._study, self._space, self._config, self._goal = study, space, config, goal
        self._proposals = proposals

    def decide_next(self) -> Decision | None:
        """Decide on the next training, or return None: the round, or the study, has all of its own.

        Trainings that were decided on must be asked for before the next call, as they count.
        """
        standing = list_standing(self._study.get_trials(deepcopy=False))
        members = self._list_open_round(standing)
        if any(map(is_finished, members)):
            return None  # a round is decided on as a whole, before any of it trains
        if not any(read_purpose(trial) == "verdict" for trial in members):
            searched = leave_out_verdict(standing)
            if len(searched) < self._count_search(standing) and len(members) < self._goal.places:
                decision = self._decide_search(standing, searched)
                if decision is not None:
                    return decision
            if members:
                return None
        return self._decide_verdict(standing)

    def _list_open_round(self, standing: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """List the trainings of the last round, if one of them has not ended."""
        last = max(map(read_round, standing), default=0)
        members = [trial for trial in standing if read_round(trial) == last]
        return [] if all(map(is_finished, members)) else members

    def _count_search(self, standing: Sequence[FrozenTrial]) -> int:
        """Count the trainings that may be made before a verdict."""
        proved = len(standing) - len(leave_out_verdict(standing))
        if not proved:
            return self._goal.num_search
        # A study that goes on after a verdict needs another one, for which the baseline is trained.
        return self._goal.trials - proved - self._goal.num_verdict_seeds

    def _decide_search(
        self, standing: Sequence[FrozenTrial], searched: Sequence[FrozenTrial]
    ) -> Decision | None:
        seed = self._config.training.seed
        allocations = list_allocations(self._space, searched)
        if not any(allocation.is_baseline for allocation in allocations):
            baseline = make_baseline_params(self._space)
            return self._make_decision(standing, "baseline", seed, baseline, rival=BASELINE)
        waits = not self._proposals.is_prior_known
        if waits and len(allocations) > _BESIDE_BASELINE + len(self._config.start):
            return None
        if len(allocations) < self._goal.num_allocations:
            proposal = self._proposals.find_next()
            if proposal is not None:
                return self._make_decision(
                    standing, "proposal", seed, proposal.params, proposed_by=proposal.proposed_by
                )
            # Without the prior, which waits for the baseline, the sampler would only guess.
            return None if waits else self._make_decision(standing, "search", seed, None)
        return self._decide_race(standing, searched)

    def _decide_race(
        self, standing: Sequence[FrozenTrial], searched: Sequence[FrozenTrial]
    ) -> Decision | None:
        ended = [trial for trial in searched if is_finished(trial)]
        pending = [t for t in searched if not is_finished(t) and read_purpose(t) == "race"]
        try:
            expectations = self._expect(ended)
        except StudyError:  # none is sound: try something else
            return self._make_decision(standing, "search", self._config.training.seed, None)
        # Those that are decided on already would be chosen again in the same order.
        chosen = choose_contenders(
            expectations,
            len(pending) + 1,
            num_seeds=[len(a.seeds) for a in expectations.allocations],
        )
        if len(chosen) <= len(pending):
            return None
        params = expectations.allocations[chosen[-1]].params
        mine = next(a for a in list_allocations(self._space, searched) if a.params == params)
        first = self._config.training.seed
        seed = next(s for s in itertools.count(first) if s not in mine.seeds)
        rival = BASELINE if mine.is_baseline else None
        return self._make_decision(standing, "race", seed, params, rival=rival)

    def _decide_verdict(self, standing: Sequence[FrozenTrial]) -> Decision | None:
        """Decide on a training of the choice or of the baseline with a seed of the verdict."""
        if len(standing) >= self._goal.trials:
            return None
        try:
            selection = select_best(self._space, self._expect(standing))
        except StudyError:
            return None
        if selection.baseline is None or selection.best.allocation.is_baseline:
            return None
        baseline = make_baseline_params(self._space)
        first = self._config.training.seed + SEARCH_SEEDS
        for seed in range(first, first + self._goal.num_verdict_seeds):
            for rival, params in ((None, selection.best.allocation.params), (BASELINE, baseline)):
                tried = [t for t in standing if t.params == params and read_seed(t) == seed]
                if not tried:
                    return self._make_decision(standing, "verdict", seed, params, rival=rival)
        return None

    def _expect(self, trials: Sequence[FrozenTrial]) -> Expectations:
        return compute_expectations(
            self._space,
            trials,
            final_step=self._config.training.num_boundaries,
            objective=make_objective(self._config.decide_by, self._config.task),
        )

    def _make_decision(
        self,
        standing: Sequence[FrozenTrial],
        purpose: Purpose,
        seed: int,
        params: Params | None,
        *,
        rival: str | None = None,
        proposed_by: str | None = None,
    ) -> Decision:
        last = max(map(read_round, standing), default=0)
        is_open = not standing or bool(self._list_open_round(standing))
        return Decision(
            params=params,
            attributes=make_attributes(
                seed=seed,
                purpose=purpose,
                round_=last if is_open else last + 1,
                position=len(standing),
                rival=rival,
                proposed_by=proposed_by,
            ),
        )
