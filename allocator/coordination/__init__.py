"""Distributes trials to workers in rounds, and collects their reports."""
