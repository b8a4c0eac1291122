"""Say of finished scores of judges what their verdicts leave open."""

from __future__ import annotations

import warnings
from typing import TypeVar

import xarray as xr

from valuebias.errors import ValueBiasWarning
from valuebias.schema.verdicts import has_verdicts, outside_notes

__all__ = ["with_verdicts_checked"]

_S = TypeVar("_S", xr.Dataset, xr.DataTree, xr.Dataset | xr.DataTree)


def with_verdicts_checked(scores: _S, *, stacklevel: int) -> _S:
    """Give scores back, and warn of judges that would mostly reply something else."""
    if isinstance(scores, xr.Dataset) and has_verdicts(scores):
        for note in outside_notes(scores):
            warnings.warn(note, ValueBiasWarning, stacklevel=stacklevel + 1)
    return scores
