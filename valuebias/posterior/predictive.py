"""Compare fits of the same data by their predictions: ``valuebias.compare({"a": …, "b": …})``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.design.grouping import known_bases
from valuebias.analysis.estimands.loo import LOO, UnitLOO
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.posterior.leave_out import BY, base_coordinate
from valuebias.schema import model_table

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["compare"]

_DIMS = {"model": "models", "prompt": "prompts", "response": "words"}


def compare(
    fits: Mapping[str, Posterior],
    *,
    by: str = "model",
    draws: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Compare fits of the same scores by how well they predict left-out units.

    Parameters
    ----------
    fits : mapping of str to Fit
        At least two, by name: of the same scores and outcome, with any formula, bases, covariates
        or priors.
    by : {"model", "base", "word", "score"}, default "model"
        What to leave out in turn, see :meth:`Fit.loo`. ``"base"`` takes the bases named in the
        data, also for a fit that ignores them.
    draws : int, optional
        Number of posterior draws, see :meth:`Fit.loo`.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    DataFrame
        One row per fit, the best first, named by the index. ``elpd_diff``: difference in expected
        log predictive density to the best, in nats, 0 for the best and negative for others;
        ``se_diff`` its standard error over the units (√n times the SD of the units' differences);
        ``elpd`` and ``se`` of the fit itself; ``n`` units; ``unsure``: how many of them have a
        Pareto k above the limit and could not be left out by fitting again. ``attrs["by"]`` says
        what was left out.

    Raises
    ------
    ValueBiasError
        If there are fewer than two fits of the same scores and outcome, `by` is unknown, they name
        different bases, or units cannot be left out (see :meth:`Fit.loo`).

    Notes
    -----
    The columns are those of ``loo_compare`` in R's package loo. The standard error takes units as
    independent, and is itself uncertain for few units. Fits that differ by less than about 4 nats
    predict equally well (Sivula et al. 2020, arXiv 2008.10296).

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> fits = {
    ...     name: valuebias.fit(data, spread=spread, draws=200, seed=1, progress=False)
    ...     for name, spread in {"one spread": False, "a spread a family": True}.items()
    ... }
    >>> table = valuebias.compare(fits, by="model", progress=False)
    >>> float(table["elpd_diff"].iloc[0])
    0.0
    """
    from valuebias.posterior.posterior import Posterior

    if by not in ("score", *BY):
        raise ValueBiasError(f"unknown by={by!r}. {did_you_mean(by, (*BY, 'score'))}")
    if not isinstance(fits, Mapping) or len(fits) < 2:
        raise ValueBiasError(
            f"compare takes two fits or more by name, such as {{'a': fit1, 'b': fit2}}, found "
            f"{_describe(fits)}."
        )
    for name, fit in fits.items():
        if not isinstance(fit, Posterior):
            raise ValueBiasError(
                f"{name!r} is {_describe(fit)}; compare takes what valuebias.fit returned (of an "
                "ablation its .fit)."
            )
    _require_same(fits)
    if by == "base":
        _require_same_bases(fits)
    return _table({name: _loo(fit, by, draws, progress) for name, fit in fits.items()}, by)


def _loo(fit: Posterior, by: Any, draws: int | None, progress: bool) -> LOO | UnitLOO:
    result: LOO | UnitLOO = fit.loo(by=by, draws=draws, progress=progress)
    return result


def _table(results: Mapping[str, LOO | UnitLOO], by: str) -> pd.DataFrame:
    values = {name: _summands(result) for name, result in results.items()}
    best = max(results, key=lambda name: results[name].elpd)
    rows = {}
    for name, result in results.items():
        difference = values[name] - values[best]
        rows[name] = {
            "elpd_diff": float(difference.sum()),
            "se_diff": float(np.sqrt(len(difference)) * difference.std(ddof=1)),
            "elpd": result.elpd,
            "se": result.se,
            "n": result.n,
            "unsure": result.unsure,
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("fit")
    table = table.astype({"n": int, "unsure": int})
    table = table.sort_values("elpd_diff", ascending=False, kind="stable")
    table.attrs["by"] = by
    return table


def _summands(one: LOO | UnitLOO) -> NDArray[np.float64]:
    if isinstance(one, UnitLOO):
        return one.table["elpd"].to_numpy()
    values = one.pointwise.to_numpy()
    return np.asarray(values[np.isfinite(values)])


def _require_same(fits: Mapping[str, Posterior]) -> None:
    (first, one), *others = fits.items()
    for name, other in others:
        outcomes = one.settings["outcome"], other.settings["outcome"]
        if outcomes[0] != outcomes[1]:
            raise ValueBiasError(
                f"{first!r} is of the outcome {outcomes[0]!r} and {name!r} of {outcomes[1]!r}, "
                "whose densities are not comparable; fit both with one outcome=."
            )
        for dim, noun in _DIMS.items():
            if not np.array_equal(one.data[dim], other.data[dim]):
                raise ValueBiasError(
                    f"{first!r} and {name!r} are fits of different {noun}, "
                    f"{one.data.sizes[dim]} and {other.data.sizes[dim]}; fit both to the "
                    "same dataset."
                )
        mine, theirs = (fit.data["score"].transpose(*_DIMS).to_numpy() for fit in (one, other))
        if not np.array_equal(mine, theirs, equal_nan=True):
            raise ValueBiasError(
                f"{first!r} and {name!r} are fits of different scores; fit both to the same "
                "dataset."
            )


def _require_same_bases(fits: Mapping[str, Posterior]) -> None:
    named = {name: base_coordinate(fit.settings) for name, fit in fits.items()}
    labels = [known_bases(model_table(fits[name].data), base) for name, base in named.items()]
    if any(label != labels[0] for label in labels):
        listed = ", ".join(f"{base!r} in {name!r}" for name, base in named.items())
        raise ValueBiasError(
            f"the fits name different bases ({listed}), so no base can be left out of all of "
            "them; give the data one coordinate 'base' and fit again, or use by='model'."
        )


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return f"{len(value)} of them"
    return f"a {type(value).__name__}"
