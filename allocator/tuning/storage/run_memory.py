"""Read and write what a study remembers of the runs that made it."""

from __future__ import annotations

import optuna
from pydantic import BaseModel, ConfigDict, TypeAdapter

_ATTRIBUTE = "runs"  # user attribute of Optuna's study


class Run(BaseModel):
    """One execution of the search, or several that were alike.

    Attributes:
        command: The command, as it would be typed again; it holds no password.
        devices: Names of the devices that trained.
    """

    model_config = ConfigDict(frozen=True)

    command: str
    devices: tuple[str, ...]


_RUNS = TypeAdapter(list[Run])


def write_run(study: optuna.Study, run: Run) -> None:
    """Record a run, unless the last one was the same."""
    runs = read_runs(study)
    if runs[-1:] != [run]:
        study.set_user_attr(_ATTRIBUTE, _RUNS.dump_python([*runs, run], mode="json"))


def read_runs(study: optuna.Study) -> list[Run]:
    """Return the runs that made a study, in their order; those of earlier versions are missing."""
    return _RUNS.validate_python(study.user_attrs.get(_ATTRIBUTE, []))
