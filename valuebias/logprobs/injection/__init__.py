"""Raise chosen words by fine-tuning, and test which methods find them."""
