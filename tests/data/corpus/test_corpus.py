"""The bundled corpus keeps its promises: sizes, labels, disjoint words and no giveaways."""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.model_selection import cross_val_predict

from allocator.data.corpus import Example, Split, generate
from allocator.data.corpus.lexicon import DEV, TRAIN, Lexicon
from allocator.data.corpus.phenomena import PHENOMENA
from allocator.data.corpus.templates import crossed, swapped
from allocator.data.corpus.words import Word, adjectives, nouns, verbs

SPLITS: tuple[Split, ...] = ("train", "dev")
CORPUS = {split: generate(split) for split in SPLITS}
DIGESTS = {
    "train": "55249e6ab9bc485f66c33e09b2c2f86a7778707812f862b9568f9086c070c109",
    "dev": "7c5aeee4e699defa048ca9a3afd1f71baa5f04349d7516ecab87d939dae53548",
}

FUNCTION_WORDS = frozenset(
    """
    a an the this that these those my each every all both some any no another one two several many
    few most more much he him himself she her herself it they them themselves we us ourselves
    someone something nobody who what when why be is are was were been being do does did didn't
    have has had hasn't wasn't will would won't not never ever either neither too so such very
    enough as than if whether for that because although before after about at behind by from in
    near of to up and but there yesterday tomorrow last next soon once
    """.split()
)


def words(sentence: str) -> list[str]:
    return re.findall(r"[a-z']+", sentence.lower().replace("'s ", " "))


def forms(word: Word) -> tuple[str, ...]:
    """List every inflected form of a word."""
    if isinstance(word, str):
        return (word,)
    return tuple(getattr(word, field.name) for field in fields(word))


def all_forms(lexicon: Lexicon) -> set[str]:
    listed: list[Word] = [word for group in lexicon.values() for word in group]
    return {form.lower() for word in listed for form in forms(word)}


@pytest.mark.parametrize(("split", "size"), [("train", 8_000), ("dev", 1_000)])
def test_a_split_has_its_size_and_about_seventy_percent_acceptable(split: Split, size: int) -> None:
    labels = [example.label for example in CORPUS[split]]
    assert len(labels) == size
    assert set(labels) == {0, 1}
    assert 0.69 <= sum(labels) / size <= 0.71


@pytest.mark.parametrize("split", SPLITS)
def test_every_phenomenon_has_the_same_share_of_sentences_and_labels(split: Split) -> None:
    sizes = Counter(example.phenomenon for example in CORPUS[split])
    acceptable = Counter(example.phenomenon for example in CORPUS[split] if example.label == 1)
    assert set(sizes) == {phenomenon.name for phenomenon in PHENOMENA}
    assert len(sizes) >= 12
    assert max(sizes.values()) - min(sizes.values()) <= 1
    assert all(0.68 <= acceptable[name] / size <= 0.72 for name, size in sizes.items())


def test_no_sentence_appears_twice_in_or_across_splits() -> None:
    sentences = [example.sentence.lower() for split in SPLITS for example in CORPUS[split]]
    assert len(set(sentences)) == len(sentences)


def test_the_open_class_words_of_the_splits_are_disjoint_in_every_form() -> None:
    assert not all_forms(TRAIN) & all_forms(DEV)
    assert TRAIN.keys() == DEV.keys()


def test_sentences_of_both_splits_share_function_words_alone() -> None:
    train, dev = (
        {word for example in CORPUS[split] for word in words(example.sentence)} for split in SPLITS
    )
    assert train & dev <= FUNCTION_WORDS
    assert train - FUNCTION_WORDS <= all_forms(TRAIN)
    assert dev - FUNCTION_WORDS <= all_forms(DEV)


@pytest.mark.parametrize("split", SPLITS)
def test_generation_is_deterministic_to_the_letter(split: Split) -> None:
    again = generate(split)
    assert again == CORPUS[split]
    text = "\n".join(f"{e.label} {e.phenomenon} {e.sentence}" for e in again)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGESTS[split], (
        f"the {split} split has changed: scores on it no longer compare with earlier ones"
    )


