"""Records of trainings: what they hold, and that nothing is lost or counted twice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from allocator.config import Calibration
from allocator.coordination.records import Records
from allocator.errors import StudyError
from allocator.files.study_folder import table_path
from allocator.training.measures import Measures, TruncatedLoss
from allocator.training.messages import Report


def curve(*losses: float) -> list[Report]:
    reports = [
        Report(
            trial=3,
            ending=None,
            score=1 - loss,
            loss=loss,
            calibrated_loss=0.9 * loss,
            majority_loss=0.7,
            components={"accuracy": 1 - loss, "f1": 0.5},
            best_score=1 - min(losses[:step]),
            step=step,
            train_loss=2 * loss,
            num_parameters=100,
            head_parameters=10,
            seconds=float(step),
            calibration=Calibration(scale=loss, intercept=0.0),
        )
        for step, loss in enumerate(losses, start=1)
    ]
    reports[-1] = dataclasses.replace(reports[-1], ending="completed")
    return reports


def test_what_was_recorded_is_given_back(tmp_path: Path) -> None:
    reports = curve(0.6, 0.4, 0.5)
    Records(tmp_path / "new").add("uniform", 1, reports)
    expected = [dataclasses.replace(report, trial=0) for report in reports]
    assert Records(tmp_path / "new").read_reports("uniform", 1) == expected
    assert Records(tmp_path / "new").read_reports("uniform", 0) == []
    assert Records(tmp_path / "none").read_reports("uniform", 0) == []


def test_a_training_that_failed_has_no_calibration(tmp_path: Path) -> None:
    (failed,) = curve(0.6)
    failed = dataclasses.replace(failed, trial=0, ending="diverged", calibration=None)
    records = Records(tmp_path)
    records.add("lora", 0, [failed])
    records.add("cp", 0, curve(0.5))
    assert records.read_reports("lora", 0) == [failed]
    assert records.read_reports("cp", 0)[0].calibration == Calibration(scale=0.5)


def test_trainings_that_were_recorded_before_there_were_calibrations_are_read(
    tmp_path: Path,
) -> None:
    records = Records(tmp_path)
    records.add("uniform", 0, curve(0.6))
    path = table_path(tmp_path, "training")
    older = pd.read_csv(path).drop(columns=["calibration_scale", "calibration_intercept"])
    older.to_csv(path, index=False)
    assert records.read_reports("uniform", 0)[0].calibration is None
    records.add("lora", 0, curve(0.5))
    assert records.read_reports("uniform", 0)[0].calibration is None
    assert records.read_reports("lora", 0)[0].calibration == Calibration(scale=0.5)


def test_names_are_known_by_their_seeds(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add("0012", 0, curve(0.5))
    records.add("lora", 1, curve(0.5))
    assert (records.read_names(0), records.read_names(1), records.read_names(2)) == (
        ["0012"],
        ["lora"],
        [],
    )


def test_a_training_that_is_recorded_again_replaces_the_first(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add("lora", 0, curve(0.9, 0.8))
    records.add("cp", 0, curve(0.7, 0.6))
    records.add("lora", 0, curve(0.5, 0.4))
    training = records.read("training")
    assert len(training) == 4
    assert training[training.name == "lora"].loss.tolist() == [0.5, 0.4]


def test_a_training_counts_only_when_all_of_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measures = Measures(
        gradients={"core": (0.1, 0.2)}, spectra=(), truncation=(TruncatedLoss("input", 1, 0.7),)
    )
    reports = curve(0.5)
    reports[-1] = dataclasses.replace(reports[-1], measures=measures)
    records = Records(tmp_path)
    append = Records._append

    def dies(self: Records, kind: str, *rest: object) -> None:
        if kind == "training":
            raise KeyboardInterrupt
        append(self, kind, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Records, "_append", dies)
    with pytest.raises(KeyboardInterrupt):
        records.add("uniform", 0, reports)
    assert records.read_names(0) == []
    monkeypatch.setattr(Records, "_append", append)
    records.add("uniform", 0, reports)
    assert records.read_names(0) == ["uniform"]
    assert len(records.read("truncation")) == 1


def test_an_adapter_is_kept_beside_the_tables(tmp_path: Path) -> None:
    saved = tmp_path / "trained"
    saved.write_bytes(b"values")
    records = Records(tmp_path / "records")
    records.add("uniform", 0, curve(0.5), saved)
    assert records.adapter_path("uniform", 0).read_bytes() == b"values"


def test_a_table_of_another_version_is_refused(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.add("uniform", 0, curve(0.6))
    path = table_path(tmp_path, "training")
    pd.read_csv(path).drop(columns="calibrated_loss").to_csv(path, index=False)
    with pytest.raises(StudyError, match="must have a column calibrated_loss"):
        records.read_names(0)
