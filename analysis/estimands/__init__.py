"""Quantities of draws: effects, contrasts, diagnostics, checks and held-out densities."""
