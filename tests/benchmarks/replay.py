"""Searches replayed on a table of trained allocations, which are all that there is to choose from.

A replayed trial reports the calibrated losses that its point had with one of the table's seeds,
boundary by boundary, so noise is real and costs nothing. As in a study, all trials of a search have
the same seed. How well a search minimises what it sees is the loss, with that very seed, of the
best point that it trained to the end, less that of the best point there is. How good its choice
is, the other seeds say: the mean of their losses, for the point that the surrogate expects most of
or for the best of those that would be confirmed, less the lowest mean there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from trained_table import read_points

from allocator.allocation.factorizations import Flags
from allocator.training.messages import Report
from allocator.tuning.priors.prior import Prior
from allocator.tuning.runs.confirm import CANDIDATES
from allocator.tuning.samplers.feasible_sampler import FeasibleSampler, ask_trial
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.space.points import Domain, Points
from allocator.tuning.space.space import Params, Space
from allocator.tuning.storage.trial_memory import append_loss, baseline_attributes, write_ending
from allocator.tuning.study.proposal_queue import PROPOSALS
from allocator.tuning.surrogate.encoder import Encoder
from allocator.tuning.surrogate.expected_scores import compute_expectations

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
PACK = 4  # trials that train together
STARTUP_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Trained points of a space.

    Attributes:
        space: The space.
        params: Parameters of every point; the first is the baseline.
        losses: Held-out loss at every boundary, shape (points, seeds, boundaries); a training
            that collapsed keeps the loss it was given up with.
        lengths: Boundaries of every training, shape (points, seeds): fewer where it collapsed.
    """

    space: Space
    params: Sequence[Params]
    losses: Floats
    lengths: Counts

    def truth(self, left_out: int | None = None) -> Floats:
        """Mean final loss of every point, over all seeds but one, shape (points,)."""
        seeds = [seed for seed in range(self.losses.shape[1]) if seed != left_out]
        return np.asarray(self.losses[:, seeds, -1].mean(axis=1))

    @property
    def points(self) -> Points:
        """The points of the space's domain, shape (points, columns)."""
        return Domain(self.space).params_to_points(self.params)

    def index(self, params: Params) -> int:
        """Find a point by its parameters."""
        return next(i for i, p in enumerate(self.params) if all(params[n] == p[n] for n in p))


def read_table(folder: Path, space: Space, loss: str = "calibrated_loss") -> Table:
    """Read a loss that `trained_table.py` wrote; points that some seed lacks are left out."""
    points = read_points(folder / "points.csv", space)
    curves = pd.concat(
        [pd.read_csv(path).assign(seed=path.name) for path in sorted(folder.glob("curves-*.csv*"))]
    )
    # A training that diverged ends with a second row for its last boundary, or with one before all.
    curves = curves.drop_duplicates(["seed", "point", "step"], keep="last").query("step > 0")
    wide = curves.pivot_table(index="point", columns=["seed", "step"], values=loss).sort_index()
    seeds = wide.columns.get_level_values("seed").nunique()
    filled = wide.T.groupby("seed").ffill().T.dropna()
    shape = (len(filled), seeds, -1)
    return Table(
        space=space,
        params=[points[point] for point in filled.index],
        losses=filled.to_numpy().reshape(shape),
        lengths=wide.loc[filled.index].notna().to_numpy().reshape(shape).sum(axis=2),
    )


class TableDomain(Domain):
    """A domain of which a table's points are all there is."""

    def __init__(self, table: Table) -> None:
        super().__init__(table.space)
        self.table = table.points

    def sample_points(self, n: int, rng: np.random.Generator) -> Points:
        """Draw `n` points of the table."""
        return np.asarray(self.table[rng.integers(len(self.table), size=n)])

    def are_feasible(self, points: Points) -> Flags:
        """Tell which points the table has."""
        return ~self.are_new(points, self.table)


class TableGPSampler(FeasibleGPSampler):
    """The default sampler, choosing among a table's points."""

    def __init__(self, table: Table, seed: int, **options: float) -> None:
        super().__init__(
            table.space,
            seed=seed,
            final_step=table.losses.shape[2],
            **options,  # type: ignore[arg-type]
        )
        self.table = table

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: object
    ) -> dict[str, int | float | str]:
        """Suggest a point of the table, unless one was enqueued."""
        del search_space
        if self.space.has_all_params(trial.system_attrs.get("fixed_params", {})):
            return {}
        domain = TableDomain(self.table)
        return domain.point_to_params(self.suggest_point(study, trial, domain)[0])

    def _fill_space(
        self, trial: FrozenTrial, domain: Domain, used: Points, rng: np.random.Generator
    ) -> Points:
        """Take, of some points, the one that is farthest from those that were tried."""
        del trial
        points = domain.sample_points(STARTUP_CANDIDATES, rng)
        points = points[domain.are_new(points, used)]
        encoder = Encoder(self.table.space)
        inputs, tried = encoder.encode_points(points), encoder.encode_points(used)
        distance = np.abs(inputs[:, None] - tried[None]).sum(axis=2).min(axis=1, initial=np.inf)
        at = int(np.argmax(distance))
        return points[at : at + 1]


