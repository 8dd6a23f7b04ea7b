"""Evaluate slots, and the majority-class predictor, on a split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from allocator.config import Calibration
from allocator.data.scoring.loaded_metrics import LabelArray
from allocator.data.scoring.metrics import Score, compute_score, takes_probabilities
from allocator.inputs.batches import Split, iterate_by_length
from allocator.training.calibration import compute_calibrated_loss, fit_calibration
from allocator.training.pack import AnySlot, Pack
from allocator.training.task_loss import compute_losses

Floats = npt.NDArray[np.float64]
_ROWS_AT_ONCE = 256  # examples times slots in one pass
_SMALLEST_BATCH = 32  # examples in one pass, for any number of slots


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The results of one slot on one split.

    Attributes:
        score: Value of the task's metric.
        loss: Mean loss of the answers as they are, without a calibration.
        calibrated_loss: As `compute_calibrated_loss` defines it.
        spread: How much answers depend on the input. For classes, logits are centered within each
            example, and the spread is the largest standard deviation over examples of any class;
            for several labels, of any label, whose logits stand for themselves. For real labels, it
            is the standard deviation of the predictions divided by that of the
            labels.
        calibration: The calibration that `fit_calibration` fits to the answers; None if they are
            not finite, or are not a network's.
    """

    score: Score
    loss: float
    calibrated_loss: float
    spread: float
    calibration: Calibration | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """The answers of one slot to N examples.

    Attributes:
        losses: Cross-entropy, or squared error, of every answer as it is given, shape (N,).
        predictions: What the task's metric takes: the class or score that was answered, shape (N,),
            or the probabilities of all classes, shape (N, C). For several labels of shape (N, L).
        score: The task's metric.
        margins: By how much the second class's logit exceeds the first's, shape (N,); None unless
            there are two classes.
    """

    losses: Floats
    predictions: Floats
    score: Score
    margins: Floats | None = None

    def decide(self, threshold: float, labels: LabelArray, metric: str) -> Answers:
        """Answer the second of two classes where the margin exceeds a threshold."""
        if self.margins is None:
            raise ValueError("only answers of two classes have a threshold")
        predictions = (self.margins > threshold).astype(np.float64)
        score = compute_score(metric, predictions.tolist(), labels)
        return dataclasses.replace(self, predictions=predictions, score=score)


@torch.no_grad()
def evaluate_pack(pack: Pack[AnySlot], split: Split, metric: str) -> list[Evaluation]:
    """Evaluate the slots of a pack on a split.

    Args:
        pack: The slots; evaluating them changes nothing about them.
        split: The examples to answer.
        metric: Name of the task's metric.

    Returns:
        One evaluation for each slot, in the order of the slots.
    """
    groups = pack.run_in_turns(lambda slots: _evaluate_slots(pack, slots, split, metric))
    return [evaluation for group in groups for evaluation in group]


@torch.no_grad()
def answer_examples(pack: Pack[AnySlot], split: Split, metric: str) -> list[Answers]:
    """Let the slots of a pack answer a split, example by example.

    Args:
        pack: The slots; answering changes nothing about them.
        split: The examples.
        metric: Name of the task's metric.

    Returns:
        The answers of each slot, in the order of the slots.
    """
    groups = pack.run_in_turns(lambda slots: _compute_logits(pack, slots, split))
    return [_make_answers(logits_NC, split, metric) for group in groups for logits_NC in group]


def answer_majority(
    train_labels: LabelArray, split: Split, metric: str, *, num_labels: int = 1
) -> Answers:
    """Answer with what the labels of train alone say: shares of classes or labels, or the mean.

    Args:
        train_labels: LabelArray of train.
        split: The examples.
        metric: Name of the task's metric.
        num_labels: Number of the head's outputs, of which some may have no example.
    """
    known = torch.as_tensor(np.asarray(train_labels), dtype=split.labels.dtype)
    if known.is_floating_point():
        logits_NC = known.mean().expand(len(split), 1)
    elif known.ndim == 2:
        # A label that no example has, or every one, counts as if one example were otherwise.
        with_L, without_L = known.sum(0).clamp_min(1), (1 - known).sum(0).clamp_min(1)
        logits_NC = (with_L.float().log() - without_L.float().log()).expand(len(split), -1)
    else:
        # A class that train lacks counts as one example, because its loss would be infinite.
        classes = max(num_labels, 1 + int(known.max()), 1 + int(split.labels.max()))
        counts_C = torch.bincount(known, minlength=classes).clamp_min(1)
        logits_NC = counts_C.float().log().expand(len(split), -1)
    return _make_answers(logits_NC, split, metric)


