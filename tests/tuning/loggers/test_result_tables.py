"""The final tables that are logged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allocator.files.recipe import Recipe
from allocator.tuning.loggers.logger import ResultTable
from allocator.tuning.loggers.result_tables import make_frame_table, make_study_table
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import Difference, StudyVerdict, Versus
from allocator.tuning.study.write_front import WrittenBest, WrittenFront
from tests.tuning.scripted import Script


def judge(mean: float, words: str) -> Difference:
    numbers = {"choice": 0.5 + mean, "opponent": 0.5, "mean": mean, "error": 0.01}
    interval = {"low": mean - 0.02, "high": mean + 0.02, "detectable": 0.03}
    return Difference.model_validate({**numbers, **interval, "covers_seeds": True, "words": words})


def make_table(study: SearchStudy, recipe: Recipe, *, has_verdict: bool) -> pd.DataFrame:
    selection = study.select()
    verdict = StudyVerdict(
        params=dict(selection.best.allocation.params),
        seeds=(8, 9, 10),
        threshold=0.0,
        collapsed=0,
        loss=0.48,
        versus={
            name: Versus(
                params=dict(choice.allocation.params),
                loss=judge(-0.02, "better"),
                metric=judge(0.04, "not distinguishable"),
                collapsed=0,
            )
            for name, choice in selection.opponents.items()
        },
    )
    written = WrittenBest(
        selection=selection,
        verdict=verdict if has_verdict else None,
        recipe=recipe,
        path=study.folder / "best.yaml",
    )
    table = make_study_table(study, WrittenFront(choices=(written,), smallest=written))
    return pd.DataFrame(table.rows, columns=list(table.columns))


@pytest.fixture
def study(tmp_path: Path) -> SearchStudy:
    return Script(folder=tmp_path, prior="uniform", rivals=("lora:1",)).run()


def test_a_verdict_becomes_a_row_for_the_choice_and_each_opponent(
    study: SearchStudy, tiny_recipe: Recipe
) -> None:
    table = make_table(study, tiny_recipe, has_verdict=True)
    opponents = list(study.select().opponents)
    assert len(opponents) == 2
    assert table.allocation.tolist() == 2 * ["choice", *opponents]
    measures = ["loss on dev", "matthews_correlation on dev"]
    assert table.measure.tolist() == [name for name in measures for _ in range(3)]
    assert table["mean"].tolist() == pytest.approx([0.48, 0.5, 0.5, 0.54, 0.5, 0.5])
    against = table[table.allocation != "choice"]
    assert against.difference.tolist() == pytest.approx([-0.02, -0.02, 0.04, 0.04])
    assert against.standard_error.tolist() == [0.01] * 4
    assert against.low.tolist() == pytest.approx([-0.04, -0.04, 0.02, 0.02])
    assert against.verdict.tolist() == 2 * ["better"] + 2 * ["not distinguishable"]
    best = study.select().best.allocation.params
    assert set(table.parameters[table.allocation == "choice"]) == {study.space.num_parameters(best)}
    assert f"rank_input {best['rank_input']}" in table.hyperparameters[0]


def test_without_a_verdict_the_table_says_what_the_search_expects(
    study: SearchStudy, tiny_recipe: Recipe
) -> None:
    table = make_table(study, tiny_recipe, has_verdict=False)
    selection = study.select()
    assert set(table.measure) == {"expected calibrated loss"}
    expected = [choice.expected for choice in selection.opponents.values()]
    assert table["mean"].tolist() == pytest.approx([selection.best.expected, *expected])
    differences = [selection.best.expected - value for value in expected]
    assert table.difference[1:].tolist() == pytest.approx(differences)
    assert table.standard_error.isna().all()


def test_a_data_frame_becomes_numbers_of_python_and_blanks() -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "mean": [0.5, np.nan], "seeds": np.array([1, 2])})
    table = make_frame_table(frame)
    assert table.rows == (("a", 0.5, 1), ("b", None, 2))
    assert [type(cell) for cell in table.rows[0]] == [str, float, int]


def test_a_table_is_markdown_for_people_and_csv_in_full() -> None:
    table = ResultTable(columns=("name", "mean"), rows=(("a, b", 1 / 3), ("c", None)))
    assert table.to_markdown() == "| name | mean |\n| --- | --- |\n| a, b | 0.3333 |\n| c |  |"
    assert table.to_csv() == f'name,mean\n"a, b",{1 / 3}\nc,\n'
