"""Turn an R formula over the coordinates of ``model`` into a zero-sum-coded design matrix.

The formula is parsed by formulaic, and worked out in :mod:`valuebias.analysis.design.expressions`.
Categorical variables are coded by orthonormal zero-sum contrasts, so no family is the reference:
the intercept is the unweighted mean over levels and the prior treats all levels alike. Numeric
columns are centred and scaled over the models at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula
from formulaic.errors import FormulaicError
from numpy.typing import NDArray
from scipy import linalg

from valuebias._core.text import as_number
from valuebias.analysis.design.expressions import State, compute
from valuebias.analysis.design.grammar import FUNCTIONS, check_expression, check_formula
from valuebias.errors import ValueBiasError, did_you_mean, few
from valuebias.schema.contract import STAGES

__all__ = ["Factor", "ModelDesign", "Term", "learn_factor", "parse_formula"]

_RANK_TOLERANCE = 1e-8
_TRUTH = ("False", "True")
_TRUTH_OF = {"false": "False", "true": "True", "0": "False", "1": "True", "0.0": "False",
             "1.0": "True"}  # fmt: skip
_MODELS_EXAMPLE = "~ family + log10(n_params)"


@dataclass(frozen=True)
class Factor:
    """One variable of a formula, with the coding learnt from the models at hand."""

    expression: str
    levels: tuple[str, ...] = ()
    state: State = field(default_factory=dict)
    centre: NDArray[np.float64] | None = None
    scale: NDArray[np.float64] | None = None
    labels: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    @property
    def categorical(self) -> bool:
        """Whether it has levels rather than numbers."""
        return bool(self.levels)

    @property
    def names(self) -> set[str]:
        """Coordinates that it is made of."""
        return set(self.inputs) or {_strip_c(self.expression)}

    def level_of(self, value: object) -> str:
        """Write a value as the level that people mean by it; as it is where there is none.

        pandas makes 1.0 of 1 beside a cell that is empty, and spreadsheets TRUE of True.
        """
        text = str(value)
        if text in self.levels:
            return text
        if self.levels == _TRUTH:
            return _TRUTH_OF.get(text.lower(), text)
        if isinstance(value, int | float | np.number) and not isinstance(value, bool):
            same = [level for level in self.levels if as_number(level) == value]
            return same[0] if len(same) == 1 else text
        return text

    def code(self, models: pd.DataFrame) -> NDArray[np.float64]:
        """Code the rows of ``models``; shape (model, columns of this factor)."""
        if self.categorical:
            column = models[_strip_c(self.expression)]
            values = np.array([self.level_of(value) for value in column], dtype=object)
            position = pd.Index(self.levels).get_indexer(pd.Index(values))
            if (position < 0).any():
                unknown = sorted(set(values[position < 0]))
                raise ValueBiasError(
                    f"'{self.expression}' has levels not seen when fitting: {unknown}; "
                    f"expected {list(self.levels)}."
                )
            return _zero_sum(len(self.levels))[position]
        if self.centre is None or self.scale is None:
            raise ValueBiasError(f"the numeric factor {self.expression!r} has not been learnt.")
        raw, _ = compute(self.expression, models, self.state)
        return np.asarray((raw - self.centre) / self.scale)


@dataclass(frozen=True)
class Term:
    """A term of the formula and the columns of the design matrix that it fills."""

    name: str
    columns: slice
    factors: tuple[Factor, ...] = ()

    @property
    def size(self) -> int:
        """Number of its columns."""
        return int(self.columns.stop - self.columns.start)


@dataclass(frozen=True)
class ModelDesign:
    """Design matrix over models."""

    formula: str  # as given
    # (model, column): first column is the intercept; other columns are zero-sum or centred codes.
    matrix: NDArray[np.float64]
    terms: tuple[Term, ...]  # in the order of the columns, the intercept first
    # The coordinates of the models at hand, one row per model.
    models: pd.DataFrame = field(repr=False)
    # Columns of each factor for the models at hand, by its expression.
    coded: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    def with_matrix(self) -> ModelDesign:
        """Return the same design with its factors multiplied out."""
        return replace(self, matrix=self.rows(self.models))

    def of_models(self, keep: NDArray[np.intp]) -> ModelDesign:
        """Return the design of some of the models, coded as before."""
        coded = {name: columns[keep] for name, columns in self.coded.items()}
        return replace(self, matrix=self.matrix[keep], models=self.models.iloc[keep], coded=coded)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, such as ``family[1]`` for the first zero-sum contrast."""
        names = ["mean"]
        for term in self.terms[1:]:
            parts = [""]
            for factor in term.factors:
                labels = factor.labels
                parts = [f"{a}:{b}" if a else b for a in parts for b in labels]
            names += parts
        return names

    @property
    def variables(self) -> list[Factor]:
        """The distinct factors of the formula, in order of appearance."""
        seen = {f.expression: f for term in self.terms for f in term.factors}
        return list(seen.values())

    def factor(self, name: str) -> Factor | None:
        """Return the factor called ``name``, or None where the formula lacks it."""
        return next((f for f in self.variables if f.expression == name), None)

    def rows(
        self, models: pd.DataFrame, codes: Mapping[str, NDArray[np.float64]] | None = None
    ) -> NDArray[np.float64]:
        """Code new models in the columns of ``matrix``; shape (model, column).

        ``codes`` replaces the coding of some factors by rows of its own, shape (columns,).
        """
        codes = codes or {}
        at_hand = self.coded if models is self.models else {}
        coded = {
            f.expression: np.broadcast_to(codes[f.expression], (len(models), len(f.labels)))
            if f.expression in codes
            else at_hand[f.expression]
            if f.expression in at_hand
            else f.code(models)
            for f in self.variables
        }
        blocks = [np.ones((len(models), 1))]
        blocks += [_product([coded[f.expression] for f in t.factors]) for t in self.terms[1:]]
        return np.concatenate(blocks, axis=1)

    def average_row(self, factor: Factor, level: str) -> NDArray[np.float64]:
        """Mean design row over the models at hand with one categorical factor set to ``level``.

        This is the row of an estimated marginal mean: other variables keep their observed
        distribution over the models.
        """
        code = _zero_sum(len(factor.levels))[factor.levels.index(level)]
        return np.asarray(self.rows(self.models, {factor.expression: code}).mean(axis=0))

    def slope_row(self, factor: Factor, column: int) -> NDArray[np.float64]:
        """Mean change of the design row for one unit more of a numeric factor's column."""
        if factor.scale is None:
            raise ValueBiasError(f"{factor.expression!r} is categorical; it has no slope.")
        unit = np.zeros(len(factor.labels))
        unit[column] = 1 / factor.scale[column]
        at_zero = self.rows(self.models, {factor.expression: 0 * unit})
        return np.asarray(
            (self.rows(self.models, {factor.expression: unit}) - at_zero).mean(axis=0)
        )


