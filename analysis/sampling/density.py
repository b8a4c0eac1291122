"""The collapsed density: one compiled value-and-gradient for any dataset.

What the kernel reads lies in arrays of numbers, one after the other as it comes to them, so it is
compiled once and cached on disk; and it works in memory that it is given. Arrays by the dozen,
their shapes and their memory take numba longer to compile than all the arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.strata import Stratum

__all__ = ["PackedStrata", "Posterior", "log_likelihood", "log_posterior", "pack_strata"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Arguments = tuple[Integers, Array, Integers, Array]

# Contracted sums of products round once, not twice. Sums in any order as well, for several at once,
# are no faster where matrices are small.
_FAST = {"contract"}


@dataclass(frozen=True)
class PackedStrata:
    """Strata one after the other, as the kernel reads them.

    Of the symmetric patterns only the entries on and below the diagonal are kept that are not zero:
    a pattern is a product over models and framings, most of whose entries are.
    """

    # Their number; of each its dimension and how many patterns it has, and of each of these the
    # variance parameter, how many entries, and where in the matrix, row by row, these lie.
    ints: Integers
    # Of each stratum its degrees of freedom, constant matrix, scatter matrix, and all entries.
    floats: Array
    at_scatter: Integers  # where the scatter matrices lie in ``floats``
    n_work: int  # how many numbers the kernel needs room for

    @property
    def scatter(self) -> Array:
        """Scatter matrices, row by row."""
        return self.floats[self.at_scatter]

    def with_scatter(self, scatter: Array) -> PackedStrata:
        """Put other scatter matrices in their place."""
        floats = self.floats.copy()
        floats[self.at_scatter] = scatter
        return replace(self, floats=floats)

    def __call__(self, v: Array) -> tuple[float, Array]:
        """Log-likelihood of the variances ``v`` up to a constant, and its gradient."""
        gradient = np.empty(len(v))
        value = log_likelihood(v, gradient, self.ints, self.floats, np.empty(self.n_work))
        return value, gradient


def pack_strata(strata: list[Stratum]) -> PackedStrata:
    """Flatten ``strata`` in the order given."""
    ints, floats, at_scatter, length = [np.array([len(strata)])], [], [], 0
    for s in strata:
        ints.append(np.array([len(s.scatter), len(s.patterns)]))
        begin = length + 1 + s.constant.size
        at_scatter.append(np.arange(begin, begin + s.scatter.size))
        parts = [np.array([s.df], dtype=float), s.constant.ravel(), s.scatter.ravel()]
        for variance, pattern in s.patterns.items():
            lower = np.tril(pattern).ravel()
            at = np.flatnonzero(lower)
            ints += [np.array([variance, len(at)]), at]
            parts.append(lower[at])
        floats += parts
        length += sum(part.size for part in parts)
    largest = max(len(s.scatter) for s in strata)
    return PackedStrata(
        ints=np.concatenate(ints).astype(np.int64),
        floats=np.concatenate(floats),
        at_scatter=np.concatenate(at_scatter),
        n_work=3 * largest**2 + largest,
    )


# error_model="numpy": an extreme proposal gives inf, as in numpy, not ZeroDivisionError. C never
# calls these, and its way in would have to be compiled.
@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, no_cfunc_wrapper=True)
def log_likelihood(v, by_v, ints, floats, work):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Collapsed log-likelihood of the variances ``v`` up to a constant; its gradient to ``by_v``.

    Returns ``-inf``, and zeros there, where a covariance is not positive definite.
    """
    value = 0.0
    by_v[:] = 0.0
    i, f = 1, 0
    for _ in range(ints[0]):
        # Below 2¹⁶, as the compiler is told so: indices made of it are then never negative.
        d, n_patterns = ints[i] & 0xFFFF, ints[i + 1]
        square = d * d
        df, constant, scatter = floats[f], f + 1, f + 1 + square
        # Matrices in ``work``, row by row: V and what becomes of it, V⁻¹ S, the slope, a row.
        half, slope, row = square, 2 * square, 3 * square
        for e in range(square):
            work[e] = floats[constant + e]
        i += 2
        f = scatter + square
        at, to = i, f
        for _ in range(n_patterns):
            weight, n = v[ints[at]], ints[at + 1]
            for e in range(n):
                work[ints[at + 2 + e]] += weight * floats[to + e]
            at += 2 + n
            to += n
        # The lower half was filled.
        for r in range(d):
            for c in range(r):
                work[c * d + r] = work[r * d + c]
        # Swept by each row in turn V becomes −V⁻¹, and the pivots' product is its determinant.
        log_det = 0.0
        for k in range(d):
            pivot = work[k * d + k]
            if not 0.0 < pivot < np.inf:
                by_v[:] = 0.0
                return -np.inf
            log_det += math.log(pivot)
            pivot = 1.0 / pivot
            for c in range(d):
                work[row + c] = work[k * d + c]
            for r in range(d):
                weight = work[row + r] * pivot
                for c in range(d):
                    work[r * d + c] -= weight * work[row + c]
            for c in range(d):
                weight = work[row + c] * pivot
                work[c * d + k] = weight
                work[k * d + c] = weight
            work[k * d + k] = -pivot
        # The slope is df V⁻¹ − V⁻¹ S V⁻¹, the derivative of −2 log-likelihood by V.
        trace = 0.0
        for r in range(d):
            for c in range(d):
                work[half + r * d + c] = 0.0
                work[slope + r * d + c] = -df * work[r * d + c]
            for e in range(d):
                weight = work[r * d + e]
                for c in range(d):
                    work[half + r * d + c] -= weight * floats[scatter + e * d + c]
            trace += work[half + r * d + r]
            for e in range(d):
                weight = work[half + r * d + e]
                for c in range(d):
                    work[slope + r * d + c] += weight * work[e * d + c]
            # Off the diagonal each entry of the lower half stands for two.
            for c in range(r):
                work[slope + r * d + c] *= 2.0
        value -= 0.5 * (df * log_det + trace)
        for _ in range(n_patterns):
            variance, n = ints[i], ints[i + 1]
            total = 0.0
            for e in range(n):
                total += work[slope + ints[i + 2 + e]] * floats[f + e]
            by_v[variance] -= 0.5 * total
            i += 2 + n
            f += n
    return value


@numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=_FAST, no_cfunc_wrapper=True)
def log_posterior(  # type: ignore[no-untyped-def]
    x, gradient, recipe, weights, ints, floats, work
):  # pragma: no cover - compiled
    """Log-posterior density on the unconstrained scale; its gradient to ``gradient``.

    ``x`` holds the log SDs (component × framing, prior half-normal), then, one for each of the
    first components, the log-odds of (correlation + 1) / 2 (prior Beta(eta, eta)), then the
    coordinates of the families' log factors (prior normal). ``recipe`` and ``weights`` are
    :attr:`Posterior.recipe`. It equals the density of the PyMC model, transforms' Jacobians
    included.
    """
    n_sd, n_corr, n_v, n_terms = recipe[0], recipe[1], recipe[2], recipe[3]
    value, eta = weights[0], weights[1]
    turned, bare, inner = 0, n_corr, n_corr + 3 * n_v
    v, by_v = work[n_corr + n_v : n_corr + 2 * n_v], work[n_corr + 2 * n_v : inner]
    i, f = 4, 2
    for j in range(len(x)):
        at = x[j]
        if j < n_sd:
            square = math.exp(2.0 * (at - weights[f + j]))
            value += at - 0.5 * square
            gradient[j] = 1.0 - square
        elif j < n_sd + n_corr:
            # log B + log(1 − B) with B = (1 + correlation) / 2, written so that it cannot overflow.
            size = abs(at)
            value -= eta * (size + 2.0 * math.log1p(math.exp(-size)))
            correlation = math.tanh(0.5 * at)
            work[turned + j - n_sd] = correlation
            gradient[j] = -eta * correlation
        else:
            gradient[j] = -at * weights[f + j]
            value += 0.5 * at * gradient[j]
    f += len(x)
    # Without its correlation, so that a correlation of zero is no special case.
    for k in range(n_v):
        total = 0.0
        for e in range(n_terms):
            total += weights[f + e] * x[recipe[i + 1 + e]]
        total = math.exp(total)
        work[bare + k] = total
        v[k] = total * work[turned + recipe[i]] if recipe[i] >= 0 else total
        i += 1 + n_terms
        f += n_terms
    value += log_likelihood(v, by_v, ints, floats, work[inner:])
    for k in range(n_v - 1, -1, -1):
        i -= 1 + n_terms
        f -= n_terms
        by_log = by_v[k] * v[k]
        for e in range(n_terms):
            gradient[recipe[i + 1 + e]] += weights[f + e] * by_log
        if recipe[i] >= 0:
            correlation = work[turned + recipe[i]]
            by_odds = 0.5 * by_v[k] * work[bare + k] * (1.0 - correlation**2)
            gradient[n_sd + recipe[i]] += by_odds
    return value


