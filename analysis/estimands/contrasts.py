"""Estimands as named posterior draws.

A *lean* is the difference of two categories' mean outcomes (agency − communion). Under positive
framing a higher reward means liking, under negative framing the reverse, so the signed lean is half
the difference of the leans under positive and negative framing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.formula import Factor
from valuebias.analysis.estimands.diagnostics import describe_draws
from valuebias.analysis.estimands.effects import EffectDraws
from valuebias.errors import ValueBiasError, did_you_mean

__all__ = [
    "DIFFERENCE",
    "LEAN",
    "MODEL",
    "OVERALL",
    "PREDICTED",
    "TURNED",
    "CategoryPair",
    "Combination",
    "Estimand",
    "category_contrasts",
    "estimands",
    "framing_contrasts",
    "headline_combination",
    "named_framings",
    "stack_draws",
    "summarise_contrasts",
]

Array = NDArray[np.float64]

TURNED = "negative, turned"
"""Name of the lean under negative prompts alone with its sign turned, so that it is of liking."""


DIFFERENCE, LEAN, PREDICTED, SLOPE = "difference", "lean", "predicted lean", "slope"
SLOPE_DIFFERENCE, WORD_SLOPE = "slope difference", "word slope"
OVERALL, MODEL, BASE = "overall", "model", "base"
THESE_WORDS, UNADJUSTED = "these words", "unadjusted"
COLUMNS = ("kind", "name", "framing", "category",
           "form", "variable", "first", "second", "over", "against", "variant")  # fmt: skip
"""The columns that name an estimand: in words, then its parts."""


class CategoryPair(NamedTuple):
    """Two categories that are compared; the second is empty for the mean of all others."""

    first: str
    second: str

    @property
    def label(self) -> str:
        """Such as ``"agency − communion"``."""
        return f"{self.first} − {self.second or 'others'}"


@dataclass(frozen=True)
class Estimand:
    """One quantity of interest and its posterior draws."""

    # One of the words above: the difference between two levels of a factor, the lean of one, the
    # lean predicted for an unseen model, the slope of a number that describes models, what a
    # covariate of words does in one level less what it does in another, or in all models.
    form: str
    # Of the formula, such as "family"; "base", "model" or "overall" of leans of these.
    variable: str
    # First, second: the levels compared; of one level, model, base or number the second is empty.
    first: str
    second: str
    # ``"signed"``, ``"positive"`` or ``"negative"``; of prompts of one framing see
    # :func:`named_framings`.
    framing: str
    # Over, against: the categories compared, as in :class:`CategoryPair`; or a covariate of words,
    # and nothing.
    over: str
    against: str
    draws: Array  # (draw,): chains one after the other, in units of the outcome
    # "these words" where it does not generalise over words, "unadjusted" for their covariates.
    variant: str = ""

    @property
    def kind(self) -> str:
        """The estimand in words: "family difference, these words"."""
        words = {
            DIFFERENCE: f"{self.variable} difference",
            LEAN: f"{self.variable} lean",
            SLOPE_DIFFERENCE: f"{self.variable} difference in slope",
            WORD_SLOPE: "slope of words",
        }.get(self.form, self.form)
        return f"{words}, {self.variant}" if self.variant else words

    @property
    def name(self) -> str:
        """The levels compared: "Gemma − Llama"."""
        return f"{self.first} − {self.second}" if self.second else self.first

    @property
    def category(self) -> str:
        """The categories compared: "agency − communion"; or the covariate."""
        if self.form in (SLOPE_DIFFERENCE, WORD_SLOPE):
            return self.over
        return CategoryPair(self.over, self.against).label


@dataclass(frozen=True)
class Combination:
    """Weights on the coefficients that make up an estimand."""

    row: Array  # (column,): on the design's columns
    framing: Array  # (framing,)
    axis: Array  # (axis,)


def headline_combination(crossing: Crossing, contrast: tuple[str, str] | None) -> Combination:
    """Return the first of :func:`estimands` as weights."""
    framing = next(iter(named_framings(crossing.framings).values()))
    category = next(iter(category_contrasts(crossing.categories, contrast).values()))
    return Combination(_rows(crossing)[0].row, framing, crossing.contrast_weights(category))


def category_contrasts(
    categories: tuple[str, ...], contrast: tuple[str, str] | None
) -> dict[CategoryPair, Array]:
    """Weights on the categories by the two that are compared.

    With a pair, that pair; with two categories, agency first or else the first; with more, each
    category against the mean of the others.
    """
    lowered = [c.lower() for c in categories]
    if contrast is None and {"agency", "communion"} <= set(lowered):
        contrast = (categories[lowered.index("agency")], categories[lowered.index("communion")])
    elif contrast is None and len(categories) == 2:
        contrast = (categories[0], categories[1])
    n = len(categories)
    if contrast is not None:
        _check_contrast(contrast, categories)
        weights = np.zeros(n)
        weights[categories.index(contrast[0])] = 1.0
        weights[categories.index(contrast[1])] = -1.0
        return {CategoryPair(*contrast): weights}
    out = {}
    for i, name in enumerate(categories):
        weights = np.full(n, -1.0 / (n - 1))
        weights[i] = 1.0
        out[CategoryPair(name, "")] = weights
    return out


def _check_contrast(contrast: tuple[str, str], categories: tuple[str, ...]) -> None:
    if not isinstance(contrast, tuple | list) or len(contrast) != 2:
        raise ValueBiasError(
            f"contrast must be a pair of categories such as {categories[:2]}, found {contrast!r}."
        )
    for name in contrast:
        if name not in categories:
            raise ValueBiasError(
                f"contrast names the category {name!r}, which the dataset lacks. "
                f"{did_you_mean(name, categories)}"
            )
    if contrast[0] == contrast[1]:
        raise ValueBiasError(f"contrast compares {contrast[0]!r} with itself; name two categories.")


def framing_contrasts(framings: tuple[str, ...]) -> dict[str, Array]:
    """Weights on the framings: signed first, then each framing present."""
    sign = np.array([1.0 if f == "positive" else -1.0 for f in framings])
    out = {"signed": sign / len(framings)}
    out |= {name: np.eye(len(framings))[i] for i, name in enumerate(framings)}
    return out


def named_framings(framings: tuple[str, ...]) -> dict[str, Array]:
    """Weights on the framings as estimands are named, the headline's first.

    Of prompts of one framing nothing is signed by framing: the lean under positive prompts is that,
    and under negative ones what is liked has the sign turned.
    """
    known = framing_contrasts(framings)
    if len(framings) == 2:
        return known
    only = {framings[0]: known[framings[0]]}
    return only if framings[0] == "positive" else {TURNED: known["signed"], **only}


def estimands(
    crossing: Crossing,
    components: Components,
    effects: EffectDraws,
    v: Array,
    contrast: tuple[str, str] | None,
    rng: np.random.Generator,
) -> list[Estimand]:
    """All estimands, the headline first."""
    rows = _rows(crossing)
    framings = named_framings(crossing.framings)
    first = next(iter(framings))
    out = []
    for categories, weights in category_contrasts(crossing.categories, contrast).items():
        on_axes = crossing.contrast_weights(weights)
        coefficient = effects.coefficient @ on_axes  # (draw, column, framing)
        these_words = (effects.coefficient + effects.word_shift) @ on_axes
        unadjusted = effects.coefficient @ crossing.unadjusted_weights(weights)
        model, base = effects.model @ on_axes, effects.base @ on_axes
        unseen = _Unseen(crossing, components, v, weights, rng)
        for framing, sign in framings.items():
            by_column, on_these = coefficient @ sign, these_words @ sign
            under = (framing, *categories)
            for combination in rows:
                out.append(combination.estimand(under, by_column @ combination.row))
                if combination.form == DIFFERENCE and framing == first:
                    out.append(combination.estimand(under, on_these @ combination.row, THESE_WORDS))
                    if crossing.covariate_names:
                        draws = unadjusted @ sign @ combination.row
                        out.append(combination.estimand(under, draws, UNADJUSTED))
                if combination.form == LEAN and combination.variable != OVERALL:
                    # One draw of a model for all framings; of a family's own spread where it has.
                    who = combination.first if combination.variable == "family" else None
                    new, on_these_new = unseen.models(who), unseen.on_these_words(who)
                    predicted = replace(combination, form=PREDICTED)
                    out.append(predicted.estimand(under, by_column @ combination.row + new @ sign))
                    draws = on_these @ combination.row + (new + on_these_new) @ sign
                    out.append(predicted.estimand(under, draws, THESE_WORDS))
            kinds = by_column @ crossing.design.matrix.T
            leans = kinds + model @ sign
            for m, name in enumerate(crossing.models):
                out.append(Estimand(LEAN, MODEL, str(name), "", *under, leans[:, m]))
            out += _base_leans(crossing, kinds + base @ sign, under)
    out += _covariate_slopes(crossing, effects, rows)
    order = {key: i for i, key in enumerate(dict.fromkeys((r.form, r.variable) for r in rows))}
    framing_order = {name: i for i, name in enumerate(framings)}
    return sorted(
        out,
        key=lambda e: (
            order.get((e.form, e.variable), len(order)),
            bool(e.variant),
            framing_order[e.framing],
        ),
    )


def _base_leans(crossing: Crossing, leans: Array, under: tuple[str, str, str]) -> list[Estimand]:
    """Leans of the bases, where models share some; ``leans`` (draw, model) without models' own."""
    base = crossing.space.group("base")
    if base is None:
        return []
    return [
        Estimand(LEAN, BASE, name, "", *under, leans[:, base.labels == name].mean(axis=1))
        for name in dict.fromkeys(base.labels.tolist())
    ]


