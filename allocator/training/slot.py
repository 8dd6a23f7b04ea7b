"""One trial in training: its adapter, head, optimizer and schedule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from allocator.adapters.adapter import Adapter, Pairs
from allocator.adapters.build import ParameterGroup, build_adapter, parameter_groups
from allocator.adapters.saved import SavedAdapter
from allocator.allocation import Allocation
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.backbone.backbone import Backbone
from allocator.backbone.head import Head
from allocator.config import TrainingConfig
from allocator.inputs.batches import Batch
from allocator.training.measures import Observer


def learning_rate_fraction(step: int, total_steps: int, warmup: float) -> float:
    """Give the share of its peak that every learning rate has at a step.

    It rises linearly over the first `warmup` of all steps and falls to zero by a cosine
    (Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts).
    """
    rising = max(1, round(warmup * total_steps))
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, total_steps - rising)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def compute_task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of logits (batch, labels): cross-entropy, or squared error for real labels."""
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(1), labels)
    return F.cross_entropy(logits, labels)


class Slot:
    """Everything that belongs to one trial and to no other.

    Attributes:
        adapter: Its adapter.
        head: Its head.
        generator: Source of its dropout.
        steps: Optimizer steps taken.
        observer: Measures the adapter, where that was asked for.
        loss_sum: Sum of their losses, on the device; not finite where one was not.

    Args:
        allocation: What the trial tries.
        spec: Shape, scaling and initialisation of adapters in this study.
        backbone: The backbone that the trial trains on.
        config: The study's recipe.
        total_steps: Optimizer steps of a whole trial.
        is_measured: Whether an observer watches the adapter.
    """

    def __init__(
        self,
        allocation: Allocation,
        spec: AdapterSpec,
        backbone: Backbone,
        config: TrainingConfig,
        total_steps: int,
        *,
        is_measured: bool = False,
    ) -> None:
        self.config = config
        adapter = build_adapter(spec, allocation.ranks, seed=config.seed)
        self.adapter: Adapter = adapter.to(backbone.device)
        self.head: Head = backbone.head.copy_with_fresh_parameters(config.seed)
        self.observer = Observer(self.adapter) if is_measured else None
        self._head_parameters = [p for p in self.head.parameters() if p.requires_grad]
        self._parameters: list[nn.Parameter] = [*self.adapter.parameters(), *self._head_parameters]
        self._optimizer = torch.optim.AdamW(
            [dict(group) for group in self._groups(allocation)],
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_fraction(step, total_steps, config.warmup)
        )
        self.generator = torch.Generator(backbone.device).manual_seed(config.seed)
        self.loss_sum = torch.zeros((), device=backbone.device)
        self.steps = 0

    def _groups(self, allocation: Allocation) -> list[ParameterGroup]:
        head: ParameterGroup = {
            "params": self._head_parameters,
            "lr": self.config.head_learning_rate,
        }
        return [*parameter_groups(self.adapter, allocation), head]

    def load(self, saved: SavedAdapter) -> None:
        """Take over the values of a trained adapter and its head."""
        self.adapter.load_state_dict(saved.adapter.state_dict())
        self.head.load_trained_state(saved.head)

    def pairs(self) -> Pairs:
        """Compute the updates of the trial's adapter."""
        return self.adapter.pairs()

    def loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch from its hidden states of shape (batch, tokens, width)."""
        return compute_task_loss(self.head(hidden, batch.inputs), batch.labels)

    def update(self, loss: Tensor) -> None:
        """Take an optimizer step along the gradients of a loss; nothing waits for the device."""
        if self.observer is not None:
            self.observer.observe()
        nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm)
        self._optimizer.step()
        self._scheduler.step()
        self.drop_gradients()
        self.loss_sum += loss.detach()
        self.steps += 1

    def drop_gradients(self) -> None:
        """Drop the gradients of a step that was not taken."""
        self._optimizer.zero_grad(set_to_none=True)

    def compute_mean_loss(self) -> float:
        """Give the mean loss over the steps so far."""
        return self.loss_sum.item() / max(1, self.steps)  # host-device sync
