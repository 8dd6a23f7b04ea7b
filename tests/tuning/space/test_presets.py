"""Presets: the parameter counts of the papers, and a search of two trials with each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from allocator.adapters.build import build_adapter
from allocator.adapters.saved import load_adapter
from allocator.adapters.spectra import compute_mode_spectra, tabulate_spectra
from allocator.allocation.constructions import BackboneShape
from allocator.command_line.options import read_config
from allocator.files.study_folder import UNIFORM, TableName, baseline_folder, named_adapter_path
from allocator.search import build_parser
from allocator.training.loop import train_trials
from allocator.training.messages import Boundary, Orders
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan, plan_search
from allocator.tuning.space.build_space import build_space, list_adapter_shapes, make_adapter_spec
from allocator.tuning.space.space_file import list_preset_names, read_space
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.write_front import write_front
from allocator.workers.setup import load_frozen_backbone, load_training_splits, save_trained
from tests.tuning.studies import opened

D, H, HEAD, L, T = (
    768,
    12,
    64,
    12,
    3,
)  # RoBERTa-base (and ViT-B/16): width, heads, their size, layers
R = 8

# What the papers say an adapter of one rank R in every mode takes.
PAPERS: dict[str, Callable[[], int]] = {
    "lora": lambda: T * L * R * (D + D),
    "lora_plus": lambda: T * L * R * (D + D),
    "tenslora_att": lambda: T * L * ((D + HEAD + H) * R + R**3),
    "tenslora_qkv": lambda: L * ((D + D + T) * R + R**3),
    "tenslora_depth": lambda: T * ((D + D + L) * R + R**3),
    "tenslora_att_qkv": lambda: L * ((D + HEAD + H + T) * R + R**4),
    "tenslora_att_depth": lambda: T * ((D + HEAD + H + L) * R + R**4),
    "tenslora_qkv_depth": lambda: (D + D + T + L) * R + R**4,
    "tenslora_att_qkv_depth": lambda: (D + HEAD + H + T + L) * R + R**5,
    "tenslora_att_cp": lambda: T * L * (D + HEAD + H) * R,
    "tenslora_qkv_cp": lambda: L * (D + D + T) * R,
    "tenslora_depth_cp": lambda: T * (D + D + L) * R,
    "tenslora_att_qkv_cp": lambda: L * (D + HEAD + H + T) * R,
    "tenslora_att_depth_cp": lambda: T * (D + HEAD + H + L) * R,
    "tenslora_qkv_depth_cp": lambda: (D + D + T + L) * R,
    "tenslora_att_qkv_depth_cp": lambda: (D + HEAD + H + T + L) * R,
    "tenslora_plus": lambda: 39_640,
    "lotr": lambda: 2 * D * R + 2 * L * R**2,
    "fact_tt": lambda: 2 * D * R + 4 * L * R**2,
    "fact_tk": lambda: 2 * D * R + 4 * L * R + R**3,
    "lorta": lambda: R * (D + HEAD + H + T + L),
    "cara": lambda: R * (D + HEAD + H + T * L),
    "tt": lambda: D * R + R * HEAD * R + R * H * R + R * T * R + R * L,
    "constructions": lambda: 39_640,  # its first combination is that of tenslora_plus
}


def test_every_preset_has_a_published_count_to_be_checked_against() -> None:
    assert sorted(PAPERS) == list_preset_names()


@pytest.mark.parametrize("preset", list_preset_names())
def test_a_presets_parameters_are_those_of_its_paper(preset: str) -> None:
    file = read_space(preset)
    roberta = BackboneShape(d_in=D, heads=H, head_size=HEAD, layers=L, targets=file.targets)
    shape = build_space(file, roberta, 10_000_000).shape
    assert shape.num_parameters(dict.fromkeys(shape.rank_names, R)) == PAPERS[preset]()


@pytest.mark.parametrize("preset", [name for name in list_preset_names() if name.endswith("_cp")])
def test_the_published_cp_starts_its_input_factor_at_zero(preset: str) -> None:
    roberta = BackboneShape(d_in=D, heads=H, head_size=HEAD, layers=L)
    (shape,) = list_adapter_shapes(read_space(preset), roberta)
    adapter = build_adapter(make_adapter_spec(read_space(preset), shape), {"rank": R}, seed=0)
    assert adapter.zero_part.shape[2:] == (D, R)
    assert not adapter.zero_part.any()
    assert all(part.any() for part in adapter.factors.values())


def test_a_zero_mode_holds_for_the_combinations_of_a_list_that_have_one() -> None:
    roberta = BackboneShape(d_in=D, heads=H, head_size=HEAD, layers=L)
    file = read_space("constructions").model_copy(update={"zero_mode": "heads"})
    for shape in list_adapter_shapes(file, roberta):
        has_one = shape.factorization in ("cp", "tt") and "heads" in shape.tensor.dims
        assert (shape.zero_mode == "heads") is has_one


def test_lora_plus_reaches_its_own_setting_for_roberta() -> None:
    roberta = BackboneShape(d_in=D, heads=H, head_size=HEAD, layers=L)
    ranges = build_space(read_space("lora_plus"), roberta, 10_000_000).distributions
    for name, value in (("learning_rate", 5e-5), ("core_lr_multiplier", 80.0)):
        assert ranges[name]._contains(value)


def test_lotr_of_rank_32_has_its_published_number_of_parameters() -> None:
    file = read_space("lotr")
    roberta = BackboneShape(d_in=D, heads=H, head_size=HEAD, layers=L, targets=file.targets)
    shape = build_space(file, roberta, 100_000).shape
    assert shape.num_parameters({"input": 32, "output": 32}) == 73_728


def search_here(plan: Plan[StudyConfig], trials: int) -> Path:
    """Search as a worker and its coordinator do, in this process."""
    setup = plan.setup
    backbone = load_frozen_backbone(setup, torch.device("cpu"))
    with opened(plan) as study:
        # If its prior waits for the baseline, and nothing trains beside it, a space starts one.
        jobs = tuple(study.start_next_trial() for _ in range(min(trials, study.num_startable)))

        def on_boundary(boundary: Boundary) -> Orders | None:
            for report in boundary.reports:
                study.add_report(report)
                if report.ending is not None:
                    study.tell(report)
            if not boundary.reports:
                return Orders(jobs=jobs)
            return Orders() if any(report.ending is None for report in boundary.reports) else None

        train_trials(
            backbone,
            load_training_splits(setup, backbone.device),
            setup.training,
            slots=len(jobs),
            on_boundary=on_boundary,
            on_completed=lambda job, slot: save_trained(setup, job, slot),
        )
        for trial in study.trials:
            ranks = study.space.read_ranks(trial.params)
            built = load_adapter(study.adapter_path(trial.number)).adapter.num_parameters
            assert (
                built == study.space.find_variant(trial.params).shape.num_parameters(ranks) <= 2_000
            )
        return write_front(study).best.path


@pytest.mark.parametrize("preset", list_preset_names())
def test_every_preset_is_searched(
    preset: str, tiny_bert: Path, small_glue: Path, tmp_path: Path
) -> None:
    argv = ["--budget", "2000", "--task", "cola", "--data-dir", str(small_glue), "--epochs", "1"]
    argv += ["--model", str(tiny_bert), "--space", preset, "--studies-dir", str(tmp_path)]
    argv += ["--precision", "float32", "--devices", "cpu"]
    best = search_here(plan_search(read_config(SearchConfig, build_parser().parse_args(argv))), 2)
    content = yaml.safe_load(best.read_text(encoding="utf-8"))
    assert content["num_parameters"] <= 2_000
    assert tuple(content["adapter"]["targets"]) == read_space(preset).targets


def test_the_baseline_of_a_search_leaves_tables_of_every_boundary(
    tiny_bert: Path, small_glue: Path, tmp_path: Path
) -> None:
    argv = ["--budget", "2000", "--task", "cola", "--data-dir", str(small_glue), "--epochs", "2"]
    argv += ["--model", str(tiny_bert), "--studies-dir", str(tmp_path)]
    argv += ["--precision", "float32", "--devices", "cpu"]
    folder = search_here(
        plan_search(read_config(SearchConfig, build_parser().parse_args(argv))), 2
    ).parent
    found = {path.stem: pd.read_csv(path) for path in baseline_folder(folder).glob("*.csv")}
    assert set(found) == set(get_args(TableName))
    assert found["training"]["step"].tolist() == [1, 2]
    assert found["training"].drop(columns="ending").notna().all(axis=None)
    modes = ["input", "head_dim", "heads", "qkv", "depth"]
    assert found["modes"]["mode"].tolist() == modes * 2
    assert found["gradients"]["part"].tolist() == ["core", *modes] * 2
    assert (found["gradients"]["max"] >= found["gradients"]["mean"]).all()
    adapter = load_adapter(named_adapter_path(baseline_folder(folder), UNIFORM, 0)).adapter
    at_the_end = found["spectra"].query("step == 2")["singular_value"]
    np.testing.assert_allclose(
        at_the_end, tabulate_spectra(compute_mode_spectra(adapter))["singular_value"]
    )
