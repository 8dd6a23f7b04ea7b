"""Optuna samplers that suggest only allocations within the budget."""
