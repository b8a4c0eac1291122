"""How near a number is to those of a fit, and how often a random one would be as near."""

from __future__ import annotations

from typing import Any

import numpy as np

from valuebias._core.manuscripts import WrittenNumber

__all__ = ["bound_chance", "chance", "holds", "nearest"]


def nearest(values: Any, x: float, among: Any = None) -> int:
    """Find the value nearest to a number, among all or some."""
    away = np.abs(values - x)
    return int((away if among is None else np.where(among, away, np.inf)).argmin())


def holds(values: Any, relation: str, x: float) -> Any:
    """Tell for which values a bound holds."""
    eps = 1e-9 * abs(x)
    return {
        "<": values < x + eps, ">": values > x - eps, "≤": values <= x + eps, "≥": values >= x - eps
    }[relation]  # fmt: skip


def _grid(number: WrittenNumber) -> tuple[float, float]:
    """Return the range of numbers of that size: from .1 to 1 for .42."""
    size = abs(number.value)
    if size < number.unit / 2:
        return 0.0, 10 * number.unit
    low = 10.0 ** np.floor(np.log10(size) + 1e-9)
    return float(low), float(10 * low)


def chance(values: Any, number: WrittenNumber) -> float:
    """Return the share of numbers of that sign, size and precision that equal one of the values."""
    low, high = _grid(number)
    same = np.abs(values[(values >= 0) == (number.value >= 0)])
    rounded = np.unique(np.round(same / number.unit)) * number.unit
    inside = (rounded >= low * (1 - 1e-9)) & (rounded < high * (1 - 1e-9))
    return float(min(inside.sum() / max(round((high - low) / number.unit), 1), 1.0))


def bound_chance(values: Any, number: WrittenNumber) -> float:
    """Return the share of bounds of that size that would hold."""
    low, high = _grid(number)
    if number.relation in (">", "≥"):
        return float(np.clip((np.max(values) - low) / (high - low), 0, 1))
    return float(np.clip((high - np.min(values)) / (high - low), 0, 1))
