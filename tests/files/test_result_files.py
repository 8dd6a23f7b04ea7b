"""Results that a search or `train` made, found by a name or a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.errors import CheckpointError, UnknownNameError
from allocator.files.recipe import Recipe
from allocator.files.result_files import find_result_files, find_result_folder
from allocator.files.study_folder import ADAPTER_FILE, CONFIG_FILE, RECIPE_FILE, RESULT_FILE
from allocator.files.yaml_files import write_yaml


def test_a_name_is_a_study_and_a_path_a_folder(
    tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_study.parent.parent)
    trained = tiny_study / "trained"
    trained.mkdir()
    assert find_result_folder("small") == Path("studies/small")
    assert find_result_folder("studies/small") == Path("studies/small")
    assert find_result_folder("studies/small/trained") == Path("studies/small/trained")
    assert find_result_folder("small/trained", tiny_study.parent) == trained
    assert find_result_folder(trained) == trained
    # A folder of the same name does not hide a study.
    Path("small").mkdir()
    assert find_result_folder("small") == Path("studies/small")


def test_what_is_neither_is_refused_with_the_studies_that_exist(tiny_study: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"^unknown study 'smal': did you mean 'small'\?"):
        find_result_folder("smal", tiny_study.parent)


def test_what_train_wrote_has_a_recipe_under_another_name(
    tiny_recipe: Recipe, tmp_path: Path
) -> None:
    write_yaml(tmp_path / RESULT_FILE, tiny_recipe, "Trained.")
    found = find_result_files(tmp_path)
    assert (found.recipe, found.adapter) == (tmp_path / RESULT_FILE, tmp_path / ADAPTER_FILE)
    assert find_result_files(tmp_path, tiny_recipe.budget) == found
    # Where both are, it is a study.
    write_yaml(tmp_path / RECIPE_FILE, tiny_recipe, "Best.")
    assert find_result_files(tmp_path).recipe == tmp_path / RECIPE_FILE


def test_a_study_without_a_result_yet_says_so(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).touch()
    message = r"holds neither best.yaml, which a search writes as it ends, nor result.yaml"
    with pytest.raises(CheckpointError, match=message):
        find_result_files(tmp_path)
