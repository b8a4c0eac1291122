"""Checks of what users give: names among those that there are, numbers within their range."""

from __future__ import annotations

import importlib
import math
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from valuebias.errors import ValueBiasError, did_you_mean

__all__ = [
    "NUMBER",
    "WHOLE",
    "check_installed",
    "check_known",
    "check_number",
    "check_whole",
    "distinct_whole",
]

NUMBER: Any = int | float | np.number
WHOLE: Any = int | np.integer


def check_known(name: object, known: Collection[str], said: str) -> None:
    """Refuse a name that is not among the known ones; ``said`` begins the message.

    Examples
    --------
    >>> check_known("Lama", ["Gemma", "Llama"], "There is no family 'Lama'.")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: There is no family 'Lama'. Did you mean 'Llama'? Known: ...
    """
    if name not in known:
        raise ValueBiasError(f"{said} {did_you_mean(name, known)}")


def check_number(
    value: Any,
    name: str,
    expected: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    above: bool = False,
    below: bool = False,
    kinds: Any = NUMBER,
) -> None:
    """Refuse what is no number of these kinds, or is out of range.

    With `above` and `below` it has to be above `least` and below `most`. A bool is no number.

    Examples
    --------
    >>> check_number(0, "rate", "a number above 0", least=0, above=True)
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: rate is 0; expected a number above 0.
    """
    fits = isinstance(value, kinds) and not isinstance(value, bool) and least <= value <= most
    if not fits or (above and value == least) or (below and value == most):
        raise ValueBiasError(f"{name} is {value!r}; expected {expected}.")


def check_whole(value: Any, name: str, *, least: int) -> None:
    """Refuse what is not a whole number of at least `least`."""
    check_number(value, name, f"a whole number of at least {least}", least=least, kinds=WHOLE)


def distinct_whole(values: Any, name: str, *, least: int) -> tuple[int, ...]:
    """Take one or more different whole numbers of at least `least`.

    Examples
    --------
    >>> distinct_whole(3, "n_pairs", least=1), distinct_whole([2, 1], "seeds", least=0)
    ((3,), (2, 1))
    """
    given = tuple(values) if isinstance(values, Iterable) else (values,)
    whole = all(isinstance(n, WHOLE) and not isinstance(n, bool) for n in given)
    if not given or not whole or min(given) < least or len(set(given)) < len(given):
        raise ValueBiasError(
            f"{name} is {values!r}; expected different whole numbers, {least} or more, at least "
            "one."
        )
    return tuple(int(n) for n in given)


class NotInstalled(ValueBiasError):
    """A package is missing: what it would say is not known here."""


def check_installed(
    *modules: str, extra: str, other: str = "", before: str = "", after: str = ""
) -> None:
    """Refuse to go on without some modules; ``before`` and ``after`` say what needs them.

    They come with the extra named first; with the other one as well, where there is one.

    Examples
    --------
    >>> check_installed("nowhere", extra="torch", after=", and dreams need it")
    Traceback (most recent call last):
    ...
    valuebias._core.checks.NotInstalled: nowhere is not installed, and dreams need it. Run: pip
    install "valuebias[torch]".
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            also = f' (or "valuebias[{other}]")' if other else ""
            raise NotInstalled(
                f"{before}{error.name or module} is not installed{after}. Run: pip install "
                f'"valuebias[{extra}]"{also}.'
            ) from error
