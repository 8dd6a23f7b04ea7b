"""A baseline's tables, as they lie in a study's folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from allocator.coordination.records import tabulate_reports
from allocator.files.study_folder import table_path
from allocator.files.tables import write_table
from allocator.tuning.priors.baseline_evidence import read_baseline


def test_tables_that_are_missing_or_empty_have_no_rows(tmp_path: Path) -> None:
    for kind, table in tabulate_reports([]).items():
        write_table(table_path(tmp_path, kind), table)
    baseline = read_baseline(tmp_path, {"rank": 2})
    assert not len(baseline.modes)
    assert not len(baseline.truncation)
    assert baseline.average_modes("effective_rank") == {}
    assert baseline.average_gradient_norms() == {}


def test_the_last_boundary_counts_averaged_over_tensors(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "name": ["uniform"] * 4 + ["cp"],
            "seed": 0,
            "step": [1, 1, 2, 2, 2],
            "layer": [0, 1, 0, 1, 0],
            "target": 0,
            "mode": "input",
            "rank": 4,
            "entropy": 1.0,
            "normalized_entropy": 0.5,
            "effective_rank": [9.0, 9.0, 2.0, 4.0, 100.0],  # another's spectrum does not count
            "top1_energy": 0.5,
            "stable_rank": 2.0,
        }
    )
    write_table(table_path(tmp_path, "modes"), table)
    assert read_baseline(tmp_path, {"input": 4}).average_modes("effective_rank") == {"input": 3.0}
