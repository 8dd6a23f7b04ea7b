from pathlib import Path

import numpy as np
import pytest
import torch

from allocator.data.corpus import generate
from allocator.data.held_out import split_held_out
from allocator.data.sources import load_task
from allocator.data.tasks import Examples
from allocator.inputs.batches import iterate_by_length, join_rows, order_epoch, split_rows
from allocator.inputs.tokens import TokenizedSplit, tokenize_examples
from allocator.models.model_source import ModelSource, locate_model
from allocator.models.preprocessors import load_tokenizer

CPU = torch.device("cpu")


def split_of(lengths: list[int]) -> TokenizedSplit:
    """Examples of given lengths whose tokens all are their own number and ten."""
    return TokenizedSplit(
        input_ids=[[10 + i] * length for i, length in enumerate(lengths)],
        token_type_ids=None,
        labels=torch.arange(len(lengths)),
        pad=(1, 0),
    )


def random_split(n: int) -> TokenizedSplit:
    return split_of(np.random.default_rng(0).integers(3, 30, size=n).tolist())


def bert_source(folder: Path) -> ModelSource:
    return ModelSource(name="tiny", folder=folder, sha256="")


@pytest.fixture(scope="module")
def bundled(tiny_bert: Path) -> TokenizedSplit:
    """The training split of the bundled corpus."""
    corpus = generate("train")
    examples = Examples(
        inputs=tuple((example.sentence,) for example in corpus),
        labels=tuple(example.label for example in corpus),
    )
    return tokenize_examples(examples, load_tokenizer(bert_source(tiny_bert)), max_length=64)


