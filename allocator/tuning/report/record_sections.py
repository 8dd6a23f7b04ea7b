"""The sections of a report that record: the trainings, what ran on what, how to go on, limits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from allocator.data.held_out import LARGEST_PART
from allocator.data.tasks import SYNTHETIC
from allocator.tuning.evidence.effect_sentences import name_parameter
from allocator.tuning.report.sections import Section
from allocator.tuning.space.points import read_bounds
from allocator.tuning.storage.run_memory import read_runs
from allocator.tuning.storage.trial_memory import (
    Purpose,
    has_collapsed,
    is_finished,
    list_standing,
    read_purpose,
)
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.write_front import WrittenBest, WrittenFront

_PURPOSES: tuple[Purpose, ...] = ("baseline", "rival", "proposal", "search", "race", "verdict")

_ENDINGS = ("completed", "pruned", "collapsed", "given up")


def make_trainings_section(study: SearchStudy) -> Section:
    """Record what was trained, and how it ended."""
    finished = [trial for trial in list_standing(study.trials) if is_finished(trial)]
    counts = Counter((read_purpose(trial), _name_ending(trial)) for trial in finished)
    endings = [ending for ending in _ENDINGS if any(ending == ended for _, ended in counts)]
    table = Table(title=f"{len(finished)} trainings")
    for column in ("purpose", *endings):
        table.add_column(column, justify="left" if column == "purpose" else "right")
    for purpose in _PURPOSES:
        row = [counts[purpose, ending] for ending in endings]
        if any(row):
            table.add_row(purpose, *map(str, row))
    return Section(
        title="What was trained",
        paragraphs=[
            "Each training is of one allocation with one seed. A pruned training was stopped "
            "because it fell behind; a collapsed one gave the same answer to every input, or its "
            "loss was not finite."
        ],
        tables=[table],
        figures=["learning-curves"],
    )


def make_ranks_section() -> Section:
    """Record where the parameters are, and what the baseline used of each mode."""
    return Section(
        title="Where the parameters go",
        paragraphs=[
            "A bar is divided into the parameters of each mode's factor and of the core. Further "
            "pictures, where there are any, are of the uniform baseline's trained core: how much "
            "of each mode's rank it used."
        ],
        figures=["budget-split", "singular-values", "spectra-over-training", "truncation"],
    )


def make_setting_section(study: SearchStudy) -> Section:
    """Record what ran on what."""
    table = Table()
    for column in ("", "value"):
        table.add_column(column)
    for name, value in _list_settings(study):
        table.add_row(name, value)
    commands = [run.command for run in read_runs(study.study) if run.command]
    return Section(
        title="What ran on what",
        tables=[table],
        commands=list(dict.fromkeys(commands)),
    )


def make_use_section(front: WrittenFront, commands: Sequence[str]) -> Section:
    """Say how to use the result."""
    paragraphs = [
        f"{front.best.path.name} says everything that is needed to train the choice again. The "
        f"adapter beside it: {front.best.recipe.study['adapter']}."
    ]
    return Section(title="How to use it", paragraphs=paragraphs, commands=commands)


def make_limits_section(study: SearchStudy, front: WrittenFront) -> Section:
    """Say what the report does not say."""
    return Section(title="What this does not say", points=list(_list_limits(study, front.best)))


def _count_epochs(study: SearchStudy) -> str:
    epochs = study.config.training.epochs
    return f"{epochs} {'epoch' if epochs == 1 else 'epochs'}"


def _name_ending(trial: FrozenTrial) -> str:
    if has_collapsed(trial):
        return "collapsed"
    if trial.state == TrialState.PRUNED:
        return "pruned"
    return "completed" if trial.state == TrialState.COMPLETE else "given up"


def _list_settings(study: SearchStudy) -> Iterator[tuple[str, str]]:
    config = study.config
    backbone, training = config.backbone, config.training
    yield (
        "model",
        f"{config.model.name} ({backbone.layers} layers, {backbone.d_in} wide, "
        f"{backbone.describe_heads()}), sha256 {config.model.sha256[:16]}",
    )
    task = config.task
    limit = f", at most {task.limit} examples" if task.limit else ""
    # Of a file or a folder its place means nothing elsewhere.
    source = task.source.split(":", 1)[0]
    yield "data", f"{task.name} from {source}, fingerprint {task.fingerprint}{limit}"
    held_out = f"{training.held_out:.0%} of train, at most {LARGEST_PART:,} examples"
    held_out += ", another part for every seed"
    yield "scored on", "dev" if config.select_on == "dev" else held_out
    yield "decided by", study.objective.name
    length = f", {training.max_length} tokens at most" if config.task.text_columns else ""
    yield "training", f"{_count_epochs(study)}, batches of {training.batch_size}{length}"
    yield "space", f"{config.space_name}, targets {', '.join(backbone.targets)}"
    devices = dict.fromkeys(device for run in read_runs(study.study) for device in run.devices)
    yield "frozen weights", f"{config.precision} on {', '.join(devices) or 'unknown devices'}"
    starts = [t.datetime_start for t in study.trials if t.datetime_start is not None]
    ends = [t.datetime_complete for t in study.trials if t.datetime_complete is not None]
    if starts and ends:
        yield "trained", f"{min(starts):%Y-%m-%d %H:%M} to {max(ends):%Y-%m-%d %H:%M}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in config.versions.items())


def _list_limits(study: SearchStudy, best: WrittenBest) -> Iterator[str]:
    config = study.config
    if config.task.name == SYNTHETIC:
        yield f"{SYNTHETIC} is made by a grammar: nothing here says anything about CoLA."
    if config.select_on == "dev":
        yield "The choice was made on dev, so its scores on dev are optimistic."
    is_proved = best.verdict is not None and bool(best.verdict.versus)
    if not is_proved:
        yield "The choice was not proved on seeds and examples that it was not made by."
    yield (
        f"It is about {config.model.name} on {config.task.name} after {_count_epochs(study)}: "
        "another model, task or length of training may need other ranks."
    )
    edges = list(_list_edges(study, best))
    if edges:
        yield (
            f"The choice lies at an edge of the space ({', '.join(edges)}): what lies beyond was "
            "not tried."
        )
    if is_proved and config.select_on != "dev":
        yield (
            "Expected values are of the trainings that made the choice; quote the verdict's means "
            "on dev in their place."
        )
    if best.recipe.study["adapter"] == "trained on all of train":
        yield (
            "The adapter that is handed over was trained once more, on all of train: the verdict "
            "is about its allocation, not about this very training."
        )


def _list_edges(study: SearchStudy, best: WrittenBest) -> Iterator[str]:
    """List the rates at which the choice lies at an end of their range."""
    params = best.selection.best.allocation.params
    for name, distribution in study.space.without_rivals.distributions.items():
        if name in study.space.rate_parameters and name in params and not distribution.single():
            low, high = read_bounds(distribution)
            value = float(params[name])
            if math.isclose(value, low) or math.isclose(value, high):
                yield f"{name_parameter(name)} {value:.3g}"