def _covariate_slopes(crossing: Crossing, effects: EffectDraws, rows: list[_Row]) -> list[Estimand]:
    """Return the effects of one SD of a word's covariate, categories held fixed."""
    out = []
    for k, covariate in enumerate(crossing.covariate_names):
        slope = effects.coefficient @ crossing.to_slope[:, k]
        for framing, sign in framing_contrasts(crossing.framings).items():
            for combination in rows:
                form = {DIFFERENCE: SLOPE_DIFFERENCE, LEAN: WORD_SLOPE}.get(combination.form)
                if form == SLOPE_DIFFERENCE or combination.variable == OVERALL:
                    draws = slope @ sign @ combination.row
                    other = replace(combination, form=str(form))
                    out.append(other.estimand((framing, covariate, ""), draws))
    return out


@dataclass(frozen=True)
class _Row:
    """A combination of design columns worth reporting, and what it compares."""

    form: str
    variable: str
    first: str
    second: str
    row: Array

    def estimand(self, under: tuple[str, str, str], draws: Array, variant: str = "") -> Estimand:
        """Name the draws by this row, the framing and the categories."""
        head = (self.form, self.variable, self.first, self.second)
        return Estimand(*head, *under, draws, variant)


def _rows(crossing: Crossing) -> list[_Row]:
    """Return the combinations of design columns worth reporting."""
    design = crossing.design
    rows: list[_Row] = []
    # The family first, wherever in the formula it is: it is the package's question.
    factors = sorted(design.variables, key=lambda f: f.expression != "family")
    for factor in factors:
        if factor.categorical:
            rows += _level_rows(crossing, factor)
    for factor in factors:
        if not factor.categorical:
            slopes = [design.slope_row(factor, k) for k in range(len(factor.labels))]
            rows += [
                _Row(SLOPE, factor.expression, label, "", row)
                for label, row in zip(factor.labels, slopes, strict=True)
            ]
    return [*rows, _Row(LEAN, OVERALL, "all models", "", design.matrix.mean(axis=0))]


