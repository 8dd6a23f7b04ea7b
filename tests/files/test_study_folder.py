"""The names of a study's files, which users and their scripts rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.errors import UnknownNameError
from allocator.files import study_folder
from allocator.files.study_folder import (
    CONFIG_FILE,
    baseline_folder,
    has_trial_adapters,
    list_baseline_configs,
    named_adapter_path,
    require_study,
    table_path,
    trial_adapter_path,
)


def test_files_and_folders_have_the_names_that_users_rely_on() -> None:
    names = {n: v for n, v in vars(study_folder).items() if n.endswith(("_FILE", "_FOLDER"))}
    assert names == {
        "STUDIES_FOLDER": Path("studies"),
        "CONFIG_FILE": "config.yaml",
        "RECIPE_FILE": "best.yaml",
        "ADAPTER_FILE": "adapter.safetensors",
        "DATABASE_FILE": "study.db",
        "LOCK_FILE": ".lock",
        "TRIALS_FILE": "trials.csv",
        "SPECTRA_FILE": "spectra.csv",
        "MODES_FILE": "modes.csv",
        "REPORT_FILE": "report.html",
        "TRIALS_FOLDER": "trials",
        "ARTIFACTS_FOLDER": "artifacts",
        "BASELINE_FOLDER": "baseline",
        "DELIVERED_FOLDER": "delivered",
        "FIGURES_FOLDER": "figures",
        "TRAINED_FOLDER": "trained",
        "TENSORBOARD_FOLDER": "tensorboard",
        "LOGGED_FOLDER": "logged",
        "RESULT_FILE": "result.yaml",
        "SUMMARY_FILE": "summary.csv",
    }
    folder = Path("studies", "mine")
    assert table_path(folder, "truncation") == folder / "truncation.csv"
    assert trial_adapter_path(folder, 7) == folder / "trials" / "00007.safetensors"
    assert named_adapter_path(folder, "lora", 3) == folder / "lora-seed-3.safetensors"


@pytest.mark.parametrize(
    ("rank", "is_capped", "name"),
    [
        (None, True, "baseline"),
        (None, False, "baseline"),
        (8, True, "baseline-rank-8"),
        (8, False, "baseline-rank-8-uncapped"),
    ],
)
def test_a_baseline_of_a_rank_has_a_folder_of_its_own(
    rank: int | None, is_capped: bool, name: str, tmp_path: Path
) -> None:
    assert baseline_folder(tmp_path, rank, is_capped=is_capped) == tmp_path / name


def test_the_configurations_of_all_baselines_are_listed(tmp_path: Path) -> None:
    folders = [baseline_folder(tmp_path), baseline_folder(tmp_path, 4), tmp_path / "trials"]
    for folder in folders:
        folder.mkdir()
        (folder / CONFIG_FILE).touch()
    assert list_baseline_configs(tmp_path) == [folder / CONFIG_FILE for folder in folders[:2]]


def test_a_study_has_trial_adapters_once_one_is_saved(tmp_path: Path) -> None:
    assert not has_trial_adapters(tmp_path)
    trial_adapter_path(tmp_path, 0).parent.mkdir()
    assert not has_trial_adapters(tmp_path)
    trial_adapter_path(tmp_path, 0).touch()
    assert has_trial_adapters(tmp_path)


def test_an_unknown_study_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / CONFIG_FILE).touch()
    (tmp_path / "notes").mkdir()
    require_study(tmp_path / "tiny")
    with pytest.raises(UnknownNameError) as caught:
        require_study(tmp_path / "tinny")
    message = "unknown study 'tinny': did you mean 'tiny'? known are tiny in "
    assert str(caught.value) == f"{message}{tmp_path}"
