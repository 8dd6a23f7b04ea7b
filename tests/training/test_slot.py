from pathlib import Path

import torch

from allocator.adapters.saved import load_adapter, save_adapter
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.files.adapter_section import describe_adapter
from allocator.training.pack import Pack, TrainingPack
from allocator.training.slot import Slot
from allocator.training.splits import Splits
from allocator.training.training_slot import TrainingSlot

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}


def test_a_slot_that_is_loaded_answers_as_the_one_that_was_trained_and_saved(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits, tmp_path: Path
) -> None:
    allocation = Allocation(ranks=RANKS, learning_rate=1e-2)
    trained = TrainingSlot(
        allocation, tiny_spec, tiny_backbone, TrainingConfig(epochs=1), 10, seed=0
    )
    batch = tiny_splits.train.make_batch(range(16), torch.device("cpu"))
    pack = TrainingPack(tiny_backbone, [trained], width=1)
    for _ in range(3):
        pack.step(batch)
    path = tmp_path / "1.safetensors"
    description = describe_adapter(tiny_spec, RANKS, "", trains_pooler=trained.head.trains_pooler)
    save_adapter(path, trained.adapter, trained.head.trained_state_dict(), description)
    loaded = Slot.load(load_adapter(path), tiny_backbone, seed=1)
    with torch.no_grad():
        answers = [
            slot.compute_logits(
                Pack[Slot](tiny_backbone, width=1).compute_hidden([slot], batch)[0], batch.inputs
            )
            for slot in (trained, loaded)
        ]
    assert torch.equal(*answers)
    assert not torch.equal(answers[0][0], answers[0][1])
