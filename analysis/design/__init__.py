"""The design: formulas, groups, crossings, variance components and priors."""
