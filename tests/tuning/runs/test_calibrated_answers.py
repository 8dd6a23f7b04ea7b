"""The answers of a search's result are calibrated, wherever they are computed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from allocator.coordination.records import Records
from allocator.data.tasks import Examples
from allocator.files.study_folder import DELIVERED_FOLDER
from allocator.progress.run_progress import RunProgress
from allocator.trained.export_folder import write_export
from allocator.trained.prediction_files import PredictionInput
from allocator.trained.predictions import predict
from allocator.trained.trained_adapter import load_trained
from allocator.training.calibration import average_calibrations
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.storage.trial_memory import read_calibration
from allocator.tuning.study.delivered import name_delivered
from allocator.tuning.study.open_study import load_study

MakeConfig = Callable[..., SearchConfig]

# PEFT reads an attribute that transformers has renamed.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"
)


@torch.no_grad()
def compute_logits(model: nn.Module, folder: Path, examples: Examples) -> Tensor:
    """Compute the logits of all examples, each alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.eval()
    tokens = [tokenizer(text, return_tensors="pt") for (text,) in examples.inputs]
    return torch.cat([model(**one).logits for one in tokens])


def test_a_searchs_answers_are_calibrated_wherever_they_are_computed(
    make_config: MakeConfig, tiny_bert: Path, tmp_path: Path
) -> None:
    config = make_config(trials=2)
    plan = plan_search(config)
    run_search(config, plan, RunProgress(Console(file=io.StringIO(), width=160)))
    trained = load_trained(plan.folder, config.model_cache)
    with load_study(plan.folder, None) as study:
        chosen = study.select().best.allocation
        # The choice was trained on all of train; the calibration is that of its other trainings.
        found = [read_calibration(trial) for trial in chosen.completed]
        records = Records(plan.folder / DELIVERED_FOLDER)
        (last,) = records.read_reports(name_delivered(chosen), 0)[-1:]
    calibration = trained.recipe.training.calibration
    assert calibration is not None
    assert calibration == average_calibrations([one for one in found if one is not None])
    assert calibration.scale != pytest.approx(1.0, abs=1e-3)

    dev = plan.data.dev
    labels = torch.tensor(dev.labels)
    logits = compute_logits(trained.attached.model, tiny_bert, dev)
    as_trained = F.cross_entropy(logits / calibration.scale, labels).item()
    assert as_trained == pytest.approx(last.loss, rel=1e-4)

    asked = [PredictionInput(inputs=texts, where="dev") for texts in dev.inputs]
    for (_, told), expected in zip(predict(trained, asked), logits.softmax(1).amax(1), strict=True):
        assert float(told.as_fields()[1]) == pytest.approx(expected.item(), abs=1e-4)

    write_export(trained, "peft", tmp_path / "lora")
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    write_export(trained, "merged", tmp_path / "merged")
    for model in (
        PeftModel.from_pretrained(plain, str(tmp_path / "lora")),
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged"),
    ):
        others = compute_logits(model, tiny_bert, dev)
        torch.testing.assert_close(others, logits, rtol=0, atol=1e-5)