def _level_rows(crossing: Crossing, factor: Factor) -> list[_Row]:
    means = {level: crossing.design.average_row(factor, level) for level in factor.levels}
    name = factor.expression
    pairs = combinations(factor.levels, 2)
    differences = [_Row(DIFFERENCE, name, a, b, means[a] - means[b]) for a, b in pairs]
    return differences + [_Row(LEAN, name, level, "", row) for level, row in means.items()]


class _Unseen:
    """A model that was not scored, on a base of its own: how its lean departs from its kind."""

    def __init__(
        self,
        crossing: Crossing,
        components: Components,
        v: Array,
        weights: Array,
        rng: np.random.Generator,
    ) -> None:
        self._space, self._components, self._v = crossing.space, components, v
        on_words = crossing.word_basis @ crossing.contrast_weights(weights)
        self._sizes = {"category": weights @ weights, "word": on_words @ on_words}
        shape = (len(v), components.n_framings)
        self._noise = {kind: rng.standard_normal(shape) for kind in self._sizes}

    def models(self, family: str | None) -> Array:
        """Draw its departure in what it makes of categories, (draw, framing)."""
        return self._draw("category", family)

    def on_these_words(self, family: str | None) -> Array:
        """Draw what its own likings of the words at hand add to its lean, (draw, framing)."""
        return self._draw("word", family)

    def _draw(self, level: str, family: str | None) -> Array:
        covariance = np.zeros((len(self._v), *(self._components.n_framings,) * 2))
        for name in self._components.model_level(level):
            shares = self._shares(len(self._components[name].index), family)
            for kind, share in enumerate(shares):
                if share:
                    covariance += share * self._components.covariance(name, self._v, kind)
        # Two framings at most: Cholesky would fail at a correlation of ±1, this does not.
        values, vectors = np.linalg.eigh(covariance * self._sizes[level])
        noise = self._noise[level] * np.sqrt(np.maximum(values, 0))
        return np.asarray(np.einsum("sfg,sg->sf", vectors, noise))

    def _shares(self, n_kinds: int, family: str | None) -> Array:
        """Weigh the families' variances: one family's own, else as the models at hand."""
        if n_kinds == 1:
            return np.ones(1)
        if family in self._space.kinds:
            return np.asarray(np.eye(n_kinds)[self._space.kinds.index(str(family))])
        counts = np.bincount(self._space.kind_of, minlength=n_kinds)
        return np.asarray(counts / counts.sum())


