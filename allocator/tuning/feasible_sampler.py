"""What the project's samplers share, and the simplest of them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from allocator.tuning.domain import Domain, Points
from allocator.tuning.observations import has_parameters
from allocator.tuning.space import Space


class FeasibleSampler(BaseSampler, abc.ABC):
    """A sampler with static distributions whose every suggestion is feasible.

    A suggestion depends on the seed, the trial's number and the study's trials alone, so that a
    resumed study goes on as if it had never stopped. Trials must be asked for with the space's
    distributions, `study.ask(dict(space.distributions))`, so that those in training are known.

    Args:
        space: The search space.
        seed: Seed of the study.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        self.space, self.seed = space, seed

    @abc.abstractmethod
    def suggest(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Choose one point of the domain, shape (1, columns)."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Give all searched parameters, from the first trial on."""
        del study, trial
        return dict(self.space.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, int | float]:
        """Suggest a value for every parameter together, around those that were enqueued."""
        decided = trial.system_attrs.get("fixed_params", {})
        if decided.keys() >= search_space.keys():
            return {}
        domain = Domain(self.space, decided)
        return domain.params(self.suggest(study, trial, domain)[0])

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> float:
        """Refuse a parameter that the space does not have: those it has are sampled together.

        Raises:
            ValueError: Always.
        """
        del study, trial
        raise ValueError(
            f"parameter {param_name} ({param_distribution}) must be one of the space's: "
            f"{', '.join(self.space.distributions)}"
        )

    def rng(self, trial: FrozenTrial) -> np.random.Generator:
        """Make the random generator of one trial."""
        return np.random.default_rng([self.seed, trial.number])

    def used_points(self, trials: Sequence[FrozenTrial], domain: Domain) -> Points:
        """List the points of all trials, failed and running ones too, shape (n, columns)."""
        return domain.points([t.params for t in trials if has_parameters(self.space, t)])

    def pending_points(self, trials: Sequence[FrozenTrial], domain: Domain) -> Points:
        """List the points of the trials in training, shape (n, columns)."""
        running = [t for t in trials if t.state == TrialState.RUNNING]
        return self.used_points(running, domain)


class RandomFeasibleSampler(FeasibleSampler):
    """Ranks uniform over the feasible set, rates by their distribution."""

    def suggest(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Draw one point that no trial has had, as far as there is one."""
        used = self.used_points(study.get_trials(deepcopy=False), domain)
        points = domain.sample(64, self.rng(trial))
        new = points[domain.is_new(points, used)]
        return (new if len(new) else points)[:1]
