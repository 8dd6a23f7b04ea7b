"""The figures of a study, in its folder and on its dashboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go

from allocator.allocation.adapter_shape import AdapterShape
from allocator.files.study_folder import TableName, baseline_folder, table_path
from allocator.tuning.figures.study_figures import make_study_figures
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan, plan_search
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.study import SearchStudy
from tests.reports import make_report
from tests.tuning.studies import opened, start

MakeConfig = Callable[..., SearchConfig]
TRUNCATION = "name,seed,mode,rank,loss\nuniform,0,input,1,0.7\nuniform,0,input,2,0.6\n"
MODES = (
    "name,seed,step,layer,target,mode,normalized_entropy,top1_energy\n"
    "uniform,0,1,0,0,input,0.5,0.75\n"
)
OTHER = "name,seed,step,layer,target,mode,index,singular_value\ntt,0,1,0,0,input,1,0.5\n"


def tell(study: SearchStudy, score: float) -> int:
    number = start(study).number
    study.tell(make_report(number, score, step=study.final_step))
    return number


def searched(plan: Plan[StudyConfig]) -> SearchStudy:
    with opened(plan) as study:
        tell(study, 0.1)
        tell(study, 0.5)
        return study


def make_figures(study: SearchStudy) -> dict[str, go.Figure]:
    return make_study_figures(study, study.select_front(), study.compute_effects())


def bars(figure: go.Figure) -> dict[str, int]:
    totals: dict[str, int] = {}
    for bar in figure.data:
        for name, count in zip(bar.y, bar.x, strict=True):
            totals[name] = totals.get(name, 0) + count
    return {name.split("<br>")[0]: total for name, total in totals.items()}


def write_tables(folder: Path) -> None:
    baseline_folder(folder).mkdir()
    tables: dict[TableName, str] = {"truncation": TRUNCATION, "modes": MODES, "spectra": OTHER}
    for name, text in tables.items():
        table_path(baseline_folder(folder), name).write_text(text)


def test_a_study_is_drawn_from_the_tables_that_it_has(make_config: MakeConfig) -> None:
    study = searched(plan_search(make_config()))
    names = ["race", "effects", "budget-split"]
    assert list(make_figures(study)) == names
    write_tables(study.folder)
    drawn = make_figures(study)
    assert list(drawn) == [*names, "spectra-over-training", "truncation"]


def test_the_budget_split_compares_baseline_proposal_and_best(make_config: MakeConfig) -> None:
    study = searched(plan_search(make_config()))
    counts = bars(make_figures(study)["budget-split"])
    names = ["uniform baseline", "best, proposed by uniform"]
    assert counts == {
        name: study.space.num_parameters(study.trials[number].params)
        for number, name in enumerate(names)
    }


def test_a_space_without_a_core_has_a_budget_split(make_config: MakeConfig) -> None:
    study = searched(plan_search(make_config(space="lora", budget=5_000)))
    shape: AdapterShape = study.space.shape
    figure = make_figures(study)["budget-split"]
    assert shape.factorization == "matrix"
    assert {bar.name for bar in figure.data} == {"input", "output"}
