"""Find where a parameter budget of a tensor adapter should go.

In Python, `read_recipe` reads a study's `best.yaml`, `load_model` loads the model that it was made
with, `attach` attaches its allocation to that or another model, and `attach_saved` attaches a
trained adapter.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# For type checkers, which do not run `__getattr__`.
if TYPE_CHECKING:
    from allocator.files.recipe import Recipe, read_recipe
    from allocator.models.attached import Attached, attach, attach_saved
    from allocator.trained.trained_adapter import load_model
    from allocator.tuning.study.trainer_callback import PruningCallback

__all__ = [
    "Attached",
    "PruningCallback",
    "Recipe",
    "attach",
    "attach_saved",
    "load_model",
    "read_recipe",
]

_HOMES = {
    "Attached": "models.attached",
    "PruningCallback": "tuning.study.trainer_callback",
    "Recipe": "files.recipe",
    "attach": "models.attached",
    "attach_saved": "models.attached",
    "load_model": "trained.trained_adapter",
    "read_recipe": "files.recipe",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `import allocator.errors` does not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
