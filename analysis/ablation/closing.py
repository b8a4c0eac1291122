"""What becomes of a gap: the share that is left, where it closes, whether its line is straight."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg, special

from valuebias.analysis.ablation.levels import levels_of
from valuebias.errors import ValueBiasError

__all__ = ["BaseGap", "base_gaps", "closing_row", "departure_rows", "share_row"]

Array = NDArray[np.float64]
BaseGap = float | Array | Mapping[str, float | Array]


def base_gaps(base_gap: BaseGap, names: list[str], n_draws: int) -> dict[str, Array]:
    """Check the bases' gaps, and give each as many draws as a fit has, (draw,).

    Examples
    --------
    >>> base_gaps(0.5, ["A − B"], 2)
    {'A − B': array([0.5, 0.5])}
    """
    if not isinstance(base_gap, Mapping):
        if len(names) > 1:
            raise ValueBiasError(
                f"there are {len(names)} gaps ({', '.join(names)}); give base_gap as a mapping "
                f"such as {{{names[0]!r}: 0.3, …}}."
            )
        base_gap = {names[0]: base_gap}
    missing = [name for name in names if name not in base_gap]
    if missing:
        raise ValueBiasError(
            f"base_gap has no entry {missing[0]!r}; found {list(base_gap)}, expected {names}."
        )
    out = {}
    for name in names:
        values = np.asarray(base_gap[name], dtype=float).ravel()
        if not values.size or not np.isfinite(values).all():
            raise ValueBiasError(
                f"base_gap of {name!r} must be a finite number or draws of one, found "
                f"{base_gap[name]!r}."
            )
        # Draws of another fit are independent of ours, so any order will do.
        out[name] = np.resize(values, n_draws)
    return out


def share_row(base: Array, last: Array, *, prob: float) -> dict[str, object]:
    """Summarise the share of a gap that is left; ``base`` and ``last`` are (draw,).

    Examples
    --------
    >>> share_row(np.array([1.0, 2.0]), np.array([0.5, 1.0]), prob=0.9)["median"]
    0.5
    >>> share_row(np.array([-1.0, 2.0]), np.array([0.5, 1.0]), prob=0.9)["p_less"]
    nan
    """
    tail = (1 - prob) / 2
    base_lower, base_upper = map(float, np.quantile(base, [tail, 1 - tail]))
    clear = base_lower > 0 or base_upper < 0
    share = last / base if clear else np.full(len(last), np.nan)
    lower, median, upper = map(float, np.quantile(share, [tail, 0.5, 1 - tail]))
    return {
        "base_lower": base_lower,
        "base_upper": base_upper,
        "median": median,
        "lower": lower,
        "upper": upper,
        "p_less": float((np.abs(share) < 1).mean()) if clear else float("nan"),
        "why_not": ""
        if clear
        else f"the {prob:.0%} interval of the gap to divide by holds zero: there may be no gap to "
        "have a share of",
    }


def closing_row(at: Array, *, smallest: float, largest: float, prob: float) -> dict[str, object]:
    """Summarise the numbers of pairs ``at`` which a gap closes, (draw,).

    Examples
    --------
    >>> made = closing_row(np.array([1.0, 5, 20, np.inf]), smallest=1, largest=10, prob=0.5)
    >>> [made[name] for name in ("p_inside", "p_within", "p_beyond", "p_not", "upper")]
    [0.25, 0.25, 0.25, 0.25, 20.0]
    """
    slack = 1 + 1e-9
    inside, later = at <= smallest * slack, at > largest * slack
    tail = (1 - prob) / 2
    # An order statistic: between two numbers of which one is infinite lies none.
    wanted = np.quantile(at, [tail, 0.5, 1 - tail], method="inverted_cdf")
    lower, median, upper = map(float, wanted)
    return {
        "p_inside": float(inside.mean()),
        "p_within": float((~inside & ~later).mean()),
        "p_beyond": float((later & np.isfinite(at)).mean()),
        "p_not": float(np.isinf(at).mean()),
        "median": median,
        "lower": lower,
        "upper": upper,
        "extrapolated": bool(median > largest * slack),
    }


def departure_rows(n_pairs: list[float], gap: Array, *, prob: float) -> pd.DataFrame:
    """Summarise how far a gap (draw, quantity) departs from a straight line over doublings."""
    x = np.log2(np.asarray(n_pairs, dtype=float))
    line = np.stack([np.ones_like(x), x], axis=1)
    straight = gap @ (line @ np.linalg.pinv(line)).T
    off = gap - straight
    lower, upper = np.quantile(off, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    levelled = float("nan")
    if len(x) > 3:
        # The level is fitted, too, which takes a degree of freedom.
        lines = [
            np.stack([np.ones_like(x), np.minimum(x, c)], axis=1) for c in levels_of(n_pairs).at
        ]
        levelled = max(_tail(gap, columns, len(x) - 3) for columns in lines)
    return pd.DataFrame(
        {
            "n_pairs": n_pairs,
            "gap": gap.mean(axis=0),
            "straight": straight.mean(axis=0),
            "mean": off.mean(axis=0),
            "sd": off.std(axis=0, ddof=1),
            "lower": lower,
            "upper": upper,
            "p_straight": _tail(gap, line, len(x) - 2),
            "p_levelling": levelled,
        }
    )


def _tail(gap: Array, columns: Array, freedom: int) -> float:
    """Tail probability of the part of a gap that lies outside the span of columns."""
    outside = gap @ linalg.null_space(columns.T)
    mean, covariance = outside.mean(axis=0), np.atleast_2d(np.cov(outside, rowvar=False))
    return float(special.chdtrc(freedom, mean @ np.linalg.solve(covariance, mean)))
