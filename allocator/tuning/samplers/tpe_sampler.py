"""Optuna's TPE, its suggestions moved onto the feasible set."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from allocator.tuning.samplers.feasible_sampler import FeasibleSampler
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Space


class ProjectedTPESampler(FeasibleSampler):
    """Multivariate TPE whose ranks move to the nearest feasible ones, by distance in log rank.

    Args:
        space: The search space.
        seed: Seed of the study.
        n_startup_trials: Random trials before TPE is consulted.
    """

    def __init__(self, space: Space, *, seed: int, n_startup_trials: int = 10) -> None:
        super().__init__(space, seed=seed)
        self.n_startup_trials = n_startup_trials

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Ask TPE, with a generator of this trial's own, and project its answer."""
        rng = self.make_rng(trial)
        # A sampler of one use keeps no state, so a resumed study goes on alike.
        tpe = TPESampler(
            seed=int(rng.integers(2**31)),
            multivariate=True,
            constant_liar=True,
            n_startup_trials=self.n_startup_trials,
        )
        # The choices first: only trials of one variant have all of its parameters.
        chosen = self._suggest_params(tpe, study, trial, self.space.choices)
        if chosen:
            domain = Domain(self.space, {**chosen, **domain.required_params})
        some = domain.point_to_params(domain.sample_points(1, rng)[0])
        rest = [n for n in self.space.searched(self.space.variant(some)) if n not in chosen]
        suggested = self._suggest_params(tpe, study, trial, rest)
        if not suggested:
            return domain.sample_points(1, rng)
        point = domain.params_to_points([{**some, **suggested}])
        ranks = domain.find_nearest_ranks(domain.read_ranks(point)[0], rng)
        return domain.join_rates(ranks[None], domain.read_unit_rates(point))

    def _suggest_params(
        self, tpe: TPESampler, study: Study, trial: FrozenTrial, names: Sequence[str]
    ) -> dict[str, float | str]:
        searched = {n: self.space.distributions[n] for n in names}
        searched = {n: d for n, d in searched.items() if not d.single()}
        return tpe.sample_relative(study, trial, searched) if searched else {}
