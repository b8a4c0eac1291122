"""Scores of contrast sets with known truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from valuebias import contrast_set
from valuebias.schema.contrast_scores import build_contrasts

__all__ = ["World", "items", "world"]


class World(NamedTuple):
    """Scores, and the true difference of the first two variants, in the scores' own units."""

    scores: xr.Dataset
    of_family: np.ndarray
    of_model: np.ndarray


def items(n: int, variants: Sequence[str], **columns: object) -> pd.DataFrame:
    """Make conversations, one a row, with columns (item · variant,)."""
    rows = [
        {"item": f"q{i}", "variant": v, "prompt": f"What is {i}?", "response": f"{v} of {i}"}
        for i in range(n)
        for v in variants
    ]
    return pd.DataFrame(rows).assign(**columns)


def world(
    seed: int,
    *,
    n_items: int = 40,
    variants: Sequence[str] = ("a", "b"),
    families: Sequence[int] = (4, 4),
    bases: Sequence[str] | None = None,
    gap: float = 0.0,
    between: float = 0.0,
    sd: dict[str, float] | None = None,
    **columns: object,
) -> World:
    """Simulate scores in which the first variant is ``gap`` above the others.

    ``between`` is by how much more it is in the first family than in the second; ``sd`` are SDs of
    a difference between two variants, by what differs.
    """
    scale = {"model": 0.3, "base": 0.0, "item": 0.5, "item family": 0.3, "item base": 0.0,
             "rest": 0.6, "level": 1.0} | (sd or {})  # fmt: skip
    rng = np.random.default_rng([seed, 77])
    family = np.repeat(np.arange(len(families)), families)
    n_models, n_variants = len(family), len(variants)
    of_base = np.unique(bases, return_inverse=True)[1] if bases else np.arange(n_models)

    def effect(name: str, *shape: int) -> np.ndarray:
        return scale[name] * rng.standard_normal((*shape, n_variants)) / np.sqrt(2)

    fixed = np.zeros((len(families), n_variants))
    fixed[:, 0] = gap
    if between:
        fixed[:2, 0] += np.array([0.5, -0.5]) * between
    own = effect("model", n_models) + effect("base", n_models)[of_base] + fixed[family]
    y = own[:, None] + effect("item", n_items) + effect("rest", n_models, n_items)
    y += effect("item family", len(families), n_items)[family]
    y += effect("item base", n_models, n_items)[of_base]
    y += scale["level"] * rng.standard_normal((n_models, n_items, 1))
    models = pd.DataFrame(
        {"family": [f"F{k}" for k in family], "stage": "reward"},
        index=[f"org/m{i}" for i in range(n_models)],
    )
    if bases:
        models["base"] = list(bases)
    contrasts = contrast_set(items(n_items, variants, **columns), name="world")
    scores = build_contrasts(y, models=models, contrasts=contrasts)
    return World(scores, fixed[:, 0] - fixed[:, 1], own[:, 0] - own[:, 1])
