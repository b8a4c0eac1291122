"""Compare files with their checksums, piece by piece."""
