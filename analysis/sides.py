"""Which models share something, and what that does to their scores.

An implicit reward model is made of two language models, and several pairs may share one. Whatever
is peculiar to that model is then in all of them: its effect acts on every pair that has it on that
side. Likewise the checkpoints of one training run share the run, and runs share the base model
that they start from. Where what is shared is laid out evenly, such effects keep to orthogonal
subspaces of the models, and the crossing still factorises (see :mod:`valuebias.analysis.strata`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

__all__ = [
    "GROUPS",
    "SIDES",
    "ModelSides",
    "Subspace",
    "model_sides",
    "run_labels",
    "shared_models",
]

Array = NDArray[np.float64]

SIDES = ("numerator", "denominator")
GROUPS = {
    "numerator": "models that are a pair's numerator",
    "denominator": "models that are a pair's denominator",
    "run": "training runs of a kind",
    "base": "base models of a kind",
}
"""What models may share, and what those that share it are called."""

_RUN = ("base", "source", "n_pairs", "seed", "step")
_TOLERANCE = 1e-8
# The block of the formula is dense: its cost grows with the cube of its size.
_MOST_COLUMNS = 40


@dataclass(frozen=True)
class Subspace:
    """Directions among the models in which each of their effects has one variance.

    Attributes
    ----------
    name : str
        "models"; of pairs "numerators", "denominators", "pairs" (what is peculiar to a pair); of
        checkpoints "runs", "bases", "checkpoints".
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
        By what models share (a key of :data:`GROUPS`): which models share it, rotated to `basis`.
    sizes : dict of str to int
        By the same: how many there are of it.
    status : {"unshared", "shared", "unsupported"}
        "unsupported": models share something in a layout that does not factorise; they are then
        taken as independent.
    basis : ndarray, shape (model, column)
        Orthonormal basis of the formula's span, its columns first. Where runs have unequal numbers
        of checkpoints it has further columns, so that what is shared acts within it.
    """

    subspaces: tuple[Subspace, ...]
    in_span: dict[str, Array]
    sizes: dict[str, int]
    status: Literal["unshared", "shared", "unsupported"]
    basis: Array


def model_sides(models: pd.DataFrame, basis: Array) -> ModelSides:
    """Split the space of the models outside the span of the formula.

    Parameters
    ----------
    models : DataFrame
        The coordinates of the models; of pairs with the columns ``numerator`` and ``denominator``,
        of checkpoints with ``base``, ``source``, ``n_pairs``, ``seed`` and ``step``.
    basis : ndarray, shape (model, column)
        Orthonormal basis of the formula's span.

    Returns
    -------
    ModelSides
        With one subspace unless models share something.
    """
    if set(SIDES) <= set(models.columns):
        return _pair_sides(models, basis)
    shared = _run_groups(models)
    if not shared:
        return _plain(basis, "unshared")
    alike = {name: (own[:, None] == own).astype(float) for name, own in shared.items()}
    closed = _closed(basis, alike, models)
    if closed is None:
        return _plain(basis, "unsupported")
    subspaces = _split(_outside(closed), closed, alike, "checkpoints")
    if subspaces is None:
        return _plain(basis, "unsupported")
    return _shared(subspaces, closed, alike, shared)


def run_labels(models: pd.DataFrame) -> NDArray[np.str_] | None:
    """Name the training run of every model; None where the models are not described as trained.

    Parameters
    ----------
    models : DataFrame
        The coordinates of the models.

    Returns
    -------
    ndarray of str or None
        The same text for checkpoints of the same base, source, number of pairs, seed and
        objective.
    """
    if not set(_RUN) <= set(models.columns):
        return None
    parts = [name for name in (*_RUN[:-1], "objective") if name in models.columns]
    # Not astype(str), which leaves what is unknown as NaN.
    columns = [[str(value) for value in models[name]] for name in parts]
    return np.array([" | ".join(row) for row in zip(*columns, strict=True)])


def shared_models(numerators: list[str], denominators: list[str]) -> str:
    """Say whether pairs of models share one; empty where none do."""
    members = [*numerators, *denominators]
    distinct = len(set(members))
    if distinct == len(members):
        return ""
    return f"the {len(numerators)} pairs are made of {distinct} models, so that some share one"


def _pair_sides(models: pd.DataFrame, basis: Array) -> ModelSides:
    names = {side: np.asarray(models[side].astype(str), dtype=np.str_) for side in SIDES}
    # A model that each pair has for itself adds nothing to what is peculiar to the pair.
    shared = {side: own for side, own in names.items() if len(set(own)) < len(own)}
    if len(set().union(*names.values())) < sum(len(set(own)) for own in names.values()):
        return _plain(basis, "unsupported")
    if not shared:
        return _plain(basis, "unshared")
    alike = {side: (own[:, None] == own).astype(float) for side, own in shared.items()}
    subspaces = _split(_outside(basis), basis, alike, "pairs")
    if subspaces is None:
        return _plain(basis, "unsupported")
    return _shared(subspaces, basis, alike, shared)


def _run_groups(models: pd.DataFrame) -> dict[str, NDArray[np.str_]]:
    """Say which models share a run, and which a base; only what can make a difference."""
    runs = run_labels(models)
    if runs is None:
        return {}
    out = {}
    if len(set(runs)) < len(runs):
        out["run"] = runs
    base = np.asarray(models["base"].astype(str), dtype=np.str_)
    kinds = set(models["family"].astype(str)) if "family" in models.columns else set()
    # With one base a family, what is the base's and what is the family's only appear in a sum.
    if len(kinds) < len(set(base)) < len(set(runs)):
        out["base"] = base
    return out


def _plain(basis: Array, status: Literal["unshared", "unsupported"]) -> ModelSides:
    return ModelSides((Subspace("models", _outside(basis), {}),), {}, {}, status, basis)


def _shared(
    subspaces: tuple[Subspace, ...],
    basis: Array,
    alike: dict[str, Array],
    shared: dict[str, NDArray[np.str_]],
) -> ModelSides:
    return ModelSides(
        subspaces,
        {name: basis.T @ matrix @ basis for name, matrix in alike.items()},
        {name: len(set(own)) for name, own in shared.items()},
        "shared",
        basis,
    )


def _outside(basis: Array) -> Array:
    return linalg.null_space(basis.T) if basis.shape[0] > basis.shape[1] else basis[:, :0]


def _closed(basis: Array, alike: dict[str, Array], models: pd.DataFrame) -> Array | None:
    """Add columns until what is shared acts within the span; None where it takes too many.

    Runs of unequal length weigh the mean over runs unequally, which leads out of the span.
    """
    matrices = list(alike.values())
    if len(matrices) > 1 and _apart(*matrices) > _TOLERANCE:
        # What bases share is then all in the span, and cannot conflict with runs outside it.
        base = models["base"].astype(str).to_numpy()
        basis = _appended(basis, (base[:, None] == np.unique(base)).astype(float))
    while True:
        wider = _appended(basis, np.concatenate([matrix @ basis for matrix in matrices], axis=1))
        if wider.shape[1] == basis.shape[1]:
            return basis
        if wider.shape[1] > _MOST_COLUMNS:
            return None
        basis = wider


def _appended(basis: Array, columns: Array) -> Array:
    """Append to an orthonormal basis what of ``columns`` lies outside it."""
    new = columns - basis @ (basis.T @ columns)
    left, singular, _ = np.linalg.svd(new, full_matrices=False)
    extra = left[:, singular > _TOLERANCE]
    return np.concatenate([basis, np.linalg.qr(extra - basis @ (basis.T @ extra))[0]], axis=1)


def _apart(first: Array, second: Array) -> float:
    return float(np.abs(first @ second - second @ first).max(initial=0.0))


def _split(
    rest: Array, basis: Array, alike: dict[str, Array], own: str
) -> tuple[Subspace, ...] | None:
    """Find the common eigenspaces of ``alike`` outside the span; None where there are none."""
    inside = {side: rest.T @ matrix @ rest for side, matrix in alike.items()}
    leak = [np.abs(basis.T @ matrix @ rest).max(initial=0.0) for matrix in alike.values()]
    first, last = next(iter(inside.values())), list(inside.values())[-1]
    if max(*leak, _apart(first, last)) > _TOLERANCE:
        return None
    # Symmetric matrices that commute have the eigenvectors of their generic sum in common.
    weights = np.sqrt([2.0, 3.0])
    total = sum(w * matrix for w, matrix in zip(weights, inside.values(), strict=False))
    vectors = np.linalg.eigh(np.asarray(total))[1]
    loads = np.stack(
        [np.einsum("ab,ac,cb->b", vectors, matrix, vectors) for matrix in inside.values()], axis=1
    ).round(6)
    if not rest.size:
        return (Subspace(own, rest, {}),)
    found = []
    for load in np.unique(loads, axis=0)[::-1]:
        here = (loads == load).all(axis=1)
        by_side = {
            side: float(value) for side, value in zip(inside, load, strict=True) if value > 0
        }
        found.append((by_side, rest @ vectors[:, here]))
    names = [" and ".join(f"{side}s" for side in by_side) or own for by_side, _ in found]
    counts = {name: names.count(name) for name in names}
    return tuple(
        Subspace(name if counts[name] == 1 else f"{name} {i + 1}", vectors, by_side)
        for i, (name, (by_side, vectors)) in enumerate(zip(names, found, strict=True))
    )
