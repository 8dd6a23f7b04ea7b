"""What of a model trains beside an adapter: its task head."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

ADAPTER = "allocator"
"""Name of the submodule that an attached adapter is."""


def head_parameters(
    model: PreTrainedModel, *, trains_pooler: bool, trains_lm_head: bool = False
) -> dict[str, nn.Parameter]:
    """Find the parameters of a model's head that train, by their names in the model.

    That is all that lies outside of the backbone. The pooler, which belongs to the backbone but is
    read by the head alone, trains where the head starts anew: a checkpoint that lacks some of the
    head has a pooler that was made for something else. A head that is complete goes on with the
    pooler that it was trained with.

    Args:
        model: A model with a head, or a bare backbone, which has none.
        trains_pooler: Whether the pooler trains.
        trains_lm_head: Whether a head that predicts words trains.
    """
    predicts_words = model.get_output_embeddings() is not None
    if model.base_model is model or (predicts_words and not trains_lm_head):
        return {}
    backbone = f"{model.base_model_prefix}."
    outside = (backbone, f"{ADAPTER}.")
    pooler = f"{backbone}pooler."
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith(outside) or (trains_pooler and name.startswith(pooler))
    }


def holds_pooler(names: Iterable[str]) -> bool:
    """Whether a backbone's pooler, `<backbone>.pooler`, is among a head's parameters."""
    return any(name.split(".")[1:2] == ["pooler"] for name in names)


def modules_of(names: Iterable[str]) -> list[str]:
    """Name the modules that hold some parameters directly, each once."""
    return sorted({name.rpartition(".")[0] for name in names})
