"""Workers on a real Ray cluster, whose two machines are both this one."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from allocator.adapters.saved import load_adapter
from allocator.errors import DeviceError, UnknownNameError
from allocator.training.messages import Boundary, Job, Orders, Report, WorkerDied
from allocator.workers.process_worker import ProcessWorker
from allocator.workers.ray_devices import RayDevices
from allocator.workers.ray_worker import RayWorker
from allocator.workers.setup import TrainingSetup


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head node without processors, as on many clusters, and two machines of one processor."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def devices(cluster: Cluster) -> RayDevices:
    return RayDevices(cluster.address)


def make_job(training_setup: TrainingSetup, number: int, folder: Path) -> Job:
    return Job(
        trial=number,
        spec=training_setup.spec,
        allocation=training_setup.typical,
        seed=0,
        save_to=folder / "adapters" / f"{number}.safetensors",
    )


def to_its_end(worker: RayWorker | ProcessWorker, job: Job) -> list[Report]:
    assert worker.receive_boundary() == Boundary(reports=(), may_start=True, slots=2)
    worker.send_orders(Orders(jobs=(job,)))
    reports: list[Report] = []
    while not reports or reports[-1].ending is None:
        reports += [dataclasses.replace(r, seconds=0.0) for r in worker.receive_boundary().reports]
        worker.send_orders(Orders())
    return reports


def test_every_machine_with_processors_is_a_device(devices: RayDevices) -> None:
    assert len(set(devices.names)) == 2
    assert devices.threads == 1
    assert devices.choose_precision(32) in ("float32", "bfloat16")


def test_a_trial_trains_there_as_in_a_process_here_and_its_adapter_comes_home(
    devices: RayDevices, training_setup: TrainingSetup, tmp_path: Path
) -> None:
    workers: dict[str, RayWorker | ProcessWorker] = {
        "there": devices.launch(training_setup, devices.names[0], 2),
        "here": ProcessWorker(training_setup, "cpu", 2),
    }
    try:
        reports = {
            where: to_its_end(worker, make_job(training_setup, 7, tmp_path / where))
            for where, worker in workers.items()
        }
    finally:
        for worker in workers.values():
            worker.close()
    assert reports["there"] == reports["here"]
    there, here = (
        load_adapter(make_job(training_setup, 7, tmp_path / where).save_to).adapter.state_dict()
        for where in workers
    )
    assert there.keys() == here.keys()
    assert all(tensor.equal(here[name]) for name, tensor in there.items())


def test_a_machine_without_the_model_looks_for_it_and_says_so(
    devices: RayDevices, training_setup: TrainingSetup, tmp_path: Path
) -> None:
    elsewhere = dataclasses.replace(training_setup.model, name="nosuch", folder=tmp_path / "gone")
    worker = devices.launch(
        dataclasses.replace(training_setup, model=elsewhere), devices.names[0], 2
    )
    try:
        with pytest.raises(UnknownNameError, match=r"^unknown model 'nosuch'"):
            worker.receive_boundary()
    finally:
        worker.close()


def test_a_failure_there_is_described_here(
    devices: RayDevices,
    training_setup: TrainingSetup,
    tmp_path: Path,
) -> None:
    worker = devices.launch(training_setup, devices.names[0], 2)
    try:
        worker.receive_boundary()
        job = make_job(training_setup, 1, tmp_path)
        worker.send_orders(Orders(jobs=(dataclasses.replace(job, seed=-1),)))
        with pytest.raises(WorkerDied, match=r"failed: \w+Error: ") as death:
            worker.receive_boundary()
    finally:
        worker.close()
    assert death.value.failure is not None
    assert "Traceback" in death.value.failure.traceback


def test_a_device_that_others_keep_busy_is_an_error(
    devices: RayDevices, training_setup: TrainingSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = devices.launch(training_setup, devices.names[0], 2)
    second = devices.launch(training_setup, devices.names[0], 2)
    try:
        first.receive_boundary()
        monkeypatch.setattr("allocator.workers.ray_worker._PLACEMENT_TIMEOUT", 2.0)
        with pytest.raises(DeviceError, match=r"no free place within 2 s; `ray status` shows"):
            second.receive_boundary()
    finally:
        first.close()
        second.close()


def test_an_actor_that_is_killed_is_a_worker_that_died(
    devices: RayDevices, training_setup: TrainingSetup
) -> None:
    worker = devices.launch(training_setup, devices.names[0], 2)
    worker.receive_boundary()
    worker.close()

    def wait_for_its_end() -> None:
        for _ in range(1_000):  # Ray kills it a moment later, and until then it answers
            worker.send_orders(Orders())
            worker.receive_boundary()

    with pytest.raises(WorkerDied) as death:
        wait_for_its_end()
    assert death.value.exit_code == -signal.SIGKILL


def test_a_machine_that_leaves_takes_its_device_along(
    cluster: Cluster, devices: RayDevices, training_setup: TrainingSetup
) -> None:
    node = cluster.add_node(num_cpus=1)
    device = (set(RayDevices(cluster.address).names) - set(devices.names)).pop()
    worker = RayDevices(cluster.address).launch(training_setup, device, 2)
    worker.receive_boundary()
    cluster.remove_node(node)
    worker.send_orders(Orders())
    with pytest.raises(WorkerDied, match="is gone") as death:
        worker.receive_boundary()
    assert death.value.exit_code is None
