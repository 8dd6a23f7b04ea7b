"""What one order of the data for all epochs costs, against a new order every epoch.

A study gives all epochs one order, so that a trial may start wherever an epoch does. The same
allocations are trained with the same seeds in both ways, on the part of CoLA that
`trained_table.py` uses, and what they reach is compared pair by pair:

    python tests/benchmarks/data_order.py --data-dir FOLDER --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pandas as pd
from trained_table import Feeder, Keeper, make_recorder

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import Backbone
from allocator.config import AdapterConfig, TrainingConfig
from allocator.inputs.batches import order_epoch
from allocator.training import epoch
from allocator.training.loop import train_trials
from allocator.training.messages import Job, Report
from allocator.training.splits import Splits

RECIPE = TrainingConfig(epochs=3, batch_size=32)
RATES = ((1e-3, 1.0), (1e-3, 2.0), (1e-3, 4.0), (2e-3, 1.0), (5e-4, 4.0))  # with lambda


def jobs(backbone: Backbone, seed: int) -> list[Job]:
    """List what is trained: a Tucker adapter at several rates, and LoRA at some of them."""
    tucker = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=backbone.sites.shape
    )
    lora = AdapterShape(
        construction="matrix", factorization="matrix", backbone=backbone.sites.shape
    )
    uniform = dict(zip(tucker.rank_names, (12, 12, 12, 3, 6), strict=True))
    chosen = [(tucker, uniform, *rates) for rates in RATES]
    chosen += [(lora, dict.fromkeys(lora.rank_names, 2), *rates) for rates in RATES[:3]]
    return [
        Job(
            trial=number,
            spec=AdapterSpec(shape=shape, config=AdapterConfig()),
            allocation=Allocation(ranks=ranks, learning_rate=rate, core_lr_multiplier=multiplier),
            seed=seed,
            save_to=Path(),
        )
        for number, (shape, ranks, rate, multiplier) in enumerate(chosen)
    ]


def new_order_every_epoch(
    lengths: npt.NDArray[np.int64], batch_size: int, *, seed: int
) -> list[list[int]]:
    """Chain the orders of all epochs to one long epoch."""
    seeds = [seed + 1000 * epoch for epoch in range(RECIPE.epochs)]
    return [batch for s in seeds for batch in order_epoch(lengths, batch_size, seed=s)]


def ends(backbone: Backbone, splits: Splits, seed: int, *, is_one_order: bool) -> list[Report]:
    """Train all jobs together and return their last reports."""
    config = RECIPE
    if not is_one_order:
        config = config.model_copy(update={"epochs": 1, "boundaries_per_epoch": RECIPE.epochs})
    keeper = Keeper()
    listed = jobs(backbone, seed)
    with patch.object(epoch, "order_epoch", order_epoch if is_one_order else new_order_every_epoch):
        train_trials(
            backbone,
            splits,
            config,
            slots=len(listed),
            on_boundary=Feeder(listed, keeper),
            on_completed=lambda *_: None,
        )
    return [reports[-1] for reports in keeper.trainings]


def compare(found: pd.DataFrame) -> None:
    """Print the mean of both ways, and of their difference with its standard error."""
    for column in ("score", "calibrated_loss"):
        pairs = found.pivot(index=["seed", "trial"], columns="order", values=column)
        means = {order: float(pairs[order].to_numpy().mean()) for order in ("one", "new")}
        change = (pairs["one"] - pairs["new"]).to_numpy()
        error = change.std(ddof=1) / np.sqrt(len(change))
        print(
            f"{column}: one order {means['one']:.4f}, new orders {means['new']:.4f}, "
            f"difference {change.mean():+.4f} ± {error:.4f} ({len(change)} pairs)"
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Train in both ways and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args(argv)
    recorder = make_recorder("cola", "tenslora_plus", arguments.data_dir, Path())
    backbone, splits = recorder.backbone, recorder.splits
    rows = []
    for seed in arguments.seeds:
        for order in ("one", "new"):
            for report in ends(backbone, splits, seed, is_one_order=order == "one"):
                kept = {"score": report.score, "calibrated_loss": report.calibrated_loss}
                rows.append({"seed": seed, "order": order, "trial": report.trial, **kept})
            scores = [row["score"] for row in rows[-len(jobs(backbone, seed)) :]]
            print(f"seed {seed}, {order}: mean score {np.mean(scores):.4f}", flush=True)
    found = pd.DataFrame(rows)
    compare(found)
    if arguments.csv:
        found.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
