"""Pictures of a study: from data frames to plotly figures, to files, to its dashboard."""

from allocator.tuning.figures.budget_split import budget_split, parameters_table
from allocator.tuning.figures.draw import baseline_figures, draw_study
from allocator.tuning.figures.save import save_figures
from allocator.tuning.figures.show import show_drawn
from allocator.tuning.figures.spectra import singular_values, spectra_over_training
from allocator.tuning.figures.sweep import sweep
from allocator.tuning.figures.truncation import truncation

__all__ = [
    "baseline_figures",
    "budget_split",
    "draw_study",
    "parameters_table",
    "save_figures",
    "show_drawn",
    "singular_values",
    "spectra_over_training",
    "sweep",
    "truncation",
]
