"""Send a study's result to the Hugging Face hub: an adapter, a card and the recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path

from allocator.errors import CheckpointError
from allocator.files.recipe import read_recipe
from allocator.files.result_files import find_result_files
from allocator.files.study_folder import ADAPTER_FILE, RECIPE_FILE
from allocator.trained.export_folder import write_adapter_card
from allocator.trained.hub_repository import HubRepository

CARD_FILE = "README.md"


def push_adapter(
    folder: Path, repository: HubRepository, *, budget: int | None, is_private: bool
) -> str:
    """Send the adapter of a study as the study has it, and return the repository's address.

    Args:
        folder: The study's folder.
        repository: The repository.
        budget: The budget within which it is the best; None for the largest.
        is_private: As for `HubRepository.upload`.

    Raises:
        UnknownNameError: If the study was not searched within the budget.
        CheckpointError: If the recipe or the adapter is missing or damaged.
        HubError: If the hub refuses, or breaks off.
    """
    result = find_result_files(folder, budget)
    if not result.adapter.exists():
        raise CheckpointError(
            f"{result.adapter} does not exist; run the same command without --push"
        )
    with tempfile.TemporaryDirectory() as made:
        card = Path(made) / CARD_FILE
        text = write_adapter_card(read_recipe(result.recipe), repository.id)
        card.write_text(text, encoding="utf-8")
        files = {CARD_FILE: card, RECIPE_FILE: result.recipe, ADAPTER_FILE: result.adapter}
        return repository.upload(files, is_private=is_private)


def push_folder(
    exported: Path,
    folder: Path,
    repository: HubRepository,
    *,
    budget: int | None,
    is_private: bool,
) -> str:
    """Send an exported folder and the recipe, and return the repository's address.

    Args:
        exported: The folder that was exported.
        folder: The study's folder.
        repository: As for `push_adapter`.
        budget: As for `push_adapter`.
        is_private: As for `HubRepository.upload`.

    Raises:
        HubError: If the hub refuses, or breaks off.
    """
    paths = sorted(path for path in exported.rglob("*") if path.is_file())
    files = {path.relative_to(exported).as_posix(): path for path in paths}
    files[RECIPE_FILE] = find_result_files(folder, budget).recipe
    return repository.upload(files, is_private=is_private)
