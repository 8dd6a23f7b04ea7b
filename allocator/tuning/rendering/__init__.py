"""Figures as files: HTML that works offline, PNG where a browser is."""
