"""Pairs of language models: which of them share a model, and what that does to their scores.

An implicit reward model is made of two language models, and several pairs may share one. Whatever
is peculiar to that model is then in all of them: its effect acts on every pair that has it on that
side. Where every numerator is paired with every denominator, such effects keep to orthogonal
subspaces of the pairs, and the crossing still factorises (see :mod:`valuebias.analysis.strata`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

__all__ = ["SIDES", "ModelSides", "Subspace", "model_sides", "shared_models"]

Array = NDArray[np.float64]

SIDES = ("numerator", "denominator")
_TOLERANCE = 1e-8


@dataclass(frozen=True)
class Subspace:
    """Directions among the models in which each of their effects has one variance.

    Attributes
    ----------
    name : str
        "models"; of pairs "numerators", "denominators", "pairs" (what is peculiar to a pair).
    basis : ndarray, shape (model, dimension)
        Orthonormal.
    loads : dict of str to float
        By side, how many times the variance of a model on that side enters here.
    """

    name: str
    basis: Array
    loads: dict[str, float]

    @property
    def size(self) -> int:
        """Its dimension."""
        return int(self.basis.shape[1])

    def project(self, table: Array) -> Array:
        """Project a table whose last side but one is the models."""
        return np.asarray(self.basis @ (self.basis.T @ table))


@dataclass(frozen=True)
class ModelSides:
    """How the models, or pairs of them, vary outside the span of the formula.

    Attributes
    ----------
    subspaces : tuple of Subspace
        Orthogonal; with the span of the formula they make up the whole space. At least one, which
        may have no dimension.
    in_span : dict of str to ndarray, shape (column, column)
        By side that pairs share models on: which models are shared, rotated to the span of the
        formula.
    sizes : dict of str to int
        By the same sides: how many models there are on it.
    status : {"unshared", "shared", "unsupported"}
        "unsupported": pairs share models in a layout that does not factorise; they are then taken
        as independent.
    """

    subspaces: tuple[Subspace, ...]
    in_span: dict[str, Array]
    sizes: dict[str, int]
    status: Literal["unshared", "shared", "unsupported"]


def model_sides(models: pd.DataFrame, basis: Array) -> ModelSides:
    """Split the space of the models outside the span of the formula.

    Parameters
    ----------
    models : DataFrame
        The coordinates of the models; of pairs with the columns ``numerator`` and ``denominator``.
    basis : ndarray, shape (model, column)
        Orthonormal basis of the formula's span.

    Returns
    -------
    ModelSides
        With one subspace unless pairs share models.
    """
    rest = linalg.null_space(basis.T) if basis.shape[0] > basis.shape[1] else basis[:, :0]
    plain = (Subspace("models", rest, {}),)
    if not set(SIDES) <= set(models.columns):
        return ModelSides(plain, {}, {}, "unshared")
    names = {side: models[side].astype(str).to_numpy() for side in SIDES}
    # A model that each pair has for itself adds nothing to what is peculiar to the pair.
    shared = {side: own for side, own in names.items() if len(set(own)) < len(own)}
    if len(set().union(*names.values())) < sum(len(set(own)) for own in names.values()):
        return ModelSides(plain, {}, {}, "unsupported")
    if not shared:
        return ModelSides(plain, {}, {}, "unshared")
    alike = {side: (own[:, None] == own).astype(float) for side, own in shared.items()}
    subspaces = _split(rest, basis, alike)
    if subspaces is None:
        return ModelSides(plain, {}, {}, "unsupported")
    return ModelSides(
        subspaces,
        {side: basis.T @ matrix @ basis for side, matrix in alike.items()},
        {side: len(set(own)) for side, own in shared.items()},
        "shared",
    )


def shared_models(numerators: list[str], denominators: list[str]) -> str:
    """Say whether pairs of models share one; empty where none do."""
    members = [*numerators, *denominators]
    distinct = len(set(members))
    if distinct == len(members):
        return ""
    return f"the {len(numerators)} pairs are made of {distinct} models, so that some share one"


def _split(rest: Array, basis: Array, alike: dict[str, Array]) -> tuple[Subspace, ...] | None:
    """Find the common eigenspaces of ``alike`` outside the span; None where there are none."""
    inside = {side: rest.T @ matrix @ rest for side, matrix in alike.items()}
    leak = [np.abs(basis.T @ matrix @ rest).max(initial=0.0) for matrix in alike.values()]
    first, last = next(iter(inside.values())), list(inside.values())[-1]
    if max(*leak, np.abs(first @ last - last @ first).max(initial=0.0)) > _TOLERANCE:
        return None
    # Symmetric matrices that commute have the eigenvectors of their generic sum in common.
    weights = np.sqrt([2.0, 3.0])
    total = sum(w * matrix for w, matrix in zip(weights, inside.values(), strict=False))
    vectors = np.linalg.eigh(np.asarray(total))[1]
    loads = np.stack(
        [np.einsum("ab,ac,cb->b", vectors, matrix, vectors) for matrix in inside.values()], axis=1
    ).round(6)
    found = []
    for load in np.unique(loads, axis=0)[::-1]:
        here = (loads == load).all(axis=1)
        by_side = {
            side: float(value) for side, value in zip(inside, load, strict=True) if value > 0
        }
        found.append((by_side, rest @ vectors[:, here]))
    names = [" and ".join(f"{side}s" for side in by_side) or "pairs" for by_side, _ in found]
    counts = {name: names.count(name) for name in names}
    return tuple(
        Subspace(name if counts[name] == 1 else f"{name} {i + 1}", vectors, by_side)
        for i, (name, (by_side, vectors)) in enumerate(zip(names, found, strict=True))
    )
