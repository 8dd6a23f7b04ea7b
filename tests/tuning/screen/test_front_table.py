"""What every budget buys, at the end of a search and as a picture."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from allocator.training.messages import Job
from allocator.tuning.evidence.choice import Selection, find_smallest
from allocator.tuning.figures.front import draw_study_front, list_front_points
from allocator.tuning.screen.front_table import describe_smallest, make_front_table
from allocator.tuning.space.space import Params
from allocator.tuning.storage.trial_memory import BASELINE
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import (
    BEST,
    Difference,
    StudyVerdict,
    Versus,
    list_opponents,
    read_front,
    write_verdicts,
)
from tests.tuning.scripted import Script, draw_luck

GAPS: Mapping[int, float] = {300: 0.03, 450: 0.002, 700: 0.0}
"""What is planted as the loss on dev of every budget's choice, minus that of the largest's."""


def make_versus(params: Params, mean: float, words: str) -> Versus:
    difference = Difference.model_validate(
        {
            "choice": 0.4 + mean,
            "opponent": 0.4,
            "mean": mean,
            "error": 0.002,
            "low": mean - 0.004,
            "high": mean + 0.004,
            "detectable": 0.006,
            "covers_seeds": True,
            "words": words,
        }
    )
    return Versus(params=dict(params), loss=difference, metric=difference, collapsed=0)


def improve_with_size(job: Job) -> float:
    """A loss that is lower for larger adapters, so that every budget has a choice of its own."""
    size = job.spec.shape.num_parameters(job.allocation.ranks)
    return 0.5 - 0.1 * math.log10(size) + 0.001 * draw_luck(job)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchStudy, tuple[Selection, ...]]:
    """A scripted study of three budgets whose verdicts are planted."""
    study = Script(
        folder=tmp_path_factory.mktemp("study"),
        loss=improve_with_size,
        trials=44,
        smaller_budgets=(300, 450),
        rivals=("lora:8",),
    ).run()
    front = study.select_front()
    verdicts = {}
    for selection in front:
        planted = {BEST: (GAPS[selection.budget], "not distinguishable")}
        verdicts[selection.budget] = StudyVerdict(
            params=dict(selection.best.allocation.params),
            seeds=(8, 9, 10),
            threshold=0.0,
            collapsed=0,
            loss=0.4 + GAPS[selection.budget],
            versus={
                name: make_versus(params, *planted.get(name, (-0.02, "better")))
                for name, params in list_opponents(front, selection).items()
            },
        )
    write_verdicts(study.study, verdicts)
    return study, front


def show(study: SearchStudy, front: Sequence[Selection]) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(make_front_table(study, front))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_budget_has_a_row_of_eighty_columns_at_most(
    judged: tuple[SearchStudy, tuple[Selection, ...]],
) -> None:
    study, front = judged
    lines = show(study, front).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("Best allocation within each budget: loss on dev")
    rows = {line.split()[0]: line for line in lines if line.split()[0] in ("300", "450", "700")}
    for selection in front:
        row = rows[str(selection.budget)]
        count = study.space.num_parameters(selection.best.allocation.params)
        assert f" {count} " in row
        assert row.rstrip().endswith("is it" if selection.is_baseline else "better")
    assert "+0.0300 +0.0260 to +0.0340" in rows["300"]
    assert " to " not in rows["700"]


def test_without_a_verdict_the_expected_values_are_told(tmp_path: Path) -> None:
    study = Script(folder=tmp_path, trials=20, smaller_budgets=(300,), verdict_seeds=0).run()
    front = study.select_front()
    lines = show(study, front).splitlines()
    text = " ".join(show(study, front).split())
    assert text.startswith("Best allocation within each budget: expected calibrated loss")
    assert "95%" not in text
    assert f"{front[0].best.expected:.4f}" in lines[-2]
    assert not any("+0" in line and " to " in line for line in lines)


def test_a_verdict_on_other_opponents_is_not_shown(
    judged: tuple[SearchStudy, tuple[Selection, ...]],
) -> None:
    study, front = judged
    assert read_front(study.study, front) is not None
    other = dataclasses.replace(front[-1], best=front[0].best)
    # The smaller choices were compared with another best.
    assert read_front(study.study, [*front[:-1], other]) is None
    rival = front[-1].compared["lora:8"]
    params = {**rival.allocation.params, "learning_rate": 5e-3}
    changed = dataclasses.replace(
        rival, allocation=dataclasses.replace(rival.allocation, params=params)
    )
    last = dataclasses.replace(front[-1], compared={**front[-1].compared, "lora:8": changed})
    assert read_front(study.study, [*front[:-1], last]) is None


def test_a_study_that_the_metric_decides_is_told_in_the_metric(tmp_path: Path) -> None:
    study = Script(
        folder=tmp_path, trials=20, smaller_budgets=(300,), verdict_seeds=0, decide_by="metric"
    ).run()
    front = study.select_front()
    assert "expected matthews_correlation" in " ".join(show(study, front).split())
    figure = draw_study_front(study, front)
    assert "matthews_correlation" in figure.layout.yaxis.title.text
    assert "higher is better" in figure.layout.title.subtitle.text


def test_the_smallest_as_good_as_the_best_is_named(
    judged: tuple[SearchStudy, tuple[Selection, ...]],
) -> None:
    study, front = judged
    small, best = front[0], front[-1]
    count = study.space.num_parameters(small.best.allocation.params)
    text = describe_smallest(study, small, best, Path("a b/best-300.yaml"))
    assert f"has {count:,} parameters: 'a b/best-300.yaml'" in text
    assert "not worse by a standard error" in text
    assert "No smaller budget" in describe_smallest(study, best, best, Path("best.yaml"))
    # One allocation may be the best within two budgets.
    same = dataclasses.replace(best, budget=450)
    text = describe_smallest(study, same, best, Path("best-450.yaml"))
    assert text.startswith("The best allocation fits a budget of 450 too, with ")
    assert find_smallest(study.space, study.expect(counts_verdict=True), front) in front


def test_the_picture_has_choices_baselines_and_rivals_with_their_intervals(
    judged: tuple[SearchStudy, tuple[Selection, ...]],
) -> None:
    study, front = judged
    points = list_front_points(study, front)
    choices = [p for p in points if p.group == "choice"]
    assert sorted(round(p.gap, 6) for p in choices) == sorted(GAPS.values())
    for point in points:
        assert point.low <= point.gap <= point.high
    rival = next(p for p in points if p.group == "rival")
    # The best is 0.02 lower than it.
    assert (rival.name, round(rival.gap, 6), round(rival.high, 6)) == ("lora:8", 0.02, 0.024)
    assert {p.group for p in points} >= {"choice", "rival"}
    assert any(BASELINE in p.name for p in points)
    figure = draw_study_front(study, front)
    assert figure.layout.title.text == "What every budget buys"
    assert figure.layout.yaxis.title.text == "loss on dev, minus the best's"
    assert sum(len(trace.x) for trace in figure.data) == len(points)
