"""Search spaces: presets, users' files, and what they become on a backbone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from allocator.allocation.constructions import BackboneShape
from allocator.errors import AllocatorError, BudgetError, SpaceError, UnknownNameError
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import list_preset_names, read_space

ROBERTA = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
MINILM = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)


def space_of(text: str, tmp_path: Path, budget: int = 40_000) -> Space:
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return build_space(read_space(str(path)), MINILM, budget)


@pytest.mark.parametrize("preset", list_preset_names())
def test_every_preset_has_allocations_within_a_generous_budget(preset: str) -> None:
    space = build_space(read_space(preset), ROBERTA, 1_000_000)
    ranks = space.variants[0].feasible.find_uniform()
    assert space.shape.num_parameters(ranks) <= 1_000_000
    assert set(space.rank_parameters.values()) <= {*space.distributions, *space.fixed}


def test_the_default_space_has_static_ranges_within_what_modes_can_use() -> None:
    space = build_space(read_space("tenslora_plus"), ROBERTA, 40_000)
    assert space.distributions == {
        "rank_input": IntDistribution(1, 32),
        "rank_head_dim": IntDistribution(1, 32),
        "rank_heads": IntDistribution(1, 12),
        "rank_qkv": IntDistribution(1, 3),
        "rank_depth": IntDistribution(1, 12),
        "core_lr_multiplier": FloatDistribution(1, 64, log=True),
        "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    }


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("scaling: {}", "scaling"),
        ("parameters: {{learning_rate: {}}}", "parameters.learning_rate"),
        ("parameters: {{rank_input: {{low: 1, high: {}}}}}", "parameters.rank_input.high"),
        ("parameters: {{learning_rate: {{low: {}, high: 1}}}}", "parameters.learning_rate.low"),
    ],
)
@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (".inf", "inf"),
        ("-.inf", "-inf"),
        (".nan", "nan"),
        ("1e400", "'1e400'"),
        ("1.0e+400", "inf"),
    ],
)
def test_a_number_that_is_not_finite_is_refused(
    number: str, shown: str, line: str, key: str, tmp_path: Path
) -> None:
    text = f"construction: att\nfactorization: tucker\n{line.format(number)}\n"
    message = f"{tmp_path / 'space.yaml'}: {key}: Input should be a finite number, got {shown}"
    with pytest.raises(SpaceError, match=f"^{re.escape(message)}$"):
        space_of(text, tmp_path)


def test_a_space_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(b"construction: att  # \xe9\n")
    with pytest.raises(SpaceError, match=r"^search space file .*space\.yaml is not text in UTF-8$"):
        read_space(str(path))


def test_a_users_file_fixes_and_narrows_parameters(tmp_path: Path) -> None:
    space = space_of(
        "construction: att_qkv_depth\nfactorization: tucker\nparameters:\n"
        "  rank_qkv: 2\n  rank_input: {low: 4, high: 8}\n  learning_rate: 0.002\n"
        "  lr_multiplier_input: {low: 1, high: 4, log: true}\n",
        tmp_path,
    )
    assert "rank_qkv" not in space.distributions
    assert space.distributions["rank_input"] == IntDistribution(4, 8)
    params = {
        "rank_input": 4,
        "rank_head_dim": 2,
        "rank_heads": 3,
        "rank_depth": 1,
        "core_lr_multiplier": 8.0,
        "lr_multiplier_input": 2.0,
    }
    allocation = space.make_allocation(params)
    assert allocation.ranks == {"input": 4, "head_dim": 2, "heads": 3, "qkv": 2, "depth": 1}
    assert allocation.learning_rate == 0.002
    assert allocation.core_lr_multiplier == 8.0
    assert allocation.lr_multipliers == {"input": 2.0}


def test_a_full_mode_is_neither_searched_nor_counted(tmp_path: Path) -> None:
    space = space_of(
        "construction: sites\nfactorization: tucker\ntargets: [query, key, value]\n"
        "parameters: {rank_site: full}\n",
        tmp_path,
    )
    assert "rank_site" not in space.distributions
    assert space.num_parameters({"rank_input": 8, "rank_output": 8}) == 2 * 384 * 8 + 18 * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "must be a YAML mapping, got list"),
        ("construction: [\n", "is not YAML"),
        (
            "construction: att\nfactorisation: tucker\n",
            "unknown key 'factorisation': did you mean 'factorization'?",
        ),
        ("construction: att\n", "factorization: Field required"),
        ("construction: atq\nfactorization: tucker\n", "construction: Input should be"),
        (
            "construction: att\nfactorization: tucker\n"
            "parameters: {rank_input: {low: 1, hihg: 3}}\n",
            "parameters.rank_input: unknown key 'hihg': did you mean 'high'? "
            "known are high, log, low",
        ),
        (
            "construction: att\nfactorization: tucker\nparameters: {rank_inputs: 3}\n",
            "unknown parameter 'rank_inputs': did you mean 'rank_input'?",
        ),
        (
            "construction: att\nfactorization: tucker\n"
            "parameters: {rank_input: {low: 9, high: 3}}\n",
            "low must not exceed high, got low 9.0 and high 3.0",
        ),
        (
            "construction: att\nfactorization: tucker\n"
            "parameters: {rank_heads: {low: 13, high: 14}}",
            "rank_heads can be at most 12 on this model, got 13",
        ),
        (
            "construction: att\nfactorization: tucker\nparameters: {rank_heads: 13}",
            "rank_heads can be at most 12 on this model, got 13",
        ),
        (
            "construction: att\nfactorization: tucker\nparameters: {rank_heads: 2.5}",
            "rank_heads must be a positive integer, got 2.5",
        ),
        (
            "construction: att\nfactorization: tucker\nparameters: {learning_rate: full}",
            "learning_rate must be a range or a number, got 'full'",
        ),
        (
            "construction: matrix\nfactorization: tucker\n",
            "must both be 'matrix' or neither, got 'matrix' with 'tucker'",
        ),
    ],
)
def test_a_broken_space_file_is_named_with_its_rule(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(AllocatorError) as error:
        space_of(text, tmp_path)
    assert message in str(error.value)


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown search space 'lora_plas': did you mean 'lora_p"
    ):
        read_space("lora_plas")


def test_a_missing_space_file_is_named() -> None:
    with pytest.raises(SpaceError, match=r"^search space file nowhere\.yaml does not exist"):
        read_space("nowhere.yaml")


def test_a_budget_below_the_smallest_adapter_says_the_smallest() -> None:
    with pytest.raises(BudgetError, match=r"budget must be at least 438 \(the smallest .* got 400"):
        build_space(read_space("tenslora_plus"), MINILM, 400)
