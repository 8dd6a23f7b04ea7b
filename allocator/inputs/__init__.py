"""Batches of tokens and of images."""
