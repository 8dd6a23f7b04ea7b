from itertools import chain, repeat

import pytest
import torch

from allocator.config import Precision
from allocator.workers import precision
from allocator.workers.precision import choose_precision

CPU = torch.device("cpu")


def pretend(monkeypatch: pytest.MonkeyPatch, seconds: dict[Precision, float]) -> None:
    monkeypatch.setattr(precision, "_time_product", lambda _, __, kind: seconds[kind])


@pytest.mark.parametrize(
    ("bfloat16", "chosen"), [(0.1, "bfloat16"), (0.8, "bfloat16"), (0.9, "float32"), (5, "float32")]
)
def test_bfloat16_is_chosen_where_it_is_a_fifth_faster(
    bfloat16: float, chosen: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, {"float32": 1.0, "bfloat16": bfloat16})
    assert choose_precision(CPU, 384) == chosen


def test_one_slow_product_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"float32": chain([9.0], repeat(1.0)), "bfloat16": repeat(2.0)}
    monkeypatch.setattr(precision, "_time_product", lambda _, __, kind: next(seconds[kind]))
    assert choose_precision(CPU, 384) == "float32"


def test_a_device_is_really_timed() -> None:
    assert choose_precision(CPU, 16) in ("float32", "bfloat16")
