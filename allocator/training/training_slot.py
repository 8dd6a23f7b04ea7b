"""One trial in training: a slot with its own optimizer, schedule and random generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from allocator.adapters.build import ParameterGroup, build_adapter, make_parameter_groups
from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone
from allocator.config import TrainingConfig
from allocator.inputs.batches import Batch
from allocator.training.measures import Observer
from allocator.training.slot import Slot
from allocator.training.task_loss import compute_task_loss


def learning_rate_fraction(step: int, total_steps: int, warmup: float) -> float:
    """Return the fraction of the peak learning rate at `step`.

    It rises linearly over the first `warmup` of all steps and falls to zero along a cosine
    (Loshchilov and Hutter 2017, arXiv 1608.03983, equation 5 without restarts).

    Args:
        step: Optimizer steps taken before this one.
        total_steps: Optimizer steps of a whole training.
        warmup: Fraction of `total_steps` in which the learning rate rises.
    """
    # At least one, so that without warm-up the first step has the full rate.
    rising = max(1, round(warmup * total_steps))
    if step < rising:
        return (step + 1) / rising  # from step + 1, because a step at rate 0 would be wasted
    done = (step - rising) / max(1, total_steps - rising)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class TrainingSlot(Slot):
    """A slot that trains; all of its state belongs to one trial, so trials never interact.

    Args:
        allocation: The trial's allocation; its head learning rate and dropout, if any, replace
            those of `config`.
        spec: Shape, scaling and initialisation of the adapter.
        backbone: The backbone that the trial trains on.
        config: The training configuration of the study.
        total_steps: Optimizer steps of a whole training.
        seed: Seed of the adapter's and the head's initial values, and of dropout.
        is_measured: Whether an observer watches the adapter.

    Attributes:
        config: The training configuration of the study.
        dropout: Fraction of the adapter's inputs that are dropped in a step.
        generator: Source of the dropout's randomness.
        observer: Measures the adapter; None if that was not asked for.
        seed: Seed of the training, which also says what it reads.
        loss_sum: Sum of the losses of all steps, on the device; not finite if one of them was not.
        steps: Optimizer steps taken.
    """

    def __init__(
        self,
        allocation: Allocation,
        spec: AdapterSpec,
        backbone: Backbone,
        config: TrainingConfig,
        total_steps: int,
        *,
        seed: int,
        is_measured: bool = False,
    ) -> None:
        super().__init__(
            build_adapter(spec, allocation.ranks, seed=seed).to(backbone.device),
            backbone.head.copy_with_fresh_parameters(seed),
        )
        self.config, self.seed = config, seed
        self.observer = Observer(self.adapter) if is_measured else None
        head_parameters = [p for p in self.head.parameters() if p.requires_grad]
        self._parameters: list[nn.Parameter] = [*self.adapter.parameters(), *head_parameters]
        head_rate = allocation.head_learning_rate
        if head_rate is None:
            head_rate = config.head_learning_rate
        head_group: ParameterGroup = {"params": head_parameters, "lr": head_rate}
        groups = [*make_parameter_groups(self.adapter, allocation), head_group]
        self._optimizer = torch.optim.AdamW(
            [dict(group) for group in groups], weight_decay=config.weight_decay, fused=True
        )
        self._scheduler = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: learning_rate_fraction(step, total_steps, config.warmup)
        )
        self.dropout = config.dropout if allocation.dropout is None else allocation.dropout
        # Its own, so that neighbours do not change what dropout hides.
        self.generator = torch.Generator(backbone.device).manual_seed(seed)
        # A tensor, so that adding a loss does not wait for the device.
        self.loss_sum = torch.zeros((), device=backbone.device)
        self.steps = 0

    def compute_loss(self, hidden: Tensor, batch: Batch) -> Tensor:
        """Compute the loss of a batch from its hidden states of shape (batch, tokens, width)."""
        return compute_task_loss(self.compute_logits(hidden, batch.inputs), batch.labels)

    def update(self, loss: Tensor) -> None:
        """Take an optimizer step along the gradients of `loss`, without waiting for the device.

        Args:
            loss: The loss of the batch, without its graph.
        """
        if self.observer is not None:
            self.observer.observe()  # before clipping changes the gradients
        # Adapter and head together, by their joint norm.
        nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm)
        self._optimizer.step()
        # After the optimizer; in the other order torch warns and skips the first rate.
        self._scheduler.step()
        self.drop_gradients()
        self.loss_sum += loss
        self.steps += 1

    def drop_gradients(self) -> None:
        """Drop the gradients, also those of a step that was not taken."""
        self._optimizer.zero_grad(set_to_none=True)

    def compute_mean_loss(self) -> float:
        """Compute the mean loss over the steps so far; this waits for the device."""
        return self.loss_sum.item() / max(1, self.steps)  # host-device sync