def _make_answers(logits_NC: Tensor, split: Split, metric: str) -> Answers:
    losses_N = compute_losses(logits_NC, split.labels.to(logits_NC.device))
    answers = _predict(logits_NC, split, metric).double().cpu().numpy()
    has_margins = logits_NC.shape[1] == 2 and split.labels.ndim == 1
    return Answers(
        losses=losses_N.double().cpu().numpy(),
        margins=(logits_NC[:, 1] - logits_NC[:, 0]).double().cpu().numpy() if has_margins else None,
        predictions=answers,
        score=compute_score(metric, answers, split.labels.numpy()),
    )


def _predict(logits_NC: Tensor, split: Split, metric: str) -> Tensor:
    """Predict what the metric takes."""
    if split.labels.is_floating_point():
        return logits_NC.squeeze(1)
    has_several = split.labels.ndim == 2
    if not takes_probabilities(metric):
        return logits_NC > 0 if has_several else logits_NC.argmax(1)
    # A training that diverges says nothing of any class or label.
    if has_several:
        return logits_NC.double().sigmoid().nan_to_num(0.5)
    return logits_NC.double().softmax(1).nan_to_num(1 / logits_NC.shape[1])


def _compute_logits(pack: Pack[AnySlot], slots: Sequence[AnySlot], split: Split) -> Tensor:
    """Compute the logits of S slots for N examples, (S, N, C), in the order of the split."""
    batch_size = max(_SMALLEST_BATCH, _ROWS_AT_ONCE // len(slots))
    # Results stay on the device until the end, so that batches do not wait for each other.
    order: list[int] = []
    parts = []
    for indices, batch in iterate_by_length(split, batch_size, pack.backbone.device):
        hidden_SBTW = pack.compute_hidden(slots, batch)
        parts.append(
            torch.stack(
                [
                    # In float32, whatever the precision of the frozen weights.
                    slot.compute_logits(hidden_BTW, batch.inputs).float()
                    for slot, hidden_BTW in zip(slots, hidden_SBTW, strict=True)
                ]
            )
        )
        order += indices
    # Batches come by length: row i of what they return is example `order[i]`.
    by_length_SNC = torch.cat(parts, dim=1)
    logits_SNC = torch.empty_like(by_length_SNC)
    logits_SNC[:, torch.tensor(order, device=logits_SNC.device)] = by_length_SNC
    return logits_SNC


def _evaluate_slots(
    pack: Pack[AnySlot], slots: Sequence[AnySlot], split: Split, metric: str
) -> list[Evaluation]:
    logits_SNC = _compute_logits(pack, slots, split)
    is_regression = split.labels.is_floating_point()
    # A constant added to all logits of an example changes no class, so it must not count.
    is_of_classes = not is_regression and split.labels.ndim == 1
    outputs_SNC = logits_SNC - logits_SNC.mean(2, True) if is_of_classes else logits_SNC
    scale = split.labels.std(correction=0).clamp_min(1e-12).item() if is_regression else 1.0
    # Host-device sync: here the batches are waited for.
    spreads = (outputs_SNC.std(dim=1, correction=0).amax(dim=1) / scale).tolist()
    labels_N = split.labels.numpy()
    evaluations = []
    for slot, logits_NC, outputs_NC, spread in zip(
        slots, logits_SNC, outputs_SNC.double().cpu().numpy(), spreads, strict=True
    ):
        answers = _make_answers(logits_NC, split, metric)
        evaluations.append(
            Evaluation(
                score=answers.score,
                loss=float(answers.losses.mean()),
                # SciPy fits on the CPU, in float64.
                calibrated_loss=compute_calibrated_loss(outputs_NC, labels_N),
                spread=spread,
                calibration=fit_calibration(outputs_NC, labels_N, has_intercept=slot.head.has_bias),
            )
        )
    return evaluations


def evaluate_majority(
    train: Split, split: Split, metric: str, *, num_labels: int = 1
) -> Evaluation:
    """Evaluate the predictor that knows the labels of `train` but reads no input.

    It answers the majority class, the labels that most examples have, or the mean score; its loss
    is that of predicting the shares of classes or labels, or the mean score.

    Args:
        train: The examples whose labels it knows.
        split: The examples to answer.
        metric: Name of the task's metric.
        num_labels: As for `answer_majority`.
    """
    answers = answer_majority(train.labels.numpy(), split, metric, num_labels=num_labels)
    loss = float(answers.losses.mean())
    return Evaluation(score=answers.score, loss=loss, calibrated_loss=loss, spread=0.0)
