"""Groups of models that share something, and their effect on the covariance.

Reward models trained from one base share whatever is peculiar to that base; pairs of language
models that share one, checkpoints of one run, and whatever ``(1 | recipe)`` in a formula names, do
likewise. Each such group has an effect of its own, nested in or crossed with the others. The
covariance over models is then a sum of known matrices with unknown variances. In a small span that
all of them keep to (the formula's columns and what the groups add to them) it is dense; outside it
the matrices have eigenvectors in common, so that the crossing still factorises (see
:mod:`valuebias.analysis.design.strata`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from valuebias.analysis.design.blocks import invariant_blocks

__all__ = [
    "OWN",
    "PAIR_COORDS",
    "Group",
    "ModelSpace",
    "Part",
    "Subspace",
    "describe_group",
    "find_groups",
    "known_bases",
    "make_space",
    "plain_group",
    "restrict_space",
    "reward_models",
    "run_labels",
    "shared_models",
]

Array = NDArray[np.float64]

PAIR_COORDS = ("numerator", "denominator")
OWN = "model"
"""Name of the part of the covariance that is each model's own."""

_KINDS = {
    "numerator": "models that are a pair's numerator",
    "denominator": "models that are a pair's denominator",
    "run": "training runs of a kind",
    "base": "base models of a family",
    "reward_model": "reward models with several labels",
}
_RUN = ("base", "source", "n_pairs", "seed", "step")
_TOLERANCE = 1e-8
# The block of the formula is dense: its cost grows with the cube of its size.
_MOST_COLUMNS = 40
# Up to so many columns one dense block is quick.
_FEW_COLUMNS = 6

Part = tuple[str, int]
"""A matrix over models: whose effect (:data:`OWN` or a group's name), of models of which kind."""


@dataclass(frozen=True)
class Group:
    """What some models share: an effect of each of its levels, or a slope."""

    name: str  # such as ``"base"``; of a slope ``"base:log2(n_pairs)"``
    labels: NDArray[np.str_]  # (model,): the level of every model
    # (model, column): what the level's effects are multiplied by: ones, or the variables that the
    # slope is of.
    values: Array

    @property
    def n_levels(self) -> int:
        """How many levels there are."""
        return len(set(self.labels.tolist()))

    @property
    def indicators(self) -> Array:
        """Effects of the levels on the models, shape (model, level · column)."""
        membership = self.labels[:, None] == np.unique(self.labels)
        return np.concatenate([membership * column[:, None] for column in self.values.T], axis=1)

    @property
    def alike(self) -> Array:
        """Covariance that the group gives to the models, up to its variance; (model, model)."""
        same = self.labels[:, None] == self.labels
        return np.asarray(same * (self.values @ self.values.T))

    def same_as(self, other: Group) -> bool:
        """Whether two groups give their models the same covariance, up to its variance."""
        return np.array_equal(self.alike, other.alike)

    def reaches_beyond(self, columns: Array) -> bool:
        """Whether the models can tell how much the levels differ: not all is in the formula."""
        membership = self.indicators
        left = membership - columns @ np.linalg.lstsq(columns, membership)[0]
        return bool(np.abs(left).max() > _TOLERANCE * max(1.0, float(np.abs(membership).max())))

    def nested_in(self, kinds: NDArray[np.intp]) -> bool:
        """Whether no level has models of two kinds."""
        pairs = {*zip(self.labels.tolist(), kinds.tolist(), strict=True)}
        return len(pairs) == self.n_levels


@dataclass(frozen=True)
class Subspace:
    """Directions among the models in which each of their effects has one variance."""

    # "models"; of pairs "numerators", "denominators", "pairs" (what is peculiar to a pair); of
    # models on shared bases "bases", of checkpoints "runs" and "checkpoints".
    name: str
    basis: Array  # (model, dimension): orthonormal
    loads: dict[Part, float]  # how many times the variance of a part enters here

    @property
    def size(self) -> int:
        """Its dimension."""
        return int(self.basis.shape[1])

    def project(self, table: Array) -> Array:
        """Project a table whose last side but one is the models."""
        return np.asarray(self.basis @ (self.basis.T @ table))


