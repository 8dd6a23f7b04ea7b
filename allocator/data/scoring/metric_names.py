"""The forms that the name of a metric may have; what each names is loaded elsewhere."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from allocator.errors import TaskError


def resolve_metric(name: str, root: Path) -> str:
    """Make a metric's name independent of the folder that it is relative to.

    Args:
        name: A metric of this package; a scorer of scikit-learn, such as `f1_macro`; a function,
            as `package.module:function`; the path of a metric script for `evaluate.load`, relative
            to `root`; or an id on the hub that `evaluate.load` takes.
        root: The folder of the task file.

    Returns:
        The name as `load_metric` takes it: absolute if it is of a file under `root`.
    """
    if (parts := split_function(name)) is not None:
        module, function = parts
        file = _locate_module(module, root)
        return f"{file}:{function}" if file.is_file() else name
    script = root / name
    # evaluate also loads a folder that holds a script of the folder's name.
    is_script = name.endswith(".py") or (script / f"{script.name}.py").is_file()
    return str(script) if is_script else name


def split_function(name: str) -> tuple[str, str] | None:
    """Split the name of a function into its module, or file, and itself; None for other names."""
    module, colon, function = name.rpartition(":")
    return (module, function) if colon and function.isidentifier() else None


def describe_metric(name: str) -> str:
    """Describe a metric for people: a user's own by its function or script, without the folder."""
    parts = split_function(name)
    return parts[1] if parts is not None else Path(name).name


def require_metric_file(name: str, root: Path) -> None:
    """Refuse a script that is not there, or a function whose module is not.

    Args:
        name: As for `resolve_metric`.
        root: As for `resolve_metric`.

    Raises:
        TaskError: If there is no such file or module.
    """
    parts = split_function(name)
    if parts is None:
        if name.endswith(".py") and not (root / name).exists():
            raise TaskError(f"metric script {root / name} does not exist")
        return
    file = _locate_module(parts[0], root)
    if file.is_file():
        return
    package = parts[0].partition(".")[0]
    if parts[0].endswith(".py") or not (
        package.isidentifier() and importlib.util.find_spec(package)
    ):
        raise TaskError(
            f"metric {name}: there is neither a file {file} nor a package {package!r} to import"
        )


def _locate_module(module: str, root: Path) -> Path:
    """Return where a module would be under a folder, whether it is there or not."""
    if module.endswith(".py"):
        return root / module
    return root.joinpath(*module.split(".")).with_suffix(".py")
