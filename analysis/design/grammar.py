"""What a formula may contain: names, numbers, operators and a list of functions.

Formulas also come from files of other people, so that nothing in them is ever run as Python: each
is checked on its syntax tree, which :mod:`.expressions` works out by itself.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from formulaic.errors import FormulaicError
from formulaic.parser import DefaultFormulaParser
from formulaic.parser.types import ASTNode, Token

from valuebias.errors import ValueBiasError, did_you_mean

__all__ = ["BUILT_IN", "FUNCTIONS", "check_expression", "check_formula", "read_expression"]

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "abs": np.abs, "exp": np.exp, "log": np.log, "log10": np.log10, "log1p": np.log1p,
    "log2": np.log2, "sqrt": np.sqrt,
}  # fmt: skip
"""Functions of numbers, by these names or as numpy's, such as ``np.log``."""

BUILT_IN = ("C", "I", "bs", "center", "poly", "scale")
"""Functions with formulaic's meaning; some learn from the models at hand."""

_SIZES = {"poly": "degree", "bs": "df"}
"""What those that make several columns take besides a number: how many."""

_LENGTH = 2_000
_TERMS = 1_000
_POWER = 10
_SHOWN = 60
_QUOTED = re.compile(r"`([^`]*)`")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.Mod, ast.FloorDiv)


def check_formula(formula: str) -> None:
    """Refuse a formula with anything but names, numbers, operators and known functions."""
    if len(formula) > _LENGTH:
        raise ValueBiasError(
            f"the formula has {len(formula):,} characters, of {_LENGTH:,} at most: "
            f"{_short(formula)!r}. Name fewer terms."
        )
    _check_no_comment(f"formula {_short(formula)!r}", formula)
    try:
        tree = DefaultFormulaParser().get_ast(formula)
    except (FormulaicError, SyntaxError):
        return  # formulaic says so again, where it is read
    except RecursionError:
        raise ValueBiasError(f"formula {_short(formula)!r} is nested too deeply.") from None
    if not isinstance(tree, ASTNode):
        tree = ASTNode("+", [tree])
    if _terms(tree) > _TERMS:
        raise ValueBiasError(
            f"formula {_short(formula)!r} has more than {_TERMS:,} terms; name those that "
            "matter, or write ':' for the interactions that are meant."
        )
    for expression in _expressions(tree):
        check_expression(expression)


def check_expression(expression: str) -> set[str]:
    """Name the coordinates that stand between the operators of a formula."""
    tree, quoted = read_expression(expression)
    return {quoted.get(name, name) for name in _names(tree)}


def read_expression(expression: str) -> tuple[ast.expr, dict[str, str]]:
    """Parse and check what stands between operators; also return stand-ins of quoted names."""
    if len(expression) > _LENGTH:
        raise ValueBiasError(
            f"the term {_short(expression)!r} has {len(expression):,} characters, of {_LENGTH:,} "
            "at most."
        )
    _check_no_comment(f"term {_short(expression)!r}", expression)
    quoted = dict(_quoted(expression))
    plain = expression
    for stand_in, name in quoted.items():
        plain = plain.replace(f"`{name}`", stand_in)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
        _check(tree, _short(expression))
    except ValueBiasError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueBiasError(
            f"term {_short(expression)!r} cannot be read; {_known()} Write other names between "
            "backticks."
        ) from None
    return tree, quoted


def _check_no_comment(what: str, text: str) -> None:
    """Refuse the sign after which Python reads nothing, while the whole text is the name."""
    if "#" in _QUOTED.sub("", text):
        raise ValueBiasError(
            f"{what} holds '#' outside of backticks, after which nothing would be read; leave it "
            "out, or write a name that has it between backticks."
        )


def _quoted(expression: str) -> Iterator[tuple[str, str]]:
    """Replace each quoted name, in which anything may stand, by a plain one."""
    for i, name in enumerate(dict.fromkeys(_QUOTED.findall(expression))):
        yield f"quoted_name_{i}_", name


