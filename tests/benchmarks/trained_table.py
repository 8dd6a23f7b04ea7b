"""Trains allocations with several seeds, and keeps what each answers to examples no search sees.

The table lets searches be replayed without training (`replayed_searches.py`). Run again, it goes on
where it was stopped:

    python tests/benchmarks/trained_table.py --task cola --data-dir FOLDER \\
        --output tests/benchmarks/trained/cola

The points are the uniform baseline at several lambdas, what priors propose from that baseline, and
what the default sampler proposes while it only fills the space; in a space of several kinds, the
uniform ranks of each kind come first. Every seed holds out its own part, as in a search.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
import torch
from sklearn.model_selection import train_test_split

from allocator.backbone.backbone import Backbone, load_backbone
from allocator.config import TrainingConfig, default_model_cache
from allocator.coordination.records import Records
from allocator.data.held_out import split_held_out
from allocator.data.sources import TaskData, load_task
from allocator.data.tasks import Examples
from allocator.files.study_folder import UNIFORM, baseline_folder
from allocator.inputs.batches import Split, iterate_by_length
from allocator.inputs.reader import load_reader
from allocator.models.model_source import locate_model
from allocator.training.loop import train_trials
from allocator.training.messages import Boundary, Job, Orders, Report
from allocator.training.pack import Pack
from allocator.training.slot import Slot
from allocator.training.splits import Splits
from allocator.tuning.priors.baseline_evidence import Baseline, read_baseline
from allocator.tuning.priors.make_prior import make_prior
from allocator.tuning.samplers.feasible_sampler import ask_trial
from allocator.tuning.samplers.gp_sampler import FeasibleGPSampler
from allocator.tuning.space.build_space import build_space
from allocator.tuning.space.space import Params, Space, make_baseline_params
from allocator.tuning.space.space_file import read_space
from allocator.workers.precision import choose_precision

MODEL, BUDGET = "minilm", 40_000
POOL, UNSEEN = 4_000, 4_000  # at most: to train on or hold out, and what nobody sees
CONFIG = TrainingConfig(epochs=2, batch_size=16, boundaries_per_epoch=2, held_out=0.25)
LAMBDAS = (2.0, 4.0)  # of the baseline, besides 1
PROPOSED = {"gradient": 6, "truncation": 4, "entropy": 2}  # proposals of each prior
KINDS = 20  # most points of uniform ranks, in a space of several kinds
COLUMNS = ("point", "step", "loss", "calibrated_loss", "score", "ending", "num_parameters")


def list_points(space: Space, baseline: Baseline | None, n: int) -> list[Params]:
    """List what is trained, the baseline first."""
    base = make_baseline_params(space)
    wanted: list[Params] = [base]
    if baseline is None:
        prior = make_prior("uniform", space, base)
        of_kinds: dict[tuple[object, object], Params] = {}
        for params in prior.proposals if prior else ():
            of_kinds.setdefault((params["construction"], params["factorization"]), params)
        wanted = [*wanted, *of_kinds.values()][:KINDS]
    else:
        wanted += [{**base, "core_lr_multiplier": multiplier} for multiplier in LAMBDAS]
        for name, count in PROPOSED.items():
            prior = make_prior(name, space, base, baseline=baseline)
            wanted += prior.proposals[:count] if prior else ()
    sampler = FeasibleGPSampler(space, seed=0, n_startup_trials=n + 99)
    study = optuna.create_study(sampler=sampler)
    for params in wanted:
        study.enqueue_trial(dict(params), skip_if_exists=True)
    while len(study.trials) < n or any(not trial.params for trial in study.trials):
        study.tell(ask_trial(study, space), 0.0)
    return [trial.params for trial in study.trials[:n]]


def divide_examples(data: TaskData) -> tuple[Examples, Examples]:
    """Divide train and dev together into what may be trained on and what nobody sees."""
    inputs = data.train.inputs + data.dev.inputs
    labels = np.concatenate([data.train.label_array, data.dev.label_array])
    everything = type(data.train)(inputs=inputs, labels=tuple(labels.tolist()))
    kept = np.arange(len(labels))
    if len(labels) > POOL + UNSEEN:
        kept, _ = train_test_split(kept, train_size=POOL + UNSEEN, random_state=0, stratify=labels)
    share = UNSEEN / (POOL + UNSEEN)
    pool, unseen = train_test_split(
        kept, test_size=share, random_state=0, stratify=[labels[i] for i in kept]
    )
    return everything.select(sorted(pool)), everything.select(sorted(unseen))


@torch.no_grad()
def compute_margins(backbone: Backbone, slot: Slot, split: Split) -> npt.NDArray[np.float16]:
    """Compute by how much the second of two logits exceeds the first, for every example."""
    pack = Pack(backbone, [slot], width=1)
    margins = np.zeros(len(split), dtype=np.float16)
    for indices, batch in iterate_by_length(split, 256, backbone.device):
        logits = slot.compute_logits(pack.compute_hidden([slot], batch)[0], batch.inputs).float()
        margins[indices] = (logits[:, 1] - logits[:, 0]).cpu().numpy()
    return margins


class Trainings:
    """The trainings of one seed, in files that are whole after each of them.

    Args:
        folder: Folder of the table.
        seed: The seed.
        own_labels: Labels of the examples that the seed holds out.
    """

    def __init__(self, folder: Path, seed: int, own_labels: npt.NDArray[np.int8]) -> None:
        self._table, self._outputs = folder / f"seed-{seed}.csv.gz", folder / f"seed-{seed}.npz"
        self._rows: list[tuple[object, ...]] = []
        self._arrays: dict[str, npt.NDArray[np.generic]] = {"own_labels": own_labels}
        if self._table.exists():
            read = pd.read_csv(self._table, keep_default_na=False)
            self._rows = list(read.itertuples(index=False, name=None))
            self._arrays = dict(np.load(self._outputs))

    def has(self, point: int) -> bool:
        """Whether a point was trained."""
        return any(row[0] == point for row in self._rows)

    def keep_outputs(
        self, point: int, own: npt.NDArray[np.float16], unseen: npt.NDArray[np.float16]
    ) -> None:
        """Keep what a completed training answers; it is written with its boundaries."""
        self._arrays |= {f"own_{point}": own, f"unseen_{point}": unseen}

    def add(self, reports: Sequence[Report]) -> None:
        """Add the boundaries of one training."""
        for r in reports:
            numbers = (round(r.loss, 6), round(r.calibrated_loss, 6), round(r.score, 5))
            self._rows.append((r.trial, r.step, *numbers, r.ending or "", r.num_parameters))
        _write_whole(self._outputs, lambda path: np.savez_compressed(path, **self._arrays))  # type: ignore[arg-type]  # arrays by name
        table = pd.DataFrame(self._rows, columns=COLUMNS)
        _write_whole(self._table, lambda path: table.to_csv(path, index=False))
        last = reports[-1]
        print(f"point {last.trial}: {last.ending}, {last.calibrated_loss:.4f}", flush=True)


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    unfinished = path.with_name(f"unfinished-{path.name}")
    write(unfinished)
    unfinished.replace(path)


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

    def __init__(self, waiting: list[Job], kept: Trainings | Keeper) -> None:
        self._waiting, self._kept = waiting, kept
        self._reports: dict[int, list[Report]] = {}

    def __call__(self, boundary: Boundary) -> Orders | None:
        """Fill free places where an epoch starts."""
        for report in boundary.reports:
            self._reports.setdefault(report.trial, []).append(report)
            if report.ending is not None:
                self._kept.add(self._reports[report.trial])
        training = sum(report.ending is None for report in boundary.reports)
        if not self._waiting and not training:
            return None
        free = max(0, boundary.slots - training) if boundary.may_start else 0
        jobs, self._waiting = self._waiting[:free], self._waiting[free:]
        return Orders(jobs=tuple(jobs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorder:
    """What all trainings of a table share."""

    folder: Path
    space: Space
    backbone: Backbone
    splits: Splits
    unseen: Split

    def make_job(self, point: int, params: Params, seed: int, *, measured: bool = False) -> Job:
        """Make the job of one training."""
        return Job(
            trial=point,
            spec=self.space.find_variant(params).spec,
            allocation=self.space.make_allocation(params),
            seed=seed,
            save_to=Path(),
            is_measured=measured,
        )

    def measure_baseline(self) -> Baseline | None:
        """Train the baseline once by itself, for priors; None in a space of several kinds."""
        if len(self.space.variants) > 1:
            return None
        base, records = make_baseline_params(self.space), Records(baseline_folder(self.folder))
        if not records.read_names(0):
            keeper = Keeper()
            job = self.make_job(0, base, 0, measured=True)
            train_trials(
                self.backbone,
                self.splits,
                CONFIG,
                slots=1,
                on_boundary=Feeder([job], keeper),
                on_completed=lambda *_: None,
            )
            records.add(UNIFORM, 0, keeper.trainings[0])
        return read_baseline(records.folder, self.space.read_ranks(base))

    def train_seed(self, points: Sequence[Params], seed: int, *, slots: int) -> None:
        """Train with one seed what is missing."""
        own = self.splits.of_seed(seed).scoring
        kept = Trainings(self.folder, seed, own.labels.numpy().astype(np.int8))
        waiting = [self.make_job(n, p, seed) for n, p in enumerate(points) if not kept.has(n)]

        def on_completed(job: Job, slot: Slot) -> None:
            answer = partial(compute_margins, self.backbone, slot)
            kept.keep_outputs(job.trial, answer(own), answer(self.unseen))

        train_trials(
            self.backbone,
            self.splits,
            CONFIG,
            slots=slots,
            on_boundary=Feeder(waiting, kept),
            on_completed=on_completed,
        )


def make_recorder(task: str, space_name: str, data_dir: Path, folder: Path) -> Recorder:
    """Load data and model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load_task(task, source="dir", data_dir=data_dir)
    pool, unseen = divide_examples(data)
    model, file = locate_model(MODEL, default_model_cache()), read_space(space_name)
    backbone = load_backbone(
        model,
        file.targets,
        num_labels=2,
        precision=choose_precision(device, 384),
        device=device,
    )
    read = load_reader(model, data.task, max_length=CONFIG.max_length, device=device)
    splits = Splits(
        train=read(pool),
        metric=data.task.metric,
        hold_out=lambda seed: split_held_out(
            pool, task=data.task, seed=seed, fraction=CONFIG.held_out
        ),
    )
    return Recorder(
        folder=folder,
        space=build_space(file, backbone.sites.shape, BUDGET),
        backbone=backbone,
        splits=splits,
        unseen=read(unseen),
    )


def main(argv: Sequence[str]) -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--task", default="cola", help="one of two classes")
    parser.add_argument("--space", default="tenslora_plus")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--points", type=int, default=32)
    parser.add_argument("--seeds", type=int, nargs="*", default=[*range(6)])
    parser.add_argument("--slots", type=int, default=16)
    arguments = parser.parse_args(argv)
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recorder = make_recorder(arguments.task, arguments.space, arguments.data_dir, folder)
    np.save(folder / "unseen_labels.npy", recorder.unseen.labels.numpy().astype(np.int8))
    about = {"task": arguments.task, "space": arguments.space, "held_out": CONFIG.held_out}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    listed = folder / "points.json"
    if not listed.exists():  # those of a table that was begun stay
        points = list_points(recorder.space, recorder.measure_baseline(), arguments.points)
        listed.write_text(json.dumps(points, indent=1), encoding="utf-8")
    for seed in arguments.seeds:
        points = json.loads(listed.read_text(encoding="utf-8"))
        recorder.train_seed(points, seed, slots=arguments.slots)


if __name__ == "__main__":
    main(sys.argv[1:])
