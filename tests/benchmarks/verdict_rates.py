"""How often verdicts err, replayed on recorded trainings.

    python tests/benchmarks/verdict_rates.py --table tests/benchmarks/trained/cola

Two names stand for one allocation, so nothing is better or worse, unless a difference is planted in
the answers of the choice. A search with the product's own study chooses one of the names. Its
verdict is made from recorded answers to examples that no training saw, of which some play dev. The
choice and the baseline would be the same training with the same seed, so their answers are of
different seeds, without what a seed does to all allocations alike.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
from replay import replay_search
from scipy.special import log_softmax
from tables import Curve, Table, calibrate_margins, read_table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.data.scoring.metrics import Score
from allocator.training.evaluation import Answers
from allocator.tuning.evidence.training_noise import estimate_training_noise
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.verdict import Difference, find_verdict_trials, judge_loss

DEV = 1_000  # examples that play dev
SEEDS = 3

Floats = npt.NDArray[np.float64]


class Twins(Table):
    """Two points that are one allocation of another table, under two names."""

    def __init__(self, table: Table, point: int) -> None:
        base = dict(make_baseline_params(table.space))
        other = {**base, "learning_rate": float(base["learning_rate"]) * 1.5}
        curves = [table.list_curves(point)] * 2
        super().__init__(
            *(table.space_name, [base, other], curves, table.truth[[point] * 2], None),
            expected=table.values[[point] * 2].mean(axis=1),
        )
        self._luck = table

    def draw(self, point: int, seed: int, search: int) -> Curve:
        """Draw a training of the allocation, with a luck of its own for each name."""
        loss, _ = self._luck.draw_luck(point, seed, search)
        return self.list_curves(point)[0].end_at(float(self.values.mean() + loss))


class TwoAllocations(Goal):
    """A goal that has nothing to try but the two names."""

    @property
    def num_allocations(self) -> int:
        """Both names."""
        return 2


class UnseenAnswers:
    """What the trainings of a table answer, calibrated, to examples that none of them saw.

    Args:
        folder: The table's folder.
        points: The points that completed with every seed.

    Attributes:
        labels: Labels of the examples, shape (examples,).
        logits: Second logit minus the first, shape (points, seeds, examples).
        losses: Loss of each answer, of the same shape, without what a seed does to all points.
    """

    def __init__(self, folder: Path, points: Sequence[int]) -> None:
        self.labels = np.load(folder / "unseen_labels.npy").astype(np.int64)
        seeds = [dict(np.load(path)) for path in sorted(folder.glob("seed-*.npz"))]
        self.logits = np.array(
            [[calibrate_margins(arrays, point)[1] for arrays in seeds] for point in points]
        )
        both = np.stack([np.zeros_like(self.logits), self.logits], axis=-1)
        true = np.broadcast_to(self.labels[:, None], (*self.logits.shape, 1))
        losses = -np.take_along_axis(log_softmax(both, axis=-1), true, axis=-1)[..., 0]
        of_seed = losses.mean(axis=(0, 2)) - losses.mean()
        self.losses: Floats = losses - of_seed[:, None]

    def read(self, place: int, seed: int, dev: npt.NDArray[np.intp]) -> Answers:
        """Read the answers of one training to some examples."""
        predictions = (self.logits[place, seed, dev] > 0).astype(np.float64)
        score = Score(value=float(np.mean(predictions == self.labels[dev])), components={})
        return Answers(losses=self.losses[place, seed, dev], predictions=predictions, score=score)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What a verdict is made from: `SEEDS` answers each, and the noise that the search has seen."""

    choice: Sequence[Answers]
    baseline: Sequence[Answers]
    noise: tuple[float, float] | None

    def judge(self, planted: float) -> Difference:
        """Judge the choice, with a difference added to its losses."""
        moved = [replace(a, losses=a.losses + planted) for a in self.choice]
        return judge_loss(moved, self.baseline, noise=self.noise)


def search_twins(
    table: Table, points: Sequence[int], unseen: UnseenAnswers, search: int
) -> Proof | None:
    """Search among two names of one allocation; None if the baseline's is chosen."""
    rng = np.random.default_rng(search)
    place = int(rng.integers(len(points)))
    twins = Twins(table, points[place])
    found = replay_search(
        twins, search=search, trials=28, verdict_seeds=SEEDS, prior="none", goal=TwoAllocations
    )
    if found.point == 0:
        return None
    study, (base, other) = found.study, twins.params
    assert len(find_verdict_trials(study.space, study.trials, [other, base])) == SEEDS
    dev = rng.permutation(len(unseen.labels))[:DEV]
    seeds = rng.permutation(table.values.shape[1])[: 2 * SEEDS]
    answers = [unseen.read(place, int(seed), dev) for seed in seeds]
    return Proof(
        choice=answers[:SEEDS],
        baseline=answers[SEEDS:],
        noise=estimate_training_noise(study.expect().allocations, first_seed=0),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Shares of the verdicts on a planted difference.

    Attributes:
        better: Those that call the choice better.
        undecided: Those that call it not distinguishable.
        worse: Those that call it worse.
        covered: Those whose interval covers the difference.
    """

    better: float
    undecided: float
    worse: float
    covered: float


def count_verdicts(proofs: Sequence[Proof], planted: float) -> Rates:
    """Judge all choices with a difference added to their losses, and count the verdicts."""
    judged = [proof.judge(planted) for proof in proofs]
    words = Counter(difference.words for difference in judged)
    return Rates(
        better=words["better"] / len(judged),
        undecided=words["not distinguishable"] / len(judged),
        worse=words["worse"] / len(judged),
        covered=sum(d.low <= planted <= d.high for d in judged) / len(judged),
    )


def find_typical(proofs: Sequence[Proof]) -> float:
    """Find the difference that verdicts say they would find in 80%, in the mean of squares."""
    return float(np.sqrt(np.mean([proof.judge(0.0).detectable ** 2 for proof in proofs])))


_job: tuple[Table, Sequence[int], UnseenAnswers]


def _prepare(folder: Path) -> None:
    global _job  # noqa: PLW0603  # a pool's processes get their argument this way
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    threadpool_limits(1)
    table = read_table(folder)
    points = np.flatnonzero(table.sound).tolist()
    _job = table, points, UnseenAnswers(folder, points)


def _search(search: int) -> Proof | None:
    return search_twins(*_job, search)


def main(argv: Sequence[str]) -> None:
    """Count verdicts with nothing planted, and with one, two and three detectable differences.

    The last row has one of them against the choice.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--searches", type=int, default=400)
    parser.add_argument("--first", type=int, default=0, help="number of the first search")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args(argv)
    with multiprocessing.Pool(arguments.processes, _prepare, (arguments.table,)) as pool:
        found = pool.map(_search, range(arguments.first, arguments.first + arguments.searches))
    proofs = [proof for proof in found if proof is not None]
    print(f"{len(proofs)} of {arguments.searches} searches chose the other name")
    typical = find_typical(proofs)
    print(f"the difference that a verdict says it would find in 80%: {typical:.4f}")
    print("planted  better  not distinguishable  worse  intervals that cover it")
    for times in (0, 1, 2, 3, -1):
        rates = count_verdicts(proofs, planted := -times * typical)
        print(
            f"{planted:+.4f} {rates.better:7.1%} {rates.undecided:20.1%} {rates.worse:6.1%} "
            f"{rates.covered:24.1%}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
