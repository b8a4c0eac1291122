"""Rows of a design for the cells of a question: levels and numbers that the models are set to.

A mean over models with some variables set to given values is a weighted mean of design rows, and
so is every difference or slope. The weights of the other variables are either those of the models
at hand, as in marginaleffects, or equal over their levels with numbers at their mean, as in
emmeans.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.design.expressions import compute
from valuebias.analysis.design.formula import Factor, ModelDesign
from valuebias.analysis.design.grammar import check_expression
from valuebias.errors import ValueBiasError, did_you_mean, few, shown

__all__ = [
    "EQUAL",
    "OBSERVED",
    "Cell",
    "averaging",
    "cells_values",
    "check_number",
    "factor_of",
    "make_cells",
    "n_models",
    "number_of",
    "outside",
    "slope_row",
    "value_text",
    "values_of",
]

Array = NDArray[np.float64]
Value = str | float

OBSERVED, EQUAL = "observed", "equal"
_MOST_ROWS = 1_000_000
_LARGEST = 1e30
# Central differences: the error of the second order balances that of rounding.
_STEP = 1e-5


@dataclass(frozen=True)
class Cell:
    """Values that variables are set to, and the design rows that are averaged over."""

    values: Mapping[str, Value]  # by variable, in the order asked for
    table: pd.DataFrame  # the models that stand for the others' distribution, so set
    n_models: int  # how many models at hand have these levels

    def row(self, design: ModelDesign, more: Mapping[str, Value] | None = None) -> Array:
        """Mean design row, with more variables set to values."""
        return np.asarray(design.rows(_set(design, self.table, more or {})).mean(axis=0))

    def label(self, names: Iterable[str]) -> str:
        """Write the values of some variables alone, such as "Llama, reward"."""
        return ", ".join(value_text(self.values[name]) for name in names)

    def where(self, but: Iterable[str] = ()) -> str:
        """Write the values with their variables, such as "stage = reward, n_params = 8e+09"."""
        left = [name for name in self.values if name not in but]
        return ", ".join(f"{name} = {value_text(self.values[name])}" for name in left)


def cells_values(cells: Iterable[Cell]) -> dict[str, list[Value]]:
    """Collect the values that variables are set to in some cells, each once."""
    out: dict[str, dict[Value, None]] = {}
    for cell in cells:
        for name, value in cell.values.items():
            out.setdefault(name, {})[value] = None
    return {name: list(values) for name, values in out.items()}


def value_text(value: Value) -> str:
    """Write a level or a number."""
    if isinstance(value, str):
        return value
    plain, short = f"{value:.12g}", f"{value:.4g}"
    return short if float(short) == value and len(short) < len(plain) else plain


def make_cells(
    design: ModelDesign,
    by: Sequence[str],
    at: Mapping[str, Any] | None,
    weights: str,
    *,
    apart: Iterable[str] = (),
) -> list[Cell]:
    """Make a cell of every combination of the levels of `by` and the values of `at`.

    ``apart`` names variables that the caller sets itself, which need no reference.
    """
    if weights not in (OBSERVED, EQUAL):
        raise ValueBiasError(
            f"weights is {shown(weights)}. {did_you_mean(weights, (OBSERVED, EQUAL))}"
        )
    at = {} if at is None else at
    if not isinstance(at, Mapping):
        raise ValueBiasError(
            f"at must map variables to values, such as {{'n_params': 8e9}}, found {shown(at)}."
        )
    levels: dict[str, list[Value]] = {}
    for name in by:
        if name in levels or name in at:
            raise ValueBiasError(f"{name!r} is named twice; leave it out of by= or at=.")
        levels[name] = [*factor_of(design, name, "by").levels]
    for name, values in at.items():
        levels[name] = values_of(design, name, values)
    both = sorted({*apart} & levels.keys())
    if both:
        raise ValueBiasError(f"{both[0]!r} is compared, so it cannot be in by= or at= as well.")
    fixed = {*levels, *apart}
    table = _reference(design, weights, fixed)
    cells = []
    size = math.prod(map(len, levels.values()))
    if size * len(table) > _MOST_ROWS:
        raise ValueBiasError(
            f"by= and at= make {size:,} cells of {len(table):,} rows each, of {_MOST_ROWS:,} rows "
            "at most; name fewer variables or values."
        )
    for combination in itertools.product(*levels.values()):
        chosen = dict(zip(levels, combination, strict=True))
        cells.append(Cell(chosen, _set(design, table, chosen), n_models(design, chosen)))
    return cells


def outside(design: ModelDesign, values: Mapping[str, Any]) -> str:
    """Say which numbers are set beyond those of the models at hand; empty where none is."""
    said = []
    for name, given in values.items():
        column = design.models.get(name)
        # True and False are levels.
        if column is not None and column.dtype != bool and pd.api.types.is_numeric_dtype(column):
            have = np.asarray(design.models[name], dtype=np.float64)
            low, high = np.nanmin(have), np.nanmax(have)
            far = [x for x in np.atleast_1d(given).tolist() if not low <= float(x) <= high]
            if far:
                ends = f"{value_text(float(low))} to {value_text(float(high))}"
                beyond = ", ".join(value_text(float(x)) for x in far)
                said.append(
                    f"The models at hand have {name} from {ends}, not {beyond}: the formula alone "
                    "says what is there."
                )
    return " ".join(said)


def averaging(design: ModelDesign, weights: str, fixed: Iterable[str]) -> str:
    """Say what the variables that are not set stand at."""
    others = [f.expression for f in design.variables if not (f.names | {f.expression}) & {*fixed}]
    if not others:
        return "Every variable of the formula is set."
    named = ", ".join(others)
    if weights == OBSERVED:
        return f"Averaged over the {len(design.models)} models at hand as to {named}."
    numbers = [
        f.expression for f in design.variables if f.expression in others and f.scale is not None
    ]
    levels = [name for name in others if name not in numbers]
    parts = [f"all levels of {', '.join(levels)} count the same"] if levels else []
    if numbers:
        parts.append(f"what {', '.join(numbers)} is made of is at its mean over models")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def factor_of(design: ModelDesign, name: str, argument: str) -> Factor:
    """Find a variable with levels by the name of its coordinate or as the formula writes it."""
    for factor in design.variables:
        if factor.categorical and name in (factor.expression, *factor.names):
            return factor
    known = [f.expression for f in design.variables if f.categorical]
    for factor in design.variables:
        if name in (factor.expression, *factor.names):
            number = min(factor.names)
            advice = "pair=(..., ...)" if argument == "variable" else f"at={{{number!r}: [...]}}"
            raise ValueBiasError(f"{name!r} is a number, which has no levels; give {advice}.")
    if not known:
        raise ValueBiasError(
            f"{argument} names {shown(name)}, but the formula {design.formula!r} has no variable "
            "with levels."
        )
    raise ValueBiasError(
        f"{argument} names {shown(name)}, which the formula {design.formula!r} lacks. "
        f"{did_you_mean(name, known)}"
    )


def slope_row(design: ModelDesign, cell: Cell, name: str) -> Array:
    """Mean change of the design row per unit of a number or of an expression of one.

    The derivative by the chain rule, averaged over the cell's models: exact up to rounding where
    the formula is linear in the expression, else by central differences.
    """
    coordinate = number_of(design, name)
    at = np.asarray(cell.table[coordinate], dtype=np.float64)
    width = float(np.ptp(np.asarray(design.models[coordinate], dtype=np.float64)))
    step = _STEP * np.where(at == 0, width, np.minimum(np.abs(at), width))
    tables = [cell.table.assign(**{coordinate: at + sign * step}) for sign in (1, -1)]
    rise = design.rows(tables[0]) - design.rows(tables[1])
    run = compute(name, tables[0])[0] - compute(name, tables[1])[0]
    if not (np.isfinite(rise).all() and np.isfinite(run).all() and (run != 0).all()):
        raise ValueBiasError(
            f"the slope of {name!r} is not finite at all values of {coordinate!r} asked for; set "
            f"others with at={{{coordinate!r}: ...}}."
        )
    return np.asarray((rise / run).mean(axis=0))


def number_of(design: ModelDesign, name: str) -> str:
    """Find the one number that an expression is made of."""
    numbers = {n for f in design.variables if not f.categorical for n in f.names}
    if name in numbers:
        return name
    known = [f.expression for f in design.variables if not f.categorical]
    for factor in design.variables:
        if factor.categorical and name in (factor.expression, *factor.names):
            raise ValueBiasError(f"{name!r} has levels and no slope; use comparisons({name!r}).")
    try:
        inside = check_expression(name) if isinstance(name, str) else set()
    except ValueBiasError:
        inside = set()
    if len(inside) == 1 and inside <= numbers and not name.startswith(("poly(", "bs(")):
        return inside.pop()
    if not known:
        raise ValueBiasError(
            f"the formula {design.formula!r} has no number, so there is no slope; fit one such as "
            "'~ family + log10(n_params)'."
        )
    single = sorted(numbers)
    raise ValueBiasError(
        f"{shown(name)} is not a number of the formula {design.formula!r}, nor made of one. "
        f"{did_you_mean(str(name), [*known, *single])}"
    )


def values_of(design: ModelDesign, name: str, values: Any, argument: str = "at") -> list[Value]:
    """Check the values that a variable is set to."""
    several = list(np.atleast_1d(values)) if isinstance(values, np.ndarray) else values
    several = list(several) if isinstance(several, list | tuple | pd.Series) else [several]
    if not several:
        raise ValueBiasError(f"{argument} gives no value of {name!r}; give one or leave it out.")
    for factor in design.variables:
        if factor.categorical and name in (factor.expression, *factor.names):
            return [_level(factor, value) for value in several]
    numbers = {n for f in design.variables if not f.categorical for n in f.names}
    if name not in numbers:
        known = [n for f in design.variables for n in sorted(f.names)]
        raise ValueBiasError(
            f"{argument} names {shown(name)}, not a variable of the formula {design.formula!r}. "
            f"{did_you_mean(str(name), known)}"
        )
    out: list[Value] = []
    for value in several:
        # A fit from before has True and False as numbers.
        truth = name in design.models and design.models[name].dtype == bool
        if (isinstance(value, bool | np.bool_) and not truth) or not isinstance(
            value, int | float | np.number | np.bool_
        ):
            raise ValueBiasError(f"{argument} sets {name!r} to {shown(value)}; give a number.")
        check_number(name, value, argument)
        out.append(float(value))
    return out


def check_number(name: str, value: Any, argument: str) -> None:
    """Refuse what would make infinite estimates."""
    if abs(float(value)) > _LARGEST:
        raise ValueBiasError(
            f"{argument} sets {name!r} to {shown(value)}, which no model has; give a number below "
            f"{_LARGEST:g}."
        )


def _level(factor: Factor, value: Any) -> str:
    level = factor.level_of(value)
    if level not in factor.levels:
        raise ValueBiasError(
            f"{shown(value)} is not a level of {factor.expression!r}. "
            f"{did_you_mean(str(value), factor.levels)}"
        )
    return level


def _reference(design: ModelDesign, weights: str, fixed: set[str]) -> pd.DataFrame:
    """Return the models to average over: those at hand, or each combination of levels once."""
    models = design.models
    if weights == OBSERVED:
        return models
    names = list(dict.fromkeys(n for f in design.variables for n in sorted(f.names)))
    levels: list[list[Any]] = []
    for name in names:
        factor = next(f for f in design.variables if name in f.names)
        if not factor.categorical:
            levels.append([float(np.mean(np.asarray(models[name], dtype=np.float64)))])
        elif name in fixed or factor.expression in fixed:
            levels.append([models[name].iloc[0]])
        else:
            levels.append(models[name].drop_duplicates().tolist())
    size = math.prod(map(len, levels))
    if size > _MOST_ROWS:
        raise ValueBiasError(
            f"weights='equal' makes {size:,} combinations of levels, of {_MOST_ROWS:,} at most; "
            f"set some variables with at=, or use weights='observed'."
        )
    return pd.DataFrame(list(itertools.product(*levels)), columns=names)


def _set(design: ModelDesign, table: pd.DataFrame, values: Mapping[str, Value]) -> pd.DataFrame:
    """Set variables of all rows to values."""
    columns: dict[str, Any] = {}
    for name, value in values.items():
        factor = next(f for f in design.variables if name in (f.expression, *f.names))
        column = next(iter(factor.names)) if factor.categorical else name
        columns[column] = value
        if factor.categorical:
            # As the models have it: a level of C(seed) is a number there.
            known = design.models[column]
            columns[column] = known[known.astype(str) == value].iloc[0]
    out = table.assign(**columns) if columns else table
    bad = [
        f.expression
        for f in design.variables
        if not f.categorical
        and f.names & columns.keys()
        and not np.isfinite(compute(f.expression, out, f.state)[0]).all()
    ]
    if bad:
        raise ValueBiasError(f"{few(bad)} is not finite at {columns}; give other values with at=.")
    return out


def n_models(design: ModelDesign, values: Mapping[str, Value]) -> int:
    """Count the models at hand that have the levels, whatever their numbers."""
    have = np.ones(len(design.models), dtype=bool)
    for factor in design.variables:
        named = {factor.expression, *factor.names} & values.keys()
        if factor.categorical and named:
            column = design.models[next(iter(factor.names))].astype(str).to_numpy()
            have &= column == str(values[next(iter(named))])
    return int(have.sum())
