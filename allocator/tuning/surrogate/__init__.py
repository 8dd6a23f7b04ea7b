"""The statistical model of scores, and what is computed from it."""
