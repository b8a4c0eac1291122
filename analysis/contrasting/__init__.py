"""Plain statistics of contrast sets: what scores show without a model of them."""
