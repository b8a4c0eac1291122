"""Tables of an ablation: gaps, slopes, shares, closing points, trajectories, words."""
