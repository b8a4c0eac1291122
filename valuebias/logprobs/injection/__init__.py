"""Raise chosen words by fine-tuning, and see which methods find them."""