def parse_formula(formula: str, models: pd.DataFrame) -> ModelDesign:
    """Parse ``formula`` over the columns of ``models`` and code it."""
    parsed = _parse(formula, models)
    factors: dict[str, Factor] = {}
    terms = [Term("mean", slice(0, 1))]
    start = 1
    names = {
        frozenset(_factor_name(f.expr, models) for f in term.factors)
        for term in parsed
        if term.degree
    }
    for term in parsed:
        if not term.degree:
            continue
        expressions = [_factor_name(factor.expr, models) for factor in term.factors]
        _require_margins(expressions, names, formula)
        for expression in expressions:
            if expression not in factors:
                factors[expression] = learn_factor(expression, models)
        members = tuple(factors[e] for e in expressions)
        width = int(np.prod([len(f.labels) for f in members]))
        terms.append(Term(":".join(expressions), slice(start, start + width), members))
        start += width
    coded = {name: factor.code(models) for name, factor in factors.items()}
    design = ModelDesign(formula, np.empty((0, 0)), tuple(terms), models, coded).with_matrix()
    _require_full_rank(design.matrix, terms, f"{len(models)} {_rows_of(models)}")
    return design


def _parse(formula: str, models: pd.DataFrame) -> Sequence[Any]:
    if not isinstance(formula, str) or not formula.strip():
        raise ValueBiasError(
            f"formula must be text such as {_example(models)!r}, found {formula!r}."
        )
    check_formula(formula)
    try:
        parsed = Formula(formula)
    except (FormulaicError, SyntaxError) as error:
        raise ValueBiasError(
            f"formula {formula!r} cannot be read ({_plain(error)}); "
            f"write it as in R, for example {_example(models)!r}."
        ) from error
    if hasattr(parsed, "lhs") or hasattr(parsed, "rhs"):
        raise ValueBiasError(
            f"formula {formula!r} has a left-hand side; the outcome is chosen by outcome=, "
            "so start the formula with '~'."
        )
    if isinstance(parsed, tuple) or any(not hasattr(term, "degree") for term in parsed):
        raise ValueBiasError(
            f"formula {formula!r} has several parts (separated by '|'); random effects are built "
            f"in or written as '(1 | base)'; give the others as in {_example(models)!r}."
        )
    if not any(term.degree == 0 for term in parsed):
        raise ValueBiasError(
            f"formula {formula!r} removes the intercept, which every fit has; leave out '0 +' or "
            f"'- 1', as in {_example(models)!r}."
        )
    names = {str(name) for name in parsed.required_variables} - set(FUNCTIONS)
    _require_known(names, f"formula {formula!r}", models)
    return list(parsed)


