"""Directions in the space of hidden states: estimates from pairs and groups, and their removal.

What two sides differ in, on average, is ``difference``; ``reader`` is the direction along which
hidden states are read and a head is changed. Without a penalty both are one, and what is removed
is an orthogonal projection. With one, the reader is ``(S + λI)⁻¹ difference``, S the covariance
within items: of all changes of a head after which the two sides are level it is the one that
changes rewards the least (LEACE; Belrose et al. 2023, arXiv 2306.03819, theorem 4.2), and a
projection along the difference itself is its limit for a large λ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from valuebias.errors import ValueBiasError

__all__ = ["Removal", "Sample", "ledoit_wolf", "reader", "removal", "split_half"]

Floats = npt.NDArray[np.float64]

_SPLITS = 20
_DEPENDENT = 1e-6
"""What is left of a direction beside others, as a share, when it says nothing of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Units whose sides are compared: differences within items, or two groups of words.

    ``first`` is (n, d): differences, where there is no ``second``.
    """

    first: Floats
    second: Floats | None = None

    @property
    def n(self) -> int:
        """How many units there are."""
        return len(self.first) + (0 if self.second is None else len(self.second))

    @property
    def difference(self) -> Floats:
        """The difference of means, shape (d,)."""
        mean = self.first.mean(0)
        return np.asarray(mean if self.second is None else mean - self.second.mean(0))

    def deviations(self) -> tuple[Floats, int]:
        """Give what units deviate from the mean of their side by, and the degrees of freedom."""
        own = self.first - self.first.mean(0)
        if self.second is None:
            return own, len(own) - 1
        both = np.concatenate([own, self.second - self.second.mean(0)])
        return both, len(both) - 2

    def share(self) -> float:
        """Give the share of the sum of squares that the difference of means accounts for."""
        deviations, _ = self.deviations()
        n = float(len(self.first))
        if self.second is not None:
            n *= len(self.second) / self.n
        between = n * float(self.difference @ self.difference)
        return between / (between + float((deviations**2).sum()))

    def halves(self, rng: np.random.Generator) -> tuple[Sample, Sample]:
        """Divide each side at random."""
        parts: list[list[Floats]] = [[], []]
        for side in (self.first, self.second):
            if side is not None:
                order = rng.permutation(len(side))
                for part, rows in zip(parts, np.array_split(order, 2), strict=True):
                    part.append(side[rows])
        return Sample(*parts[0]), Sample(*parts[1])


def split_half(sample: Sample) -> float:
    """Give the cosine of the differences in random halves, the mean of 20 splits.

    NaN where a side has fewer than two units, or a half no difference.

    Examples
    --------
    >>> round(split_half(Sample(np.array([[1.0, 0.0], [1.0, 0.1], [0.9, 0.0], [1.0, 0.0]]))), 2)
    1.0
    """
    sides = [sample.first] if sample.second is None else [sample.first, sample.second]
    if min(map(len, sides)) < 2:
        return float("nan")
    rng = np.random.default_rng([2603, 3291])
    cosines = []
    for _ in range(_SPLITS):
        one, other = (half.difference for half in sample.halves(rng))
        norms = float(np.linalg.norm(one) * np.linalg.norm(other))
        cosines.append(float(one @ other) / norms if norms else float("nan"))
    return float(np.mean(cosines))


def ledoit_wolf(deviations: Floats) -> float:
    """Give the penalty that Ledoit and Wolf's shrinkage amounts to, in mean variances.

    Their estimate is ``(1 − ρ) S + ρ m I``, with m the mean variance: up to a factor,
    ``S + λ m I`` with ``λ = ρ / (1 − ρ)``. Infinite where ρ is 1. Source: Ledoit & Wolf 2004
    (J. Multivariate Anal. 88, 365–411), equations 15 to 17; by the products of units, so that no
    matrix of d × d is made.

    Examples
    --------
    >>> ledoit_wolf(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    0.0
    """
    n, d = deviations.shape
    products = deviations @ deviations.T / n
    mean = float(np.trace(products)) / d
    if not mean:
        return float("inf")
    squares = float((products**2).sum())
    spread = squares / d - mean**2
    noise = (float((np.diag(products) ** 2).sum()) - squares / n) / d
    if spread <= 0 or noise >= spread:
        return float("inf")
    return float(max(noise, 0.0) / (spread - max(noise, 0.0)))


def reader(sample: Sample, penalty: float) -> Floats:
    """Solve ``(S + λ m I) v = difference``, with S the covariance within and m its mean variance.

    Through the units where there are fewer of them than dimensions.
    """
    difference = sample.difference
    deviations, dof = sample.deviations()
    n, d = deviations.shape
    mean = float((deviations**2).sum()) / dof / d
    if not mean or np.isinf(penalty):
        return difference
    ridge = penalty * mean
    scaled = deviations / np.sqrt(dof)
    if n < d:
        inner = scaled @ scaled.T + ridge * np.eye(n)
        return np.asarray(
            (difference - scaled.T @ np.linalg.solve(inner, scaled @ difference)) / ridge
        )
    return np.asarray(np.linalg.solve(scaled.T @ scaled + ridge * np.eye(d), difference))


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    """What is taken out of hidden states, ``h − left (right h)``, and so of a head's weights.

    ``left`` is (d, k), ``right`` (k, d); ``left @ right`` is a projector where all of it is taken.
    """

    left: Floats
    right: Floats

    def of_weights(self, weights: Floats) -> Floats:
        """Change the rows of a layer, shape (labels, d), instead of what it reads."""
        return np.asarray(weights - (weights @ self.left) @ self.right)

    def of_hidden(self, hidden: Floats) -> Floats:
        """Change hidden states, shape (..., d)."""
        return np.asarray(hidden - (hidden @ self.right.T) @ self.left.T)


def removal(
    readers: Sequence[Floats],
    differences: Sequence[Floats],
    alpha: Sequence[float],
    names: Sequence[str],
) -> Removal:
    """Make directions orthogonal, each to those before it, and say how much of each is removed.

    Readers are made orthogonal to the differences before, and differences to the readers: where
    both are one this is the QR decomposition.

    Examples
    --------
    >>> x, y = np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0])
    >>> removal([x, y], [x, y], [1.0, 1.0], ["x", "y"]).of_hidden(np.array([1.0, 2.0, 3.0]))
    array([0., 0., 3.])
    """
    left: list[Floats] = []
    right: list[Floats] = []
    for name, one, other in zip(names, readers, differences, strict=True):
        read, moved = one / np.linalg.norm(one), other / np.linalg.norm(other)
        whole = float(read @ moved)
        # Twice, so that rounding leaves nothing of those before.
        for _ in range(2):
            for before, after in zip(left, right, strict=True):
                read = read - after * float(before @ read)
                moved = moved - before * float(after @ moved)
        own = float(read @ moved)
        if own < _DEPENDENT * whole:
            raise ValueBiasError(
                f"The direction {name!r} is a combination of those before it, so that there is "
                "nothing of its own to remove. Leave it out."
            )
        left.append(moved / own)
        right.append(read)
    taken = np.array(alpha, dtype=np.float64)
    return Removal(np.array(left).T * taken, np.array(right))
