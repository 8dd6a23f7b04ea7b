"""Whole searches on a Ray cluster of two machines, which are real but for being this one."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
import ray
from optuna.trial import FrozenTrial, TrialState
from ray.cluster_utils import Cluster
from rich.console import Console

from allocator.coordination.coordinator import Coordinator
from allocator.progress.run_progress import RunProgress
from allocator.training.messages import Report
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan, plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.screen.watchers import QuietWatcher
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.open_study import load_study
from tests.tuning.studies import opened

MakeConfig = Callable[..., SearchConfig]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def search(config: SearchConfig) -> Plan[StudyConfig]:
    plan = plan_search(config)
    run_search(config, plan, RunProgress(Console(file=io.StringIO(), width=160)))
    return plan


def trials_of(plan: Plan[StudyConfig]) -> list[FrozenTrial]:
    with load_study(plan.folder, None) as study:
        return study.trials


def test_a_search_there_is_the_search_here_on_as_many_devices(
    cluster: Cluster, make_config: MakeConfig
) -> None:
    here = make_config(study="here", devices=("cpu", "cpu"), verdict_seeds=1)
    there = here.model_copy(update={"study": "there", "devices": None, "ray": cluster.address})
    found = [
        [(t.state, t.params, t.value, t.intermediate_values) for t in trials_of(search(config))]
        for config in (here, there)
    ]
    assert found[0] == found[1]
    folders = [config.studies_dir / str(config.study) for config in (here, there)]
    names = [sorted(p.relative_to(f) for p in f.rglob("*.safetensors")) for f in folders]
    assert names[0] == names[1] != []


class UnplugsAMachine(QuietWatcher):
    """Takes a machine out of the cluster when the first trial ends."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.is_done = False

    def on_report(self, report: Report) -> None:
        del report
        if not self.is_done:
            self.is_done = True
            self._cluster.remove_node(self._cluster.worker_nodes.copy().pop())


def test_a_machine_that_leaves_costs_what_it_trained_and_no_trial(
    cluster: Cluster, make_config: MakeConfig
) -> None:
    plan = plan_search(make_config(devices=None, ray=cluster.address))
    watcher = UnplugsAMachine(cluster)
    with opened(plan, goal=Goal(trials=6, verdict_seeds=0)) as study:
        Coordinator(
            study,
            lambda device, slots: plan.devices.launch(plan.setup, device, slots),
            plan.devices.names,
            watcher,
            slots=2,
        ).run()
        states = [trial.state for trial in study.trials]
    assert watcher.is_done
    assert states.count(TrialState.FAIL) <= 2
    assert len(states) - states.count(TrialState.FAIL) == 6
