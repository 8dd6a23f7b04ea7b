"""Logging beside a search: at most once, never in its way, and never at its cost."""

from __future__ import annotations

import time
from pathlib import Path

from allocator.tuning.loggers.background_logger import BackgroundLogger
from allocator.tuning.loggers.ledger import Ledger
from allocator.tuning.loggers.logger import LoggedRun, ResultTable
from tests.tuning.loggers.memory_logger import MemoryLogger, Server

RUN = LoggedRun(key="0", name="00000-baseline", purpose="baseline", hyperparameters={"rank": 4})
TABLE = ResultTable(columns=("mean",), rows=((0.5,),))


def open_logger(
    server: Server, folder: Path, warnings: list[str] | None = None, patience: float = 60.0
) -> BackgroundLogger:
    ledger = Ledger(folder / "memory.json")
    shown: list[str] = [] if warnings is None else warnings
    logger = MemoryLogger(server)
    return BackgroundLogger("memory", logger, ledger, shown.append, patience=patience)


def log_everything(logger: BackgroundLogger, steps: int = 2) -> None:
    logger.start(RUN)
    for step in range(1, steps + 1):
        logger.log(RUN.key, step, {"loss": 1 / step})
    logger.end(RUN.key, "completed")
    logger.log_table(TABLE)


def test_what_was_logged_is_not_logged_again(tmp_path: Path) -> None:
    server = Server()
    for _ in range(3):
        logger = open_logger(server, tmp_path)
        log_everything(logger)
        logger.close()
    stored = server.runs[RUN.key]
    assert stored.points == [(1, {"loss": 1.0}), (2, {"loss": 0.5})]
    assert stored.outcome == "completed"
    assert server.tables == [TABLE]


def test_another_table_is_logged_after_the_first(tmp_path: Path) -> None:
    server, other = Server(), ResultTable(columns=("mean",), rows=((0.25,),))
    for table in (TABLE, TABLE, other):
        logger = open_logger(server, tmp_path)
        logger.log_table(table)
        logger.close()
    assert server.tables == [TABLE, other]


def test_after_any_failure_one_line_warns_and_the_next_run_logs_what_is_missing(
    tmp_path: Path,
) -> None:
    for answered in range(5):
        server, warnings = Server(left=answered), list[str]()
        for _ in range(2):
            logger = open_logger(server, tmp_path / str(answered), warnings)
            log_everything(logger)
            logger.close()
            server.left = 100
        assert warnings == [
            "memory failed (ConnectionError: connection refused); the run goes on without it, and "
            "the same command again logs what is missing"
        ]
        stored = server.runs[RUN.key]
        assert [step for step, _ in stored.points] == [1, 2]
        assert stored.outcome == "completed"
        assert server.tables == [TABLE]


def test_a_run_that_is_gone_from_its_destination_is_logged_anew(tmp_path: Path) -> None:
    for server in (Server(), Server()):
        logger = open_logger(server, tmp_path)
        log_everything(logger)
        logger.close()
        assert len(server.runs[RUN.key].points) == 2


def test_a_server_that_does_not_answer_holds_nothing_up(tmp_path: Path) -> None:
    server, warnings = Server(), list[str]()
    server.is_answering.clear()
    logger = open_logger(server, tmp_path, warnings, patience=0.2)
    begin = time.monotonic()
    log_everything(logger, steps=1_000)
    logger.close()
    assert time.monotonic() - begin < 5
    assert warnings == [
        "memory does not answer, and not all was logged; run the same command again to log what is "
        "missing"
    ]
    server.is_answering.set()


def test_a_damaged_ledger_starts_a_new_identity(tmp_path: Path) -> None:
    server = Server()
    logger = open_logger(server, tmp_path)
    log_everything(logger)
    logger.close()
    path = tmp_path / "memory.json"
    identity = Ledger(path).identity
    assert Ledger(path).identity == identity
    path.write_bytes(path.read_bytes()[:40])
    damaged = Ledger(path)
    damaged.open("memory")
    assert damaged.identity != identity
    assert damaged.find_name(RUN.key) is None
