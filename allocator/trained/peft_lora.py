"""Writes a trained adapter as a standard LoRA that PEFT loads, exact to rounding."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from allocator.models.attached import Attached
from allocator.models.head_parameters import list_parent_modules

# Shapes: I input width, R bottleneck rank, r rank of the product, O output width

_ROUNDING = torch.finfo(torch.float32).eps


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """One site's update as PEFT keeps it: `delta_W = b_Or @ a_rI`, at a scaling of 1."""

    a_rI: Tensor
    b_Or: Tensor

    @property
    def rank(self) -> int:
        """The bottleneck."""
        return self.a_rI.shape[0]


def factorize_lora(a_IR: Tensor, b_RO: Tensor) -> Lora:
    """Factorize an update at the smallest rank that is exact to float32's rounding.

    The singular values of A B are those of the product of the two triangles that QR leaves, so no
    d x d matrix is built. PEFT knows no rank 0: an update of zero gets rank 1.

    Args:
        a_IR: Shape (I, R), in float64.
        b_RO: Shape (R, O), in float64.
    """
    q_in, triangle_in = torch.linalg.qr(a_IR)
    q_out, triangle_out = torch.linalg.qr(b_RO.T)
    u, values, v = torch.linalg.svd(triangle_in @ triangle_out.T, full_matrices=False)
    rank = max(1, int((values > _ROUNDING * values[0]).sum()))
    roots = values[:rank].sqrt()
    a_rI = (q_in @ u[:, :rank] * roots).T
    b_Or = q_out @ v[:rank].T * roots
    return Lora(a_rI=a_rI.float().contiguous(), b_Or=b_Or.float().contiguous())


@torch.no_grad()
def compute_site_loras(attached: Attached) -> dict[str, Lora]:
    """Give every site's update as a LoRA, by the name of its projection in the model."""
    pairs = copy.deepcopy(attached.adapter).cpu().double().compute_pairs()
    return {
        name: factorize_lora(*pairs.select_site(layer, target))
        for layer, projections in enumerate(attached.projections)
        for target, (name, _) in enumerate(projections)
    }


def export_peft(attached: Attached, folder: Path, *, base_model: str) -> int:
    """Write `adapter_config.json` and `adapter_model.safetensors`, the head included.

    Args:
        attached: A trained adapter on its model, which stays as it is.
        folder: Where the files go.
        base_model: Name of the model for people who load the LoRA: an id on the hub, or a folder.

    Returns:
        Parameters of the LoRA, the head's not counted.
    """
    loras, model, head = compute_site_loras(attached), attached.model, attached.head_state_dict()
    modules = list_parent_modules(head)
    config = _config(loras, model, modules)
    with torch.device("meta"):  # names and shapes are all that is needed of the model's own weights
        skeleton = type(model)(copy.deepcopy(model.config))
        skeleton.name_or_path = base_model
        with warnings.catch_warnings():  # PEFT asks a model for what transformers has renamed
            warnings.simplefilter("ignore", FutureWarning)
            lora_model = get_peft_model(skeleton, config)
    state = _state(loras, head)
    found = lora_model.load_state_dict(state, strict=False, assign=True)
    assert not found.unexpected_keys
    config.modules_to_save = modules or None  # to which PEFT has appended
    lora_model.save_pretrained(str(folder), save_embedding_layers=False)
    return sum(lora.a_rI.numel() + lora.b_Or.numel() for lora in loras.values())


def _config(loras: Mapping[str, Lora], model: PreTrainedModel, modules: list[str]) -> LoraConfig:
    rank = max(lora.rank for lora in loras.values())
    others = {name: lora.rank for name, lora in loras.items() if lora.rank != rank}
    return LoraConfig(
        task_type=_task_type(model, modules),
        target_modules=_target_modules(loras, model),
        modules_to_save=list(modules) or None,
        r=rank,
        lora_alpha=rank,  # a scaling of alpha / r = 1: B holds the adapter's own
        rank_pattern=others,
        alpha_pattern=dict(others),
    )


def _task_type(model: PreTrainedModel, modules: list[str]) -> str | None:
    """Choose how PEFT wraps a model.

    It has no kind of its own for images. Of a model for sequences it copies the whole child
    `classifier` or `score` for every adapter; where that is not one linear layer, its parts are
    copied instead, which can answer batches of several adapters (`adapter_names`).
    """
    if model.main_input_name != "input_ids":
        return None
    if not modules:
        return "FEATURE_EXTRACTION"
    children = {name for name, _ in model.named_children()} & {"classifier", "score"}
    return "SEQ_CLS" if children <= set(modules) else None


def _target_modules(loras: Mapping[str, Lora], model: PreTrainedModel) -> list[str]:
    """Name the sites by the last parts of their names where these name no other module."""
    last = {name.rsplit(".", 1)[-1] for name in loras}
    named = {name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in last}
    return sorted(last if named == set(loras) else loras)


def _state(loras: Mapping[str, Lora], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name all that is saved as a PEFT model names it."""
    prefix, state = "base_model.model.", dict[str, Tensor]()
    for name, lora in loras.items():
        state[f"{prefix}{name}.lora_A.default.weight"] = lora.a_rI
        state[f"{prefix}{name}.lora_B.default.weight"] = lora.b_Or
    for name, value in head.items():
        module, _, parameter = name.rpartition(".")
        saved = f"{prefix}{module}.modules_to_save.default.{parameter}"
        state[saved] = value.cpu().contiguous()
    return state
