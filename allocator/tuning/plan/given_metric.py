"""A metric that is a function in memory, named or written down for workers and later runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

import dill

from allocator.errors import TaskError
from allocator.hub import first_line

GivenMetric = str | Callable[..., object]
"""A metric by its name, or a function of predictions and labels."""

_FILE, _MODULE = "metric.dill", "metric.py"
_TEXT = '''"""A function that was given in Python, as it was then."""

from pathlib import Path

import dill

{name} = dill.loads((Path(__file__).parent / "{file}").read_bytes())
'''


def keep_function(function: Callable[..., object], folder: Path) -> str:
    """Return a function's name for a task file in a folder; write it down there if it has none.

    Raises:
        TaskError: If it holds something that cannot be written down.
    """
    module, name = getattr(function, "__module__", ""), getattr(function, "__name__", "metric")
    # What a script or a notebook defines cannot be imported by a worker.
    if module and module != "__main__" and _is_importable(module, name, function):
        return f"{module}:{name}"
    name = name if name.isidentifier() else "metric"
    try:
        kept = dill.dumps(function, recurse=True)
    except Exception as error:  # whatever it holds
        raise TaskError(f"metric {name} cannot be written down: {first_line(error)}") from error
    (folder / _FILE).write_bytes(kept)
    (folder / _MODULE).write_text(_TEXT.format(name=name, file=_FILE), "utf-8")
    return f"{_MODULE}:{name}"


def describe_function(function: Callable[..., object]) -> str:
    """Describe what a function does, in the same words in every process.

    Its code counts, its defaults, and the functions and values that it refers to; the file and the
    line do not, which differ each time that a notebook's cell is run.
    """
    return "\n".join(_describe(function, set()))


def _is_importable(module: str, name: str, function: object) -> bool:
    try:
        found = sys.modules.get(module) or importlib.import_module(module)
    except ImportError:
        return False
    return getattr(found, name, None) is function


def _describe(value: object, seen: set[int]) -> Iterator[str]:
    if id(value) in seen:  # such as a function that calls itself
        return
    if isinstance(value, ModuleType):
        yield value.__name__
    elif isinstance(value, FunctionType):
        seen.add(id(value))
        yield from _describe_code(value.__code__)
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        named = [
            value.__globals__[n] for n in _list_names(value.__code__) if n in value.__globals__
        ]
        for part in (value.__defaults__, value.__kwdefaults__, *cells, *named):
            yield from _describe(part, seen)
    elif callable(value):
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value))}"
    else:
        yield repr(value)


def _describe_code(code: CodeType) -> Iterator[str]:
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _describe_code(constant)
        else:  # a set of constants has no order
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)


def _list_names(code: CodeType) -> list[str]:
    """List the names that a function and those inside it look up, in the order of the code."""
    inner = [name for c in code.co_consts if isinstance(c, CodeType) for name in _list_names(c)]
    return list(dict.fromkeys((*code.co_names, *inner)))