def test_generating_both_splits_takes_under_two_seconds() -> None:
    started = time.process_time()
    for split in SPLITS:
        generate(split)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("split", SPLITS)
def test_sentences_are_written_like_sentences(split: Split) -> None:
    for example in CORPUS[split]:
        assert re.fullmatch(r"[A-Z][A-Za-z']*(,? [A-Za-z']+)+[.?]", example.sentence), example
        assert 4 <= len(example.sentence.split()) <= 20, example
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", example.sentence, re.I), example


def test_an_unacceptable_sentence_has_an_acceptable_partner_of_nearly_its_words() -> None:
    acceptable: dict[str, list[Counter[str]]] = {}
    for example in CORPUS["dev"]:
        if example.label == 1:
            group = acceptable.setdefault(example.phenomenon, [])
            group.append(Counter(words(example.sentence)))
    for example in CORPUS["dev"]:
        if example.label == 0:
            bag = Counter(words(example.sentence))
            distances = [
                ((bag - other) + (other - bag)).total() for other in acceptable[example.phenomenon]
            ]
            assert min(distances) <= 6, example


def labels_of(examples: list[Example]) -> NDArray[np.int64]:
    return np.array([example.label for example in examples])


def word_counts() -> tuple[csr_matrix, csr_matrix]:
    vectorizer = CountVectorizer(token_pattern=r"[\w']+")
    train, dev = ([example.sentence for example in CORPUS[split]] for split in SPLITS)
    return vectorizer.fit_transform(train), vectorizer.transform(dev)


def lengths() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    train, dev = (
        np.array([[len(e.sentence.split()), len(e.sentence)] for e in CORPUS[split]]) / 50
        for split in SPLITS
    )
    return train, dev


@pytest.mark.parametrize("features", [word_counts, lengths])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_neither_word_counts_nor_length_give_the_label_away(
    features: Callable[[], tuple[object, object]],
    class_weight: str | None,
) -> None:
    (train, dev), labels = features(), labels_of(CORPUS["train"])
    classifier = LogisticRegression(max_iter=1000, class_weight=class_weight)
    held_out = cross_val_predict(classifier, train, labels, cv=5)
    predicted = classifier.fit(train, labels).predict(dev)
    assert matthews_corrcoef(labels, held_out) < 0.15
    assert matthews_corrcoef(labels_of(CORPUS["dev"]), predicted) < 0.15


def test_crossed_forms_are_right_and_wrong_equally_often() -> None:
    frame = crossed("it [x] [y]", ("has", "been"), ("will", "be"), ("was", "being"))
    right = Counter(word for template in frame for word in template.acceptable.split())
    wrong = Counter(word for template in frame for word in template.unacceptable.split())
    assert len(frame) == 6
    assert right == wrong
    assert frame[0] == ("it has been", "it has be")


def test_swapped_members_have_the_same_words_in_another_order() -> None:
    assert swapped("who [x] and [y]?", "sat", "ran") == (("who sat and ran?", "who ran and sat?"),)


def test_words_are_inflected_by_rule_or_as_listed() -> None:
    expected = [
        *(("wife", "wives"), ("church", "churches"), ("library", "libraries")),
        ("envy", "envies", "envied", "envied", "envying"),
        ("wrap", "wraps", "wrapped", "wrapped", "wrapping"),
        ("take", "takes", "took", "taken", "taking"),
        *(("thin", "thinner", "thinnest"), ("wise", "wiser", "wisest")),
    ]
    listed: tuple[Word, ...] = (
        *nouns("wife/wives church library"),
        *verbs("envy wrap/wrapped take/took/taken"),
        *adjectives("thin/thinn wise"),
    )
    assert [forms(word) for word in listed] == expected
