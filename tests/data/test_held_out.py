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


@pytest.mark.parametrize(
    ("rows", "expected"),
    [(8551, 855), (5749, 575), (3668, 500), (2490, 500), (635, 158), (67349, 6735), (40, 10)],
)
def test_a_tenth_is_held_out_but_five_hundred_where_a_quarter_allows(
    rows: int, expected: int
) -> None:
    train, held_out = split_held_out(classes(rows // 2, rows - rows // 2), task=SENTENCES, seed=0)
    assert (len(train), len(held_out)) == (rows - expected, expected)


def test_the_parts_are_disjoint_and_together_the_whole_in_its_order() -> None:
    examples = classes(700, 300)
    train, held_out = split_held_out(examples, task=SENTENCES, seed=3)
    order = {text: i for i, text in enumerate(examples.inputs)}
    assert sorted(order) == sorted([*train.inputs, *held_out.inputs])
    for part in (train, held_out):
        places = [order[text] for text in part.inputs]
        assert places == sorted(places)
        assert part.labels == tuple(examples.labels[i] for i in places)


def test_every_class_keeps_its_share() -> None:
    _, held_out = split_held_out(classes(6000, 3000, 1000), task=SENTENCES, seed=1)
    assert Counter(held_out.labels) == {0: 600, 1: 300, 2: 100}


@pytest.mark.parametrize("task", [SENTENCES, SCORES])
def test_the_seed_alone_decides_who_is_held_out(task: Task) -> None:
    examples = classes(400, 400)
    first = split_held_out(examples, task=task, seed=5)
    assert split_held_out(examples, task=task, seed=5) == first
    assert split_held_out(examples, task=task, seed=6) != first


def test_scores_are_held_out_from_every_quantile() -> None:
    values = np.random.default_rng(0).exponential(size=2000)
    train, held_out = split_held_out(scores(values.tolist()), task=SCORES, seed=0)
    assert len(held_out) == 500
    deciles = np.quantile(values, np.linspace(0, 1, 11))
    counts, _ = np.histogram(held_out.labels, bins=deciles)
    assert counts.tolist() == [50] * 10
    assert not set(train.inputs) & set(held_out.inputs)


def test_equal_scores_are_held_out_at_random() -> None:
    chosen = {
        split_held_out(scores([1.0] * 8), task=SCORES, seed=seed)[1].inputs for seed in range(20)
    }
    assert len(chosen) > 5


def test_a_class_with_a_single_example_is_an_error_that_names_it() -> None:
    with pytest.raises(DataError, match="class 'blue' of task 'three' has one example in train"):
        split_held_out(classes(50, 50, 1), task=SENTENCES, seed=0)


def test_a_class_with_two_examples_keeps_one_to_train_on() -> None:
    for seed in range(20):
        train, _ = split_held_out(classes(50, 50, 2), task=SENTENCES, seed=seed)
        assert 2 in train.labels


@pytest.mark.parametrize(("counts", "needed"), [((2, 2), 8), ((3, 3, 3), 12)])
def test_a_train_split_without_room_for_every_class_is_an_error(
    counts: tuple[int, ...], needed: int
) -> None:
    with pytest.raises(DataError, match=f"too small .* at least {needed} are needed"):
        split_held_out(classes(*counts), task=SENTENCES, seed=0)
    more = [count * 4 for count in counts]
    assert set(split_held_out(classes(*more), task=SENTENCES, seed=0)[1].labels) == set(
        range(len(counts))
    )


def test_too_few_scores_are_an_error() -> None:
    with pytest.raises(DataError, match="train is too small to hold out a score: 0 of 3 examples"):
        split_held_out(scores([1.0, 2.0, 3.0]), task=SCORES, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_the_fraction_must_leave_two_parts(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must be between 0 and 1, got"):
        split_held_out(classes(50, 50), task=SENTENCES, seed=0, fraction=fraction)
