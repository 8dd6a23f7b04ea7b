"""Functions that users write, as metrics of predictions."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from allocator.errors import TaskError, describe_unknown
from allocator.hub import first_line

Array = NDArray[np.number]

_PREDICTIONS = ("predictions", "y_pred", "preds")
_REFERENCES = ("labels", "references", "y_true", "target", "targets")
_PROBABILITIES = ("probabilities", "y_score", "y_proba", "y_prob")


class FunctionMetric:
    """A function of predictions and labels.

    Its parameters are given what their names say, in any order, if all required ones are among
    `predictions` (or `y_pred`, `preds`), `labels` (`references`, `y_true`, `target`, `targets`) and
    `probabilities` (`y_score`, `y_proba`, `y_prob`: as in scikit-learn, of two classes those of the
    second alone). A function of other names gets predictions, then labels.

    Args:
        module: The module, or the absolute path of its file.
        function: The function's name.

    Raises:
        TaskError: If the module cannot be imported, or has no such function.
    """

    def __init__(self, module: str, function: str) -> None:
        self._function = _find_function(_import_module(module), module, function)
        self._parameters = _list_given(self._function)
        self.takes_probabilities = any(name in _PROBABILITIES for name in self._parameters)

    def compute(self, predictions: Array, references: Array) -> object:
        """Call the function.

        Args:
            predictions: Class ids, or scores, of shape (N,); the probabilities of all classes, of
                shape (N, C), if the function takes probabilities.
            references: True class ids or scores, shape (N,).
        """
        probabilities = predictions
        if self.takes_probabilities:
            has_several = references.ndim == 2
            above = (probabilities > 0.5).astype(np.int64)
            predictions = above if has_several else probabilities.argmax(axis=1)
        if not self._parameters:
            return self._function(predictions, references)
        given: dict[str, Array] = {}
        for name in self._parameters:
            if name in _PREDICTIONS:
                given[name] = predictions
            elif name in _REFERENCES:
                given[name] = references
            else:
                is_binary = references.ndim == 1 and probabilities.shape[1] == 2
                of_second = is_binary and name != "probabilities"
                given[name] = probabilities[:, 1] if of_second else probabilities
        return self._function(**given)


def _list_given(function: Callable[..., object]) -> tuple[str, ...]:
    """List the parameters that a function is given by name, if the names say what they take."""
    try:
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a function that is written in C
        return ()
    named = [
        parameter
        for parameter in parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    known = (*_PREDICTIONS, *_REFERENCES, *_PROBABILITIES)
    if any(p.default is p.empty and p.name not in known for p in named):
        return ()
    return tuple(p.name for p in named if p.name in known)


def _find_function(module: ModuleType, name: str, function: str) -> Callable[..., object]:
    found = getattr(module, function, None)
    if not callable(found):
        own = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise TaskError(f"metric {name}:{function}: {describe_unknown('function', function, own)}")
    return found  # type: ignore[no-any-return]


def _import_module(name: str) -> ModuleType:
    try:
        if not Path(name).is_absolute():
            return importlib.import_module(name)
        if not Path(name).is_file():
            raise FileNotFoundError("the file does not exist")
        return _import_file(Path(name))
    except Exception as error:  # a user's module may raise anything
        raise TaskError(f"metric module {name}: {first_line(error)}") from error


def _import_file(path: Path) -> ModuleType:
    # A name of its own, so that it replaces no other module.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    with _importing_from(path.parent):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let a module import those beside it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
