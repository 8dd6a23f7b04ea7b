"""Tasks, files, splits, metrics and the bundled corpus."""
