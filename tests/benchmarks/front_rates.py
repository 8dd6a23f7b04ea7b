"""How often the smallest allocation that is not worse is told right, where the truth is known.

    python tests/benchmarks/front_rates.py --searches 20 --record FILE
    python tests/benchmarks/front_rates.py --read FILE

A replay is the product's own search of several budgets, at its default number of trainings, over
all allocations of the default space. What an allocation is truly worth follows from a surface
that is drawn at random; its trainings have the luck of seeds and examples that recorded trainings
had, and their learning curves.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import optuna
from front_surface import SURFACES, Surface, SurfaceWorker
from replay import replay_study
from tables import Table, read_first_table, read_table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from allocator.tuning.evidence.choice import Selection, find_smallest
from allocator.tuning.evidence.expectations import Expectations
from allocator.tuning.samplers.make_sampler import make_sampler
from allocator.tuning.study.goal import Goal
from allocator.tuning.study.study import SearchStudy

HERE = Path(__file__).parent
VERDICT_SEEDS = 3
MARGINS = (0.001, 0.002, 0.003)
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one way to tell the smallest answers.

    Attributes:
        place: Its place among the choices.
        error: Standard error of what it is expected to lose to the choice of the largest budget.
    """

    place: int
    error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Front:
    """What a search of several budgets chose for each, the smallest budget first.

    Attributes:
        kind: The surface's kind.
        search: Number of the search.
        sizes: Parameters of every choice.
        truths: What each is worth.
        answer: The product's answer, by all trainings.
        by_search: The answer by the one-standard-error rule, without the trainings of the verdict.
    """

    kind: str
    search: int
    sizes: Sequence[int]
    truths: Sequence[float]
    answer: Answer
    by_search: Answer


def search_front(table: Table, kind: str, search: int) -> Front:
    """Search several budgets on a surface of its own, and tell the smallest."""
    surface = Surface(table, kind, search)
    budgets = len(surface.space.budgets)
    goal = Goal.choose(None, VERDICT_SEEDS, rivals=0, budgets=budgets, kind="cpu", devices=1)
    study = replay_study(
        surface,
        search=search,
        trials=goal.trials,
        verdict_seeds=VERDICT_SEEDS,
        make_sampler=lambda t, seed: make_sampler(
            "gp", t.space, seed=seed, final_step=t.boundaries
        ),
        make_worker=SurfaceWorker,
    )
    front = study.select_front()
    chosen = [selection.best.allocation.params for selection in front]
    return Front(
        kind=kind,
        search=search,
        sizes=[study.space.num_parameters(params) for params in chosen],
        truths=[surface.read_truth(params) for params in chosen],
        answer=_tell_smallest(study, study.expect(counts_verdict=True), front),
        by_search=_tell_by_search(study, front),
    )


def _tell_smallest(
    study: SearchStudy, expectations: Expectations, front: Sequence[Selection]
) -> Answer:
    place = front.index(find_smallest(study.space, expectations, front))
    params = [allocation.params for allocation in expectations.allocations]
    told, best = (params.index(front[i].best.allocation.params) for i in (place, -1))
    return Answer(place=place, error=float(expectations.compute_difference_errors(best)[told]))


def _tell_by_search(study: SearchStudy, front: Sequence[Selection]) -> Answer:
    with patch("allocator.tuning.evidence.choice.WITHIN", 1.0):
        return _tell_smallest(study, study.expect(), front)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rightness:
    """Whether an answer is right.

    Attributes:
        is_good: Whether it is truly worse than the choice of the largest budget by no more than a
            margin.
        is_smallest: Whether every choice of fewer parameters is truly worse than that choice.
    """

    is_good: bool
    is_smallest: bool

    def __bool__(self) -> bool:
        """Whether it is both."""
        return self.is_good and self.is_smallest


def judge_answer(front: Front, answer: Answer, margin: float | None = None) -> Rightness:
    """Judge an answer by the truth.

    Args:
        front: What the search chose.
        answer: What it answers.
        margin: Loss that counts as nothing; None for the standard error of the answer.
    """
    losses = np.array(front.truths) - front.truths[-1]
    smaller = np.array(front.sizes) < front.sizes[answer.place]
    margin = answer.error if margin is None else margin
    return Rightness(
        is_good=bool(losses[answer.place] <= margin + ROUNDING),
        is_smallest=not np.any(losses[smaller] <= ROUNDING),
    )


def read_fronts(record: Path) -> list[Front]:
    """Read the fronts that were recorded."""
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    return [
        Front(**{**row, **{name: Answer(**row[name]) for name in ("answer", "by_search")}})
        for row in rows
    ]


def print_rates(fronts: Sequence[Front]) -> None:
    """Print, for every kind of surface, how often answers are right."""
    print("surface        fronts  right  too bad  too large  at 0.001  0.002  0.003  by search")
    for kind in (*dict.fromkeys(front.kind for front in fronts), "all"):
        mine = [front for front in fronts if kind in (front.kind, "all")]
        judged = [judge_answer(front, front.answer) for front in mine]
        margins = [
            np.mean([bool(judge_answer(front, front.answer, margin)) for front in mine])
            for margin in MARGINS
        ]
        by_search = np.mean([bool(judge_answer(front, front.by_search)) for front in mine])
        print(
            f"{kind:14} {len(mine):6} {np.mean([bool(j) for j in judged]):6.0%} "
            f"{np.mean([not j.is_good for j in judged]):8.0%} "
            f"{np.mean([not j.is_smallest for j in judged]):10.0%} "
            f"{margins[0]:9.0%} {margins[1]:6.0%} {margins[2]:6.0%} {by_search:10.0%}"
        )


def main(argv: Sequence[str]) -> None:
    """Replay searches and record their fronts, or read such a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--table", type=Path, default=HERE / "trained" / "cola")
    parser.add_argument("--surface", nargs="+", choices=SURFACES, default=list(SURFACES))
    parser.add_argument("--searches", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="number of the first search")
    parser.add_argument("--record", type=Path, help="file that every front is added to")
    parser.add_argument("--read", type=Path, nargs="+", help="such files, in place of searches")
    arguments = parser.parse_args(argv)
    if arguments.read:
        print_rates([front for record in arguments.read for front in read_fronts(record)])
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    threadpool_limits(1)
    is_whole = (arguments.table / "about.json").exists()
    table = read_table(arguments.table) if is_whole else read_first_table(arguments.table)
    fronts = []
    for search in range(arguments.first, arguments.first + arguments.searches):
        for kind in arguments.surface:
            fronts.append(search_front(table, kind, search))
            if arguments.record:
                with arguments.record.open("a", encoding="utf-8") as record:
                    record.write(json.dumps(asdict(fronts[-1])) + "\n")
    print_rates(fronts)


if __name__ == "__main__":
    main(sys.argv[1:])
