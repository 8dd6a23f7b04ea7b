"""Pictures of a study: from data frames to plotly figures, to files, to its dashboard."""
