import dataclasses
import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from allocator.adapters import AdapterSpec
from allocator.adapters.save import load_adapter
from allocator.allocation import Allocation
from allocator.config import TrainingConfig
from allocator.errors import ModelError
from allocator.training.backbone import Backbone
from allocator.training.data_sources import TaskData
from allocator.training.loop import Outcome, Splits, Verdict, train
from allocator.training.models import ModelSource
from allocator.training.worker import (
    Boundary,
    Finished,
    Job,
    ProcessWorker,
    WorkerConfig,
    WorkerDied,
    available_threads,
    load_splits,
    require_devices,
)

RANKS = {"input": 4, "head_dim": 2, "heads": 2, "qkv": 2, "depth": 2}
ALLOCATION = Allocation(ranks=RANKS, learning_rate=2e-3, core_lr_multiplier=4.0)
TRAINING = TrainingConfig(epochs=2, max_length=64)
Pair = tuple[ProcessWorker, ProcessWorker]


@pytest.fixture(scope="module")
def config(tiny_source: ModelSource, tiny_spec: AdapterSpec, small_task: TaskData) -> WorkerConfig:
    return WorkerConfig(
        model=tiny_source,
        spec=tiny_spec,
        task=small_task.task,
        train=small_task.train,
        scoring=small_task.dev,
        training=TRAINING,
        precision="float32",
        threads=1,
    )


@pytest.fixture(scope="module")
def workers(config: WorkerConfig) -> Iterator[Pair]:
    """Two processes that start side by side."""
    pair = ProcessWorker(config, "cpu"), ProcessWorker(config, "cpu")
    yield pair
    for worker in pair:
        worker.close()


def job(number: int, folder: Path, allocation: Allocation = ALLOCATION) -> Job:
    return Job(trial=number, allocation=allocation, save_to=folder / f"{number}.safetensors")


def to_its_end(worker: ProcessWorker) -> tuple[list[Boundary], Outcome]:
    boundaries = []
    while isinstance(message := worker.receive(), Boundary):
        boundaries.append(message)
        worker.answer("continue")
    return boundaries, dataclasses.replace(message.outcome, seconds=0.0)


def test_a_job_is_trained_as_the_loop_trains_it(
    workers: Pair,
    tiny_backbone: Backbone,
    tiny_splits: Splits,
    tiny_spec: AdapterSpec,
    tmp_path: Path,
) -> None:
    told: list[Boundary] = []

    def on_boundary(trial: int, step: int, score: float, loss: float) -> Verdict:
        told.append(Boundary(trial=trial, step=step, score=score, loss=loss))
        return "continue"

    here = train(5, ALLOCATION, tiny_spec, tiny_backbone, tiny_splits, TRAINING, on_boundary)
    workers[0].submit(job(5, tmp_path))
    boundaries, outcome = to_its_end(workers[0])
    # Another process may add in another order, so equal to rounding.
    assert [(b.trial, b.step) for b in boundaries] == [(b.trial, b.step) for b in told]
    assert [b.loss for b in boundaries] == pytest.approx([b.loss for b in told], rel=1e-5)
    assert outcome.loss == pytest.approx(here.outcome.loss, rel=1e-5)
    assert outcome.train_loss == pytest.approx(here.outcome.train_loss, rel=1e-5)
    assert outcome.num_parameters == here.outcome.num_parameters


def test_a_completed_job_leaves_its_trained_adapter_and_head(
    workers: Pair, tiny_backbone: Backbone, config: WorkerConfig, tmp_path: Path
) -> None:
    workers[0].submit(job(1, tmp_path))
    _, outcome = to_its_end(workers[0])
    saved = load_adapter(tmp_path / "1.safetensors")
    assert saved.description.spec == config.spec
    assert saved.description.model_sha256 == config.model.sha256
    head = tiny_backbone.head.copy_fresh(0)
    head.model.load_state_dict(dict(saved.head), strict=False)
    tiny_backbone.sites.use(saved.adapter.pairs())
    split = load_splits(config).scoring
    with torch.no_grad():
        logits = torch.cat(
            [head(tiny_backbone({"input_ids": torch.tensor([ids])})) for ids in split.input_ids]
        )
    loss = torch.nn.functional.cross_entropy(logits, split.labels).item()
    assert loss == pytest.approx(outcome.loss, rel=1e-4)


def test_two_workers_at_once_give_the_outcome_of_one(workers: Pair, tmp_path: Path) -> None:
    workers[0].submit(job(1, tmp_path))
    alone = to_its_end(workers[0])[1]
    for number, worker in enumerate(workers):
        worker.submit(job(number, tmp_path))
    assert [to_its_end(worker)[1] for worker in workers] == [alone, alone]


def test_a_stopped_job_leaves_no_adapter_and_a_worker_for_the_next(
    workers: Pair, tmp_path: Path
) -> None:
    workers[1].submit(job(1, tmp_path))
    assert isinstance(workers[1].receive(), Boundary)
    workers[1].answer("stop")
    finished = workers[1].receive()
    assert isinstance(finished, Finished)
    assert (finished.trial, finished.outcome.ending) == (1, "stopped")
    workers[1].submit(job(2, tmp_path))
    assert to_its_end(workers[1])[1].ending == "completed"
    assert [path.name for path in tmp_path.iterdir()] == ["2.safetensors"]


def test_a_diverged_job_leaves_no_adapter(workers: Pair, tmp_path: Path) -> None:
    absurd = Allocation(ranks=RANKS, learning_rate=1e30, core_lr_multiplier=1e8)
    workers[0].submit(job(1, tmp_path, absurd))
    boundaries, outcome = to_its_end(workers[0])
    assert (boundaries, outcome.ending) == ([], "diverged")
    assert not list(tmp_path.iterdir())


def test_a_killed_process_is_a_worker_that_died(config: WorkerConfig, tmp_path: Path) -> None:
    others = {process.pid for process in multiprocessing.active_children()}
    worker = ProcessWorker(config, "cpu")
    (process,) = [p for p in multiprocessing.active_children() if p.pid not in others]
    assert process.pid is not None
    try:
        worker.submit(job(1, tmp_path))
        os.kill(process.pid, signal.SIGKILL)
        message = "worker on cpu died, exit code -9"
        with pytest.raises(WorkerDied, match=f"^{re.escape(message)}$"):
            worker.receive()
        with pytest.raises(WorkerDied, match=f"^{re.escape(message)}$"):
            worker.submit(job(2, tmp_path))
    finally:
        worker.close()


def test_a_closed_worker_is_gone_whatever_it_was_doing(
    config: WorkerConfig, tmp_path: Path
) -> None:
    others = {process.pid for process in multiprocessing.active_children()}
    worker = ProcessWorker(config, "cpu")
    worker.submit(job(1, tmp_path))
    worker.close()
    assert {process.pid for process in multiprocessing.active_children()} == others


def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    require_devices(["cpu"])
    with pytest.raises(ModelError, match=r"^unknown device 'cuda:99': .*known are cpu"):
        require_devices(["cpu", "cuda:99"])


def test_a_process_may_use_at_least_one_thread() -> None:
    assert 1 <= available_threads() <= (os.cpu_count() or 1)
