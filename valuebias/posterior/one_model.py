"""One model beside the models of its family, and beside all models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.design.units import Unit
from valuebias.analysis.estimands.estimand import LEAN, MODEL
from valuebias.analysis.estimands.held_out import axis_means, combination_given_all
from valuebias.analysis.estimands.rows import Combination
from valuebias.analysis.estimands.smoother import Fields
from valuebias.analysis.estimands.unseen import NewModel, Unseen, observed_leans
from valuebias.analysis.estimands.weights import framing_contrasts, named_framings
from valuebias.errors import ValueBiasError, did_you_mean

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior
    from valuebias.posterior.refit import LeftOutFit

__all__ = ["OneModel", "describe_model"]

Array = NDArray[np.float64]

_DRAWS = 200
_IMPUTED = 20


@dataclass(frozen=True)
class OneModel:
    """What the scores say of one model."""

    name: str
    family: str
    category: tuple[str, str]  # the categories of the lean
    framing: str
    lean: Array = field(repr=False)  # (draw,): its lean
    # (draw,): leans of new models of its family, and of any of the families, as predicted by the
    # other models; of its family None where it is the only one.
    of_family: Array | None = field(repr=False)
    of_all: Array = field(repr=False)
    words: pd.DataFrame = field(repr=False)
    beside: str  # which models the words are compared with
    without_it: bool  # whether the predictions come from the other models alone
    # Probability that a new model of its family, or of any, leans further to the first category on
    # the same words and prompts; None where the other models do not tell.
    beyond_family: float | None
    beyond_all: float | None


def describe_model(fit: Posterior, name: str, *, prob: float) -> OneModel:
    """Compare one model's lean with predictions, and its words with the other models'."""
    fit.require_words("The card of a model compares its words with other models'")
    fit.require_gaussian("The card of a model")
    crossing = fit.problem.crossing
    names = [str(model) for model in crossing.models]
    if name not in names:
        raise ValueBiasError(f"the fit has no model {name!r}. {did_you_mean(name, names)}")
    if len(names) < 2:
        raise ValueBiasError("the fit has one model only, so there is nothing to compare it with.")
    at = names.index(name)
    families = fit.data["family"].to_numpy().astype(str)
    pair, weights = next(iter(fit.categories.items()))
    framing, sign = next(iter(named_framings(crossing.framings, fit.focus.framing).items()))
    lean = _lean(fit, name, framing)
    others = np.flatnonzero(np.arange(len(names)) != at)
    rows = crossing.design.matrix
    row, other_rows = rows[at], rows[others]
    # Columns of full rank tell the mean of any kind.
    without = crossing.complete and np.linalg.matrix_rank(other_rows) == other_rows.shape[1]
    rng = np.random.default_rng([int(fit.settings["seed"]), 11])
    left = fit.without(Unit(name, (at,))) if without else None
    on_axes = crossing.contrast_weights(weights)
    v = fit.v if left is None else left.v

    def predict(row: Array, family: str) -> Array:
        """Draw the lean of a new model of a kind."""
        if left is None:
            expected = fit.effects.coefficient @ on_axes @ sign @ row
        else:
            expected = _expected(left, Combination(row, sign, on_axes), rng)
        components = fit.problem.components if left is None else left.problem.components
        space = crossing if left is None else left.problem.crossing
        unseen = Unseen(space, components, v, weights, rng)
        return np.asarray(expected + unseen.models(family) @ sign)

    kin = others[families[others] == families[at]]
    alone = not len(kin) and len(set(families.tolist())) > 1
    # In the order of the models: draws from one generator depend on it.
    by_model = {
        key: predict(np.array(key[0]), key[1])
        for key in dict.fromkeys((tuple(rows[m].tolist()), str(families[m])) for m in others)
    }
    of_each = [by_model[tuple(rows[m].tolist()), str(families[m])] for m in others]
    beside = kin if len(kin) else others
    leans = observed_leans(crossing, _cube(fit), weights, sign)
    known = fit.problem.components if left is None else left.problem.components
    spaced = v[np.linspace(0, len(v) - 1, min(_DRAWS, len(v))).astype(int)]
    new = NewModel(crossing, known, spaced, weights, sign, others.tolist(), leans)
    above = [new.above(leans[at], int(m)) for m in others]
    shares = [share for share in above if share is not None]
    return OneModel(
        name=name,
        family=str(families[at]),
        category=(pair.first, pair.second),
        framing=framing,
        lean=lean,
        of_family=None if alone else predict(row, str(families[at])),
        of_all=np.concatenate(of_each),
        words=_words(fit, at, beside, prob),
        beside=f"the other models of {families[at]}" if len(kin) else "all other models",
        without_it=without,
        beyond_family=None if alone else new.above(leans[at], at),
        beyond_all=float(np.mean(shares)) if shares else None,
    )


def _cube(fit: Posterior) -> Array:
    """Return the outcome, missing cells at their mean over some draws."""
    if fit.problem.crossing.complete:
        return fit.problem.crossing.y
    cubes = list(fit.completed_cubes(fit.spaced(_IMPUTED)))
    return np.asarray(sum(cubes) / len(cubes))


def _lean(fit: Posterior, name: str, framing: str) -> Array:
    draws = fit.contrast_draws
    right = (draws["form"].to_numpy() == LEAN) & (draws["variable"].to_numpy() == MODEL)
    right &= (draws["name"].to_numpy() == name) & (draws["framing"].to_numpy() == framing)
    return np.asarray(draws.to_numpy()[..., int(np.flatnonzero(right)[0])].ravel())


def _expected(left: LeftOutFit, combination: Combination, rng: np.random.Generator) -> Array:
    """Draw the mean lean of a kind, given the other models' scores."""
    problem = left.problem
    crossing, scales = problem.crossing, problem.coefficient_scales
    axes = axis_means(crossing, make_tables(crossing, crossing.y))
    mean, variance = combination_given_all(
        crossing, problem.components, left.v, axes, scales, combination
    )
    return np.asarray(mean + np.sqrt(variance) * rng.standard_normal(len(mean)))


