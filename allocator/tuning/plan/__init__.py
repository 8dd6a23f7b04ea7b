"""The configurations that users state, and the plans of what will run."""
