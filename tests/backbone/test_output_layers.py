"""The last layers of heads, and calibrations folded into them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    DeiTForImageClassificationWithTeacher,
    PreTrainedModel,
    XLMConfig,
)

from allocator.backbone.head import Head, split_off_head
from allocator.backbone.output_layers import find_output_layers, require_scalable_logits
from allocator.config import Calibration
from allocator.errors import ModelError
from tests.backbone.tiny_architectures import tiny_model

KINDS = ["bert", "roberta", "mpnet", "xlm-roberta", "electra", "distilbert"]
INPUTS = {"input_ids": torch.arange(4, 16).view(2, 6)}
PIXELS = {"pixel_values": torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}


def classifier(folder: Path, num_labels: int = 3) -> PreTrainedModel:
    """A whole classification model, all of it random."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(folder, num_labels=num_labels)
    config.pad_token_id = 1
    model = AutoModelForSequenceClassification.from_config(config)
    assert isinstance(model, PreTrainedModel)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.5)  # all zero otherwise
    model.eval()
    return model


def distilled_deit(folder: Path) -> PreTrainedModel:
    model = DeiTForImageClassificationWithTeacher.from_pretrained(folder, num_labels=3)
    assert isinstance(model, PreTrainedModel)
    model.eval()
    return model


@torch.no_grad()
def answer(head: Head) -> Tensor:
    states = torch.randn(4, 6, 32, generator=torch.Generator().manual_seed(0))
    logits: Tensor = head(states, {"input_ids": torch.arange(4, 28).view(4, 6)})
    return logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_labels", [1, 3, 32])  # as many as hidden units, at last
def test_a_folded_calibration_comes_out_in_the_logits_and_in_what_is_saved(
    kind: str, num_labels: int, tiny_models: dict[str, Path]
) -> None:
    _, head = split_off_head(classifier(tiny_models[kind], num_labels), frozenset())
    as_trained, before = copy.deepcopy(head), answer(head)
    head.fold_calibration(Calibration(scale=0.4, intercept=-1.5))
    torch.testing.assert_close(answer(head), 0.4 * before - 1.5)
    as_trained.load_trained_state_dict(head.trained_state_dict())
    assert torch.equal(answer(as_trained), answer(head))


def test_a_scale_changes_no_decision(tiny_bert: Path) -> None:
    _, head = split_off_head(classifier(tiny_bert), frozenset())
    before = answer(head)
    head.fold_calibration(Calibration(scale=0.0123))
    assert torch.equal(answer(head).argmax(1), before.argmax(1))


def test_a_head_without_bias_takes_a_scale_and_no_intercept(tiny_llama: Path) -> None:
    _, head = split_off_head(classifier(tiny_llama, 1), frozenset())
    before = answer(head)
    assert not head.has_bias
    head.fold_calibration(Calibration(scale=3.0))
    torch.testing.assert_close(answer(head), 3.0 * before)
    message = (
        "the head of LlamaForSequenceClassification has no bias, so the calibration's intercept "
        "must be 0, got 0.5"
    )
    with pytest.raises(ModelError, match=f"^{message}$"):
        head.fold_calibration(Calibration(scale=3.0, intercept=0.5))
    torch.testing.assert_close(answer(head), 3.0 * before)


def test_folding_into_a_copy_leaves_the_original_as_it_was(tiny_roberta: Path) -> None:
    _, head = split_off_head(classifier(tiny_roberta), frozenset())
    before = answer(head)
    head.copy_with_fresh_parameters(1).fold_calibration(Calibration(scale=2.0))
    assert torch.equal(answer(head), before)


def test_both_heads_of_a_distilled_deit_are_scaled(tiny_image_models: dict[str, Path]) -> None:
    model = distilled_deit(tiny_image_models["deit"])
    assert list(find_output_layers(model)) == ["cls_classifier", "distillation_classifier"]
    require_scalable_logits(model, PIXELS)


def test_a_head_that_bends_its_logits_is_refused() -> None:
    model = tiny_model(XLMConfig, of_images=False, vocab_size=100, pad_token_id=1)
    require_scalable_logits(model, INPUTS)
    model.get_submodule("sequence_summary").activation = nn.Tanh()
    message = (
        "the head of XLMForSequenceClassification cannot be calibrated: its logits do not scale "
        "with sequence_summary.summary; choose another --model"
    )
    with pytest.raises(ModelError, match=f"^{message}$"):
        require_scalable_logits(model, INPUTS)


def test_a_head_whose_logits_no_linear_layer_makes_is_refused_before_it_trains(
    tiny_bert: Path,
) -> None:
    model = classifier(tiny_bert)
    setattr(model, "classifier", nn.Bilinear(32, 32, 3))  # noqa: B010
    message = (
        "the head of BertForSequenceClassification cannot be calibrated: none of its linear layers "
        "has num_labels = 3 outputs; choose another --model"
    )
    with pytest.raises(ModelError, match=f"^{message}$"):
        split_off_head(model, frozenset())
