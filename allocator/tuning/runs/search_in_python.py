"""`allocator.search(...)`: the command `search` for scripts and notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from rich.console import Console
from transformers import PreTrainedModel

from allocator.config import Budget
from allocator.errors import AllocatorError
from allocator.progress.run_progress import RunProgress
from allocator.tuning.plan.given_data import Data, write_given_task
from allocator.tuning.plan.given_metric import GivenMetric
from allocator.tuning.plan.given_model import Preprocessor, save_given_model
from allocator.tuning.plan.given_options import make_search_config
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.plan.word_checks import check_words
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.runs.search_result import SearchResult
from allocator.tuning.screen.header import print_banner
from allocator.tuning.study.open_study import load_study


def search(
    budget: Budget | str | Sequence[Budget | str],
    task: str | Path | None = None,
    *,
    train: Data | None = None,
    dev: Data | None = None,
    text: str | Sequence[str] | None = None,
    label: str | Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    regression: bool = False,
    metric: GivenMetric | None = None,
    model: str | Path | PreTrainedModel = "minilm",
    preprocessor: Preprocessor | None = None,
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
        text: Column of the texts in `train` and `dev`, or two columns for pairs; None for `text`.
        label: Column of the class or the score; several columns of 0 and 1, or one of lists, if an
            example has several labels; None for `label`.
        classes: Names of the classes in the order of their ids; None for those in `train`.
        regression: Whether labels are scores.
        metric: A metric as in a task file, or a function of predictions and labels that is higher
            for better predictions.
        model: An id on the hub, a folder, a packaged model, or a transformers model in memory. The
            latter is written into `models/` in the folder of all studies. A head that is drawn
            anew makes another model each time: give a bare backbone, or set torch's seed.
        preprocessor: The tokenizer or image processor of a model in memory; None for the one under
            its `name_or_path`.
        quiet: Whether nothing is shown but what is doubtful about the data.
        options: The other options of the command, by their names with underscores.

    Raises:
        AllocatorError: For everything that a user can correct.
        KeyboardInterrupt: If the user interrupts; what has finished is kept and written.
    """
    words = {**options, "budget": budget, "task": str(task or ""), "model": "minilm"}
    if not isinstance(model, PreTrainedModel):
        words["model"] = str(model)
    config = make_search_config(words)  # before anything large is written
    if train is not None:
        task = write_given_task(
            str(task or "task"),
            train,
            dev,
            text=_list_names(text, "text"),
            label=_list_names(label, "label"),
            classes=classes,
            regression=regression,
            metric=metric,
            folder=config.studies_dir / "data",
        )
    elif task is None:
        raise AllocatorError("a search needs a task, or examples as train")
    elif any(given is not None for given in (dev, text, label, classes, metric)) or regression:
        raise AllocatorError(
            "dev, text, label, classes, regression and metric go with train; a task has its own"
        )
    if isinstance(model, PreTrainedModel):
        model = save_given_model(model, preprocessor, config.studies_dir / "models")
    elif preprocessor is not None:
        raise AllocatorError("preprocessor goes with a model in memory; a named one has its own")
    config = config.model_copy(update={"task": str(task), "model": str(model)})
    check_words(config)
    verbosity = optuna.logging.get_verbosity()
    try:
        with RunProgress(Console(quiet=quiet)) as progress:
            plan = plan_search(config, progress.begin)
            if quiet:
                print_banner(Console(stderr=True), plan.data)
            front = run_search(config, plan, progress)
    finally:
        optuna.logging.set_verbosity(verbosity)
    if front is None:
        raise KeyboardInterrupt
    with load_study(plan.folder, config.storage) as study:
        return SearchResult.collect(study, front, config.model_cache)


def _list_names(names: str | Sequence[str] | None, default: str) -> tuple[str, ...]:
    return (names or default,) if isinstance(names, str | None) else tuple(names)