@dataclass(frozen=True)
class Posterior:
    """The collapsed posterior of one crossing: data, priors and layout, ready to evaluate."""

    packed: PackedStrata
    scales: Array  # (component · framing,): prior scales of the SDs
    eta: float  # concentration of the prior on correlations
    spread_scale: float  # prior SD of the contrasts of families' log factors
    # (variance, 3): what makes up each variance, see :attr:`Components.codes`.
    codes: Integers
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

    @cached_property
    def recipe(self) -> tuple[Integers, Array]:
        """Priors, and what makes up each variance, as the kernel reads them.

        But for its correlation, a variance's logarithm is a sum of parameters and their weights.
        Whole numbers: of SDs, correlations, variances and terms, then of each variance its
        correlation, or −1, and the parameters. Others: the density's constant, eta, each SD's log
        scale, of each correlation nothing, each other parameter's precision, then the weights.
        """
        n_sd, n_corr, n_kinds = len(self.scales), self.n_correlated, len(self.contrasts)
        component, framing, entry = self.codes.T
        second = np.minimum(np.where(framing < 0, 1, framing), self.n_framings - 1)
        level, kind = np.divmod(np.maximum(entry, 0), n_kinds)
        n_contrasts = self.contrasts.shape[1]
        of_spread = (n_sd + n_corr + level * n_contrasts)[:, None] + np.arange(n_contrasts)
        rows = np.column_stack([
            np.where(framing < 0, component, -1),
            component * self.n_framings + np.maximum(framing, 0),
            component * self.n_framings + second,
            of_spread,
        ])  # fmt: skip
        factors = 2.0 * self.contrasts[kind] * (entry >= 0)[:, None]
        weights = np.column_stack([np.ones((len(rows), 2)), factors])
        of_sds = 0.5 * n_sd * math.log(2.0 / math.pi) - np.log(self.scales).sum()
        of_corr = n_corr * (2.0 * math.lgamma(self.eta) - math.lgamma(2.0 * self.eta))
        of_spreads = self.n_spread * math.log(self.spread_scale * math.sqrt(2.0 * math.pi))
        priors = [
            [of_sds - of_corr - of_spreads, self.eta],
            np.log(self.scales),
            np.zeros(n_corr),
            np.full(self.n_spread, self.spread_scale**-2),
        ]
        head = [n_sd, n_corr, len(rows), 2 + n_contrasts]
        whole = np.concatenate([head, rows.ravel()]).astype(np.int64)
        return whole, np.concatenate([*priors, weights.ravel()])

    @property
    def arguments(self) -> Arguments:
        """What :func:`log_posterior` takes after the point and its gradient."""
        return *self.recipe, self.packed.ints, self.packed.floats

    def room(self) -> Array:
        """Make the memory that :func:`log_posterior` works in: no two threads share it."""
        return np.empty(self.n_correlated + 3 * len(self.codes) + self.packed.n_work)

    def with_scatter(self, scatter: Array) -> Posterior:
        """Put other scatter matrices in the place of these."""
        other = replace(self, packed=self.packed.with_scatter(scatter))
        # Laid out once for all: that takes longer than to evaluate the density.
        other.__dict__["recipe"] = self.recipe
        return other

    def __call__(self, x: Array) -> tuple[float, Array]:
        """Log-density and gradient at unconstrained ``x``, shape (n_dim,)."""
        gradient = np.empty(self.n_dim)
        value = log_posterior(np.ascontiguousarray(x), gradient, *self.arguments, self.room())
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

    def variances(self, x: Array) -> Array:
        """Give the variance parameters at one point ``x``, as :meth:`Components.variances`."""
        matrix, at, correlation = self._log_linear
        v = np.exp(matrix @ x)
        v[at] *= np.tanh(0.5 * x[correlation])
        return np.asarray(v)

    @cached_property
    def _log_linear(self) -> tuple[Array, Integers, Integers]:
        """Weights of parameters in log variances; which have a correlation, and where that is."""
        whole, weights = self.recipe
        n_sd, _, n_v, n_terms = whole[:4]
        rows = whole[4:].reshape(n_v, 1 + n_terms)
        matrix = np.zeros((n_v, self.n_dim))
        for row, factors, entry in zip(
            matrix, weights[-n_v * n_terms :].reshape(n_v, -1), rows, strict=True
        ):
            np.add.at(row, entry[1:], factors)
        at = np.flatnonzero(rows[:, 0] >= 0)
        return matrix, at, n_sd + rows[at, 0]

    def unconstrain(self, sd: Array, correlation: Array, spread: Array) -> Array:
        """Undo :meth:`constrain`: (…, n_dim)."""
        inside = np.clip(correlation, -1 + 1e-15, 1 - 1e-15)
        parts = (np.log(sd), 2 * np.arctanh(inside), np.log(spread) @ self.contrasts)
        return np.concatenate([part.reshape(*sd.shape[:-2], -1) for part in parts], axis=-1)

    def values(self, x: Array) -> Array:
        """Log-densities at several points ``x`` (point, n_dim)."""
        return np.array([self(point)[0] for point in x])
