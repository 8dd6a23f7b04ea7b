"""Trains many allocations on a fixed part of CoLA, and keeps the learning curve of each.

The table lets searches be replayed without training (`prior_regret.py`). Run again, it goes on
where it was stopped:

    python tests/benchmarks/trained_table.py --data-dir glue --output tests/benchmarks/trained

The points are the uniform baseline at several lambdas, what each prior proposes from that baseline,
and what the default sampler proposes while it only fills the space. Each is trained once a seed; a
seed is of the initialisation and of the order of the data.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import optuna
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from transformers import PreTrainedTokenizerBase

from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import TrainingConfig, default_model_cache
from allocator.coordination.records import Records
from allocator.data.sources import TaskData, load_task
from allocator.files.study_folder import UNIFORM, baseline_folder
from allocator.inputs.tokens import tokenize_examples
from allocator.models.model_source import locate_model
from allocator.models.preprocessors import load_tokenizer
from allocator.training.loop import train_trials
from allocator.training.messages import Boundary, Job, Orders, Report
from allocator.training.splits import Splits
from allocator.tuning.names import PriorName
from allocator.tuning.priors.baseline_evidence import Baseline, read_baseline
from allocator.tuning.priors.make_prior import make_prior
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.space.build_space import build_space, make_adapter_spec
from allocator.tuning.space.space import Params, Space, make_baseline_params
from allocator.tuning.space.space_file import read_space
from allocator.tuning.study.proposal_queue import PROPOSALS
from allocator.workers.precision import choose_precision

MODEL, BUDGET = "minilm", 40_000
COLUMNS = ("point", "step", "loss", "calibrated_loss", "score", "ending")
LAMBDAS = (1.0, 4.0, 8.0, 16.0)  # of the baseline
LONGEST = 12  # tokens of a sentence: short ones train faster, and have labels like the others
TRAIN, HELD_OUT = 4_096, 768  # sentences
RECIPE = TrainingConfig(epochs=1, batch_size=16, boundaries_per_epoch=4)  # 256 steps


def points(space: Space, baseline: Baseline, n: int) -> list[Params]:
    """List what is trained: the baseline at several lambdas, proposals, then the space filled."""
    base = make_baseline_params(space)
    wanted = [{**base, "core_lr_multiplier": multiplier} for multiplier in LAMBDAS]
    for name in get_args(PriorName):
        prior = make_prior(name, space, base, baseline=baseline)
        wanted += [dict(p) for p in prior.proposals[:PROPOSALS]] if prior else []
    sampler = FeasibleGPSampler(space, seed=0, n_startup_trials=n + 1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for params in wanted:
        study.enqueue_trial(params, skip_if_exists=True)
    for _ in range(n):
        study.tell(ask_trial(study, space), 0.0)
    return [trial.params for trial in study.trials]


def fixed_part(data: TaskData, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Choose short sentences to train on and to score on, with their share of classes."""
    encoded = tokenizer([text[0] for text in data.train.inputs])["input_ids"]
    short = [i for i, tokens in enumerate(encoded) if len(tokens) <= LONGEST]
    kept, _ = train_test_split(
        short,
        train_size=TRAIN + HELD_OUT,
        random_state=0,
        stratify=[data.train.labels[i] for i in short],
    )
    labels = [data.train.labels[i] for i in kept]
    train_part, held_out = train_test_split(
        kept, test_size=HELD_OUT, random_state=0, stratify=labels
    )
    return sorted(train_part), sorted(held_out)


def read_points(path: Path, space: Space) -> list[Params]:
    """Read the points of a table."""
    kinds = dict.fromkeys(space.rank_columns, int)
    points = pd.read_csv(path, float_precision="round_trip").astype(kinds)
    return [{str(n): v for n, v in row.items()} for row in points.to_dict("records")]


