"""How well what is known halfway through a training foretells how it ends.

Reads the `training.csv` of a sweep. Allocations are ranked by what one seed shows halfway, and by
the mean final score of the other seeds; the rank correlation of the two is averaged over seeds.
Trainings that collapsed are left out: pruning has nothing to decide there.

    python tests/benchmarks/foretelling.py studies/cola-minilm-tenslora-plus/training.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

MEASURES = ("calibrated_loss", "loss", "score")


def correlations(training: pd.DataFrame, measure: str) -> list[float]:
    """Correlate a measure halfway with the final scores of the other seeds, seed by seed."""
    last_step = int(training.step.max())
    halfway = training[training.step == last_step // 2].pivot(
        index="name", columns="seed", values=measure
    )
    ends = training[training.step == last_step].pivot(index="name", columns="seed", values="score")
    found = []
    for seed in ends.columns:
        others = ends.drop(columns=seed).mean(axis=1)
        pairs = (
            pd.concat([halfway[seed].loc[ends[seed].dropna().index], others], axis=1)
            .dropna()
            .to_numpy()
        )
        found.append(float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic))
    return found


def main() -> None:
    """Print one line a measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training", type=Path)
    training = pd.read_csv(parser.parse_args().training)
    last = training[training.step == training.step.max()]
    print(f"{len(last)} trainings of {last['name'].nunique()} allocations reached their end")
    for measure in MEASURES:
        print(f"{measure:16} {np.mean(correlations(training, measure)):+.2f}")


if __name__ == "__main__":
    main()
