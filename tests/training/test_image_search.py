"""A search on images from the command, and its result trained again."""

from __future__ import annotations

from pathlib import Path

from allocator import search, train
from allocator.adapters.recipe import read_recipe
from allocator.command import run


def test_a_search_on_a_task_file_of_images_ends_in_a_recipe_that_trains_again(
    tiny_image_models: dict[str, Path], image_task: Path, tmp_path: Path
) -> None:
    options = ["--budget", "600", "--trials", "2", "--epochs", "40", "--slots", "2"]
    places = ["--model", str(tiny_image_models["dinov2"]), "--studies-dir", str(tmp_path)]
    precision = ["--precision", "float32", "--batch-size", "8", "--study", "small", "--quiet"]
    given = ["--task", str(image_task), *options, *places, *precision]
    assert run(search.main, given) == 0
    best = tmp_path / "small" / "best.yaml"
    recipe = read_recipe(best)
    assert (recipe.task.name, recipe.task.source) == ("colors", f"file:{image_task.resolve()}")
    assert run(train.main, ["--config", str(best)]) == 0
    scores = read_recipe(best.parent / "trained" / "result.yaml").scores
    assert float(scores["accuracy"]) > 0.5  # of three classes that differ in their colour
