"""Metric scripts as a user writes them, loaded with evaluate into a cache of the tests' own."""

from collections.abc import Iterator
from pathlib import Path

import evaluate
import pytest

SCRIPT = """
import evaluate
from datasets import Features, Value

class Metric(evaluate.Metric):
    def _info(self):
        value = Value("{kind}")
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=Features({{"predictions": value, "references": value}}),
        )

    def _compute(self, predictions, references):
        pairs = list(zip(predictions, references))
        {body}
"""


@pytest.fixture(scope="session", autouse=True)
def evaluate_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps evaluate's copies of scripts out of the user's cache.

    One folder for all tests, from the first on: `evaluate_modules` is a package that Python imports
    once, and a name that is not known makes evaluate look into its cache.
    """
    cache = tmp_path_factory.mktemp("evaluate")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(cache / "modules"))
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", str(cache / "metrics"))
        patch.setattr(evaluate.config, "HF_EVALUATE_CACHE", str(cache / "evaluate"))
        yield cache


def write_script(path: Path, body: str, kind: str = "int64") -> Path:
    """Write a metric script whose `_compute` ends in `body`, with the list `pairs` at hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SCRIPT.format(kind=kind, body=body))
    return path
