"""A study that was interrupted or killed is the study that was not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.tuning.study.study import SearchStudy
from tests.tuning.scripted import Killed, MortalStorage, Script, describe_study

# What makes decisions depend on what: prior, sampler, and how trainings share workers.
STUDIES: dict[str, dict[str, object]] = {
    "measured": {"prior": "gradient", "sampler": "random"},
    "suggested": {"prior": "none", "sampler": "gp", "trials": 12, "slots": 2, "devices": 2},
    "beside rivals": {"trials": 24, "rivals": ("lora", "cp"), "smaller_budgets": (400,)},
    "alone": {"prior": "uniform", "sampler": "gp", "trials": 8, "slots": 1},
}


@pytest.fixture(params=STUDIES)
def make_script(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Script]:
    """Make a script of one of the studies, in a folder of its own."""
    numbers = itertools.count()

    def make(**changes: object) -> Script:
        settings = {**STUDIES[request.param], **changes}
        return Script(folder=tmp_path / str(next(numbers)), **settings)  # type: ignore[arg-type]

    return make


class EndsAt:
    """Ends the process while it waits for one of the boundaries."""

    def __init__(self, boundary: int, problem: type[BaseException]) -> None:
        self.left, self._problem = boundary, problem

    def __call__(self) -> None:
        self.left -= 1
        if not self.left:
            raise self._problem


@pytest.mark.parametrize("problem", [KeyboardInterrupt, Killed])
def test_a_study_that_was_ended_at_any_boundary_goes_on_as_if_it_had_not_been(
    problem: type[BaseException],
    make_script: Callable[..., Script],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = describe_study(make_script().run())
    for boundary in itertools.count(1):
        script, ends = make_script(), EndsAt(boundary, problem)
        with monkeypatch.context() as patch:
            if problem is Killed:
                search = script.open()
                # A process that is killed breaks nothing off.
                patch.setattr(SearchStudy, "interrupt_running", lambda _: None)
                del search
            try:
                script.run(ends)
            except problem:
                pass
            else:
                break
        assert describe_study(script.run()) == whole, f"boundary {boundary}"
    assert boundary > 10


@pytest.mark.parametrize("first", [1, 3])
def test_a_study_that_was_killed_between_any_two_writes_is_the_same_study(
    first: int, make_script: Callable[..., Script]
) -> None:
    whole = describe_study(make_script(trials=10).run())
    # Every trial takes about a dozen writes, so that every kind of write comes up at some trial.
    for writes in itertools.count(first, 7):
        storage = MortalStorage()
        script = make_script(trials=10, storage=storage)
        storage.left = writes
        try:
            script.run()
        except Killed:
            storage.left = float("inf")
            assert describe_study(script.run()) == whole, f"write {writes}"
        else:
            break
    assert writes > 150


def test_a_study_that_is_killed_again_while_it_resumes_is_the_same_study(
    make_script: Callable[..., Script],
) -> None:
    whole = describe_study(make_script(trials=10).run())
    for first, second in itertools.product((40, 140), range(0, 30, 3)):
        storage = MortalStorage()
        script = make_script(trials=10, storage=storage)
        for storage.left in (first, second):
            with pytest.raises(Killed):
                script.run()
        storage.left = float("inf")
        assert describe_study(script.run()) == whole, f"writes {first} and {second}"
