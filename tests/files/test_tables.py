"""Tables as CSV files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from allocator.errors import StudyError
from allocator.files.tables import read_table, write_table


def test_a_written_table_comes_back_with_its_names_as_text(tmp_path: Path) -> None:
    table = pd.DataFrame({"name": ["0012", "lora"], "step": [1, 2], "loss": [0.1, 1 / 3]})
    write_table(tmp_path / "new" / "table.csv", table)
    read = read_table(tmp_path / "new" / "table.csv")
    pd.testing.assert_frame_equal(read, table, check_exact=True)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["table.csv"]


def test_a_missing_or_empty_table_has_the_required_columns_and_no_rows(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("\n", encoding="utf-8")
    for name in ("missing.csv", "empty.csv"):
        table = read_table(tmp_path / name, required=("name", "loss"))
        assert (list(table.columns), len(table)) == (["name", "loss"], 0)


def test_a_table_without_a_required_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_table(path, pd.DataFrame({"name": ["a"], "step": [1]}))
    with pytest.raises(StudyError, match=r"table\.csv must have a column loss, has name, step; an"):
        read_table(path, required=("name", "loss"))
