"""Recorded trainings, by which searches are replayed: every allocation with several seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from allocator.allocation.constructions import BackboneShape
from allocator.training.calibration import compute_calibrated_loss, fit_calibration
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Params, Space
from allocator.tuning.space.space_file import SpaceFile, read_space
from allocator.tuning.surrogate.observations import Observation
from allocator.tuning.surrogate.surrogate import Surrogate

Floats = npt.NDArray[np.float64]
MINILM = BackboneShape(d_in=384, heads=12, head_size=32, layers=6)
BUDGET = 40_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One training of a table.

    Attributes:
        losses: Calibrated loss at every boundary; fewer boundaries if it collapsed.
        scores: The task's metric at every boundary.
        collapsed: Whether it collapsed at its last boundary.
    """

    losses: Sequence[float]
    scores: Sequence[float]
    collapsed: bool

    def end_at(self, loss: float, score: float | None = None) -> Curve:
        """Shift losses, and scores if one is given, so that these are the last ones."""
        shift, rise = loss - self.losses[-1], (score or 0.0) - self.scores[-1]
        return Curve(
            losses=[value + shift for value in self.losses],
            scores=self.scores if score is None else [value + rise for value in self.scores],
            collapsed=self.collapsed,
        )


class Table:
    """Recorded trainings of some points of a space, the first of which is the baseline.

    A training that a search asks for ends at what its point is expected to, with the luck of
    another point with one of the recorded seeds, drawn at random. So searches differ in all luck.

    Args:
        space_name: Name of the space.
        params: Parameters of every point.
        curves: The trainings, by point and seed.
        truth: What every point is worth, shape (points,); lower is better.
        baseline: Folder of the baseline's tables, for priors; None if there is none.
        expected: What a further training of every point is expected to end at, shape (points,).

    Attributes:
        space: The space, on MiniLM within the budget.
        file: The space as a file.
        boundaries: Boundaries of a whole training.
        values: Loss at the end of every training, shape (points, seeds).
    """

    def __init__(
        self,
        space_name: str,
        params: Sequence[Params],
        curves: Sequence[Sequence[Curve]],
        truth: Floats,
        baseline: Path | None,
        *,
        expected: Floats,
    ) -> None:
        self.space_name = space_name
        self.file: SpaceFile = read_space(space_name)
        self.space: Space = build_space(self.file, MINILM, BUDGET)
        self.params, self.truth, self.baseline = params, truth, baseline
        self._curves, self._expected = curves, expected
        self.boundaries = max(len(c.losses) for of_point in curves for c in of_point)
        self.values = np.array([[c.losses[-1] for c in of_point] for of_point in curves])
        self.scores = np.array([[c.scores[-1] for c in of_point] for of_point in curves])
        self.sound = np.array([not any(c.collapsed for c in of_point) for of_point in curves])
        self._expected_scores = self._expect_scores()

    def _expect_scores(self) -> Floats:
        """Expect of every point's metric what its seeds agree on, beyond the mean of all points.

        The share that they agree on is the intraclass correlation of the sound points' means
        (Shrout and Fleiss 1979, case 1), which for little trained models is near 0.
        """
        sound = self.scores[self.sound]
        means, seeds = sound.mean(axis=1), sound.shape[1]
        between = seeds * means.var(ddof=1)
        within = float(np.mean(sound.var(axis=1, ddof=1)))
        share = max(0.0, 1 - within / between) if between else 0.0
        center = float(means.mean())
        return np.asarray(
            np.where(
                self.sound,
                center + share * (self.scores.mean(axis=1) - center),
                self.scores.mean(axis=1),
            )
        )

    def draw(self, point: int, seed: int, search: int) -> Curve:
        """Return the training of a point with a seed, in one of many replayed searches."""
        recorded = self.values.shape[1]
        rng = np.random.default_rng([search, seed, point])
        curve = self._curves[point][int(rng.integers(recorded))]
        if curve.collapsed or not self.sound[point]:
            return curve
        loss, score = self.draw_luck(point, seed, search)
        return curve.end_at(
            float(self._expected[point] + loss), float(self._expected_scores[point] + score)
        )

    def list_curves(self, point: int) -> Sequence[Curve]:
        """List the recorded trainings of a point."""
        return self._curves[point]

    def draw_luck(self, point: int, seed: int, search: int) -> tuple[float, float]:
        """Draw by how much a training differs from what its point is worth, in loss and score."""
        seeds = self.values.shape[1]
        # The same luck of the seed for all points, and of each point its own.
        column = int(np.random.default_rng([search, seed]).integers(seeds))
        rng = np.random.default_rng([search, seed, point, 1])
        other = int(rng.choice(np.flatnonzero(self.sound)))
        # A mean of k values takes a k-th of the luck with it.
        inflation = float(np.sqrt(seeds / (seeds - 1)))
        return (
            inflation * float(self.values[other, column] - self.values[other].mean()),
            inflation * float(self.scores[other, column] - self.scores[other].mean()),
        )


