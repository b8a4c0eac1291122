"""Estimands as named posterior draws.

A *lean* is the difference of two categories' mean outcomes (agency − communion). Under positive
framing a higher reward means liking, under negative framing the reverse, so the signed lean is half
the difference of the leans under positive and negative framing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.formula import Factor, ModelDesign
from valuebias.analysis.estimands.cells import OBSERVED, make_cells
from valuebias.analysis.estimands.diagnostics import describe_draws
from valuebias.analysis.estimands.effects import EffectDraws
from valuebias.errors import ValueBiasError, did_you_mean, shown

__all__ = [
    "COLUMNS",
    "DIFFERENCE",
    "DOUBLE_DIFFERENCE",
    "HYPOTHESIS",
    "LEAN",
    "MODEL",
    "NO_FOCUS",
    "OVERALL",
    "PREDICTED",
    "SLOPE",
    "TURNED",
    "CategoryPair",
    "Combination",
    "Contrast",
    "Estimand",
    "Focus",
    "Row",
    "Unseen",
    "category_contrasts",
    "estimands",
    "framing_contrasts",
    "headline_combination",
    "headline_factor",
    "level_rows",
    "make_estimands",
    "named_framings",
    "read_contrast",
    "stack_draws",
    "store_contrast",
    "summarise_contrasts",
]

Array = NDArray[np.float64]

Contrast = tuple[str, str] | Mapping[str, float]
"""Two categories to compare, or the weight of each category that takes part."""

TURNED = "negative, turned"
"""Name of the lean under negative prompts alone with its sign turned, so that it is of liking."""


DIFFERENCE, LEAN, PREDICTED, SLOPE = "difference", "lean", "predicted lean", "slope"
HYPOTHESIS, DOUBLE_DIFFERENCE = "hypothesis", "difference of differences"
SLOPE_DIFFERENCE, WORD_SLOPE = "slope difference", "word slope"
OVERALL, MODEL, BASE = "overall", "model", "base"
THESE_WORDS, UNADJUSTED = "these words", "unadjusted"
_ZERO = 1e-9
COLUMNS = ("kind", "name", "framing", "category",
           "form", "variable", "first", "second", "over", "against", "variant", "at")  # fmt: skip
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
    at: str = ""  # what other variables are set to: "stage = reward"
    of_category: bool = False  # of one category, relative to the mean over categories

    @property
    def kind(self) -> str:
        """The estimand in words: "family difference, these words"."""
        words = {
            DIFFERENCE: f"{self.variable} difference",
            LEAN: f"{self.variable} {'mean' if self.of_category else 'lean'}",
            SLOPE_DIFFERENCE: f"{self.variable} difference in slope",
            WORD_SLOPE: "slope of words",
            DOUBLE_DIFFERENCE: f"{self.variable} difference of differences",
        }.get(self.form, self.form)
        return f"{words}, {self.variant}" if self.variant else words

    @property
    def name(self) -> str:
        """The levels compared: "Gemma − Llama"."""
        return f"{self.first} − {self.second}" if self.second else self.first

    @property
    def category(self) -> str:
        """The categories compared: "agency − communion"; or the covariate."""
        if self.of_category or self.form in (SLOPE_DIFFERENCE, WORD_SLOPE):
            return self.over
        return CategoryPair(self.over, self.against).label


@dataclass(frozen=True)
class Focus:
    """What the headline, the tables and the figures of a fit are about."""

    pair: tuple[str, str] | None = None  # the two levels that are compared first
    by: tuple[str, ...] = ()  # variables within whose levels that is done
    at: Mapping[str, Any] = field(default_factory=dict)  # values that variables are set to
    # Whether the pair is the one with the largest difference, rather than the user's.
    largest: bool = False

    def without_pair(self) -> Focus:
        """Return the same for another variable."""
        return replace(self, pair=None, largest=False)


NO_FOCUS = Focus()


@dataclass(frozen=True)
class Combination:
    """Weights on the coefficients that make up an estimand."""

    row: Array  # (column,): on the design's columns
    framing: Array  # (framing,)
    axis: Array  # (axis,)


def headline_combination(
    crossing: Crossing, contrast: Contrast | None, focus: Focus = NO_FOCUS
) -> Combination:
    """Return the first of :func:`estimands` as weights."""
    framing = next(iter(named_framings(crossing.framings).values()))
    category = next(iter(category_contrasts(crossing.categories, contrast).values()))
    return Combination(_rows(crossing, focus)[0].row, framing, crossing.contrast_weights(category))


def category_contrasts(
    categories: tuple[str, ...], contrast: Contrast | None
) -> dict[CategoryPair, Array]:
    """Weights on the categories by what is compared.

    With a pair, that pair; with weights, these; with two categories, agency first or else the
    first; with more, each category against the mean of the others.
    """
    lowered = [c.lower() for c in categories]
    if contrast is None and {"agency", "communion"} <= set(lowered):
        contrast = (categories[lowered.index("agency")], categories[lowered.index("communion")])
    elif contrast is None and len(categories) == 2:
        contrast = (categories[0], categories[1])
    if contrast is not None:
        weights = _check_contrast(contrast, categories)
        sides = [_side({c: w for c, w in weights.items() if w * s > 0}, s) for s in (1, -1)]
        return {CategoryPair(*sides): np.array([weights.get(c, 0.0) for c in categories])}
    n = len(categories)
    return {
        CategoryPair(name, ""): np.where(np.arange(n) == i, 1.0, -1.0 / (n - 1))
        for i, name in enumerate(categories)
    }


def read_contrast(stored: Any) -> Contrast | None:
    """Read a contrast as settings hold it: a list of two, or weights."""
    if not stored:
        return None
    if isinstance(stored, Mapping):
        return {str(name): float(weight) for name, weight in stored.items()}
    return (str(stored[0]), str(stored[1]))


def store_contrast(contrast: Contrast | None) -> list[str] | dict[str, float] | None:
    """Return a contrast as settings hold it, and JSON; see :func:`read_contrast`."""
    if isinstance(contrast, Mapping):
        return {name: float(weight) for name, weight in contrast.items()}
    return list(contrast) if contrast else None


def _side(weights: Mapping[str, float], sign: int) -> str:
    """Write one side of a contrast: "agency", or "(0.5 communion + 0.5 other)"."""
    parts = [f"{sign * w:.12g} {name}" if sign * w != 1 else name for name, w in weights.items()]
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _check_contrast(contrast: Contrast, categories: tuple[str, ...]) -> dict[str, float]:
    """Return the weights of a contrast."""
    if isinstance(contrast, Mapping):
        weights = dict(contrast)
        numbers = [
            isinstance(w, int | float | np.number) and not isinstance(w, bool) and np.isfinite(w)
            for w in weights.values()
        ]
        if not all(numbers) or not any(weights.values()) or abs(sum(weights.values())) > _ZERO:
            raise ValueBiasError(
                "the weights of contrast must be numbers that sum to zero, not all of them zero, "
                f"such as {{{categories[0]!r}: 1, {categories[-1]!r}: -1}}; found "
                f"{shown(contrast)}. Only differences between categories are known."
            )
    elif isinstance(contrast, tuple | list) and len(contrast) == 2:
        weights = {contrast[0]: 1.0, contrast[1]: -1.0}
    else:
        raise ValueBiasError(
            f"contrast must be a pair of categories such as {categories[:2]}, or a weight for each "
            f"category, found {shown(contrast)}."
        )
    for name in weights:
        if name not in categories:
            raise ValueBiasError(
                f"contrast names the category {name!r}, which the dataset lacks. "
                f"{did_you_mean(name, categories)}"
            )
    if len(weights) == 1:
        name = next(iter(weights))
        raise ValueBiasError(f"contrast compares {name!r} with itself; name two categories.")
    return {name: float(weight) for name, weight in weights.items()}


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
    contrast: Contrast | None,
    rng: np.random.Generator,
    focus: Focus = NO_FOCUS,
) -> list[Estimand]:
    """All estimands, the headline first."""
    rows = _rows(crossing, focus)
    framings = named_framings(crossing.framings)
    first = next(iter(framings))
    out = []
    for categories, weights in category_contrasts(crossing.categories, contrast).items():
        on_axes = crossing.contrast_weights(weights)
        coefficient = effects.coefficient @ on_axes  # (draw, column, framing)
        these_words = (effects.coefficient + effects.word_shift) @ on_axes
        unadjusted = effects.coefficient @ crossing.unadjusted_weights(weights)
        model, base = effects.model @ on_axes, effects.base @ on_axes
        unseen = Unseen(crossing, components, v, weights, rng)
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


def _covariate_slopes(crossing: Crossing, effects: EffectDraws, rows: list[Row]) -> list[Estimand]:
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
class Row:
    """A combination of design columns worth reporting, and what it compares."""

    form: str
    variable: str
    first: str
    second: str
    row: Array
    at: str = ""

    def estimand(self, under: tuple[str, str, str], draws: Array, variant: str = "") -> Estimand:
        """Name the draws by this row, the framing and the categories."""
        head = (self.form, self.variable, self.first, self.second)
        return Estimand(*head, *under, draws, variant, self.at)


def make_estimands(
    crossing: Crossing,
    effects: EffectDraws,
    rows: Iterable[Row],
    categories: Mapping[CategoryPair, Array],
) -> list[Estimand]:
    """Estimands of rows of the design, of models and words like these: by row, then framing."""
    rows, out = list(rows), []
    for pair, weights in categories.items():
        coefficient = effects.coefficient @ crossing.contrast_weights(weights)
        for framing, sign in named_framings(crossing.framings).items():
            by_column = coefficient @ sign
            out += [row.estimand((framing, *pair), by_column @ row.row) for row in rows]
    return out


def headline_factor(design: ModelDesign, pair: tuple[str, str] | None = None) -> Factor | None:
    """Return the variable whose levels the headline compares: that of the pair, else the first."""
    factors = [f for f in _ordered(design) if f.categorical]
    if pair is None:
        return factors[0] if factors else None
    if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
        example = factors[0].levels[:2] if factors else ("Gemma", "Llama")
        raise ValueBiasError(
            f"pair must be two different levels such as {example}, found {shown(pair)}."
        )
    for factor in factors:
        if {*pair} <= {*factor.levels}:
            return factor
    known = [level for factor in factors for level in factor.levels]
    wrong = next((level for level in pair if level not in known), None)
    if wrong is None:
        raise ValueBiasError(f"pair compares levels of two variables, {shown(pair)}; name one's.")
    names = " or ".join(repr(f.expression) for f in factors) or "a variable: there is none"
    raise ValueBiasError(f"{shown(wrong)} is not a level of {names}. {did_you_mean(wrong, known)}")


def _ordered(design: ModelDesign) -> list[Factor]:
    """Return the variables, the family first: it is the package's question."""
    return sorted(design.variables, key=lambda f: f.expression != "family")


