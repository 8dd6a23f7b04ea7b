"""What a search returns in Python."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
import pandas as pd
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from allocator.files.recipe import Recipe
from allocator.files.study_folder import REPORT_FILE
from allocator.trained.trained_adapter import TrainedAdapter, load_trained
from allocator.tuning.loggers.result_tables import make_study_table
from allocator.tuning.report.answer_sections import make_answer_section
from allocator.tuning.report.sections import write_markdown
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import StudyVerdict
from allocator.tuning.study.write_front import WrittenFront


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The result of a search, of which everything also lies in the study's folder.

    Attributes:
        folder: The study's folder.
        front: The choices of all budgets, the smallest budget first.
        study: The Optuna study.
        table: The choices and what they are compared with, as `make_study_table` describes it.
        summary: The answer in words, as markdown. A notebook shows it.
        model_cache: Folder of fetched models.
    """

    folder: Path
    front: WrittenFront
    study: optuna.Study
    table: pd.DataFrame
    summary: str
    model_cache: Path

    @classmethod
    def collect(cls, study: SearchStudy, front: WrittenFront, model_cache: Path) -> SearchResult:
        """Collect the result of a study whose front has been written."""
        table = make_study_table(study, front)
        return cls(
            folder=study.folder,
            front=front,
            study=study.study,
            table=pd.DataFrame(table.rows, columns=list(table.columns)),
            summary=write_markdown(make_answer_section(study, front)),
            model_cache=model_cache,
        )

    @property
    def recipe(self) -> Recipe:
        """The best allocation of the largest budget, with everything needed to train it again."""
        return self.front.best.recipe

    @property
    def path(self) -> Path:
        """The file of the recipe, `best.yaml`."""
        return self.front.best.path

    @property
    def verdict(self) -> StudyVerdict | None:
        """What new seeds and dev say of the best allocation; None if they were not asked."""
        return self.front.best.verdict

    @property
    def report(self) -> Path | None:
        """The report, `report.html`; None if it could not be written."""
        path = self.folder / REPORT_FILE
        return path if path.exists() else None

    @property
    def model(self) -> PreTrainedModel:
        """The model with the best adapter and its head, in float32 on the CPU.

        It is loaded when it is first asked for. `attach_saved` returns more of it.
        """
        return self._trained.attached.model

    @property
    def preprocessor(self) -> PreTrainedTokenizerBase | BaseImageProcessor:
        """The model's tokenizer or image processor."""
        return self._trained.preprocessor

    @cached_property
    def _trained(self) -> TrainedAdapter:
        return load_trained(self.folder, self.model_cache)

    def _repr_markdown_(self) -> str:
        return self.summary
