"""Where the change of a gap may stop, and how likely that is before the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bend", "Levels", "level_stretch", "levels_of"]

Array = NDArray[np.float64]

_STEP = 0.125
_FARTHEST = 20.0
"""Doublings beyond the range after which a change is taken never to stop."""


@dataclass(frozen=True)
class Bend:
    """How what depends on the family changes with the pairs of a source.

    It changes up to ``level`` pairs and stays as it is from there. Up to the largest number it
    changes as much as without a level below that, so that the prior on the whole change is the same
    for all levels.
    """

    level: float
    smallest: float
    largest: float

    @property
    def stretch(self) -> float:
        """How many times faster it changes."""
        return float(level_stretch(np.array(self.level), self.smallest, self.largest))


def level_stretch(level: Array, smallest: float, largest: float) -> Array:
    """How many times faster a change is that stops at levels; 1 beyond the largest number."""
    return np.asarray(np.log(largest / smallest) / np.log(np.minimum(level, largest) / smallest))


@dataclass(frozen=True)
class Levels:
    """Where the change on one source of preferences may stop."""

    # (level,): logarithms to base 2 of numbers of pairs, ascending; the last is the largest number
    # studied and stands for not stopping before.
    at: Array
    log_prior: Array  # (level,)
    start: float  # start, width: where the range studied begins, and how wide it is, in doublings
    width: float
    latest: float  # prior probability that the change has not stopped before the last level

    @property
    def bends(self) -> list[Bend]:
        """How each level bends the columns."""
        ends = (float(np.exp2(self.start)), float(np.exp2(self.at[-1])))
        return [Bend(float(level), *ends) for level in np.exp2(self.at)]

    def draw(self, chosen: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """Return the numbers of pairs of levels; extrapolated beyond the range; infinite: never."""
        beyond = self.start + self.width * (1 / rng.uniform(0, self.latest, len(chosen)) - 1)
        end = self.at[-1]
        # On a grid, so that there are few distinct numbers of pairs.
        beyond = end + _STEP * np.maximum(np.ceil((beyond - end) / _STEP), 0)
        beyond = np.where(beyond > end + _FARTHEST, np.inf, beyond)
        return np.asarray(np.exp2(np.where(chosen < len(self.at) - 1, self.at[chosen], beyond)))


def levels_of(n_pairs: list[float]) -> Levels:
    """Lay out where the change may stop.

    With the doublings of the range as the unit, it has stopped after t of them with probability
    t / (1 + t).

    Examples
    --------
    >>> levels = levels_of([1000, 2000, 4000, 8000])
    >>> np.exp2(levels.at).round()
    array([2000., 2828., 4000., 5657., 8000.])
    >>> np.exp(levels.log_prior).round(2)
    array([0.29, 0.07, 0.06, 0.05, 0.52])
    """
    x = np.log2(np.asarray(n_pairs, dtype=float))
    width = x[-1] - x[0]
    # A stop before the second number is a jump between the first two, wherever it is.
    between = np.stack([(x[1:-1] + x[2:]) / 2, x[2:]], axis=1).ravel()
    at = np.concatenate([x[1:2], between])
    bounds = np.concatenate([x[:1], (at[:-1] + at[1:]) / 2])
    goes_on = 1 / (1 + (bounds - x[0]) / width)
    mass = goes_on - np.append(goes_on[1:], 0.0)
    return Levels(at, np.log(mass), float(x[0]), float(width), float(goes_on[-1]))