@dataclass(frozen=True)
class ModelSpace:
    """How the covariance over models falls into a dense span and subspaces beside it."""

    # (model, column): orthonormal basis of the span: the formula's columns, and what groups add to
    # them.
    basis: Array
    blocks: tuple[slice, ...]  # columns of `basis` that no covariance connects with others
    in_span: dict[Part, Array]  # (column, column): the matrices of the parts within the span
    # Orthogonal; with the span they make up the whole space. At least one, which may have no
    # dimension.
    subspaces: tuple[Subspace, ...]
    groups: tuple[Group, ...]  # those that are in the model
    # Families whose models (and bases) have a spread of their own; empty where all have one.
    kinds: tuple[str, ...]
    # (model,): each model's position in `kinds`; zeros where there are none.
    kind_of: NDArray[np.intp]
    # Groups that had to be left out, for the span would have grown too wide.
    dropped: tuple[str, ...] = ()

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many levels each group has."""
        return {group.name: group.n_levels for group in self.groups}

    def group(self, name: str) -> Group | None:
        """Return the group called ``name``, or None where it is not in the model."""
        return next((group for group in self.groups if group.name == name), None)


def plain_group(name: str, labels: Iterable[object]) -> Group:
    """Make a group whose levels have one effect on all of their models."""
    text = np.array([str(label) for label in labels], dtype=np.str_)
    return Group(name, text, np.ones((len(text), 1)))


def describe_group(name: str) -> str:
    """Describe the levels of a group in the plural."""
    who, _, slope = name.partition(":")
    kind = _KINDS.get(who, f"levels of {who}")
    return f"{kind} in the slope of {slope}" if slope else kind


def find_groups(models: pd.DataFrame, base: str | None = "base") -> tuple[Group, ...]:
    """Find the groups that the models' coordinates name."""
    if set(PAIR_COORDS) <= set(models.columns):
        by_coord = [plain_group(coord, models[coord]) for coord in PAIR_COORDS]
        # A model in a single pair adds nothing to the pair's own effect.
        return tuple(group for group in by_coord if group.n_levels < len(models))
    groups = {}
    runs = run_labels(models)
    if runs is not None and len(set(runs)) < len(runs):
        groups["run"] = plain_group("run", runs)
    owners = reward_models(models)
    if owners is not None and len(set(owners)) > 1:
        groups["reward_model"] = plain_group("reward_model", owners)
    labels = known_bases(models, base)
    if labels is not None:
        group = plain_group("base", labels)
        finest = min((other.n_levels for other in groups.values()), default=len(models))
        if 1 < group.n_levels < finest:
            groups["base"] = group
    return tuple(groups.values())


def known_bases(models: pd.DataFrame, base: str | None = "base") -> list[str] | None:
    """Name the base of every model; a model without one counts as a base of its own.

    None where the coordinate is missing or empty throughout.
    """
    if base is None or base not in models.columns:
        return None
    named = [str(value).strip() for value in models[base]]
    if set(named) <= {"", "nan", "None"}:
        return None
    return [
        f"(base of {model})" if name in ("", "nan", "None") else name
        for model, name in zip(models.index, named, strict=True)
    ]


def reward_models(models: pd.DataFrame) -> list[str] | None:
    """Name the reward model that every row is a label of; a row that names none is one itself.

    None where no two rows are labels of one.
    """
    if "reward_model" not in models.columns:
        return None
    named = [str(value).strip() for value in models["reward_model"]]
    owners = [
        str(row) if name in ("", "nan", "None") else name
        for row, name in zip(models.index, named, strict=True)
    ]
    return owners if len(set(owners)) < len(owners) else None


def run_labels(models: pd.DataFrame) -> NDArray[np.str_] | None:
    """Name the training run of every model; None where the models are not described as trained."""
    if not set(_RUN) <= set(models.columns):
        return None
    parts = [name for name in (*_RUN[:-1], "tuning", "objective") if name in models.columns]
    # Not astype(str), which leaves what is unknown as NaN.
    columns = [[str(value) for value in models[name]] for name in parts]
    return np.array([" | ".join(row) for row in zip(*columns, strict=True)])


def shared_models(numerators: list[str], denominators: list[str]) -> str:
    """Describe which models several pairs share; empty where none do."""
    members = [*numerators, *denominators]
    distinct = len(set(members))
    if distinct == len(members):
        return ""
    return f"the {len(numerators)} pairs are made of {distinct} models, so that some share one"


