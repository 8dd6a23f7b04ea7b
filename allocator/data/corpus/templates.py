"""Templates of minimal pairs, and their filling with words of a lexicon.

A template has slots such as `{person1.pl}` (a form of a word of class `person`; the digit
distinguishes several words of one class) or `{np1}` (a phrase). Both sentences of a pair are filled
with the same words.

Templates are made by two functions, so that no word and no length reveals the label: `swapped`
exchanges two phrases of a sentence; `crossed` uses each form both where it belongs and where it
does not.
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
    """One rule of English: equally frequent frames, which consist of equally frequent templates."""

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

# The digit 9, which no frame uses, keeps these words apart from those of the clause.
CONTEXTS = (
    *["CLAUSE"] * 8,
    "{name9} {say9.past} that CLAUSE",
    "the {person9.pl} {say9.past} that CLAUSE",
    "CLAUSE, so {name9} {sneeze9.past}",
    "{name9} {sneeze9.past}, and CLAUSE",
)


class Slots(dict[str, Word]):
    """The words in the slots of a template, drawn when first asked for, no word twice."""

    def __init__(self, lexicon: Lexicon, rng: random.Random, used: list[Word] | None = None):
        super().__init__()
        self._lexicon = lexicon
        self._rng = rng
        self._used: list[Word] = [] if used is None else used

    def __missing__(self, slot: str) -> Word:
        # `format_map` asks once for each slot; the counterpart then gets the same word. For
        # `{person1.pl}` it asks for `person1`, and takes the attribute `pl` of the answer itself.
        kind = slot.rstrip("0123456789")
        if kind in PHRASES:
            phrase = pick(self._rng, PHRASES[kind])
            # New slots, or two phrases would share a word; the same `used`, or a word might repeat.
            word: Word = phrase.format_map(Slots(self._lexicon, self._rng, self._used))
        else:
            word = pick(self._rng, [w for w in self._lexicon[kind] if w not in self._used])
            self._used.append(word)
        self[slot] = word
        return word


def pick(rng: random.Random, items: Sequence[Item]) -> Item:
    """Choose one item at random.

    Of the functions of `random`, only `random()` returns the same numbers in all Python versions.
    """
    return items[int(rng.random() * len(items))]


def swapped(text: str, x: str, y: str) -> Frame:
    """Make a frame that accepts `x` at `[x]` and `y` at `[y]`, and rejects them exchanged."""
    exchanged = text.replace("[x]", y).replace("[y]", x)
    return (Template(text.replace("[x]", x).replace("[y]", y), exchanged),)


def crossed(text: str, *matches: tuple[str, str]) -> Frame:
    """Make a frame that accepts each context with its own form, and rejects it with other forms.

    Args:
        text: A text with `[x]` for the context; it or the contexts have `[y]` for the form.
        matches: At least two pairs of a context and the form that it requires.
    """
    return tuple(
        Template(placed.replace("[y]", form), placed.replace("[y]", other))
        for context, form in matches
        for placed in [text.replace("[x]", context)]
        for _, other in matches
        if other != form
    )


def fill(template: Template, lexicon: Lexicon, rng: random.Random) -> Template:
    """Fill a template with random words in a random context; return its two sentences."""
    complete = template.acceptable.endswith((".", "?"))
    context = "CLAUSE" if complete else pick(rng, CONTEXTS)
    slots = Slots(lexicon, rng)
    texts = (context.replace("CLAUSE", text).format_map(slots) for text in template)
    return Template(*map(_written, texts))


def _written(text: str) -> str:
    # An empty phrase leaves two blanks, or one in front of a comma or full stop.
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\s+([,.?])", r"\1", text)
    # By the letter: the lexicons have no word such as `hour` or `unit`.
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    if not text.endswith((".", "?")):
        text += "."
    return text[0].upper() + text[1:]
