"""Wall time of a whole search, against `Trainer.hyperparameter_search` over PEFT's LoRA.

Both search on the same sentences with the same model, number of epochs and of trials, and stop bad
trials by successive halving; the peer searches rank and learning rate. It may be timed on a few
trials and scaled to all, which the table says:

    python tests/benchmarks/search_speed.py --data-dir FOLDER --trials 32 --peer-trials 3
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
import torch
from datasets import Dataset
from peft import LoraConfig, TaskType, get_peft_model
from rich.console import Console
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_utils import BestRun

from allocator.command_line.options import read_config
from allocator.data.scoring.metrics import compute_score
from allocator.data.tasks import Examples
from allocator.models.preprocessors import load_tokenizer
from allocator.progress.run_progress import RunProgress
from allocator.search import build_parser
from allocator.tuning.plan.search_config import SearchConfig
from allocator.tuning.plan.search_plan import Plan, plan_search
from allocator.tuning.runs.run_search import run_search
from allocator.tuning.storage.study_config import StudyConfig
from allocator.tuning.study.open_study import load_study

RANKS = (1, 2, 4, 8, 16)


def search_ours(config: SearchConfig, plan: Plan[StudyConfig]) -> tuple[float, float]:
    """Search for real; return seconds and the best held-out score."""
    start = time.perf_counter()
    run_search(config, plan, RunProgress(Console(file=io.StringIO())))
    seconds = time.perf_counter() - start
    with load_study(plan.folder, None) as study:
        return seconds, study.study.best_value


def search_peer(plan: Plan[StudyConfig], trials: int, *, bf16: bool) -> tuple[float, float]:
    """Search rank and learning rate of LoRA with transformers' own search."""
    setup, training = plan.setup, plan.setup.training
    kept, held_out = setup.hold_out(training.seed)
    tokenizer = load_tokenizer(setup.model)

    def rows(examples: Examples) -> Dataset:
        encoded = tokenizer([text[0] for text in examples.inputs], truncation=True)
        return Dataset.from_dict({**encoded, "labels": list(examples.labels)})

    def space(trial: optuna.Trial) -> dict[str, float]:
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True)}

    def model(trial: optuna.Trial | None) -> nn.Module:
        plain = AutoModelForSequenceClassification.from_pretrained(setup.model.folder, num_labels=2)
        rank = 8 if trial is None else int(trial.suggest_categorical("lora_rank", RANKS))
        targets = list(setup.spec.shape.backbone.targets)
        config = LoraConfig(
            task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=2 * rank, target_modules=targets
        )
        return get_peft_model(plain, config)

    def metrics(predicted: EvalPrediction) -> dict[str, float]:
        answers = np.asarray(predicted.predictions).argmax(axis=1)
        return {
            "score": compute_score(
                setup.task.metric, answers, np.asarray(predicted.label_ids).tolist()
            ).value
        }

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=training.batch_size,
            num_train_epochs=training.epochs,
            eval_strategy="epoch",
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
        )
        trainer = Trainer(
            model_init=model,  # type: ignore[arg-type]  # PEFT's models train like any other
            args=arguments,
            train_dataset=rows(setup.train.select(kept.tolist())),
            eval_dataset=rows(setup.train.select(held_out.tolist())),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=metrics,
        )
        start = time.perf_counter()
        best = trainer.hyperparameter_search(
            space,
            n_trials=trials,
            direction="maximize",
            backend="optuna",
            compute_objective=lambda found: found["eval_score"],
            pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
        )
        seconds = time.perf_counter() - start
    assert isinstance(best, BestRun)
    assert isinstance(best.objective, float)
    return seconds, best.objective


def main() -> None:
    """Run both searches and print their times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="holds CoLA; default: the bundled corpus")
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--peer-trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--peer-precision", choices=("float32", "bfloat16"), help="default: the faster one"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    argv = ["--budget", "40000", "--task", "cola", "--epochs", str(arguments.epochs)]
    argv += ["--trials", str(arguments.trials), "--verdict-seeds", "0"]
    argv += ["--data-dir", str(arguments.data_dir)] if arguments.data_dir else []
    with tempfile.TemporaryDirectory() as folder:
        given = build_parser().parse_args([*argv, "--studies-dir", folder])
        config = read_config(SearchConfig, given)
        plan = plan_search(config)
        precision = arguments.peer_precision or plan.setup.precision
        peer, peer_best = search_peer(plan, arguments.peer_trials, bf16=precision == "bfloat16")
        print(
            f"peer: {arguments.peer_trials} trials {peer:.0f} s, best {peer_best:.4f}", flush=True
        )
        ours, ours_best = search_ours(config, plan)
    print(f"ours: {arguments.trials} trials {ours:.0f} s, best {ours_best:.4f}")
    scaled = peer * arguments.trials / arguments.peer_trials
    print(f"peer scaled to {arguments.trials} trials: {scaled:.0f} s, {scaled / ours:.1f} x ours")
    if arguments.json:
        found = {"ours": ours, "peer": peer, "peer_trials": arguments.peer_trials}
        arguments.json.write_text(json.dumps({**found, "trials": arguments.trials}) + "\n")


if __name__ == "__main__":
    main()
