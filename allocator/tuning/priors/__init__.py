"""Priors: where ranks should go, from what a trained baseline shows, from others, from a user."""

from allocator.tuning.priors.evidence import Baseline, read_baseline
from allocator.tuning.priors.make import (
    PRIORS,
    is_measured,
    make_prior,
    require_prior,
    require_prior_study,
)
from allocator.tuning.priors.prior import Prior
from allocator.tuning.priors.recipes import read_starts

__all__ = [
    "PRIORS",
    "Baseline",
    "Prior",
    "is_measured",
    "make_prior",
    "read_baseline",
    "read_starts",
    "require_prior",
    "require_prior_study",
]
