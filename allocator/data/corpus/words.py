"""Words and their inflected forms, from compact lists."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Noun:
    """A countable noun."""

    sg: str
    pl: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """A verb and its five forms."""

    base: str
    third: str
    past: str
    participle: str
    ing: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Adjective:
    """An adjective that is compared by suffix."""

    base: str
    er: str
    est: str


Word = Noun | Verb | Adjective | str


def nouns(listed: str) -> tuple[Noun, ...]:
    """Parse nouns separated by blanks; `wife/wives` has an irregular plural."""
    return tuple(_noun(*item.split("/")) for item in listed.split())


def verbs(listed: str) -> tuple[Verb, ...]:
    """Parse verbs separated by blanks; `sleep/slept` and `take/took/taken` are irregular."""
    return tuple(_verb(*item.split("/")) for item in listed.split())


def adjectives(listed: str) -> tuple[Adjective, ...]:
    """Parse adjectives separated by blanks; `thin/thinn` has the stem `thinn` before suffixes."""
    return tuple(_adjective(*item.split("/")) for item in listed.split())


def join(*groups: Sequence[str]) -> tuple[str, ...]:
    """Join groups of words into one tuple."""
    return tuple(word for group in groups for word in group)


def _noun(singular: str, plural: str | None = None) -> Noun:
    return Noun(sg=singular, pl=plural or _with_s(singular))


def _verb(base: str, past: str | None = None, participle: str | None = None) -> Verb:
    regular_past = base + "d" if base.endswith("e") else _y_to_i(base) + "ed"
    past = past or regular_past
    # A past such as `grinned` says that `grinning` doubles its consonant too.
    doubled = past == f"{base}{base[-1]}ed"
    ing_stem = base + base[-1] if doubled else base.removesuffix("e")
    return Verb(
        base=base,
        third=_with_s(base),
        past=past,
        participle=participle or past,
        ing=ing_stem + "ing",
    )


def _adjective(base: str, stem: str | None = None) -> Adjective:
    stem = stem or _y_to_i(base.removesuffix("e"))
    return Adjective(base=base, er=stem + "er", est=stem + "est")


def _with_s(word: str) -> str:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    stem = _y_to_i(word)
    return word + "s" if stem == word else stem + "es"


def _y_to_i(word: str) -> str:
    after_consonant = word.endswith("y") and word[-2] not in "aeiou"
    return word[:-1] + "i" if after_consonant else word
