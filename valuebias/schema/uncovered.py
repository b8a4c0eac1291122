"""Words that were scored and that the lexicon does not name."""

from __future__ import annotations

import xarray as xr

__all__ = ["uncovered"]

_SHARE = 0.1
"""Up to this part of the words may be in no category without a word about it."""
_FEW = 10
"""So few words are seen by who gives them."""
_VOCABULARY = 5_000
"""Of so many words, which are a vocabulary's, most are in no lexicon."""


def uncovered(ds: xr.Dataset) -> str:
    """Say how many words are in no category where these are more than a tenth; empty elsewhere.

    Not of vocabularies (5,000 words and more), nor of fewer than ten such words, nor without any
    category, which is said elsewhere.
    """
    inside = (ds["membership"] != 0).any("category").to_numpy()
    n, out = inside.size, int((~inside).sum())
    if not inside.any() or n >= _VOCABULARY or out < _FEW or out <= _SHARE * n:
        return ""
    return (
        f"{out:,} of the {n:,} words scored ({out / n:.0%}) are in no category of the lexicon, so "
        f"that what is compared rests on the {n - out:,} others. Where they should count, read the "
        "scores with the lexicon that they are from: 'big2-nouns' has the nouns of the paper, and "
        "a file of your own any words. 'Love' is no 'love' of a lexicon unless case is ignored."
    )
