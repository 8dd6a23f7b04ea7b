"""What two processes log of one study, the second where the first was ended."""

from __future__ import annotations

from collections.abc import Callable

from allocator.tuning.loggers.logger import LoggedRun, Logger, ResultTable

ENDED = LoggedRun(
    key="0",
    name="00000-baseline-seed-0",
    purpose="baseline",
    hyperparameters={"construction": "att", "rank_input": 4, "learning_rate": 1e-3},
)
BROKEN_OFF = LoggedRun(
    key="1", name="00001-race-seed-1", purpose="race", hyperparameters={"rank_input": 2}
)
TRIED_AGAIN = LoggedRun(
    key="1", name="00002-race-seed-1", purpose="race", hyperparameters={"rank_input": 2}
)
TABLE = ResultTable(
    columns=("allocation", "mean", "difference"),
    rows=(("choice", 0.25, None), ("baseline", 0.5, -0.25)),
)
CURVES = {
    ENDED.name: [(1, 0.75), (2, 0.5)],
    TRIED_AGAIN.name: [(1, 0.625), (2, 0.375)],
}


def log_in_two_processes(make: Callable[[], Logger]) -> None:
    """Log two trainings at once, the second of which breaks off and is tried again."""
    first = make()
    for run in (ENDED, BROKEN_OFF):
        first.start(run, earlier=None)
    first.log("0", 1, {"loss": 0.75, "score": 0.0})
    first.log("1", 1, {"loss": 0.625, "score": 0.0})
    first.log("0", 2, {"loss": 0.5, "score": 0.5})
    first.end("0", "completed")
    first.close()
    second = make()
    assert second.has_run("0", ENDED.name)
    assert second.destination == first.destination
    second.start(TRIED_AGAIN, earlier=BROKEN_OFF.name)
    second.log("1", 2, {"loss": 0.375, "score": 0.25})
    second.end("1", "given up")
    second.log_table(TABLE)
    second.close()
