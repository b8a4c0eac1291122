"""Learning models of choices between two options, and what choices show by themselves."""
