"""Hands trainings to workers in rounds."""
