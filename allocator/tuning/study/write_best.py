"""Write the result of a study: the best allocation, its adapter, a table of all trials."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial

from allocator.adapters.saved import load_adapter
from allocator.adapters.spectra import (
    compute_mode_spectra,
    tabulate_spectra,
    tabulate_spectrum_metrics,
)
from allocator.config import Calibration
from allocator.files.adapter_section import AdapterSection
from allocator.files.recipe import Recipe, TrainingSection
from allocator.files.study_folder import (
    ADAPTER_FILE,
    MODES_FILE,
    RECIPE_FILE,
    SPECTRA_FILE,
    TRIALS_FILE,
)
from allocator.files.tables import write_table
from allocator.files.whole_files import write_whole
from allocator.files.yaml_files import write_yaml
from allocator.training.calibration import average_calibrations
from allocator.tuning.evidence.allocations import TriedAllocation
from allocator.tuning.evidence.choice import Selection
from allocator.tuning.space.build_space import make_adapter_spec
from allocator.tuning.storage.trial_memory import (
    read_best_score,
    read_calibrated_loss,
    read_calibration,
    read_loss,
    read_score,
    read_seed,
)
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import StudyVerdict, read_verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenBest:
    """The choice of a study, the verdict on it if there is one, and the recipe that was written."""

    selection: Selection
    verdict: StudyVerdict | None
    recipe: Recipe
    path: Path


def write_best(study: SearchStudy) -> WrittenBest:
    """Choose the best allocation of a study and write its files into the study's folder.

    Raises:
        StudyError: If no trial was completed.
        CheckpointError: If the adapter of the choice is missing or damaged.
    """
    config = study.config
    selection = study.select()
    verdict = read_verdict(study.study, selection.best.allocation.params)
    trial = _choose_training(study, selection.best.allocation)
    # Before anything is written: a damaged adapter leaves earlier results as they are.
    saved = load_adapter(study.adapter_path(trial.number))
    recipe = _make_recipe(
        study, selection, verdict, trial, trains_pooler=saved.description.trains_pooler
    )
    write_whole(study.folder / ADAPTER_FILE, study.adapter_path(trial.number).read_bytes())
    spectra = compute_mode_spectra(saved.adapter)
    write_table(study.folder / SPECTRA_FILE, tabulate_spectra(spectra))
    write_table(study.folder / MODES_FILE, tabulate_spectrum_metrics(spectra))
    write_table(study.folder / TRIALS_FILE, study.study.trials_dataframe())
    # Last, because the recipe says that the adapter lies beside it.
    path = study.folder / RECIPE_FILE
    write_yaml(
        path,
        recipe,
        f"Best allocation of study {config.study}, on {config.task.name}. {ADAPTER_FILE} is its\n"
        f"training with seed {read_seed(trial)} (trial {trial.number}). "
        "Train it again on all of train:\n"
        f"python -m allocator.train --config {shlex.quote(str(path))}",
    )
    return WrittenBest(selection=selection, verdict=verdict, recipe=recipe, path=path)


def _choose_training(study: SearchStudy, allocation: TriedAllocation) -> FrozenTrial:
    """Choose the training of an allocation whose adapter is delivered: the one of middle value.

    The best of several would look better than others to come, and each was scored on other
    examples.
    """
    values = study.objective.sign * np.array([t.values[0] for t in allocation.completed])
    order = np.argsort(values, kind="stable")
    return allocation.completed[int(order[len(order) // 2])]


def _make_recipe(
    study: SearchStudy,
    selection: Selection,
    verdict: StudyVerdict | None,
    trial: FrozenTrial,
    *,
    trains_pooler: bool,
) -> Recipe:
    config = study.config
    allocation = study.space.make_allocation(trial.params)
    training = config.training.model_copy(update={"seed": read_seed(trial)})
    return Recipe(
        budget=config.budget,
        num_parameters=study.space.num_parameters(trial.params),
        model=config.model,
        task=config.task,
        adapter=AdapterSection.from_spec(
            make_adapter_spec(config.space, study.space.find_variant(trial.params).shape),
            allocation.ranks,
        ),
        training=TrainingSection.join(
            allocation,
            training,
            config.precision,
            trains_pooler=trains_pooler,
            # The recipe trains on all of train, which leaves no examples to fit a calibration to.
            calibration=_average_calibration(selection.best.allocation),
        ),
        scores=_summarize_scores(study, selection, verdict, trial),
        study={"name": config.study, "trial": trial.number, "trials": study.num_finished},
        versions=config.versions,
    )


def _average_calibration(allocation: TriedAllocation) -> Calibration | None:
    calibrations = [read_calibration(trial) for trial in allocation.completed]
    found = [calibration for calibration in calibrations if calibration is not None]
    return average_calibrations(found) if found else None


def _summarize_scores(
    study: SearchStudy,
    selection: Selection,
    verdict: StudyVerdict | None,
    trial: FrozenTrial,
) -> dict[str, float | int | str]:
    scores: dict[str, float | int | str] = {
        "scored_on": study.config.select_on,
        "decided_by": study.objective.name,
        "expected": selection.best.expected,
        "seeds": len(selection.best.allocation.completed),
        "score": read_score(trial) or 0.0,
        "loss": read_loss(trial),
        "calibrated_loss": read_calibrated_loss(trial),
        "best_boundary_score": read_best_score(trial),
    }
    if selection.baseline is not None:
        scores["baseline_expected"] = selection.baseline.expected
    if verdict is not None:
        scores["verdict"] = verdict.loss.words
        scores["verdict_seeds"] = len(verdict.seeds)
        for name, difference in (("loss", verdict.loss), ("score", verdict.metric)):
            scores[f"dev_{name}"] = difference.choice
            scores[f"dev_{name}_baseline"] = difference.baseline
            scores[f"dev_{name}_difference"] = difference.mean
            scores[f"dev_{name}_difference_low"] = difference.low
            scores[f"dev_{name}_difference_high"] = difference.high
            scores[f"dev_{name}_detectable"] = difference.detectable
    return scores
