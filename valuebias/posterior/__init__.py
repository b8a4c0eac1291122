"""Tables and numbers from posterior draws, of scores and ablations; no figure, no report."""
