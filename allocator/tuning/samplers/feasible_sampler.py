"""What the project's samplers share, and the simplest of them."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Space


def ask_trial(study: Study, space: Space) -> Trial:
    """Start a trial that has a value for every parameter of one variant of the space."""
    trial = study.ask()
    for name in space.choices:
        suggest_parameter(trial, name, space.distributions[name])
    for name in space.searched(space.variant(trial.params)):
        suggest_parameter(trial, name, space.distributions[name])
    return trial


def suggest_parameter(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    """Give a trial its value of one parameter."""
    match distribution:
        case CategoricalDistribution():
            trial.suggest_categorical(name, distribution.choices)
        case IntDistribution():
            trial.suggest_int(name, distribution.low, distribution.high)
        case FloatDistribution():
            trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


class FeasibleSampler(BaseSampler, abc.ABC):
    """A sampler with static distributions whose every suggestion is feasible.

    A suggestion depends on the seed, the trial's number and the study's trials alone, so that a
    resumed study goes on as if it had never stopped. Trials must be asked for with `ask_trial`, so
    that those in training are known.

    Args:
        space: The search space.
        seed: Seed of the study.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        self.space, self.seed = space, seed

    @abc.abstractmethod
    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Choose one point of the domain, shape (1, columns)."""

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Give all searched parameters, from the first trial on."""
        del study, trial
        return dict(self.space.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, int | float | str]:
        """Suggest values for all parameters of a variant, around those that were enqueued."""
        del search_space
        decided = trial.system_attrs.get("fixed_params", {})
        if self.space.has_all_params(decided):
            return {}
        domain = Domain(self.space, decided)
        return domain.point_to_params(self.suggest_point(study, trial, domain)[0])

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

    def make_rng(self, trial: FrozenTrial) -> np.random.Generator:
        """Make the random generator of one trial."""
        return np.random.default_rng([self.seed, trial.number])

    def list_used_points(self, trials: Sequence[FrozenTrial], domain: Domain) -> Points:
        """List the points of all trials, failed and running ones too, shape (n, columns)."""
        return domain.params_to_points(
            [t.params for t in trials if self.space.has_all_params(t.params)]
        )

    def list_pending_points(self, trials: Sequence[FrozenTrial], domain: Domain) -> Points:
        """List the points of the trials in training, shape (n, columns)."""
        running = [t for t in trials if t.state == TrialState.RUNNING]
        return self.list_used_points(running, domain)


class RandomFeasibleSampler(FeasibleSampler):
    """Ranks uniform over the feasible set, rates by their distribution."""

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Draw one point that no trial has had, as far as there is one."""
        used = self.list_used_points(study.get_trials(deepcopy=False), domain)
        points = domain.sample_points(64, self.make_rng(trial))
        new = points[domain.are_new(points, used)]
        return (new if len(new) else points)[:1]
