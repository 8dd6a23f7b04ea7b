"""Finds and reads pretrained models, and attaches adapters to them."""
