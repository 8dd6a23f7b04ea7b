"""Splits and batches of tokens and of images."""
