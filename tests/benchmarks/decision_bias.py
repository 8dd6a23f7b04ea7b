"""Whether decisions at a threshold other than one half are better on the task's metric.

    python tests/benchmarks/decision_bias.py --table tests/benchmarks/trained/cola

For every point of a table, the threshold that is best on the parts that its seeds hold out, pooled,
is tried on examples that no training saw, beside the threshold at which the two classes are
equally probable. Errors are over groups of those examples (jackknife) and over points.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import sem
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from tables import calibrate_margins

METRICS = {"mcc": matthews_corrcoef, "f1": f1_score, "accuracy": accuracy_score}
GROUPS = 50
CANDIDATES = 101  # thresholds that are tried, at even shares of the pooled examples

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]


class PointAnswers:
    """What all seeds of one point answer: calibrated differences of the two logits.

    Args:
        seeds: The arrays of every seed of a table.
        point: The point.
    """

    def __init__(self, seeds: Sequence[dict[str, npt.NDArray[np.generic]]], point: int) -> None:
        self.own: list[Floats] = []
        self.own_labels: list[Labels] = []
        self.unseen: list[Floats] = []
        for arrays in seeds:
            if f"own_{point}" not in arrays:
                continue  # it collapsed
            own, unseen = calibrate_margins(arrays, point)
            self.own.append(own)
            self.own_labels.append(arrays["own_labels"].astype(np.int8))
            self.unseen.append(unseen)

    def choose_threshold(self, metric: str) -> float:
        """Choose the threshold that is best for a metric on the pooled parts held out."""
        own, labels = np.concatenate(self.own), np.concatenate(self.own_labels)
        tried = np.quantile(own, np.linspace(0, 1, CANDIDATES))
        scores = [METRICS[metric](labels, own > threshold) for threshold in tried]
        return float(tried[int(np.argmax(scores))])

    def compute_gains(
        self, metric: str, labels: Labels, groups: Sequence[npt.NDArray[np.intp]]
    ) -> Floats:
        """Compute what the threshold gains on all unseen examples, and without each group."""
        threshold = self.choose_threshold(metric)
        score = METRICS[metric]
        gains = []
        for left_out in (np.array([], dtype=np.intp), *groups):
            keep = np.ones(len(labels), dtype=bool)
            keep[left_out] = False
            truth = labels[keep]
            gains.append(
                np.mean(
                    [
                        score(truth, u[keep] > threshold) - score(truth, u[keep] > 0)
                        for u in self.unseen
                    ]
                )
            )
        return np.array(gains)


def main(argv: Sequence[str]) -> None:
    """Print the gain of a threshold for every metric."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, required=True, help="a folder of recorded trainings")
    folder = parser.parse_args(argv).table
    seeds = [dict(np.load(path)) for path in sorted(folder.glob("seed-*.npz"))]
    labels = np.load(folder / "unseen_labels.npy")
    order = np.random.default_rng(0).permutation(len(labels))
    groups = np.array_split(order, GROUPS)
    points = sorted(
        {
            int(name[4:])
            for s in seeds
            for name in s
            if name.startswith("own_") and name[4:].isdigit()
        }
    )
    answers = [PointAnswers(seeds, point) for point in points]
    print(f"{folder.name}: {len(points)} points, {len(seeds)} seeds, {len(labels)} unseen examples")
    for metric in METRICS:
        gains = np.array([a.compute_gains(metric, labels, groups) for a in answers])
        mean = gains.mean(axis=0)
        jackknife = np.sqrt((GROUPS - 1) * np.var(mean[1:]))
        error = float(np.hypot(jackknife, sem(gains[:, 0])))
        print(
            f"{metric:8} {mean[0]:+.4f} ± {error:.4f}, better for "
            f"{np.mean(gains[:, 0] > 0):.0%} of the points"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
