"""Figures of a study: plotly figures from data frames, as files and on its dashboard."""
