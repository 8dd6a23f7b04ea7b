"""Print what the trainings of a search tell of each rank and rate."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from allocator.tuning.evidence.effect_sentences import describe_effects
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.storage.objective import Objective

_WIDTH = 80


def print_effects(
    console: Console, objective: Objective, effects: Sequence[MarginalEffect]
) -> None:
    """Print a sentence for each effect that can be told, and one for all others."""
    if not effects:
        return
    heading = f"what the trainings tell of the {objective.name}, all else as in the choice:"
    console.print()
    for line in textwrap.wrap(heading, _WIDTH):
        console.print(Text(line), soft_wrap=True)
    for sentence in describe_effects(effects):
        indented = textwrap.wrap(sentence, _WIDTH, initial_indent="  ", subsequent_indent="    ")
        for line in indented:
            console.print(Text(line), soft_wrap=True)
