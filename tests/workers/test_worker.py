import dataclasses
import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from allocator.adapters.saved import load_adapter
from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.allocation.constructions import BackboneShape
from allocator.backbone.backbone import Backbone
from allocator.config import AdapterConfig, TrainingConfig
from allocator.errors import SpaceError, UnknownNameError
from allocator.training.loop import train_trials
from allocator.training.messages import Boundary, Job, Orders, Report, WorkerDied
from allocator.training.splits import Splits
from allocator.workers.devices import count_available_threads, require_devices
from allocator.workers.process_worker import ProcessWorker
from allocator.workers.setup import TrainingSetup, load_training_splits

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
ALLOCATION = Allocation(ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0)
TRAINING = TrainingConfig(epochs=2, max_length=64)
SPEC = AdapterSpec(
    shape=AdapterShape(
        construction="att_qkv_depth",
        factorization="tucker",
        backbone=BackboneShape(d_in=32, heads=4, head_size=8, layers=2),
    ),
    config=AdapterConfig(),
)
Pair = tuple[ProcessWorker, ProcessWorker]


@pytest.fixture(scope="module")
def workers(training_setup: TrainingSetup) -> Iterator[Pair]:
    """Two worker processes, each for up to two trials."""
    pair = ProcessWorker(training_setup, "cpu", 2), ProcessWorker(training_setup, "cpu", 2)
    for worker in pair:
        worker.receive_boundary()
    yield pair
    for worker in pair:
        worker.close()


def job(number: int, folder: Path, allocation: Allocation = ALLOCATION) -> Job:
    return Job(
        trial=number,
        spec=SPEC,
        allocation=allocation,
        seed=0,
        save_to=folder / f"{number}.safetensors",
    )


def to_its_end(worker: ProcessWorker, *jobs: Job) -> dict[int, list[Report]]:
    """Train jobs together until all have ended."""
    worker.send_orders(Orders(jobs=jobs))
    reports: dict[int, list[Report]] = {job.trial: [] for job in jobs}
    while True:
        boundary = worker.receive_boundary()
        for report in boundary.reports:
            reports[report.trial].append(dataclasses.replace(report, seconds=0.0))
        if all(own and own[-1].ending for own in reports.values()):
            return reports
        worker.send_orders(Orders())


def test_a_ready_worker_says_how_many_trials_it_takes(training_setup: TrainingSetup) -> None:
    worker = ProcessWorker(training_setup, "cpu", 3)
    try:
        assert worker.receive_boundary() == Boundary(reports=(), may_start=True, slots=3)
    finally:
        worker.close()


def test_jobs_are_trained_as_the_loop_trains_them(
    workers: Pair,
    tiny_backbone: Backbone,
    tiny_splits: Splits,
    tmp_path: Path,
) -> None:
    here: list[Report] = []

    def on_boundary(boundary: Boundary) -> Orders | None:
        here.extend(boundary.reports)
        if not here:
            return Orders(jobs=(job(5, tmp_path),))
        return Orders() if here[-1].ending is None else None

    train_trials(
        tiny_backbone,
        tiny_splits,
        TRAINING,
        slots=1,
        on_boundary=on_boundary,
        on_completed=lambda *_: None,
    )
    there = to_its_end(workers[0], job(5, tmp_path))[5]
    # Another process may add in another order, so equal to rounding.
    assert [report.step for report in there] == [report.step for report in here]
    assert [r.loss for r in there] == pytest.approx([r.loss for r in here], rel=1e-5)
    assert there[-1].train_loss == pytest.approx(here[-1].train_loss, rel=1e-5)
    assert there[-1].num_parameters == here[-1].num_parameters


def test_a_completed_job_leaves_its_trained_adapter_and_head(
    workers: Pair, tiny_backbone: Backbone, training_setup: TrainingSetup, tmp_path: Path
) -> None:
    last = to_its_end(workers[0], job(1, tmp_path))[1][-1]
    saved = load_adapter(tmp_path / "1.safetensors")
    assert saved.description.spec == training_setup.spec
    assert saved.description.model_sha256 == training_setup.model.sha256
    head = tiny_backbone.head.copy_with_fresh_parameters(0)
    head.model.load_state_dict(dict(saved.head), strict=False)
    tiny_backbone.sites.set_updates([saved.adapter.compute_pairs()])
    cpu = torch.device("cpu")
    split = load_training_splits(training_setup, cpu).of_seed(0).scoring
    batches = [split.make_batch([i], cpu) for i in range(len(split))]
    with torch.no_grad():
        logits = torch.cat([head(tiny_backbone(batch.inputs), batch.inputs) for batch in batches])
    assert last.calibration is not None
    # The file is calibrated, the loss is of the answers as trained.
    as_trained = logits / last.calibration.scale
    loss = torch.nn.functional.cross_entropy(as_trained, split.labels).item()
    assert loss == pytest.approx(last.loss, rel=1e-4)
    assert torch.nn.functional.cross_entropy(logits, split.labels).item() < loss