def stack_draws(items: list[Estimand], chains: int) -> xr.DataArray:
    """Draws of all estimands as (chain, draw, estimand)."""
    values = np.stack([e.draws for e in items], axis=-1)
    values = values.reshape(chains, -1, len(items))
    labels = [f"{e.kind} | {e.name} | {e.framing} | {e.category}" for e in items]
    return xr.DataArray(
        values,
        dims=("chain", "draw", "estimand"),
        coords={
            "estimand": labels,
            **{name: ("estimand", [getattr(e, name) for e in items]) for name in COLUMNS},
        },
    )


def summarise_contrasts(
    draws: xr.DataArray, prob: float, rope: float, agreed: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per estimand: summary, probability of direction, probability within ±``rope``.

    ``agreed`` is as for :func:`describe_draws`.
    """
    flat = draws.to_numpy().reshape(-1, draws.sizes["estimand"])
    positive = (flat > 0).mean(axis=0)
    # Objects, because pandas' own text refuses a lone surrogate in a model's name.
    columns = {name: draws[name].to_numpy().astype(object) for name in COLUMNS}
    table = pd.DataFrame(columns, dtype=object).rename(columns={"kind": "estimand"})
    body = describe_draws(draws, prob, agreed).reset_index(drop=True)
    body.insert(5, "p_direction", np.maximum(positive, 1 - positive))
    body.insert(6, "p_rope", (np.abs(flat) < rope).mean(axis=0))
    return pd.concat([table.iloc[:, :4], body, table.iloc[:, 4:]], axis=1)
