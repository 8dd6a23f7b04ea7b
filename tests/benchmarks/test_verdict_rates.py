"""Verdicts of whole studies on one allocation under two names, so that the truth is known."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom
from tables import Table, read_table
from verdict_rates import Proof, UnseenAnswers, count_verdicts, find_typical, search_twins

from allocator.tuning.evidence.paired_difference import CONFIDENCE, POWER

COLA = Path(__file__).parent / "trained" / "cola"
STUDIES = 40
CHANCE = 0.01  # with which a test fails although rates are as promised

Recorded = tuple[Table, list[int], UnseenAnswers]


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    table = read_table(COLA)
    points = np.flatnonzero(table.sound).tolist()
    return table, points, UnseenAnswers(COLA, points)


def search_until(recorded: Recorded, studies: int) -> list[Proof]:
    """Search until as many studies have chosen the other name."""
    proofs: list[Proof] = []
    search = 0
    while len(proofs) < studies:
        proof = search_twins(*recorded, search)
        proofs += [] if proof is None else [proof]
        search += 1
    return proofs


def test_a_planted_difference_moves_the_interval_by_as_much(recorded: Recorded) -> None:
    (proof,) = search_until(recorded, 1)
    level, moved = proof.judge(0.0), proof.judge(0.01)
    for field in ("mean", "low", "high"):
        assert getattr(moved, field) == pytest.approx(getattr(level, field) + 0.01)
    assert moved.detectable == pytest.approx(level.detectable)
    assert len(proof.choice) == len(proof.baseline) == 3
    assert proof.judge(1.0).words == "worse"
    assert proof.judge(-1.0).words == "better"
    alone = dataclasses.replace(proof, choice=proof.choice[:1], baseline=proof.baseline[:1])
    assert alone.judge(0.0).covers_seeds  # by what the search has seen of the luck of trainings


@pytest.mark.slow
def test_verdicts_of_forty_studies_err_as_seldom_as_promised(recorded: Recorded) -> None:
    """The bounds are those that rates as promised break in one of a hundred runs."""
    proofs = search_until(recorded, STUDIES)
    errors = 1 - count_verdicts(proofs, 0.0).undecided
    assert errors * STUDIES <= binom.ppf(1 - CHANCE, STUDIES, 1 - CONFIDENCE)  # 6
    typical = find_typical(proofs)
    for planted in (typical, -typical, -2 * typical):
        rates = count_verdicts(proofs, planted)
        assert rates.covered * STUDIES >= binom.ppf(CHANCE, STUDIES, CONFIDENCE)  # 34
    found = count_verdicts(proofs, -typical).better
    assert found * STUDIES >= binom.ppf(CHANCE, STUDIES, POWER)  # 26
