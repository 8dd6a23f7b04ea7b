"""Memory of a worker: its peak by number of slots, and its growth from trial to trial.

Each number of slots runs in a process of its own, on the bundled corpus:

    python tests/benchmarks/memory.py --slots 1 8 16 --trials 200
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import load_backbone
from allocator.config import AdapterConfig, Precision, TrainingConfig, default_model_cache
from allocator.data.sources import load_task
from allocator.inputs.tokens import tokenize_examples
from allocator.models.model_source import locate_model
from allocator.models.preprocessors import load_tokenizer
from allocator.training.loop import train_trials
from allocator.training.messages import Boundary, Job, Orders
from allocator.training.splits import Splits
from allocator.workers.precision import choose_precision
from allocator.workers.throughput import measure_peak_memory_gib

TARGETS = ("query", "key", "value")
SENTENCES = 128


def run(model_name: str, slots: int, trials: int, precision: Precision | None) -> None:
    """Train trials of one short epoch, and print the memory in use as each ends."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = locate_model(model_name, default_model_cache())
    precision = precision or choose_precision(device, 384)
    backbone = load_backbone(model, TARGETS, num_labels=2, precision=precision, device=device)
    data = load_task("cola", source="bundled", data_dir=None)
    tokenizer = load_tokenizer(model)
    train_split = tokenize_examples(data.train.select(range(SENTENCES)), tokenizer, max_length=128)
    scoring = tokenize_examples(data.dev.select(range(64)), tokenizer, max_length=128)
    shape = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=backbone.sites.shape
    )
    waiting = [
        Job(
            trial=number,
            spec=AdapterSpec(shape=shape, config=AdapterConfig()),
            allocation=Allocation(
                ranks=dict.fromkeys(shape.rank_names, 1 + number % 8), learning_rate=1e-3
            ),
            seed=0,
            save_to=Path(),
        )
        for number in range(trials)
    ]
    ended = 0

    def on_boundary(boundary: Boundary) -> Orders | None:
        nonlocal ended
        ended += len(boundary.reports)
        if boundary.reports and (ended % (5 * slots) == 0 or ended == trials):
            now = psutil.Process().memory_info().rss / 2**30
            print(
                f"{precision}, {slots} slots, {ended} trials: now {now:.2f} GiB, "
                f"peak {measure_peak_memory_gib(device):.2f} GiB",
                flush=True,
            )
        jobs = tuple(waiting[: boundary.slots])  # each trial is one epoch, so all places are free
        del waiting[: boundary.slots]
        return Orders(jobs=jobs) if jobs else None

    train_trials(
        backbone,
        Splits(train=train_split, scoring=scoring, metric=data.task.metric),
        TrainingConfig(epochs=1),
        slots=slots,
        on_boundary=on_boundary,
        on_completed=lambda *_: None,
    )


def main() -> None:
    """Measure every number of slots in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: the faster one"
    )
    arguments = parser.parse_args()
    if len(arguments.slots) == 1:
        run(arguments.model, arguments.slots[0], arguments.trials, arguments.precision)
        return
    for slots in arguments.slots:
        command = [sys.executable, __file__, "--model", arguments.model, "--slots", str(slots)]
        command += ["--trials", str(arguments.trials)]
        command += ["--precision", arguments.precision] if arguments.precision else []
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
