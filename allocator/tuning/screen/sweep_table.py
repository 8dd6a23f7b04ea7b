"""Table of a sweep's summary, for the terminal."""

from __future__ import annotations

import math

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from allocator.tuning.space.published_sweep import BASELINE


def print_sweep(console: Console, summary: pd.DataFrame, metric: str) -> None:
    """Print the summary of a sweep as a table, a section for each phase."""
    title = f"{metric}, mean over seeds ± its standard error; calibrated loss"
    # Without edges and with little padding, the widest rows fit on 80 columns.
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False
    )
    table.add_column("", no_wrap=True)
    for column in ("parameters", "score", "to the baseline", "loss", "collapsed"):
        table.add_column(column, justify="right", no_wrap=True)
    for _, rows in summary.groupby("phase", sort=False):
        for row in rows.to_dict("records"):
            difference = _format_with_error(f"{row['difference']:+.4f}", row["difference_error"])
            table.add_row(
                row["name"],
                f"{row['parameters']:,}",
                _format_with_error(f"{row['mean']:.4f}", row["standard_error"]),
                "" if row["name"] == BASELINE else difference,
                f"{row['calibrated_loss']:.4f}",
                f"{row['collapsed']}/{row['seeds']}",
            )
        table.add_section()
    console.print(table, highlight=False)


def _format_with_error(value: str, error: float) -> str:
    """Add the standard error to a value, unless it is NaN, as for a single seed."""
    return value if math.isnan(error) else f"{value} ± {error:.4f}"
