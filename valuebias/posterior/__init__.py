"""What draws say: every table and number, of scores and of ablations; no figure, no report."""
