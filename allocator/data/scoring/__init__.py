"""Metrics: what the score of a task is."""
