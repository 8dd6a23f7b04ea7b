"""Attach an adapter to a model in memory, to train it in any loop or in transformers' Trainer."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from allocator.adapters.adapter import Adapter
from allocator.adapters.build import ParameterGroup, build_adapter, make_parameter_groups
from allocator.adapters.saved import load_adapter, read_shapes, require_shapes, save_adapter
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.errors import CheckpointError, ModelError
from allocator.files.adapter_section import describe_adapter
from allocator.files.recipe import Recipe
from allocator.files.result_files import find_result_folder
from allocator.files.study_folder import ADAPTER_FILE
from allocator.models.attach_hooks import SiteUpdate, SiteUpdates
from allocator.models.head_parameters import ADAPTER, find_head_parameters
from allocator.models.projections import find_backbone_shape, find_projections
from allocator.models.weight_hashes import hash_model

# Shapes: I input width, R bottleneck rank, O output width


class Attached:
    """A model with an adapter on it, which can be trained, saved, merged and detached.

    The model keeps its modules, its weights, their precision and their device. Its backbone is
    frozen; the adapter, a submodule of the model, and the head train. The adapter is in float32.

    Args:
        model: A model with a head, or a bare backbone.
        adapter: The adapter; it moves to the model's device.
        spec: Shape, scaling and initialisation of the adapter.
        trains_pooler: As for `find_head_parameters`.
        trains_lm_head: As for `find_head_parameters`.
        dropout: Fraction of a site's inputs that is dropped before its update, while the model
            trains.

    Attributes:
        model: The model.
        adapter: The adapter on it.

    Raises:
        ModelError: If the model has an adapter already.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        adapter: Adapter,
        spec: AdapterSpec,
        *,
        trains_pooler: bool = True,
        trains_lm_head: bool = False,
        dropout: float = 0.0,
    ) -> None:
        if hasattr(model, ADAPTER):
            raise ModelError(f"{type(model).__name__} has an adapter; detach it first")
        self.model, self.spec = model, spec
        self._trained_before = {n: p.requires_grad for n, p in model.named_parameters()}
        model.requires_grad_(False)
        self._trains_pooler = trains_pooler
        self._head = tuple(
            find_head_parameters(model, trains_pooler=trains_pooler, trains_lm_head=trains_lm_head)
        )
        for parameter in self._head_parameters():
            parameter.requires_grad_(True)
        # The head trains in place; `detach` restores these values.
        self._head_before = {name: value.clone() for name, value in self.head_state_dict().items()}
        self.adapter: Adapter = adapter.to(model.device)
        model.add_module(ADAPTER, self.adapter)
        updates = SiteUpdates(self.adapter, dropout)
        self.projections = find_projections(model, spec.shape.backbone.targets)
        # The backbone's hook runs before its projections, whose hooks read what it has computed.
        self._hooks = [model.base_model.register_forward_pre_hook(updates.refresh)]
        for layer, projections in enumerate(self.projections):
            for target, (_, projection) in enumerate(projections):
                update = SiteUpdate(
                    updates=updates, layer=layer, target=target, place=projection.place
                )
                self._hooks.append(projection.layer.register_forward_hook(update))

    @property
    def num_parameters(self) -> int:
        """Trainable parameters of the adapter; the head is not counted."""
        return self.adapter.num_parameters

    def head_state_dict(self) -> dict[str, Tensor]:
        """Return the values of the head's parameters by their names in the model."""
        head = zip(self._head, self._head_parameters(), strict=True)
        return {name: parameter.detach() for name, parameter in head}

    def parameter_groups(
        self, recipe: Recipe, *, learning_rate: float | None = None
    ) -> list[ParameterGroup]:
        """Group all trained parameters by learning rate, for a torch optimizer.

        Args:
            recipe: Recipe with lambda, the multipliers of modes, and the learning rate of the head.
            learning_rate: Base learning rate of the adapter, in place of the recipe's.

        Returns:
            One group for the zero-initialised part, one for every factor, one for the head.
        """
        groups = make_parameter_groups(self.adapter, recipe.make_allocation(learning_rate))
        head = self._head_parameters()
        rate = recipe.training.head_learning_rate
        return [*groups, {"params": head, "lr": rate}] if head else groups

    def save(self, path: Path | str) -> None:
        """Write the adapter and the head to a safetensors file with a description of both."""
        sha256 = hash_model(self.model)
        description = describe_adapter(
            self.spec, self.adapter.ranks, sha256, trains_pooler=self._trains_pooler
        )
        save_adapter(Path(path), self.adapter, self.head_state_dict(), description)

    def detach(self) -> None:
        """Remove the adapter and restore the model, its head included.

        Raises:
            ModelError: If the adapter has been removed already.
        """
        self._require_attached()
        state = self.head_state_dict()
        # Detached tensors share memory with their parameters, so this writes into the model.
        for name, value in self._head_before.items():
            state[name].copy_(value)
        self._unhook()

    @torch.no_grad()
    def merge(self) -> None:
        """Add the updates to the model's weights, keep the trained head, and remove the adapter.

        Raises:
            ModelError: If the adapter has been removed already.
        """
        self._require_attached()
        pairs = self.adapter.compute_pairs()
        for layer, projections in enumerate(self.projections):
            for target, (_, projection) in enumerate(projections):
                update = projection.compute_weight_update(*pairs.select_site(layer, target))
                weight = projection.layer.weight
                # Add in float32 and round once, for weights of any precision.
                weight.copy_(weight.float() + update.to(weight.device))
        self._unhook()

    def _head_parameters(self) -> list[nn.Parameter]:
        return [self.model.get_parameter(name) for name in self._head]

    def _require_attached(self) -> None:
        if getattr(self.model, ADAPTER, None) is not self.adapter:
            raise ModelError(f"the adapter is not on this {type(self.model).__name__} any more")

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        # First, because `_trained_before` does not list the adapter's parameters.
        delattr(self.model, ADAPTER)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._trained_before[name])


