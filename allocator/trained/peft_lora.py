"""Export of a trained adapter as a standard LoRA that PEFT loads, exact to rounding."""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from allocator.adapters.adapter import place_columns
from allocator.models.attached import Attached
from allocator.models.head_parameters import list_parent_modules

# Shapes: I input width, R bottleneck rank of the adapter, r rank of the product, O output width

# Singular values below this fraction of the largest one are left out: a LoRA in float32 could not
# hold them.
_ROUNDING = torch.finfo(torch.float32).eps


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """One linear layer's update as PEFT keeps it: `delta_W = b_Or @ a_rI`, with a scaling of 1.

    Attributes:
        a_rI: Weight of PEFT's `lora_A`.
        b_Or: Weight of PEFT's `lora_B`.
    """

    a_rI: Tensor
    b_Or: Tensor

    @property
    def rank(self) -> int:
        """Rank of the LoRA."""
        return self.a_rI.shape[0]


def factorize_lora(a_IR: Tensor, b_RO: Tensor) -> Lora:
    """Factorize an update at the smallest rank that is exact to float32's rounding.

    PEFT has no rank 0, so an update of zero gets rank 1.

    Args:
        a_IR: A of the update, in float64.
        b_RO: B of the update, in float64.
    """
    # With A = Q_in T_in and B^T = Q_out T_out, A B = Q_in (T_in T_out^T) Q_out^T has the singular
    # values of the small matrix in the middle, so no d x d matrix is built.
    q_in, triangle_in = torch.linalg.qr(a_IR)
    q_out, triangle_out = torch.linalg.qr(b_RO.T)
    u, values, v = torch.linalg.svd(triangle_in @ triangle_out.T, full_matrices=False)
    rank = max(1, int((values > _ROUNDING * values[0]).sum()))
    # Each side gets the square roots of the singular values, so that A and B have equal norms.
    roots = values[:rank].sqrt()
    a_rI = (q_in @ u[:, :rank] * roots).T
    b_Or = q_out @ v[:rank].T * roots
    return Lora(a_rI=a_rI.float().contiguous(), b_Or=b_Or.float().contiguous())


@torch.no_grad()
def compute_loras(attached: Attached) -> dict[str, Lora]:
    """Factorize the update of every linear layer; keys are the layers' names in the model.

    The updates of a fused layer's parts are one of the layer: the bottlenecks side by side, each
    with columns of its own. So its rank is the sum of theirs, or less if they share some.
    """
    # On a copy in float64, so that only the rounding of the result to float32 remains.
    pairs = copy.deepcopy(attached.adapter).cpu().double().compute_pairs()
    updates: dict[str, list[tuple[Tensor, Tensor]]] = defaultdict(list)
    for layer, projections in enumerate(attached.projections):
        for target, (name, projection) in enumerate(projections):
            a_IR, b_RO = pairs.select_site(layer, target)
            updates[name].append((a_IR, place_columns(b_RO, projection.place)))
    loras = {}
    for name, parts in updates.items():
        a_s, b_s = zip(*parts, strict=True)
        loras[name] = factorize_lora(torch.cat(a_s, dim=1), torch.cat(b_s))
    return loras


def export_peft(attached: Attached, folder: Path, *, base_model: str) -> int:
    """Write `adapter_config.json` and `adapter_model.safetensors`, with the head.

    Args:
        attached: A trained adapter on its model, which is not changed.
        folder: Folder that the files are written to.
        base_model: Id on the hub or folder of the pretrained model, for those who load the LoRA.

    Returns:
        Number of parameters of the LoRA, without the head.
    """
    loras, model, head = compute_loras(attached), attached.model, attached.head_state_dict()
    modules = list_parent_modules(head)
    config = _build_config(loras, model, modules)
    # On the meta device, because PEFT needs only names and shapes of the model's weights.
    with torch.device("meta"):
        skeleton = type(model)(copy.deepcopy(model.config))
        skeleton.name_or_path = base_model
        with warnings.catch_warnings():  # PEFT reads an attribute that transformers has renamed
            warnings.simplefilter("ignore", FutureWarning)
            lora_model = get_peft_model(skeleton, config)
    state = _build_state_dict(loras, head)
    # Not strict, because the frozen weights stay on the meta device and are not saved; assigned,
    # because a meta tensor has no memory to copy into.
    result = lora_model.load_state_dict(state, strict=False, assign=True)
    assert not result.unexpected_keys
    config.modules_to_save = modules or None  # PEFT has added names of its own to the list
    lora_model.save_pretrained(str(folder), save_embedding_layers=False)
    return sum(lora.a_rI.numel() + lora.b_Or.numel() for lora in loras.values())


def _build_config(
    loras: Mapping[str, Lora], model: PreTrainedModel, modules: list[str]
) -> LoraConfig:
    rank = max(lora.rank for lora in loras.values())
    other_ranks = {name: lora.rank for name, lora in loras.items() if lora.rank != rank}
    return LoraConfig(
        task_type=_choose_task_type(model, modules),
        target_modules=_name_target_modules(loras, model),
        modules_to_save=list(modules) or None,
        r=rank,
        lora_alpha=rank,  # PEFT scales by alpha / r, here 1: B includes the adapter's scaling
        rank_pattern=other_ranks,
        alpha_pattern=dict(other_ranks),
        # Of a `Conv1D`, whose weight is transposed. No model has adapted layers of both kinds.
        fan_in_fan_out=isinstance(model.get_submodule(next(iter(loras))), Conv1D),
    )


def _choose_task_type(model: PreTrainedModel, modules: list[str]) -> str | None:
    """Choose the task type by which PEFT wraps a model; None for its general wrapper.

    PEFT has no task type for images. For sequence classification it copies the whole child
    `classifier` or `score` for every adapter. If that child is not a single linear layer, the
    general wrapper copies its layers one by one instead, which also works for batches of several
    adapters (`adapter_names`).
    """
    if model.main_input_name != "input_ids":
        return None
    if not modules:
        return "FEATURE_EXTRACTION"
    children = {name for name, _ in model.named_children()} & {"classifier", "score"}
    return "SEQ_CLS" if children <= set(modules) else None


def _name_target_modules(loras: Mapping[str, Lora], model: PreTrainedModel) -> list[str]:
    """Name the sites by the ends of their names, or in full if other modules share the ends."""
    last = {name.rsplit(".", 1)[-1] for name in loras}
    named = {name for name, _ in model.named_modules() if name.rsplit(".", 1)[-1] in last}
    return sorted(last if named == set(loras) else loras)


def _build_state_dict(loras: Mapping[str, Lora], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Collect the LoRA and the head under the names that a PEFT model gives them."""
    prefix, state = "base_model.model.", dict[str, Tensor]()
    for name, lora in loras.items():
        state[f"{prefix}{name}.lora_A.default.weight"] = lora.a_rI
        state[f"{prefix}{name}.lora_B.default.weight"] = lora.b_Or
    for name, value in head.items():
        module, _, parameter = name.rpartition(".")
        saved = f"{prefix}{module}.modules_to_save.default.{parameter}"
        state[saved] = value.cpu().contiguous()
    return state
