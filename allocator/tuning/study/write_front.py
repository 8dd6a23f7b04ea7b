"""Write the result of a study: the best allocations, their adapters, a table of all trials."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from allocator.adapters.saved import load_adapter
from allocator.adapters.spectra import (
    compute_mode_spectra,
    tabulate_spectra,
    tabulate_spectrum_metrics,
)
from allocator.errors import StudyError
from allocator.files.adapter_section import AdapterSection
from allocator.files.recipe import Recipe, TrainingSection
from allocator.files.study_folder import (
    ADAPTER_FILE,
    MODES_FILE,
    RECIPE_FILE,
    SPECTRA_FILE,
    TRIALS_FILE,
    name_for_budget,
)
from allocator.files.tables import write_table
from allocator.files.whole_files import write_whole
from allocator.files.yaml_files import write_yaml
from allocator.tuning.evidence.choice import Selection, find_smallest
from allocator.tuning.storage.trial_memory import (
    read_calibrated_loss,
    read_loss,
    read_score,
)
from allocator.tuning.study.delivered import Delivered, average_calibration, find_delivered
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import StudyVerdict, read_verdicts


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenBest:
    """The choice within a budget, the verdict on it if there is one, and the recipe written."""

    selection: Selection
    verdict: StudyVerdict | None
    recipe: Recipe
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenFront:
    """The choices of a study for all its budgets, as they were written.

    Attributes:
        choices: One for each budget, the smallest budget first.
        smallest: The smallest that is not worse by a standard error than the last.
    """

    choices: tuple[WrittenBest, ...]
    smallest: WrittenBest

    @property
    def best(self) -> WrittenBest:
        """The choice of the largest budget."""
        return self.choices[-1]


def write_front(study: SearchStudy) -> WrittenFront:
    """Choose the best allocations of a study and write its files into the study's folder.

    Raises:
        StudyError: If no allocation was trained without a collapse.
        CheckpointError: If the adapter of a choice is missing or damaged.
    """
    front = study.select_front()
    smallest = _find_smallest(study, front)
    delivered = [find_delivered(study, selection.best.allocation) for selection in front]
    # Before anything is written: a damaged adapter leaves earlier results as they are.
    saved = [load_adapter(adapter.path) for adapter in delivered]
    spectra = compute_mode_spectra(saved[-1].adapter)
    write_table(study.folder / SPECTRA_FILE, tabulate_spectra(spectra))
    write_table(study.folder / MODES_FILE, tabulate_spectrum_metrics(spectra))
    write_table(study.folder / TRIALS_FILE, study.study.trials_dataframe())
    verdicts = read_verdicts(study.study, front)
    written = tuple(
        _write_choice(
            study, selection, verdict, adapter, trains_pooler=file.description.trains_pooler
        )
        for selection, verdict, adapter, file in zip(front, verdicts, delivered, saved, strict=True)
    )
    return WrittenFront(choices=written, smallest=written[front.index(smallest)])


def _find_smallest(study: SearchStudy, front: Sequence[Selection]) -> Selection:
    if len(front) == 1:
        return front[0]
    try:
        return find_smallest(study.space, study.expect(counts_verdict=True), front)
    except StudyError:  # all that were sound in the search collapsed in the verdict
        return front[-1]


def _write_choice(
    study: SearchStudy,
    selection: Selection,
    verdict: StudyVerdict | None,
    delivered: Delivered,
    *,
    trains_pooler: bool,
) -> WrittenBest:
    config, budget = study.config, selection.budget
    recipe = _make_recipe(study, selection, verdict, delivered, trains_pooler=trains_pooler)
    names = [ADAPTER_FILE, RECIPE_FILE]
    if budget != config.budget:
        names = [name_for_budget(name, budget) for name in names]
    adapter, path = (study.folder / name for name in names)
    write_whole(adapter, delivered.path.read_bytes())
    within = f" within {budget:,} parameters" if config.smaller_budgets else ""
    # Last, because the recipe says that the adapter lies beside it.
    write_yaml(
        path,
        recipe,
        f"Best allocation of study {config.study}{within}, on {config.task.name}.\n"
        f"{adapter.name}: {delivered.training}.\n"
        "Train it again on all of train:\n"
        f"python -m allocator.train --config {shlex.quote(str(path))}",
    )
    return WrittenBest(selection=selection, verdict=verdict, recipe=recipe, path=path)


def _make_recipe(
    study: SearchStudy,
    selection: Selection,
    verdict: StudyVerdict | None,
    delivered: Delivered,
    *,
    trains_pooler: bool,
) -> Recipe:
    config, chosen = study.config, selection.best.allocation
    allocation = study.space.make_allocation(chosen.params)
    training = config.training.model_copy(update={"seed": delivered.seed})
    return Recipe(
        budget=selection.budget,
        num_parameters=study.space.num_parameters(chosen.params),
        model=config.model,
        task=config.task,
        adapter=AdapterSection.from_spec(
            study.space.find_variant(chosen.params).spec, allocation.ranks
        ),
        training=TrainingSection.join(
            allocation,
            training,
            config.precision,
            trains_pooler=trains_pooler,
            # The recipe trains on all of train, which leaves no examples to fit a calibration to.
            calibration=average_calibration(chosen),
            decision_threshold=verdict.threshold if verdict is not None else 0.0,
        ),
        scores=_summarize_scores(study, selection, verdict),
        study={
            "name": config.study,
            "trial": chosen.trials[0].number,
            "trials": study.num_finished,
            "adapter": delivered.training,
        },
        versions=config.versions,
    )


def _summarize_scores(
    study: SearchStudy,
    selection: Selection,
    verdict: StudyVerdict | None,
) -> dict[str, float | int | str]:
    trials = selection.best.allocation.completed
    scores: dict[str, float | int | str] = {
        "scored_on": study.config.select_on,
        "decided_by": study.objective.name,
        "expected": selection.best.expected,
        # Means over the trainings that made the choice.
        "seeds": len(trials),
        "score": fmean(read_score(trial) for trial in trials),
        "loss": fmean(map(read_loss, trials)),
        "calibrated_loss": fmean(map(read_calibrated_loss, trials)),
    }
    if selection.baseline is not None:
        scores["baseline_expected"] = selection.baseline.expected
    for name, versus in verdict.versus.items() if verdict is not None else ():
        scores[f"verdict_{name}"] = versus.find_deciding(study.config.decide_by).words
        for kind, difference in (("loss", versus.loss), ("score", versus.metric)):
            scores[f"dev_{kind}"] = difference.choice
            scores[f"dev_{kind}_{name}"] = difference.opponent
            scores[f"dev_{kind}_difference_{name}"] = difference.mean
            scores[f"dev_{kind}_difference_{name}_low"] = difference.low
            scores[f"dev_{kind}_difference_{name}_high"] = difference.high
            scores[f"dev_{kind}_detectable_{name}"] = difference.detectable
    if verdict is not None:
        scores["verdict_seeds"] = len(verdict.seeds)
    return scores
