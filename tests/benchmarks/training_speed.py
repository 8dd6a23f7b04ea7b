"""Sentences a second of packed trials, of what one would build instead, and of the floors below.

Every alternative trains the same sentences with the same model, 32 sentences a trial and step, in
turn, round after round in one process, so that a machine that slows down slows all of them:

    python tests/benchmarks/training_speed.py --data-dir FOLDER --json speed.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from allocator.allocation.adapter_shape import AdapterShape, AdapterSpec
from allocator.allocation.allocation import Allocation
from allocator.backbone.backbone import load_backbone
from allocator.backbone.frozen_linear import FrozenLinear
from allocator.config import AdapterConfig, Precision, TrainingConfig, default_model_cache
from allocator.data.sources import load_task
from allocator.data.tasks import Examples
from allocator.inputs.batches import Batch, order_epoch
from allocator.inputs.tokens import TokenizedSplit, tokenize_examples
from allocator.models.model_source import ModelSource, locate_model
from allocator.models.preprocessors import load_tokenizer
from allocator.models.projections import find_projections
from allocator.training.pack import TrainingPack
from allocator.training.training_slot import TrainingSlot
from allocator.workers.precision import choose_precision

BATCH, WARM_UP = 32, 5
WIDTH = 384  # of the product by which the precision of frozen weights is chosen
TARGETS = ("query", "key", "value")
Runner = Callable[[], float]
Runners = dict[str, Runner]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


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


def lora_model(model: ModelSource) -> nn.Module:
    """Load a classification model with PEFT's LoRA, rank 8, on query, key and value."""
    plain = AutoModelForSequenceClassification.from_pretrained(model.folder, num_labels=2)
    names = [name for layer in find_projections(plain, TARGETS) for name, _ in layer]
    last_names = sorted({name.rsplit(".", 1)[-1] for name in names})
    lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, target_modules=last_names)
    return get_peft_model(plain, lora).to(DEVICE)


def trainer(model: ModelSource, examples: Examples, steps: int, *, bf16: bool) -> Runner:
    """Transformers' Trainer with PEFT's LoRA, rank 8, and the default padding collator."""
    tokenizer = load_tokenizer(model)
    rows = Dataset.from_dict(
        {
            **tokenizer([text[0] for text in examples.inputs], truncation=True),
            "labels": list(examples.labels),
        }
    )
    peft_model = lora_model(model)

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