def attach(model: PreTrainedModel, recipe: Recipe, *, trains_lm_head: bool = False) -> Attached:
    """Attach a new adapter with a recipe's allocation.

    Before training, it does not change the model's outputs. The classification head trains with it,
    and so does the pooler if it trained in the recipe's search.

    Args:
        model: Any supported model; it need not be the recipe's.
        recipe: The recipe, as `read_recipe` returns it.
        trains_lm_head: Whether a language-modelling head trains, if the model has one.

    Raises:
        ModelError: If the model lacks the recipe's targets, or has an adapter already.
        SpaceError: If the recipe's ranks do not fit its construction.
    """
    spec = recipe.adapter.to_spec(find_backbone_shape(model, recipe.adapter.targets))
    adapter = build_adapter(spec, recipe.adapter.ranks, seed=recipe.training.seed)
    return Attached(
        model,
        adapter,
        spec,
        trains_pooler=recipe.training.trains_pooler,
        trains_lm_head=trains_lm_head,
        dropout=recipe.training.dropout,
    )


def attach_saved(
    model: PreTrainedModel, path: Path | str, *, fresh: Collection[str] = ()
) -> Attached:
    """Attach a trained adapter and load its head into the model.

    Args:
        model: The model that the adapter was trained on.
        path: A file that a search or `Attached.save` wrote; or a folder that a search or `train`
            wrote, or the name of a study in `studies/`.
        fresh: Names of the parameters of the model's head that its checkpoint lacked. If there are
            any, the pooler was trained too, and the file must have it.

    Raises:
        CheckpointError: If the file is damaged, lacks some of the head, or belongs to another
            model.
        ModelError: If the model lacks the adapter's targets, or has an adapter already.
    """
    path = Path(path)
    # By its suffix a file that is missing is told from a study.
    if not path.is_file() and path.suffix != Path(ADAPTER_FILE).suffix:
        path = find_result_folder(path) / ADAPTER_FILE
    saved = load_adapter(path)
    # A hash is empty if the model's files are not known; then they cannot be compared.
    sha256, trained_on = hash_model(model), saved.description.model_sha256
    if sha256 and trained_on and sha256 != trained_on:
        raise CheckpointError(
            f"{path} was trained on weights with sha256 {trained_on}, got a model with {sha256}; "
            "load the model that it was trained on"
        )
    spec = saved.description.spec
    shape = find_backbone_shape(model, spec.shape.backbone.targets)
    if shape != spec.shape.backbone:
        raise CheckpointError(f"{path} fits {spec.shape.backbone}, got a model of {shape}")
    trains_pooler = saved.description.trains_pooler or bool(fresh)
    # A head in the file has trained, even one that predicts words.
    head = find_head_parameters(model, trains_pooler=trains_pooler, trains_lm_head=bool(saved.head))
    # The last check; up to here nothing of the model has changed.
    require_shapes(path, read_shapes(saved.head), read_shapes(head))
    attached = Attached(
        model,
        saved.adapter,
        spec,
        trains_pooler=trains_pooler,
        trains_lm_head=bool(saved.head),
    )
    with torch.no_grad():
        for name, value in saved.head.items():
            head[name].copy_(value)
    return attached
