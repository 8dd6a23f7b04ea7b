"""`allocator.search(...)`: the command `search` for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from rich.console import Console
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from allocator.config import Budget
from allocator.errors import AllocatorError
from allocator.progress.run_progress import RunProgress
from allocator.tuning.plan.given_data import Data, GivenMetric, write_given_task
from allocator.tuning.plan.given_model import save_given_model
from allocator.tuning.plan.given_options import make_search_config
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.plan.word_checks import check_words
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.runs.search_result import SearchResult


def search(
    budget: Budget | str | Sequence[Budget | str],
    task: str | Path | None = None,
    *,
    train: Data | None = None,
    dev: Data | None = None,
    text: str | Sequence[str] = "text",
    label: str | Sequence[str] = "label",
    classes: Sequence[str] | None = None,
    regression: bool = False,
    metric: GivenMetric | None = None,
    model: str | Path | PreTrainedModel = "minilm",
    tokenizer: PreTrainedTokenizerBase | None = None,
    quiet: bool = False,
    **options: object,
) -> SearchResult:
    """Find the best adapter configuration within a parameter budget.

    It is the command `python -m allocator.search`, and makes the same study of the same data. The
    same call again goes on where it stopped. Ctrl-C or an exception keep what has finished.

    Args:
        budget: Largest number of trainable adapter parameters, not counting the head; or `lora:R`;
            or several of them.
        task: A task of GLUE, or the path of a task file; with `train`, a name for the task.
        train: Examples to train on, in place of a task: a `datasets.Dataset`, a `DataFrame`, a list
            of dictionaries, or a dictionary of lists. It is written into `data/` in the folder of
            all studies, with a task file, so that the recipe can be trained again.
        dev: Examples that the final model is scored on; None to hold a part of `train` out.
        text: Column of the texts in `train` and `dev`, or two columns for pairs.
        label: Column of the class or the score; several columns of 0 and 1, or one of lists, if an
            example has several labels.
        classes: Names of the classes in the order of their ids; None for those in `train`.
        regression: Whether labels are scores.
        metric: A metric as in a task file, or a function of predictions and labels that is higher
            for better predictions.
        model: An id on the hub, a folder, a packaged model, or a transformers model in memory. The
            latter is written into `models/` in the folder of all studies.
        tokenizer: The tokenizer of a model in memory; None for the one under its `name_or_path`.
        quiet: Whether nothing is shown.
        options: The other options of the command, by their names with underscores.

    Raises:
        AllocatorError: For everything that a user can correct.
        KeyboardInterrupt: If the user interrupts; what has finished is kept and written.
    """
    studies_dir = Path(str(options.get("studies_dir", "studies")))
    if train is not None:
        task = write_given_task(
            "task" if task is None else str(task),
            train,
            dev,
            text=(text,) if isinstance(text, str) else tuple(text),
            label=(label,) if isinstance(label, str) else tuple(label),
            classes=classes,
            regression=regression,
            metric=metric,
            folder=studies_dir / "data",
        )
    elif task is None:
        raise AllocatorError("a search needs a task, or examples as train")
    elif dev is not None or metric is not None or classes is not None:
        raise AllocatorError("dev, metric and classes go with train; a task has its own")
    if isinstance(model, PreTrainedModel):
        model = save_given_model(model, tokenizer, studies_dir / "models")
    config = make_search_config(
        {**options, "budget": budget, "task": str(task), "model": str(model)}
    )
    check_words(config)
    verbosity = optuna.logging.get_verbosity()
    try:
        with RunProgress(Console(quiet=quiet)) as progress:
            result = run_search(config, plan_search(config, progress.begin), progress)
    finally:
        optuna.logging.set_verbosity(verbosity)
    if result is None:
        raise KeyboardInterrupt
    return result
