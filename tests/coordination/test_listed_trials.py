"""How far a list of trainings is."""

from __future__ import annotations

from pathlib import Path

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.config import AdapterConfig, TrainingConfig
from allocator.coordination.list_config import ListConfig
from allocator.coordination.listed_trials import ListedTrials
from allocator.coordination.records import Records
from allocator.files.adapter_section import ListedAllocation
from tests.reports import make_report

BACKBONE = BackboneShape(d_in=16, heads=2, head_size=8, layers=2)


def list_of_three(folder: Path) -> ListedTrials:
    shape = AdapterShape(construction="matrix", factorization="matrix", backbone=BACKBONE)
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    allocation = Allocation(ranks={"rank": 2}, learning_rate=1e-3)
    config = ListConfig.model_construct(
        training=TrainingConfig(epochs=2, boundaries_per_epoch=2),
        backbone=BACKBONE,
        allocations={
            name: ListedAllocation.from_allocation(spec, allocation) for name in ("a", "b", "c")
        },
    )
    return ListedTrials(config, Records(folder), seed=0)


def test_a_training_that_diverged_keeps_the_boundaries_it_had(tmp_path: Path) -> None:
    trials = list_of_three(tmp_path)
    number = trials.start_next_trial().trial
    trials.add_report(make_report(number, ending=None, step=1))
    trials.add_report(make_report(number, ending=None, step=2))
    trials.tell(make_report(number, ending="diverged", step=2))
    recorded = trials.records.read_reports("a", 0)
    assert [(r.step, r.ending) for r in recorded] == [(1, None), (2, None), (2, "diverged")]


def test_running_trainings_count_by_their_boundaries(tmp_path: Path) -> None:
    trials = list_of_three(tmp_path)
    assert trials.count_done() == 0
    first, second = trials.start_next_trial().trial, trials.start_next_trial().trial
    trials.add_report(make_report(first, ending=None, step=1))
    trials.add_report(make_report(second, ending=None, step=1))
    assert trials.count_done() == 2 / 4
    assert trials.count_done(0.5) == 3 / 4  # half of the way to the next boundary
    trials.add_report(make_report(second, ending=None, step=2))
    trials.tell(
        make_report(first, ending="collapsed", step=2)
    )  # the two boundaries it never had are done too
    assert trials.count_done() == 1 + 2 / 4
    trials.tell_failure(second, "its worker died", retry=True)
    assert trials.count_done() == 1
