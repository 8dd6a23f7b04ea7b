import dataclasses

import pytest

from allocator.data.glue import GLUE, find_glue_task
from allocator.data.scoring.glue_metrics import METRICS
from allocator.data.tasks import Examples
from allocator.errors import UnknownNameError


def test_the_table_has_the_nine_tasks_of_glue() -> None:
    assert set(GLUE) == {"cola", "sst2", "mrpc", "rte", "wnli", "qnli", "qqp", "mnli", "stsb"}


@pytest.mark.parametrize("name", GLUE)
def test_every_task_is_found_under_its_own_name_with_a_metric_that_exists(name: str) -> None:
    task = find_glue_task(name).task
    assert task.name == name
    assert METRICS[task.metric].regression == task.is_regression


def test_the_head_has_one_output_per_class_and_one_for_regression() -> None:
    outputs = {name: known.task.num_labels for name, known in GLUE.items()}
    assert outputs == {**dict.fromkeys(GLUE, 2), "mnli": 3, "stsb": 1}
    assert [name for name, known in GLUE.items() if known.task.is_regression] == ["stsb"]


def test_an_unknown_task_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown task 'sst': did you mean 'sst2'\?"):
        find_glue_task("sst")


def test_a_task_cannot_be_changed_after_it_is_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        find_glue_task("cola").task.name = "other"  # type: ignore[misc]


def test_selected_examples_keep_the_order_asked_for() -> None:
    examples = Examples(inputs=(("a",), ("b",), ("c",)), labels=(0, 1, 2))
    chosen = examples.select([2, 0])
    assert (chosen.inputs, chosen.labels, len(chosen)) == ((("c",), ("a",)), (2, 0), 2)


def test_examples_need_a_label_for_every_text() -> None:
    with pytest.raises(ValueError, match="got 2 inputs and 1 labels"):
        Examples(inputs=(("a",), ("b",)), labels=(0,))
