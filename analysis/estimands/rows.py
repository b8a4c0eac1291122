"""Rows of the design: combinations of its columns worth reporting, and what each compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.formula import Factor, ModelDesign
from valuebias.analysis.estimands.cells import OBSERVED, make_cells
from valuebias.analysis.estimands.estimand import DIFFERENCE, LEAN, OVERALL, SLOPE, Estimand
from valuebias.analysis.estimands.weights import Contrast, category_contrasts, named_framings
from valuebias.errors import ValueBiasError, did_you_mean, shown

__all__ = [
    "NO_FOCUS",
    "Combination",
    "Focus",
    "Row",
    "focused_rows",
    "headline_combination",
    "headline_factor",
    "level_rows",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Focus:
    """What the headline, the tables and the figures of a fit are about."""

    pair: tuple[str, str] | None = None  # the two levels that are compared first
    by: tuple[str, ...] = ()  # variables within whose levels that is done
    at: Mapping[str, Any] = field(default_factory=dict)  # values that variables are set to
    # Whether the pair is the one with the largest difference, rather than the user's.
    largest: bool = False
    framing: str | None = None  # of the prompts, where not all count, signed by it

    @property
    def first_values(self) -> dict[str, Any]:
        """What variables are set to in the row in front: of several values each the first."""
        return {n: v[0] if isinstance(v, list) else v for n, v in self.at.items()}

    def without_pair(self) -> Focus:
        """Return the same for another variable."""
        return replace(self, pair=None, largest=False)


NO_FOCUS = Focus()


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


def level_rows(design: ModelDesign, factor: Factor, focus: Focus = NO_FOCUS) -> list[Row]:
    """Rows of the differences between levels, the focus's first, and of the levels' means."""
    name, own_names = factor.expression, {factor.expression, *factor.names}
    by = [variable for variable in focus.by if variable not in own_names]
    at = {variable: value for variable, value in focus.at.items() if variable not in own_names}
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


def headline_factor(design: ModelDesign, pair: tuple[str, str] | None = None) -> Factor | None:
    """Return the variable whose levels the headline compares: that of the pair, else the first."""
    factors = [f for f in _ordered(design) if f.categorical]
    if pair is None:
        return factors[0] if factors else None
    if not isinstance(pair, tuple | list) or len(pair) != 2 or pair[0] == pair[1]:
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


def focused_rows(crossing: Crossing, focus: Focus) -> list[Row]:
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
    framing = next(iter(named_framings(crossing.framings, focus.framing).values()))
    category = next(iter(category_contrasts(crossing.categories, contrast).values()))
    return Combination(
        focused_rows(crossing, focus)[0].row, framing, crossing.contrast_weights(category)
    )
