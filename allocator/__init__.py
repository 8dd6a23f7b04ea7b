"""Find where a parameter budget of a tensor adapter should go.

In Python: `read_recipe` reads a study's `best.yaml`, `load_model` loads the model it was made with,
`attach` attaches its allocation to that or another model, `attach_saved` a trained adapter.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocator.adapters import Attached, Recipe, attach, attach_saved, read_recipe
    from allocator.training.trained import load_model
    from allocator.tuning.callback import PruningCallback

__all__ = [
    "Attached",
    "PruningCallback",
    "Recipe",
    "attach",
    "attach_saved",
    "load_model",
    "read_recipe",
]

_ROOMS = {"load_model": "training.trained", "PruningCallback": "tuning.callback"}


def __getattr__(name: str) -> object:
    """Import what is asked for, so that `import allocator.errors` does not load torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'adapters')}"), name)
