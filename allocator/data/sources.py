"""Load a task's data from a folder, the hub or its cache, or the bundled corpus."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from allocator.config import DataSource
from allocator.data.formats import hub_datasets
from allocator.data.formats.delimited_files import read_delimited_split
from allocator.data.glue import KnownTask, find_glue_task
from allocator.data.limited_examples import limit_splits
from allocator.data.remarks import list_remarks
from allocator.data.task_file import read_task_file
from allocator.data.tasks import SYNTHETIC, Examples, FileLayout, Task, is_task_file
from allocator.errors import TaskError
from allocator.files.whole_files import hash_file


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskData:
    """A task's two labelled splits, and where they were loaded from.

    Attributes:
        task: The task; `cola-synthetic` if the data are the bundled corpus.
        source: `dir:<folder>`, `file:<task file>`, `hub:<repository>/<configuration>` or `bundled`.
        fingerprint: First 16 hexadecimal digits of the sha256 over all texts, or images, and
            labels.
        train: The training split, of which a portion is held out to score trials on.
        dev: The official dev split, for the report only.
        remarks: What is doubtful about the data, for the user.
        passed_over: For each place that was tried before `source`, the reason why it had no data,
            for the user.
    """

    task: Task
    source: str
    fingerprint: str
    train: Examples
    dev: Examples
    remarks: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()


def load_task(
    name: str,
    *,
    source: DataSource = "auto",
    data_dir: Path | None = None,
    fallback_dir: Path | None = None,
    repository: str = hub_datasets.GLUE_REPOSITORY,
    limit: int | None = None,
) -> TaskData:
    """Load a task from the first place that has it.

    A given `data_dir` is the only place. Otherwise these are tried in order: `fallback_dir`; the
    hub or its cache; for `cola`, the bundled corpus. The name `cola-synthetic` always means the
    bundled corpus, and a task file names its own data.

    Args:
        name: A task of GLUE, `cola-synthetic`, or the path of a task file.
        source: The only place to try, or `auto` for the order above.
        data_dir: A folder in GLUE's layout that must have the task.
        fallback_dir: A folder in GLUE's layout that may have the task.
        repository: The dataset repository on the hub, or a folder in its layout.
        limit: Largest number of examples of train and of dev, chosen by `limit_splits`; None keeps
            all. The fingerprint is that of the examples kept.

    Raises:
        UnknownNameError: If there is no such task.
        TaskError: If no place has the data, or the limit is too small.
        DataError: If a place has the task, but a file breaks its format.
    """
    if is_task_file(name):
        return _load_own_files(Path(name), source, data_dir, limit)
    if name == SYNTHETIC or source == "bundled":
        return _load_bundled(name, source, data_dir, limit)
    known = find_glue_task(name)
    if data_dir is not None:
        return _load_given_folder(known, source, data_dir, limit)
    passed_over: list[str] = []
    # A folder that has the task is the last place tried: a mistake in its files is the user's.
    if source in ("auto", "dir"):
        if fallback_dir is not None and (fallback_dir / known.files.folder).is_dir():
            return load_task_files(known.task, known.files, root=fallback_dir, limit=limit)
        passed_over.append(_explain_lack(known, fallback_dir))
    if source in ("auto", "hub"):
        try:
            splits = hub_datasets.load_hub_splits(known.hub, task=known.task, repository=repository)
        # A DataError passes: the repository has the task, but in another form.
        except TaskError as error:
            passed_over.append(str(error))
        else:  # not in `try`, because errors about the limit are not the hub's
            place = f"hub:{repository}/{known.hub.config}"
            return _make_task_data(known.task, place, *splits, limit, tuple(passed_over))
    # The bundled corpus has CoLA's format; the other tasks have no substitute.
    if source == "auto" and name == "cola":
        return _load_bundled(name, source, data_dir, limit, tuple(passed_over))
    wanted = f"{known.files.folder}/{known.files.train} and {known.files.folder}/{known.files.dev}"
    raise TaskError(
        f"no data for task {name!r}; looked at: {'; '.join(passed_over)}; "
        f"give --data-dir a folder that holds {wanted}"
    )


def load_task_files(
    task: Task, layout: FileLayout, *, root: Path, limit: int | None = None
) -> TaskData:
    """Load a task from the files that `layout` names under `root`.

    Raises:
        TaskError: If the limit is too small.
        DataError: If a file is missing or breaks its format; the message names file and line.
    """
    folder = root / layout.folder
    train = read_delimited_split(folder / layout.train, task=task, layout=layout)
    dev = read_delimited_split(folder / layout.dev, task=task, layout=layout)
    return _make_task_data(task, f"dir:{folder}", train, dev, limit)


def _load_own_files(
    path: Path, source: DataSource, data_dir: Path | None, limit: int | None
) -> TaskData:
    if source in ("hub", "bundled"):
        raise TaskError(f"task file {path} names its own data, got data source {source!r}; drop it")
    if data_dir is not None:
        raise TaskError(f"task file {path} names its own data, got --data-dir {data_dir}; drop it")
    own = read_task_file(path)
    data = _make_task_data(own.task, f"file:{path.resolve()}", own.train, own.dev, limit)
    return dataclasses.replace(data, remarks=(*own.remarks, *data.remarks))


def _load_given_folder(
    known: KnownTask, source: DataSource, data_dir: Path, limit: int | None
) -> TaskData:
    if source == "hub":
        raise TaskError(f"data source 'hub' reads no folder, got --data-dir {data_dir}; drop one")
    if not (data_dir / known.files.folder).is_dir():
        raise TaskError(
            f"data folder lacks task {known.task.name!r}: {_explain_lack(known, data_dir)}"
        )
    return load_task_files(known.task, known.files, root=data_dir, limit=limit)


def _explain_lack(known: KnownTask, root: Path | None) -> str:
    """Explain why a data folder does not have a task."""
    if root is None:
        return "no folder given (--data-dir or $ALLOCATOR_DATA_DIR)"
    if not root.is_dir():
        return f"{root} is not a folder"
    present = ", ".join(sorted(child.name for child in root.iterdir() if child.is_dir()))
    return f"{root} has no folder {known.files.folder}; its folders: {present or 'none'}"


def _load_bundled(
    name: str,
    source: DataSource,
    data_dir: Path | None,
    limit: int | None,
    passed_over: tuple[str, ...] = (),
) -> TaskData:
    if name not in ("cola", SYNTHETIC):
        # An unknown task is refused as unknown first.
        find_glue_task(name)
        raise TaskError(f"the bundled corpus is for task 'cola' alone, got {name!r}")
    # Only the name `cola-synthetic` comes here with such a source.
    if source in ("dir", "hub"):
        raise TaskError(
            f"task {SYNTHETIC!r} is bundled, got data source {source!r}; use 'auto', or task 'cola'"
        )
    if data_dir is not None:
        raise TaskError(f"the bundled corpus reads no folder, got --data-dir {data_dir}; drop one")
    task = dataclasses.replace(find_glue_task("cola").task, name=SYNTHETIC)
    from allocator.data.corpus import generate  # noqa: PLC0415  # only this task needs it

    train, dev = (
        Examples(
            inputs=tuple((example.sentence,) for example in corpus),
            labels=tuple(example.label for example in corpus),
        )
        for corpus in (generate("train"), generate("dev"))
    )
    return _make_task_data(task, "bundled", train, dev, limit, passed_over)


def _make_task_data(
    task: Task,
    source: str,
    train: Examples,
    dev: Examples,
    limit: int | None,
    passed_over: tuple[str, ...] = (),
) -> TaskData:
    if limit is not None:
        train, dev = limit_splits(train, dev, task=task, limit=limit)
    return TaskData(
        task=task,
        source=source,
        fingerprint=_compute_fingerprint(task, train, dev),
        train=train,
        dev=dev,
        remarks=list_remarks(task, train, dev),
        passed_over=passed_over,
    )


def _compute_fingerprint(task: Task, *splits: Examples) -> str:
    digest = hashlib.sha256()
    for split in splits:
        # The lengths tell splits apart, and JSON's quotes the texts.
        digest.update(f"{len(split)}\n".encode())
        for inputs, label in zip(split.inputs, split.labels, strict=True):
            # Images by content, so that moving their folder changes nothing.
            content = [hash_file(Path(i)) for i in inputs] if task.is_of_images else inputs
            digest.update(json.dumps([*content, label]).encode() + b"\n")
    return digest.hexdigest()[:16]
