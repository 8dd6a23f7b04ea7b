"""Optuna's TPE sampler, with its suggestions projected onto the feasible set."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.samplers import TPESampler
from optuna.study import Study, create_study
from optuna.trial import FrozenTrial

from allocator.tuning.samplers.feasible_sampler import FeasibleSampler
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Space


class ProjectedTPESampler(FeasibleSampler):
    """Multivariate TPE whose suggested ranks are replaced by the nearest feasible ones.

    TPE models every parameter as an interval and knows no budget, so most of what it suggests near
    the budget exceeds it. The nearest ranks are those at the smallest Euclidean distance of log
    ranks; rates are kept.

    Args:
        space: The search space.
        seed: Seed of the study.
        n_startup_trials: Random trials before TPE is consulted.
    """

    def __init__(self, space: Space, *, seed: int, n_startup_trials: int = 10) -> None:
        super().__init__(space, seed=seed)
        self.n_startup_trials = n_startup_trials

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Ask TPE for a point, and project its ranks onto the feasible set."""
        rng = self.make_rng(study, trial)
        # A TPESampler keeps a random state. Each trial has a new one, seeded by its place, so that
        # a resumed study suggests what an uninterrupted one would.
        tpe = TPESampler(
            seed=int(rng.integers(2**31)),
            multivariate=True,
            constant_liar=True,  # running trials count as bad, so that the trials of a batch differ
            n_startup_trials=self.n_startup_trials,
        )
        study, trial = self._copy_earlier(study, trial)
        # Multivariate TPE learns only from trials that have all of the parameters asked for, which
        # differ between variants. So the variant is chosen first, and then its parameters.
        choices = self._suggest_params(tpe, study, trial, self.space.choices)
        if choices:
            required = {**choices, **domain.required_params}
            domain = Domain(self.space, required, budget=domain.feasible.budget)
        # A random point of that variant fills in what TPE does not suggest.
        random_params = domain.point_to_params(domain.sample_points(1, rng)[0])
        variant = self.space.find_variant(random_params)
        other_names = [n for n in self.space.list_searched(variant) if n not in choices]
        suggested = self._suggest_params(tpe, study, trial, other_names)
        if not suggested:
            return domain.sample_points(1, rng)
        point = domain.params_to_points([{**random_params, **suggested}])
        ranks = domain.find_nearest_ranks(domain.read_ranks(point)[0], rng)
        return domain.join_rates(ranks[None], domain.read_unit_rates(point))

    def _copy_earlier(self, study: Study, trial: FrozenTrial) -> tuple[Study, FrozenTrial]:
        """Copy a trial, and those by which it may be suggested, into a study of their own.

        TPE reads all trials of a study, those of a verdict included, and draws by the order of
        their numbers, which an interrupt changes.
        """
        copy = create_study(direction=study.direction)
        copy.add_trials([*self.list_earlier(study, trial), trial])
        return copy, copy.get_trials(deepcopy=False)[-1]

    def _suggest_params(
        self, tpe: TPESampler, study: Study, trial: FrozenTrial, names: Sequence[str]
    ) -> dict[str, float | str]:
        searched = {n: self.space.distributions[n] for n in names}
        searched = {n: d for n, d in searched.items() if not d.single()}
        return tpe.sample_relative(study, trial, searched) if searched else {}