def plain_loop(model: ModelSource, examples: Examples, *, bf16: bool) -> Runner:
    """A loop over PEFT's LoRA, rank 8, with batches of similar length."""
    peft_model = lora_model(model)
    split = tokenize_examples(examples, load_tokenizer(model), max_length=128)
    optimizer = torch.optim.AdamW([p for p in peft_model.parameters() if p.requires_grad], lr=1e-3)
    batches = full_batches(split)

    def step(batch: Batch) -> None:
        with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=bf16):
            loss = peft_model(**batch.inputs, labels=batch.labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return lambda: timed(step, batches, slots=1)


class Ours:
    """The frozen backbone of a search, and packs on it.

    Args:
        model: The pretrained model.
        examples: Examples to train on.
        precision: Precision of the frozen weights.
    """

    def __init__(self, model: ModelSource, examples: Examples, precision: Precision) -> None:
        self.backbone = load_backbone(
            model, TARGETS, num_labels=2, precision=precision, device=DEVICE
        )
        split = tokenize_examples(examples, load_tokenizer(model), max_length=128)
        self.batches = full_batches(split)
        shape = AdapterShape(
            construction="att_qkv_depth",
            factorization="tucker",
            backbone=self.backbone.sites.shape,
        )
        self.spec = AdapterSpec(shape=shape, config=AdapterConfig())

    def pack(self, slots: int) -> Runner:
        """Trials as the search trains them: Tucker, rank 8 in every mode."""
        allocation = Allocation(
            ranks=dict.fromkeys(self.spec.shape.rank_names, 8), learning_rate=1e-3
        )

        def run() -> float:
            pack = TrainingPack(self.backbone, width=slots)
            pack.slots = [
                TrainingSlot(
                    allocation, self.spec, self.backbone, TrainingConfig(epochs=1), 10_000, seed=0
                )
                for _ in range(slots)
            ]
            return timed(pack.step, self.batches, slots=slots)

        return run

    def frozen(self, slots: int) -> Runner:
        """The frozen backbone alone, forward and the gradient of its embeddings."""
        embeddings = self.backbone.model.get_submodule("embeddings")

        def step(batch: Batch) -> None:
            hook = embeddings.register_forward_hook(lambda _m, _i, out: out.requires_grad_())
            self.backbone.sites.set_updates([])
            self.backbone(batch.inputs, [0] * slots).sum().backward()
            hook.remove()

        return lambda: timed(step, self.batches, slots=slots)

    def products(self, slots: int) -> Runner:
        """The matrix products of the frozen layers alone, in both directions."""
        layers = [m for m in self.backbone.model.modules() if isinstance(m, FrozenLinear)]
        layers += [p.linear for group in self.backbone.sites.groups for p in group.layers]
        largest = slots * max(batch.inputs["input_ids"].numel() for batch in self.batches)
        inputs = {
            width: torch.randn(largest, width, dtype=layers[0].dtype, device=DEVICE)
            for width in widths(layers)
        }

        def step(batch: Batch) -> None:
            rows = slots * batch.inputs["input_ids"].numel()
            for layer in layers:
                layer.multiply(inputs[layer.in_features][:rows])
                layer.multiply_back(inputs[layer.out_features][:rows])

        return lambda: timed(step, self.batches, slots=slots)


def widths(layers: Sequence[FrozenLinear]) -> set[int]:
    """List the widths that layers read and write."""
    return {width for layer in layers for width in (layer.in_features, layer.out_features)}


def full_batches(split: TokenizedSplit) -> list[Batch]:
    """Cut a split into length-bucketed batches of one size."""
    order = order_epoch(split.lengths, BATCH, seed=0)
    return [split.make_batch(indices, DEVICE) for indices in order if len(indices) == BATCH]


def timed(step: Callable[[Batch], None], batches: Sequence[Batch], *, slots: int) -> float:
    """Measure sentences a second, over all slots, after a warm-up."""
    for batch in batches[:WARM_UP]:
        step(batch)
    wait()
    start = time.perf_counter()
    for batch in batches[WARM_UP:]:
        step(batch)
    wait()
    return slots * BATCH * (len(batches) - WARM_UP) / (time.perf_counter() - start)


def wait() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def alternatives(model: ModelSource, examples: Examples, arguments: argparse.Namespace) -> Runners:
    """Build everything that is timed, by name."""
    steps: int = arguments.steps
    precision = arguments.precision or choose_precision(DEVICE, WIDTH)
    ours = Ours(model, examples, precision)
    most = max(arguments.slots)
    runners: Runners = {
        "a: Trainer + PEFT, float32": trainer(model, examples, steps, bf16=False),
        "a: Trainer + PEFT, bf16": trainer(model, examples, steps, bf16=True),
        "b: loop over PEFT, float32": plain_loop(model, examples, bf16=False),
        "b: loop over PEFT, bf16": plain_loop(model, examples, bf16=True),
    }
    if precision != "float32":
        runners["c: 1 slots, float32"] = Ours(model, examples, "float32").pack(1)
    for slots in arguments.slots:
        runners[f"c: {slots} slots, {precision}"] = ours.pack(slots)
    for slots in arguments.slots:
        if slots in (1, 8, most):
            runners[f"d: frozen backbone, {slots} x 32"] = ours.frozen(slots)
            runners[f"e: products alone, {slots} x 32"] = ours.products(slots)
    return runners


def print_table(medians: Mapping[str, float]) -> None:
    """Print medians, each as a multiple of the better one of a, b, and the floors."""
    best = {
        kind: max((rate for name, rate in medians.items() if name.startswith(kind)), default=1.0)
        for kind in "abcde"
    }
    print(f"{'':32} {'sentences/s':>11} {'x a':>6} {'x b':>6} {'of d':>6} {'of e':>6}")
    for name, rate in medians.items():
        print(
            f"{name:32} {rate:11.0f} {rate / best['a']:6.2f} {rate / best['b']:6.2f} "
            f"{rate / best['d']:6.0%} {rate / best['e']:6.0%}"
        )


def main() -> None:
    """Run the alternatives in turn and print their medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--data-dir", type=Path, help="holds CoLA; default: the bundled corpus")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="of ours; default: the faster one"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = locate_model(arguments.model, default_model_cache())
    data = load_task(
        "cola", source="dir" if arguments.data_dir else "bundled", data_dir=arguments.data_dir
    )
    examples = data.train.select(range(BATCH * (WARM_UP + arguments.steps)))
    runners = alternatives(model, examples, arguments)
    rates: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(arguments.rounds):
        for name, run in runners.items():
            rates[name].append(run())
            print(f"round {number + 1}: {name}: {rates[name][-1]:.0f} sentences/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print_table(medians)
    if arguments.json:
        report = {
            "data": data.source,
            "threads": torch.get_num_threads(),
            "rates": rates,
            "medians": medians,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
