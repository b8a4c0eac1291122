"""Numbers that people give, in Python's types or numpy's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["digits_apart", "is_finite", "plain_numbers", "signed"]


def is_finite(value: object) -> bool:
    """Tell whether a value is a number that a float can hold; True and False are none.

    Examples
    --------
    >>> is_finite(2), is_finite(np.float32(0.5)), is_finite(True), is_finite(10**400)
    (True, True, False, False)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        return False


def digits_apart(values: Iterable[float]) -> int:
    """Say how many digits tell numbers apart, six at least and fifteen at most.

    Examples
    --------
    >>> digits_apart([1, 2.5]), digits_apart([1_000_000, 1_000_001])
    (6, 7)
    """
    numbers = set(map(float, values))
    for digits in range(6, 15):
        if len({f"{number:.{digits}g}" for number in numbers}) == len(numbers):
            return digits
    return 15


def plain_numbers(value: Any) -> Any:
    """Return a value with numpy's numbers as Python's, which JSON can hold, in all it contains.

    Examples
    --------
    >>> plain_numbers({"sd": {"word": np.float64(0.5)}, "pair": ("a", np.int64(2))})
    {'sd': {'word': 0.5}, 'pair': ('a', 2)}
    """
    match value:
        case Mapping():
            return {key: plain_numbers(entry) for key, entry in value.items()}
        case list():
            return [plain_numbers(entry) for entry in value]
        case tuple():
            return tuple(plain_numbers(entry) for entry in value)
        case np.bool_():
            return bool(value)
        case np.integer():
            return int(value)
        case np.floating():
            return float(value)
    return value


def signed(value: float, digits: int = 2, *, grouped: bool = False) -> str:
    """Write a number with its sign and a true minus; what rounds to zero has no sign.

    Examples
    --------
    >>> signed(0.126), signed(-0.126), signed(-0.0004), signed(1234.5, 0, grouped=True)
    ('+0.13', '−0.13', '0.00', '+1,234')
    """
    text = f"{value:+{',' if grouped else ''}.{digits}f}"
    return text[1:] if set(text) <= set("+-0.") else text.replace("-", "−")