def _require_known(names: Iterable[str], source: str, models: pd.DataFrame) -> None:
    """Refuse names that are not coordinates."""
    unknown = sorted(set(names) - set(models.columns))
    if unknown:
        name, dim = unknown[0], str(models.index.name or "model")
        raise ValueBiasError(
            f"{source} names {name!r}, which is not a coordinate on {dim!r}. "
            f"{did_you_mean(name, map(str, models.columns))} A further one is added by "
            f"dataset.assign_coords({{{name!r}: ({dim!r}, values)}}), with one value per {dim}."
        )


def _plain(error: Exception) -> str:
    """First line of formulaic's message without its terminal colours."""
    text = str(error).split("\n")[0]
    return text.strip().rstrip(".")


def _rows_of(table: pd.DataFrame) -> str:
    """Name the rows of a table: models or words."""
    return "words" if table.index.name == "response" else "models"


def _example(table: pd.DataFrame) -> str:
    """Return an example of a formula for the rows of a table."""
    return "~ log(frequency) + length" if _rows_of(table) == "words" else _MODELS_EXAMPLE


def _factor_name(expression: str, models: pd.DataFrame) -> str:
    """Text is categorical anyway, so ``C(family)`` is family; ``C(seed)`` makes a number so."""
    inner = _strip_c(expression)
    if inner in models.columns and _has_levels(models, inner):
        return inner
    return expression


def _has_levels(table: pd.DataFrame, name: str) -> bool:
    """Tell text from numbers; of models, True and False are levels, of words a number to adjust."""
    column = table[name]
    truth = pd.api.types.is_bool_dtype(column.dtype) and _rows_of(table) == "models"
    return truth or not pd.api.types.is_numeric_dtype(column)


def _strip_c(expression: str) -> str:
    if expression.startswith("C(") and expression.endswith(")") and "," not in expression:
        return expression[2:-1].strip()
    return expression


def _require_margins(expressions: list[str], names: set[frozenset[str]], formula: str) -> None:
    if len(expressions) == 1:
        return
    missing = [e for e in expressions if frozenset([e]) not in names]
    if missing:
        raise ValueBiasError(
            f"formula {formula!r} has the interaction {':'.join(expressions)} without the main "
            f"effect of {missing[0]!r}; write {'*'.join(expressions)} instead."
        )


