"""Templates of minimal pairs, and how a lexicon fills them.

A template holds slots such as `{person1.pl}` (a form of a word of class `person`; the digit tells
two of them apart) or `{np1}` (a phrase). A pair's two members are filled with the same words.

Two constructors make the templates, so that no single word and no length tells the label:
`swapped` moves material within a sentence, `crossed` shows each form once where it belongs and
once where it does not.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from allocator.data.corpus.lexicon import Lexicon
from allocator.data.corpus.words import Word

Item = TypeVar("Item")


class Template(NamedTuple):
    """An acceptable text with slots, and its unacceptable counterpart.

    A text that ends in a full stop or a question mark is complete; any other is a clause, which
    may be embedded or coordinated.
    """

    acceptable: str
    unacceptable: str


Frame = tuple[Template, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Phenomenon:
    """One rule of English: frames that are equally frequent, each of equally frequent templates."""

    name: str
    frames: tuple[Frame, ...]


# A repeated entry is drawn more often.
PHRASES = {
    "np": (
        *["{name}"] * 3,
        *["the {person.sg}"] * 2,
        "the {adj.base} {person.sg}",
        "my {person.sg}",
        "the {person.sg} from the {place.sg}",
    ),
    "where": ("in the {place.sg}", "near the {place.sg}", "behind the {place.sg}"),
}

CONTEXTS = (
    *["CLAUSE"] * 8,
    "{name9} {say9.past} that CLAUSE",
    "the {person9.pl} {say9.past} that CLAUSE",
    "CLAUSE, so {name9} {sneeze9.past}",
    "{name9} {sneeze9.past}, and CLAUSE",
)


class Slots(dict[str, Word]):
    """Fills the slots of a template, each once, never with the same word twice."""

    def __init__(self, lexicon: Lexicon, rng: random.Random, used: list[Word] | None = None):
        super().__init__()
        self._lexicon = lexicon
        self._rng = rng
        self._used: list[Word] = [] if used is None else used

    def __missing__(self, slot: str) -> Word:
        kind = slot.rstrip("0123456789")
        if kind in PHRASES:
            phrase = pick(self._rng, PHRASES[kind])
            word: Word = phrase.format_map(Slots(self._lexicon, self._rng, self._used))
        else:
            word = pick(self._rng, [w for w in self._lexicon[kind] if w not in self._used])
            self._used.append(word)
        self[slot] = word
        return word


def pick(rng: random.Random, items: Sequence[Item]) -> Item:
    """Choose one item; only `random()` promises the same numbers on every Python version."""
    return items[int(rng.random() * len(items))]


def swapped(text: str, x: str, y: str) -> Frame:
    """Accept `x` at `[x]` and `y` at `[y]`; reject the two exchanged."""
    exchanged = text.replace("[x]", y).replace("[y]", x)
    return (Template(text.replace("[x]", x).replace("[y]", y), exchanged),)


def crossed(text: str, *matches: tuple[str, str]) -> Frame:
    """Accept each context with its own form, reject it with the form of every other context.

    Args:
        text: Has `[x]` for the context, and there or in the contexts `[y]` for the form.
        matches: A context and the form that it requires, at least two of them.
    """
    return tuple(
        Template(placed.replace("[y]", form), placed.replace("[y]", other))
        for context, form in matches
        for placed in [text.replace("[x]", context)]
        for _, other in matches
        if other != form
    )


def fill(template: Template, lexicon: Lexicon, rng: random.Random) -> Template:
    """Draw words and a context for a template and write out its two sentences."""
    complete = template.acceptable.endswith((".", "?"))
    context = "CLAUSE" if complete else pick(rng, CONTEXTS)
    slots = Slots(lexicon, rng)
    texts = (context.replace("CLAUSE", text).format_map(slots) for text in template)
    return Template(*map(_written, texts))


def _written(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([,.?])", r"\1", text)
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    if not text.endswith((".", "?")):
        text += "."
    return text[0].upper() + text[1:]
