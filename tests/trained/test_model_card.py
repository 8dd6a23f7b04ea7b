"""What a model card says of a score."""

from __future__ import annotations

from allocator.files.recipe import Recipe
from allocator.trained.model_card import write_model_card


def write(recipe: Recipe, **scores: float | int | str) -> str:
    scored = recipe.model_copy(update={"scores": scores})
    return write_model_card(scored, "base", holds="merged", options={})


def test_a_verdict_is_quoted_and_not_the_score_that_made_the_choice(tiny_recipe: Recipe) -> None:
    card = write(tiny_recipe, score=0.9, scored_on="held_out", dev_score=0.75, verdict_seeds=3)
    metric = tiny_recipe.task.metric
    assert (
        f"| {metric} | 0.7500 on dev, mean over 3 seeds that the choice was not made by |" in card
    )
    assert "0.9" not in card


def test_without_a_verdict_the_score_is_said_to_be_unproved(tiny_recipe: Recipe) -> None:
    card = write(tiny_recipe, score=0.9, scored_on="held_out")
    assert "0.9000 on held out, by which it was chosen: not proved" in card
    assert "not recorded" in write(tiny_recipe)