def _rows(crossing: Crossing, focus: Focus) -> list[Row]:
    """Return the combinations of design columns worth reporting, the headline's first."""
    design = crossing.design
    chosen = headline_factor(design, focus.pair)
    factors = sorted(_ordered(design), key=lambda f: f is not chosen)
    rows: list[Row] = []
    for factor in factors:
        if factor.categorical:
            rows += level_rows(design, factor, focus if factor is chosen else focus.without_pair())
    for factor in factors:
        if not factor.categorical:
            slopes = [design.slope_row(factor, k) for k in range(len(factor.labels))]
            rows += [
                Row(SLOPE, factor.expression, label, "", row)
                for label, row in zip(factor.labels, slopes, strict=True)
            ]
    cell = make_cells(design, (), focus.at, OBSERVED)[0]
    return [*rows, Row(LEAN, OVERALL, "all models", "", cell.row(design), cell.where())]


def level_rows(design: ModelDesign, factor: Factor, focus: Focus = NO_FOCUS) -> list[Row]:
    """Rows of the differences between levels, the focus's first, and of the levels' means."""
    name, own = factor.expression, {factor.expression, *factor.names}
    by = [variable for variable in focus.by if variable not in own]
    at = {variable: value for variable, value in focus.at.items() if variable not in own}
    differences, leans = [], []
    for cell in make_cells(design, by, at, OBSERVED, apart=[name]):
        means = {level: cell.row(design, {name: level}) for level in factor.levels}
        pairs = list(combinations(factor.levels, 2))
        if focus.pair:
            pairs = [focus.pair, *(p for p in pairs if {*p} != {*focus.pair})]
        differences += [
            Row(DIFFERENCE, name, a, b, means[a] - means[b], cell.where()) for a, b in pairs
        ]
        leans += [Row(LEAN, name, level, "", row, cell.where()) for level, row in means.items()]
    return differences + leans


class Unseen:
    """A model that was not scored, on a base of its own: how its lean departs from its kind."""

    def __init__(
        self,
        crossing: Crossing,
        components: Components,
        v: Array,
        weights: Array,
        rng: np.random.Generator,
        known: tuple[str, ...] = (),
    ) -> None:
        # ``known`` names components whose effect on this model is known, which is not drawn.
        self._known = known
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
            if name in self._known:
                continue
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
    labels = [
        " | ".join([e.kind, e.name, e.framing, e.category, *([e.at] if e.at else [])])
        for e in items
    ]
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
