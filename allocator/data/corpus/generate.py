"""Generates the labelled sentences of `cola-synthetic`."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from allocator.data.corpus.lexicon import DEV, TRAIN, Lexicon
from allocator.data.corpus.phenomena import PHENOMENA
from allocator.data.corpus.templates import Phenomenon, Template, fill, pick

Split = Literal["train", "dev"]

LEXICONS: dict[Split, Lexicon] = {"train": TRAIN, "dev": DEV}
SIZES: dict[Split, int] = {"train": 8_000, "dev": 1_000}
# Scores on other sentences would not compare, so tests hold both splits to a digest.
SEEDS: dict[Split, int] = {"train": 1, "dev": 2}
UNACCEPTABLE_SHARE = 0.3  # as in CoLA
SHORTEST, LONGEST = 4, 20  # words


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One sentence, with label 1 if it is acceptable and 0 if it is not."""

    sentence: str
    label: int
    phenomenon: str


def generate(split: Split) -> list[Example]:
    """Generate one split of the corpus; every call returns the same one.

    The split contains the acceptable counterpart of every unacceptable sentence, and further
    acceptable sentences of the same frames without a counterpart.

    Args:
        split: "train" has 8,000 examples, "dev" 1,000 with open-class words that train lacks.

    Returns:
        Distinct sentences in random order, about 70% of them acceptable in every phenomenon.
    """
    rng = random.Random(SEEDS[split])
    seen: set[str] = set()
    examples = [
        example
        for phenomenon, size in zip(PHENOMENA, _shares(SIZES[split], len(PHENOMENA)), strict=True)
        for example in _examples(phenomenon, size, LEXICONS[split], rng, seen)
    ]
    # In place of `shuffle`, whose numbers may change with Python's version (see `pick`).
    return sorted(examples, key=lambda _: rng.random())


def _shares(total: int, parts: int) -> list[int]:
    # Differences of rounded sums: the parts differ by one at most, and add up to `total`.
    return [total * (i + 1) // parts - total * i // parts for i in range(parts)]


def _examples(
    phenomenon: Phenomenon, size: int, lexicon: Lexicon, rng: random.Random, seen: set[str]
) -> Iterator[Example]:
    unacceptable = round(UNACCEPTABLE_SHARE * size)
    for index in range(size - unacceptable):
        pair = _new_pair(phenomenon, lexicon, rng, seen)
        for label, sentence in ((1, pair.acceptable), (0, pair.unacceptable)):
            # The first pairs give both of their sentences, the others only the acceptable one.
            if label == 1 or index < unacceptable:
                seen.add(sentence.lower())
                yield Example(sentence=sentence, label=label, phenomenon=phenomenon.name)


def _new_pair(
    phenomenon: Phenomenon, lexicon: Lexicon, rng: random.Random, seen: set[str]
) -> Template:
    while True:
        pair = fill(pick(rng, pick(rng, phenomenon.frames)), lexicon, rng)
        lengths = [len(sentence.split()) for sentence in pair]
        fits = all(SHORTEST <= length <= LONGEST for length in lengths)
        # Both must be new, so that no sentence occurs twice or with both labels.
        if fits and not any(sentence.lower() in seen for sentence in pair):
            return pair
