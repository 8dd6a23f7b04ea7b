"""The verdict on a study's choice: what seeds and examples that did not make it say of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import optuna
from optuna.trial import FrozenTrial
from pydantic import BaseModel, ConfigDict, ValidationError

from allocator.training.evaluation import Answers
from allocator.tuning.evidence.allocations import list_allocations
from allocator.tuning.evidence.choice import Selection
from allocator.tuning.evidence.metric_differences import compute_pseudo_differences
from allocator.tuning.evidence.paired_difference import PairedDifference, Verdict, compare_paired
from allocator.tuning.names import DecideBy
from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.trial_memory import (
    is_finished,
    is_given_up,
    list_standing,
    read_purpose,
    read_seed,
)

BEST = "best"
"""Name, among the opponents of a smaller budget's choice, of the choice of the largest budget."""

_ATTRIBUTE = "verdict"  # user attribute of Optuna's study
Labels = npt.NDArray[np.number]
Floats = npt.NDArray[np.float64]


class Difference(BaseModel):
    """Choice minus an opponent on dev: the fields of `PairedDifference`, and what they say.

    Attributes:
        choice: Mean of the choice over seeds.
        opponent: Mean of the opponent.
        choice_error: Standard error of `choice` over seeds; None of a single seed.
        opponent_error: That of `opponent`.
        words: Whether the choice is better, worse, or not distinguishable.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    choice: float
    opponent: float
    choice_error: float | None = None
    opponent_error: float | None = None
    mean: float
    error: float
    low: float
    high: float
    detectable: float
    covers_seeds: bool
    words: Verdict


class Versus(BaseModel):
    """The choice beside one opponent.

    Attributes:
        params: Parameters of the opponent.
        loss: The loss of the calibrated answers.
        metric: The task's metric.
        collapsed: Number of the opponent's trainings that collapsed or diverged.
    """

    model_config = ConfigDict(frozen=True)

    params: dict[str, int | float | str]
    loss: Difference
    metric: Difference
    collapsed: int

    def find_deciding(self, decide_by: DecideBy) -> Difference:
        """Return the difference in what the study decides by."""
        return self.metric if decide_by == "metric" else self.loss


class StudyVerdict(BaseModel):
    """The verdict on a study's choice.

    Attributes:
        params: Parameters of the choice.
        seeds: Seeds with which the choice and its opponents were trained once more.
        threshold: The margin above which the choice answers the second of two classes.
        collapsed: Number of the choice's trainings that collapsed or diverged.
        loss: Mean loss of the choice on dev.
        versus: The comparison with each opponent, by its name; the baseline first, and last, under
            `BEST`, the choice of the largest budget if that is another one.
    """

    model_config = ConfigDict(frozen=True)

    params: dict[str, int | float | str]
    seeds: tuple[int, ...]
    threshold: float
    collapsed: int
    loss: float
    versus: dict[str, Versus]


def find_verdict_trials(
    space: Space, trials: Sequence[FrozenTrial], compared: Sequence[Params]
) -> list[tuple[FrozenTrial, ...]]:
    """Find the trainings of some allocations that share a seed of the verdict.

    Where one of them was given up, it says nothing, and the seed is left out for all.

    Args:
        space: The study's space.
        trials: Its trials.
        compared: Parameters of the choice and of its opponents.

    Returns:
        For each seed, in ascending order, a trial for each of `compared`; empty if some are still
        to be trained.
    """
    proving = [t for t in list_standing(trials) if read_purpose(t) == "verdict"]
    if not all(map(is_finished, proving)):
        return []
    of_seed: dict[int, dict[int, FrozenTrial]] = {}
    ended = [trial for trial in proving if not is_given_up(trial)]
    for allocation in list_allocations(space, ended):
        if allocation.params in compared:
            place = list(compared).index(allocation.params)
            for trial in allocation.trials:
                of_seed.setdefault(read_seed(trial), {})[place] = trial
    whole = [found for _, found in sorted(of_seed.items()) if len(found) == len(compared)]
    return [tuple(found[place] for place in range(len(compared))) for found in whole]


def judge_loss(
    choice: Sequence[Answers],
    opponent: Sequence[Answers],
    *,
    noise: tuple[float, float] | None,
) -> Difference:
    """Compare the losses of choice and opponent on the same examples, seed by seed.

    Args:
        choice: Answers of the choice, one for each seed.
        opponent: Those of the opponent, with the same seeds.
        noise: Variance of the luck of one training as the search has seen it, and its degrees of
            freedom; None if it has not.
    """
    losses, others = (np.stack([a.losses for a in side]) for side in (choice, opponent))
    # Two trainings differ by the luck of both.
    prior = None if noise is None else (2 * noise[0], noise[1])
    difference = compare_paired(losses - others, seed_variance=prior)
    return _describe(difference, losses.mean(axis=1), others.mean(axis=1), higher_is_better=False)


def judge_metric(
    choice: Sequence[Answers], opponent: Sequence[Answers], labels: Labels, metric: str
) -> Difference:
    """Compare the metric of choice and opponent, with answers as for `judge_loss`.

    Args:
        choice: Answers of the choice.
        opponent: Those of the opponent.
        labels: The examples' labels.
        metric: The task's metric.
    """
    predictions, others = (np.stack([a.predictions for a in side]) for side in (choice, opponent))
    difference = compare_paired(compute_pseudo_differences(metric, predictions, others, labels))
    scores = (np.array([a.score.value for a in side]) for side in (choice, opponent))
    return _describe(difference, *scores, higher_is_better=True)


def write_verdicts(study: optuna.Study, verdicts: Mapping[int, StudyVerdict]) -> None:
    """Record the verdict on the choice of every budget, so that dev is scored once."""
    content = {str(budget): verdict.model_dump(mode="json") for budget, verdict in verdicts.items()}
    study.set_user_attr(_ATTRIBUTE, content)


def list_opponents(front: Sequence[Selection], selection: Selection) -> dict[str, Params]:
    """List the parameters of what a choice is compared with, by their names; `BEST` last.

    Args:
        front: The choices of all budgets, the largest budget last.
        selection: One of them.
    """
    opponents = {name: choice.allocation.params for name, choice in selection.opponents.items()}
    best = front[-1].best.allocation.params
    return opponents if best == selection.best.allocation.params else {**opponents, BEST: best}


def read_verdicts(study: optuna.Study, front: Sequence[Selection]) -> list[StudyVerdict | None]:
    """Read the verdict on the choice of every budget.

    Returns:
        For each of `front` its verdict; None if there is none on this choice and these opponents,
        or one of an earlier version.
    """
    return [
        _read_verdict(study, selection, list_opponents(front, selection)) for selection in front
    ]


def read_front(study: optuna.Study, front: Sequence[Selection]) -> list[StudyVerdict] | None:
    """Read the verdicts on the choices of all budgets; None unless every choice has one."""
    verdicts = [v for v in read_verdicts(study, front) if v is not None]
    return verdicts if len(verdicts) == len(front) else None


def _read_verdict(
    study: optuna.Study, selection: Selection, opponents: Mapping[str, Params]
) -> StudyVerdict | None:
    content: Mapping[str, object] = study.user_attrs.get(_ATTRIBUTE, {})
    try:
        verdict = StudyVerdict.model_validate(content.get(str(selection.budget)))
    except ValidationError:
        return None  # it is scored again
    judged = {name: versus.params for name, versus in verdict.versus.items()}
    is_current = verdict.params == selection.best.allocation.params and judged == opponents
    return verdict if is_current else None


def _describe(
    difference: PairedDifference, choice: Floats, opponent: Floats, *, higher_is_better: bool
) -> Difference:
    """Describe a difference, with the mean and the error of either side from its value by seed."""
    (own, own_error), (other, other_error) = map(_average, (choice, opponent))
    return Difference(
        choice=own,
        opponent=other,
        choice_error=own_error,
        opponent_error=other_error,
        mean=difference.mean,
        error=difference.error,
        low=difference.low,
        high=difference.high,
        detectable=difference.detectable,
        covers_seeds=difference.covers_seeds,
        words=difference.judge(higher_is_better=higher_is_better),
    )


def _average(values: Floats) -> tuple[float, float | None]:
    """Return the mean of values, and its standard error if there are several."""
    error = None if len(values) < 2 else float(values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()), error
