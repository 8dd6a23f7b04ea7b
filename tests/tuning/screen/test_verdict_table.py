"""The sentences at the end of a search."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from rich.console import Console

from allocator.training.messages import Job
from allocator.tuning.screen.told_effects import print_effects
from allocator.tuning.screen.verdict_table import describe_verdict, make_verdict_tables
from allocator.tuning.storage.trial_memory import BASELINE
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import Difference, StudyVerdict, Versus
from tests.tuning.scripted import MAJORITY_LOSS, Loss, Script, smooth_loss

FOUND = (
    "Four of five such verdicts find a difference of 0.0123 in the loss; smaller ones may be "
    "missed."
)
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
        *,
        table: bool = False,
        **script: object,
    ) -> str:
        study = Script(folder=tmp_path, loss=loss, prior="uniform", **script).run()  # type: ignore[arg-type]
        selection, made = study.select(), verdict(study)
        if not table:
            return "\n".join(describe_verdict(study, selection, made))
        assert made is not None
        console = Console(file=io.StringIO(), width=80)
        console.print(*make_verdict_tables(study, selection, made))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    return run


def difference(
    mean: float, low: float, high: float, words: str, *, covers_seeds: bool = True
) -> Difference:
    return Difference.model_validate(
        {
            "choice": 0.5 + mean,
            "opponent": 0.5,
            "choice_error": 0.003 if covers_seeds else None,
            "opponent_error": 0.004 if covers_seeds else None,
            "mean": mean,
            "error": (high - low) / 4,
            "low": low,
            "high": high,
            "detectable": 0.0123,
            "covers_seeds": covers_seeds,
            "words": words,
        }
    )


def make_versus(words: str, *, collapsed: int = 0, covers_seeds: bool = True) -> Versus:
    return Versus(
        params={},
        loss=difference(-0.02, -0.03, -0.01, words, covers_seeds=covers_seeds),
        metric=difference(0.04, -0.01, 0.09, "not distinguishable", covers_seeds=covers_seeds),
        collapsed=collapsed,
    )


def make_verdict(
    words: str,
    *,
    collapsed: int = 0,
    seeds: tuple[int, ...] = (8, 9, 10),
    others: Mapping[str, str] = MappingProxyType({}),
) -> Callable[[SearchStudy], StudyVerdict]:
    def make(study: SearchStudy) -> StudyVerdict:
        return StudyVerdict(
            params=dict(study.select().best.allocation.params),
            seeds=seeds,
            threshold=0.0,
            collapsed=collapsed,
            loss=0.48,
            versus={
                name: make_versus(words, covers_seeds=len(seeds) > 1)
                for name, words in {BASELINE: words, **others}.items()
            },
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
def test_a_verdict_is_put_into_words(
    words: str, sentence: str, describe: Callable[..., str]
) -> None:
    first, second = describe(verdict=make_verdict(words)).splitlines()
    assert first == sentence
    assert second == FOUND


def test_all_rivals_are_in_the_sentences(describe: Callable[..., str]) -> None:
    verdict = make_verdict("better", others={"lora": "worse", "cp": "better"})
    assert describe(verdict=verdict, rivals=("lora", "cp")).splitlines() == [
        "The choice is better than the uniform baseline and cp.",
        "The choice is worse than lora.",
        FOUND,
    ]


def test_a_rival_over_the_budget_is_marked(describe: Callable[..., str]) -> None:
    verdict = make_verdict("not distinguishable", others={"lora:8": "worse"})
    text = describe(verdict=verdict, rivals=("lora:8",))
    assert "The choice is worse than lora:8 (over budget)." in text


def test_a_table_gives_every_mean_with_its_error_and_every_difference(
    describe: Callable[..., str],
) -> None:
    table = describe(
        verdict=make_verdict("better", others={"lora": "worse"}), rivals=("lora",), table=True
    )
    assert "loss on dev, mean of 3 new seeds" in table
    assert "matthews_correlation on dev, mean of 3 new seeds" in table
    rows = [line for line in table.splitlines() if "-0.0300 to -0.0100" in line]
    assert [row.split()[0] for row in rows] == ["uniform", "lora"]
    assert all("0.5000 ± 0.0040" in row for row in rows)
    assert "0.4800 ± 0.0030" in table
    assert max(map(len, table.splitlines())) <= 80


def test_what_the_study_decides_by_is_put_into_words(describe: Callable[..., str]) -> None:
    text = describe(verdict=make_verdict("worse"), decide_by="metric")
    assert text.startswith("The choice is not distinguishable from the uniform baseline.")


def test_an_interval_from_one_seed_is_said_to_hold_for_no_other(
    describe: Callable[..., str],
) -> None:
    assert FOUND not in describe(verdict=make_verdict("worse", seeds=(8,)))
    table = describe(verdict=make_verdict("worse", seeds=(8,)), table=True)
    assert "mean of 1 new seed" in table
    assert "95% (examples)" in table
    assert "±" not in table


def test_without_a_verdict_a_difference_is_said_to_be_unproved(
    describe: Callable[..., str],
) -> None:
    (sentence,) = describe().splitlines()
    assert sentence.startswith("Expected difference to the baseline -0.")
    assert sentence.endswith("not proved (see --verdict-seeds and --trials).")


def test_a_choice_that_is_the_baseline_has_no_verdict(describe: Callable[..., str]) -> None:
    text = describe(lambda job: 0.3 if is_uniform(job) else 0.5 + smooth_loss(job) / 100)
    assert text == "No allocation is expected to beat the uniform baseline."


def test_it_is_told_that_the_baseline_collapsed(describe: Callable[..., str]) -> None:
    text = describe(lambda job: None if is_uniform(job) else smooth_loss(job))
    assert text == "The uniform baseline collapsed or was not completed."


def test_a_smaller_budgets_baseline_is_no_rival(describe: Callable[..., str]) -> None:
    def loss(job: Job) -> float:
        size = job.spec.shape.num_parameters(job.allocation.ranks)
        return 0.3 if is_uniform(job) and size <= 300 else 0.5 + smooth_loss(job) / 100

    text = describe(loss, trials=24, smaller_budgets=(300,))
    assert "rival" not in text
    assert text.startswith("Expected difference to the baseline")


def test_what_the_trainings_tell_is_printed_in_80_columns_without_rivals(tmp_path: Path) -> None:
    study = Script(folder=tmp_path, prior="uniform", rivals=("lora",), trials=40).run()
    console = Console(file=io.StringIO(), width=200)
    print_effects(console, study, study.select(), study.compute_effects())
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().strip().splitlines()
    assert lines[0] == "what the trainings tell of the calibrated loss, all else as in the choice:"
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "nothing can be told" in text
    assert "lora" not in text
    for name in ("input", "depth", "lambda", "learning rate"):
        assert name in text


def test_effects_are_said_to_start_elsewhere_if_a_rival_is_the_choice(tmp_path: Path) -> None:
    def loss(job: Job) -> float:
        return 0.1 if job.spec.shape.factorization == "matrix" else smooth_loss(job)

    study = Script(folder=tmp_path, prior="uniform", rivals=("lora:1",), trials=30, loss=loss).run()
    selection = study.select()
    assert selection.best.allocation.rival == "lora:1"
    console = Console(file=io.StringIO(), width=200)
    print_effects(console, study, selection, study.compute_effects())
    assert isinstance(console.file, io.StringIO)
    text = " ".join(console.file.getvalue().split())
    assert "all else as in the best allocation that is no rival:" in text


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
    text = describe(verdict=make_verdict("worse", collapsed=2))
    assert text.splitlines()[0] == (
        "Of 3 new trainings of the choice, 2 collapsed: lower the learning rates of the space."
    )
