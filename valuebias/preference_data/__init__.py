"""Preferences of any published form, as one: read, filter, split."""
