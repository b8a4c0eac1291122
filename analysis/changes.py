"""Leans and accuracies before and after a change, from the same items, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Change", "Estimate", "accuracy_change", "lean_change"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval."""

    mean: float
    lower: float
    upper: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside of the interval."""
        return self.lower > 0 or self.upper < 0

    def columns(self, name: str) -> dict[str, float]:
        """Give the three numbers as columns of a table."""
        return {name: self.mean, f"{name}_lower": self.lower, f"{name}_upper": self.upper}


@dataclass(frozen=True, slots=True)
class Change:
    """What was before, what is after, and by how much that is more: all from the same items."""

    before: Estimate
    after: Estimate
    change: Estimate
    growth: Estimate | None = None  # of a lean: how much further from zero it is

    def columns(self) -> dict[str, float]:
        """Give all numbers as columns of a table."""
        found: Mapping[str, Estimate | None] = {
            "before": self.before,
            "after": self.after,
            "change": self.change,
            "growth": self.growth,
        }
        return {
            column: value
            for name, one in found.items()
            if one is not None
            for column, value in one.columns(name).items()
        }


def lean_change(before: tuple[Floats, ...], after: tuple[Floats, ...], prob: float) -> Change:
    """Compare leans: the mean of items' differences, or the difference of two groups' means.

    Each is one array of a number an item, or two, one a group. Intervals are Student's over items,
    for groups with Welch's degrees of freedom.

    Examples
    --------
    >>> one = lean_change((np.array([2.0, 4.0]),), (np.array([-1.0, 1.0]),), 0.9)
    >>> one.before.mean, one.after.mean, one.change.mean, one.growth.mean
    (3.0, 0.0, -3.0, -3.0)
    """
    first, second = _mean(before, prob), _mean(after, prob)
    signs = [-1.0 if one.mean < 0 else 1.0 for one in (first, second)]
    pairs = list(zip(before, after, strict=True))
    change = _mean(tuple(b - a for a, b in pairs), prob)
    growth = _mean(tuple(signs[1] * b - signs[0] * a for a, b in pairs), prob)
    return Change(first, second, change, growth)


def accuracy_change(before: Floats, after: Floats, prob: float) -> Change:
    """Compare accuracies, one number from 0 to 1 an item.

    An interval of ten items that are all right is no point: to each accuracy two items that are
    right and two that are wrong are added (Agresti & Coull 1998), to their change one item that
    became right and one that became wrong (Bonett & Price 2012), in the intervals alone.

    Examples
    --------
    >>> change = accuracy_change(np.ones(10), np.ones(10), 0.9)
    >>> change.change.mean, change.change.lower < -0.1
    (0.0, True)
    """
    extra = np.array([0.0, 0.0, 1.0, 1.0])
    return Change(
        _widened(before, extra, prob, (0.0, 1.0)),
        _widened(after, extra, prob, (0.0, 1.0)),
        _widened(after - before, np.array([-1.0, 1.0]), prob, (-1.0, 1.0)),
    )


def _mean(groups: tuple[Floats, ...], prob: float) -> Estimate:
    from scipy.stats import t

    means = [float(group.mean()) for group in groups]
    mean = means[0] - sum(means[1:])
    errors = [float(group.var(ddof=1)) / len(group) for group in groups]
    error = sum(errors)
    freedom = [len(group) - 1 for group in groups]
    n = error**2 / sum(e**2 / f for e, f in zip(errors, freedom, strict=True)) if error else 1.0
    half = float(t.ppf(0.5 + prob / 2, n)) * error**0.5
    return Estimate(mean, mean - half, mean + half)


def _widened(values: Floats, extra: Floats, prob: float, ends: tuple[float, float]) -> Estimate:
    from scipy.stats import norm

    more = np.concatenate([values, extra])
    half = float(norm.ppf(0.5 + prob / 2)) * float(more.std()) / len(more) ** 0.5
    mean, middle = float(values.mean()), float(more.mean())
    lower, upper = max(ends[0], middle - half), min(ends[1], middle + half)
    return Estimate(mean, min(lower, mean), max(upper, mean))
