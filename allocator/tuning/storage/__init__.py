"""The storage of a study, and what it remembers."""
