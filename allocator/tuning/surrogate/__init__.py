"""The model of scores that the search learns from."""
