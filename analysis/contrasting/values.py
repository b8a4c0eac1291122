"""What each item of a contrast set shows of each model, before any averaging.

A statistic is a table of values (model, item), whose mean over items it is. One that is no such
mean, as a rank correlation over all conversations, has pseudo-values instead, from leaving out
groups of items: their scatter is that of the statistic (Tukey's jackknife).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, stats

from valuebias.analysis.outcome import midranks

__all__ = [
    "CORRELATION",
    "POWER",
    "SHARE",
    "SURE",
    "UNBOUNDED",
    "Values",
    "above",
    "all_right",
    "chance_of_all_right",
    "gaps",
    "jackknifed",
    "overall_correlation",
    "position_spread",
    "position_test",
    "within_correlation",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SURE, POWER = 0.975, 0.8
"""A minimum detectable effect is shown at this level of confidence, with this probability."""
UNBOUNDED, SHARE, CORRELATION = (-np.inf, np.inf), (0.0, 1.0), (-1.0, 1.0)
"""Ends of a statistic."""
_MOST_GROUPS = 50


@dataclass(frozen=True)
class Values:
    """A statistic of each model, and what its uncertainty over items is made of."""

    estimate: Array  # (model,)
    table: Array  # (model, item) or (model, group of items): values, NaN where there is none
    n_items: NDArray[np.intp]  # (model,): items that it rests on
    ends: tuple[float, float] = UNBOUNDED  # what no item's value can lie beyond

    @classmethod
    def of_items(cls, table: Array, ends: tuple[float, float] = UNBOUNDED) -> Values:
        """Make the statistic that is the mean of values by item."""
        known = np.isfinite(table)
        count = known.sum(axis=1)
        total = np.where(known, table, 0.0).sum(axis=1)
        estimate = np.divide(total, count, out=np.full(len(table), np.nan), where=count > 0)
        return cls(estimate, table, count, ends)


def all_right(score: Array, right: Mask, wrong: Mask) -> Array:
    """Tell whether an item's every right answer scores above its every wrong one; (model, item).

    NaN where one of them has no score. ``right`` and ``wrong`` are (item, variant).
    """
    lowest = np.where(right, score, np.inf).min(axis=-1)
    highest = np.where(wrong, score, -np.inf).max(axis=-1)
    return np.asarray(np.where(np.isfinite(lowest - highest), lowest > highest, np.nan))


def chance_of_all_right(right: Mask, wrong: Mask) -> float:
    """Give the mean probability of the same for answers in random order."""
    n_right, n_wrong = right.sum(axis=1).tolist(), wrong.sum(axis=1).tolist()
    return float(np.mean([1 / comb(r + w, r) for r, w in zip(n_right, n_wrong, strict=True)]))


def above(score: Array, right: Mask, wrong: Mask) -> tuple[Array, int]:
    """Give the share of pairs in which the wrong answer scores higher, ties half; (model, item).

    And how many pairs of all models are ties.
    """
    pairs = right[:, :, None] & wrong[:, None, :]
    counts = pairs.sum(axis=(1, 2))
    ties, shares = 0, []
    for one in score:
        first, second = one[:, :, None], one[:, None, :]
        equal = (first == second) & pairs
        wins = ((second > first) & pairs).sum(axis=(1, 2)) + 0.5 * equal.sum(axis=(1, 2))
        unknown = (np.isnan(first + second) & pairs).any(axis=(1, 2))
        shares.append(np.where(unknown, np.nan, wins / counts))
        ties += int(equal.sum())
    return np.array(shares), ties


def gaps(score: Array, first: Mask, second: Mask) -> Array:
    """Give the mean of an item's first group of variants less that of its second; (model, item)."""
    sides = []
    for mask in (first, second):
        known = mask & np.isfinite(score)
        count = known.sum(axis=-1)
        total = np.where(known, score, 0.0).sum(axis=-1)
        whole = count == (mask & np.isfinite(score).any(axis=0)).sum(axis=-1)
        out = np.full(total.shape, np.nan)
        sides.append(np.divide(total, count, out=out, where=(count > 0) & whole))
    return np.asarray(sides[0] - sides[1])


def within_correlation(score: Array, number: Array) -> Array:
    """Give Spearman's correlation with a number (item, variant) in each item; (model, item).

    NaN where fewer than two variants have both, or either does not vary.
    """
    known = np.isfinite(score) & np.isfinite(number)
    ranks = midranks(np.where(known, score, np.nan))
    others = midranks(np.where(known, np.broadcast_to(number, score.shape), np.nan))
    return _correlation(ranks, others)


