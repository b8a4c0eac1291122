"""Compute the terms of a formula from their syntax trees, without running them as Python.

What a term learns of the models at hand (the mean that ``center`` takes away, the polynomials of
``poly``) is kept as numbers, so that other models are coded alike, also after a fit is loaded.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
from formulaic.transforms import basis_spline, poly
from numpy.typing import NDArray

from valuebias.analysis.design.grammar import BUILT_IN, FUNCTIONS, read_expression
from valuebias.errors import ValueBiasError

__all__ = ["State", "compute"]

Array = NDArray[np.float64]
_CUBIC = 3
# Both ends four times, and ``df − 3`` in between.
_ROUND_KNOTS = 5
State = Mapping[str, tuple[float, ...]]
"""What each call of a term has learnt, by its source text."""

_OPERATORS: Mapping[type[ast.operator], Callable[[Array, Array], Array]] = MappingProxyType(
    {
        ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
        ast.Mod: np.mod, ast.FloorDiv: np.floor_divide, ast.Pow: np.power,
    }
)  # fmt: skip


def compute(
    expression: str, table: pd.DataFrame, state: State | None = None
) -> tuple[Array, dict[str, tuple[float, ...]]]:
    """Compute a term for the rows of a table.

    ``values`` is (row, column).
    """
    worker = _Worker(expression, table, state)
    if expression in table.columns:
        values = worker.column(expression)
    else:
        tree, worker.quoted = read_expression(expression)
        values = worker.whole(tree)
    return values if values.ndim == 2 else values[:, None], worker.learnt


class _Worker:
    """Goes through a checked syntax tree."""

    def __init__(self, expression: str, table: pd.DataFrame, state: State | None) -> None:
        self.expression, self.table, self.known = expression, table, state
        self.learnt: dict[str, tuple[float, ...]] = dict(state or {})
        self.quoted: Mapping[str, str] = {}

    def column(self, name: str) -> Array:
        values = self.table[name]
        if not pd.api.types.is_numeric_dtype(values):
            raise self.fault(f"{name!r} holds no numbers")
        return np.asarray(values, dtype=np.float64)

    def whole(self, tree: ast.expr) -> Array:
        """Compute a term, which may be a polynomial or a spline."""
        with np.errstate(all="ignore"):
            match tree:
                case ast.Call(func=ast.Name(id="I"), args=[inner], keywords=[]):
                    return self.whole(inner)
                case ast.Call(
                    func=ast.Name(id="poly" | "bs" as name), args=[first, *others],
                    keywords=keywords,
                ):  # fmt: skip
                    arguments = [*others, *(keyword.value for keyword in keywords)]
                    size = float(self.part(arguments[0]).flat[0]) if arguments else 1.0
                    what, least = ("degree", 1) if name == "poly" else ("df", _CUBIC)
                    if size not in range(least, 11):
                        raise self.fault(
                            f"the {what} of {name!r} is a whole number from {least} to 10"
                        )
                    make = self.polynomial if name == "poly" else self.spline
                    return make(ast.unparse(tree), self.part(first), int(size))
            return self.part(tree)

    def part(self, node: ast.expr) -> Array:
        """Compute a part of a term, one number per row."""
        match node:
            case ast.Name(id=name):
                return self.column(self.quoted.get(name, name))
            case ast.Constant(value=int() | float() as value):
                return np.full(len(self.table), float(value))
            case ast.UnaryOp(op=op, operand=inner):
                return -self.part(inner) if isinstance(op, ast.USub) else self.part(inner)
            case ast.BinOp(left=left, op=op, right=right):
                return _OPERATORS[type(op)](self.part(left), self.part(right))
            case ast.Call(func=func, args=[first, *_]):
                name = func.attr if isinstance(func, ast.Attribute) else ast.unparse(func)
                return self.call(node, name, first)
        raise self.fault(f"{ast.unparse(node)!r} is not allowed in a formula")

    def call(self, node: ast.Call, name: str, first: ast.expr) -> Array:
        if name in FUNCTIONS:
            return np.asarray(FUNCTIONS[name](self.part(first)), dtype=np.float64)
        if name == "I":
            return self.part(first)
        if name in ("center", "scale"):
            return self.standardised(ast.unparse(node), self.part(first), name)
        if name in ("poly", "bs"):
            raise self.fault(f"{name!r} has several columns and cannot be a part of something else")
        if name in BUILT_IN:
            raise self.fault("'C' takes the name of a coordinate")
        raise self.fault(f"{name!r} is not a function of a formula")

    def standardised(self, key: str, values: Array, name: str) -> Array:
        if self.known is None:
            centre, spread = float(values.mean()), 1.0
            if name == "scale":
                spread = float(np.sqrt(((values - centre) ** 2).sum() / (len(values) - 1)))
            self.learnt[key] = (centre, spread)
        mean, sd = self.remembered(key, 2)
        return np.asarray((values - mean) / sd)

    def polynomial(self, key: str, values: Array, degree: int) -> Array:
        state: dict[str, Any] = {}
        if self.known is not None:
            numbers = self.remembered(key, 2 * degree + 1)
            state = {
                "alpha": dict(enumerate(numbers[:degree])),
                "norms2": dict(enumerate(numbers[degree:])),
            }
        columns = np.asarray(poly(values, degree, _state=state), dtype=np.float64)
        alpha, norms = state["alpha"], state["norms2"]
        constants = [*(alpha[k] for k in range(degree)), *(norms[k] for k in range(degree + 1))]
        self.learnt[key] = tuple(map(float, constants))
        return columns

    def spline(self, key: str, values: Array, df: int) -> Array:
        """Cubic B-splines with knots at quantiles of the models fitted, as ``splines::bs`` of R."""
        state: dict[str, Any] = {}
        if self.known is not None:
            knots = self.remembered(key, df + _ROUND_KNOTS)
            state = {"lower_bound": knots[0], "upper_bound": knots[-1], "knots": list(knots)}
        columns = basis_spline(values, df=df, extrapolation="extend", _state=state)
        self.learnt[key] = tuple(map(float, state["knots"]))
        return np.stack([np.asarray(columns[k], dtype=np.float64) for k in columns], axis=1)

    def remembered(self, key: str, n: int) -> tuple[float, ...]:
        numbers = self.learnt.get(key, ())
        if len(numbers) != n:
            raise self.fault(f"what {key!r} learnt of the models fitted is not known")
        return numbers

    def fault(self, problem: str) -> ValueBiasError:
        return ValueBiasError(f"term {self.expression!r} cannot be computed: {problem}.")
