"""Print the result of a search at its end."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats

from allocator.tuning.evidence.choice import Choice, Selection
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.screen.front_table import print_front
from allocator.tuning.screen.told_effects import print_effects
from allocator.tuning.storage.storage_url import (
    add_installed_driver,
    choose_storage_url,
    printable_url,
)
from allocator.tuning.storage.trial_memory import (
    BASELINE,
    has_learnt,
    read_calibrated_loss,
    read_head_parameters,
    read_loss,
    read_score,
)
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import Difference, StudyVerdict
from allocator.tuning.study.write_front import WrittenFront

_PYTHON = ("python", "-m")


def print_result(
    console: Console,
    study: SearchStudy,
    front: WrittenFront,
    effects: Sequence[MarginalEffect],
    url: str,
) -> None:
    """Print baseline and best side by side, the verdict, what is told, and the next commands."""
    selection, verdict = front.best.selection, front.best.verdict
    shown = {"best": selection.best}
    if selection.baseline is not None and not selection.is_baseline:
        shown = {"uniform baseline": selection.baseline, **shown}
    table = Table(title=f"{study.config.study}: {study.config.task.name}", title_justify="left")
    table.add_column("")
    cells = []
    for name, choice in shown.items():
        table.add_column(name, justify="right")
        cells.append(_make_cells(study, choice))
    # All rows of both columns in order, because two shapes may have different ranks.
    for row in dict.fromkeys(row for cell in cells for row in cell):
        table.add_row(row, *(cell.get(row, "") for cell in cells))
    console.print()
    console.print(table, highlight=False)
    if verdict is not None:
        for compared in make_verdict_tables(study, selection, verdict):
            console.print(compared, highlight=False)
    for line in describe_verdict(study, selection, verdict):
        console.print(line, highlight=False, soft_wrap=True)
    if len(front.choices) > 1:
        print_front(console, study, front)
    print_effects(console, study.objective, effects)
    # None if the study ended before its prior was made.
    if study.prior not in (None, study.config.prior):
        console.print(
            f"The baseline gives no evidence for prior {study.config.prior} in this space: "
            f"{study.prior} was used.",
            highlight=False,
            soft_wrap=True,
        )
    console.print("\nnext:", highlight=False)
    for command in list_next_commands(study, front.best.path, url):
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


def make_verdict_tables(
    study: SearchStudy, selection: Selection, verdict: StudyVerdict
) -> list[Table]:
    """Make a table of the loss and one of the metric, of the choice and its opponents on dev."""
    opponents = verdict.versus.values()
    return [
        _make_verdict_table(study, selection, verdict, name, differences)
        for name, differences in {
            "loss": [versus.loss for versus in opponents],
            study.config.task.metric: [versus.metric for versus in opponents],
        }.items()
        if differences
    ]


def _make_verdict_table(
    study: SearchStudy,
    selection: Selection,
    verdict: StudyVerdict,
    name: str,
    differences: Sequence[Difference],
) -> Table:
    seeds = len(verdict.seeds)
    over = f"{seeds} new {'seed' if seeds == 1 else 'seeds'}"
    # One seed says nothing of others, so no difference could have been found.
    covers_seeds = all(difference.covers_seeds for difference in differences)
    level = "95% interval" if covers_seeds else "95% (examples)"
    table = Table(
        title=f"{name} on dev, mean of {over}, and best minus each",
        title_justify="left",
        box=None,
        collapse_padding=True,
    )
    for column in ("", "parameters", "mean", "difference", level, "detectable"):
        table.add_column(column, justify="right" if column else "left")
    best = selection.best
    table.add_row("best", _count(study, best), f"{differences[0].choice:.4f}", "", "", "")
    for opponent, d in zip(verdict.versus, differences, strict=True):
        table.add_row(
            name_opponent(study, selection, opponent).removeprefix("the "),
            _count(study, selection.compared[opponent]),
            f"{d.opponent:.4f}",
            f"{d.mean:+.4f}",
            f"{d.low:+.4f} to {d.high:+.4f}",
            f"{d.detectable:.4f}" if d.covers_seeds else "-",
        )
    return table


def name_opponent(study: SearchStudy, selection: Selection, name: str) -> str:
    """Name the baseline or a rival in a sentence, and say if it is over the budget."""
    if name == BASELINE:
        return "the uniform baseline"
    params = selection.compared[name].allocation.params
    return name if study.space.fits_budget(params) else f"{name} (over budget)"


def describe_verdict(
    study: SearchStudy, selection: Selection, verdict: StudyVerdict | None
) -> list[str]:
    """Describe in sentences how the choice compares with its opponents."""
    lines = _describe_failures(study, selection, verdict)
    best = selection.best.allocation
    if selection.baseline is None:
        lines.append("The baseline collapsed or was not completed: nothing to compare with.")
    if best.is_baseline:
        lines.append("No allocation is expected to beat the uniform baseline.")
    elif best.rival is not None:
        lines.append(f"No allocation of the space is expected to beat the rival {best.rival}.")
    if verdict is not None and verdict.versus:
        lines += _put_into_words(study, selection, verdict)
        if study.config.select_on == "dev":
            lines.append(
                "The choice was made, and its answers calibrated, on dev: its dev scores are "
                "optimistic."
            )
    elif selection.baseline is not None and not best.is_baseline:
        gain = selection.best.expected - selection.baseline.expected
        lines.append(
            f"Expected difference to the baseline {gain:+.4f}, from the trainings that made the "
            "choice: not proved (see --verdict-seeds and --trials)."
        )
    return lines


def _put_into_words(study: SearchStudy, selection: Selection, verdict: StudyVerdict) -> list[str]:
    """Say what the choice is better than, worse than, and not distinguishable from."""
    by_words: dict[str, list[str]] = {}
    for name, versus in verdict.versus.items():
        words = versus.find_deciding(study.config.decide_by).words
        by_words.setdefault(words, []).append(name_opponent(study, selection, name))
    return [
        f"The choice is {words} {'from' if words == 'not distinguishable' else 'than'} "
        f"{_join_names(by_words[words])}."
        for words in ("better", "not distinguishable", "worse")
        if words in by_words
    ]


def _join_names(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


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
    if verdict is not None:
        failed = {"the choice": verdict.collapsed} | {
            name_opponent(study, selection, name): versus.collapsed
            for name, versus in verdict.versus.items()
        }
        lines += [
            f"Of {len(verdict.seeds)} new trainings of {name}, {count} collapsed: lower the "
            "learning rates of the space."
            for name, count in failed.items()
            if count
        ]
    return lines


def _name_shares(study: SearchStudy) -> str:
    return "class shares" if study.config.task.labels else "mean score"


def _count(study: SearchStudy, choice: Choice) -> str:
    return f"{study.space.num_parameters(choice.allocation.params):,}"


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


def _average(values: list[float]) -> str:
    """Format a mean, with its standard error if there are several values."""
    error = "" if len(values) < 2 else f" ± {stats.sem(values):.4f}"
    return f"{np.mean(values):.4f}{error}"
