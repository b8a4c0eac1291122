"""Find models that are more alike than independent ones of a kind.

Whatever a kind of models (a family) likes in common is in all of them, so only distances between
models of one kind count here. Independent models of a kind with one spread are all equally far
apart except for chance, whose size the number of words gives: a pair that is much closer than the
others shares something, such as a base, that makes it count for less than two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Alike",
    "Likeness",
    "Units",
    "closest",
    "find_alike",
    "make_units",
    "off_axes",
    "singly",
]

Array = NDArray[np.float64]
Labels = NDArray[np.intp]

LEAST = 0.25
"""Residual correlation below which models are not called alike, however sure it is."""

_LEVEL = 0.01
# How much of a likeness must be left when models' own spread is allowed for.
_SHARE = 0.5
_NUMBERS = 100_000
_LEAST_DF = 4.0
_MOST_UNITS = 100
# Of a pair that a formula's numbers tell apart hardly anything is left to compare.
_LEAST_LEFT = 0.2


@dataclass(frozen=True)
class Units:
    """The units taken as independent: models, or their bases."""

    # (framing, model, word): mean outcomes, off the words' level and off their axes.
    profiles: Array
    rows: Array  # (model, column): design rows
    kinds: Labels  # (unit,): units of one kind are exchangeable
    members: tuple[tuple[int, ...], ...]  # positions of each unit's models
    n_axes: int  # how many axes the profiles are off, besides the level

    def linked(self, distances: Array) -> Array:
        """Mean distance between single models of every two units; zeros on the diagonal."""
        return _linkage(distances, self._share)

    @cached_property
    def _share(self) -> Array:
        """Weights that average models over units, (unit, model)."""
        return _shares(self.members, len(self.rows))

    @cached_property
    def distances(self) -> Array:
        """Mean squared distance of every two units, shape (unit, unit)."""
        between = self.linked(_squared_distances(self.profiles))
        return np.asarray(between / self.profiles.shape[2])

    @cached_property
    def residual_distances(self) -> Array:
        """The same off the design; of units with equal rows it is unchanged.

        Where the design leaves next to nothing of a pair's distance it is NaN.
        """
        share = self._share
        rows = share @ self.rows
        outside = np.eye(len(rows)) - rows @ np.linalg.pinv(rows)
        diagonal = np.diag(outside)
        left = (diagonal[:, None] + diagonal - 2 * outside) / 2
        n_words = self.profiles.shape[2]
        means = share @ self.profiles
        # What single models add to the distance between the means of their units.
        within = (
            share @ (self.profiles**2).sum(axis=(0, 2)) - (means**2).sum(axis=(0, 2))
        ) / n_words
        apart = _squared_distances(outside @ means) / n_words / np.maximum(left, _LEAST_LEFT)
        out = apart + within[:, None] + within
        out[left < _LEAST_LEFT] = np.nan
        np.fill_diagonal(out, 0)
        return np.asarray(out)

    @cached_property
    def df(self) -> float:
        """Degrees of freedom of a distance: the words, fewer where few of them make most of it."""
        spreads = []
        firsts = np.array([models[0] for models in self.members])
        for kind in np.unique(self.kinds):
            of_kind = self.profiles[:, firsts[self.kinds == kind]]
            for i in range(1, of_kind.shape[1]):
                by_word = ((of_kind[:, i:] - of_kind[:, :-i]) ** 2).sum(axis=0)
                mean = by_word.mean(axis=1)
                varied = mean > 0
                spreads += (by_word.var(axis=1)[varied] / mean[varied] ** 2).tolist()
        n_framings, _, n_words = self.profiles.shape
        free = max(n_words - 1 - self.n_axes, 1)
        if not spreads:
            return float(free)
        return float(np.clip(2 * free / np.mean(spreads), _LEAST_DF, n_framings * free))

    def of_kind(self, kind: int) -> NDArray[np.intp]:
        """Positions of the units of a kind."""
        return np.flatnonzero(self.kinds == kind)

    def excess(self, kind: int) -> Array:
        """By how much more than others of its kind a unit's own variance is, (unit of kind,).

        Estimated by its distance from units of other kinds; zeros where there are none.
        """
        inside, outside = self.of_kind(kind), np.flatnonzero(self.kinds != kind)
        if not outside.size:
            return np.zeros(len(inside))
        out = self.distances[np.ix_(inside, outside)].mean(axis=1)
        return np.asarray(out - out.mean())

    def within(self, kind: int) -> Array:
        """Residual distances of the units of a kind; empty where they cannot be compared."""
        inside = self.of_kind(kind)
        out = self.residual_distances[np.ix_(inside, inside)]
        # Identical models, which have a note of their own, are zero apart but for rounding.
        least = 1e-12 * float((self.profiles**2).mean())
        apart = out[~np.eye(len(inside), dtype=bool)]
        comparable = np.isfinite(out).all() and (apart > least).all()
        return out if comparable else out[:0, :0]


@dataclass(frozen=True)
class Alike:
    """Units that look like one."""

    members: tuple[int, ...]  # positions of the units
    # Residual correlation: 1 − their mean squared distance over that of unlike units of the kind.
    correlation: float
    expected: float  # the largest that independent units would show in 99 cases of 100


@dataclass(frozen=True)
class Likeness:
    """Groups of alike units."""

    units: Units
    groups: tuple[Alike, ...]
    clusters: Labels  # (unit,): the same number for units of one group

    def variance(self, kind: int) -> tuple[float, int]:
        """Variance of unlike units of a kind in a word, and how many of them there are."""
        return self.variance_of(kind, self.units.residual_distances)

    def variance_of(self, kind: int, distances: Array) -> tuple[float, int]:
        """Half the mean of given squared distances (unit, unit) of unlike units of a kind."""
        inside = self.units.of_kind(kind)
        between = distances[np.ix_(inside, inside)]
        apart = self.clusters[inside, None] != self.clusters[inside]
        n = len(np.unique(self.clusters[inside]))
        known = n > 1 and self.units.within(kind).size > 0
        return (float(between[apart].mean()) / 2, n) if known else (np.nan, 1)

    def taken_variance(self, kind: int) -> float:
        """Variance in a word that all units of a kind have if they are taken as independent."""
        between = self.units.within(kind)
        n = len(between)
        return float(between.sum() / (n * (n - 1)) / 2) if n > 1 else np.nan

    def widening(self, weights: Array) -> float:
        """Factor for a standard error where groups of units are not independent.

        ``weights`` (unit,) are those of an estimate, such as a difference of families.
        """
        taken = needed = 0.0
        for kind in np.unique(self.units.kinds):
            positions = self.units.of_kind(kind)
            kind_variance, n = self.variance(kind)
            if n < 2:
                continue
            correlation = np.eye(len(positions))
            for group in self.groups:
                inside = np.isin(positions, group.members)
                both = np.outer(inside, inside) & (correlation == 0)
                correlation[both] = group.correlation
            w = weights[positions]
            needed += kind_variance * float(w @ correlation @ w)
            taken += self.taken_variance(kind) * float(w @ w)
        return float(np.sqrt(needed / taken)) if taken > 0 else 1.0


def make_units(
    profiles: Array,
    rows: Array,
    kinds: Labels,
    labels: Sequence[object] | None = None,
    *,
    n_axes: int = 0,
) -> Units:
    """Make units of models of some ``kinds``, or of groups of them that ``labels`` names."""
    names = list(range(len(kinds)) if labels is None else labels)
    members = tuple(
        tuple(i for i, unit in enumerate(names) if unit == name) for name in dict.fromkeys(names)
    )
    return Units(profiles, rows, np.array([kinds[unit[0]] for unit in members]), members, n_axes)


def off_axes(means: Array, axes: Array) -> Array:
    """Take the level and the words' axes (word, axis) out of tables (…, word).

    Words that are unknown (NaN) anywhere are dropped.
    """
    known = np.isfinite(means).all(axis=tuple(range(means.ndim - 1)))
    table = means[..., known]
    basis = np.linalg.qr(np.column_stack([np.ones(known.sum()), axes[known]]))[0]
    return np.asarray(table - (table @ basis) @ basis.T)


def closest(units: Units) -> float:
    """Largest residual correlation of two units of a kind; NaN where no kind has three units."""
    correlations = [
        float(_closeness(within).max())
        for kind in np.unique(units.kinds)
        if len(within := units.within(kind)) > 2
    ]
    return max(correlations, default=np.nan)


def find_alike(units: Units, rng: np.random.Generator) -> Likeness:
    """Find groups of units that are more alike than independent ones.

    The two closest of a kind are joined if their residual correlation, against all other pairs of
    the kind, exceeds what the closest of as many independent units show (their distances are those
    of a Wishart matrix); so on with means over groups, as average linkage does.
    """
    clusters = np.arange(len(units.kinds))
    large = [kind for kind in np.unique(units.kinds) if len(units.within(kind)) > 2]
    groups: list[Alike] = []
    for kind in large:
        positions, raw = units.of_kind(kind), units.within(kind)
        excess = units.excess(kind)
        # A unit with much noise is far from all, and the others of its kind then look close.
        adjusted = raw - (excess[:, None] + excess) * (1 - np.eye(len(excess)))
        quantile = _Reference(len(positions), units.df, _LEVEL / len(large), rng)
        joined = _joined(raw, adjusted, quantile)
        for group in joined:
            clusters[positions[group]] = clusters[positions[group[0]]]
        unlike = clusters[positions, None] != clusters[positions]
        for group in (group for group in joined if len(group) > 1):
            inside = raw[np.ix_(group, group)].sum() / (len(group) * (len(group) - 1))
            correlation = 1 - float(inside / raw[unlike].mean())
            at = tuple(sorted(int(i) for i in positions[group]))
            groups.append(Alike(at, correlation, quantile(len(positions))))
    groups.sort(key=lambda group: -group.correlation)
    return Likeness(units, tuple(groups), clusters)


def singly(units: Units) -> Likeness:
    """Take every unit as unlike all others."""
    return Likeness(units, (), np.arange(len(units.kinds)))


def _squared_distances(profiles: Array) -> Array:
    flat = np.moveaxis(profiles, 1, 0).reshape(profiles.shape[1], -1)
    inner = flat @ flat.T
    size = np.diag(inner)
    return np.asarray(np.maximum(size[:, None] + size - 2 * inner, 0))


def _closeness(distances: Array) -> Array:
    """1 − a distance over the mean of all others; of three units or more, (…, n, n)."""
    n = distances.shape[-1]
    others = (distances.sum(axis=(-2, -1), keepdims=True) / 2 - distances) / (n * (n - 1) / 2 - 1)
    out = 1 - distances / others
    out[..., range(n), range(n)] = -np.inf
    return np.asarray(out)


def _joined(raw: Array, adjusted: Array, quantile: _Reference) -> list[list[int]]:
    groups = [[i] for i in range(len(raw))]
    while len(groups) > 2:
        near, left = (
            _closeness(_linkage(table, _shares(groups, len(raw)))) for table in (raw, adjusted)
        )
        least = max(LEAST, quantile(len(groups)))
        near[left < _SHARE * least] = -np.inf
        a, b = sorted(np.unravel_index(int(near.argmax()), near.shape))
        if not near[a, b] > least:
            break
        groups[a] += groups.pop(b)
    return groups


def _shares(groups: Sequence[Sequence[int]], n: int) -> Array:
    share = np.zeros((len(groups), n))
    for row, members in zip(share, groups, strict=True):
        row[list(members)] = 1 / len(members)
    return share


def _linkage(distances: Array, share: Array) -> Array:
    """Mean distance between groups; (group, group), zeros on the diagonal."""
    out = share @ distances @ share.T
    np.fill_diagonal(out, 0)
    return np.asarray(out)


class _Reference:
    """Upper quantile of the closeness of the closest two of n independent units."""

    def __init__(self, n: int, df: float, level: float, rng: np.random.Generator) -> None:
        self.level, n = level, min(n, _MOST_UNITS)
        replicates = int(np.clip(_NUMBERS / n**2, 200, 1000))
        lower = np.zeros((replicates, n, n))
        rows, columns = np.tril_indices(n, -1)
        lower[:, rows, columns] = rng.standard_normal((replicates, len(rows)))
        lower[:, range(n), range(n)] = np.sqrt(
            rng.chisquare(np.maximum(df - np.arange(n), 1), (replicates, n))
        )
        inner = lower @ lower.transpose(0, 2, 1)
        size = np.einsum("rii->ri", inner)
        self.distances = size[:, :, None] + size[:, None] - 2 * inner
        self.known: dict[int, float] = {}

    def __call__(self, n: int) -> float:
        if n not in self.known:
            fewer = min(n, _MOST_UNITS)
            largest = _closeness(self.distances[:, :fewer, :fewer]).max(axis=(1, 2))
            # More units have more pairs, which share the level.
            level = self.level * fewer * (fewer - 1) / (n * (n - 1))
            self.known[n] = float(np.quantile(largest, 1 - level))
        return self.known[n]
