"""The recipe and the adapter that a search or `train` made, found by their folder or a name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from allocator.errors import CheckpointError, UnknownNameError
from allocator.files.recipe import read_recipe
from allocator.files.study_folder import (
    ADAPTER_FILE,
    RECIPE_FILE,
    RESULT_FILE,
    STUDIES_FOLDER,
    list_smaller_budgets,
    name_for_budget,
    require_study,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultFiles:
    """The files of a result, which belong together: `best.yaml`, or `result.yaml` of `train`."""

    recipe: Path
    adapter: Path


def find_result_folder(name: Path | str, studies_dir: Path = STUDIES_FOLDER) -> Path:
    """Find the folder of a result.

    Args:
        name: Name of a study; or a folder, of a study or one that `train` wrote.
        studies_dir: Folder that holds a folder for each study.

    Raises:
        UnknownNameError: If there is neither; the message lists the studies that exist.
    """
    study = studies_dir / name
    if not study.is_dir() and Path(name).is_dir():
        return Path(name)
    require_study(study)
    return study


def find_result_files(folder: Path, budget: int | None = None) -> ResultFiles:
    """Find the recipe and the adapter of the best within a budget.

    Args:
        folder: Folder of a study, or one that `train` wrote, which has one budget.
        budget: The budget within which it is the best, one of the study's; None for the largest.

    Raises:
        UnknownNameError: If the study was not searched within the budget.
        CheckpointError: If there is no recipe, or it breaks the schema.
    """
    recipe = folder / RECIPE_FILE
    if not recipe.exists() and (folder / RESULT_FILE).exists():
        recipe = folder / RESULT_FILE
    if not recipe.exists():
        raise CheckpointError(
            f"{folder} holds neither {RECIPE_FILE}, which a search writes as it ends, nor "
            f"{RESULT_FILE} of allocator train"
        )
    if budget is None or budget == (largest := read_recipe(recipe).budget):
        return ResultFiles(recipe=recipe, adapter=folder / ADAPTER_FILE)
    known = list_smaller_budgets(folder)
    if budget not in known:
        searched = [str(number) for number in (*known, largest)]
        raise UnknownNameError("budget", str(budget), searched, f" of study {folder.name}")
    return ResultFiles(
        recipe=folder / name_for_budget(RECIPE_FILE, budget),
        adapter=folder / name_for_budget(ADAPTER_FILE, budget),
    )
