import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertModel,
    PreTrainedModel,
)

from allocator.backbone.backbone import Backbone, load_backbone
from allocator.backbone.head import Head, split_off_head
from allocator.models.model_source import ModelSource

KINDS = ["bert", "roberta", "mpnet", "xlm-roberta", "electra", "distilbert"]
CLASSIFIER = {"classifier.weight", "classifier.bias"}
TWO_LAYERS = {f"classifier.{m}.{p}" for m in ("dense", "out_proj") for p in ("weight", "bias")}
POOLER = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}


def load(folder: Path) -> Backbone:
    return load_backbone(
        ModelSource(name="tiny", folder=folder, sha256=""),
        ("query", "key", "value"),
        num_labels=3,
        precision="float32",
        device=torch.device("cpu"),
    )


def classifier(folder: Path) -> PreTrainedModel:
    """A whole classification model, its head random."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder, num_labels=3)
    model = AutoModelForSequenceClassification.from_config(config)
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


def states() -> Tensor:
    return torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(0))


def trained(head: Head) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in head.trained_state_dict().items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_on_hidden_states_gives_the_whole_models_logits(
    kind: str, tiny_models: dict[str, Path]
) -> None:
    model = classifier(tiny_models[kind])
    inputs = {
        "input_ids": torch.randint(4, 100, (3, 8), generator=torch.Generator().manual_seed(1)),
        "attention_mask": torch.ones(3, 8, dtype=torch.int64),
    }
    inputs["attention_mask"][2, 5:] = 0
    expected = model(**inputs).logits
    backbone, head = split_off_head(model, frozenset())
    hidden = backbone(**inputs).last_hidden_state
    torch.testing.assert_close(head(hidden, inputs), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_backbone_that_is_split_off_has_no_pooler(
    kind: str, tiny_models: dict[str, Path]
) -> None:
    backbone, _ = split_off_head(classifier(tiny_models[kind]), frozenset())
    assert not any("pooler" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("bert", CLASSIFIER | POOLER),
        ("roberta", TWO_LAYERS),
        ("mpnet", TWO_LAYERS),
        ("xlm-roberta", TWO_LAYERS),
        ("electra", TWO_LAYERS),
        ("distilbert", CLASSIFIER | {"pre_classifier.weight", "pre_classifier.bias"}),
    ],
)
def test_what_the_checkpoint_lacked_trains_and_a_pooler_it_reads_from(
    kind: str, names: set[str], tiny_models: dict[str, Path]
) -> None:
    head = load(tiny_models[kind]).head
    assert head.trained_state_dict().keys() == names
    assert head.num_parameters == 32 * 32 + 32 + 32 * 3 + 3


def test_a_head_of_the_checkpoint_trains_from_its_own_values_without_the_pooler(
    tiny_bert: Path, tmp_path: Path
) -> None:
    model = classifier(tiny_bert)
    model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    state = trained(load(tmp_path).head.copy_with_fresh_parameters(3))
    assert state.keys() == CLASSIFIER
    assert torch.equal(state["classifier.weight"], model.get_parameter("classifier.weight"))


def test_a_pooler_of_the_checkpoint_trains_from_its_own_values(tiny_bert: Path) -> None:
    head = load(tiny_bert).head
    reference = BertModel.from_pretrained(tiny_bert)
    assert reference.pooler is not None
    pooler = head.copy_with_fresh_parameters(3).get_parameter("model.bert.pooler.dense.weight")
    assert pooler.requires_grad
    assert torch.equal(pooler, reference.pooler.dense.weight)


def test_a_pooler_that_the_checkpoint_lacks_trains_from_anew(
    tiny_bert: Path, tmp_path: Path
) -> None:
    config = BertConfig.from_dict(
        {
            "vocab_size": 20,
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        }
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path)
    head = load(tmp_path).head
    assert head.trained_state_dict().keys() == CLASSIFIER | POOLER
    one, other = (
        trained(head.copy_with_fresh_parameters(1)),
        trained(head.copy_with_fresh_parameters(2)),
    )
    assert not torch.equal(one["bert.pooler.dense.weight"], other["bert.pooler.dense.weight"])


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_copies_are_equal_for_equal_seeds_alone(
    kind: str, tiny_models: dict[str, Path]
) -> None:
    head = load(tiny_models[kind]).head
    first, again, other = (head.copy_with_fresh_parameters(seed) for seed in (5, 5, 6))
    torch.testing.assert_close(first(states(), {}), again(states(), {}), rtol=0, atol=0)
    assert (first(states(), {}) - other(states(), {})).abs().max() > 1e-3
    for name, values in trained(first).items():
        if name.endswith("weight") and "pooler" not in name:
            assert not torch.equal(values, trained(other)[name])


def test_a_fresh_copy_does_not_depend_on_the_heads_state_nor_on_the_global_generator(
    tiny_roberta: Path,
) -> None:
    head = load(tiny_roberta).head
    expected = trained(head.copy_with_fresh_parameters(1))
    changed = copy.deepcopy(head)
    for parameter in changed.parameters():
        torch.nn.init.ones_(parameter)
    torch.manual_seed(9)
    before = torch.get_rng_state()
    redrawn = trained(changed.copy_with_fresh_parameters(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(values, expected[name]) for name, values in redrawn.items())


def test_training_a_copy_leaves_the_original_as_it_was(tiny_bert: Path) -> None:
    head = load(tiny_bert).head
    before = trained(head)
    fresh = head.copy_with_fresh_parameters(0)
    optimizer = torch.optim.SGD(fresh.parameters(), lr=1.0)
    fresh(states(), {}).pow(2).sum().backward()
    optimizer.step()
    assert all(
        torch.equal(values, before[name]) for name, values in head.trained_state_dict().items()
    )


def test_a_head_reads_bfloat16_states_in_float32(tiny_bert: Path) -> None:
    head = load(tiny_bert).head
    rounded = states().bfloat16()
    torch.testing.assert_close(head(rounded, {}), head(rounded.float(), {}), rtol=0, atol=0)
