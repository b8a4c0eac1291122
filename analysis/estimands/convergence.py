"""R-hat and effective sample sizes of many quantities at once.

Those of Vehtari et al. (2021, *Bayesian Analysis* 16, 667–718) to the digit of ArviZ, which takes
one quantity at a time and seconds to load.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.special import ndtri

__all__ = ["convergence"]

Array = NDArray[np.float64]

_TAILS = (0.05, 0.95)
# So many numbers at a time: more would not stay in the processor's cache.
_AT_ONCE = 200_000


def convergence(values: Array) -> tuple[Array, Array, Array]:
    """Give split R-hat, bulk and tail effective sample size of each item.

    Parameters
    ----------
    values : ndarray
        Draws (item, chain, draw), of four draws or more a chain.

    Returns
    -------
    rhat : ndarray
        Split R-hat by item; NaN where a value is, or where there is one chain only.
    bulk : ndarray
        Effective sample size in the bulk by item; NaN where a value is.
    tail : ndarray
        Effective sample size in the tails by item; NaN where a value is.
    """
    n = max(1, _AT_ONCE // max(1, values[0].size)) if len(values) else 1
    parts = [_few(values[i : i + n]) for i in range(0, len(values), n)]
    rhat, bulk, tail = np.concatenate(parts, axis=1) if parts else np.empty((3, 0))
    return rhat, bulk, tail


def _few(values: Array) -> Array:
    halves = _halved(values)
    scaled = _normal_scores(halves)
    flat = halves.reshape(len(values), -1)
    folded = np.abs(halves - np.median(flat, axis=1)[:, None, None])
    limits = np.quantile(values.reshape(len(values), -1), _TAILS, axis=1)
    tails = [_sample_size(_halved(values <= limit[:, None, None]) * 1.0) for limit in limits]
    rhat = np.maximum(_rhat(scaled), _rhat(_normal_scores(folded)))
    if values.shape[1] < 2:
        rhat = np.full(len(values), np.nan)
    measures = np.array([rhat, _sample_size(scaled), np.minimum(*tails)])
    measures[:, np.isnan(flat).any(axis=1)] = np.nan
    return measures


def _halved(values: NDArray[np.generic]) -> Array:
    half = values.shape[2] // 2
    return np.concatenate([values[..., :half], values[..., -half:]], axis=1)


def _normal_scores(values: Array) -> Array:
    """Replace values by normal quantiles of their ranks within the item; ties share theirs."""
    flat = values.reshape(len(values), -1)
    order = np.argsort(flat, axis=1)
    ordered = np.take_along_axis(flat, order, axis=1)
    place = np.broadcast_to(np.arange(flat.shape[1]), flat.shape)
    same = ordered[:, 1:] == ordered[:, :-1]
    first, last = place.copy(), place.copy()
    first[:, 1:][same] = 0
    last[:, :-1][same] = flat.shape[1]
    first = np.maximum.accumulate(first, axis=1)
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(flat.shape)
    np.put_along_axis(ranks, order, 0.5 * (first + last) + 1, axis=1)
    return np.asarray(ndtri((ranks - 0.375) / (flat.shape[1] + 0.25)).reshape(values.shape))


def _rhat(values: Array) -> Array:
    n = values.shape[2]
    between = n * values.mean(axis=2).var(axis=1, ddof=1)
    # Chains that each stand still, at different values, have an infinite R-hat.
    with np.errstate(divide="ignore", invalid="ignore"):
        within = values.var(axis=2, ddof=1).mean(axis=1)
        return np.asarray(np.sqrt((between / within + n - 1) / n))


def _sample_size(values: Array) -> Array:
    """Effective sample size by Geyer's initial monotone sequence of autocorrelations."""
    n_items, n_chains, n = values.shape
    total = n_chains * n
    mean = values.mean(axis=2)
    length = fft.next_fast_len(2 * n, real=True)
    power = np.abs(fft.rfft(values - mean[..., None], n=length)) ** 2
    covariance = fft.irfft(power.mean(axis=1), n=length)[:, :n] / n
    within = covariance[:, :1] * n / (n - 1)
    overall = covariance[:, 0] + (mean.var(axis=1, ddof=1) if n_chains > 1 else 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = 1 - (within - covariance) / overall[:, None]
    rho[:, 0] = 1.0
    pairs = rho[:, 0 : n - n % 2 : 2] + rho[:, 1:n:2]
    # The first pair that is not positive ends the sequence; of it, or of the last there is, the
    # even half counts once.
    over = np.argmax(np.concatenate([pairs <= 0, np.ones((n_items, 1), bool)], axis=1), axis=1)
    end = np.minimum(over, max(-(-(n - 2) // 2) - 1, 0))
    sums = np.cumsum(np.minimum.accumulate(pairs, axis=1), axis=1)
    items = np.arange(n_items)
    before = np.where(end > 0, sums[items, end - 1], 0.0)
    tau = -1 + 2 * before + np.maximum(rho[items, 2 * end], 0.0)
    size = total / np.maximum(tau, 1 / np.log10(total))
    flat = values.reshape(n_items, -1)
    still = flat.max(axis=1) - flat.min(axis=1) < np.finfo(float).resolution
    return np.where(still, float(total), size)
