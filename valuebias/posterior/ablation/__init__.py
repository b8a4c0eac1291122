"""What the draws of an ablation say: gaps, slopes, shares, closing points, trajectories, words."""
