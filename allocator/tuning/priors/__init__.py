"""Priors: where ranks should go, from what a trained baseline shows, from others, from a user."""