def overall_correlation(score: Array, number: Array) -> Values:
    """Give Spearman's correlation over all conversations of each model."""

    def of(items: NDArray[np.intp]) -> Array:
        taken = score[:, items].reshape(len(score), -1)
        return within_correlation(taken[:, None], number[items].reshape(1, -1))[:, 0]

    known = np.asarray((np.isfinite(score) & np.isfinite(number)).any(axis=2))
    return replace(jackknifed(of, known), ends=CORRELATION)


def position_spread(score: Array, position: NDArray[np.intp], n_positions: int) -> Values:
    """Give the SD over positions of the mean score there; (item, variant) says which, −1 for none.

    Scores are about the mean of their item, of items that have a score at every position.
    """
    at = np.stack([gaps(score, position == k, position >= 0) for k in range(n_positions)], axis=-1)
    known = np.asarray(np.isfinite(at).all(axis=2))

    def of(items: NDArray[np.intp]) -> Array:
        some = np.where(known[:, items, None], at[:, items], 0.0)
        count = np.maximum(known[:, items].sum(axis=1), 1)
        means = some.sum(axis=1) / count[:, None]
        return np.where(known[:, items].any(axis=1), means.std(axis=1), np.nan)

    return replace(jackknifed(of, known), ends=(0.0, np.inf))


def jackknifed(of: Callable[[NDArray[np.intp]], Array], known: Mask) -> Values:
    """Compute a statistic of items, and its pseudo-values by groups of them.

    ``known`` (model, item) tells which items a model has.
    """
    items = np.flatnonzero(known.any(axis=0))
    n_groups = min(_MOST_GROUPS, len(items))
    estimate = of(items)
    group = np.arange(len(items)) % max(n_groups, 1)
    left = [of(items[group != g]) for g in range(n_groups)] if n_groups > 1 else [estimate]
    table = n_groups * estimate[:, None] - (n_groups - 1) * np.stack(left, axis=1)
    return Values(estimate, table, known.sum(axis=1))


def _correlation(first: Array, second: Array) -> Array:
    """Correlate along the last axis, NaN left out of both alike; NaN where one does not vary."""
    known = np.isfinite(first)
    count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    about = []
    for one in (first, second):
        filled = np.where(known, one, 0.0)
        mean = filled.sum(axis=-1, keepdims=True) / count
        about.append(np.where(known, filled - mean, 0.0))
    product = (about[0] * about[1]).sum(axis=-1)
    size = np.sqrt((about[0] ** 2).sum(axis=-1) * (about[1] ** 2).sum(axis=-1))
    return np.asarray(np.divide(product, size, out=np.full(product.shape, np.nan), where=size > 0))


def position_test(
    score: Array, position: NDArray[np.intp], n_positions: int
) -> tuple[Array, Array]:
    """Test whether all positions have one mean score, by Hotelling's T² over items.

    Returns, by model, the p-value, and the SD over positions that is found with a probability of
    :data:`POWER` at a level of 1 − :data:`SURE` on either side, were it alike in all directions.
    """
    at = np.stack([gaps(score, position == k, position >= 0) for k in range(n_positions)], axis=-1)
    p, least = np.full(len(score), np.nan), np.full(len(score), np.nan)
    for m, table in enumerate(at):
        # One position less: about their mean they sum to zero.
        some = table[np.isfinite(table).all(axis=1)] @ linalg.helmert(n_positions).T
        n, k = some.shape
        if n <= k + 1:
            continue
        covariance = np.atleast_2d(np.cov(some, rowvar=False))
        if np.linalg.matrix_rank(covariance) < k:
            continue
        mean = some.mean(axis=0)
        statistic = n * mean @ np.linalg.solve(covariance, mean) * (n - k) / (k * (n - 1))
        p[m] = stats.f.sf(statistic, k, n - k)
        limit = stats.f.ppf(2 * SURE - 1, k, n - k)
        far = optimize.brentq(lambda x: stats.ncf.sf(limit, k, n - k, x) - POWER, 1e-6, 1e4)  # noqa: B023
        least[m] = np.sqrt(far * np.trace(covariance) / k / n / n_positions)
    return p, least
