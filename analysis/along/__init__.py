"""Rewards along answers: what each token changes, and what a beginning tells of the end."""