def read_first_table(folder: Path) -> Table:
    """Read the table of 204 points on a part of CoLA, three seeds on the same held-out sentences.

    No sentences are left to tell what a point is worth. Its truth is what the surrogate expects
    from all three seeds and the neighbours; the mean of three seeds alone is half luck.
    """
    space = build_space(read_space("tenslora_plus"), MINILM, BUDGET)
    kinds = dict.fromkeys(space.rank_columns, int)
    points = pd.read_csv(folder / "points.csv").astype(kinds)
    params = [{str(n): v for n, v in row.items()} for row in points.to_dict("records")]
    read = [pd.read_csv(p, keep_default_na=False) for p in sorted(folder.glob("curves-*.csv*"))]
    curves = [[_read_curve(table, point) for table in read] for point in range(len(params))]
    sound = [not any(c.collapsed for c in of_point) for of_point in curves]
    observations = [
        Observation(params=params[point], seed=seed, fidelity=1.0, score=-curve.losses[-1])
        for point, of_point in enumerate(curves)
        for seed, curve in enumerate(of_point)
        if sound[point]
    ]
    expected, _ = Surrogate.fit(space, observations).predict(params)
    # A training that collapsed ended at the loss of the class shares.
    means = [np.mean([c.losses[-1] for c in of_point]) for of_point in curves]
    truth = np.where(sound, -expected, means)
    return Table(
        *("tenslora_plus", params, curves, truth, folder / "baseline"),
        expected=truth,
    )


def read_table(folder: Path, *, share: float = 0.25, rotates: bool = True, draw: int = 0) -> Table:
    """Read a table that `trained_table.py` made, on which every seed held out its own part.

    Args:
        folder: The table's folder.
        share: Share of the examples that a seed is scored on: at most the one that was held out.
        rotates: Whether every seed is scored on its own part; otherwise all are scored on the same
            examples, taken from those that no training saw.
        draw: Number of the draw of those examples, or of the part of those that a seed held out.
    """
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    params = json.loads((folder / "points.json").read_text(encoding="utf-8"))
    read = [pd.read_csv(p, keep_default_na=False) for p in sorted(folder.glob("seed-*.csv.gz"))]
    outputs = [np.load(p) for p in sorted(folder.glob("seed-*.npz"))]
    unseen_labels = np.load(folder / "unseen_labels.npy")
    scored = round(share / about["held_out"] * len(outputs[0]["own_labels"]))
    # What all seeds are scored on is not what tells how good they are.
    shuffled = np.random.default_rng(draw).permutation(len(unseen_labels))
    fixed, rest = shuffled[:scored], shuffled[0 if rotates else scored :]
    part = np.random.default_rng(draw).permutation(len(outputs[0]["own_labels"]))[:scored]
    curves, truths = [], []
    for point in range(len(params)):
        of_point, worth = [], []
        for table, arrays in zip(read, outputs, strict=True):
            curve = _read_curve(table, point)
            if curve.collapsed:
                worth.append(_compute_shares_loss(unseen_labels[rest]))
            else:
                unseen = arrays[f"unseen_{point}"]
                own = arrays[f"own_{point}"][part], arrays["own_labels"][part]
                same = unseen[fixed], unseen_labels[fixed]
                if not rotates or share < about["held_out"]:
                    curve = curve.end_at(_compute_loss(*(own if rotates else same)))
                worth.append(_compute_loss(unseen[rest], unseen_labels[rest]))
            of_point.append(curve)
        curves.append(of_point)
        truths.append(float(np.mean(worth)))
    baseline = folder / "baseline" if (folder / "baseline").exists() else None
    truth = np.array(truths)
    means = np.array([np.mean([c.losses[-1] for c in of_point]) for of_point in curves])
    return Table(
        *(about["space"], params, curves, truth, baseline),
        # Examples that all seeds share always err alike; those of each seed its own do not.
        expected=truth + means.mean() - truth.mean() if rotates else means,
    )


def calibrate_margins(
    arrays: Mapping[str, npt.NDArray[np.generic]], point: int
) -> tuple[Floats, Floats]:
    """Calibrate the margins of one training, in the arrays of its seed, as a search does.

    Returns:
        Those of the examples that the seed holds out, and of the unseen ones.
    """
    own, labels = arrays[f"own_{point}"].astype(np.float64), arrays["own_labels"]
    logits = np.column_stack([np.zeros(len(own)), own])
    calibration = fit_calibration(logits, labels.astype(np.int64))
    assert calibration is not None
    return calibration.scale * own, calibration.scale * arrays[f"unseen_{point}"].astype(np.float64)


def _read_curve(table: pd.DataFrame, point: int) -> Curve:
    # A training that diverged ends with a second row for its last boundary, or with one before all.
    mine = table[table.point == point].drop_duplicates("step", keep="last").query("step > 0")
    return Curve(
        losses=mine.calibrated_loss.tolist(),
        scores=mine.score.tolist(),
        collapsed=mine.ending.iloc[-1] != "completed",
    )


def _compute_loss(margins: npt.NDArray[np.float16], labels: npt.NDArray[np.int8]) -> float:
    """Compute the calibrated loss of a task of two classes from the differences of its logits."""
    logits = np.column_stack([np.zeros(len(margins)), margins.astype(np.float64)])
    return compute_calibrated_loss(logits, labels.astype(np.int64))


def _compute_shares_loss(labels: npt.NDArray[np.int8]) -> float:
    share = float(labels.mean())
    return float(-share * np.log(share) - (1 - share) * np.log(1 - share))
