"""A fit in the form that ArviZ takes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from valuebias.analysis.design.items import ItemLayout
from valuebias.analysis.estimands.loo import log_densities
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasWarning

if TYPE_CHECKING:
    from valuebias.posterior.draws import Draws

__all__ = ["make_idata"]

# Draws are thinned until the log-densities are at most so many numbers (float32: 200 MB), but to no
# fewer draws than this; where even those take four times as many numbers, none are kept.
_MOST_NUMBERS = 50_000_000
_FEWEST_DRAWS = 100


def make_idata(fit: Draws, contrasts: xr.DataArray) -> Any:
    """Lay out draws, contrasts, scores and their log-densities as ArviZ expects them.

    A score's log-density is conditional on all other scores, with the effects integrated out: the
    draws are of the variances alone, so the weights 1/density are those of leaving the score out,
    which ``az.loo`` smooths. (With the effects in, every score would be influential and Pareto's k
    useless.)
    """
    posterior = fit.tree["posterior"].to_dataset()
    # Its other coordinates share names with dimensions of the posterior.
    bare = contrasts.drop_vars([c for c in contrasts.coords if c != "estimand"])
    by_draw = {name: posterior[name] for name in ("chain", "draw")}
    groups: dict[str, Any] = {
        "posterior": posterior.assign(contrast=bare.assign_coords(by_draw)),
        "sample_stats": fit.tree["sample_stats"].to_dataset(),
        "observed_data": _of_items(fit)
        if fit.of_items
        else _of_scores(fit, fit.problem.crossing.y),
    }
    likelihood = _log_likelihood(fit)
    if likelihood is not None:
        groups["log_likelihood"] = likelihood
    groups["posterior"].attrs["units"] = describe(fit.settings["outcome"]).units
    return _gather(groups)


def _gather(groups: dict[str, Any]) -> Any:
    import arviz as az

    if int(az.__version__.split(".")[0]) < 1:
        return az.InferenceData(**groups)
    return xr.DataTree.from_dict(groups)


def _log_likelihood(fit: Draws) -> xr.Dataset | None:
    crossing = fit.problem.crossing
    # What items are laid out as are no scores of anything.
    if not fit.problem.noise.plain or crossing.items:
        return None
    n_scores = int(crossing.observed.sum())
    chains = int(fit.settings["chains"])
    n = _MOST_NUMBERS // n_scores
    if n < _FEWEST_DRAWS:
        if _FEWEST_DRAWS * n_scores > 4 * _MOST_NUMBERS:
            warnings.warn(
                f"fit.idata has no log_likelihood: of {n_scores:,} scores it would take gigabytes. "
                "fit.loo() and valuebias.compare work without.",
                ValueBiasWarning,
                stacklevel=4,
            )
            return None
        n = _FEWEST_DRAWS
    total = len(fit.v) // chains
    per_chain = np.arange(total)[:: -(-total // max(n // chains, 1))]
    chosen = (np.arange(chains)[:, None] * total + per_chain).ravel()
    scales = fit.problem.coefficient_scales
    values = np.empty((len(chosen), *_score_shape(fit)), dtype=np.float32)
    for i, (draw, cube) in enumerate(zip(chosen, fit.completed_cubes(chosen), strict=True)):
        values[i] = _seen(fit, log_densities(fit.smoother(int(draw), scales), cube)[0])
    return _of_scores(fit, values.reshape(chains, len(per_chain), *values.shape[1:]), per_chain)


def _score_shape(fit: Draws) -> tuple[int, ...]:
    crossing = fit.problem.crossing
    return crossing.shape if crossing.complete else (int(crossing.observed.sum()),)


def _seen(fit: Draws, cube: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Select observed scores, as a list if some are missing: ArviZ has no missing scores."""
    crossing = fit.problem.crossing
    return cube if crossing.complete else cube[crossing.observed]


def _of_items(fit: Draws) -> xr.Dataset:
    """Give the scores about the mean of their item."""
    crossing = fit.problem.crossing
    layout = ItemLayout(len(crossing.items), len(crossing.categories))
    names = {"model": list(map(str, crossing.models)), "item": list(crossing.items),
             "variant": list(crossing.categories)}  # fmt: skip
    return xr.Dataset({"score": (tuple(names), layout.to_items(crossing.y[:, 0]))}, coords=names)


def _of_scores(
    fit: Draws, values: np.ndarray[Any, Any], draw: np.ndarray[Any, Any] | None = None
) -> xr.Dataset:
    crossing = fit.problem.crossing
    axes = {
        "model": np.array(crossing.models, dtype=np.str_),
        "prompt": np.array(crossing.prompts, dtype=np.str_),
        "response": np.array(crossing.words, dtype=np.str_),
    }
    dims, coords = tuple(axes), {name: (name, labels) for name, labels in axes.items()}
    if not crossing.complete:
        cells = np.nonzero(crossing.observed)
        dims = ("cell",)
        coords = {
            name: ("cell", labels[i])
            for (name, labels), i in zip(axes.items(), cells, strict=True)
        }  # fmt: skip
    if draw is None:
        return xr.Dataset({"score": (dims, _seen(fit, values))}, coords=coords)
    by_draw = {"chain": np.arange(values.shape[0]), "draw": draw}
    return xr.Dataset({"score": (("chain", "draw", *dims), values)}, coords={**coords, **by_draw})
