"""Leave models, bases or words out of a fit, and see how well the rest predicts them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.special import logsumexp

from valuebias._core.progress import progress_bar
from valuebias.analysis.design.reduced import word_can_go
from valuebias.analysis.design.units import Unit, find_units
from valuebias.analysis.estimands.evidence import log_integral
from valuebias.analysis.estimands.held_out import (
    make_model_tables,
    make_word_tables,
    models_given_others,
    words_given_others,
)
from valuebias.analysis.estimands.loo import UnitLOO
from valuebias.analysis.estimands.precision import precision_at
from valuebias.analysis.estimands.reweighting import smoothed
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["BY", "Whole", "base_coordinate", "leave_out"]

Array = NDArray[np.float64]

BY = ("model", "base", "word")
"""What :func:`leave_out` leaves out."""

_LOG_2PI = float(np.log(2 * np.pi))
_DIMS = {"word": "response", "prompt": "prompt", "model": "model"}
_COMPARED = ("family", "framing")
# Below it the weights have a finite variance. The usual 0.7 is for many draws; with a thousand, k
# is estimated too roughly, and densities came out a nat too large.
_K_LIMIT = 0.5
_NOTHING = Unit("nothing")
# With fewer draws than this, the posterior of all data is sampled again.
_DRAWS_A_PARAMETER = 20
# Numbers in the largest array.
_MOST_NUMBERS = 4_000_000


def base_coordinate(spec: Mapping[str, Any]) -> str:
    """Name the coordinate of the base of each model, also where a fit ignores it."""
    return str(spec["base"] or "base")


def leave_out(fitted: Posterior, by: str, *, draws: int, progress: bool) -> UnitLOO:
    """Leave out each unit in turn; see :meth:`Fit.loo`."""
    units = find_units(fitted.data, by, base_coordinate(fitted.settings))
    _require_complete(fitted)
    whole = Whole(fitted)
    densities = whole.densities(units, draws)
    rows = []
    with progress_bar(f"leaving out by {by}", shown=progress) as advance:
        for i, (unit, log_density) in enumerate(zip(units, densities, strict=True)):
            rows.append({"unit": unit.name, **whole.predict(unit, log_density, _K_LIMIT)})
            if advance is not None:
                advance(i + 1, len(units))
    table = pd.DataFrame(rows).astype({"unit": object})
    values = table["elpd"].to_numpy()
    se = float(np.sqrt(len(values)) * values.std(ddof=1))
    return UnitLOO(by, float(values.sum()), se, len(values), _K_LIMIT, table)


class Whole:
    """The posterior of all data, compared with that without a unit."""

    def __init__(self, fitted: Posterior) -> None:
        self.fitted, self.problem = fitted, fitted.problem
        self.posterior = self.problem.posterior(self.problem.strata)

    def densities(self, units: list[Unit], draws: int) -> Array:
        """Log-density of each unit given the others at spaced draws, (unit, draw)."""
        v, _ = self._draws
        chosen = np.linspace(0, len(v) - 1, min(draws, len(v))).astype(np.intp)
        return self._densities(units, v[chosen])

    def _densities(self, units: list[Unit], v: Array) -> Array:
        crossing = self.problem.crossing
        n_models = crossing.shape[0]
        in_span = len(units) * crossing.model_basis.shape[1] ** 2 if units[0].word >= 0 else 0
        size = len(crossing.framings) ** 2 * max(n_models**2, in_span)
        step = max(1, _MOST_NUMBERS // size)
        parts = [self._given_others(units, v[i : i + step]) for i in range(0, len(v), step)]
        return np.concatenate(parts).T

    def _given_others(self, units: list[Unit], v: Array) -> Array:
        crossing, components = self.problem.crossing, self.problem.components
        precision = precision_at(crossing, components, self.problem.coefficient_scales, v)
        if units[0].word >= 0:
            words = np.array([unit.word for unit in units])
            return words_given_others(crossing, precision, self._word_tables, words)
        sets = [np.array(unit.models) for unit in units]
        return models_given_others(crossing, precision, self._model_tables, sets)

    @cached_property
    def _model_tables(self) -> Any:
        return make_model_tables(self.problem.crossing, self.problem.crossing.y)

    @cached_property
    def _word_tables(self) -> Any:
        return make_word_tables(self.problem.crossing, self.problem.crossing.y)

    def predict(self, unit: Unit, log_density: Array, limit: float) -> dict[str, Any]:
        """Average over the posterior without the unit: its elpd and how it was computed."""
        weighted = smoothed(-log_density)
        can_go = unit.word < 0 or word_can_go(self.problem.crossing, unit.word)
        if weighted.k > limit and can_go:
            elpd, error = self._by_integrals(unit)
            return {"elpd": elpd, "mcse": error, "pareto_k": weighted.k, "refitted": True}
        elpd = float(logsumexp(log_density, b=weighted.weights))
        relative = np.exp(log_density - elpd) - 1
        error = float(np.sqrt(((weighted.weights * relative) ** 2).sum()))
        return {"elpd": elpd, "mcse": error, "pareto_k": weighted.k, "refitted": False}

    def _by_integrals(self, unit: Unit) -> tuple[float, float]:
        """Divide the densities of all data and of those without the unit.

        An average over the draws without it would rest on the one or two best draws: a model has
        thousands of scores, which determine the variances very precisely.
        """
        left = self.fitted.without(unit)
        reduced, x = left.problem.posterior(left.problem.strata), left.unconstrained
        integral, error = log_integral(reduced.values, x, self._rng())
        constant = self._constant(unit)
        if unit.word >= 0 and self.problem.crossing.covariate_names:
            # The reduced model is not quite the model of the other words: weight its draws.
            conditional = self._densities([unit], left.v)[0]
            flat = x.reshape(len(conditional), -1)
            ratio = self.posterior.values(flat) - conditional + constant - reduced.values(flat)
            integral += float(logsumexp(ratio) - np.log(len(ratio)))
        whole, whole_error = self._integral
        return whole - integral + constant, float(np.hypot(error, whole_error))

    def _constant(self, unit: Unit) -> float:
        """Compute the constant that both posteriors omit: 2π, and the scale of a word."""
        n_models, n_prompts, n_words = self.problem.crossing.shape
        if unit.word >= 0:
            return 0.5 * n_models * n_prompts * float(np.log1p(-1 / n_words) - _LOG_2PI)
        return -0.5 * len(unit.models) * n_prompts * (n_words - 1) * _LOG_2PI

    @cached_property
    def _draws(self) -> tuple[Array, Array]:
        """Variances, also on the scale of the density; sampled again if the fit has few."""
        fitted = self.fitted
        if len(fitted.v) >= _DRAWS_A_PARAMETER * self.posterior.n_dim:
            return fitted.v, fitted.unconstrained
        again = fitted.without(_NOTHING)
        return again.v, again.unconstrained

    @cached_property
    def _integral(self) -> tuple[float, float]:
        return log_integral(self.posterior.values, self._draws[1], self._rng())

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([int(self.fitted.settings["seed"]), 9])


def _require_complete(fit: Posterior) -> None:
    """Raise where cells are missing, and say what to drop."""
    if not fit.settings["n_missing"]:
        return
    noun, kept, n = _advice(fit.data)
    advice = (
        f"Drop the {noun}s with gaps, which keeps {kept} of {n}, and fit again: "
        f"dataset.dropna({_DIMS[noun]!r}, subset=['score'])."
        if noun
        else "No words, prompts or models can be dropped to have none missing; only "
        "by='score' is possible."
    )
    raise ValueBiasError(
        f"{fit.settings['n_missing']:,} scores are missing, and whole models, bases and words are "
        f"left out exactly only where none is. {advice}"
    )


def _advice(data: xr.Dataset) -> tuple[str, int, int]:
    """Find what to drop to keep most cells: its noun, how many are kept, of how many."""
    best = ("", 0, 0)
    cells = 0
    for noun, dim in _DIMS.items():
        rest = data.dropna(dim, subset=["score"])
        per_category = (rest["membership"] != 0).sum("response")
        same = [np.array_equal(np.unique(rest[c]), np.unique(data[c])) for c in _COMPARED]
        if per_category.min() > 1 and all(same) and rest["score"].size > cells:
            best, cells = (noun, rest.sizes[dim], data.sizes[dim]), rest["score"].size
    return best
