"""The base class of the samplers, and the sampler that draws at random."""

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
from allocator.tuning.space.space import RIVAL, Params, Space
from allocator.tuning.storage.trial_memory import (
    leave_out_verdict,
    list_standing,
    read_budget,
    read_params,
)


def ask_trial(study: Study, space: Space) -> Trial:
    """Ask Optuna for a trial that has a value for every parameter of its variant of the space.

    The choices come first, because they decide which parameters the trial has. A trial of a rival
    was enqueued with all of its parameters.
    """
    trial = study.ask()
    enqueued = read_params(study.get_trials(deepcopy=False)[trial.number])
    for name in (RIVAL,) if RIVAL in enqueued else space.without_rivals.choices:
        suggest_parameter(trial, name, space.distributions[name])
    for name in space.list_searched(space.find_variant(trial.params)):
        suggest_parameter(trial, name, space.distributions[name])
    return trial


def suggest_parameter(trial: Trial, name: str, distribution: BaseDistribution) -> None:
    """Set one parameter of a trial to the value that the study's sampler suggests."""
    match distribution:
        case CategoricalDistribution():
            trial.suggest_categorical(name, distribution.choices)
        case IntDistribution():
            trial.suggest_int(name, distribution.low, distribution.high)
        case FloatDistribution():
            trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


class FeasibleSampler(BaseSampler, abc.ABC):
    """Base class of samplers that suggest only feasible points, from fixed distributions.

    A suggestion depends only on the seed and on the study's trials that stand for a training, so
    that a resumed study continues as if it had never stopped. Trials must be started with
    `ask_trial`: it sets all parameters at once, and so makes running trials visible to the next
    suggestion.

    Args:
        space: The search space.
        seed: Seed of the study.
    """

    def __init__(self, space: Space, *, seed: int) -> None:
        self.space, self.seed = space, seed

    @abc.abstractmethod
    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Choose one point of the domain, shape (1, columns)."""

    def make_domain(self, required: Params, budget: int | None) -> Domain:
        """Make the domain of the points that agree with some parameters, within a budget."""
        return Domain(self.space, required, budget=budget)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the distributions of all searched parameters, from the first trial on."""
        del study, trial
        return dict(self.space.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, int | float | str]:
        """Suggest values for all parameters of a variant, keeping those that were enqueued."""
        del search_space
        # Optuna keeps the values of `enqueue_trial` here; some parameters may be missing.
        enqueued = read_params(study.get_trials(deepcopy=False)[trial.number])
        if self.space.has_all_params(enqueued):
            return {}
        domain = self.make_domain(enqueued, read_budget(trial))
        return domain.point_to_params(self.suggest_point(study, trial, domain)[0])

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> float:
        """Refuse a parameter that the space lacks; those that it has are sampled together.

        Raises:
            ValueError: Always.
        """
        del study, trial
        raise ValueError(
            f"parameter {param_name} ({param_distribution}) must be one of the space's: "
            f"{', '.join(self.space.distributions)}"
        )

    def list_earlier(self, study: Study, trial: FrozenTrial) -> list[FrozenTrial]:
        """List the trials before one by which it may be suggested, in the order of decisions.

        Left out are those that broke off and are tried again, and those of a verdict.
        """
        earlier = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        return leave_out_verdict(list_standing(earlier))

    def make_rng(self, study: Study, trial: FrozenTrial) -> np.random.Generator:
        """Make the random generator of one trial, from the seed and the trial's place."""
        return np.random.default_rng([self.seed, len(self.list_earlier(study, trial))])

    def list_used_points(self, trials: Sequence[FrozenTrial], domain: Domain) -> Points:
        """List the points of some trials, in any state, shape (n, columns)."""
        return domain.params_to_points(
            [t.params for t in trials if self.space.has_all_params(t.params)]
        )

    def list_pending_points(self, trials: Sequence[FrozenTrial], domain: Domain) -> Points:
        """List the points of the trials in training, shape (n, columns)."""
        running = [t for t in trials if t.state == TrialState.RUNNING]
        return self.list_used_points(running, domain)


class RandomFeasibleSampler(FeasibleSampler):
    """Draw ranks uniformly from the feasible set, and rates by their distributions."""

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Draw one point, if possible one that no trial has used."""
        used = self.list_used_points(self.list_earlier(study, trial), domain)
        rng = self.make_rng(study, trial)
        # At least one of 64 draws is new, unless nearly the whole space has been tried.
        points = domain.sample_points(64, rng)
        new = points[domain.are_new(points, used)]
        return (new if len(new) else points)[:1]
