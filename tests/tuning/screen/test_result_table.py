"""The sentences at the end of a search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.training.messages import Job
from allocator.tuning.screen.result_table import describe_verdict
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import Difference, StudyVerdict
from tests.tuning.scripted import MAJORITY_LOSS, Loss, Script, smooth_loss

BASELINE_RATE = 1e-3
"""The learning rate of every baseline, which the scripted losses tell it by."""


def is_uniform(job: Job) -> bool:
    """Whether the job is of the uniform baseline."""
    return job.allocation.learning_rate == BASELINE_RATE and job.allocation.core_lr_multiplier == 1


@pytest.fixture
def describe(tmp_path: Path) -> Callable[..., str]:
    """Run a scripted study, and describe its end with a verdict or without."""

    def run(
        loss: Loss = smooth_loss,
        verdict: Callable[[SearchStudy], StudyVerdict | None] = lambda _: None,
        decide_by: str = "loss",
    ) -> str:
        study = Script(folder=tmp_path, loss=loss, prior="uniform", decide_by=decide_by).run()
        return "\n".join(describe_verdict(study, study.select(), verdict(study)))

    return run


def difference(
    mean: float, low: float, high: float, words: str, *, covers_seeds: bool = True
) -> Difference:
    return Difference.model_validate(
        {
            "choice": 0.5 + mean,
            "baseline": 0.5,
            "mean": mean,
            "error": (high - low) / 4,
            "low": low,
            "high": high,
            "detectable": 0.0123,
            "covers_seeds": covers_seeds,
            "words": words,
        }
    )


def make_verdict(
    words: str, collapsed: tuple[int, int] = (0, 0), seeds: tuple[int, ...] = (8, 9, 10)
) -> Callable[[SearchStudy], StudyVerdict]:
    def make(study: SearchStudy) -> StudyVerdict:
        return StudyVerdict(
            params=dict(study.select().best.allocation.params),
            seeds=seeds,
            loss=difference(-0.02, -0.03, -0.01, words, covers_seeds=len(seeds) > 1),
            metric=difference(0.04, -0.01, 0.09, "not distinguishable"),
            collapsed=collapsed,
        )

    return make


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("better", "The choice is better than the uniform baseline."),
        ("worse", "The choice is worse than the uniform baseline."),
        ("not distinguishable", "The choice is not distinguishable from the uniform baseline."),
    ],
)
def test_a_verdict_is_put_into_words_with_its_intervals_and_what_it_could_have_found(
    words: str, sentence: str, describe: Callable[..., str]
) -> None:
    first, loss, metric = describe(verdict=make_verdict(words)).splitlines()
    assert first == sentence
    assert loss == (
        "loss on dev: -0.0200, 95% interval -0.0300 to -0.0100 over 3 new seeds and all examples; "
        "a difference of 0.0123 would be found in 80% of such studies."
    )
    assert metric.startswith("matthews_correlation on dev: +0.0400, 95% interval -0.0100 to")


def test_what_the_study_decides_by_is_put_into_words(describe: Callable[..., str]) -> None:
    text = describe(verdict=make_verdict("worse"), decide_by="metric")
    assert text.startswith("The choice is not distinguishable from the uniform baseline.")


def test_an_interval_from_one_seed_is_said_to_hold_for_no_other(
    describe: Callable[..., str],
) -> None:
    _, loss, _ = describe(verdict=make_verdict("worse", seeds=(8,))).splitlines()
    assert loss == (
        "loss on dev: -0.0200, 95% interval -0.0300 to -0.0100 over examples alone: one seed "
        "proves nothing of others."
    )


def test_without_a_verdict_a_difference_is_said_to_be_unproved(
    describe: Callable[..., str],
) -> None:
    (sentence,) = describe().splitlines()
    assert sentence.startswith("Expected difference to the baseline -0.")
    assert sentence.endswith("not proved (see --verdict-seeds).")


def test_a_choice_that_is_the_baseline_has_no_verdict(describe: Callable[..., str]) -> None:
    text = describe(lambda job: 0.3 if is_uniform(job) else 0.5 + smooth_loss(job) / 100)
    assert text == "No allocation is expected to beat the uniform baseline."


def test_a_baseline_that_collapsed_is_nothing_to_compare_with(
    describe: Callable[..., str],
) -> None:
    text = describe(lambda job: None if is_uniform(job) else smooth_loss(job))
    assert text == "The baseline collapsed or was not completed: nothing to compare with."


def test_it_is_said_first_that_nothing_was_learnt_and_what_to_change(
    describe: Callable[..., str],
) -> None:
    text = describe(lambda job: MAJORITY_LOSS - 1e-4 * smooth_loss(job))
    assert text.splitlines()[0] == (
        "Not even the choice learnt more than the class shares: train longer (--epochs), on more "
        "examples, or at other learning rates."
    )


def test_it_is_said_first_that_trainings_of_the_verdict_collapsed(
    describe: Callable[..., str],
) -> None:
    text = describe(verdict=make_verdict("worse", collapsed=(2, 0)))
    assert text.splitlines()[0] == (
        "Of 3 trainings each, 2 of the choice and 0 of the baseline collapsed: lower the learning "
        "rates of the space."
    )
