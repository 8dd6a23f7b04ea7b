"""GLUE's nine tasks as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from allocator.data.tasks import SYNTHETIC, FileLayout, HubLayout, Task
from allocator.errors import UnknownNameError


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownTask:
    """A task, and the names of its files and columns in a folder and on the hub."""

    task: Task
    files: FileLayout
    hub: HubLayout


# Classes stand in the order of their ids on the hub, which stores ids and not names.
_BINARY = ("0", "1")

_ENTAILMENT = ("entailment", "not_entailment")

_PAIR = ("sentence1", "sentence2")

_QUESTIONS = ("question1", "question2")


def _make_task(
    name: str,
    texts: tuple[str, ...],
    label: str,
    labels: tuple[str, ...],
    metric: str,
    *,
    files: FileLayout,
    hub_texts: tuple[str, ...] | None = None,
    hub_dev: str = "validation",
) -> KnownTask:
    return KnownTask(
        task=Task(name=name, text_columns=texts, label_column=label, labels=labels, metric=metric),
        files=files,
        hub=HubLayout(config=name, text_columns=hub_texts or texts, dev=hub_dev),
    )


# CoLA's files have no header line.
_COLA = FileLayout(folder="CoLA", header=("source", "label", "mark", "sentence"))

# A few questions of the original QQP contain line breaks, which split their rows into malformed
# lines; the hub's copy lacks these rows too.
_QQP = FileLayout(folder="QQP", skip_malformed=True)

# Of MNLI's two dev splits, the matched one is scored.
_MNLI = FileLayout(folder="MNLI", dev="dev_matched.tsv")

_MNLI_LABELS = ("entailment", "neutral", "contradiction")

# fmt: off
_TABLE = (
    _make_task("cola", ("sentence",), "label", _BINARY, "matthews_correlation", files=_COLA),
    _make_task("sst2", ("sentence",), "label", _BINARY, "accuracy",
               files=FileLayout(folder="SST-2")),
    _make_task("mrpc", ("#1 String", "#2 String"), "Quality", _BINARY, "accuracy_and_f1",
               files=FileLayout(folder="MRPC"), hub_texts=_PAIR),
    _make_task("rte", _PAIR, "label", _ENTAILMENT, "accuracy", files=FileLayout(folder="RTE")),
    _make_task("wnli", _PAIR, "label", _BINARY, "accuracy", files=FileLayout(folder="WNLI")),
    _make_task("qnli", ("question", "sentence"), "label", _ENTAILMENT, "accuracy",
               files=FileLayout(folder="QNLI")),
    _make_task("qqp", _QUESTIONS, "is_duplicate", _BINARY, "accuracy_and_f1", files=_QQP),
    _make_task("mnli", _PAIR, "gold_label", _MNLI_LABELS, "accuracy",
               files=_MNLI, hub_texts=("premise", "hypothesis"), hub_dev="validation_matched"),
    _make_task("stsb", _PAIR, "score", (), "pearson_and_spearman",
               files=FileLayout(folder="STS-B")),
)
# fmt: on

GLUE: Mapping[str, KnownTask] = {known.task.name: known for known in _TABLE}


def find_glue_task(name: str) -> KnownTask:
    """Find a task of GLUE by its name.

    Raises:
        UnknownNameError: If there is no such task.
    """
    if name not in GLUE:
        raise UnknownNameError("task", name, (*GLUE, SYNTHETIC))
    return GLUE[name]
