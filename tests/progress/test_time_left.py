"""The time that is left, from the trainings of the run so far."""

from __future__ import annotations

import pytest

from allocator.progress.time_left import Part, TimeLeft, describe_elapsed, describe_left
from tests.progress.clocks import HandClock

PARTS = {
    "trainings": Part(trainings=10),
    "choice": Part(trainings=2, seconds=5),
    "figures": Part(seconds=12),
}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def left(clock: HandClock) -> TimeLeft:
    return TimeLeft(PARTS, clock)


def test_nothing_is_estimated_before_anything_was_measured(
    left: TimeLeft, clock: HandClock
) -> None:
    assert left.estimate() is None
    left.begin("trainings")
    clock.wait(20)
    left.advance(0.0)
    assert left.estimate() is None


def test_it_covers_all_that_remains(left: TimeLeft, clock: HandClock) -> None:
    left.begin("trainings")
    clock.wait(30)  # workers start, which no later training does again
    left.advance(0.0)
    clock.wait(40)
    left.advance(0.2)
    # 2 trainings took 40 seconds; 8 are left, then as much as 2, and what takes 5 and 12 seconds.
    assert left.estimate() == pytest.approx(8 * 20 + 2 * 20 + 5 + 12)


def test_it_shrinks_while_nothing_is_heard_of(left: TimeLeft, clock: HandClock) -> None:
    left.begin("trainings")
    left.advance(0.0)
    clock.wait(40)
    left.advance(0.2)
    before = left.estimate()
    assert before is not None
    clock.wait(15)
    assert left.estimate() == before - 15
    clock.wait(10_000)
    assert left.estimate() == 0


def test_what_an_earlier_run_has_done_took_no_time_of_this_one(
    left: TimeLeft, clock: HandClock
) -> None:
    left.begin("trainings")
    left.advance(0.6)
    clock.wait(10)
    left.advance(0.7)
    assert left.estimate() == pytest.approx(3 * 10 + 2 * 10 + 5 + 12)


def test_a_later_part_is_measured_by_itself(left: TimeLeft, clock: HandClock) -> None:
    left.begin("trainings")
    left.advance(0.0)
    clock.wait(100)
    left.advance(1.0)
    left.begin("choice")
    assert left.estimate() == pytest.approx(2 * 10 + 5 + 12)
    clock.wait(5)
    left.advance(0.0)
    assert left.estimate() == pytest.approx(2 * 10 + 12)
    clock.wait(30)
    left.advance(0.5)
    assert left.estimate() == pytest.approx(30 + 12)
    left.begin("figures")
    clock.wait(4)
    assert left.estimate() == pytest.approx(12 - 4)


def test_a_part_that_was_passed_over_takes_no_time(left: TimeLeft) -> None:
    left.begin("figures")
    assert left.estimate() == 12


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (12, "less than a minute left"),
        (61, "about 2 min left"),
        (99 * 60, "about 99 min left"),
        (100 * 60, "about 1 h 40 min left"),
        (5 * 3600 - 30, "about 5 h 00 min left"),
    ],
)
def test_times_left_in_words(seconds: float, words: str) -> None:
    assert describe_left(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.9, "0:03"), (61, "1:01"), (3600 + 62, "1:01:02")]
)
def test_times_passed_in_words(seconds: float, words: str) -> None:
    assert describe_elapsed(seconds) == words
