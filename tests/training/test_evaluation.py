import dataclasses
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from allocator.allocation.adapter_shape import AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import TrainingConfig
from allocator.inputs.batches import Split
from allocator.inputs.tokens import TokenizedSplit
from allocator.models.model_source import ModelSource
from allocator.training import evaluation
from allocator.training.calibration import compute_calibrated_loss, fit_calibration
from allocator.training.evaluation import (
    Evaluation,
    answer_examples,
    answer_majority,
    evaluate_majority,
    evaluate_pack,
)
from allocator.training.pack import Pack, TrainingPack
from allocator.training.splits import Splits
from allocator.training.training_slot import TrainingSlot

RANKS = {"input": 3, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
MCC = "matthews_correlation"


def random_slot(backbone: Backbone, spec: AdapterSpec) -> TrainingSlot:
    allocation = Allocation(ranks=RANKS, learning_rate=1e-3)
    slot = TrainingSlot(allocation, spec, backbone, TrainingConfig(epochs=1), 10, seed=0)
    with torch.no_grad():
        slot.adapter.zero_part.normal_(generator=torch.Generator().manual_seed(0))
    return slot


def evaluate_slot(backbone: Backbone, slot: TrainingSlot, split: Split, metric: str) -> Evaluation:
    pack = TrainingPack(backbone, width=1)
    pack.slots = [slot]
    return evaluate_pack(pack, split, metric)[0]


def labelled(labels: list[int] | list[float] | list[list[int]]) -> TokenizedSplit:
    return TokenizedSplit(
        input_ids=[[0, 2]] * len(labels),
        token_type_ids=None,
        labels=torch.tensor(labels),
        pad=(1, 0),
    )


@torch.no_grad()
def one_by_one(backbone: Backbone, slot: TrainingSlot, split: Split) -> torch.Tensor:
    """Compute the logits of every example of a split, each alone."""
    backbone.sites.set_updates([slot.compute_pairs()])
    batches = [split.make_batch([i], torch.device("cpu")) for i in range(len(split))]
    return torch.cat([slot.head(backbone(batch.inputs), batch.inputs) for batch in batches])


@pytest.mark.parametrize("rows", [7, 128])
def test_score_and_loss_are_those_of_the_examples_one_by_one(
    rows: int,
    tiny_backbone: Backbone,
    tiny_spec: AdapterSpec,
    tiny_splits: Splits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evaluation, "_ROWS_AT_ONCE", rows)
    monkeypatch.setattr(evaluation, "_SMALLEST_BATCH", 1)
    slot, split = random_slot(tiny_backbone, tiny_spec), tiny_splits.of_seed(0).scoring
    logits = one_by_one(tiny_backbone, slot, split)
    result = evaluate_slot(tiny_backbone, slot, split, MCC)
    expected = matthews_corrcoef(split.labels, logits.argmax(dim=1))
    assert result.score.value == pytest.approx(expected)
    log_shares = logits.double().log_softmax(dim=1)
    loss = -log_shares[range(len(split)), split.labels].mean().item()
    assert result.loss == pytest.approx(loss, rel=1e-5)
    best = compute_calibrated_loss(logits.double().numpy(), split.labels.numpy())
    assert result.calibrated_loss == pytest.approx(best, rel=1e-5)
    assert result.calibrated_loss < result.loss
    fitted = fit_calibration(logits.double().numpy(), split.labels.numpy())
    assert fitted is not None
    assert result.calibration is not None
    assert result.calibration.scale == pytest.approx(fitted.scale, rel=1e-5)
    margins = (logits[:, 1] - logits[:, 0]).double().numpy()
    assert result.spread == pytest.approx(margins.std() / 2, rel=1e-4)


def test_a_head_that_answers_the_same_to_all_has_no_spread(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    slot = random_slot(tiny_backbone, tiny_spec)
    with torch.no_grad():
        slot.head.get_parameter("model.classifier.weight").zero_()
        slot.head.get_parameter("model.classifier.bias").copy_(torch.tensor([0.0, 3.0]))
    result = evaluate_slot(tiny_backbone, slot, tiny_splits.of_seed(0).scoring, MCC)
    assert result.spread == 0.0
    assert result.score.value == 0.0


def test_evaluation_leaves_no_gradient_and_no_dropout(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    slot = random_slot(tiny_backbone, tiny_spec)
    first = evaluate_slot(tiny_backbone, slot, tiny_splits.of_seed(0).scoring, MCC)
    assert evaluate_slot(tiny_backbone, slot, tiny_splits.of_seed(0).scoring, MCC) == first
    assert all(p.grad is None for p in [*slot.adapter.parameters(), *slot.head.parameters()])


def test_scores_are_compared_as_they_are_predicted(
    tiny_source: ModelSource, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    backbone = load_backbone(
        tiny_source,
        tiny_spec.shape.backbone.targets,
        num_labels=1,
        precision="float32",
        device=torch.device("cpu"),
    )
    rng = np.random.default_rng(0)
    scoring = tiny_splits.scoring
    assert isinstance(scoring, TokenizedSplit)
    targets = torch.tensor(rng.normal(size=len(scoring)), dtype=torch.float32)
    split = dataclasses.replace(scoring, labels=targets)
    slot = random_slot(backbone, tiny_spec)
    predicted = one_by_one(backbone, slot, split).squeeze(1).double().numpy()
    result = evaluate_slot(backbone, slot, split, "pearson_and_spearman")
    expected = np.corrcoef(predicted, targets.numpy())[0, 1]
    assert result.score.components["pearson"] == pytest.approx(expected, abs=1e-5)
    assert result.loss == pytest.approx(np.mean((predicted - targets.numpy()) ** 2), rel=1e-5)
    best = compute_calibrated_loss(predicted[:, None], targets.numpy())
    assert result.calibrated_loss == pytest.approx(best, rel=1e-5)
    line = np.polynomial.Polynomial.fit(predicted, targets.numpy(), 1).convert().coef
    assert result.calibration is not None
    assert result.calibration.intercept == pytest.approx(line[0], rel=1e-3)
    assert result.calibration.scale == pytest.approx(line[1], rel=1e-3)
    spread = predicted.std() / targets.numpy().std()  # whatever the labels' unit
    assert result.spread == pytest.approx(spread, rel=1e-4)


def test_the_majority_predictor_has_the_loss_of_trains_class_shares() -> None:
    result = evaluate_majority(labelled([0, 1, 1, 1]), labelled([1, 0, 1, 1, 0]), "accuracy")
    assert result.score.value == pytest.approx(3 / 5)
    expected = -(3 * math.log(0.75) + 2 * math.log(0.25)) / 5
    assert result.loss == pytest.approx(expected, rel=1e-6)
    assert result.spread == 0.0


@pytest.mark.parametrize(("absent", "lacking"), [(0, 1), (2, 2)])
def test_a_class_that_train_lacks_counts_as_one_example(absent: int, lacking: int) -> None:
    result = evaluate_majority(labelled([1, 1, 1, 1]), labelled([1, absent]), "accuracy")
    counted = 4 + lacking  # classes 0 and 2 are lacking if there is a class 2
    assert result.loss == pytest.approx(-(math.log(4 / counted) + math.log(1 / counted)) / 2)


def test_the_majority_predictor_of_scores_answers_their_mean() -> None:
    result = evaluate_majority(labelled([1.0, 3.0]), labelled([2.0, 5.0]), "pearson_and_spearman")
    assert result.loss == pytest.approx((0 + 9) / 2)
    assert result.score.value == 0.0


def test_trials_are_scored_together_as_each_is_alone(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    pack = TrainingPack(tiny_backbone, width=3)
    pack.slots = [random_slot(tiny_backbone, tiny_spec) for _ in range(3)]
    with torch.no_grad():
        pack.slots[1].adapter.zero_part.mul_(-2)
        pack.slots[2].adapter.zero_part.fill_(torch.inf)
    results = evaluate_pack(pack, tiny_splits.of_seed(0).scoring, MCC)
    alone = [
        evaluate_slot(tiny_backbone, slot, tiny_splits.of_seed(0).scoring, MCC)
        for slot in pack.slots
    ]
    assert [result.score for result in results] == [a.score for a in alone]
    assert [result.loss for result in results[:2]] == pytest.approx(
        [a.loss for a in alone[:2]], rel=1e-5
    )
    assert results[0].loss != results[1].loss
    assert not math.isfinite(results[2].loss)
    assert results[2].calibrated_loss == math.inf
    for result, other in zip(results[:2], alone[:2], strict=True):
        assert result.calibration is not None
        assert other.calibration is not None
        assert result.calibration.scale == pytest.approx(other.calibration.scale, rel=1e-4)
    assert results[2].calibration is None


@pytest.mark.parametrize(
    ("known", "labels", "metric", "expected"),
    [
        ([2, 2, 1], [2, 1, 1, 0], "accuracy", 0.25),
        ([1, 0, 0, 1], [0, 0, 1], "accuracy", 2 / 3),  # of equally frequent classes the first
        ([1, 1, 0], [1, 0, 0, 1], MCC, 0.0),
        ([1, 1, 0], [1, 1, 1, 0], "accuracy_and_f1", (0.75 + 6 / 7) / 2),
        ([1.0, 4.0], [1.0, 2.0, 3.0], "pearson_and_spearman", 0.0),
        ([1.0, 3.0], [1.0, 2.0, 3.0], "r2", 0.0),
        ([1, 1, 0], [1, 0, 0, 1], "roc_auc", 0.5),
        ([1, 1, 0], [1, 0, 0, 1], "f1_macro", 1 / 3),
        ([2, 1, 1], [0, 2, 2, 1], "average_precision", 1 / 3),
    ],
)
def test_the_majority_answers_what_is_most_frequent_in_train(
    known: list[float], labels: list[float], metric: str, expected: float
) -> None:
    answers = answer_majority(known, labelled(labels), metric)
    assert answers.score.value == pytest.approx(expected)


def test_the_majority_loses_what_the_class_shares_lose() -> None:
    answers = answer_majority([0, 1, 1, 1], labelled([1, 0, 1]), "accuracy")
    assert answers.losses == pytest.approx([-math.log(0.75), -math.log(0.25), -math.log(0.75)])


def test_answers_one_by_one_are_those_that_are_evaluated(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    split = tiny_splits.of_seed(0).scoring
    slots = [random_slot(tiny_backbone, tiny_spec) for _ in range(3)]
    pack = Pack(tiny_backbone, slots, width=2)  # which take turns
    for answers, evaluated in zip(
        answer_examples(pack, split, MCC), evaluate_pack(pack, split, MCC), strict=True
    ):
        assert answers.losses.mean() == pytest.approx(evaluated.loss)
        assert answers.score == evaluated.score
        assert len(answers.predictions) == len(split)


def test_a_metric_of_probabilities_gets_those_of_the_answers(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    split = tiny_splits.of_seed(0).scoring
    slots = [random_slot(tiny_backbone, tiny_spec) for _ in range(2)]
    with torch.no_grad():
        slots[1].adapter.zero_part.fill_(torch.inf)
    sound, diverged = answer_examples(Pack(tiny_backbone, slots, width=2), split, "roc_auc")
    labels = split.labels.numpy()
    assert sound.predictions.sum(axis=1) == pytest.approx(np.ones(len(split)))
    right = sound.predictions[np.arange(len(split)), labels]
    assert -np.log(right) == pytest.approx(sound.losses, rel=1e-4)
    assert sound.score.value == pytest.approx(roc_auc_score(labels, sound.margins))
    assert diverged.score.value == 0.5


def test_the_majority_of_labels_is_what_most_examples_have() -> None:
    known = [[1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    answers = answer_majority(known, labelled([[1, 0, 0], [0, 1, 1]]), "f1_micro")
    assert answers.predictions.tolist() == [[1, 0, 0], [1, 0, 0]]
    assert answers.score.value == pytest.approx(2 / 5)
    # The third label, which no example has, counts as if one of five had it.
    losses = [
        -np.mean(np.log([0.75, 0.5, 0.8])),
        -np.mean(np.log([0.25, 0.5, 0.2])),
    ]
    assert answers.losses == pytest.approx(losses)
    assert answers.margins is None


def test_several_labels_are_trained_and_scored_each_for_itself(
    tiny_backbone: Backbone, tiny_spec: AdapterSpec, tiny_splits: Splits
) -> None:
    split = tiny_splits.of_seed(0).scoring
    assert isinstance(split, TokenizedSplit)
    rows = torch.randint(0, 2, (len(split), 2), generator=torch.Generator().manual_seed(0))
    several = dataclasses.replace(split, labels=rows)
    slot = random_slot(tiny_backbone, tiny_spec)
    logits = one_by_one(tiny_backbone, slot, several).double()
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, rows.double(), reduction="none"
    )
    pack = Pack(tiny_backbone, [slot], width=1)
    (answers,) = answer_examples(pack, several, "f1_micro")
    assert answers.losses == pytest.approx(losses.mean(1).numpy(), rel=1e-3)
    assert answers.predictions.tolist() == (logits > 0).double().tolist()
    (evaluation,) = evaluate_pack(pack, several, "f1_micro")
    assert evaluation.loss == pytest.approx(losses.mean().item(), rel=1e-3)
    assert evaluation.spread == pytest.approx(logits.std(0, correction=0).max().item(), rel=1e-3)
    majority = evaluate_majority(several, several, "f1_micro")
    assert evaluation.calibrated_loss <= majority.loss + 1e-9
    (probable,) = answer_examples(pack, several, "roc_auc")
    assert probable.predictions == pytest.approx(logits.sigmoid().numpy(), abs=1e-4)


def test_the_majority_predictor_answers_with_all_classes_of_the_head() -> None:
    labels = labelled([0, 1, 1])
    answers = answer_majority([0, 1, 1], labels, "roc_auc_ovr", num_labels=3)
    assert answers.predictions.shape == (3, 3)
