"""Regret of priors, pruners and samplers, replayed on a table of trained allocations.

    python tests/benchmarks/prior_regret.py --seeds 20

The table is `trained/`, made by `trained_table.py`. Regrets are of calibrated losses x 1e-3.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler
from replay import Progress, Table, TableGPSampler, TableRandomSampler, read_table, replay
from scipy.stats import sem
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.allocation.constructions import BackboneShape
from allocator.files.study_folder import baseline_folder
from allocator.tuning.names import PriorName
from allocator.tuning.priors.baseline_evidence import read_baseline
from allocator.tuning.priors.make_prior import make_prior
from allocator.tuning.priors.prior import Prior
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.space.space_file import read_space
from allocator.tuning.study.pruning import MedianPruner, SuccessiveHalvingPruner, make_pruner

MINILM = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)
HERE = Path(__file__).parent / "trained"
WORST = 10  # points that the adversarial prior proposes
MEASURES = ("searched", "regret", "confirmed")
AT_TRIALS, AT_EPOCHS = (8, 12, 16, 20, 28, 40), (8, 12, 16, 20, 24)

SamplerOf = Callable[[Table, int], BaseSampler]


def optuna_tpe(table: Table, seed: int) -> BaseSampler:
    """Make Optuna's own TPE."""
    del table
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def optuna_gp(table: Table, seed: int) -> BaseSampler:
    """Make Optuna's own Gaussian process."""
    del table
    return optuna.samplers.GPSampler(seed=seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """One way to search."""

    group: str
    name: str
    sampler: SamplerOf = TableGPSampler
    pruner: BasePruner
    prior: Prior | None = None


def priors(table: Table, folder: Path) -> Mapping[str, Prior | None]:
    """Make every prior from the table's baseline, and one from its worst points."""
    base = make_baseline_params(table.space)
    baseline = read_baseline(baseline_folder(folder), table.space.read_ranks(base))
    priors = {
        name: make_prior(name, table.space, base, baseline=baseline) for name in get_args(PriorName)
    }
    worst = np.argsort(-table.truth(), kind="stable")[:WORST]
    proposals = tuple(table.params[i] for i in worst)
    return {**priors, "adversarial": Prior(name="worst", space=table.space, proposals=proposals)}


def settings(table: Table, folder: Path, default: str) -> list[Setting]:
    """List what is compared: priors, pruners with the default prior and without, samplers."""
    boundaries = table.losses.shape[2]
    halving = make_pruner("halving", warmup=0.1, final_step=boundaries)
    of = priors(table, folder)
    pruners: dict[str, BasePruner] = {"none": NopPruner()}
    for first in range(1, boundaries):
        pruners[f"median from {first}"] = MedianPruner(first_step=first)
        for factor in (2.0, 3.0):
            pruners[f"halving from {first}, 1 in {factor:g}"] = SuccessiveHalvingPruner(
                first_step=first, reduction_factor=factor
            )
    strengths: dict[str, SamplerOf] = {
        f"strength {s:g}": partial(TableGPSampler, prior_strength=s) for s in (0.0, 0.3, 1.0, 3.0)
    }
    samplers: dict[str, SamplerOf] = {
        "gp": TableGPSampler,
        "random": TableRandomSampler,
        "optuna TPE": optuna_tpe,
        "optuna GP": optuna_gp,
    }
    return [
        *(Setting(group="prior", name=n, pruner=halving, prior=p) for n, p in of.items()),
        *(
            Setting(group="strength", name=f"{p}, {n}", sampler=s, pruner=halving, prior=of[p])
            for p in (default, "adversarial")
            for n, s in strengths.items()
        ),
        *(Setting(group="pruner", name=n, pruner=p, prior=of[default]) for n, p in pruners.items()),
        *(Setting(group="pruner, no prior", name=n, pruner=p) for n, p in pruners.items()),
        *(Setting(group="sampler", name=n, sampler=s, pruner=halving) for n, s in samplers.items()),
        *(
            Setting(group="sampler, no pruning", name=n, sampler=s, pruner=NopPruner())
            for n, s in samplers.items()
        ),
    ]


def print_group(runs: Mapping[str, Sequence[Sequence[Progress]]], spread: float) -> None:
    """Print mean regrets over seeds after so many trials, and after so many epochs."""
    for measure in MEASURES:
        print(
            f"{measure:24}"
            + "".join(f"{n:>7} tr" for n in AT_TRIALS)
            + "".join(f"{n:>7} ep" for n in AT_EPOCHS)
            + f"{'error':>8}{'to none at 40':>15}"
        )
        none = [getattr(run[-1], measure) for run in runs.get("none", [])]
        for name, searches in runs.items():
            after = partial(_after, measure)
            by_trials = [np.mean([after(s, trials=n) for s in searches]) for n in AT_TRIALS]
            by_epochs = [np.mean([after(s, epochs=n) for s in searches]) for n in AT_EPOCHS]
            cells = "".join(f"{1e3 * value:>10.2f}" for value in [*by_trials, *by_epochs])
            error = sem([getattr(s[-1], measure) for s in searches]) if len(searches) > 1 else 0.0
            reached = _reached(measure, searches, float(np.mean(none))) if none else ""
            print(f"{name:24}{cells}{1e3 * error:>8.2f}{reached:>15}")
    print(f"(the table's losses spread by {1e3 * spread:.1f})\n")


def _of_baseline(table: Table) -> str:
    """Give the regrets of a search that does nothing."""
    seeds = range(table.losses.shape[1])
    seen = np.mean([table.losses[0, s, -1] - table.losses[:, s, -1].min() for s in seeds])
    by_others = [table.truth(left_out=seed) for seed in seeds]
    confirmed = np.mean([truth[0] - truth.min() for truth in by_others])
    return f"the baseline alone: searched {1e3 * seen:.1f}, confirmed {1e3 * confirmed:.1f}"


def _after(
    measure: str, search: Sequence[Progress], trials: float = np.inf, epochs: float = np.inf
) -> float:
    """Give the regret after so many trials or epochs; before the first pack that of nothing."""
    past = [p for p in search if p.trials <= trials and p.epochs <= epochs]
    return float(getattr(past[-1] if past else search[0], measure))


def _reached(measure: str, searches: Sequence[Sequence[Progress]], goal: float) -> str:
    """Say after how many trials the mean regret falls to a goal and stays there."""
    means = np.mean([[getattr(p, measure) for p in search] for search in searches], axis=0)
    above = np.flatnonzero(means > goal + 1e-9)
    first = int(above[-1]) + 1 if len(above) else 0
    return f"{searches[0][first].trials}" if first < len(means) else "not"


def main(argv: Sequence[str]) -> None:
    """Replay all settings and print a table a group."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, default=HERE)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--prior", default="gradient", help="used where pruners are compared")
    parser.add_argument("--groups", nargs="+", help="of: prior, strength, pruner, sampler")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    space = build_space(read_space("tenslora_plus"), MINILM, 40_000)
    table = read_table(arguments.table, space)
    print(f"{len(table.params)} points, {table.losses.shape[1]} seeds; {_of_baseline(table)}")
    found: dict[str, dict[str, list[list[Progress]]]] = {}
    with threadpool_limits(limits=1):
        for setting in settings(table, arguments.table, arguments.prior):
            if arguments.groups and setting.group.split(",")[0] not in arguments.groups:
                continue
            searches = [
                replay(
                    table,
                    setting.sampler(table, seed),
                    setting.pruner,
                    seed=seed,
                    trials=arguments.trials,
                    prior=setting.prior,
                )
                for seed in range(arguments.seeds)
            ]
            found.setdefault(setting.group, {})[setting.name] = searches
            last = 1e3 * np.mean([search[-1].regret for search in searches])
            print(f"{setting.group}: {setting.name}: {last:.2f}", file=sys.stderr, flush=True)
            if arguments.json:
                dump = {
                    g: {n: [[asdict(p) for p in s] for s in r] for n, r in runs.items()}
                    for g, runs in found.items()
                }
                arguments.json.write_text(json.dumps(dump))
    for group, runs in found.items():
        print(f"## {group}")
        print_group(runs, float(np.ptp(table.truth())))


if __name__ == "__main__":
    main(sys.argv[1:])
