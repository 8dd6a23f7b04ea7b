"""A user's own guesses: recipes that a search starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allocator.errors import SpaceError, StudyError
from allocator.files.recipe import read_recipe
from allocator.tuning.priors.placing import place_allocation
from allocator.tuning.space.space import Params, Space


def read_starts(paths: Sequence[Path], space: Space) -> tuple[Params, ...]:
    """Read the allocations of recipes as parameters of the space, in the order of the files.

    Raises:
        CheckpointError: If a file is missing or breaks the schema.
        StudyError: If its allocation is not one of the space: which file, what, and the rule.
    """
    return tuple(_read_start(path, space) for path in paths)


def _read_start(path: Path, space: Space) -> Params:
    recipe, backbone = read_recipe(path), space.shape.backbone
    try:
        if set(recipe.adapter.targets) != set(backbone.targets):
            raise SpaceError(
                f"its targets must be {', '.join(backbone.targets)} as in this space, "
                f"got {', '.join(recipe.adapter.targets)}; search with --targets"
            )
        return place_allocation(space, recipe.adapter.to_spec(backbone).shape, recipe.allocation())
    except SpaceError as misfit:
        raise StudyError(
            f"--start {path}: {misfit}; change the file, the space or the budget, or leave it out"
        ) from None
