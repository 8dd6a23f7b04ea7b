"""The names and places of a study's files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from allocator.errors import UnknownNameError

STUDIES_FOLDER = Path("studies")
"""The folder that holds a folder for each study, where none is named."""

# In a study's folder.
CONFIG_FILE = "config.yaml"
RECIPE_FILE = "best.yaml"
ADAPTER_FILE = "adapter.safetensors"
DATABASE_FILE = "study.db"
LOCK_FILE = ".lock"
TRIALS_FILE = "trials.csv"
SPECTRA_FILE = "spectra.csv"
MODES_FILE = "modes.csv"
REPORT_FILE = "report.html"
TRIALS_FOLDER = "trials"
ARTIFACTS_FOLDER = "artifacts"
BASELINE_FOLDER = "baseline"
DELIVERED_FOLDER = "delivered"
FIGURES_FOLDER = "figures"
TRAINED_FOLDER = "trained"
TENSORBOARD_FOLDER = "tensorboard"
LOGGED_FOLDER = "logged"

# In the folder of a recipe that was trained again, and of a sweep.
RESULT_FILE = "result.yaml"
SUMMARY_FILE = "summary.csv"

TableName = Literal["gradients", "spectra", "modes", "truncation", "training"]
"""Tables of named trainings, in the folder of a baseline, a sweep or a delivered adapter."""

UNIFORM = "uniform"
"""Name of the uniform-rank baseline among the trainings of its folder."""


def table_path(folder: Path, table: TableName) -> Path:
    """Return the path of a table of named trainings."""
    return folder / f"{table}.csv"


def named_adapter_path(folder: Path, name: str, seed: int) -> Path:
    """Return the path of the adapter of a named training."""
    return folder / f"{name}-seed-{seed}.safetensors"


def name_for_budget(file: str, budget: int) -> str:
    """Name the file of a smaller budget after that of the study's own: `best-10000.yaml`."""
    stem, dot, ending = file.partition(".")
    return f"{stem}-{budget}{dot}{ending}"


def list_smaller_budgets(folder: Path) -> list[int]:
    """List the smaller budgets for which a study's folder holds a choice, in ascending order."""
    stem, _, ending = RECIPE_FILE.partition(".")
    found = (path.stem.removeprefix(f"{stem}-") for path in folder.glob(f"{stem}-*.{ending}"))
    return sorted(int(text) for text in found if text.isdecimal())


def trial_adapter_path(folder: Path, number: int) -> Path:
    """Return the path of the adapter of a study's trial."""
    # Leading zeros, so that names sort as numbers do.
    return folder / TRIALS_FOLDER / f"{number:05d}.safetensors"


def logged_path(folder: Path, logger: str) -> Path:
    """Return the path of the file that says what of a study a logger has logged."""
    return folder / LOGGED_FOLDER / f"{logger}.json"


def has_trial_adapters(folder: Path) -> bool:
    """Whether a study's folder holds adapters of trials."""
    return any((folder / TRIALS_FOLDER).glob("*.safetensors"))


def baseline_folder(folder: Path, rank: int | None = None, *, is_capped: bool = True) -> Path:
    """Return the folder of a baseline; a search uses only the baseline without a given rank.

    Args:
        folder: The study's folder.
        rank: The rank of every mode that the user gave; None for the largest within the budget.
        is_capped: Whether ranks are capped at what their mode can use.
    """
    if rank is None:
        return folder / BASELINE_FOLDER
    return folder / (f"{BASELINE_FOLDER}-rank-{rank}" + ("" if is_capped else "-uncapped"))


def list_baseline_configs(folder: Path) -> list[Path]:
    """List the configuration files of a study's baselines, by the names of their folders."""
    return sorted(folder.glob(f"{BASELINE_FOLDER}*/{CONFIG_FILE}"))


def require_study(folder: Path) -> None:
    """Refuse a study that does not exist.

    Raises:
        UnknownNameError: The message lists the studies that exist.
    """
    if not folder.is_dir():
        known = [path.parent.name for path in folder.parent.glob(f"*/{CONFIG_FILE}")]
        raise UnknownNameError("study", folder.name, known, f" in {folder.parent}")
