"""Event files, as TensorBoard's own reader finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer import event_file_writer

from allocator.tuning.loggers.tensorboard_logger import RESULT_RUN, TensorboardLogger
from tests.tuning.loggers.event_files import read_curve, read_runs, read_text
from tests.tuning.loggers.two_processes import (
    BROKEN_OFF,
    CURVES,
    ENDED,
    TABLE,
    TRIED_AGAIN,
    log_in_two_processes,
)


@pytest.fixture(autouse=True)
def sorted_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets files of one second sort by their numbers, of which the tenth would precede the ninth.

    In a search seconds pass before a training is tried again.
    """
    counter = event_file_writer.AtomicCounter(100)
    monkeypatch.setattr(event_file_writer, "_global_uid", counter)


def test_two_processes_write_each_curve_once_and_the_table(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    log_in_two_processes(lambda: TensorboardLogger(folder))
    runs = read_runs(folder)
    assert runs.keys() == {*CURVES, RESULT_RUN}
    for name, curve in CURVES.items():
        assert read_curve(runs[name], "loss") == curve
    assert read_text(runs[ENDED.name], "ending") == "completed"
    assert read_text(runs[TRIED_AGAIN.name], "ending") == "given up"
    assert read_text(runs[RESULT_RUN], "result") == TABLE.to_markdown()


def test_the_page_of_hyperparameters_has_what_was_tried_and_compares_scores(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "tensorboard"
    log_in_two_processes(lambda: TensorboardLogger(folder))
    content = read_runs(folder)[ENDED.name].PluginTagToContent("hparams")
    tried = HParamsPluginData.FromString(content["_hparams_/session_start_info"])
    values = tried.session_start_info.hparams
    assert values["rank_input"].number_value == 4
    assert values["construction"].string_value == "att"
    compared = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    assert {info.name.tag for info in compared.metric_infos} >= {"score", "calibrated_loss"}
    assert "_hparams_/session_end_info" in content


def test_a_training_that_is_tried_again_by_the_same_process_stays_one_run(tmp_path: Path) -> None:
    logger = TensorboardLogger(tmp_path / "tensorboard")
    logger.start(BROKEN_OFF, earlier=None)
    logger.log("1", 1, {"loss": 0.5})
    logger.start(TRIED_AGAIN, earlier=BROKEN_OFF.name)
    logger.log("1", 2, {"loss": 0.25})
    logger.close()
    (name,), (run,) = zip(*read_runs(tmp_path / "tensorboard").items(), strict=True)
    assert name == TRIED_AGAIN.name
    assert read_curve(run, "loss") == [(1, 0.5), (2, 0.25)]


def test_a_folder_that_was_deleted_is_no_run(tmp_path: Path) -> None:
    assert not TensorboardLogger(tmp_path / "tensorboard").has_run("0", ENDED.name)
