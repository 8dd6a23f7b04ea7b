"""Print what the trainings of a search tell of each rank and rate."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from allocator.tuning.evidence.choice import Selection
from allocator.tuning.evidence.effect_sentences import describe_effects
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.space.space import Space
from allocator.tuning.study.study import SearchStudy

_WIDTH = 80


def name_base(space: Space, selection: Selection) -> str:
    """Name the allocation from which effects start: a rival has none of the space's parameters."""
    is_rival = not space.without_rivals.has_all_params(selection.best.allocation.params)
    return "the best allocation that is no rival" if is_rival else "the choice"


def print_effects(
    console: Console, study: SearchStudy, selection: Selection, effects: Sequence[MarginalEffect]
) -> None:
    """Print a sentence for each effect that can be told, and one for all others."""
    if not effects:
        return
    base = name_base(study.space, selection)
    heading = f"what the trainings tell of the {study.objective.name}, all else as in {base}:"
    console.print()
    for line in textwrap.wrap(heading, _WIDTH):
        console.print(Text(line), soft_wrap=True)
    for sentence in describe_effects(effects):
        indented = textwrap.wrap(sentence, _WIDTH, initial_indent="  ", subsequent_indent="    ")
        for line in indented:
            console.print(Text(line), soft_wrap=True)
