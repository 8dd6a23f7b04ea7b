"""The verdict of a search in tables and in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from allocator.data.scoring.metric_names import describe_metric
from allocator.tuning.evidence.choice import Choice, Selection
from allocator.tuning.space.space import RIVAL
from allocator.tuning.storage.trial_memory import BASELINE, has_learnt
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import Difference, StudyVerdict


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
    for column in ("", "parameters", "mean", "difference", level):
        table.add_column(column, justify="right" if column else "left")
    best = selection.best
    own = _write_mean(differences[0].choice, differences[0].choice_error)
    table.add_row("best", _count(study, best), own, "", "")
    for opponent, d in zip(verdict.versus, differences, strict=True):
        table.add_row(
            name_opponent(study, selection, opponent).removeprefix("the "),
            _count(study, selection.compared[opponent]),
            _write_mean(d.opponent, d.opponent_error),
            f"{d.mean:+.4f}",
            f"{d.low:+.4f} to {d.high:+.4f}",
        )
    return table


def _write_mean(mean: float, error: float | None) -> str:
    return f"{mean:.4f}" if error is None else f"{mean:.4f} ± {error:.4f}"


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
        lines.append("The uniform baseline collapsed or was not completed.")
    if selection.is_baseline:
        lines.append("No allocation is expected to beat the uniform baseline.")
    elif RIVAL in best.params:
        lines.append(f"No allocation of the space is expected to beat the rival {best.rival}.")
    if verdict is not None and verdict.versus:
        lines += [
            *_put_into_words(study, selection, verdict),
            *_describe_power(study, verdict),
        ]
        if study.config.select_on == "dev":
            lines.append(
                "The choice was made, and its answers calibrated, on dev: its dev scores are "
                "optimistic."
            )
    elif selection.baseline is not None and not selection.is_baseline:
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


def _describe_power(study: SearchStudy, verdict: StudyVerdict) -> list[str]:
    """Say which differences the verdict could have found; none of a single seed."""
    differences = [v.find_deciding(study.config.decide_by) for v in verdict.versus.values()]
    if not all(difference.covers_seeds for difference in differences):
        return []
    name = "loss" if study.config.decide_by == "loss" else describe_metric(study.config.task.metric)
    ends = (f"{end(d.detectable for d in differences):.4f}" for end in (min, max))
    return [
        f"Four of five such verdicts find a difference of {' to '.join(dict.fromkeys(ends))} in "
        f"the {name}; smaller ones may be missed."
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
    task = study.config.task
    if task.is_multi_label:
        return "label shares"
    return "class shares" if task.labels else "mean score"


def _count(study: SearchStudy, choice: Choice) -> str:
    return f"{study.space.num_parameters(choice.allocation.params):,}"
