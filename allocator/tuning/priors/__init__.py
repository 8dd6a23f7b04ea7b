"""Priors: allocations to try first, from a trained baseline, another study, or the user."""
