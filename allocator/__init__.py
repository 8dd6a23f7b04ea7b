"""Find where a parameter budget of a tensor adapter should go.

In Python, `search` is the command `python -m allocator.search`. `read_recipe` reads a study's
`best.yaml`, `load_model` loads the model that it was made with, `attach` attaches its allocation to
that or another model, and `attach_saved` attaches a trained adapter.
"""

from importlib import import_module
from typing import TYPE_CHECKING

# For type checkers, which do not run `__getattr__`.
if TYPE_CHECKING:
    from allocator.files.recipe import Recipe, read_recipe
    from allocator.models.attached import Attached, attach, attach_saved
    from allocator.trained.trained_adapter import load_model
    from allocator.tuning.runs.search_in_python import search
    from allocator.tuning.runs.search_result import SearchResult
    from allocator.tuning.study.trainer_callback import PruningCallback

__all__ = [
    "Attached",
    "PruningCallback",
    "Recipe",
    "SearchResult",
    "attach",
    "attach_saved",
    "load_model",
    "read_recipe",
    "search",
]

_HOMES = {
    "Attached": "models.attached",
    "PruningCallback": "tuning.study.trainer_callback",
    "Recipe": "files.recipe",
    "SearchResult": "tuning.runs.search_result",
    "attach": "models.attached",
    "attach_saved": "models.attached",
    "load_model": "trained.trained_adapter",
    "read_recipe": "files.recipe",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that `import allocator.errors` does not load torch."""
    if name == "search":  # the module of the command, which can be called
        return import_module(f"{__name__}.search")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