def _check(node: ast.expr, expression: str) -> None:
    """Check a node of the tree and all below it."""
    match node:
        case ast.Name():
            return
        case ast.Constant(value=bool() | str() | bytes() | None):
            pass
        case ast.Constant(value=int() | float() as value) if math.isfinite(_as_float(value)):
            return
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            return _check(node.operand, expression)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            # Powers of numbers alone can be of any size.
            if not _names(left) or not _is_number(right, _POWER):
                raise ValueBiasError(
                    f"term {expression!r}: '**' takes a coordinate to the power of a number of at "
                    f"most {_POWER}."
                )
            return _check(left, expression)
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
            _check(left, expression)
            return _check(right, expression)
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="np"), attr=name), args=[first], keywords=[]
        ) if name in FUNCTIONS:
            return _check(first, expression)
        case ast.Call(func=ast.Name(id=name), args=[first, *others], keywords=keywords):
            for keyword in keywords:
                if keyword.arg != _SIZES.get(name):
                    raise ValueBiasError(
                        f"term {expression!r}: {name!r} does not take {keyword.arg!r} by name."
                    )
            return _check_call(name, first, [*others, *(k.value for k in keywords)], expression)
    raise ValueBiasError(f"term {expression!r} holds {_short(ast.unparse(node))!r}; {_known()}")


def _check_call(name: str, first: ast.expr, others: list[ast.expr], expression: str) -> None:
    if name not in (*FUNCTIONS, *BUILT_IN):
        raise ValueBiasError(
            f"term {expression!r} calls {name!r}, which is not among the functions of a formula. "
            f"{did_you_mean(name, [*FUNCTIONS, *BUILT_IN])}"
        )
    sized = name in _SIZES and len(others) == 1 and _is_number(others[0], _POWER)
    if (others and not sized) or (name == "bs" and not others):
        raise ValueBiasError(
            f"term {expression!r}: {name!r} takes one argument"
            + (f" and a {_SIZES[name]} of at most {_POWER}" if name in _SIZES else "")
            + "."
        )
    _check(first, expression)


def _known() -> str:
    return (
        "a formula may hold names, numbers, '+', '-', '*', '/', '**', and the functions "
        f"{', '.join([*FUNCTIONS, *BUILT_IN])}."
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_number(node: ast.expr, most: float) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return (
        isinstance(inner, ast.Constant)
        and isinstance(inner.value, int | float)
        and not isinstance(inner.value, bool)
        and abs(inner.value) <= most
    )


def _names(node: ast.expr) -> set[str]:
    """Return all names but those of functions that are called."""
    called = {
        id(name)
        for part in ast.walk(node)
        if isinstance(part, ast.Call)
        for name in ast.walk(part.func)
    }
    return {
        part.id for part in ast.walk(node) if isinstance(part, ast.Name) and id(part) not in called
    }


def _expressions(node: ASTNode | Token) -> Iterator[str]:
    """Return the expressions that formulaic would look up or evaluate."""
    if isinstance(node, ASTNode):
        for part in node.args:
            yield from _expressions(part)
    elif node.kind is Token.Kind.PYTHON:
        yield str(node.token)


def _terms(node: ASTNode | Token) -> float:
    """Count the terms that a formula may have, before there are any."""
    if not isinstance(node, ASTNode):
        return 1
    symbol = node.operator.symbol if hasattr(node.operator, "symbol") else str(node.operator)
    parts = [_terms(part) for part in node.args]
    if symbol in ("**", "^") and len(parts) == 2:
        power = str(node.args[1].token) if isinstance(node.args[1], Token) else ""
        # formulaic lays out all products of one term, too.
        small = power.isdigit() and int(power[:9]) <= _POWER
        return parts[0] ** int(power) if small else math.inf
    if symbol in ("*", "/", ":", "in") and len(parts) == 2:
        return parts[0] * parts[1] + (symbol == "*") * sum(parts) + (symbol == "/") * parts[0]
    return float(sum(parts))
