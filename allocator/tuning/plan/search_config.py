"""Options of the command `search`; those that it shares with other commands are in `run_config`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

from pydantic import Field, field_validator

from allocator.config import Option
from allocator.errors import UnknownNameError
from allocator.tuning.names import STUDY_PRIOR, DecideBy, PriorName, PrunerName, SamplerName
from allocator.tuning.plan.run_config import SpaceConfig


class SearchConfig(SpaceConfig):
    """The options of the command `search`."""

    trials: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "search",
            "total number of trainings in the study, each of an allocation with a seed; the "
            "baseline, pruned trials, the verdict and earlier runs count; auto is 28 on a CPU and "
            "64 for each GPU, six more for each rival and fourteen for each further budget",
            has_auto=True,
        ),
    ] = None
    verdict_seeds: Annotated[
        int,
        Field(ge=0),
        Option(
            "search",
            "number of new seeds with which choice, baseline and rivals are trained once more, to "
            "prove the choice on dev",
        ),
    ] = 3
    rivals: Annotated[
        tuple[str, ...] | None,
        Option(
            "search",
            "what one would train without a search, to be beaten: of a kind (lora, cp, tt, tucker) "
            "the largest uniform rank within the budget, or any rank (lora:8); none for no rivals; "
            "auto is lora and cp where they fit",
            metavar="A,B",
            has_auto=True,
            noun="rival",
        ),
    ] = None
    decide_by: Annotated[
        DecideBy,
        Option(
            "search",
            "what the search optimises: the calibrated loss, or the task's metric as in published "
            "protocols, which is noisier and marks the study",
        ),
    ] = "loss"
    timeout: Annotated[
        int | None,
        Field(ge=1),
        Option("search", "start no new trial after S seconds", metavar="S"),
    ] = None
    sampler: Annotated[
        SamplerName,
        Option("search", "how allocations are suggested, all of them within the budget"),
    ] = "gp"
    # In replays 40 trials cost 27 whole trainings with halving, and 37 without a pruner.
    pruner: Annotated[PrunerName, Option("search", "how weak trials are stopped early")] = "halving"
    # In replays, `gradient` of strength 3 gets within 8 trials to what takes 40 without a prior.
    prior: Annotated[
        str,
        Option(
            "search",
            "prior that proposes the first allocations and favours those near them: none, uniform, "
            "entropy, tenslora_plus, gradient or truncation, the last four from measurements of "
            "the baseline; or study:NAME for the best allocations of another study",
            metavar="PRIOR",
        ),
    ] = "gradient"
    prior_strength: Annotated[
        float,
        Field(gt=0),
        Option(
            "search",
            "power of the prior's density in the gp sampler's acquisition before any trial has "
            "ended; it is divided by one more than the number of allocations seen",
        ),
    ] = 3.0
    start: Annotated[
        tuple[Path, ...],
        Option(
            "search",
            "recipe such as best.yaml whose allocation is tried right after the baseline; may be "
            "repeated",
            metavar="FILE",
        ),
    ] = ()
    storage: Annotated[
        str | None,
        Option(
            "study", "URL of an Optuna storage, in place of a file in the study's folder", "URL"
        ),
    ] = None

    @field_validator("rivals")
    @classmethod
    def _allow_none(cls, rivals: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return () if rivals == ("none",) else rivals

    @field_validator("prior")
    @classmethod
    def _require_known_prior(cls, prior: str) -> str:
        is_study = prior.startswith(STUDY_PRIOR) and prior != STUDY_PRIOR
        if not is_study and prior not in get_args(PriorName):
            raise UnknownNameError("prior", prior, [*get_args(PriorName), f"{STUDY_PRIOR}NAME"])
        return prior