def _words(fit: Posterior, at: int, beside: NDArray[np.intp], prob: float) -> pd.DataFrame:
    """Compare the model's score of each word, without noise, with the mean of other models'."""
    crossing = fit.problem.crossing
    chosen = fit.spaced(_DRAWS)
    rng = np.random.default_rng([int(fit.settings["seed"]), 12])
    root = np.sqrt(np.bincount(crossing.framing))
    sign = framing_contrasts(crossing.framings)["signed"] / root
    rows = []
    for i, cube in zip(chosen, fit.completed_cubes(chosen), strict=False):
        tables = make_tables(crossing, cube)
        margins = Fields(tables.mean, tables.prompt_word, tables.axis, cube.sum(axis=2))
        smooth = fit.smoother(int(i), fit.problem.coefficient_scales).draw(margins, rng)
        liking = np.tensordot(sign, smooth.mean, 1)
        gap = liking[at] - liking[beside].mean(axis=0)
        rows.append(gap - gap.mean())
    draws = np.array(rows)
    lower, upper = np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    positive = (draws > 0).mean(axis=0)
    member = crossing.belongs
    categories = np.array(crossing.categories, dtype=object)
    table = pd.DataFrame(
        {
            # Objects, because pandas' own text refuses a lone surrogate.
            "word": pd.Series(crossing.words, dtype=object),
            "categories": pd.Series([", ".join(categories[row]) for row in member], dtype=object),
            "mean": draws.mean(axis=0),
            "sd": draws.std(axis=0, ddof=1),
            "lower": lower,
            "upper": upper,
            "p_direction": np.maximum(positive, 1 - positive),
        }
    )
    order = table["mean"].abs().sort_values(ascending=False, kind="stable").index
    table = table.loc[order].reset_index(drop=True)
    table.attrs |= {"draws": len(draws), "prob": prob}
    return table
