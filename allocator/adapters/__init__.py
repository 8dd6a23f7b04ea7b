"""Tensor adapters as modules: each computes a low-rank pair (A, B) for every site."""
