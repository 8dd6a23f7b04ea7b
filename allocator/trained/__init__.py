"""Predictions, exports and model cards of a trained adapter."""
