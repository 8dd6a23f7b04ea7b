import io
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from sklearn.metrics import matthews_corrcoef

from allocator.adapters.saved import load_adapter
from allocator.backbone.backbone import Backbone
from allocator.backbone.head import Head
from allocator.config import Calibration
from allocator.data.sources import load_task
from allocator.errors import CheckpointError, ModelError, SpaceError, TaskError
from allocator.files.recipe import Recipe, read_recipe
from allocator.files.study_folder import ADAPTER_FILE, RESULT_FILE
from allocator.progress.run_progress import RunProgress
from allocator.training.messages import Report
from allocator.training.splits import Splits
from allocator.workers.train_recipe import train_recipe


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> Recipe:
    return tiny_recipe


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "new" / "trained"


Train = Callable[[Recipe], Report]


@pytest.fixture
def said() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def train(small_glue: Path, output: Path, tmp_path: Path, said: io.StringIO) -> Train:
    """Trains a recipe on the small task."""
    progress = RunProgress(Console(file=said, width=80))
    return lambda recipe: train_recipe(
        recipe,
        output=output,
        data_source="auto",
        data_dir=small_glue,
        fallback_dir=None,
        model_cache=tmp_path / "cache",
        progress=progress,
    )


def test_a_recipe_is_trained_and_leaves_its_adapter_and_its_result(
    recipe: Recipe, train: Train, output: Path
) -> None:
    report = train(recipe)
    assert sorted(path.name for path in output.iterdir()) == [ADAPTER_FILE, RESULT_FILE]
    assert report.ending == "completed"
    assert math.isfinite(report.loss)
    result = read_recipe(output / RESULT_FILE)
    assert result.scores == {
        "scored_on": "dev",
        "score": report.score,
        "loss": report.loss,
        "matthews_correlation": report.score,
    }
    assert result.model_copy(update={"scores": recipe.scores}) == recipe


def test_the_saved_adapter_and_head_have_the_score_on_dev_that_was_told(
    recipe: Recipe,
    train: Train,
    output: Path,
    tiny_backbone: Backbone,
    tiny_splits: Splits,
) -> None:
    report = train(recipe)
    saved = load_adapter(output / ADAPTER_FILE)
    assert saved.description.model_sha256 == recipe.model.sha256
    head = tiny_backbone.head.copy_with_fresh_parameters(3)
    head.model.load_state_dict(dict(saved.head), strict=False)
    tiny_backbone.sites.set_updates([saved.adapter.compute_pairs()])
    dev = tiny_splits.of_seed(0).scoring
    batches = [dev.make_batch([i], torch.device("cpu")) for i in range(len(dev))]
    with torch.no_grad():
        logits = [head(tiny_backbone(batch.inputs), batch.inputs) for batch in batches]
    predictions = [row.argmax().item() for row in logits]
    assert matthews_corrcoef(dev.labels, predictions) == pytest.approx(report.score)


def test_a_recipes_calibration_is_folded_into_the_saved_head_and_none_is_fitted_to_dev(
    recipe: Recipe, train: Train, output: Path
) -> None:
    as_trained = train(recipe)
    head = load_adapter(output / ADAPTER_FILE).head
    calibration = Calibration(scale=0.25)
    training = recipe.training.model_copy(update={"calibration": calibration})
    report = train(recipe.model_copy(update={"training": training}))
    calibrated = load_adapter(output / ADAPTER_FILE).head
    for name, values in head.items():
        scale = 0.25 if name.startswith("classifier.") else 1.0
        assert torch.equal(calibrated[name], scale * values)
    # Dev is scored as trained, whatever the calibration.
    assert (report.loss, report.score) == (as_trained.loss, as_trained.score)
    assert as_trained.calibration is not None
    assert as_trained.calibration.scale != pytest.approx(1.0, abs=1e-3)
    assert read_recipe(output / RESULT_FILE).training.calibration == calibration