def make_space(
    columns: Array,
    groups: tuple[Group, ...],
    kinds: Mapping[str, NDArray[np.bool_]] | None = None,
    spans: Iterable[Array] = (),
) -> ModelSpace:
    """Split the space of the models into a dense span and subspaces outside it.

    ``columns`` is (model, column); ``kinds`` is (model,); ``spans`` is (model, column).
    """
    basis = _span_of(columns)
    own_kinds = dict(kinds or {})
    wanted, kept = list(groups), list(groups)
    while True:
        parts = _parts(kept, own_kinds, len(columns))
        split = _split(basis, parts, kept)
        if split is not None:
            break
        if own_kinds:
            own_kinds = {}
        else:
            kept = kept[:-1]
    closed, subspaces = split
    closed, blocks = _in_blocks(closed, parts, list(spans))
    return ModelSpace(
        basis=closed,
        blocks=blocks,
        in_span={part: closed.T @ matrix @ closed for part, matrix in parts.items()},
        subspaces=subspaces,
        groups=tuple(kept),
        kinds=tuple(own_kinds),
        kind_of=_kind_of(own_kinds, len(columns)),
        dropped=tuple(group.name for group in wanted if group not in kept),
    )


def restrict_space(
    space: ModelSpace, keep: NDArray[np.intp], columns: Array, spans: Iterable[Array] = ()
) -> ModelSpace:
    """Split the space of some of the models, with the same groups, kinds and parts as for all.

    Nothing is searched again: a base that is no longer shared, or a family without a model, keeps
    its variance.
    """
    masks = {kind: space.kind_of == k for k, kind in enumerate(space.kinds)}
    whole = _parts(list(space.groups), masks, len(space.kind_of))
    parts = {part: matrix[np.ix_(keep, keep)] for part, matrix in whole.items()}
    groups = tuple(Group(g.name, g.labels[keep], g.values[keep]) for g in space.groups)
    basis = _span_of(columns)
    # Never None: a span of as many columns as models holds everything.
    split = cast("_Split", _split(basis, parts, list(groups), len(keep)))
    closed, blocks = _in_blocks(split[0], parts, list(spans))
    in_span = {part: closed.T @ matrix @ closed for part, matrix in parts.items()}
    return replace(
        space, basis=closed, blocks=blocks, in_span=in_span, subspaces=split[1], groups=groups,
        kind_of=space.kind_of[keep],
    )  # fmt: skip


def _span_of(columns: Array) -> Array:
    """Orthonormal basis of the columns, whose first is constant and positive."""
    basis, triangle, _ = linalg.qr(columns[:, 1:], mode="economic", pivoting=True)
    first = np.full((len(columns), 1), 1 / np.sqrt(len(columns)))
    size = np.abs(np.diag(triangle)) if triangle.size else np.zeros(0)
    return _appended(first, basis[:, : int((size > _TOLERANCE * max(size, default=0)).sum())])


def _kind_of(kinds: Mapping[str, NDArray[np.bool_]], n_models: int) -> NDArray[np.intp]:
    if not kinds:
        return np.zeros(n_models, dtype=np.intp)
    return np.asarray(np.argmax(np.array(list(kinds.values())), axis=0), dtype=np.intp)


def _parts(
    groups: list[Group], kinds: Mapping[str, NDArray[np.bool_]], n_models: int
) -> dict[Part, Array]:
    """Matrices over models, one per variance: models' own, then groups', by kind where needed."""
    if not kinds:
        out: dict[Part, Array] = {(OWN, 0): np.eye(n_models)}
        return out | {(group.name, 0): group.alike for group in groups}
    out = {(OWN, k): np.diag(mask.astype(float)) for k, mask in enumerate(kinds.values())}
    kind_of = _kind_of(kinds, n_models)
    for group in groups:
        if group.name.partition(":")[0] == "base" and group.nested_in(kind_of):
            out |= {
                (group.name, k): group.alike * np.outer(mask, mask)
                for k, mask in enumerate(kinds.values())
            }
        else:
            out[group.name, 0] = group.alike
    return out


_Split = tuple[Array, tuple[Subspace, ...]]


