"""Figures of a study: plotly figures from what it has recorded."""
