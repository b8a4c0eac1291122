"""Leave-one-score-out predictive accuracy, exact given the variances, and what units are left out.

Given the variances, the prediction of one score from all others is Gaussian in closed form: with r
the score's residual and h its leverage, mean y − r/(1 − h) and variance σ²/(1 − h). Averaging over
the posterior needs weights 1/p(y_i | y_−i, θ), as in importance-sampling LOO; because the random
effects are integrated out, these are nearly equal and need no smoothing (their effective size is
reported).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.notebooks import as_html
from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.smoother import Fields, Smoother

__all__ = ["LOO", "UnitLOO", "log_densities", "loo"]

Array = NDArray[np.float64]

_FAR = 300.0  # exponentials of more overflow, or leave nothing of those before


@dataclass(frozen=True)
class LOO:
    """Expected log predictive density of one more score of the models and words at hand.

    It says nothing about further models: see :class:`UnitLOO`.
    """

    elpd: float  # sum over the scores, in nats; higher is better
    se: float  # its standard error, taking scores as independent
    p_loo: float  # effective number of parameters
    n: int  # number of scores
    # Smallest relative effective size of the importance weights over the scores; near 1 is good.
    min_weight_ess: float
    # The summands, (model, prompt, response); NaN where not scored.
    pointwise: xr.DataArray = field(repr=False)

    @property
    def by(self) -> str:
        """What was left out."""
        return "score"

    @property
    def unsure(self) -> int:
        """How many scores rest on weights that are not to be trusted: none."""
        return 0


@dataclass(frozen=True)
class UnitLOO:
    """Expected log predictive density of a new model, base or word."""

    by: str  # what was left out
    elpd: float  # sum over the units, in nats; higher is better
    # Its standard error, taking units as independent: √n times their SD. Of few units it is itself
    # known roughly only, of ten to about a quarter.
    se: float
    n: int  # number of units
    k_limit: float  # largest Pareto k at which weights are trusted
    # One row per unit: ``unit``, ``elpd``, ``mcse`` (the Monte Carlo error of that), ``pareto_k``
    # of reweighting the draws of the fit, and ``refitted``, true where that was above the limit and
    # the model was fitted without the unit instead.
    table: pd.DataFrame = field(repr=False)

    def _repr_html_(self) -> str:
        """Show the sum and the units in a notebook."""
        text = f"elpd {self.elpd:,.1f} (SE {self.se:.1f}), {self.n} units left out by {self.by}"
        return as_html(text.replace("-", "−"), self.table)

    @property
    def unsure(self) -> int:
        """How many units rest on weights that are not to be trusted."""
        return int(((self.table["pareto_k"] > self.k_limit) & ~self.table["refitted"]).sum())

    @property
    def by_unit(self) -> pd.Series:
        """The summands by unit."""
        return self.table.set_index("unit")["elpd"]


def loo(smoothers: list[Smoother], cubes: Iterable[Array]) -> LOO:
    """Accumulate over draws of the variances, each with a cube (model, prompt, word)."""
    crossing = smoothers[0].crossing
    shape = crossing.shape
    # Over draws, of 1/p, 1/p² and the in-sample density.
    inverses, inverse_squares, fits = (_LogSum(shape) for _ in range(3))
    for smoother, cube in zip(smoothers, cubes, strict=True):
        for m, (left_out, in_sample) in enumerate(_by_model(smoother, cube)):
            inverses.add(m, -left_out)
            inverse_squares.add(m, -2 * left_out)
            fits.add(m, in_sample)
    inverse, inverse_square, fitted = inverses.log(), inverse_squares.log(), fits.log()
    n_draws = np.log(len(smoothers))
    seen = crossing.observed
    pointwise = np.where(seen, n_draws - inverse, np.nan)
    values = pointwise[seen]
    weight_ess = np.exp((2 * inverse - inverse_square)[seen] - n_draws)
    return LOO(
        elpd=float(values.sum()),
        se=float(np.sqrt(len(values)) * values.std(ddof=1)),
        p_loo=float((fitted[seen] - n_draws).sum() - values.sum()),
        n=len(values),
        min_weight_ess=float(weight_ess.min()),
        pointwise=xr.DataArray(
            pointwise,
            dims=("model", "prompt", "response"),
            coords={
                "model": np.array(crossing.models, dtype=np.str_),
                "prompt": np.array(crossing.prompts, dtype=np.str_),
                "response": np.array(crossing.words, dtype=np.str_),
            },
        ),
    )


class _LogSum:
    """Logarithm of a sum of exponentials; ``logaddexp`` takes two to four times as long."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._about, self._total = np.full(shape, -np.inf), np.zeros(shape)

    def add(self, model: int, logs: Array) -> None:
        """Add the exponentials of ``logs`` of a model."""
        about, total = self._about[model], self._total[model]
        if (logs > about + _FAR).any():
            higher = np.maximum(about, logs)
            total *= np.exp(about - higher)
            about[:] = higher
        total += np.exp(logs - about)

    def log(self) -> Array:
        """Give the logarithms of the sums, in whose place they are left."""
        np.log(self._total, out=self._total)
        self._total += self._about
        return self._total


def log_densities(smoother: Smoother, cube: Array) -> tuple[Array, Array]:
    """Log-density of every cell given all others, and given all cells (its own included)."""
    left_out, in_sample = zip(*_by_model(smoother, cube), strict=True)
    return np.stack(left_out), np.stack(in_sample)


def _by_model(smoother: Smoother, cube: Array) -> Iterator[tuple[Array, Array]]:
    """Give what :func:`log_densities` does model by model, which takes less memory."""
    crossing = smoother.crossing
    tables = make_tables(crossing, cube)
    margins = Fields(tables.mean, tables.prompt_word, tables.axis, cube.sum(axis=2))
    residuals = smoother.spread(smoother.mean(margins))
    np.subtract(cube, residuals, out=residuals)
    variance = smoother.residual[crossing.framing][:, None]
    for residual, leverage in zip(residuals, smoother.leverage(), strict=True):
        own = leverage[crossing.framing]
        yield (
            _normal_log_density(residual / (1 - own), variance / (1 - own)),
            _normal_log_density(residual, variance * (1 + own)),
        )


def _normal_log_density(deviation: Array, variance: Array) -> Array:
    return np.asarray(-0.5 * (np.log(2 * np.pi * variance) + deviation**2 / variance))
