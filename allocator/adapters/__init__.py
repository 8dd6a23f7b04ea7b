"""Tensor adapters as modules: each emits a low-rank pair (A, B) for every site."""
