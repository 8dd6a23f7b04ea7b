"""Print the result of a search at its end."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats

from allocator.tuning.evidence.choice import Choice, Selection
from allocator.tuning.storage.storage_url import (
    add_installed_driver,
    choose_storage_url,
    printable_url,
)
from allocator.tuning.storage.trial_memory import (
    has_learnt,
    read_calibrated_loss,
    read_head_parameters,
    read_loss,
    read_score,
)
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import Difference, StudyVerdict
from allocator.tuning.study.write_best import WrittenBest

_PYTHON = ("python", "-m")


def print_result(console: Console, study: SearchStudy, exported: WrittenBest, url: str) -> None:
    """Print baseline and best allocation side by side, the verdict, and the next commands."""
    selection, verdict = exported.selection, exported.verdict
    shown = {"best": selection.best}
    if selection.baseline is not None and not selection.best.allocation.is_baseline:
        shown = {"uniform baseline": selection.baseline, **shown}
    table = Table(title=f"{study.config.study}: {study.config.task.name}", title_justify="left")
    table.add_column("")
    cells = []
    for name, choice in shown.items():
        table.add_column(name, justify="right")
        cells.append(_make_cells(study, choice) | _make_dev_cells(study, choice, verdict))
    # All rows of both columns in order, because two shapes may have different ranks.
    for row in dict.fromkeys(row for cell in cells for row in cell):
        table.add_row(row, *(cell.get(row, "") for cell in cells))
    console.print()
    console.print(table, highlight=False)
    for line in describe_verdict(study, selection, verdict):
        console.print(line, highlight=False, soft_wrap=True)
    # None if the study ended before its prior was made.
    if study.prior not in (None, study.config.prior):
        console.print(
            f"The baseline gives no evidence for prior {study.config.prior} in this space: "
            f"{study.prior} was used.",
            highlight=False,
            soft_wrap=True,
        )
    console.print("\nnext:", highlight=False)
    for command in list_next_commands(study, exported.path, url):
        # To be copied: no brackets read as markup, and no line breaks.
        console.print(Text(f"  {command}"), soft_wrap=True)


def list_next_commands(study: SearchStudy, recipe: Path, url: str) -> list[str]:
    """List commands that use the result, quoted for a shell; passwords are left out."""
    commands = [
        # Without a driver in the URL, SQLAlchemy might choose one that is not installed.
        ["optuna-dashboard", printable_url(add_installed_driver(url))],
        [*_PYTHON, "allocator.train", "--config", str(recipe)],
        [*_PYTHON, "allocator.export", "--study", study.config.study],
    ]
    commands[-1] += ["--studies-dir", str(study.folder.parent)]
    if url != choose_storage_url(None, study.folder):
        commands[-1] += ["--storage", printable_url(url)]
    return [shlex.join(command) for command in commands]


def describe_verdict(
    study: SearchStudy, selection: Selection, verdict: StudyVerdict | None
) -> list[str]:
    """Describe in sentences how the choice compares with the baseline, and how sure that is."""
    lines = _describe_failures(study, selection, verdict)
    if selection.baseline is None:
        return [*lines, "The baseline collapsed or was not completed: nothing to compare with."]
    if selection.best.allocation.is_baseline:
        return [*lines, "No allocation is expected to beat the uniform baseline."]
    if verdict is None:
        gain = selection.best.expected - selection.baseline.expected
        return [
            *lines,
            f"Expected difference to the baseline {gain:+.4f}, from the trainings that made the "
            "choice: not proved (see --verdict-seeds).",
        ]
    seeds, metric = len(verdict.seeds), study.config.task.metric
    words = verdict.find_deciding(study.config.decide_by).words
    lines += [
        f"The choice is {_put_into_words(words)} the uniform baseline.",
        _describe_difference("loss on dev", verdict.loss, seeds),
        _describe_difference(f"{metric} on dev", verdict.metric, seeds),
    ]
    if study.config.select_on == "dev":
        lines.append(
            "The choice was made, and its answers calibrated, on dev: its dev scores are "
            "optimistic."
        )
    return lines


def _describe_failures(
    study: SearchStudy, selection: Selection, verdict: StudyVerdict | None
) -> list[str]:
    """Describe what makes all further sentences doubtful, and what to change."""
    lines = []
    if not any(map(has_learnt, selection.best.allocation.completed)):
        lines.append(
            f"Not even the choice learnt more than the {_name_shares(study)}: train longer "
            "(--epochs), on more examples, or at other learning rates."
        )
    if verdict is not None and any(verdict.collapsed):
        chosen, baseline = verdict.collapsed
        lines.append(
            f"Of {len(verdict.seeds)} trainings each, {chosen} of the choice and {baseline} of the "
            "baseline collapsed: lower the learning rates of the space."
        )
    return lines


def _name_shares(study: SearchStudy) -> str:
    return "class shares" if study.config.task.labels else "mean score"


def _put_into_words(words: str) -> str:
    return f"{words} than" if words in ("better", "worse") else f"{words} from"


def _describe_difference(name: str, difference: Difference, seeds: int) -> str:
    interval = (
        f"{name}: {difference.mean:+.4f}, 95% interval {difference.low:+.4f} to "
        f"{difference.high:+.4f}"
    )
    if not difference.covers_seeds:
        return f"{interval} over examples alone: one seed proves nothing of others."
    over = f"{seeds} new {'seed' if seeds == 1 else 'seeds'} and all examples"
    return (
        f"{interval} over {over}; a difference of {difference.detectable:.4f} would be found in "
        "80% of such studies."
    )


def _make_cells(study: SearchStudy, choice: Choice) -> dict[str, str]:
    params = choice.allocation.params
    allocation = study.space.make_allocation(params)
    ranks = {n if n == "rank" else f"rank {n}": str(r) for n, r in allocation.ranks.items()}
    cells = {**study.space.find_variant(params).choice, **ranks}
    cells["lambda"] = f"{allocation.core_lr_multiplier:.3g}"
    cells["learning rate"] = f"{allocation.learning_rate:.2e}"
    cells |= {
        f"lr multiplier {mode}": f"{value:.3g}" for mode, value in allocation.lr_multipliers.items()
    }
    if allocation.head_learning_rate is not None:
        cells["head learning rate"] = f"{allocation.head_learning_rate:.2e}"
    if allocation.dropout is not None:
        cells["dropout"] = f"{allocation.dropout:.3g}"
    cells["parameters"] = f"{study.space.num_parameters(params):,}"
    trials = choice.allocation.completed
    cells["head, not counted"] = f"{read_head_parameters(trials[0]):,}"
    cells["trainings in the search"] = str(len(trials))
    cells[f"expected {study.objective.name}"] = f"{choice.expected:.4f}"
    split = study.config.select_on.replace("_", " ")
    metric = study.config.task.metric
    cells[f"calibrated loss ({split})"] = _average([read_calibrated_loss(t) for t in trials])
    cells[f"loss as trained ({split})"] = _average([read_loss(t) for t in trials])
    cells[f"{metric} ({split})"] = _average([read_score(t) for t in trials])
    return cells


def _make_dev_cells(
    study: SearchStudy, choice: Choice, verdict: StudyVerdict | None
) -> dict[str, str]:
    """Format the means on dev over the verdict's seeds, of the calibrated answers."""
    if verdict is None:
        return {}
    differences = {"loss": verdict.loss, study.config.task.metric: verdict.metric}
    return {
        f"{name} (dev, {len(verdict.seeds)} new seeds)": format(
            d.baseline if choice.allocation.is_baseline else d.choice, ".4f"
        )
        for name, d in differences.items()
    }


def _average(values: list[float]) -> str:
    """Format a mean, with its standard error if there are several values."""
    error = "" if len(values) < 2 else f" ± {stats.sem(values):.4f}"
    return f"{np.mean(values):.4f}{error}"
