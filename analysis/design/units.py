"""What can be left out of a fit as a whole: a model, the models of a base, a word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.design.grouping import known_bases, reward_models
from valuebias.errors import ValueBiasError
from valuebias.schema import model_table

__all__ = ["Unit", "base_units", "find_units", "model_units"]

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Unit:
    """Something to leave out."""

    name: str
    models: tuple[int, ...] = ()  # positions of the models; none where it is a word
    word: int = -1  # position of the word; −1 where it is models


def find_units(data: xr.Dataset, by: str, base: str) -> list[Unit]:
    """List the units of a kind."""
    if by == "word":
        return [Unit(str(name), word=i) for i, name in enumerate(data["response"].to_numpy())]
    units = base_units(data, base) if by == "base" else model_units(data)
    if not units:
        raise ValueBiasError(
            f"the models have no {base!r}, so that no base can be left out; give each model's with "
            f"dataset.assign_coords({base}=('model', [...])) and fit again, or use by='model'."
        )
    if len(units) < 2:
        raise ValueBiasError(
            f"all models are of one {by}, {units[0].name!r}, and without it nothing is left to "
            "predict it from; score further models."
        )
    return units


def model_units(data: xr.Dataset) -> list[Unit]:
    """Return every model; one of which several labels were scored with all of these."""
    models = model_table(data)
    return _members(reward_models(models) or [str(name) for name in models.index])


def base_units(data: xr.Dataset, base: str) -> list[Unit]:
    """Return every base with its models; none where no base is known."""
    return _members(known_bases(model_table(data), base) or [])


def _members(labels: list[str]) -> list[Unit]:
    members: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    return [Unit(name, tuple(models)) for name, models in members.items()]
