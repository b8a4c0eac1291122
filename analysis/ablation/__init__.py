"""The layout of ablations and their curves: what grows with pairs, and what levels off."""
