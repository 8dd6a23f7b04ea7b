"""Sentences a second of one trial, against transformers' Trainer with PEFT's LoRA.

Every alternative trains the same sentences with the same model, batch 32, in turn, round after
round in one process, so that a machine that slows down slows all of them:

    python tests/benchmarks/training_speed.py --data-dir FOLDER --json speed.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from allocator.adapters import AdapterSpec
from allocator.adapters.projections import PROJECTION_NAMES, find_projections
from allocator.allocation import AdapterShape, Allocation
from allocator.command import model_cache
from allocator.config import AdapterConfig, Precision, TrainingConfig
from allocator.training.backbone import load_backbone, load_tokenizer
from allocator.training.batches import epoch_order, tokenize
from allocator.training.data_sources import load_task
from allocator.training.models import ModelSource, locate_model
from allocator.training.slot import Slot
from allocator.training.tasks import Examples

BATCH, WARM_UP = 32, 5
TARGETS = ("query", "key", "value")
Runner = Callable[[], float]


class Stopwatch(TrainerCallback):
    """Times the steps of a Trainer after its first few."""

    def __init__(self) -> None:
        self.start = 0.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Start the watch when the warm-up is over."""
        del args, control
        if state.global_step == WARM_UP:
            self.start = time.perf_counter()


def peer(model: ModelSource, examples: Examples, steps: int, *, bf16: bool) -> Runner:
    """Transformers' Trainer with PEFT's LoRA, rank 8, and the default padding collator."""
    tokenizer = load_tokenizer(model)
    rows = Dataset.from_dict(
        {
            **tokenizer([text[0] for text in examples.texts], truncation=True),
            "labels": list(examples.labels),
        }
    )
    plain = AutoModelForSequenceClassification.from_pretrained(model.folder, num_labels=2)
    names = [name for layer in find_projections(plain, TARGETS) for name, _ in layer]
    last_names = sorted({name.rsplit(".", 1)[-1] for name in names})
    assert all(any(n in known for known in PROJECTION_NAMES.values()) for n in last_names)
    lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, target_modules=last_names)
    peft_model = get_peft_model(plain, lora)

    def run() -> float:
        watch = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=BATCH,
                max_steps=WARM_UP + steps,
                learning_rate=1e-3,
                bf16=bf16,
                use_cpu=not torch.cuda.is_available(),
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
            )
            Trainer(
                model=peft_model,
                args=arguments,
                train_dataset=rows,
                data_collator=DataCollatorWithPadding(tokenizer),
                callbacks=[watch],
            ).train()
        return steps * BATCH / (time.perf_counter() - watch.start)

    return run


def ours(model: ModelSource, examples: Examples, steps: int, precision: Precision) -> Runner:
    """One trial as the search trains it: Tucker rank 8 in every mode."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = load_backbone(model, TARGETS, num_labels=2, precision=precision, device=device)
    split = tokenize(examples, load_tokenizer(model), max_length=128)
    shape = AdapterShape(
        construction="att_qkv_depth", factorization="tucker", backbone=backbone.sites.shape
    )
    spec = AdapterSpec(shape=shape, config=AdapterConfig())
    allocation = Allocation(ranks=dict.fromkeys(shape.rank_names, 8), learning_rate=1e-3)

    def run() -> float:
        slot = Slot(allocation, spec, backbone, TrainingConfig(epochs=1), WARM_UP + steps)
        order = epoch_order(split, BATCH, seed=0, epoch=0)
        order = [indices for indices in order if len(indices) == BATCH]
        for indices in order[:WARM_UP]:
            slot.step(split.batch(indices, device))
        slot.mean_loss()  # waits for the device
        start = time.perf_counter()
        for indices in order[WARM_UP : WARM_UP + steps]:
            slot.step(split.batch(indices, device))
        slot.mean_loss()
        return steps * BATCH / (time.perf_counter() - start)

    return run


def main() -> None:
    """Run the alternatives in turn and print their medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--data-dir", type=Path, help="holds CoLA; default: the bundled corpus")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = locate_model(arguments.model, model_cache())
    data = load_task(
        "cola", source="dir" if arguments.data_dir else "bundled", data_dir=arguments.data_dir
    )
    examples = data.train.select(range(min(len(data.train), 4 * BATCH * arguments.steps)))
    runners = {
        "Trainer, PEFT LoRA, float32": peer(model, examples, arguments.steps, bf16=False),
        "Trainer, PEFT LoRA, bf16": peer(model, examples, arguments.steps, bf16=True),
        "ours, float32": ours(model, examples, arguments.steps, "float32"),
        "ours, bfloat16": ours(model, examples, arguments.steps, "bfloat16"),
    }
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(arguments.rounds):
        for name, run in runners.items():
            rates[name].append(run())
            print(f"round {number + 1}: {name}: {rates[name][-1]:.0f} sentences/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    peers = [value for name, value in medians.items() if name.startswith("Trainer")]
    for name, value in medians.items():
        print(f"{name:32} {value:8.0f} sentences/s {value / max(peers):6.2f} x the better peer")
    if arguments.json:
        report = {"data": data.source, "rates": rates, "medians": medians}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
