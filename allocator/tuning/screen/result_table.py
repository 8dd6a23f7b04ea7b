"""Print the result of a search at its end."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from allocator.tuning.storage.storage_url import (
    add_installed_driver,
    choose_storage_url,
    printable_url,
)
from allocator.tuning.storage.trial_memory import read_head_parameters, read_loss
from allocator.tuning.study.confirmation import Confirmation
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.write_best import WrittenBest
from allocator.tuning.surrogate.expected_scores import Expectation, Selection

_PYTHON = ("python", "-m")


def print_result(console: Console, study: SearchStudy, exported: WrittenBest, url: str) -> None:
    """Print baseline and best allocation side by side, the verdict, and the next commands."""
    selection = exported.selection
    columns = {"uniform baseline": selection.baseline, "best": selection.best}
    table = Table(title=f"{study.config.study}: {study.config.task.name}", title_justify="left")
    table.add_column("")
    shown = [(name, e) for name, e in columns.items() if e is not None]
    for name, expectation in shown:
        table.add_column(f"{name} (trial {expectation.trial.number})", justify="right")
    confirmation = exported.confirmation
    is_on_dev = study.config.select_on == "dev"
    cells = [
        {**_make_cells(study, e), **_make_confirmation_cells(confirmation, e, is_on_dev=is_on_dev)}
        for _, e in shown
    ]
    # All rows of both columns in order, because two shapes may have different ranks.
    for row in dict.fromkeys(row for cell in cells for row in cell):
        table.add_row(row, *(cell.get(row, "") for cell in cells))
    console.print()
    console.print(table, highlight=False)
    verdict = (
        _describe_expected_gain(selection) if confirmation is None else _describe_gain(confirmation)
    )
    console.print(verdict, highlight=False, soft_wrap=True)
    if confirmation is not None and is_on_dev:
        console.print("The choice was made on dev, so its dev scores are optimistic.")
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


def _make_cells(study: SearchStudy, expectation: Expectation) -> dict[str, str]:
    trial = expectation.trial
    allocation = study.space.make_allocation(trial.params)
    chosen = study.space.find_variant(trial.params).choice
    ranks = {n if n == "rank" else f"rank {n}": str(r) for n, r in allocation.ranks.items()}
    cells = {**chosen, **ranks}
    cells["lambda"] = f"{allocation.core_lr_multiplier:.3g}"
    cells["learning rate"] = f"{allocation.learning_rate:.2e}"
    cells |= {
        f"lr multiplier {mode}": f"{value:.3g}" for mode, value in allocation.lr_multipliers.items()
    }
    if allocation.head_learning_rate is not None:
        cells["head learning rate"] = f"{allocation.head_learning_rate:.2e}"
    if allocation.dropout is not None:
        cells["dropout"] = f"{allocation.dropout:.3g}"
    cells["parameters"] = f"{study.space.num_parameters(trial.params):,}"
    cells["head, not counted"] = f"{read_head_parameters(trial):,}"
    cells[f"score ({study.config.select_on.replace('_', ' ')})"] = f"{trial.values[0]:.4f}"
    cells["expected score"] = f"{expectation.mean:.4f}"
    cells["loss"] = f"{read_loss(trial):.4f}"
    return cells


def _make_confirmation_cells(
    confirmation: Confirmation | None, expectation: Expectation, *, is_on_dev: bool
) -> dict[str, str]:
    """Format mean scores with other seeds, with standard errors if there are several seeds."""
    if confirmation is None:
        return {}
    cells = {}
    columns = {"dev": "dev"} if is_on_dev else {"held_out": "held out", "dev": "dev"}
    for column, name in columns.items():
        mean = confirmation.mean(expectation.trial.number, column)
        if mean is not None:
            error = "" if mean.error is None else f" ± {mean.error:.4f}"
            seeds = "1 other seed" if mean.seeds == 1 else f"{mean.seeds} other seeds"
            cells[f"{name}, {seeds}"] = f"{mean.value:.4f}{error}"
    return cells


def _describe_gain(confirmation: Confirmation) -> str:
    """Describe the gain over the baseline on dev, which was not used for the choice."""
    if confirmation.best == confirmation.baseline:
        return "No allocation beat the uniform baseline with other seeds."
    gain = confirmation.difference("dev")
    if gain is None:
        return "More --confirm-seeds would show whether it beats the baseline."
    interval = (
        f"95% interval over {len(confirmation.seeds)} seeds {gain.low:+.4f} to {gain.high:+.4f}"
    )
    if not gain.is_distinguishable:
        return f"Gain on dev {gain.mean:+.4f}, not distinguishable from the baseline ({interval})."
    return f"Gain on dev {gain.mean:+.4f} ({interval})."


def _describe_expected_gain(selection: Selection) -> str:
    """Describe the expected gain over the baseline, which one seed cannot prove."""
    if selection.baseline is None:
        return "The baseline was not completed."
    if selection.best.trial.number == selection.baseline.trial.number:
        return "No allocation is expected to beat the uniform baseline."
    return (
        f"Expected gain {selection.best.mean - selection.baseline.mean:+.4f}, from one seed per "
        f"trial and the best of {selection.completed} trials: not confirmed (see --confirm-seeds)."
    )
