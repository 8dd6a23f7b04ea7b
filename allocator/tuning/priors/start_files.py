"""Read the recipes given by `--start`, whose allocations a search tries first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allocator.errors import SpaceError, StudyError
from allocator.files.recipe import read_recipe
from allocator.tuning.priors.placing import place_allocation
from allocator.tuning.space.space import Params, Space


def read_starts(paths: Sequence[Path], space: Space) -> tuple[Params, ...]:
    """Read recipes and convert their allocations to parameters of the space.

    Args:
        paths: The recipe files.
        space: The search space.

    Returns:
        Parameters of one trial for each file, in the order of `paths`.

    Raises:
        CheckpointError: If a file is missing or breaks the schema.
        StudyError: If an allocation is not in the space; the message names file, value and rule.
    """
    return tuple(_read_start(path, space) for path in paths)


def _read_start(path: Path, space: Space) -> Params:
    recipe, backbone = read_recipe(path), space.shape.backbone
    try:
        # `to_spec` reads the recipe on this space's backbone, whose shape depends on the targets.
        if set(recipe.adapter.targets) != set(backbone.targets):
            raise SpaceError(
                f"its targets must be {', '.join(backbone.targets)} as in this space, "
                f"got {', '.join(recipe.adapter.targets)}; search with --targets"
            )
        return place_allocation(
            space, recipe.adapter.to_spec(backbone).shape, recipe.make_allocation()
        )
    except SpaceError as misfit:
        raise StudyError(
            f"--start {path}: {misfit}; change the file, the space or the budget, or leave it out"
        ) from None
