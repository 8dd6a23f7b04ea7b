"""Tensor adapters as torch modules, which compute a low-rank pair (A, B) for every site."""
