"""What searches find, replayed on recorded trainings.

    python tests/benchmarks/replayed_searches.py --searches 96

Gains are over the baseline, in calibrated loss x 1e-3 as the table's truth has it; P is the share
of searches whose choice is truly better than the baseline.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import get_args
from unittest.mock import patch

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from replay import (
    Exploration,
    Found,
    NearestSampler,
    TableGPSampler,
    TableRandomSampler,
    replay_search,
)
from scipy.stats import sem
from tables import Table, read_first_table, read_table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.tuning.names import PriorName, PrunerName
from allocator.tuning.priors.prior import Prior
from allocator.tuning.storage.trial_memory import read_score, read_seed
from allocator.tuning.study import proposal_queue

HERE = Path(__file__).parent
FIRST = HERE / "trained"
COSTS = (16, 27)  # trainings, without those of the verdict
CONFIRMED, CONFIRMATION_SEEDS = 4, 3
DRAWS = 8  # of the examples that trainings are scored on, where those are a part


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to search.

    Attributes:
        group: What is compared.
        name: Its name there.
        options: Keyword arguments of `replay_search`.
        misleads: Whether the prior is `make_worst_prior`.
        confirms: Whether the choice is made as an engineer would: the best of one seed each by the
            metric, trained again with other seeds.
    """

    group: str
    name: str
    options: dict[str, object] = field(default_factory=dict)
    misleads: bool = False
    confirms: bool = False


def make_optuna_tpe(seed: int) -> BaseSampler:
    """Make Optuna's TPE."""
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=5)


def make_optuna_gp(seed: int) -> BaseSampler:
    """Make Optuna's Gaussian process."""
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=5)


def list_settings() -> Iterator[Setting]:
    """List what is compared."""
    yield Setting(group="protocol", name="search")
    yield Setting(group="protocol", name="by metric, then confirmed", confirms=True)
    yield Setting(group="protocol", name="one seed each", options={"goal": Exploration})
    yield Setting(
        group="protocol",
        name="one seed each, by metric",
        options={"goal": Exploration, "decide_by": "metric"},
    )
    yield Setting(group="protocol", name="search, by metric", options={"decide_by": "metric"})
    for name in get_args(PriorName):
        yield Setting(group="prior", name=name, options={"prior": name})
    yield Setting(group="prior", name="the worst allocations", misleads=True)
    samplers: dict[str, Callable[[Table, int], BaseSampler]] = {
        "gp": TableGPSampler,
        "random": TableRandomSampler,
        "Optuna's TPESampler": partial(NearestSampler, make=make_optuna_tpe),
        "Optuna's GPSampler": partial(NearestSampler, make=make_optuna_gp),
    }
    for name, make in samplers.items():
        yield Setting(group="sampler", name=name, options={"make_sampler": make, "prior": "none"})
    for pruner in get_args(PrunerName):
        yield Setting(group="pruner", name=pruner, options={"pruner": pruner})


def make_worst_prior(table: Table) -> Prior:
    """Make the prior that misleads most: it proposes and favours the worst allocations."""
    worst = [table.params[i] for i in np.argsort(-table.truth, kind="stable")[:8]]
    return Prior(name="uniform", space=table.space, proposals=tuple(worst))


def search_once(table: Table, setting: Setting, cost: int, search: int) -> tuple[float, float]:
    """Replay one search.

    Returns:
        Its gain, and its cost in whole trainings.
    """
    if setting.confirms:
        return _search_and_confirm(table, cost, search)
    options = dict(setting.options)
    with contextlib.ExitStack() as stack:
        if setting.misleads:
            options["prior"] = "uniform"  # which is made without the baseline
            make = partial(_return_prior, make_worst_prior(table))
            stack.enter_context(patch.object(proposal_queue, "make_prior", make))
        found = replay_search(table, search=search, trials=cost, **options)  # type: ignore[arg-type]
    return found.gain, found.cost


def _return_prior(prior: Prior, *_: object, **__: object) -> Prior:
    return prior


