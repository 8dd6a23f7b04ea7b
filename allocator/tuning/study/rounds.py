"""The rounds of a study: which trainings are decided on together, and what each of them is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from allocator.allocation.factorizations import Flags
from allocator.errors import StudyError
from allocator.tuning.evidence.allocations import list_allocations
from allocator.tuning.evidence.choice import list_compared, select_front
from allocator.tuning.evidence.expectations import Expectations, compute_expectations
from allocator.tuning.evidence.race import SEARCH_SEEDS, choose_contenders
from allocator.tuning.space.rivals import list_rival_params
from allocator.tuning.space.space import RIVAL, Params, Space, make_baseline_params
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
    name_baseline,
    read_purpose,
    read_rival,
    read_round,
    read_seed,
)
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.proposal_queue import ProposalQueue


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

    First come the baselines, their rivals and what is known to be worth a try, then a prior's
    proposals and the sampler's suggestions, all with the study's own seed; then the race, with
    further seeds; last the verdict on the choice. Where there are several budgets, the sampler's
    suggestions and the race seek the best within each of them in turn.

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
        self._baselines = {BASELINE: make_baseline_params(space)}
        for budget in reversed(space.smaller_budgets):
            baseline = make_baseline_params(space, budget)
            if baseline not in self._baselines.values():  # two budgets may have the same
                self._baselines[name_baseline(budget)] = baseline

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
        """Count the trainings that may be made before a verdict, for which the others are kept."""
        proving = [trial for trial in standing if read_purpose(trial) == "verdict"]
        proved = {(read_rival(trial), read_seed(trial)) for trial in proving}
        seeds = self._list_verdict_seeds()
        rivals = self._space.rivals if self._goal.num_rates else ()
        opponents = [*self._baselines, *(rival.choice[RIVAL] for rival in rivals)]
        missing = len(set(itertools.product(opponents, seeds)) - proved)
        # A study that goes on after a verdict may choose other allocations, which need all seeds.
        missing += len(self._space.budgets) * len(seeds)
        return self._goal.trials - len(proving) - missing

    def _decide_search(
        self, standing: Sequence[FrozenTrial], searched: Sequence[FrozenTrial]
    ) -> Decision | None:
        seed = self._config.training.seed
        allocations = list_allocations(self._space.without_rivals, searched)
        for name, baseline in self._baselines.items():
            if all(allocation.params != baseline for allocation in allocations):
                return self._make_decision(standing, "baseline", seed, baseline, rival=name)
        rival = self._find_untried_rival(searched)
        if rival is not None:
            name = str(rival[RIVAL])
            return self._make_decision(standing, "rival", seed, rival, rival=name)
        # What a prior proposes once the baseline has ended is better than its ranks at other rates.
        beside = len(self._baselines) + len(self._config.start)
        if len(allocations) > beside and not self._proposals.is_prior_known:
            return None
        are_left = self._are_allocations_left(len(allocations))
        if len(allocations) < self._goal.num_allocations and are_left:
            return self._decide_new(standing)
        try:
            return self._decide_race(standing, searched)
        except StudyError:  # none is sound: try something else, once that is known
            has_evidence = any(map(is_finished, searched))
            return self._decide_new(standing) if are_left and has_evidence else None

    def _find_untried_rival(self, searched: Sequence[FrozenTrial]) -> Params | None:
        tried = [trial.params for trial in searched]
        listed = list_rival_params(self._space, self._goal.num_rates)
        return next((params for params in listed if params not in tried), None)

    def _decide_new(self, standing: Sequence[FrozenTrial]) -> Decision | None:
        seed = self._config.training.seed
        proposal = self._proposals.find_next()
        if proposal is not None:
            return self._make_decision(
                standing, "proposal", seed, proposal.params, proposed_by=proposal.proposed_by
            )
        # Without the prior, which waits for the baseline, the sampler would only guess.
        if not self._proposals.is_prior_known:
            return None
        suggested = sum(read_purpose(trial) == "search" for trial in standing)
        budget = self._take_budget(suggested)
        # Without a budget of its own a trial is within the largest.
        limit = budget if budget in self._space.smaller_budgets else None
        return self._make_decision(standing, "search", seed, None, budget=limit)

    def _take_budget(self, place: int) -> int:
        """Take the budgets in turn, the largest first."""
        budgets = self._space.budgets
        return budgets[-1 - place % len(budgets)]

    def _are_allocations_left(self, tried: int) -> bool:
        """Whether the space has allocations that were not tried; with a rate, it always has."""
        space = self._space.without_rivals
        has_rates = any(not space.distributions[name].single() for name in space.rate_parameters)
        return has_rates or tried < space.feasible.size

    def _decide_race(
        self, standing: Sequence[FrozenTrial], searched: Sequence[FrozenTrial]
    ) -> Decision | None:
        ended = [trial for trial in searched if is_finished(trial)]
        pending = [t for t in searched if not is_finished(t) and read_purpose(t) == "race"]
        expectations = self._expect(ended).keep(lambda a: self._space.fits_budget(a.params))
        raced = sum(read_purpose(trial) == "race" for trial in ended)
        # Those that are decided on already would be chosen again in the same order.
        chosen = choose_contenders(
            expectations,
            len(pending) + 1,
            num_seeds=[len(a.seeds) for a in expectations.allocations],
            groups=[
                self._list_within(expectations, self._take_budget(raced + place))
                for place in range(len(pending) + 1)
            ],
        )
        if len(chosen) <= len(pending):
            return None
        params = expectations.allocations[chosen[-1]].params
        mine = next(a for a in list_allocations(self._space, searched) if a.params == params)
        first = self._config.training.seed
        seed = next(s for s in itertools.count(first) if s not in mine.seeds)
        return self._make_decision(standing, "race", seed, params, rival=mine.rival)

    def _list_within(self, expectations: Expectations, budget: int) -> Flags:
        """Whether each allocation is within a budget; all, if none is."""
        fits = [self._space.fits_budget(a.params, budget) for a in expectations.allocations]
        return np.array(fits) if any(fits) else np.ones(len(fits), dtype=np.bool_)

    def _decide_verdict(self, standing: Sequence[FrozenTrial]) -> Decision | None:
        """Decide on a training of a choice, or of what it is compared with, with a new seed."""
        if len(standing) >= self._goal.trials:
            return None
        try:
            front = select_front(self._space, self._expect(standing))
        except StudyError:
            return None
        compared = list_compared(front)
        if len(compared) < 2:
            return None
        for seed in self._list_verdict_seeds():
            tried = [trial.params for trial in standing if read_seed(trial) == seed]
            missing = [allocation for allocation in compared if allocation.params not in tried]
            # All or none: a training without its rivals proves nothing.
            if missing and len(standing) + len(missing) <= self._goal.trials:
                return self._make_decision(
                    standing, "verdict", seed, missing[0].params, rival=missing[0].rival
                )
        return None

    def _list_verdict_seeds(self) -> Sequence[int]:
        first = self._config.training.seed + SEARCH_SEEDS
        return range(first, first + self._goal.num_verdict_seeds)

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
        budget: int | None = None,
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
                budget=budget,
            ),
        )
