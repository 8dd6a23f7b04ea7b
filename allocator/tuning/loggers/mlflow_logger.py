"""Runs of MLflow, nested in one run for each study."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.environment_variables import MLFLOW_EXPERIMENT_ID, MLFLOW_EXPERIMENT_NAME
from mlflow.exceptions import MlflowException

from allocator.errors import LoggerError
from allocator.hub import first_line
from allocator.tuning.loggers.logger import LoggedRun, Outcome, ResultTable

_EXPERIMENT = "allocator"  # unless MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID names another
_PATIENCE = 10.0  # seconds that a server may take to answer at first
_IDENTITY, _KEY = "allocator.study", "allocator.run"  # tags by which runs are found again
_STUDY_KEY = "study"

Answer = TypeVar("Answer")


class MlflowLogger:
    """A run for each training, within a run for the study, which gets the final table.

    Args:
        study: Name of the study, which becomes that of its run.
        identity: What tells the study from others of the same name.

    Raises:
        LoggerError: If the server does not answer, or refuses.
    """

    def __init__(self, study: str, identity: str) -> None:
        # It reports on each table of a new database.
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._study, self._identity = study, identity
        uri = _hide_password(mlflow.get_tracking_uri())
        try:
            self._client = MlflowClient()
            # A request that is refused is repeated for minutes.
            experiment = _answer_within(_PATIENCE, lambda: _find_experiment(self._client))
            if experiment is None:
                raise LoggerError(
                    f"--log mlflow: no answer from {uri} in {_PATIENCE:g} s; start the server, or "
                    "set MLFLOW_TRACKING_URI"
                )
            self._experiment, name = experiment
            self._ids = {
                run.data.tags[_KEY]: run.info.run_id for run in self._list_runs() if run.data.tags
            }
        except LoggerError:
            raise
        except Exception as problem:  # noqa: BLE001  # also of drivers, which MLflow passes on
            reason = _hide_password(first_line(problem))
            raise LoggerError(f"--log mlflow: {uri}: {reason}; see MLFLOW_TRACKING_URI") from None
        self._open: set[str] = set()
        self.destination = self.address = f"{uri}, experiment {name}"

    def has_run(self, key: str, name: str) -> bool:
        """Whether the study has the run in the experiment, and it was not deleted."""
        del name
        return key in self._ids

    def start(self, run: LoggedRun, *, earlier: str | None) -> None:
        """Start a run, or go on with the one of the same key."""
        del earlier
        if _STUDY_KEY not in self._ids:
            self._create(_STUDY_KEY, self._study, {})
        if run.key in self._ids:
            self._client.update_run(self._ids[run.key], status="RUNNING", name=run.name)
        else:
            self._create(
                run.key,
                run.name,
                {"mlflow.parentRunId": self._ids[_STUDY_KEY], "purpose": run.purpose},
            )
        # Also if the run goes on: it may have been created in the last moment of a process.
        params = [Param(name, str(value)) for name, value in run.hyperparameters.items()]
        self._client.log_batch(self._ids[run.key], params=params)
        self._open.add(run.key)

    def log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        """Log the values in one request."""
        now = round(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._ids[key], metrics=metrics)

    def end(self, key: str, outcome: Outcome) -> None:
        """End a run; one that was given up has failed."""
        self._client.set_tag(self._ids[key], "ending", outcome)
        failed = outcome == "given up"
        self._client.set_terminated(self._ids[key], "FAILED" if failed else "FINISHED")
        self._open.discard(key)

    def log_table(self, table: ResultTable) -> None:
        """Log the table as artifacts of the study's run."""
        if _STUDY_KEY not in self._ids:
            self._create(_STUDY_KEY, self._study, {})
        for text, file in ((table.to_csv(), "result.csv"), (table.to_markdown(), "result.md")):
            self._client.log_text(self._ids[_STUDY_KEY], text, file)

    def close(self) -> None:
        """End the study's run, and mark the runs that have not ended as killed."""
        for key in self._open:
            self._client.set_terminated(self._ids[key], "KILLED")
        if _STUDY_KEY in self._ids:
            status = "KILLED" if self._open else "FINISHED"
            self._client.set_terminated(self._ids[_STUDY_KEY], status)

    def _create(self, key: str, name: str, tags: Mapping[str, str]) -> None:
        own = {_IDENTITY: self._identity, _KEY: key}
        run = self._client.create_run(self._experiment, tags={**own, **tags}, run_name=name)
        self._ids[key] = run.info.run_id

    def _list_runs(self) -> Iterator[Run]:
        """List the runs that the study has already."""
        condition, page = f"tags.`{_IDENTITY}` = '{self._identity}'", None
        while True:
            found = self._client.search_runs([self._experiment], condition, page_token=page)
            yield from found
            if not (page := found.token):
                return


def _find_experiment(client: MlflowClient) -> tuple[str, str]:
    """Return id and name of the experiment that the environment names, or of the default."""
    if (given := MLFLOW_EXPERIMENT_ID.get()) is not None:
        found = client.get_experiment(given)
        return found.experiment_id, found.name
    name = MLFLOW_EXPERIMENT_NAME.get() or _EXPERIMENT
    known = client.get_experiment_by_name(name)
    if known is None:
        return client.create_experiment(name), name
    if known.lifecycle_stage != "active":
        raise MlflowException(f"experiment {name!r} was deleted: set MLFLOW_EXPERIMENT_NAME")
    return known.experiment_id, name


def _answer_within(patience: float, ask: Callable[[], Answer]) -> Answer | None:
    """Return what `ask` returns, raise what it raises, or return None if that takes too long."""
    answers: list[Answer] = []
    problems: list[Exception] = []

    def work() -> None:
        try:
            answers.append(ask())
        except Exception as problem:  # noqa: BLE001  # it is raised where it was asked
            problems.append(problem)

    # A daemon, so that a server that does not answer does not keep the process alive.
    asking = threading.Thread(target=work, daemon=True)
    asking.start()
    asking.join(patience)
    for problem in problems:
        raise problem
    return answers[0] if answers else None


def _hide_password(text: str) -> str:
    """Remove user, password and query from every URL in a text."""
    # A password may hold a slash or an @: up to the last @ of the word, nothing is shown.
    without_user = re.sub(r"://\S*@", "://", text)
    return re.sub(r"(://[^\s?]*)\?\S*", r"\1", without_user)
