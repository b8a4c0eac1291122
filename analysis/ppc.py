"""Posterior predictive checks: simulate whole new crossings and compare what matters in them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from valuebias.analysis.crossing import Crossing
from valuebias.analysis.smoother import Smoother

__all__ = ["CHECKS", "predictive_check"]

Array = NDArray[np.float64]

CHECKS = {
    "lean": "mean lean of all models",
    "lean spread": "SD over models of their lean",
    "word spread": "SD over words of their mean outcome (largest framing)",
    "model × word spread": "SD of model × word means about the words' means",
    "prompt spread": "SD over prompts of the mean lean",
    "skewness": "skewness of all outcomes",
    "excess kurtosis": "excess kurtosis of all outcomes",
    "largest": "largest absolute outcome",
    "noisiest model": "largest over models of the outcome's SD, relative to the mean SD",
}


def predictive_check(
    smoothers: list[Smoother],
    coefficients: Array,
    on_axes: Array,
    sign: Array,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Statistics of the data and of one replicated crossing a draw.

    A replicate has new models, prompts, words and residuals: the check is of the whole hierarchy.

    Parameters
    ----------
    smoothers : list of Smoother
        One a draw of the variances, made with coefficients' prior scales of zero: replicates take
        their coefficients from the posterior.
    coefficients : ndarray, shape (draw, column, framing, axis)
        The draws that go with them.
    on_axes : ndarray, shape (axis,)
        The contrast of categories on the axes.
    sign : ndarray, shape (framing,)
        The signed framing contrast.

    Returns
    -------
    Dataset
        ``replicated`` (sample, statistic), ``observed`` (statistic), ``p`` (statistic; two-sided
        posterior predictive p-value).
    """
    crossing = smoothers[0].crossing
    observed = _statistics(crossing, crossing.y, on_axes, sign)
    replicated = []
    for smoother, coefficient in zip(smoothers, coefficients, strict=True):
        fixed = np.einsum(
            "mq,qfj,wj->mfw", crossing.design.matrix, coefficient, crossing.word_basis
        )
        cube = smoother.simulate_cube(rng) + fixed[:, crossing.framing]
        cube = np.where(crossing.observed, cube, np.nan)
        cube -= np.nanmean(cube, axis=2, keepdims=True)
        cube = np.where(crossing.observed, cube, 0.0)
        replicated.append(_statistics(crossing, cube, on_axes, sign))
    values = np.array(replicated)
    above = (values >= observed).mean(axis=0)
    return xr.Dataset(
        {
            "replicated": (("sample", "statistic"), values),
            "observed": ("statistic", observed),
            "p": ("statistic", np.minimum(1.0, 2 * np.minimum(above, 1 - above))),
        },
        coords={
            "statistic": list(CHECKS),
            "description": ("statistic", list(CHECKS.values())),
        },
    )


def _statistics(crossing: Crossing, y: Array, on_axes: Array, sign: Array) -> Array:
    seen = crossing.observed
    groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
    counts = [np.maximum(seen[:, g].sum(axis=1), 1) for g in groups]
    # Means of observed cells: the crossing holds zeros elsewhere.
    by_word = np.stack([y[:, g].sum(axis=1) / n for g, n in zip(groups, counts, strict=True)])
    contrast = crossing.word_basis @ on_axes
    lean = np.tensordot(sign, by_word @ contrast, 1)
    word_means = by_word.mean(axis=1)
    prompt_lean = (y @ contrast).mean(axis=0)
    prompt_spread = max(prompt_lean[g].std() for g in groups)
    values = y[seen]
    spread = np.sqrt((y**2).sum(axis=(1, 2)) / seen.sum(axis=(1, 2)))
    return np.array(
        [
            lean.mean(),
            lean.std(ddof=1) if len(lean) > 1 else 0.0,
            word_means.std(axis=1).max(),
            (by_word - word_means[:, None]).std(),
            prompt_spread,
            stats.skew(values),
            stats.kurtosis(values),
            np.abs(values).max(),
            spread.max() / spread.mean(),
        ]
    )
