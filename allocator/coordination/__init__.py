"""Distribute trials to workers in rounds, and collect their reports."""
