"""Runs as folders of TensorBoard's event files, in the study's own folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import FileWriter
from torch.utils.tensorboard.summary import hparams, scalar, text

from allocator.tuning.loggers.logger import LoggedRun, Outcome, ResultTable

# Columns of the page `HParams`, beside the hyperparameters: the last value of each curve.
_COMPARED = ("score", "loss", "calibrated_loss")

RESULT_RUN = "result"
"""Name of the run that holds the final table."""


class TensorboardLogger:
    """A folder for each run, which `tensorboard --logdir` shows.

    Args:
        folder: Folder of the runs; created with the first of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, FileWriter] = {}
        # Not the path: a study's folder may be moved, and its runs with it.
        self.destination, self.address = "tensorboard", str(folder)

    def has_run(self, key: str, name: str) -> bool:
        """Whether the folder of a run is still there."""
        del key
        return (self._folder / name).is_dir()

    def start(self, run: LoggedRun, *, earlier: str | None) -> None:
        """Write hyperparameters into a new folder, or rename the folder of an earlier attempt."""
        if run.key in self._writers:  # tried again by this process
            self._writers.pop(run.key).close()
        if earlier not in (None, run.name):
            (self._folder / str(earlier)).rename(self._folder / run.name)
        writer = self._writers[run.key] = FileWriter(str(self._folder / run.name))
        if earlier is None:
            experiment, session, _ = hparams(dict(run.hyperparameters), dict.fromkeys(_COMPARED, 0))
            writer.add_summary(experiment)
            writer.add_summary(session)
            writer.flush()

    def log(self, key: str, step: int, values: Mapping[str, float]) -> None:
        """Write a point of each curve, and see that it is in the file."""
        for name, value in values.items():
            self._writers[key].add_summary(scalar(name, value), step)
        self._writers[key].flush()

    def end(self, key: str, outcome: Outcome) -> None:
        """Write how the run ended."""
        writer = self._writers.pop(key)
        writer.add_summary(text("ending", outcome))
        writer.add_summary(hparams({}, {})[2])
        writer.close()

    def log_table(self, table: ResultTable) -> None:
        """Write the table as a text, in a run of its own."""
        writer = FileWriter(str(self._folder / RESULT_RUN))
        writer.add_summary(text("result", table.to_markdown()))
        writer.close()

    def close(self) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
