"""Regret of samplers on random response surfaces under a parameter budget.

Run `python tests/benchmarks/sampler_regret.py`. Every surface is its seed's own, so that no sampler
can be tuned to one. Regret is that of the best feasible point among completed trials, by its
noise-free score; `chosen` is the regret of the one with the best posterior mean.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.trial import Trial, TrialState
from response_surface import ResponseSurface

from allocator.allocation.constructions import BackboneShape
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.samplers.make_sampler import make_sampler
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Space
from allocator.tuning.space.space_file import read_space
from allocator.tuning.surrogate.observations import read_observations
from allocator.tuning.surrogate.surrogate import Surrogate

ROBERTA_BASE = BackboneShape(d_in=768, heads=12, head_size=64, layers=12)
BOUNDARIES = 3
NOISE = 0.008
COLLAPSED = 0.02  # scores up to this one are those of trainings that collapsed
SAMPLERS: dict[str, Callable[[Space, int], optuna.samplers.BaseSampler]] = {
    "gp": lambda space, seed: make_sampler("gp", space, seed=seed, final_step=BOUNDARIES),
    "tpe": lambda space, seed: make_sampler("tpe", space, seed=seed, final_step=BOUNDARIES),
    "random": lambda space, seed: make_sampler("random", space, seed=seed, final_step=BOUNDARIES),
    "optuna GP": lambda _, seed: optuna.samplers.GPSampler(seed=seed),
    "optuna TPE": lambda _, seed: optuna.samplers.TPESampler(seed=seed, multivariate=True),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What one study gave; regrets are in units of the score."""

    sampler: str
    seed: int
    pruning: bool
    visited: float
    chosen: float
    infeasible: float
    completed: int
    seconds_per_ask: float
    slowest_ask: float


def run_study(
    name: str, surface: ResponseSurface, seed: int, *, trials: int, pruning: bool, batch: int
) -> Run:
    """Run one study by ask and tell, `batch` trials at a time."""
    space = surface.space
    study = optuna.create_study(
        direction="maximize",
        sampler=SAMPLERS[name](space, seed),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
        if pruning
        else optuna.pruners.NopPruner(),
    )
    noise = np.random.default_rng([7, seed])
    asks = []
    for start in range(0, trials, batch):
        asked = []
        for _ in range(min(batch, trials - start)):
            before = time.perf_counter()
            asked.append(ask_trial(study, space))
            asks.append(time.perf_counter() - before)
        for trial in asked:
            train(study, trial, surface, noise)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    feasible = [t for t in complete if space.num_parameters(t.params) <= space.feasible.budget]
    regrets = np.array([surface.best - surface.score(t.params) for t in feasible])
    observations = read_observations(space, study.trials, final_step=BOUNDARIES, sign=1.0)
    means, _ = Surrogate.fit(space, observations).predict([t.params for t in feasible])
    over = [space.num_parameters(t.params) > space.feasible.budget for t in study.trials]
    return Run(
        sampler=name,
        seed=seed,
        pruning=pruning,
        visited=float(regrets.min()),
        chosen=float(regrets[np.argmax(means)]),
        infeasible=float(np.mean(over)),
        completed=len(complete),
        seconds_per_ask=float(np.mean(asks)),
        slowest_ask=max(asks),
    )


def train(
    study: optuna.Study, trial: Trial, surface: ResponseSurface, noise: np.random.Generator
) -> None:
    """Stand in for training: report noisy scores until the end or until pruned."""
    used = surface.space.num_parameters(trial.params)
    trial.set_constraint("budget", used - surface.space.feasible.budget)
    score = 0.0
    for step in range(1, BOUNDARIES + 1):
        true = surface.score(trial.params, step / BOUNDARIES)
        score = true + NOISE * noise.standard_normal() * (true > COLLAPSED)
        trial.report(score, step)
        if step < BOUNDARIES and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return
    trial.set_user_attr("ending", "completed" if score > COLLAPSED else "collapsed")
    study.tell(trial, score)


def print_table(runs: list[Run]) -> None:
    """Print means over seeds, regrets x 1e-3 with their standard error."""
    print(
        f"{'sampler':12} {'pruning':8} {'visited':>14} {'chosen':>14} {'infeasible':>11} "
        f"{'completed':>10} {'s/ask':>7} {'slowest':>8}"
    )
    for pruning in (False, True):
        for name in SAMPLERS:
            group = [r for r in runs if r.sampler == name and r.pruning == pruning]
            if not group:
                continue
            regrets = 1e3 * np.array([[r.visited, r.chosen] for r in group])
            mean, error = regrets.mean(axis=0), regrets.std(axis=0, ddof=1) / np.sqrt(len(group))
            print(
                f"{name:12} {'yes' if pruning else 'no':8} {mean[0]:7.2f} ± {error[0]:4.2f} "
                f"{mean[1]:7.2f} ± {error[1]:4.2f} "
                f"{np.mean([r.infeasible for r in group]):11.1%} "
                f"{np.mean([r.completed for r in group]):10.1f} "
                f"{np.mean([r.seconds_per_ask for r in group]):7.3f} "
                f"{max(r.slowest_ask for r in group):8.2f}"
            )


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--batch", type=int, default=1, help="trials asked for together")
    parser.add_argument("--budget", type=int, default=40_000)
    parser.add_argument("--space", default="tenslora_plus")
    parser.add_argument("--samplers", nargs="+", choices=list(SAMPLERS), default=list(SAMPLERS))
    parser.add_argument("--pruning", choices=("no", "yes", "both"), default="both")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Run all studies, print the table, write the JSON."""
    arguments = parse_arguments(argv)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    space = build_space(read_space(arguments.space), ROBERTA_BASE, arguments.budget)
    runs = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        surface = ResponseSurface(space, seed)
        for pruning in {"no": [False], "yes": [True], "both": [False, True]}[arguments.pruning]:
            for name in arguments.samplers:
                runs.append(
                    run_study(
                        name,
                        surface,
                        seed,
                        trials=arguments.trials,
                        pruning=pruning,
                        batch=arguments.batch,
                    )
                )
        if arguments.json:  # after every seed, so that a run that is cut short leaves its results
            arguments.json.write_text(json.dumps([asdict(run) for run in runs], indent=1))
    print_table(runs)


if __name__ == "__main__":
    main(sys.argv[1:])
