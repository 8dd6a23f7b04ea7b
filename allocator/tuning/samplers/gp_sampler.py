"""The default sampler: Bayesian optimisation over feasible points, by a Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.study import Study, StudyDirection
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
"""Power of a prior's density before any trial.

Chosen by replays on trained allocations, in which 8 trials with the `gradient` prior of this
strength found what 40 without a prior did.
"""

_STARTUP_TRIALS = 5  # trials before the surrogate is fitted, including proposals and enqueued ones
_STARTUP_CANDIDATES = 64  # random points; the one farthest from all tried points is chosen
_NUM_LOCAL_STARTS = 5  # observed points of highest mean, from which local search also starts


class FeasibleGPSampler(FeasibleSampler):
    """Bayesian optimisation over the feasible set, for noisy scores, pruned trials and batches.

    The first trials fill the space. Every later suggestion is the feasible point with the highest
    product of noisy expected improvement and the probability that its training does not collapse
    (Gelbart et al. 2014, arXiv 1403.5607, section 3). The surrogate is fitted to the score at every
    boundary, including those of pruned trials. A trial in training counts as a point whose score is
    about to be known, so that the suggestions of one batch differ.

    A `prior` may be set at any time. The expected improvement is then multiplied by the prior's
    density to the power `prior_strength / (1 + n)`, where n is the number of allocations observed
    (Hvarfner et al. 2022, arXiv 2204.11051, equation 6), so that a wrong prior costs a few trials.

    Args:
        space: The search space.
        seed: Seed of the study.
        final_step: Boundaries of a whole trial; a score at boundary s has fidelity s / final_step.
        n_startup_trials: Trials before the surrogate is fitted, including enqueued ones.
        prior_strength: Power of the prior's density before any trial.
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
        """Choose a point that fills the space at first, then one of high expected improvement."""
        trials = self.list_earlier(study, trial)
        used, pending = (
            self.list_used_points(trials, domain),
            self.list_pending_points(trials, domain),
        )
        sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
        observations = read_observations(self.space, trials, final_step=self.final_step, sign=sign)
        rng = self.make_rng(study, trial)
        # One row for each allocation, regardless of the number of boundaries observed.
        seen = np.unique(domain.params_to_points([o.params for o in observations]), axis=0)
        if not len(seen) or len(seen) + len(pending) < self.n_startup_trials:
            return self._fill_space(len(trials), domain, used, rng)
        # Products of small matrices take longer on several threads than on one, because the
        # threads wait for each other, especially on a busy machine.
        with threadpool_limits(limits=1, user_api="blas"):
            # A collapsed training has no score to improve on; `Survival` learns from it.
            sound = [o.params for o in observations if not o.collapsed]
            scored = np.unique(domain.params_to_points(sound), axis=0) if sound else seen
            observed = np.concatenate([scored, pending])
            best_first = self._maximize_improvement(
                observations, observed, len(seen), domain, used, rng
            )
        return (best_first if len(best_first) else domain.sample_points(1, rng))[:1]

    def _fill_space(
        self, place: int, domain: Domain, used: Points, rng: np.random.Generator
    ) -> Points:
        """Choose rates from a Sobol sequence, and ranks far from those that were tried.

        Every other trial takes ranks that nearly fill the budget, as good allocations often do. The
        rest take any ranks, because the optimum may use less of the budget.
        """
        # 16 times as many as are compared, so that the largest of them nearly fill the budget.
        ranks = domain.read_ranks(domain.sample_points(16 * _STARTUP_CANDIDATES, rng))
        # Where budgets are taken in turn, each has both kinds of ranks.
        if place // len(self.space.budgets) % 2 == 0:
            ranks = ranks[np.argsort(-domain.feasible.count_parameters(ranks), kind="stable")]
        points = domain.join_rates(
            ranks, np.repeat(self._draw_sobol_rates(place), len(ranks), axis=0)
        )
        points = points[domain.are_new(points, used)][:_STARTUP_CANDIDATES]
        if not len(points):
            return domain.sample_points(1, rng)
        encoder = Encoder(self.space)
        inputs, tried = encoder.encode_points(points), encoder.encode_points(used)
        distance = np.abs(inputs[:, None] - tried[None]).sum(axis=2)
        farthest = int(np.argmax(distance.min(axis=1, initial=np.inf)))
        return points[farthest : farthest + 1]

    def _draw_sobol_rates(self, place: int) -> Points:
        """Draw the trial's point of the study's Sobol sequence over the rates, shape (1, rates).

        The sequence is generated again from the study's seed for each trial, so that no state is
        lost when a study is resumed. The number of points is a power of two, because SciPy warns
        that other numbers are not balanced.
        """
        rates = len(self.space.rate_parameters)
        if not rates:
            return np.zeros((1, 0))
        sequence = qmc.Sobol(rates, rng=np.random.default_rng(self.seed))
        points: Points = sequence.random_base2(place.bit_length())
        return points[place : place + 1]

    def _maximize_improvement(
        self,
        observations: Sequence[Observation],
        observed: Points,
        num_seen: int,
        domain: Domain,
        used: Points,
        rng: np.random.Generator,
    ) -> Points:
        """List points of high acquisition, the best first; none if every point was used.

        Args:
            observations: All scores so far.
            observed: Points whose scores are known or about to be, shape (b, columns).
            num_seen: Number of allocations with a score, collapsed ones included.
            domain: The points to choose from.
            used: Points that may not be chosen again, shape (n, columns).
            rng: Source of the acquisition's draws.
        """
        surrogate = Surrogate.fit(self.space, observations, seed=self.seed)
        survival = Survival.fit(self.space, observations, seed=self.seed)
        are_within = domain.are_feasible(observed)
        improvement = NoisyExpectedImprovement(surrogate, observed, rng, improved_on=are_within)
        mean, _ = surrogate.predict(observed)
        order = np.argsort(-mean, kind="stable")
        starts = observed[order[are_within[order]][:_NUM_LOCAL_STARTS]]
        power = self.prior_strength / (1 + num_seen)

        def compute_acquisition(points: Points) -> Floats:
            values = improvement(points)
            if survival is not None:
                values = values + survival.compute_log_probability(points)
            if self.prior is not None:
                values = values + power * self.prior.compute_log_density(points)
            return values

        # Starts may be chosen as they are, so proposals are left out if an enqueued trial requires
        # values that they may not have.
        if self.prior is not None and not domain.required_params:
            starts = np.concatenate([starts, self.prior.points])

        def are_allowed(points: Points) -> Flags:
            return domain.are_feasible(points) & domain.are_new(points, used)

        return maximize_acquisition(compute_acquisition, domain, are_allowed, starts, rng)
