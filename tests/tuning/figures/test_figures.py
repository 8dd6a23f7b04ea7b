"""Every figure shows the values of its frame."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from allocator.adapters.spectra import ModeSpectrum, tabulate_spectra, tabulate_spectrum_metrics
from allocator.allocation.adapter_shape import AdapterShape
from allocator.allocation.constructions import BackboneShape
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.figures.appearance import COLOURS
from allocator.tuning.figures.budget_split import draw_budget_split, tabulate_parameters
from allocator.tuning.figures.effect_panels import draw_effects
from allocator.tuning.figures.spectrum_figures import (
    draw_singular_values,
    draw_spectra_over_training,
)
from allocator.tuning.figures.sweep_scores import draw_sweep_scores
from allocator.tuning.figures.truncation_curves import draw_truncation_curves

BERT = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)


def spectra(layers: int = 1) -> list[tuple[int, list[ModeSpectrum]]]:
    rng = np.random.default_rng(0)
    return [
        (
            step,
            [
                ModeSpectrum(layer, 0, mode, tuple(sorted(rng.random(rank), reverse=True)))
                for layer in range(layers)
                for mode, rank in {"depth": 3, "input": 4, "output": 2}.items()
            ],
        )
        for step in (1, 2)
    ]


def stacked(tables: list[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    return pd.concat([table.assign(step=step) for step, table in tables], ignore_index=True)


def lines(figure: go.Figure) -> dict[str, go.Scatter]:
    return {trace.name: trace for trace in figure.data if trace.name is not None}


def test_singular_values_are_those_of_the_last_step_in_the_order_of_modes() -> None:
    frame = stacked([(step, tabulate_spectra(s)) for step, s in spectra()])
    shown = lines(draw_singular_values(frame))
    assert list(shown) == ["input", "output", "depth"]
    for spectrum in spectra()[-1][1]:
        line = shown[spectrum.mode]
        assert line.x == tuple(range(1, len(spectrum.singular_values) + 1))
        assert line.y == pytest.approx(spectrum.singular_values)
        assert line.line.color == COLOURS[spectrum.mode]


def test_singular_values_of_several_tensors_are_a_mean_within_its_range() -> None:
    frame = stacked([(step, tabulate_spectra(s)) for step, s in spectra(layers=3)])
    figure = draw_singular_values(frame)
    values = np.array([s.singular_values for s in spectra(3)[-1][1] if s.mode == "input"])
    assert lines(figure)["input"].y == pytest.approx(values.mean(0))
    outline = figure.data[0]
    assert outline.y == pytest.approx([*values.max(0), *values.min(0)[::-1]])
    assert outline.fill == "toself"


def test_a_singular_value_of_zero_does_not_stretch_the_axis() -> None:
    frame = pd.DataFrame(
        [(1, 0, 0, "input", 0, 2.0), (1, 0, 0, "input", 1, 0.0)],
        columns=["step", "layer", "target", "mode", "index", "singular_value"],
    )
    low, high = draw_singular_values(frame).layout.yaxis.range
    assert low == pytest.approx(math.log10(2e-6) - 0.1)
    assert high == pytest.approx(math.log10(2) + 0.1)


def test_a_core_that_is_zero_still_has_a_figure() -> None:
    frame = stacked([(1, tabulate_spectra([ModeSpectrum(0, 0, "input", (0.0, 0.0))]))])
    assert lines(draw_singular_values(frame))["input"].y == (0.0, 0.0)


def test_spectra_over_training_show_entropy_and_energy_at_every_boundary() -> None:
    frame = stacked([(step, tabulate_spectrum_metrics(s)) for step, s in spectra()])
    left, right = (
        {t.name: t for t in draw_spectra_over_training(frame).data if t.xaxis == axis}
        for axis in ("x", "x2")
    )
    for mode, rows in frame.groupby("mode"):
        assert left[mode].x == right[mode].x == (1, 2)
        assert left[mode].y == pytest.approx(rows["normalized_entropy"])
        assert right[mode].y == pytest.approx(rows["top1_energy"])


def test_truncation_shows_a_line_a_mode_and_the_untruncated_loss() -> None:
    frame = pd.DataFrame(
        [("input", 2, 0.5), ("input", 1, 0.8), ("input", 4, 0.4), ("qkv", 1, 0.6), ("qkv", 2, 0.4)],
        columns=["mode", "rank", "loss"],
    )
    figure = draw_truncation_curves(frame)
    assert lines(figure)["input"].x == (1, 2, 4)
    assert lines(figure)["input"].y == (0.8, 0.5, 0.4)
    assert lines(figure)["qkv"].y == (0.6, 0.4)
    (untruncated,) = figure.layout.shapes
    assert untruncated.y0 == untruncated.y1 == 0.4


def test_a_budget_split_stacks_the_parts_of_every_allocation_to_its_parameters() -> None:
    tucker = AdapterShape(construction="att_qkv_depth", factorization="tucker", backbone=BERT)
    lora = AdapterShape(construction="matrix", factorization="matrix", backbone=BERT)
    eight = dict.fromkeys(tucker.rank_names, 8)
    frame = pd.concat(
        [
            tabulate_parameters("tucker", tucker, eight),
            tabulate_parameters("lora", lora, {"rank": 1}),
        ]
    )
    figure = draw_budget_split(frame, budget=40_000)
    totals: dict[str, int] = {}
    for bar in figure.data:
        for name, count in zip(bar.y, bar.x, strict=True):
            totals[name.split("<br>")[0]] = totals.get(name.split("<br>")[0], 0) + count
    assert totals == {
        "tucker": tucker.num_parameters(eight),
        "lora": lora.num_parameters({"rank": 1}),
    }
    parts = [bar.name for bar in figure.data]
    assert parts == ["input", "output", "head_dim", "heads", "qkv", "depth", "core"]
    assert figure.layout.shapes[0].x0 == 40_000


@pytest.mark.parametrize(
    ("first", "mean"), [("tucker-8", 0.51), ("plain", 0.5)], ids=["named", "first"]
)
def test_a_sweep_has_a_panel_a_phase_and_the_baseline_across_all(first: str, mean: float) -> None:
    frame = pd.DataFrame(
        [
            ("rank", "small", 100, 0.4, 0.01, 3),
            ("baselines", "plain", 300, 0.5, 0.02, 3),
            ("baselines", first, 200, 0.51, 0.03, 5),
        ],
        columns=["phase", "name", "parameters", "mean", "standard_error", "seeds"],
    )
    figure = draw_sweep_scores(frame, metric="MCC")
    baselines, ranks = figure.data
    assert baselines.y == (0.5, 0.51)
    assert baselines.error_y.array == (0.02, 0.03)
    assert (ranks.x, ranks.y) == (("small<br>100",), (0.4,))
    assert [panel.text for panel in figure.layout.annotations] == ["baselines", "rank"]
    assert [line.y0 for line in figure.layout.shapes] == [mean, mean]
    assert figure.layout.yaxis.title.text == "MCC, mean over seeds"


def test_effects_are_differences_to_the_choice_with_a_band_of_two_deviations() -> None:
    effect = MarginalEffect(
        name="rank_input",
        values=np.array([1.0, 2.0, 4.0]),
        own=1,
        mean=np.array([0.6, 0.5, 0.49]),
        covariance=0.0002 * np.eye(3),
        limits=(1, 8),
    )
    figure = draw_effects([effect], objective="calibrated loss")
    band, line, told, own = figure.data
    assert line.y == pytest.approx([0.1, 0.0, -0.01])
    assert line.line.color == COLOURS["input"]
    margin = 2 * math.sqrt(2 * 0.0002)
    assert band.y[0] == pytest.approx(0.1 + margin)
    assert band.y[1] == band.y[-2] == 0.0  # nothing is open about the difference to itself
    assert band.y[-1] == pytest.approx(0.1 - margin)
    assert (told.x, own.x) == ((1.0, 2.0), (2.0,))
    assert [panel.text for panel in figure.layout.annotations] == ["rank input"]


def test_every_colour_is_of_one_part_alone() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)
