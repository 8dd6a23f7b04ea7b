"""How many parameters adapters have and which fit a budget, from numbers alone."""
