"""The allocations that TensLoRA+ compares, in its three phases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.tuning.space.build_space import list_adapter_shapes, make_adapter_spec
from allocator.tuning.space.space_file import read_space

RANK = 8
LAMBDAS = (4.0, 8.0, 16.0)  # besides 1, the baseline's
RANK_CHANGES = {
    "input": (2, 4),
    "qkv": (2, 4),
    "heads": (16,),
    "head_dim": (16,),
    "depth": (2, 4),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """One allocation of the comparison, in one of its phases.

    Attributes:
        phase: Name of the phase: `baselines`, `learning rate` or `rank`.
        name: Name of the allocation.
        spec: Its adapter shape, scaling and initialisation.
        allocation: Its ranks and rates.
    """

    phase: str
    name: str
    spec: AdapterSpec
    allocation: Allocation


BASELINE = f"tucker-{RANK}"


def list_tenslora_plus(backbone: BackboneShape, learning_rate: float) -> Iterator[Phase]:
    """List the allocations of the published comparison on a backbone.

    Phase one compares Tucker, CP and LoRA of rank 8; phase two raises the learning rate of
    Tucker's core; phase three changes the rank of one mode at a time, at lambda 1. Ranks are as
    published, even if they exceed what a mode can use. The input factor of the CP starts at zero,
    as it does in TensLoRA, and LoRA's A as in the preset `lora`.

    Args:
        backbone: The backbone.
        learning_rate: Base learning rate of all allocations.
    """
    # Each preset has one shape on a backbone, so this makes three specs.
    tucker, cp, lora = (
        make_adapter_spec(file, shape)
        for file in map(read_space, ("tenslora_plus", "tenslora_att_qkv_depth_cp", "lora"))
        for shape in list_adapter_shapes(file, backbone)
    )
    uniform = dict.fromkeys(tucker.shape.rank_names, RANK)

    def make_phase(
        phase: str,
        name: str,
        ranks: dict[str, int],
        spec: AdapterSpec = tucker,
        multiplier: float = 1.0,
    ) -> Phase:
        allocation = Allocation(
            ranks=ranks, learning_rate=learning_rate, core_lr_multiplier=multiplier
        )
        return Phase(phase=phase, name=name, spec=spec, allocation=allocation)

    yield make_phase("baselines", BASELINE, uniform)
    yield make_phase("baselines", f"cp-{RANK}", dict.fromkeys(cp.shape.rank_names, RANK), cp)
    yield make_phase("baselines", f"lora-{RANK}", dict.fromkeys(lora.shape.rank_names, RANK), lora)
    for multiplier in LAMBDAS:
        yield make_phase("learning rate", f"lambda-{multiplier:g}", uniform, multiplier=multiplier)
    for mode, ranks in RANK_CHANGES.items():
        for rank in ranks:
            yield make_phase("rank", f"{mode}-{rank}", {**uniform, mode: rank})