def learn_factor(expression: str, models: pd.DataFrame) -> Factor:
    """Learn how to code a variable: contrasts of its levels, or centred and scaled numbers."""
    inner = _strip_c(expression)
    text = inner in models.columns and _has_levels(models, inner)
    if text or (inner != expression and inner in models.columns):
        return _learn_levels(expression, models[inner], _rows_of(models))
    names = {expression}
    if expression not in models.columns:
        names = check_expression(expression)
        _require_known(names, f"the term {expression!r}", models)
    values, state = compute(expression, models)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        rows = models.index[np.flatnonzero(bad)]
        raise ValueBiasError(
            f"term {expression!r} is not finite for {len(rows)} of {len(models)} "
            f"{_rows_of(models)}: {few(map(str, rows))}. Give these a value or leave the term "
            "out."
        )
    scale = values.std(axis=0)
    if (scale < _RANK_TOLERANCE * (1 + np.abs(values).max(axis=0))).any():
        raise ValueBiasError(
            f"term {expression!r} is the same for all {_rows_of(models)} at hand, so its effect "
            "cannot be estimated; leave it out of the formula."
        )
    one = values.shape[1] == 1 and "poly(" not in expression
    labels = tuple([expression] if one else [f"{expression}[{i + 1}]" for i in range(len(scale))])
    known = tuple(name for name in models.columns if name in names)
    return Factor(expression, (), state, values.mean(axis=0), scale, labels, known)


def _learn_levels(expression: str, column: pd.Series[Any], rows: str) -> Factor:
    if column.isna().any() or (column.astype(str) == "").any():
        empty = list(column.index[column.isna() | (column.astype(str) == "")])
        raise ValueBiasError(
            f"coordinate {expression!r} is empty for {few(map(str, empty))}; give it a value."
        )
    levels = _in_order(column)
    if len(levels) < 2:
        raise ValueBiasError(
            f"all {rows} at hand have {expression} = {levels[0]!r}, so nothing can be compared; "
            f"add {rows} of another {expression}, or leave it out of the formula."
        )
    labels = tuple(f"{expression}[{i + 1}]" for i in range(len(levels) - 1))
    return Factor(expression, levels, labels=labels)


def _in_order(column: pd.Series[Any]) -> tuple[str, ...]:
    """Order levels as they follow one another: stages as trained, numbers by size, else names."""
    if pd.api.types.is_numeric_dtype(column):
        return tuple(dict.fromkeys(column.sort_values().astype(str)))
    place = {name: i for i, name in enumerate(STAGES)} if column.name == "stage" else {}
    return tuple(sorted(set(column.astype(str)), key=lambda s: (place.get(s, len(place)), s)))


def _zero_sum(n: int) -> NDArray[np.float64]:
    """Orthonormal contrasts among ``n`` levels, shape (n, n − 1); columns sum to zero (Helmert)."""
    return np.asarray(linalg.helmert(n).T)


def _product(blocks: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    out = blocks[0]
    for block in blocks[1:]:
        out = (out[:, :, None] * block[:, None, :]).reshape(len(out), -1)
    return out


def _require_full_rank(matrix: NDArray[np.float64], terms: list[Term], who: str) -> None:
    """Name the first term that the terms before it already explain over the models at hand."""
    rank = 0
    for i, term in enumerate(terms):
        upto = matrix[:, : term.columns.stop]
        new_rank = int(np.linalg.matrix_rank(upto, tol=_RANK_TOLERANCE * max(upto.shape)))
        if new_rank < rank + term.size:
            raise ValueBiasError(
                f"term {term.name!r} is collinear with {_aliases(matrix, terms[:i], term)} over "
                f"the {who} at hand, so their effects cannot be told apart; drop one of them or "
                f"add {who.partition(' ')[2]} that separate them."
            )
        rank = new_rank


def _aliases(matrix: NDArray[np.float64], before: list[Term], term: Term) -> str:
    """Name the earlier terms that take part in a combination of columns that vanishes."""
    columns = matrix[:, : term.columns.stop]
    _, singular, right = np.linalg.svd(columns, full_matrices=True)
    null = right[np.sum(singular > _RANK_TOLERANCE * max(columns.shape)) :]
    # Drop combinations of the term's own columns alone: they involve no earlier term.
    weight = np.abs(null[:, : term.columns.start]).max(axis=0, initial=0.0)
    involved = [t.name for t in before[1:] if weight[t.columns].max() > _RANK_TOLERANCE]
    return " and ".join(repr(name) for name in involved) or "the overall mean"
