"""What the trainings of a study tell of each rank and rate, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.evidence.told_changes import Change, find_changes

_NOTHING = "nothing can be told"


def describe_effects(effects: Sequence[MarginalEffect]) -> list[str]:
    """Describe every effect that can be told in a sentence, and the others in one for all."""
    told = [describe_effect(effect) for effect in effects if find_changes(effect)]
    others = [name_parameter(effect.name) for effect in effects if not find_changes(effect)]
    return [*told, f"{', '.join(others)}: {_NOTHING}"] if others else told


def describe_effect(effect: MarginalEffect) -> str:
    """Describe what can be told of one effect, and beyond which values nothing can be."""
    changes = find_changes(effect)
    name = name_parameter(effect.name)
    if not changes:
        return f"{name}: {_NOTHING}"
    sentence = ", ".join(_describe_change(effect, change) for change in changes)
    low, high = effect.values[changes[0].start], effect.values[changes[-1].end]
    ends = zip(("below", "beyond"), (low, high), effect.limits, strict=True)
    # A limit that was tried may differ by a rounding error.
    open_ends = [
        f"{word} {_write_value(value)}"
        for word, value, limit in ends
        if not math.isclose(value, limit)
    ]
    beyond = f"; {' and '.join(open_ends)} {_NOTHING}" if open_ends else ""
    return f"{name}: {sentence}{beyond}"


def name_parameter(name: str) -> str:
    """Name a parameter as the tables of a search do."""
    if name == "core_lr_multiplier":
        return "lambda"
    mode = name.removeprefix("rank_")
    return f"rank {mode}" if mode != name else name.replace("_", " ")


def _describe_change(effect: MarginalEffect, change: Change) -> str:
    start, end = (_write_value(effect.values[place]) for place in (change.start, change.end))
    verb = "lowers" if change.difference < 0 else "raises"
    return f"{start} to {end} {verb} it by {abs(change.difference):.4f} ± {change.error:.4f}"


def _write_value(value: float) -> str:
    return f"{value:g}" if value == int(value) else f"{value:.2g}"
