"""Ties: how many scores equal another, and what a fit says of scores that take few values."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.notes import Note
from valuebias.analysis.outcome import describe
from valuebias.errors import few

__all__ = ["MANY_TIES", "tie_notes", "tied"]

MANY_TIES = 0.5
"""From which share of tied scores on they are many."""
_FEW_VALUES = 11
"""How many values there are of a rating from 0 to 10."""

Scores = NDArray[np.floating[Any]]


def tied(scores: Scores) -> NDArray[np.float64]:
    """Give the share of each model's scores that equal another under the same prompt.

    ``scores`` is (model, prompt, response).

    Examples
    --------
    >>> tied(np.array([[[1.0, 2.0, 2.0, np.nan]], [[1.0, 2.0, 3.0, 4.0]]])).round(2).tolist()
    [0.67, 0.0]
    """
    ordered = np.sort(scores, axis=-1)
    same = ordered[..., 1:] == ordered[..., :-1]
    equal = np.zeros(ordered.shape, dtype=bool)
    equal[..., 1:] |= same
    equal[..., :-1] |= same
    scored = np.maximum((~np.isnan(ordered)).sum(axis=(1, 2)), 1)
    return np.asarray(equal.sum(axis=(1, 2)) / scored)


def tie_notes(data: xr.Dataset, outcome: str) -> list[Note]:
    """Note models whose scores are steps of a scale, such as ratings; empty where there is none."""
    scores = data["score"].transpose("model", "prompt", "response").to_numpy()
    ordered = np.sort(scores, axis=-1)
    values = (ordered[..., 1:] > ordered[..., :-1]).sum(axis=-1) + 1
    typical, shares = np.median(values, axis=1), tied(scores)
    coarse = np.flatnonzero((typical <= _FEW_VALUES) & (shares > MANY_TIES))
    if not coarse.size:
        return []
    names = [str(name) for name in data["model"].to_numpy()[coarse]]
    ranked = outcome in ("normal", "rank")
    shared = f"Tied words share one {describe(outcome).name}, that of the middle of their ranks. "
    return [
        Note(
            "few values",
            f"the scores of {coarse.size} of {len(scores)} models take few values, as ratings do "
            f"({few(names)}: {int(np.median(typical[coarse]))} under a prompt, and "
            f"{shares[coarse].mean():.0%} of the scores equal that of another word). "
            f"{shared if ranked else ''}The fit takes what is left over for normal, which steps "
            "are not, and has no outcome for ordinal scores: small differences within a step stay "
            "unseen. Scores of a judge that are expectations over its verdicts have no such steps.",
        )
    ]
