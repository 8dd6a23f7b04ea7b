"""The runs that commands start."""
