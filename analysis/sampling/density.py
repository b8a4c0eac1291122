"""The collapsed density: one compiled value-and-gradient for any dataset.

The strata reach the kernel as flat arrays, so it is compiled once and cached on disk. PyTensor sees
it as one Op (:mod:`.pymc_model`); a graph of the strata would take minutes to compile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.strata import Stratum

__all__ = [
    "PackedStrata",
    "Posterior",
    "log_likelihood",
    "log_posterior",
    "pack_strata",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PackedStrata:
    """Strata as flat arrays for the kernel.

    Of the symmetric patterns only the entries on and below the diagonal are kept that are not zero:
    a pattern is a product over models and framings, most of whose entries are.
    """

    # ``[n, d_1…d_n, m_1…m_n, k…]``: number of strata, their dimensions, how many patterns each has,
    # and the variance parameter of every pattern in turn.
    layout: NDArray[np.int64]
    counts: NDArray[np.int64]  # how many entries each pattern in turn has
    indices: NDArray[np.int64]  # where each entry lies in its matrix, row by row
    entries: Array  # the entries
    constant: Array  # each stratum's constant matrix, row by row
    df: Array  # (stratum,)
    scatter: Array  # scatter matrices row by row

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """What :func:`log_likelihood` takes after the variances."""
        return (
            self.layout, self.counts, self.indices, self.entries, self.constant, self.df,
            self.scatter,
        )  # fmt: skip


def pack_strata(strata: list[Stratum]) -> PackedStrata:
    """Flatten ``strata`` in the order given."""
    dims = [len(s.scatter) for s in strata]
    n_patterns = [len(s.patterns) for s in strata]
    index = [k for s in strata for k in s.patterns]
    lower = [np.tril(pattern).ravel() for s in strata for pattern in s.patterns.values()]
    indices = [np.flatnonzero(pattern) for pattern in lower]
    return PackedStrata(
        layout=np.array([len(strata), *dims, *n_patterns, *index], dtype=np.int64),
        counts=np.array([len(p) for p in indices], dtype=np.int64),
        indices=np.concatenate(indices).astype(np.int64),
        entries=np.concatenate([p[at] for p, at in zip(lower, indices, strict=True)]),
        constant=np.concatenate([s.constant.ravel() for s in strata]),
        df=np.array([s.df for s in strata], dtype=float),
        scatter=np.concatenate([s.scatter.ravel() for s in strata]),
    )


# error_model="numpy": an extreme proposal gives inf, as in numpy, not ZeroDivisionError. Contracted
# sums of products round once, not twice.
@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath={"contract"})
def log_likelihood(
    v: Array,
    layout: NDArray[np.int64],
    counts: NDArray[np.int64],
    indices: NDArray[np.int64],
    entries: Array,
    constant: Array,
    df: Array,
    scatter: Array,
) -> tuple[float, Array]:  # pragma: no cover - compiled
    """Collapsed log-likelihood up to a constant, and its gradient by the variances ``v``.

    Returns ``-inf`` and zeros where a covariance is not positive definite.
    """
    n = layout[0]
    gradient = np.zeros(len(v))
    largest = 1
    for s in range(n):
        largest = max(largest, layout[1 + s])
    # Once for all strata: most are of one dimension, where an allocation costs more than the rest.
    work = np.empty((5, largest * largest))
    cov, root, inverse, half, slope = work[0], work[1], work[2], work[3], work[4]
    value = 0.0
    at_index = 1 + 2 * n
    at_pattern, at_entry, at_matrix = 0, 0, 0
    for s in range(n):
        d = layout[1 + s]
        m = layout[1 + n + s]
        dd = d * d
        for e in range(dd):
            cov[e] = constant[at_matrix + e]
        at = at_entry
        for i in range(m):
            weight = v[layout[at_index + i]]
            for e in range(at, at + counts[at_pattern + i]):
                cov[indices[e]] += weight * entries[e]
            at += counts[at_pattern + i]
        # Cholesky factor in the lower triangle of cov, row by row; its diagonal inverted, as a
        # product takes less time than a quotient.
        log_det = 0.0
        for r in range(d):
            for c in range(r + 1):
                total = cov[r * d + c]
                for e in range(c):
                    total -= cov[r * d + e] * cov[c * d + e]
                if r == c:
                    if not total > 0.0 or not np.isfinite(total):
                        return -np.inf, np.zeros(len(v))
                    cov[r * d + r] = 1.0 / np.sqrt(total)
                    log_det += np.log(total)
                else:
                    cov[r * d + c] = total * cov[c * d + c]
        # root = L⁻¹, lower; its columns are its transpose's rows, so that rows are read along.
        for c in range(d):
            root[c * d + c] = cov[c * d + c]
            for r in range(c + 1, d):
                total = 0.0
                for e in range(c, r):
                    total -= cov[r * d + e] * root[c * d + e]
                root[c * d + r] = total * cov[r * d + r]
        # V⁻¹ = L⁻ᵀ L⁻¹.
        for r in range(d):
            for c in range(r + 1):
                total = 0.0
                for e in range(r, d):
                    total += root[r * d + e] * root[c * d + e]
                inverse[r * d + c] = total
                inverse[c * d + r] = total
        # half = V⁻¹ S, and slope = df V⁻¹ − V⁻¹ S V⁻¹, the derivative of −2 log-likelihood by V.
        trace = 0.0
        for r in range(d):
            for c in range(d):
                total = 0.0
                for e in range(d):
                    total += inverse[r * d + e] * scatter[at_matrix + c * d + e]
                half[r * d + c] = total
            trace += half[r * d + r]
        value -= 0.5 * (df[s] * log_det + trace)
        for r in range(d):
            for c in range(r + 1):
                total = df[s] * inverse[r * d + c]
                for e in range(d):
                    total -= half[r * d + e] * inverse[c * d + e]
                # Off the diagonal each entry stands for two.
                slope[r * d + c] = total if r == c else 2.0 * total
        for i in range(m):
            total = 0.0
            for e in range(at_entry, at_entry + counts[at_pattern + i]):
                total += slope[indices[e]] * entries[e]
            at_entry += counts[at_pattern + i]
            gradient[layout[at_index + i]] -= 0.5 * total
        at_index += m
        at_pattern += m
        at_matrix += dd
    return value, gradient


@numba.njit(cache=True, error_model="numpy", nogil=True)
def log_posterior(
    x: Array,
    scales: Array,
    eta: float,
    spread_scale: float,
    codes: NDArray[np.int64],
    contrasts: Array,
    n_framings: int,
    layout: NDArray[np.int64],
    counts: NDArray[np.int64],
    indices: NDArray[np.int64],
    entries: Array,
    constant: Array,
    df: Array,
    scatter: Array,
) -> tuple[float, Array]:  # pragma: no cover - compiled
    """Log-posterior density and gradient on the unconstrained scale.

    ``x`` holds the log SDs (component × framing, prior half-normal with ``scales``), then, one for
    each of the first components, the log-odds of (correlation + 1) / 2 (prior Beta(eta, eta)), then
    the coordinates of the families' log factors on ``contrasts`` (prior normal, SD
    ``spread_scale``). ``codes`` says what makes up each variance parameter. It equals the density
    of the PyMC model, transforms' Jacobians included.
    """
    n_sd = len(scales)
    n_kinds, n_contrasts = contrasts.shape
    n_spread = 2 * n_contrasts
    n_corr = len(x) - n_sd - n_spread
    # Loops, not operations on arrays: those take numba seconds more to compile.
    sd, correlation = np.empty(n_sd), np.empty(n_corr)
    for i in range(n_sd):
        sd[i] = np.exp(x[i])
    for c in range(n_corr):
        correlation[c] = np.tanh(0.5 * x[n_sd + c])
    shift = np.zeros(2 * n_kinds)
    for s in range(2):
        for g in range(n_kinds):
            for j in range(n_contrasts):
                shift[s * n_kinds + g] += contrasts[g, j] * x[n_sd + n_corr + s * n_contrasts + j]
    # Without its correlation, so that a correlation of zero is no special case.
    n_v = len(codes)
    v, bare = np.empty(n_v), np.empty(n_v)
    for k in range(n_v):
        c, f, at = codes[k]
        first = c * n_framings + max(f, 0)
        second = c * n_framings + (1 if f < 0 else f)
        bare[k] = sd[first] * sd[second]
        if at >= 0:
            bare[k] *= np.exp(2.0 * shift[at])
        v[k] = bare[k] * correlation[c] if f < 0 else bare[k]
    value, by_v = log_likelihood(v, layout, counts, indices, entries, constant, df, scatter)
    gradient = np.zeros(len(x))
    by_shift = np.zeros(2 * n_kinds)
    by_correlation = np.zeros(n_corr)
    for k in range(n_v):
        c, f, at = codes[k]
        slope = by_v[k] * v[k]
        if f < 0:
            gradient[c * n_framings] += slope
            gradient[c * n_framings + 1] += slope
            by_correlation[c] += by_v[k] * bare[k]
        else:
            gradient[c * n_framings + f] += 2.0 * slope
        if at >= 0:
            by_shift[at] += 2.0 * slope
    for i in range(n_sd):
        ratio = (sd[i] / scales[i]) ** 2
        value += x[i] - 0.5 * ratio - np.log(scales[i]) + 0.5 * np.log(2.0 / np.pi)
        gradient[i] += 1.0 - ratio
    beta_constant = 2.0 * math.lgamma(eta) - math.lgamma(2.0 * eta)
    for c in range(n_corr):
        one_less = 1.0 - correlation[c] ** 2
        gradient[n_sd + c] = 0.5 * by_correlation[c] * one_less - eta * correlation[c]
        # log B + log(1 − B) with B = (1 + correlation) / 2, written so that it cannot overflow.
        size = abs(x[n_sd + c])
        value += eta * (-size - 2.0 * np.log1p(np.exp(-size))) - beta_constant
    for s in range(2):
        for j in range(n_contrasts):
            i = n_sd + n_corr + s * n_contrasts + j
            value -= 0.5 * (x[i] / spread_scale) ** 2
            value -= np.log(spread_scale) + 0.5 * np.log(2.0 * np.pi)
            gradient[i] -= x[i] / spread_scale**2
            for g in range(n_kinds):
                gradient[i] += contrasts[g, j] * by_shift[s * n_kinds + g]
    return value, gradient


@dataclass(frozen=True)
class Posterior:
    """The collapsed posterior of one crossing: data, priors and layout, ready to evaluate."""

    packed: PackedStrata
    scales: Array  # (component · framing,): prior scales of the SDs
    eta: float  # concentration of the prior on correlations
    spread_scale: float  # prior SD of the contrasts of families' log factors
    # (variance, 3): what makes up each variance, see :attr:`Components.codes`.
    codes: NDArray[np.int64]
    # (kind, kind − 1): zero-sum contrasts of the families whose spreads differ; (1, 0) where none
    # do.
    contrasts: Array
    n_framings: int
    n_correlated: int

    @property
    def n_spread(self) -> int:
        """Number of contrasts of families' log factors, of leans and words together."""
        return 2 * int(self.contrasts.shape[1])

    @property
    def n_dim(self) -> int:
        """Number of unconstrained parameters."""
        return len(self.scales) + self.n_correlated + self.n_spread

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What :func:`log_posterior` takes after the point."""
        return (
            self.scales, self.eta, self.spread_scale, self.codes, self.contrasts, self.n_framings,
            *self.packed.arrays,
        )  # fmt: skip

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log-density and gradient at unconstrained ``x``, shape (n_dim,)."""
        value, gradient = log_posterior(x, *self.arguments)
        return value, gradient

    def constrain(self, x: Array) -> tuple[Array, Array, Array]:
        """Turn ``x`` (…, n_dim) into SDs, correlations and spreads.

        Shapes (…, component, framing), (…, correlated) and (…, spread, kind); the spreads are the
        factors of the families' SDs.
        """
        n_sd = len(self.scales)
        sd = np.exp(x[..., :n_sd]).reshape(*x.shape[:-1], -1, self.n_framings)
        correlation = np.tanh(0.5 * x[..., n_sd : n_sd + self.n_correlated])
        shift = x[..., n_sd + self.n_correlated :].reshape(*x.shape[:-1], 2, -1)
        return sd, correlation, np.exp(shift @ self.contrasts.T)

    def unconstrain(self, sd: Array, correlation: Array, spread: Array) -> Array:
        """Undo :meth:`constrain`: (…, n_dim)."""
        inside = np.clip(correlation, -1 + 1e-15, 1 - 1e-15)
        parts = (np.log(sd), 2 * np.arctanh(inside), np.log(spread) @ self.contrasts)
        return np.concatenate([part.reshape(*sd.shape[:-2], -1) for part in parts], axis=-1)

    def values(self, x: Array) -> Array:
        """Log-densities at several points ``x`` (point, n_dim)."""
        arguments = self.arguments
        return np.array([log_posterior(point, *arguments)[0] for point in x])
