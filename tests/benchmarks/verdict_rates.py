"""How often verdicts err, replayed on recorded trainings.

    python tests/benchmarks/verdict_rates.py --table tests/benchmarks/trained/cola

Two names stand for one allocation, so nothing is better or worse, unless a difference is planted in
the answers of the choice. A search with the product's own study chooses one of the names; its
verdict is made from recorded answers to examples that no training saw, of which some play dev.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
from replay import replay_search
from scipy.special import log_softmax
from tables import Curve, Table, read_table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.data.metrics import Score
from allocator.training.calibration import fit_calibration
from allocator.training.evaluation import Answers
from allocator.tuning.space.space import make_baseline_params
from allocator.tuning.study.verdict import Difference, estimate_noise, find_verdict_trials, judge

DEV = 1_000  # examples that play dev
SEEDS = 3


class Twins(Table):
    """Two points that are one allocation of another table, under two names."""

    def __init__(self, table: Table, point: int) -> None:
        base = dict(make_baseline_params(table.space))
        other = {**base, "learning_rate": float(base["learning_rate"]) * 1.5}
        curves = [table.list_curves(point)] * 2
        super().__init__(
            *(table.space_name, [base, other], curves, table.truth[[point] * 2], None),
            expected=table.values[[point] * 2].mean(axis=1),
            is_recorded=False,
        )
        self._luck = table

    def draw(self, point: int, seed: int, search: int) -> Curve:
        """Draw a training of the allocation, with a luck of its own for each name."""
        drawn = self._luck.draw_luck(seed, 2 * search + point)
        return self.list_curves(point)[0].end_at(float(self.truth_of_training + drawn))

    @property
    def truth_of_training(self) -> float:
        """What the allocation ends at on average."""
        return float(self.values.mean())


def read_answers(folder: Path, point: int, dev: npt.NDArray[np.intp]) -> list[Answers]:
    """Read the calibrated answers of all recorded seeds of a point to the examples of dev."""
    labels = np.load(folder / "unseen_labels.npy")[dev].astype(np.int64)
    answers = []
    for path in sorted(folder.glob("seed-*.npz")):
        arrays = np.load(path)
        if f"own_{point}" not in arrays:
            continue
        own, unseen = (_make_logits(arrays[f"{part}_{point}"]) for part in ("own", "unseen"))
        calibration = fit_calibration(own, arrays["own_labels"].astype(np.int64))
        assert calibration is not None
        logits = calibration.scale * unseen[dev]
        losses = -log_softmax(logits, axis=1)[np.arange(len(dev)), labels]
        predictions = logits.argmax(axis=1).astype(np.float64)
        score = Score(value=float(np.mean(predictions == labels)), components={})
        answers.append(Answers(losses=losses, predictions=predictions, score=score))
    return answers


def _make_logits(margins: npt.NDArray[np.float16]) -> npt.NDArray[np.float64]:
    return np.column_stack([np.zeros(len(margins)), margins.astype(np.float64)])


def judge_once(folder: Path, table: Table, search: int, planted: float) -> Difference | None:
    """Search among two names of one allocation, and judge the choice.

    Args:
        folder: Folder of the table.
        table: The table.
        search: Number of the search.
        planted: Added to the losses of the choice.

    Returns:
        The verdict on the loss; None if the baseline was chosen.
    """
    rng = np.random.default_rng(search)
    point = int(rng.choice(np.flatnonzero(table.sound)))
    dev = rng.permutation(len(np.load(folder / "unseen_labels.npy")))[:DEV]
    twins = Twins(table, point)
    found = replay_search(twins, search=search, trials=16, verdict_seeds=SEEDS, prior="none")
    if found.point == 0:
        return None
    study = found.study
    base, other = twins.params
    pairs = find_verdict_trials(study.space, study.trials, other, base)
    assert len(pairs) == SEEDS
    answers = [read_answers(folder, point, dev)[i] for i in rng.permutation(table.values.shape[1])]
    choice = [replace(a, losses=a.losses + planted) for a in answers[:SEEDS]]
    labels = np.load(folder / "unseen_labels.npy")[dev].astype(np.int64)
    loss, _ = judge(
        choice,
        answers[SEEDS : 2 * SEEDS],
        labels,
        metric="accuracy",
        noise=estimate_noise(study.expect()),
    )
    return loss


def main(argv: Sequence[str]) -> None:
    """Count verdicts with nothing planted, and with one, two and three detectable differences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--searches", type=int, default=400)
    arguments = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read_table(arguments.table)
    with threadpool_limits(1):
        null = [judge_once(arguments.table, table, s, 0.0) for s in range(arguments.searches)]
        judged = [d for d in null if d is not None]
        print(f"nothing planted: {len(judged)} choices, {Counter(d.words for d in judged)}")
        typical = float(np.sqrt(np.mean([d.detectable**2 for d in judged])))
        for times in (1, 2, 3):
            planted = -times * typical
            moved = [
                d
                for s in range(arguments.searches)
                if (d := judge_once(arguments.table, table, s, planted)) is not None
            ]
            covered = np.mean([d.low <= planted <= d.high for d in moved])
            better = np.mean([d.words == "better" for d in moved])
            print(f"planted {planted:+.4f}: {covered:.1%} covered, {better:.1%} better", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
