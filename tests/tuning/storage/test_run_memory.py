"""What a study remembers of its runs."""

from __future__ import annotations

import optuna

from allocator.tuning.storage.run_memory import Run, read_runs, write_run


def test_runs_are_remembered_and_the_same_one_again_only_once() -> None:
    study = optuna.create_study()
    assert read_runs(study) == []
    first = Run(command="search", devices=("cuda:0",))
    second = Run(command="search --trials 80", devices=("cuda:0", "cuda:1"))
    for run in (first, first, second, first):
        write_run(study, run)
    assert read_runs(study) == [first, second, first]
