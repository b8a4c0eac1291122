"""Posterior predictive checks: simulate whole new crossings and compare their statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.auditing.misfit import STATISTICS, Structure
from valuebias.analysis.design.crossing import Crossing, centre
from valuebias.analysis.design.noise import Factors
from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.sampling.parts import make_parts, parts_at

__all__ = ["CHECKS", "HeavyEffects", "predictive_check"]

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


@dataclass(frozen=True)
class HeavyEffects:
    """The components whose effects are t distributed, at one draw."""

    spread: Array  # (spread, kind): factors of families' SDs
    nu: Mapping[str, float]  # degrees of freedom by component

    def draw(self, smoother: Smoother, rng: np.random.Generator) -> Array:
        """Draw what new levels make of scores, (model, prompt, word)."""
        crossing, out = smoother.crossing, np.zeros(smoother.crossing.shape)
        parts = make_parts(crossing, smoother.components, np.zeros(crossing.design.matrix.shape[1]))
        wanted = [part for part in parts if part.name in self.nu]
        for part in parts_at(wanted, smoother, self.spread):
            effects, nu = part.draw(crossing, rng), self.nu[part.name]
            n_levels = effects.shape[2 if part.over_words is None else 0]
            times = np.sqrt(0.5 * nu / rng.standard_gamma(0.5 * nu, n_levels))
            effects *= times if part.over_words is None else times[:, None, None]
            out += part.cube(crossing, effects)
        return out

    def without(self, smoother: Smoother) -> Smoother:
        """Make the smoother of all else."""
        return smoother.without(self.nu) if self.nu else smoother


def predictive_check(
    smoothers: list[Smoother],
    coefficients: Array,  # (draw, column, framing, axis)
    structure: Structure,
    rng: np.random.Generator,
    residuals: Iterable[Factors],
    heavy: list[HeavyEffects],
) -> xr.Dataset:
    """Statistics of the data and of one replicated crossing per draw.

    A replicate has new models, prompts, words and residuals: the check is of the whole hierarchy.
    """
    crossing = smoothers[0].crossing
    observed = _statistics(crossing, crossing.y, structure)
    replicated = []
    for smoother, coefficient, factors, tails in zip(
        smoothers, coefficients, residuals, heavy, strict=True
    ):
        fixed = np.einsum(
            "mq,qfj,wj->mfw", crossing.design.matrix, coefficient, crossing.word_basis
        )
        cube = tails.without(smoother).simulate_cube(rng, factors) + fixed[:, crossing.framing]
        if tails.nu:
            cube += tails.draw(smoother, rng)
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


def _shape(values: Array) -> tuple[float, float]:
    """Skewness and excess kurtosis, as scipy.stats has them, from one table of deviations."""
    deviation = values - values.mean()
    square = deviation**2
    variance = square.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.vdot(square, deviation) / len(values) / variance**1.5
        kurtosis = np.vdot(square, square) / len(values) / variance**2 - 3.0
    return float(skewness), float(kurtosis)


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
    # Items of a contrast set are the words of one prompt.
    prompt_spread = np.nan if crossing.items else max(prompt_lean[g].std() for g in groups)
    values = y[seen]
    return np.array(
        [
            lean.mean(),
            lean.std(ddof=1) if len(lean) > 1 else 0.0,
            word_means.std(axis=1).max(),
            (by_word - word_means[:, None]).std(),
            prompt_spread,
            *_shape(values),
            np.abs(values).max(),
            *structure.statistics(y).values(),
        ]
    )
