from .ranks import rank_figure as rank_figure
