"""Hold what was written against its checksums, piece by piece."""
