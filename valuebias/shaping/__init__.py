"""Mitigation: directions that a bias lies along, taken out of what a reward head reads."""
