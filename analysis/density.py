"""The collapsed density: one compiled value-and-gradient for any dataset.

The strata reach the kernel as flat arrays, so it is compiled once and cached on disk. PyTensor sees
it as one Op (:mod:`valuebias.analysis.op`); a graph of the strata would take minutes to compile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.strata import Stratum

__all__ = [
    "PackedStrata",
    "Posterior",
    "log_likelihood",
    "log_posterior",
    "pack_strata",
    "variances",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PackedStrata:
    """Strata as flat arrays for the kernel.

    Attributes
    ----------
    layout : ndarray of int64
        ``[n, d_1…d_n, m_1…m_n, k…]``: number of strata, their dimensions, how many patterns each
        has, and the variance parameter of every pattern in turn.
    patterns : ndarray of float64
        For each stratum its constant matrix, then its patterns, all row by row.
    df : ndarray of float64, shape (stratum,)
    scatter : ndarray of float64
        Scatter matrices row by row.
    """

    layout: NDArray[np.int64]
    patterns: Array
    df: Array
    scatter: Array


def pack_strata(strata: list[Stratum]) -> PackedStrata:
    """Flatten ``strata`` in the order given."""
    dims = [len(s.scatter) for s in strata]
    counts = [len(s.patterns) for s in strata]
    index = [k for s in strata for k in s.patterns]
    blocks = [m.ravel() for s in strata for m in (s.constant, *s.patterns.values())]
    return PackedStrata(
        layout=np.array([len(strata), *dims, *counts, *index], dtype=np.int64),
        patterns=np.concatenate(blocks),
        df=np.array([s.df for s in strata], dtype=float),
        scatter=np.concatenate([s.scatter.ravel() for s in strata]),
    )


# error_model="numpy": an extreme proposal gives inf, as in numpy, not ZeroDivisionError.
@numba.njit(cache=True, error_model="numpy", nogil=True)
def log_likelihood(
    v: Array, layout: NDArray[np.int64], patterns: Array, df: Array, scatter: Array
) -> tuple[float, Array]:  # pragma: no cover - compiled
    """Collapsed log-likelihood up to a constant, and its gradient by the variances ``v``.

    Returns ``-inf`` and zeros where a covariance is not positive definite.
    """
    n = layout[0]
    gradient = np.zeros_like(v)
    value = 0.0
    at_index = 1 + 2 * n
    at_pattern = 0
    at_scatter = 0
    for s in range(n):
        d = layout[1 + s]
        m = layout[1 + n + s]
        dd = d * d
        cov = patterns[at_pattern : at_pattern + dd].copy()
        for i in range(m):
            weight = v[layout[at_index + i]]
            base = at_pattern + (i + 1) * dd
            for e in range(dd):
                cov[e] += weight * patterns[base + e]
        # Cholesky factor in the lower triangle of cov, row by row.
        log_det = 0.0
        for r in range(d):
            for c in range(r + 1):
                total = cov[r * d + c]
                for e in range(c):
                    total -= cov[r * d + e] * cov[c * d + e]
                if r == c:
                    if not total > 0.0 or not np.isfinite(total):
                        return -np.inf, np.zeros_like(v)
                    cov[r * d + r] = np.sqrt(total)
                    log_det += np.log(total)
                else:
                    cov[r * d + c] = total / cov[c * d + c]
        inverse = np.zeros(dd)
        for col in range(d):
            for r in range(d):
                total = 1.0 if r == col else 0.0
                for e in range(r):
                    total -= cov[r * d + e] * inverse[e * d + col]
                inverse[r * d + col] = total / cov[r * d + r]
            for back in range(d):
                r = d - 1 - back
                total = inverse[r * d + col]
                for e in range(r + 1, d):
                    total -= cov[e * d + r] * inverse[e * d + col]
                inverse[r * d + col] = total / cov[r * d + r]
        # half = V⁻¹ S, and slope = df V⁻¹ − V⁻¹ S V⁻¹, the derivative of −2 log-likelihood by V.
        trace = 0.0
        half = np.zeros(dd)
        for r in range(d):
            for c in range(d):
                total = 0.0
                for e in range(d):
                    total += inverse[r * d + e] * scatter[at_scatter + e * d + c]
                half[r * d + c] = total
            trace += half[r * d + r]
        value -= 0.5 * (df[s] * log_det + trace)
        slope = np.zeros(dd)
        for r in range(d):
            for c in range(d):
                total = df[s] * inverse[r * d + c]
                for e in range(d):
                    total -= half[r * d + e] * inverse[e * d + c]
                slope[r * d + c] = total
        for i in range(m):
            base = at_pattern + (i + 1) * dd
            total = 0.0
            for e in range(dd):
                total += slope[e] * patterns[base + e]
            gradient[layout[at_index + i]] -= 0.5 * total
        at_index += m
        at_pattern += (m + 1) * dd
        at_scatter += dd
    return value, gradient


@numba.njit(cache=True, error_model="numpy", nogil=True)
def log_posterior(
    x: Array,
    scales: Array,
    eta: float,
    n_framings: int,
    layout: NDArray[np.int64],
    patterns: Array,
    df: Array,
    scatter: Array,
) -> tuple[float, Array]:  # pragma: no cover - compiled
    """Log-posterior density and gradient on the unconstrained scale.

    ``x`` holds the log SDs (component × framing, prior half-normal with ``scales``), then, one for
    each of the first components, the log-odds of (correlation + 1) / 2 (prior Beta(eta, eta)).
    It equals the density of the PyMC model, transforms' Jacobians included.
    """
    n_sd = len(scales)
    n_corr = len(x) - n_sd
    v = np.empty(len(x))
    sd = np.exp(x[:n_sd])
    v[:n_sd] = sd**2
    correlation = np.tanh(0.5 * x[n_sd:])
    for c in range(n_corr):
        v[n_sd + c] = correlation[c] * sd[c * n_framings] * sd[c * n_framings + 1]
    value, by_v = log_likelihood(v, layout, patterns, df, scatter)
    gradient = np.empty(len(x))
    for i in range(n_sd):
        ratio = (sd[i] / scales[i]) ** 2
        value += x[i] - 0.5 * ratio - np.log(scales[i]) + 0.5 * np.log(2.0 / np.pi)
        gradient[i] = 2.0 * v[i] * by_v[i] + 1.0 - ratio
    beta_constant = 2.0 * math.lgamma(eta) - math.lgamma(2.0 * eta)
    for c in range(n_corr):
        slope = by_v[n_sd + c]
        i = c * n_framings
        gradient[i] += slope * v[n_sd + c]
        gradient[i + 1] += slope * v[n_sd + c]
        one_less = 1.0 - correlation[c] ** 2
        gradient[n_sd + c] = 0.5 * slope * one_less * sd[i] * sd[i + 1] - eta * correlation[c]
        # log B + log(1 − B) with B = (1 + correlation) / 2, written so that it cannot overflow.
        size = abs(x[n_sd + c])
        value += eta * (-size - 2.0 * np.log1p(np.exp(-size))) - beta_constant
    return value, gradient


@dataclass(frozen=True)
class Posterior:
    """The collapsed posterior of one crossing: data, priors and layout, ready to evaluate."""

    packed: PackedStrata
    scales: Array
    eta: float
    n_framings: int
    n_correlated: int

    @property
    def n_dim(self) -> int:
        """Number of unconstrained parameters."""
        return len(self.scales) + self.n_correlated

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log-density and gradient at unconstrained ``x``, shape (n_dim,)."""
        p = self.packed
        value, gradient = log_posterior(
            x, self.scales, self.eta, self.n_framings, p.layout, p.patterns, p.df, p.scatter
        )
        return value, gradient

    def constrain(self, x: Array) -> tuple[Array, Array]:
        """SDs (…, component, framing) and correlations (…, correlated) at ``x`` (…, n_dim)."""
        n_sd = len(self.scales)
        sd = np.exp(x[..., :n_sd]).reshape(*x.shape[:-1], -1, self.n_framings)
        return sd, np.tanh(0.5 * x[..., n_sd:])


def variances(sd: Array, correlation: Array) -> Array:
    """Variance parameters v (…, variance) from SDs and correlations."""
    n = correlation.shape[-1]
    flat = (sd**2).reshape(*sd.shape[:-2], -1)
    if not n:
        return flat
    covariance = correlation * sd[..., :n, 0] * sd[..., :n, 1]
    return np.concatenate([flat, covariance], axis=-1)
