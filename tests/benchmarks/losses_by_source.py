"""Whether a verdict on CoLA says the same of sentences from the sources of train and from others.

    python tests/benchmarks/losses_by_source.py NAME --data-dir FOLDER

The dev split of GLUE's CoLA joins sentences from the 17 books and papers that train is from with
those from six others, while every seed of a search holds out sentences of train. The study must
have its adapters, in `studies/NAME/trials/`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import matthews_corrcoef

from allocator.config import default_model_cache
from allocator.data.sources import load_task
from allocator.models.model_source import locate_model_of
from allocator.training.evaluation import Answers
from allocator.tuning.evidence.choice import list_compared
from allocator.tuning.space.space import Params, make_baseline_params
from allocator.tuning.study.open_study import load_study
from allocator.tuning.study.study import SearchStudy
from allocator.tuning.study.verdict import find_verdict_trials
from allocator.workers.score_adapters import AdapterScorer
from allocator.workers.setup import TrainingSetup


def read_sources(path: Path) -> list[str]:
    """Read the source of every sentence, the first column of CoLA's files."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines if line]


def answer_dev(
    study: SearchStudy, data_dir: Path
) -> Sequence[tuple[Params, float, Sequence[Answers]]]:
    """Let the verdict's trainings answer dev: of each allocation with its held-out loss."""
    config = study.config
    data = load_task(config.task.name, data_dir=data_dir, limit=config.task.limit)
    setup = TrainingSetup(
        model=locate_model_of(config.model, default_model_cache()),
        spec=study.space.variants[0].spec,
        task=data.task,
        train=data.train,
        scoring=None,
        training=config.training,
        precision=config.precision,
        threads=2,
        typical=study.space.make_allocation(make_baseline_params(study.space)),
    )
    scorer = AdapterScorer(setup, "cpu")
    compared = [a.params for a in list_compared(study.select_front())]
    shared = find_verdict_trials(study.space, study.trials, compared)
    return [
        (
            params,
            float(np.mean([trial.values[0] for trial in trials])),
            scorer.answer([study.adapter_path(trial.number) for trial in trials], data.dev),
        )
        for params, trials in zip(compared, zip(*shared, strict=True), strict=True)
    ]


def main() -> None:
    """Print a row for each allocation of the verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--data-dir", type=Path, required=True)
    arguments = parser.parse_args()
    folder: Path = arguments.data_dir / "CoLA"
    known = set(read_sources(folder / "train.tsv"))
    inside = np.array([source in known for source in read_sources(folder / "dev.tsv")])
    dev = load_task("cola", data_dir=arguments.data_dir).dev
    labels = np.array(dev.labels)
    print(f"{inside.sum()} of {len(inside)} sentences of dev are from the sources of train")
    print("parameters  rate      held out  dev     its sources  others  MCC: its sources  others")
    with load_study(Path("studies") / arguments.study, None) as study:
        for params, held_out, answers in answer_dev(study, arguments.data_dir):
            losses = np.array([answer.losses for answer in answers])
            metric = [
                np.mean([matthews_corrcoef(labels[part], a.predictions[part]) for a in answers])
                for part in (inside, ~inside)
            ]
            rate = study.space.make_allocation(params).learning_rate
            print(
                f"{study.space.num_parameters(params):10,}  {rate:.2e}  {held_out:.4f}"
                f"    {losses.mean():.4f}  {losses[:, inside].mean():.4f}       "
                f"{losses[:, ~inside].mean():.4f}  {metric[0]:.4f}            {metric[1]:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