@pytest.mark.parametrize(("n", "batch_size"), [(100, 7), (64, 32), (5, 8), (700, 2)])
def test_an_epoch_has_every_example_once_in_batches_of_the_given_size(
    n: int, batch_size: int
) -> None:
    order = order_epoch(random_split(n).lengths, batch_size, seed=1)
    assert sorted(i for batch in order for i in batch) == list(range(n))
    sizes = sorted(len(batch) for batch in order)
    assert len(sizes) == -(-n // batch_size)
    assert all(size == batch_size for size in sizes[1:])


def test_the_order_depends_on_the_seed_alone() -> None:
    split = random_split(300)
    first = order_epoch(split.lengths, 8, seed=1)
    np.random.default_rng(7).random(5)
    torch.rand(5)
    assert order_epoch(split.lengths, 8, seed=1) == first
    assert order_epoch(split.lengths, 8, seed=2) != first


def test_batches_do_not_come_in_order_of_length() -> None:
    split = random_split(640)
    longest = [max(split.lengths[batch]) for batch in order_epoch(split.lengths, 32, seed=0)]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


@pytest.mark.parametrize("seed", range(3))
def test_padding_is_under_two_percent_on_the_bundled_corpus(
    seed: int, bundled: TokenizedSplit
) -> None:
    lengths = bundled.lengths
    order = order_epoch(bundled.lengths, 32, seed=seed)
    computed = sum(len(batch) * max(lengths[batch]) for batch in order)
    assert computed / lengths.sum() < 1.02


@pytest.mark.parametrize(("n", "batch_size"), [(100, 7), (64, 32), (700, 2)])
def test_batches_of_two_seeds_at_the_same_place_are_of_one_size(n: int, batch_size: int) -> None:
    one, other = (
        order_epoch(np.random.default_rng(seed).integers(3, 30, size=n), batch_size, seed=seed)
        for seed in (1, 2)
    )
    assert [len(batch) for batch in one] == [len(batch) for batch in other]
    assert one != other


def test_all_seeds_read_lengths_in_the_same_order() -> None:
    lengths = np.repeat(np.arange(10, 60), 8)  # each batch of eight has one length
    one, other = (order_epoch(lengths, 8, seed=seed) for seed in (1, 2))
    read = [[lengths[batch].tolist() for batch in order] for order in (one, other)]
    assert read[0] == read[1]
    assert [length for length, *_ in read[0]] != sorted(range(10, 60))
    assert one != other


@pytest.mark.parametrize("seeds", [3, 16])
def test_padding_of_joint_batches_is_under_five_percent_on_the_bundled_corpus(seeds: int) -> None:
    data = load_task("cola-synthetic", source="auto", data_dir=None)
    model = locate_model("minilm", Path("no-cache"))
    lengths = tokenize_examples(data.train, load_tokenizer(model), max_length=128).lengths
    kept = [split_held_out(data.train, task=data.task, seed=seed)[0] for seed in range(seeds)]
    orders = [order_epoch(lengths[part], 32, seed=seed) for seed, part in enumerate(kept)]
    computed = tokens = 0
    for batches in zip(*orders, strict=True):
        blocks = [lengths[part][batch] for part, batch in zip(kept, batches, strict=True)]
        assert len({len(block) for block in blocks}) == 1
        computed += sum(map(len, blocks)) * max(block.max() for block in blocks)
        tokens += sum(block.sum() for block in blocks)
    assert computed / tokens < 1.05


def test_blocks_are_the_rows_of_a_batch_in_their_order() -> None:
    batch = split_of([4, 2, 3, 4, 4, 3]).make_batch(range(6), CPU)
    blocks = split_rows(batch, 3)
    assert [block.labels.tolist() for block in blocks] == [[0, 1], [2, 3], [4, 5]]
    assert blocks[1].inputs["input_ids"].tolist() == [[12, 12, 12, 1], [13, 13, 13, 13]]
    assert blocks[1].inputs["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_joined_blocks_are_a_batch_of_their_rows() -> None:
    batch = split_of([4, 2, 3, 4, 4, 3]).make_batch(range(6), CPU)
    first, _, last = split_rows(batch, 3)
    joined = join_rows([last, first])
    assert joined.labels.tolist() == [4, 5, 0, 1]
    for name, values in batch.inputs.items():
        assert torch.equal(joined.inputs[name], values[[4, 5, 0, 1]])


def test_rows_that_make_no_equal_blocks_are_refused() -> None:
    batch = split_of([3, 3, 3]).make_batch(range(3), CPU)
    with pytest.raises(RuntimeError, match="unflatten"):
        split_rows(batch, 2)


def test_a_batch_pads_ids_and_masks_what_it_padded() -> None:
    batch = split_of([2, 4, 3]).make_batch([1, 0], CPU)
    assert batch.inputs["input_ids"].tolist() == [[11, 11, 11, 11], [10, 10, 1, 1]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch.labels.tolist() == [1, 0]


def test_a_batch_of_one_length_has_no_mask() -> None:
    batch = split_of([3, 3, 5]).make_batch([0, 1], CPU)
    assert batch.inputs.keys() == {"input_ids"}


def test_a_batch_is_what_the_tokenizer_pads(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(bert_source(tiny_bert))
    pairs = (("The dog barked.", "It did."), ("She sang a song.", "The dog barked at the cat."))
    split = tokenize_examples(Examples(inputs=pairs, labels=(0, 1)), tokenizer, max_length=64)
    firsts, seconds = zip(*pairs, strict=True)
    expected = tokenizer(list(firsts), list(seconds), padding=True, return_tensors="pt")
    found = split.make_batch([0, 1], CPU).inputs
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert found["token_type_ids"].unique().tolist() == [0, 1]


def test_single_sentences_have_no_segments(bundled: TokenizedSplit) -> None:
    assert bundled.token_type_ids is None


def test_examples_are_cut_at_the_largest_length(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(bert_source(tiny_bert))
    examples = Examples(inputs=(("dog " * 50,), ("dog",)), labels=(0, 1))
    split = tokenize_examples(examples, tokenizer, max_length=12)
    assert split.lengths.tolist() == [12, 3]


def test_class_ids_stay_integers_and_scores_stay_real(tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(bert_source(tiny_bert))
    texts = (("one",), ("two",))
    classes = tokenize_examples(Examples(inputs=texts, labels=(1, 0)), tokenizer, max_length=12)
    scores = tokenize_examples(Examples(inputs=texts, labels=(1.0, 0.5)), tokenizer, max_length=12)
    assert (classes.labels.dtype, scores.labels.dtype) == (torch.int64, torch.float32)
    assert scores.labels.tolist() == [1.0, 0.5]


def test_evaluation_walks_every_example_once_from_short_to_long() -> None:
    split = random_split(50)
    seen: list[int] = []
    for indices, batch in iterate_by_length(split, 8, CPU):
        assert batch.labels.tolist() == indices
        seen += indices
    assert sorted(seen) == list(range(50))
    assert split.lengths[seen].tolist() == sorted(split.lengths.tolist())
