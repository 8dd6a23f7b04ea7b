"""The figures of the race and of the learning curves of scripted studies."""

from __future__ import annotations

import math

import numpy as np
import pytest

from allocator.training.messages import Job
from allocator.tuning.figures.appearance import GROUP_COLOURS
from allocator.tuning.figures.learning_curves import draw_learning_curves, list_learning_curves
from allocator.tuning.figures.race_intervals import SHOWN, draw_race, list_contenders
from allocator.tuning.storage.trial_memory import is_baseline
from allocator.tuning.study.study import SearchStudy
from tests.tuning.scripted import BOUNDARIES, Script, smooth_loss


def loss(job: Job) -> float | None:
    return None if job.allocation.learning_rate > 7e-3 else smooth_loss(job)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SearchStudy:
    return Script(folder=tmp_path_factory.mktemp("scripted"), loss=loss, trials=40).run()


def test_the_race_shows_the_leaders_as_the_study_expects_them(study: SearchStudy) -> None:
    selection, expectations = study.select(), study.expect()
    contenders = list_contenders(study, selection)
    assert len(contenders) == min(len(expectations.allocations), SHOWN)
    gaps = [contender.gap for contender in contenders]
    assert gaps == sorted(gaps)
    (choice,) = [contender for contender in contenders if contender.is_choice]
    assert (choice.gap, choice.margin) == (0.0, 0.0)
    assert choice.seeds == len(selection.best.allocation.completed)
    # The interval is that of the difference, in which what both share is left out.
    own = expectations.find(selection.best.allocation)
    assert own is not None
    order = np.argsort(-expectations.mean, kind="stable")[: len(contenders)]
    for place, contender in zip(order, contenders, strict=True):
        contrast = np.zeros(len(expectations.mean))
        contrast[place] += 1
        contrast[own] -= 1
        variance = contrast @ expectations.covariance @ contrast
        assert contender.margin == pytest.approx(
            1.96 * math.sqrt(max(float(variance), 0.0)), abs=1e-6
        )


def test_the_race_says_what_every_row_is(study: SearchStudy) -> None:
    contenders = list_contenders(study, study.select())
    figure = draw_race(contenders, objective="calibrated loss", lower_is_better=True)
    labels = figure.layout.yaxis.ticktext
    (label,) = [label for label in labels if label.startswith("choice: ")]
    assert "parameters" in label
    assert "lambda" in label
    assert "lower is better" in figure.layout.title.subtitle.text


def test_learning_curves_mark_what_was_pruned_and_what_collapsed(study: SearchStudy) -> None:
    selection = study.select()
    curves = list_learning_curves(study, selection)
    by_group = {curve.group for curve in curves}
    assert {"choice", "uniform baseline", "pruned", "other"} <= by_group
    chosen = [curve for curve in curves if curve.group == "choice"]
    # Those of the verdict, by which nothing is chosen, are among them.
    params = selection.best.allocation.params
    assert len(chosen) == sum(trial.params == params for trial in study.trials)
    assert all(curve.epochs == (1.0, 2.0, 3.0) for curve in chosen)
    assert all(len(c.epochs) < BOUNDARIES for c in curves if c.group == "pruned")
    figure = draw_learning_curves(curves, objective="calibrated loss", scored_on="dev")
    names = [trace.name for trace in figure.data]
    assert names.index("pruned") < names.index("choice")
    assert figure.data[names.index("choice")].line.color == GROUP_COLOURS["choice"]


def test_a_curve_has_the_values_that_its_training_reported(study: SearchStudy) -> None:
    trial = next(t for t in study.trials if is_baseline(t))
    curves = list_learning_curves(study, study.select())
    (curve,) = [c for c in curves if c.name.startswith(f"trial {trial.number},")]
    assert dict(zip(curve.epochs, curve.values, strict=True)) == trial.intermediate_values
