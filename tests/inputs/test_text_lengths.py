"""What is said of texts that are longer than they are read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from allocator.data.tasks import Examples, Task
from allocator.inputs.reader import load_reader
from allocator.inputs.text_lengths import describe_cuts, find_longest_text
from allocator.inputs.tokens import TokenizedSplit
from allocator.models.model_source import ModelSource, locate_model

TASK = Task(
    name="own", text_columns=("text",), label_column="label", labels=("a", "b"), metric="accuracy"
)


def make_examples(*lengths: int) -> Examples:
    """Texts of as many tokens each, the two at the ends included."""
    texts = tuple((" ".join(["the"] * (length - 2)),) for length in lengths)
    return Examples(inputs=texts, labels=(0,) * len(lengths))


def test_texts_that_are_read_whole_need_no_words(tiny_source: ModelSource) -> None:
    examples = make_examples(5, 16)
    tokenizer = AutoTokenizer.from_pretrained(tiny_source.folder)
    assert [len(tokenizer(*inputs)["input_ids"]) for inputs in examples.inputs] == [5, 16]
    assert describe_cuts(tiny_source, examples, max_length=16) is None


def test_it_is_said_how_many_are_cut_and_by_how_much(tiny_source: ModelSource) -> None:
    examples = make_examples(*[10] * 7, 17, 18, 26)
    assert describe_cuts(tiny_source, examples, max_length=16) == (
        "30% of the texts have more than 16 tokens and are cut (see --max-length); these lose 2 "
        "tokens in the median, 10 at most"
    )


def test_a_longer_text_is_proposed_where_most_are_cut(tiny_source: ModelSource) -> None:
    text = describe_cuts(tiny_source, make_examples(10, 20, 30), max_length=16)
    assert text is not None
    assert text.endswith("; --max-length 30 would cut none, and take longer")
    text = describe_cuts(tiny_source, make_examples(10, 20, 160), max_length=16)
    assert text is not None
    assert text.endswith("; --max-length 64 would cut 33%, and take longer")


def test_one_text_of_many_is_not_rounded_to_none(tiny_source: ModelSource) -> None:
    text = describe_cuts(tiny_source, make_examples(*[10] * 999, 30), max_length=16)
    assert text is not None
    assert text.startswith("1% of the texts")


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet"])
def test_the_longest_text_is_what_the_model_has_positions_for(
    name: str, tiny_models: dict[str, Path]
) -> None:
    source = locate_model(str(tiny_models[name]), tiny_models[name] / "no-cache")
    longest = find_longest_text(source)
    assert longest is not None
    model = AutoModel.from_pretrained(tiny_models[name]).eval()
    with torch.no_grad():
        model(torch.full((1, longest), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.full((1, longest + 1), 5))
    # A text is cut there, however long it may be.
    read = load_reader(source, TASK, max_length=1_000, device=torch.device("cpu"))
    split = read(make_examples(8, 3 * longest))
    assert isinstance(split, TokenizedSplit)
    assert split.lengths.tolist() == [8, longest]