def _search_and_confirm(table: Table, cost: int, search: int) -> tuple[float, float]:
    """Search by one seed and the metric, then train the best again with other seeds."""
    confirming = CONFIRMED * (CONFIRMATION_SEEDS if cost > max(2 * CONFIRMED, 16) else 1)
    found = replay_search(
        table, search=search, trials=cost - confirming, goal=Exploration, decide_by="metric"
    )
    points = _rank_by_metric(table, found)[:CONFIRMED]
    seeds = range(1, 1 + confirming // CONFIRMED)
    means = [
        np.mean([table.draw(point, seed, search).scores[-1] for seed in seeds]) for point in points
    ]
    point = points[int(np.argmax(means))] if points else 0
    return float(table.truth[0] - table.truth[point]), found.cost + confirming


def _rank_by_metric(table: Table, found: Found) -> list[int]:
    """List the points that a search trained to the end, best metric first."""
    completed = [t for t in found.study.trials if t.user_attrs.get("ending") == "completed"]
    assert {read_seed(trial) for trial in completed} <= {0}
    completed.sort(key=lambda trial: -read_score(trial))
    return [next(i for i, p in enumerate(table.params) if p == t.params) for t in completed]


def run_setting(
    tables: Sequence[Table], setting: Setting, cost: int, searches: int, processes: int
) -> None:
    """Replay a setting on tables that differ in what trainings are scored on, and print a row."""
    with multiprocessing.Pool(processes, _prepare, (tables, setting, cost)) as pool:
        results = pool.map(_search, range(searches))
    gains, costs = 1e3 * np.array([r[0] for r in results]), [r[1] for r in results]
    print(
        f"{setting.group:10} {setting.name:28} {cost:4} {np.mean(costs):6.1f} "
        f"{gains.mean():6.2f} ± {sem(gains):.2f}  {np.mean(gains > 0):.2f}",
        flush=True,
    )


_job: tuple[Sequence[Table], Setting, int]


def _prepare(tables: Sequence[Table], setting: Setting, cost: int) -> None:
    global _job  # noqa: PLW0603  # a pool's processes get their argument this way
    _job = tables, setting, cost
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    threadpool_limits(1)


def _search(search: int) -> tuple[float, float]:
    tables, setting, cost = _job
    return search_once(tables[search % len(tables)], setting, cost, search)


def main(argv: Sequence[str]) -> None:
    """Replay all settings of the groups that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, default=FIRST, help="a folder of recorded trainings")
    parser.add_argument("--searches", type=int, default=96)
    parser.add_argument("--costs", type=int, nargs="+", default=COSTS)
    parser.add_argument("--groups", nargs="+", help="of: protocol, prior, sampler, pruner")
    parser.add_argument("--settings", nargs="+", help="names of settings, in place of all")
    parser.add_argument("--share", type=float, default=0.25, help="share of examples scored on")
    parser.add_argument("--fixed", action="store_true", help="all seeds are scored on the same")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args(argv)
    if (arguments.table / "about.json").exists():
        read = partial(
            read_table, arguments.table, share=arguments.share, rotates=not arguments.fixed
        )
        tables = [read(draw=draw) for draw in range(DRAWS)]
    else:
        tables = [read_first_table(arguments.table)]
    table = tables[0]
    best = 1e3 * (table.truth[0] - table.truth.min())
    print(
        f"{len(table.params)} points, {table.values.shape[1]} seeds; the best gains {best:.1f}; "
        f"{np.mean(table.truth < table.truth[0]):.0%} are better than the baseline"
    )
    print("group      setting                      trainings  cost   gain          P")
    for setting in list_settings():
        is_named = not arguments.settings or setting.name in arguments.settings
        if is_named and (not arguments.groups or setting.group in arguments.groups):
            for cost in arguments.costs:
                run_setting(tables, setting, cost, arguments.searches, arguments.processes)


if __name__ == "__main__":
    main(sys.argv[1:])