class Curves:
    """The boundaries of the points trained with one seed, in a file that is whole after each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[tuple[int, int, float, float, float, str]] = []
        if path.exists():
            read = pd.read_csv(path, keep_default_na=False)
            self._rows = list(read.itertuples(index=False, name=None))

    def has(self, point: int) -> bool:
        """Tell whether a point was trained."""
        return any(row[0] == point for row in self._rows)

    def add(self, reports: Sequence[Report]) -> None:
        """Add the boundaries of one training."""
        self._rows += [
            (r.trial, r.step, r.loss, r.calibrated_loss, r.score, r.ending or "") for r in reports
        ]
        unfinished = self._path.with_name(f"unfinished-{self._path.name}")
        table = pd.DataFrame(self._rows, columns=COLUMNS)
        table.to_csv(unfinished, index=False, float_format="%.5f")
        unfinished.replace(self._path)
        last = reports[-1]
        print(f"point {last.trial}: {last.ending}, {last.calibrated_loss:.4f}", flush=True)


def main(argv: Sequence[str]) -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--points", type=int, default=204)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--slots", type=int, default=16)
    arguments = parser.parse_args(argv)
    arguments.output.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load_task("cola", source="dir", data_dir=arguments.data_dir)
    model = locate_model(MODEL, default_model_cache())
    file = read_space("tenslora_plus")
    precision = choose_precision(device, 384)
    backbone = load_backbone(model, file.targets, num_labels=2, precision=precision, device=device)
    tokenizer = load_tokenizer(model)
    train_part, held_out = (
        tokenize_examples(data.train.select(part), tokenizer, max_length=RECIPE.max_length)
        for part in fixed_part(data, tokenizer)
    )
    space = build_space(file, backbone.sites.shape, BUDGET)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    splits = Splits(train=train_part, scoring=held_out, metric=data.task.metric)

    def job(number: int, params: Params, seed: int) -> Job:
        spec = make_adapter_spec(file, space.shape)
        return Job(
            trial=number,
            spec=spec,
            allocation=space.make_allocation(params),
            seed=seed,
            save_to=Path(),
        )

    base, folder = make_baseline_params(space), baseline_folder(arguments.output)
    measure_baseline(backbone, splits, job(0, base, RECIPE.seed), Records(folder))
    listed = arguments.output / "points.csv"
    if not listed.exists():  # those of a table that was begun stay
        chosen = points(space, read_baseline(folder, space.read_ranks(base)), arguments.points)
        pd.DataFrame(chosen).to_csv(listed, index=False)
    chosen = read_points(listed, space)
    for seed in arguments.seeds:
        jobs = [job(number, params, seed) for number, params in enumerate(chosen)]
        curves = Curves(arguments.output / f"curves-{seed}.csv.gz")
        waiting = [job for job in jobs if not curves.has(job.trial)]
        train_trials(
            backbone,
            splits,
            dataclasses.replace(RECIPE, seed=seed),
            slots=arguments.slots,
            on_boundary=Feeder(waiting, curves),
            on_completed=lambda *_: None,
        )


def measure_baseline(backbone: Backbone, splits: Splits, job: Job, records: Records) -> None:
    """Train the first point, which is the baseline, and record what it shows."""
    if records.read_names(RECIPE.seed):
        return
    keeper = Keeper()
    train_trials(
        backbone,
        splits,
        RECIPE,
        slots=1,
        on_boundary=Feeder([dataclasses.replace(job, is_measured=True)], keeper),
        on_completed=lambda *_: None,
    )
    records.add(UNIFORM, RECIPE.seed, keeper.trainings[0])


class Keeper:
    """Keeps the boundaries of trainings.

    Attributes:
        trainings: Those of each that has ended.
    """

    def __init__(self) -> None:
        self.trainings: list[Sequence[Report]] = []

    def add(self, reports: Sequence[Report]) -> None:
        """Take those of one."""
        self.trainings.append(reports)


class Feeder:
    """Hands out what waits, and keeps what comes back."""

    def __init__(self, waiting: list[Job], curves: Curves | Keeper) -> None:
        self._waiting, self._curves = waiting, curves
        self._reports: dict[int, list[Report]] = {}

    def __call__(self, boundary: Boundary) -> Orders | None:
        """Fill free places where an epoch starts."""
        for report in boundary.reports:
            self._reports.setdefault(report.trial, []).append(report)
            if report.ending is not None:
                self._curves.add(self._reports[report.trial])
        training = sum(report.ending is None for report in boundary.reports)
        if not self._waiting and not training:
            return None
        free = max(0, boundary.slots - training) if boundary.may_start else 0
        jobs, self._waiting = self._waiting[:free], self._waiting[free:]
        return Orders(jobs=tuple(jobs))


if __name__ == "__main__":
    main(sys.argv[1:])
