"""Tasks, the files and splits of their data, metrics, and the bundled corpus."""
