"""The trainings of a search as runs: each boundary once, however often the search is broken off."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from allocator.tuning.loggers.background_logger import BackgroundLogger
from allocator.tuning.loggers.ledger import Ledger
from allocator.tuning.loggers.open_loggers import Loggers
from allocator.tuning.loggers.study_runs import StudyRuns, name_run
from allocator.tuning.storage.trial_memory import (
    is_given_up,
    list_standing,
    read_ending,
    read_position,
)
from allocator.tuning.study.study import SearchStudy
from tests.reports import make_report
from tests.tuning.loggers.memory_logger import MemoryLogger, Server
from tests.tuning.scripted import BOUNDARIES, Killed, Script, smooth_loss


def run_logged(
    script: Script, server: Server, receive: Callable[[], None] = lambda: None
) -> SearchStudy:
    """Go on with a study as a process would that logs to a server."""
    ledger = Ledger(script.folder / "memory.json")
    logger = BackgroundLogger("memory", MemoryLogger(server), ledger, lambda _text: None)
    try:
        return script.run(receive, lambda study: StudyRuns(study, Loggers([logger])))
    finally:
        logger.close()


def kill_after(boundaries: int) -> Callable[[], None]:
    left = iter(range(boundaries))

    def receive() -> None:
        if next(left, None) is None:
            raise Killed

    return receive


def list_curves(server: Server) -> dict[str, list[tuple[int, float]]]:
    return {
        key: [(step, values["calibrated_loss"]) for step, values in stored.points]
        for key, stored in server.runs.items()
    }


def test_every_training_is_a_run_with_its_curve_its_ending_and_what_it_tries(
    tmp_path: Path,
) -> None:
    server = Server()
    study = run_logged(Script(folder=tmp_path, rivals=("lora:1",)), server)
    trials = list_standing(study.trials)
    assert server.runs.keys() == {str(read_position(trial)) for trial in trials}
    for trial in trials:
        stored = server.runs[str(read_position(trial))]
        assert stored.outcome == read_ending(trial)
        assert dict(list_curves(server)[stored.run.key]) == trial.intermediate_values
        asked = stored.run.hyperparameters
        assert asked["learning_rate"] == pytest.approx(trial.params["learning_rate"])
        assert asked["parameters"] == study.space.num_parameters(trial.params)
        assert stored.run.name.startswith(f"{trial.number:05d}-{asked['purpose']}")
    names = {stored.run.name for stored in server.runs.values()}
    assert "00000-baseline-seed-0" in names
    assert any("rival-lora-1-seed-0" in name for name in names)
    values = server.runs["0"].points[-1][1]
    assert values["loss"] == pytest.approx(values["calibrated_loss"] + 0.05)
    assert values["epoch"] == BOUNDARIES
    assert values["matthews_correlation"] == values["score"]


@pytest.mark.parametrize(("boundaries", "answered"), [(1, 3), (5, 1_000), (11, 20)])
def test_a_study_that_was_killed_logs_what_an_undisturbed_one_does(
    boundaries: int, answered: int, tmp_path: Path
) -> None:
    whole, server = Server(), Server(left=answered)
    run_logged(Script(folder=tmp_path / "whole"), whole)
    script = Script(folder=tmp_path / "killed")
    with pytest.raises(Killed):
        run_logged(script, server, kill_after(boundaries))
    server.left = 10_000
    study = run_logged(script, server)
    assert list_curves(server) == list_curves(whole)
    assert {k: s.outcome for k, s in server.runs.items()} == {
        k: s.outcome for k, s in whole.runs.items()
    }
    for trial in list_standing(study.trials):  # a training that was tried again has its last name
        name = server.runs[str(read_position(trial))].run.name
        assert name.startswith(f"{trial.number:05d}-")


def test_what_was_trained_without_a_logger_is_logged_by_the_next_run(tmp_path: Path) -> None:
    script, server, whole = Script(folder=tmp_path / "later"), Server(), Server()
    script.run()
    run_logged(script, server)
    run_logged(Script(folder=tmp_path / "whole"), whole)
    assert list_curves(server) == list_curves(whole)
    for key, stored in whole.runs.items():
        last, expected = server.runs[key].points[-1][1], stored.points[-1][1]
        for name in ("score", "loss", "calibrated_loss", "epoch"):
            assert last[name] == pytest.approx(expected[name])


def test_a_training_that_collapsed_has_no_scores_of_the_majority(tmp_path: Path) -> None:
    server = Server()
    script = Script(
        folder=tmp_path, loss=lambda job: None if job.seed else smooth_loss(job), trials=12
    )
    run_logged(script, server)
    collapsed = [stored for stored in server.runs.values() if stored.outcome == "collapsed"]
    assert collapsed
    assert all(stored.points == [] for stored in collapsed)


def test_names_of_runs_suit_folders() -> None:
    assert name_run(7, "rival", "lora:8", 1) == "00007-rival-lora-8-seed-1"
    assert name_run(0, "baseline", "baseline", 0) == "00000-baseline-seed-0"
    assert name_run(12, "search", None, 0) == "00012-search-seed-0"


def test_a_training_that_was_given_up_halfway_is_recalled_with_what_it_reached(
    tmp_path: Path,
) -> None:
    script = Script(folder=tmp_path)
    study = script.open()
    study.begin()
    number = None
    for _ in range(2):  # both attempts break off after their first boundary
        assert study.num_startable
        number = study.start_next_trial().trial
        study.add_report(dataclasses.replace(make_report(number, 0.5, None), step=1))
        study.tell_failure(number, "killed", retry=study.count_attempts(number) < 2)
        study.begin()
    assert number is not None
    assert is_given_up(study.trials[number])
    server = Server()
    run_logged(script, server)
    stored = server.runs[str(read_position(study.trials[number]))]
    assert stored.outcome == "given up"
    assert [step for step, _ in stored.points] == [1]
