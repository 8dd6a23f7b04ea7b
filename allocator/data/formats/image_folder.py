"""Read a task of images from a folder that holds a folder for each split and class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from allocator.data.tasks import Examples
from allocator.errors import DataError

TRAIN_FOLDERS = ("train", "training")
# In the order of preference: `test` is taken only if no folder has another of these names.
DEV_FOLDERS = ("dev", "validation", "valid", "val", "test")
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def read_image_folder(root: Path) -> tuple[tuple[str, ...], Examples, Examples]:
    """Find the images of a task and check that every one can be read.

    Args:
        root: Folder with `train/<class>/` (or `training`) and `dev/<class>/` (or `validation`,
            `valid`, `val`, `test`: the first that exists). Files without an image's suffix, and
            names that begin with a dot, are ignored.

    Returns:
        The classes, sorted; the paths of train and of dev, sorted within each class.

    Raises:
        DataError: If a folder is missing or empty, dev has a class that train lacks, or a file is
            not a readable image; the message names it.
    """
    train, dev = _find_split_folder(root, TRAIN_FOLDERS), _find_split_folder(root, DEV_FOLDERS)
    classes = _list_classes(train)
    if len(classes) < 2:
        raise DataError(
            f"{train}: a task needs two classes or more, each a folder, "
            f"got {', '.join(classes) or 'none'}"
        )
    return classes, _list_examples(train, classes), _list_examples(dev, classes)


def _find_split_folder(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; it must hold train/<class>/ and dev/<class>/")
    present = ", ".join(_list_classes(root)) or "none"
    raise DataError(f"{root}: no folder {' or '.join(names)}; its folders are {present}")


def _list_classes(folder: Path) -> tuple[str, ...]:
    names = (child.name for child in folder.iterdir() if child.is_dir())
    return tuple(sorted(name for name in names if not name.startswith(".")))


def _list_examples(folder: Path, classes: Sequence[str]) -> Examples:
    paths: list[str] = []
    labels: list[int] = []
    # Dev may lack classes of train, but not the other way round.
    present = _list_classes(folder)
    for name in present:
        if name not in classes:
            raise DataError(
                f"{folder / name}: train has no class {name!r}; its classes are "
                f"{', '.join(classes)}"
            )
        images = [str(path) for path in sorted((folder / name).iterdir()) if _is_image(path)]
        if not images:
            raise DataError(f"{folder / name}: no images; they end in {', '.join(SUFFIXES)}")
        paths += images
        labels += [classes.index(name)] * len(images)
    if not paths:
        raise DataError(f"{folder}: no examples; a split needs at least one")
    # Before anything trains: a worker reads the images only once a study has started.
    _require_readable(paths)
    return Examples(inputs=tuple((path,) for path in paths), labels=tuple(labels))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _require_readable(paths: Iterable[str]) -> None:
    with ThreadPoolExecutor() as threads:
        # `map` raises a thread's error only when its result is taken.
        for _ in threads.map(_read_image, paths):
            pass


def _read_image(path: str) -> None:
    try:
        with Image.open(path) as image:
            # A JPEG is then decoded to its end, but at as little as an eighth of its size.
            image.draft("RGB", (64, 64))
            image.load()
    # PIL raises SyntaxError for a broken PNG.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
        reason = str(problem).splitlines()[0]
        raise DataError(f"{path} is not a readable image: {reason}; remove it") from None
