"""What of a dataset would mislead an analysis: layout, bases, confounding, readings."""
