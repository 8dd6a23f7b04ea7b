"""One study: its trials, its pruning, its result."""
