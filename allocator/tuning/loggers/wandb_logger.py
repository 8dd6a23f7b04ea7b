"""Runs of Weights & Biases, one group for each study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import wandb

from allocator.errors import LoggerError
from allocator.hub import first_line
from allocator.tuning.loggers.logger import LoggedRun, Outcome, ResultTable

_PROJECT = "allocator"  # unless WANDB_PROJECT or the settings of wandb name another
_OFFLINE = ("offline", "dryrun")  # modes of wandb; the second is an old name of the first
_PATIENCE = 15.0  # seconds that a server may take to accept the first run


class WandbLogger:
    """A run for each training, and one for the study, which gets the final table.

    Args:
        study: Name of the study, which becomes the group.
        identity: What the ids of the study's runs start with, so that a resumed study goes on with
            its runs, and another study of the same name does not.

    Raises:
        LoggerError: If nobody is logged in, or the server does not answer.
    """

    def __init__(self, study: str, identity: str) -> None:
        self._study, self._identity = study, identity
        # What the environment and the settings files of wandb say; options would override them.
        settings = wandb.setup().settings
        if settings.mode == "disabled":
            raise LoggerError(
                "--log wandb: WANDB_MODE=disabled logs nothing; leave one of them out"
            )
        self._project = settings.project or _PROJECT
        self._runs: dict[str, wandb.Run] = {}
        try:
            if settings.mode not in _OFFLINE:
                wandb.login()  # asks for a key if somebody is there to answer
            self._study_run = self._init("study", study, "study", {})
        except (wandb.errors.Error, ValueError) as problem:
            raise LoggerError(
                f"--log wandb: {first_line(problem).rstrip('.')}; with WANDB_MODE=offline the runs "
                "stay in a folder, for `wandb sync`"
            ) from None
        # By server, not by mode: what was logged offline is there once it was uploaded.
        owner = f"{settings.entity}/" if settings.entity else ""
        self.destination = f"{settings.base_url} {owner}{self._project}"
        how = "offline, " if settings.mode in _OFFLINE else ""
        self.address = f"{how}project {owner}{self._project}, group {study}"

    def has_run(self, key: str, name: str) -> bool:
        """Return True: a run that was logged offline may not be on the server yet."""
        del key, name
        return True

    def start(self, run: LoggedRun, *, earlier: str | None) -> None:
        """Start a run, or go on with the one of the same id."""
        del earlier
        if run.key in self._runs:  # tried again by this process
            self._runs[run.key].name = run.name
        else:
            self._runs[run.key] = self._init(run.key, run.name, run.purpose, run.hyperparameters)

    def log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        """Log the values at once: by default wandb waits for the next step."""
        self._runs[key].log(dict(values), step=step, commit=True)

    def end(self, key: str, outcome: Outcome) -> None:
        """Finish a run; one that was given up has failed."""
        run = self._runs.pop(key)
        run.summary["ending"] = outcome
        run.finish(exit_code=int(outcome == "given up"))

    def log_table(self, table: ResultTable) -> None:
        """Log the table to the run of the study."""
        rows: list[Iterable[object]] = [list(row) for row in table.rows]
        shown = wandb.Table(columns=list(table.columns), data=rows, allow_mixed_types=True)
        self._study_run.log({"result": shown})

    def close(self) -> None:
        """Finish all runs, those that have not ended as failed."""
        for run in self._runs.values():
            run.finish(exit_code=1)
        self._study_run.finish()

    def _init(
        self, key: str, name: str, purpose: str, hyperparameters: Mapping[str, object]
    ) -> wandb.Run:
        patience = wandb.setup().settings.init_timeout
        is_default = patience == wandb.Settings.model_fields["init_timeout"].default
        # Offline, a run that goes on is a further folder of the same id, which `sync` joins; wandb
        # warns of `resume` then.
        resume: Literal["allow"] | None = (
            None if wandb.setup().settings.mode in _OFFLINE else "allow"
        )
        return wandb.init(
            project=self._project,
            group=self._study,
            id=f"{self._identity}-{key}",
            name=name,
            job_type=purpose,
            config=dict(hyperparameters),
            resume=resume,
            settings=_make_settings(_PATIENCE if is_default else patience),
        )


def _make_settings(patience: float) -> wandb.Settings:
    """Make the settings of one run."""
    settings = wandb.Settings(
        reinit="create_new",  # many runs at once
        init_timeout=patience,
        silent=True,  # otherwise every run prints its address
        console="off",
        x_disable_stats=True,  # of the machine, the same for all runs
    )
    interval = "x_transaction_log_flush_interval"  # older versions lack it
    if interval in wandb.Settings.model_fields:
        # A process that is killed loses what it logged in this time; by default that is 15 s.
        settings.update_from_dict({interval: 1.0})
    return settings
