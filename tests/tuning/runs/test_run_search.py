"""Whole searches with real workers on a tiny model."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from allocator.adapters.saved import load_adapter
from allocator.coordination.coordinator import Coordinator
from allocator.files.recipe import read_recipe
from allocator.files.study_folder import (
    ADAPTER_FILE,
    FIGURES_FOLDER,
    RECIPE_FILE,
    SPECTRA_FILE,
    TRIALS_FILE,
    TRIALS_FOLDER,
)
from allocator.progress.run_progress import RunProgress
from allocator.training.messages import Report
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan, plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.screen.watchers import QuietWatcher
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.storage.trial_memory import read_failure, read_retried_trial
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.open_study import load_study
from allocator.tuning.study.write_front import write_front
from allocator.workers.process_worker import ProcessWorker
from tests.tuning.studies import opened

MakeConfig = Callable[..., SearchConfig]
Seen = list[tuple[int, TrialState, dict[str, float], float | None, dict[int, float]]]


def search(config: SearchConfig) -> tuple[str, Plan[StudyConfig]]:
    plan = plan_search(config)
    console = Console(file=io.StringIO(), width=160)
    with RunProgress(console) as progress:
        run_search(config, plan, progress)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue(), plan


def trials_of(plan: Plan[StudyConfig]) -> list[FrozenTrial]:
    with load_study(plan.folder, None) as study:
        return study.trials


def seen(trials: list[FrozenTrial]) -> Seen:
    return [(t.number, t.state, t.params, t.value, t.intermediate_values) for t in trials]


def test_a_search_ends_with_a_best_allocation_within_the_budget(make_config: MakeConfig) -> None:
    text, plan = search(make_config(trials=6))
    trials = trials_of(plan)
    recipe = read_recipe(plan.folder / RECIPE_FILE)
    assert len(trials) == 6
    assert all(plan.space.num_parameters(trial.params) <= 600 for trial in trials)
    assert recipe.num_parameters <= recipe.budget == 600
    saved = load_adapter(plan.folder / ADAPTER_FILE)
    assert saved.adapter.num_parameters == recipe.num_parameters
    assert saved.description.ranks == recipe.adapter.ranks
    assert len(pd.read_csv(plan.folder / TRIALS_FILE)) == 6
    assert set(pd.read_csv(plan.folder / SPECTRA_FILE)["mode"]) == set(recipe.adapter.ranks)
    drawn = {path.stem for path in (plan.folder / FIGURES_FOLDER).glob("*.html")}
    ours = {"race", "effects", "learning-curves", "budget-split"}
    assert drawn == ours | {"singular-values", "spectra-over-training", "truncation"}
    assert f"look at {plan.folder / 'report.html'}" in text
    assert f"look at {plan.folder / 'figures'}" in text
    for words in ("expected calibrated loss", "6/6 done", "optuna-dashboard sqlite:///"):
        assert words in text


def test_figures_that_cannot_be_drawn_leave_the_result_and_a_line(make_config: MakeConfig) -> None:
    config = make_config(trials=1)
    plan = plan_search(config)
    with opened(plan):
        (plan.folder / FIGURES_FOLDER).write_text("in the way", encoding="utf-8")
    text, _ = search(config)
    assert f"look at {plan.folder / 'report.html'}" in text
    assert "figures: not drawn: FileExistsError" in text
    assert (plan.folder / RECIPE_FILE).is_file()


def test_a_decoder_with_grouped_keys_and_values_is_searched(
    make_config: MakeConfig, tiny_llama: Path
) -> None:
    config = make_config(model=str(tiny_llama), targets=("key", "value"), trials=2)
    text, plan = search(config)
    assert {trial.state for trial in trials_of(plan)} == {TrialState.COMPLETE}
    assert read_recipe(plan.folder / RECIPE_FILE).adapter.targets == ("key", "value")
    assert "targets key, value" in " ".join(text.split())


def test_the_same_command_again_goes_on_to_a_larger_total(make_config: MakeConfig) -> None:
    _, first = search(make_config(trials=2))
    before = seen(trials_of(first))
    text, again = search(make_config(trials=3))
    after = seen(trials_of(again))
    assert after[:2] == before
    assert len(after) == 3
    assert "3/3 done" in text


def test_one_seed_gives_one_study_trial_by_trial(make_config: MakeConfig, tmp_path: Path) -> None:
    studies = [
        seen(trials_of(search(make_config(trials=3, studies_dir=tmp_path / name))[1]))
        for name in ("one", "two")
    ]
    assert studies[0] == studies[1]


def test_two_workers_search_together_and_repeat_themselves(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    studies = [
        seen(trials_of(search(make_config(devices=("cpu", "cpu"), studies_dir=tmp_path / name))[1]))
        for name in ("one", "two")
    ]
    assert studies[0] == studies[1]
    assert len(studies[0]) == 4


def test_a_number_of_slots_that_was_given_is_recorded(make_config: MakeConfig) -> None:
    _, plan = search(make_config(trials=1, slots=3))
    with load_study(plan.folder, None) as study:
        assert study.slots == 3


def test_the_number_of_slots_is_measured_once_and_recorded(make_config: MakeConfig) -> None:
    text, plan = search(make_config(trials=3, slots=None))
    with load_study(plan.folder, None) as study:
        slots = study.slots
    assert slots is not None
    assert 1 <= slots <= 16
    assert f"slots      {slots}:" in text
    text, _ = search(make_config(trials=4, slots=None))
    assert "slots  " not in text


class KillsTheWorker(QuietWatcher):
    """Kills the process that trains trial 1, at its first boundary."""

    def __init__(self) -> None:
        self.killed = 0

    def on_report(self, report: Report) -> None:
        if report.trial == 1 and not self.killed:
            self.killed = _kill_a_worker()


def _kill_a_worker() -> int:
    for child in psutil.Process().children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
            return child.pid
    raise AssertionError("no worker is running")


def test_a_worker_that_dies_does_not_take_the_search_with_it(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    watcher = KillsTheWorker()
    with opened(plan, goal=Goal(trials=6, verdict_seeds=0)) as study:
        launch = partial(ProcessWorker, plan.setup)
        Coordinator(study, launch, ("cpu",), watcher, slots=2).run()
        write_front(study)
        trials = study.trials
    assert watcher.killed
    for number in (0, 1):
        assert trials[number].state == TrialState.FAIL
        assert "worker on cpu died, exit code -9" in str(read_failure(trials[number]))
        assert trials[number + 2].params == trials[number].params
        assert read_retried_trial(trials[number + 2]) == number
    assert study.num_finished == 6
    assert study.slots == 1  # what kills without a word is a machine without memory left


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_told_and_the_next_run_goes_on(
    make_config: MakeConfig, kind: signal.Signals
) -> None:
    config = make_config(trials=40)
    adapters = config.studies_dir / "tiny" / TRIALS_FOLDER

    def interrupt_in_the_second_pack() -> None:
        while len(list(adapters.glob("*.safetensors"))) < 3:
            time.sleep(0.05)
        os.kill(os.getpid(), kind)

    threading.Thread(target=interrupt_in_the_second_pack, daemon=True).start()
    text, plan = search(config)
    trials = trials_of(plan)
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert "interrupted:" in text
    assert 1 <= len(finished) < 40
    assert not [trial for trial in trials if trial.state == TrialState.RUNNING]
    assert (plan.folder / RECIPE_FILE).is_file()
    text, plan = search(make_config(trials=len(finished) + 1))
    kept = [trials_of(plan)[trial.number] for trial in finished]
    assert seen(kept) == seen(finished)
