"""Optuna's sampler on the project's own Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats import qmc
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.allocation.factorizations import Flags
from allocator.tuning.priors.prior import Prior
from allocator.tuning.samplers.feasible_sampler import FeasibleSampler
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Space
from allocator.tuning.surrogate.acquisition import (
    Floats,
    NoisyExpectedImprovement,
    maximize_acquisition,
)
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.observations import Observation, read_observations
from allocator.tuning.surrogate.surrogate import Surrogate
from allocator.tuning.surrogate.survival import Survival

PRIOR_STRENGTH = 3.0
_STARTUP_TRIALS = 5
_STARTUP_CANDIDATES = 64
_STARTS = 5


class FeasibleGPSampler(FeasibleSampler):
    """Bayesian optimisation over the feasible set, aware of noise, pruned trials and batches.

    After some space-filling trials, each suggestion maximises the noisy expected improvement of a
    Gaussian process over feasible points only, times the probability that the training does not
    collapse (Gelbart et al. 2014, arXiv 1403.5607, section 3). Every boundary's score counts with
    its fidelity, those of pruned trials too; trials in training count as points whose score will
    be known.

    A `prior` may be set at any time. Its density then multiplies the expected improvement, raised
    to a power that falls with the number of allocations seen (Hvarfner et al. 2022, arXiv
    2204.11051, equation 6), so that a wrong prior costs a few trials and no more.

    Args:
        space: The search space.
        seed: Seed of the study.
        final_step: The last boundary of a trial; a trial pruned at step s reached s / final_step.
        n_startup_trials: Trials before the surrogate is consulted, enqueued ones included.
        prior_strength: Power of a prior's density before anything was seen.
    """

    def __init__(
        self,
        space: Space,
        *,
        seed: int,
        final_step: int = 1,
        n_startup_trials: int = _STARTUP_TRIALS,
        prior_strength: float = PRIOR_STRENGTH,
    ) -> None:
        super().__init__(space, seed=seed)
        self.final_step, self.n_startup_trials = final_step, n_startup_trials
        self.prior_strength = prior_strength
        self.prior: Prior | None = None

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Fill the space first, then go where improvement is expected."""
        trials = study.get_trials(deepcopy=False)
        used, pending = (
            self.list_used_points(trials, domain),
            self.list_pending_points(trials, domain),
        )
        observations = read_observations(
            self.space, trials, final_step=self.final_step, direction=study.direction
        )
        rng = self.make_rng(trial)
        seen = np.unique(domain.params_to_points([o.params for o in observations]), axis=0)
        if not len(seen) or len(seen) + len(pending) < self.n_startup_trials:
            return self._fill_space(trial, domain, used, rng)
        # Matrices this small are slower on several threads, most of all on a busy machine.
        with threadpool_limits(limits=1, user_api="blas"):
            sound = [o.params for o in observations if not o.collapsed]
            known = np.unique(domain.params_to_points(sound), axis=0) if sound else seen
            base = np.concatenate([known, pending])
            found = self._maximize_improvement(observations, base, len(seen), domain, used, rng)
        return (found if len(found) else domain.sample_points(1, rng))[:1]

    def _fill_space(
        self, trial: FrozenTrial, domain: Domain, used: Points, rng: np.random.Generator
    ) -> Points:
        """Take rates from a Sobol sequence, and ranks far from those that were tried.

        Every other trial nearly fills its budget; the optimum may lie inside, so not all do.
        """
        ranks = domain.read_ranks(domain.sample_points(16 * _STARTUP_CANDIDATES, rng))
        if trial.number % 2 == 0:
            ranks = ranks[np.argsort(-self.space.feasible.count_parameters(ranks), kind="stable")]
        points = domain.join_rates(
            ranks, np.repeat(self._draw_sobol_rates(trial.number), len(ranks), axis=0)
        )
        points = points[domain.are_new(points, used)][:_STARTUP_CANDIDATES]
        if not len(points):
            return domain.sample_points(1, rng)
        encoder = Encoder(self.space)
        inputs, tried = encoder.encode_points(points), encoder.encode_points(used)
        distance = np.abs(inputs[:, None] - tried[None]).sum(axis=2)
        farthest = int(np.argmax(distance.min(axis=1, initial=np.inf)))
        return points[farthest : farthest + 1]

    def _draw_sobol_rates(self, number: int) -> Points:
        """Give one point of the study's Sobol sequence over the rates, shape (1, rates)."""
        rates = len(self.space.rate_parameters)
        if not rates:
            return np.zeros((1, 0))
        sequence = qmc.Sobol(rates, rng=np.random.default_rng(self.seed))
        points: Points = sequence.random_base2(number.bit_length())
        return points[number : number + 1]

    def _maximize_improvement(
        self,
        observations: Sequence[Observation],
        base: Points,
        seen: int,
        domain: Domain,
        used: Points,
        rng: np.random.Generator,
    ) -> Points:
        surrogate = Surrogate.fit(self.space, observations, seed=self.seed)
        survival = Survival.fit(self.space, observations, seed=self.seed)
        improvement = NoisyExpectedImprovement(surrogate, base, rng)
        mean, _ = surrogate.predict(base)
        starts = base[np.argsort(-mean, kind="stable")[:_STARTS]]
        power = self.prior_strength / (1 + seen)

        def acquisition(points: Points) -> Floats:
            values = improvement(points)
            if survival is not None:
                values = values + survival.compute_log_probability(points)
            return (
                values
                if self.prior is None
                else values + power * self.prior.compute_log_density(points)
            )

        if self.prior is not None and not domain.required_params:
            starts = np.concatenate([starts, self.prior.points])

        def allowed(points: Points) -> Flags:
            return domain.are_feasible(points) & domain.are_new(points, used)

        return maximize_acquisition(acquisition, domain, allowed, starts, rng)
