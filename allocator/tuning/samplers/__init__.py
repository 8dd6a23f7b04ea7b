"""Samplers whose suggestions are all within the budget."""