class TableRandomSampler(TableGPSampler):
    """Points of a table at random."""

    def suggest_point(self, study: Study, trial: FrozenTrial, domain: Domain) -> Points:
        """Draw a new point."""
        used = self.list_used_points(study.get_trials(deepcopy=False), domain)
        points = domain.sample_points(256, self.make_rng(trial))
        return points[domain.are_new(points, used)][:1]


def ask_nearest(study: Study, table: Table) -> Trial:
    """Ask a sampler that knows no table, and take the nearest point that no trial has had."""
    wanted = study.ask(dict(table.space.distributions))
    study.tell(wanted, state=TrialState.FAIL)
    domain, encoder = Domain(table.space), Encoder(table.space)
    trials = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.FAIL]
    points = table.points
    new = points[domain.are_new(points, domain.params_to_points([t.params for t in trials]))]
    steps = encoder.encode_points(new) - encoder.encode_points(
        domain.params_to_points([wanted.params])
    )
    nearest = new[int(np.argmin((steps**2).sum(axis=1)))]
    study.enqueue_trial(domain.point_to_params(nearest))
    return ask_trial(study, table.space)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a replayed search stood after a pack.

    Attributes:
        trials: Trials so far.
        epochs: Share of a whole training spent so far, summed over trials.
        searched: Regret, with the seed that was searched, of the best point trained to the end.
        regret: Regret, with the other seeds, of the point that the surrogate expects most of.
        confirmed: The same of the best of those that would be confirmed.
    """

    trials: int
    epochs: float
    searched: float
    regret: float
    confirmed: float


def replay(
    table: Table,
    sampler: BaseSampler,
    pruner: BasePruner,
    *,
    seed: int,
    trials: int,
    prior: Prior | None = None,
) -> list[Progress]:
    """Search a table once.

    The seed is also that of the trainings, modulo the table's number of them.

    The baseline is in the first pack. A prior is known from the second one on, as it is made from
    the baseline; the points that it expects most of are tried first.
    """
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    trained = seed % table.losses.shape[1]
    study.enqueue_trial(dict(table.params[0]), user_attrs=baseline_attributes())
    found: list[Progress] = []
    epochs = 0.0
    for start in range(0, trials, PACK):
        if prior is not None and start == PACK:
            _propose(study, table, prior)
        pack = [_ask(study, table) for _ in range(min(PACK, trials - start))]
        epochs += _train(study, table, pack, trained)
        found.append(_progress(study, table, trained, trials=start + len(pack), epochs=epochs))
    return found


def _ask(study: Study, table: Table) -> Trial:
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if waiting or isinstance(study.sampler, FeasibleSampler):
        return ask_trial(study, table.space)
    return ask_nearest(study, table)


def _propose(study: Study, table: Table, prior: Prior) -> None:
    domain, points = Domain(table.space), table.points
    used = domain.params_to_points([t.params for t in study.trials])
    proposed = prior.points
    new = domain.are_new(proposed, used) & ~domain.are_new(proposed, points)  # the table has them
    for point in proposed[new][:PROPOSALS]:
        study.enqueue_trial(domain.point_to_params(point))
    if isinstance(study.sampler, FeasibleGPSampler):
        study.sampler.prior = prior


def _train(study: Study, table: Table, pack: list[Trial], seed: int) -> float:
    """Report boundary by boundary, and give the epochs that this took."""
    boundaries = table.losses.shape[2]
    points = {trial.number: table.index(trial.params) for trial in pack}
    curves = {number: table.losses[point, seed] for number, point in points.items()}
    lengths = {number: table.lengths[point, seed] for number, point in points.items()}
    running, spent = list(pack), 0.0
    for step in range(1, boundaries + 1):
        spent += len(running)
        for trial in running:
            if step == lengths[trial.number] < boundaries:
                continue  # a collapse is told, not reported
            loss = float(curves[trial.number][step - 1])
            trial.report(-loss, step)
            append_loss(trial, loss)
        for trial in list(running):
            loss = float(curves[trial.number][step - 1])
            if step == lengths[trial.number]:
                write_ending(trial, _make_report(trial, loss, step, boundaries))
                study.tell(trial, -loss)
                running.remove(trial)
            elif trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                running.remove(trial)
    return float(spent / boundaries)


def _make_report(trial: Trial, loss: float, step: int, boundaries: int) -> Report:
    """Make the last report of a training; of a table's, no more than its loss is known."""
    return Report(
        trial=trial.number,
        ending="completed" if step == boundaries else "collapsed",
        score=-loss,
        loss=loss,
        calibrated_loss=loss,
        components={},
        best_score=-loss,
        step=step,
        train_loss=loss,
        num_parameters=0,
        head_parameters=0,
        seconds=0.0,
    )


def _progress(study: Study, table: Table, seed: int, *, trials: int, epochs: float) -> Progress:
    """Judge the points that would be confirmed now, most expected first."""
    expected = compute_expectations(table.space, study.trials, final_step=table.losses.shape[2])
    completed = [table.index(e.trial.params) for e in sorted(expected, key=lambda e: -e.mean)]
    seen, truth = table.losses[:, seed, -1], table.truth(left_out=seed)
    regrets = truth[completed[:CANDIDATES]] - truth.min()
    return Progress(
        trials=trials,
        epochs=epochs,
        searched=float(seen[completed].min() - seen.min()),
        regret=float(regrets[0]),
        confirmed=float(regrets.min()),
    )
