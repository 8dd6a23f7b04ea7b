"""Search spaces as YAML files: presets of the package, and the user's own files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from allocator.allocation.constructions import Construction, Mode
from allocator.allocation.factorizations import Factorization
from allocator.config import Initialization
from allocator.errors import SpaceError, UnknownNameError
from allocator.files.yaml_files import read_yaml


class Range(BaseModel):
    """The range of a searched parameter: from `low` to `high`, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]
    log: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, got low {self.low} and high {self.high}")
        return self


Parameter = Range | Annotated[float, Field(gt=0)] | Literal["full"]


class SpaceFile(BaseModel):
    """The content of a search-space file; `parameters` has Optuna's parameter names as keys.

    If `construction` or `factorization` is a list, the search chooses among its entries. A
    parameter is a range (searched), a number (fixed) or, for a Tucker rank, `full`. Ranks, lambda
    and the learning rate have default ranges if the file does not name them; learning-rate
    multipliers of single modes, `head_learning_rate` and `dropout` are searched only if it names
    them. `zero_mode` names the mode whose part starts at zero in a CP or a tensor train; by
    default it is that of the output side.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    construction: Construction | tuple[Construction, ...]
    factorization: Factorization | tuple[Factorization, ...]
    targets: tuple[str, ...] = ("query", "key", "value")
    scaling: Annotated[float, Field(gt=0)] = 4.0
    initialization: Initialization = "orthogonal"
    zero_mode: Mode | None = None
    # pydantic copies the default for every instance, so a mutable one is safe.
    parameters: dict[str, Parameter] = {}

    @property
    def constructions(self) -> tuple[Construction, ...]:
        """The constructions to search over; most spaces have one."""
        listed = self.construction
        return listed if isinstance(listed, tuple) else (listed,)

    @property
    def factorizations(self) -> tuple[Factorization, ...]:
        """The factorizations to search over; most spaces have one."""
        listed = self.factorization
        return listed if isinstance(listed, tuple) else (listed,)


def list_preset_names() -> list[str]:
    """List the presets that come with the package."""
    files = resources.files("search_spaces").iterdir()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def read_space(name: str) -> SpaceFile:
    """Read a preset by its name, or a user's file by its path.

    Raises:
        UnknownNameError: If there is no such preset.
        SpaceError: If there is no such file, or it breaks the schema.
    """
    if name.endswith((".yaml", ".yml")):
        return read_yaml(Path(name), SpaceFile, error=SpaceError, what="search space file ")
    if name not in list_preset_names():
        raise UnknownNameError("search space", name, list_preset_names(), ", or a path to a .yaml")
    with resources.as_file(resources.files("search_spaces") / f"{name}.yaml") as path:
        return read_yaml(path, SpaceFile, error=SpaceError)