def test_two_workers_give_the_trials_of_one(workers: Pair, tmp_path: Path) -> None:
    first, second = (to_its_end(worker, job(1, tmp_path)) for worker in workers)
    assert first == second


def test_trials_of_a_pack_end_as_they_would_alone(workers: Pair, tmp_path: Path) -> None:
    absurd = Allocation(ranks=RANKS, learning_rate=1e30, core_lr_multiplier=1e8)
    alone = to_its_end(workers[0], job(1, tmp_path))[1]
    packed = to_its_end(workers[0], job(1, tmp_path), job(2, tmp_path, absurd))
    assert [r.loss for r in packed[1]] == pytest.approx([r.loss for r in alone], rel=1e-4)
    assert [report.ending for report in packed[2]] == ["diverged"]
    assert [path.name for path in tmp_path.iterdir()] == ["1.safetensors"]


def test_a_stopped_job_leaves_no_adapter_and_its_place_to_the_next(
    workers: Pair, tmp_path: Path
) -> None:
    worker = workers[1]
    worker.send_orders(Orders(jobs=(job(1, tmp_path),)))
    boundary = worker.receive_boundary()
    assert [report.trial for report in boundary.reports] == [1]
    worker.send_orders(Orders(stop=frozenset({1}), jobs=(job(2, tmp_path),)))
    trials = []
    while True:
        boundary = worker.receive_boundary()
        trials += [report.trial for report in boundary.reports]
        if boundary.reports[-1].ending:
            break
        worker.send_orders(Orders())
    assert trials == [2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["2.safetensors"]


def test_a_killed_process_is_a_worker_that_died(
    training_setup: TrainingSetup, tmp_path: Path
) -> None:
    others = {process.pid for process in multiprocessing.active_children()}
    worker = ProcessWorker(training_setup, "cpu", 1)
    (process,) = [p for p in multiprocessing.active_children() if p.pid not in others]
    assert process.pid is not None
    try:
        worker.receive_boundary()
        worker.send_orders(Orders(jobs=(job(1, tmp_path),)))
        os.kill(process.pid, signal.SIGKILL)
        message = "worker on cpu died, exit code -9"
        with pytest.raises(WorkerDied, match=f"^{re.escape(message)}$"):
            worker.receive_boundary()
        with pytest.raises(WorkerDied, match=f"^{re.escape(message)}$"):
            worker.send_orders(Orders(jobs=(job(2, tmp_path),)))
    finally:
        worker.close()


def test_a_worker_sends_the_words_and_the_traceback_of_its_failure(
    training_setup: TrainingSetup, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    worker = ProcessWorker(training_setup, "cpu", 1)
    try:
        worker.receive_boundary()
        worker.send_orders(Orders(jobs=(dataclasses.replace(job(1, tmp_path), seed=-1),)))
        with pytest.raises(WorkerDied) as death:
            worker.receive_boundary()
    finally:
        worker.close()
    assert str(death.value).startswith("worker on cpu failed: ")
    assert death.value.exit_code == 1
    assert death.value.failure is not None
    assert "Traceback" in death.value.failure.traceback
    assert not capfd.readouterr().err  # it is the coordinator that shows it


def test_a_mistake_of_the_user_comes_from_a_worker_as_it_is(
    training_setup: TrainingSetup, tmp_path: Path
) -> None:
    worker = ProcessWorker(training_setup, "cpu", 1)
    try:
        worker.receive_boundary()
        worker.send_orders(
            Orders(jobs=(job(1, tmp_path, Allocation(ranks={}, learning_rate=1e-3)),))
        )
        with pytest.raises(SpaceError, match=r"^ranks of att_qkv_depth \(tucker\) must be given"):
            worker.receive_boundary()
    finally:
        worker.close()


def test_a_closed_worker_is_gone_whatever_it_was_doing(
    training_setup: TrainingSetup, tmp_path: Path
) -> None:
    others = {process.pid for process in multiprocessing.active_children()}
    worker = ProcessWorker(training_setup, "cpu", 1)
    worker.receive_boundary()
    worker.send_orders(Orders(jobs=(job(1, tmp_path),)))
    worker.close()
    assert {process.pid for process in multiprocessing.active_children()} == others


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    require_devices(["cpu"])
    with pytest.raises(UnknownNameError, match=r"^unknown device 'cuda:99': .*known are cpu"):
        require_devices(["cpu", "cuda:99"])


def test_a_process_may_use_at_least_one_thread() -> None:
    assert 1 <= count_available_threads() <= (os.cpu_count() or 1)