def _split(
    basis: Array, parts: dict[Part, Array], groups: list[Group], most: int = _MOST_COLUMNS
) -> _Split | None:
    """Widen the span until the rest falls into subspaces; None where that takes too many columns.

    Groups that conflict outside the span (crossed ones in an uneven layout) come into it whole,
    those with the fewest levels first.
    """
    conflicting = sorted(groups, key=lambda group: group.n_levels)
    while True:
        closed = _closed(basis, list(parts.values()), most)
        if closed is None:
            return None
        n_models, n_columns = closed.shape
        rest = linalg.null_space(closed.T) if n_models > n_columns else closed[:, :0]
        subspaces = _eigenspaces(rest, parts, groups)
        if subspaces is not None or not conflicting:
            return None if subspaces is None else (closed, subspaces)
        basis = _appended(basis, conflicting.pop(0).indicators)


def _closed(basis: Array, matrices: list[Array], most: int) -> Array | None:
    """Add columns until every matrix acts within the span; None where it takes too many."""
    if basis.shape[1] > most:
        return None
    # Only the columns of the last round can lead further out.
    fresh = basis
    while fresh.shape[1]:
        images = np.concatenate([matrix @ fresh for matrix in matrices], axis=1)
        wider = _appended(basis, images)
        fresh, basis = wider[:, basis.shape[1] :], wider
        if basis.shape[1] > most:
            return None
    return basis


def _appended(basis: Array, columns: Array) -> Array:
    """Append to an orthonormal basis the part of ``columns`` outside it."""
    size = np.linalg.norm(columns, axis=0)
    columns = columns[:, size > _TOLERANCE] / size[size > _TOLERANCE]
    new = columns - basis @ (basis.T @ columns)
    left, singular, _ = np.linalg.svd(new, full_matrices=False)
    extra = left[:, singular > _TOLERANCE]
    return np.concatenate([basis, np.linalg.qr(extra - basis @ (basis.T @ extra))[0]], axis=1)


def _eigenspaces(
    rest: Array, parts: dict[Part, Array], groups: list[Group]
) -> tuple[Subspace, ...] | None:
    """Find the common eigenspaces of the parts outside the span; None where there are none."""
    names = {group.name for group in groups}
    rest_name = "checkpoints" if "run" in names else "models"
    if names & set(PAIR_COORDS):
        rest_name = "pairs"
    if not rest.size:
        return (Subspace(rest_name, rest, {part: 1.0 for part in parts if part[0] == OWN}),)
    inside = {part: rest.T @ matrix @ rest for part, matrix in parts.items()}
    weights = np.random.default_rng(0).uniform(1, 2, (2, len(inside)))
    first, second = np.tensordot(weights, np.array(list(inside.values())), 1)
    # Two generic sums of symmetric matrices commute only where all of these do.
    size = max(1.0, float(np.abs(first).max()))
    if np.abs(first @ second - second @ first).max() > _TOLERANCE * size**2:
        return None
    vectors = np.linalg.eigh(first)[1]
    # Products of matrices: what einsum makes of the three took minutes for 500 models left out.
    loads = np.stack(
        [(vectors * (matrix @ vectors)).sum(axis=0) for matrix in inside.values()], axis=1
    ).round(6)
    spaces = []
    for load in np.unique(loads, axis=0)[::-1]:
        mask = (loads == load).all(axis=1)
        by_part = {part: float(x) for part, x in zip(inside, load, strict=True) if x > 0}
        spaces.append((by_part, rest @ vectors[:, mask]))
    called = [
        " and ".join(dict.fromkeys(f"{name}s" for name, _ in by_part if name != OWN)) or rest_name
        for by_part, _ in spaces
    ]
    return tuple(
        Subspace(name if called.count(name) == 1 else f"{name} {i + 1}", vectors, by_part)
        for i, (name, (by_part, vectors)) in enumerate(zip(called, spaces, strict=True))
    )


def _in_blocks(
    basis: Array, parts: dict[Part, Array], spans: list[Array]
) -> tuple[Array, tuple[slice, ...]]:
    """Turn the basis of a large span so that it falls into blocks."""
    if basis.shape[1] <= _FEW_COLUMNS or not spans:
        return basis, (slice(0, basis.shape[1]),)
    rotated = [basis.T @ columns for columns in spans]
    inside = [columns @ columns.T for columns in rotated]
    inside += [basis.T @ matrix @ basis for matrix in parts.values()]
    rotation, blocks = invariant_blocks(inside)
    return basis @ rotation, blocks
