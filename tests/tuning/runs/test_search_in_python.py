"""Searches that are called in Python: of data, metrics and models in memory, in scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

import allocator
from allocator.errors import AllocatorError, UnknownNameError
from allocator.files.recipe import read_recipe
from allocator.tuning.study.open_study import load_study

QUICK: dict[str, Any] = {
    "trials": 2,
    "epochs": 1,
    "batch_size": 16,
    "slots": 2,
    "rivals": "none",
    "prior": "none",
}


def rows(number: int) -> list[dict[str, object]]:
    texts = ["The dog saw the cat .", "Dog the saw .", "A child slept .", "Child a slept the ."]
    labels = ["right", "wrong"] * 2
    return [
        {"sentence": text, "judged": label}
        for text, label in zip(texts * number, labels * number, strict=True)
    ]


def test_a_call_makes_the_study_of_the_command_and_returns_all_of_it(
    tiny_bert: Path, small_glue: Path, tmp_path: Path
) -> None:
    result = allocator.search(
        budget=600,
        task="cola",
        model=str(tiny_bert),
        data_dir=small_glue,
        studies_dir=tmp_path,
        verdict_seeds=1,
        quiet=True,
        **{**QUICK, "trials": 4},
    )
    assert result.folder == tmp_path / f"cola-{tiny_bert.name}-600"
    assert result.recipe == read_recipe(result.path)
    assert len(result.study.trials) == 4
    with load_study(result.folder, None) as study:
        assert len(study.trials) == 4
    assert {"choice", "baseline"} >= set(result.table["allocation"])
    assert (result.table["budget"] == 600).all()
    assert result.report == result.folder / "report.html"
    assert result.summary
    assert isinstance(result.preprocessor, PreTrainedTokenizerBase)
    ids = result.preprocessor("The dog sleeps .", return_tensors="pt")
    assert result.model(**ids).logits.shape == (1, 2)


SCRIPT = """
import allocator

print("once")


def share_of_right(predictions, labels):
    return float(sum(predictions == labels)) / len(labels)


result = allocator.search(
    budget=600,
    task="orders",
    train={rows},
    text="sentence",
    label="judged",
    metric=share_of_right,
    model={model!r},
    studies_dir={folder!r},
    verdict_seeds=0,
    quiet=True,
    **{quick},
)
print(result.recipe.task.metric, result.recipe.task.labels)
"""


@pytest.mark.parametrize("how", ["script", pytest.param("cell", marks=pytest.mark.slow)])
def test_a_script_without_a_guard_and_a_cell_search_data_and_a_metric_of_their_own(
    how: str, tiny_bert: Path, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(rows=rows(12), model=str(tiny_bert), folder=str(tmp_path), quick=QUICK),
        encoding="utf-8",
    )
    # As in a notebook, what is read from standard input has no file.
    words = [sys.executable, *([str(script)] if how == "script" else ["-"])]
    with script.open(encoding="utf-8") as given:
        ended = subprocess.run(words, stdin=given, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    first, last = ended.stdout.splitlines()
    assert first == "once"
    assert last.endswith("metric.py:share_of_right ('right', 'wrong')")
    (task,) = (tmp_path / "data").glob("orders-*/task.yaml")
    assert str(task) in (tmp_path / f"orders-{tiny_bert.name}-600" / "best.yaml").read_text()


def test_a_model_in_memory_is_searched_with_its_own_weights(
    tiny_bert: Path, tmp_path: Path
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    with torch.no_grad():
        model.get_parameter("bert.encoder.layer.0.attention.self.query.weight").mul_(0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    result = allocator.search(
        budget=600,
        task="orders",
        train=rows(12),
        text="sentence",
        label="judged",
        model=model,
        studies_dir=tmp_path,
        verdict_seeds=0,
        quiet=True,
        **{**QUICK, "trials": 1},
    )
    name = "bert.encoder.layer.0.attention.self.query.weight"
    torch.testing.assert_close(result.model.get_parameter(name), before[name])
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert Path(result.recipe.model.name).parent == tmp_path / "models"


def test_a_search_that_was_interrupted_raises_the_interrupt(
    tiny_bert: Path, small_glue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What has finished is kept and written by then: that is what None says.
    monkeypatch.setattr("allocator.tuning.runs.search_in_python.run_search", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        allocator.search(
            600,
            "cola",
            model=str(tiny_bert),
            data_dir=small_glue,
            studies_dir=tmp_path,
            quiet=True,
        )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, AllocatorError, "a search needs a task, or examples as train"),
        ({"task": "colla"}, UnknownNameError, "unknown task 'colla': did you mean 'cola'"),
        ({"task": "cola", "trails": 9}, UnknownNameError, "unknown option 'trails': did you mean"),
        ({"task": "cola", "trials": 0}, AllocatorError, "trials: Input should be greater than"),
        ({"task": "cola", "metric": "f1_macro"}, AllocatorError, "dev, text, label, classes, reg"),
        ({"train": [1, 2]}, AllocatorError, "train is no table of named columns"),
        ({"train": {"text": ["a"]}}, AllocatorError, "train: no column 'label'; columns are 'te"),
    ],
)
def test_mistakes_are_errors_of_one_line(
    options: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message) as raised:
        allocator.search(budget=600, studies_dir=tmp_path, quiet=True, **options)
    assert "\n" not in str(raised.value)
