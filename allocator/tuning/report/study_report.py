"""The report on a study: `report.html`, the figures' files, and the page on optuna-dashboard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from allocator.files.study_folder import ARTIFACTS_FOLDER, FIGURES_FOLDER, REPORT_FILE
from allocator.files.whole_files import write_whole
from allocator.tuning.evidence.marginal_effects import MarginalEffect
from allocator.tuning.figures.study_figures import make_study_figures
from allocator.tuning.rendering.figure_files import Warn, save_figures
from allocator.tuning.report.answer_sections import (
    make_answer_section,
    make_reason_section,
    make_size_section,
    make_sureness_section,
)
from allocator.tuning.report.dashboard_page import write_dashboard_page
from allocator.tuning.report.html_report import write_html_report
from allocator.tuning.report.record_sections import (
    make_limits_section,
    make_ranks_section,
    make_setting_section,
    make_trainings_section,
    make_use_section,
)
from allocator.tuning.report.sections import Section, escape_markdown, write_markdown
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.write_front import WrittenFront


def write_report(
    study: SearchStudy,
    front: WrittenFront,
    effects: Sequence[MarginalEffect],
    commands: Sequence[str],
    *,
    warn: Warn,
) -> Iterator[Path | None]:
    """Write the report on a study, its page on optuna-dashboard and its figures, replacing all.

    Args:
        study: The study.
        front: Its choices, as they were written.
        effects: What every rank and rate does.
        commands: Commands that go on with the result.
        warn: Called with the reason if something could not be written.

    Yields:
        `report.html`, and the folder of the figures' files.
    """
    selections = [choice.selection for choice in front.choices]
    figures = make_study_figures(study, selections, effects)
    sections = make_sections(study, front, effects, commands)
    path = study.folder / REPORT_FILE
    title = f"What {study.config.budget:,} parameters buy on {study.config.task.name}"
    report = write_html_report(title, _make_subtitle(study), sections, figures)
    write_whole(path, report.encode())
    # Now, so that it is shown even if a storage or a browser fails.
    yield path
    note = "\n\n".join([f"# {escape_markdown(title)}", *map(write_markdown, sections[:4])])
    files = [path, *(choice.path for choice in front.choices)]
    if not write_dashboard_page(study.study, note, figures, files, study.folder / ARTIFACTS_FOLDER):
        warn("the study's note on optuna-dashboard is your own, and was left as it is")
    yield save_figures(study.folder / FIGURES_FOLDER, figures, warn=warn)


def make_sections(
    study: SearchStudy,
    front: WrittenFront,
    effects: Sequence[MarginalEffect],
    commands: Sequence[str],
) -> list[Section]:
    """Make the sections of a report, those that answer first; arguments as for `write_report`."""
    return [
        make_answer_section(study, front),
        make_size_section(study, front),
        make_reason_section(study, front, effects),
        make_sureness_section(study, front),
        make_trainings_section(study),
        make_ranks_section(),
        make_setting_section(study),
        make_use_section(front, commands),
        make_limits_section(study, front),
    ]


def _make_subtitle(study: SearchStudy) -> str:
    model = f"{study.config.model.name}, study {study.config.study}"
    return f"{model}, {study.num_finished} trainings, decided by the {study.objective.name}"
