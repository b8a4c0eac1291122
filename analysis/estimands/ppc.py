"""Posterior predictive checks: simulate whole new crossings and compare their statistics."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from valuebias.analysis.auditing.misfit import STATISTICS, Structure
from valuebias.analysis.design.crossing import Crossing, centre
from valuebias.analysis.design.noise import Factors
from valuebias.analysis.estimands.smoother import Smoother

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
} | STATISTICS
"""The statistics and what they are; the last ones only where the layout has them."""


def predictive_check(
    smoothers: list[Smoother],
    coefficients: Array,  # (draw, column, framing, axis)
    structure: Structure,
    rng: np.random.Generator,
    residuals: Iterable[Factors],
) -> xr.Dataset:
    """Statistics of the data and of one replicated crossing per draw.

    A replicate has new models, prompts, words and residuals: the check is of the whole hierarchy.
    """
    crossing = smoothers[0].crossing
    observed = _statistics(crossing, crossing.y, structure)
    replicated = []
    for smoother, coefficient, factors in zip(smoothers, coefficients, residuals, strict=True):
        fixed = np.einsum(
            "mq,qfj,wj->mfw", crossing.design.matrix, coefficient, crossing.word_basis
        )
        cube = smoother.simulate_cube(rng, factors) + fixed[:, crossing.framing]
        cube = centre(cube, crossing.observed)
        replicated.append(_statistics(crossing, cube, structure))
    known = np.isfinite(observed)
    values, observed = np.array(replicated)[:, known], observed[known]
    above = (values >= observed).mean(axis=0)
    return xr.Dataset(
        {
            "replicated": (("sample", "statistic"), values),
            "observed": ("statistic", observed),
            "p": ("statistic", np.minimum(1.0, 2 * np.minimum(above, 1 - above))),
        },
        coords={
            "statistic": np.array(list(CHECKS))[known],
            "description": ("statistic", np.array(list(CHECKS.values()))[known]),
        },
    )


def _statistics(crossing: Crossing, y: Array, structure: Structure) -> Array:
    seen = crossing.observed
    groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
    counts = [np.maximum(seen[:, g].sum(axis=1), 1) for g in groups]
    # Means of observed cells: the crossing holds zeros elsewhere.
    by_word = np.stack([y[:, g].sum(axis=1) / n for g, n in zip(groups, counts, strict=True)])
    contrast = crossing.word_basis @ structure.on_axes
    lean = np.tensordot(structure.sign, by_word @ contrast, 1)
    word_means = by_word.mean(axis=1)
    prompt_lean = (y @ contrast).mean(axis=0)
    prompt_spread = max(prompt_lean[g].std() for g in groups)
    values = y[seen]
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
            *structure.statistics(y).values(),
        ]
    )
