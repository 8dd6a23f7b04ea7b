"""The parameter counts of adapters, and which of them fit a budget, without building any."""
