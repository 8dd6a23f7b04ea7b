from collections import Counter

import numpy as np
import pytest

from allocator.data.held_out import split_held_out
from allocator.data.tasks import Examples, Task
from allocator.errors import DataError

SENTENCES = Task(
    name="three",
    text_columns=("text",),
    label_column="label",
    labels=("red", "green", "blue"),
    metric="accuracy",
)
SCORES = Task(
    name="scores",
    text_columns=("text",),
    label_column="score",
    labels=(),
    metric="pearson_and_spearman",
)


def classes(*counts: int) -> Examples:
    """So many examples of each class, in a fixed random order, each with its own text."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    return Examples(
        inputs=tuple((f"text {i}",) for i in range(len(labels))), labels=tuple(labels.tolist())
    )


def scores(values: list[float]) -> Examples:
    return Examples(inputs=tuple((f"text {i}",) for i in range(len(values))), labels=tuple(values))


UNEVEN = classes(600, 300, 100)


@pytest.mark.parametrize(
    ("rows", "expected"), [(8551, 2138), (635, 159), (40, 10), (20_000, 5000), (67_349, 5000)]
)
def test_a_quarter_is_held_out_but_five_thousand_at_most(rows: int, expected: int) -> None:
    kept, held_out = split_held_out(classes(rows // 2, rows - rows // 2), task=SENTENCES, seed=0)
    assert (len(kept), len(held_out)) == (rows - expected, expected)


@pytest.mark.parametrize("task", [SENTENCES, SCORES])
@pytest.mark.parametrize(("fraction", "expected"), [(0.1, 80), (0.5, 400)])
def test_the_fraction_says_how_many_are_held_out(
    task: Task, fraction: float, expected: int
) -> None:
    kept, held_out = split_held_out(classes(400, 400), task=task, seed=0, fraction=fraction)
    assert (len(kept), len(held_out)) == (800 - expected, expected)


def test_the_parts_are_disjoint_and_together_the_whole_in_its_order() -> None:
    kept, held_out = (part.tolist() for part in split_held_out(UNEVEN, task=SENTENCES, seed=3))
    assert sorted([*kept, *held_out]) == list(range(len(UNEVEN)))
    assert kept == sorted(kept)
    assert held_out == sorted(held_out)


@pytest.mark.parametrize("seed", range(4))
def test_every_seed_holds_out_every_class_by_its_share(seed: int) -> None:
    kept, held_out = split_held_out(UNEVEN, task=SENTENCES, seed=seed)
    assert Counter(UNEVEN.labels[i] for i in held_out) == {0: 150, 1: 75, 2: 25}
    assert Counter(UNEVEN.labels[i] for i in kept) == {0: 450, 1: 225, 2: 75}


@pytest.mark.parametrize("task", [SENTENCES, SCORES])
def test_the_seed_alone_decides_who_is_held_out(task: Task) -> None:
    examples = classes(400, 400)
    first, again, other = (
        split_held_out(examples, task=task, seed=seed)[1].tolist() for seed in (5, 5, 6)
    )
    assert again == first
    assert len(other) == len(first)
    # Two quarters drawn independently have a quarter of each in common.
    assert len({*first} & {*other}) == pytest.approx(len(first) / 4, abs=25)


@pytest.mark.parametrize("seed", range(4))
def test_every_seed_holds_out_scores_from_every_quantile(seed: int) -> None:
    values = np.random.default_rng(0).exponential(size=2000)
    _, held_out = split_held_out(scores(values.tolist()), task=SCORES, seed=seed)
    deciles = np.quantile(values, np.linspace(0, 1, 11))
    counts, _ = np.histogram(values[held_out], bins=deciles)
    assert counts.tolist() == [50] * 10


def test_equal_scores_are_held_out_at_random() -> None:
    chosen = {
        tuple(split_held_out(scores([1.0] * 8), task=SCORES, seed=seed)[1]) for seed in range(20)
    }
    assert len(chosen) > 5


def test_a_class_with_a_single_example_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match="class 'blue' of task 'three' has one example in train"):
        split_held_out(classes(50, 50, 1), task=SENTENCES, seed=0)


def test_a_class_with_two_examples_keeps_one_to_train_on() -> None:
    examples = classes(50, 50, 2)
    for seed in range(20):
        kept, _ = split_held_out(examples, task=SENTENCES, seed=seed)
        assert 2 in {examples.labels[i] for i in kept}


@pytest.mark.parametrize(
    ("counts", "fraction", "needed"), [((2, 2), 0.25, 8), ((3, 3, 3), 0.25, 12), ((9, 9), 0.05, 40)]
)
def test_a_train_split_without_room_for_every_class_is_an_error(
    counts: tuple[int, ...], fraction: float, needed: int
) -> None:
    with pytest.raises(DataError, match=f"too small .* at least {needed} are needed"):
        split_held_out(classes(*counts), task=SENTENCES, seed=0, fraction=fraction)
    enough = classes(*[needed // len(counts)] * len(counts))
    _, held_out = split_held_out(enough, task=SENTENCES, seed=0, fraction=fraction)
    assert {enough.labels[i] for i in held_out} == set(range(len(counts)))


def test_too_few_scores_are_an_error() -> None:
    with pytest.raises(DataError, match="train is too small to hold out a score: 0 of 2 examples"):
        split_held_out(scores([1.0, 2.0]), task=SCORES, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_the_fraction_must_leave_two_parts(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must be between 0 and 1, got"):
        split_held_out(classes(50, 50), task=SENTENCES, seed=0, fraction=fraction)