def test_a_calibration_that_the_head_cannot_take_is_refused_before_it_trains(
    recipe: Recipe, train: Train, output: Path, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Head, "has_bias", False)
    calibration = Calibration(scale=0.25, intercept=1.0)
    training = recipe.training.model_copy(update={"calibration": calibration})
    with pytest.raises(ModelError, match=r"has no bias, .* intercept must be 0, got 1\.0$"):
        train(recipe.model_copy(update={"training": training}))
    assert not said.getvalue()
    assert not output.exists()


def test_the_score_on_dev_is_told_once_at_the_end(
    recipe: Recipe, train: Train, output: Path, said: io.StringIO
) -> None:
    report = train(recipe)
    (line,) = said.getvalue().splitlines()
    assert line == f"completed: dev matthews_correlation {report.score:.4f}; wrote {output}"


def test_other_weights_than_the_recipes_are_refused(
    recipe: Recipe, train: Train, output: Path
) -> None:
    other = recipe.model.model_copy(update={"sha256": "c0ffee"})
    message = (
        f"model '{recipe.model.name}' must have sha256 c0ffee, got {recipe.model.sha256}; "
        "the recipe was made with other weights"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        train(recipe.model_copy(update={"model": other}))
    assert not output.exists()


def test_other_data_than_the_recipes_are_refused(
    recipe: Recipe, train: Train, output: Path
) -> None:
    other = recipe.task.model_copy(update={"fingerprint": "0123"})
    message = (
        f"task 'cola' must have fingerprint 0123, got {recipe.task.fingerprint} "
        f"from {recipe.task.source}; the recipe was made on other data, of {recipe.task.source}"
    )
    with pytest.raises(TaskError, match=f"^{re.escape(message)}$"):
        train(recipe.model_copy(update={"task": other}))
    assert not output.exists()


def test_a_recipe_made_on_a_limit_is_trained_on_the_same_examples(
    recipe: Recipe, train: Train, small_glue: Path, output: Path
) -> None:
    limited = load_task("cola", source="dir", data_dir=small_glue, limit=40)
    task = recipe.task.model_copy(update={"limit": 40, "fingerprint": limited.fingerprint})
    assert train(recipe.model_copy(update={"task": task})).ending == "completed"
    assert read_recipe(output / RESULT_FILE).task.limit == 40
    whole = task.model_copy(update={"limit": None})
    with pytest.raises(TaskError, match=f"must have fingerprint {limited.fingerprint}"):
        train(recipe.model_copy(update={"task": whole}))


def test_a_number_of_parameters_that_the_ranks_do_not_make_is_refused(
    recipe: Recipe, train: Train, output: Path
) -> None:
    count = recipe.num_parameters
    message = (
        f"num_parameters must be {count}, as many as ranks input 4, head_dim 2, heads 2, qkv 2, "
        f"depth 2 have on {recipe.model.name}, got 12; correct it in the recipe"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        train(recipe.model_copy(update={"num_parameters": 12}))
    assert not output.exists()


def test_ranks_that_do_not_fit_the_construction_are_refused(
    recipe: Recipe, train: Train, output: Path
) -> None:
    other = recipe.adapter.model_copy(update={"ranks": {"input": 4}})
    with pytest.raises(SpaceError, match=r"must be given for input, .*, got input$"):
        train(recipe.model_copy(update={"adapter": other}))
    assert not output.exists()


def test_without_a_folder_it_trains_on_the_data_that_the_recipe_records(
    recipe: Recipe, output: Path, tmp_path: Path, said: io.StringIO
) -> None:
    assert recipe.task.source.startswith("dir:")
    train_recipe(
        recipe,
        output=output,
        data_source="auto",
        data_dir=None,
        fallback_dir=None,
        model_cache=tmp_path / "cache",
        progress=RunProgress(Console(file=said, width=80)),
    )
    assert read_recipe(output / RESULT_FILE).task.fingerprint == recipe.task.fingerprint
