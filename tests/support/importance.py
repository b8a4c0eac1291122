"""Points that have the posterior of the SDs given the observed cells, from the dense density alone.

No sampler of the package takes part, so what they say of a sampler does not hang on how it fared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dense import Dense, Theta
from numpy.typing import NDArray
from scipy import special

from valuebias.analysis.hierarchical import Problem

Array = NDArray[np.float64]

_ROUNDS = (1000, 1000, 2000, 4000)  # points in each
_CENTRES = 300
# Every coordinate of this share of the points is from its prior, whatever the other coordinates
# are: an SD near zero has its prior's tail, which no round before need have found.
_FROM_PRIOR = 0.15
_DF = 5
_AT_A_TIME = 250


@dataclass(frozen=True)
class Weighted:
    """Points (point, SD) of log SDs with weights that sum to one."""

    x: Array
    weight: Array

    @property
    def ess(self) -> float:
        return float(1 / (self.weight**2).sum())

    def moments(self) -> tuple[Array, Array]:
        """Mean and SD of the log SDs."""
        mean = self.weight @ self.x
        return mean, np.sqrt(self.weight @ (self.x - mean) ** 2)

    def fewer(self, n: int, rng: np.random.Generator) -> Weighted:
        """Keep about ``n`` points of much the same weight, for what costs time at each point.

        A point that weighs less than ``least`` is kept as often as it weighs of that, and weighs
        as much then, so that expectations stay as they are (Liu, Chen & Wong 1998, *J. Am. Stat.
        Assoc.* 93, 1022–1031).
        """
        least, most = 0.0, 1.0
        for _ in range(60):
            middle = 0.5 * (least + most)
            many = np.minimum(self.weight / middle, 1).sum() > n
            least, most = (middle, most) if many else (least, middle)
        kept = rng.uniform(size=len(self.x)) * least < self.weight
        weight = np.maximum(self.weight[kept], least)
        return Weighted(self.x[kept], weight / weight.sum())


def weighted_points(problem: Problem, seed: int = 41) -> Weighted:
    """Sample from the prior at first, then in rounds from ts about the points of the one before.

    Were a round to miss something, the weights of the next would put it right (Cappé et al. 2004,
    *J. Comput. Graph. Stat.* 13, 907–929).
    """
    rng = np.random.default_rng(seed)
    scales = problem.posterior(problem.strata).scales
    parts = projected_components(problem)
    x = log_half_normal(scales, _ROUNDS[0], rng)
    weight = normalised(log_likelihood(parts, x))
    for n in _ROUNDS[1:]:
        # The first round's weight is with few of its points: no one may have them all.
        mild = np.minimum(weight, 0.03)
        mild /= mild.sum()
        width = 0.6 * np.sqrt(mild @ (x - mild @ x) ** 2)
        centres = x[rng.choice(len(x), _CENTRES, p=mild)]
        x = centres[rng.integers(_CENTRES, size=n)] + width * rng.standard_t(_DF, (n, len(scales)))
        own = rng.uniform(size=x.shape) < _FROM_PRIOR
        x = np.where(own, log_half_normal(scales, n, rng), x)
        log_proposal = np.concatenate(
            [log_mixture(some, centres, width, scales) for some in in_turn(x)]
        )
        log_prior = log_half_normal_density(x, scales).sum(axis=1)
        weight = normalised(log_likelihood(parts, x) + log_prior - log_proposal)
    return Weighted(x, weight)


def normalised(log_weight: Array) -> Array:
    weight: Array = np.exp(log_weight - log_weight.max())
    return weight / weight.sum()


def in_turn(x: Array) -> list[Array]:
    return np.array_split(x, -(-len(x) // _AT_A_TIME))


def log_half_normal(scales: Array, n: int, rng: np.random.Generator) -> Array:
    """Draw logarithms of SDs from their prior."""
    return np.log(np.abs(rng.standard_normal((n, len(scales)))) * scales)


def log_half_normal_density(x: Array, scales: Array) -> Array:
    ratio = np.exp(x) / scales
    return np.log(ratio) - 0.5 * ratio**2 + 0.5 * np.log(2 / np.pi)


def log_mixture(x: Array, centres: Array, width: Array, scales: Array) -> Array:
    """Density of the proposal: each coordinate from a t about the point's centre, or the prior."""
    z = (x[:, None] - centres) / width
    height = np.exp(special.gammaln((_DF + 1) / 2) - special.gammaln(_DF / 2)) / width
    t = height / np.sqrt(_DF * np.pi) * (1 + z**2 / _DF) ** (-(_DF + 1) / 2)
    prior = np.exp(log_half_normal_density(x, scales))[:, None]
    return np.log(((1 - _FROM_PRIOR) * t + _FROM_PRIOR * prior).prod(axis=2).mean(axis=1))


def projected_components(problem: Problem) -> tuple[Array, Array, Array]:
    """Observed cells free of levels, and each component's covariance of them at SD one."""
    names = problem.components.names
    dense = Dense(
        problem, Theta(problem.components, np.ones((len(names), 1)), np.empty(0), np.ones((2, 1)))
    )
    basis, seen = dense.free_of_levels()

    def project(covariance: Array) -> Array:
        return basis.T @ covariance[np.ix_(seen, seen)] @ basis

    parts = np.array([project(dense.component(name)) for name in names])
    return basis.T @ problem.crossing.y.ravel()[seen], project(dense.coefficients), parts


def log_likelihood(projected: tuple[Array, Array, Array], x: Array) -> Array:
    """Log-likelihood, but for a constant, at each row of log SDs."""
    y, fixed, parts = projected
    found = []
    for some in in_turn(x):
        covariance = fixed + np.tensordot(np.exp(2 * some), parts, 1)
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:  # SDs a factor of 10⁷ apart: far out in a tail
            if len(some) == 1:
                found.append(np.array([-np.inf]))
            else:
                found += [log_likelihood(projected, row[None]) for row in some]
            continue
        z = np.linalg.solve(root, np.broadcast_to(y[:, None], (len(some), len(y), 1)))[..., 0]
        log_root = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        found.append(-log_root - 0.5 * (z**2).sum(axis=1))
    return np.concatenate(found)
