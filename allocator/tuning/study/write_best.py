"""Write the result of a study: the best allocation, its adapter, a table of all trials."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from allocator.adapters.saved import load_adapter
from allocator.adapters.spectra import (
    compute_mode_spectra,
    tabulate_spectra,
    tabulate_spectrum_metrics,
)
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
from allocator.tuning.space.build_space import make_adapter_spec
from allocator.tuning.storage.trial_memory import read_best_score, read_loss
from allocator.tuning.study.confirmation import Confirmation, read_confirmation
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.surrogate.expected_scores import Selection, select_best


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenBest:
    """The choice of a study, its confirmation with other seeds, and the recipe that was written."""

    selection: Selection
    confirmation: Confirmation | None
    recipe: Recipe
    path: Path


def write_best(study: SearchStudy) -> WrittenBest:
    """Choose the best trial of a study and write its files into the study's folder.

    If the study was confirmed with other seeds, their scores decide.

    Raises:
        StudyError: If no trial was completed.
        CheckpointError: If the chosen trial's adapter is missing or damaged.
    """
    config = study.config
    confirmation = read_confirmation(study.folder)
    selection = select_best(
        study.space,
        study.trials,
        final_step=study.final_step,
        confirmed=None if confirmation is None else confirmation.best,
    )
    number = selection.best.trial.number
    # Before anything is written: a damaged adapter leaves earlier results as they are.
    saved = load_adapter(study.adapter_path(number))
    recipe = _make_recipe(
        study, selection, confirmation, trains_pooler=saved.description.trains_pooler
    )
    write_whole(study.folder / ADAPTER_FILE, study.adapter_path(number).read_bytes())
    spectra = compute_mode_spectra(saved.adapter)
    write_table(study.folder / SPECTRA_FILE, tabulate_spectra(spectra))
    write_table(study.folder / MODES_FILE, tabulate_spectrum_metrics(spectra))
    write_table(study.folder / TRIALS_FILE, study.study.trials_dataframe())
    # Last, because the recipe says that the adapter lies beside it.
    path = study.folder / RECIPE_FILE
    write_yaml(
        path,
        recipe,
        f"Best allocation of study {config.study}, trial {number}, on {config.task.name}.\n"
        f"Its trained adapter is {ADAPTER_FILE}. Train it again on all of train:\n"
        f"python -m allocator.train --config {shlex.quote(str(path))}",
    )
    return WrittenBest(selection=selection, confirmation=confirmation, recipe=recipe, path=path)


def _make_recipe(
    study: SearchStudy,
    selection: Selection,
    confirmation: Confirmation | None,
    *,
    trains_pooler: bool,
) -> Recipe:
    config, best = study.config, selection.best
    allocation = study.space.make_allocation(best.trial.params)
    scores: dict[str, float | int | str] = {
        "scored_on": config.select_on,
        "score": best.trial.values[0],
        "posterior_mean": best.mean,
        "loss": read_loss(best.trial),
        "best_boundary_score": read_best_score(best.trial),
    }
    if selection.baseline is not None:
        scores["baseline_score"] = selection.baseline.trial.values[0]
        scores["baseline_posterior_mean"] = selection.baseline.mean
    if confirmation is not None:
        scores |= confirmation.summary()
    return Recipe(
        budget=config.budget,
        num_parameters=study.space.num_parameters(best.trial.params),
        model=config.model,
        task=config.task,
        adapter=AdapterSection.from_spec(
            make_adapter_spec(config.space, study.space.find_variant(best.trial.params).shape),
            allocation.ranks,
        ),
        training=TrainingSection.join(
            allocation, config.training, config.precision, trains_pooler=trains_pooler
        ),
        scores=scores,
        study={"name": config.study, "trial": best.trial.number, "trials": study.num_finished},
        versions=config.versions,
    )
