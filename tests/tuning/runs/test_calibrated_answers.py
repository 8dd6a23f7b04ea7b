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

from allocator.data.tasks import Examples
from allocator.trained.export_folder import write_export
from allocator.trained.predictions import predict_lines
from allocator.trained.trained_adapter import load_trained
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.storage.trial_memory import read_calibration, read_loss
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
    run_search(config, plan, Console(file=io.StringIO(), width=160))
    trained = load_trained(plan.folder, config.model_cache)
    with load_study(plan.folder, None) as study:
        trial = study.trials[int(trained.recipe.study["trial"])]
    calibration = trained.recipe.training.calibration
    assert calibration is not None
    assert calibration == read_calibration(trial)
    assert calibration.scale != pytest.approx(1.0, abs=1e-3)

    held_out = plan.setup.scoring
    labels = torch.tensor(held_out.labels)
    logits = compute_logits(trained.attached.model, tiny_bert, held_out)
    as_trained = F.cross_entropy(logits / calibration.scale, labels).item()
    assert as_trained == pytest.approx(read_loss(trial), rel=1e-4)
    assert F.cross_entropy(logits, labels).item() < as_trained

    lines = [text for (text,) in held_out.inputs]
    for (_, told), expected in zip(
        predict_lines(trained, lines, origin="held out"), logits.softmax(1).amax(1), strict=True
    ):
        assert float(told) == pytest.approx(expected.item(), abs=1e-4)

    write_export(trained, "peft", tmp_path / "lora")
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    write_export(trained, "merged", tmp_path / "merged")
    for model in (
        PeftModel.from_pretrained(plain, str(tmp_path / "lora")),
        AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged"),
    ):
        others = compute_logits(model, tiny_bert, held_out)
        torch.testing.assert_close(others, logits, rtol=0, atol=1e-5)
