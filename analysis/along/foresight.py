"""What a beginning of an answer tells: of which answer is right, and of the final reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.along.readings import Readings
from valuebias.analysis.contrasting.choosing import Right, find_right
from valuebias.analysis.contrasting.statistics import Models
from valuebias.analysis.contrasting.values import SHARE, Values, above, jackknifed
from valuebias.errors import ValueBiasError
from valuebias.schema.contrast_categories import score_sd

__all__ = ["SHARES", "accuracy_along", "calibration_along", "reliability_along"]

Array = NDArray[np.float64]
Items = NDArray[np.intp]

SHARES = (0.25, 0.5, 0.75, 1.0)
_WHOLE = "end of conversation"
_COLUMNS = ["share", "at", "level", "name", "family", "estimate", "se", "lower", "upper", "p",
            "n_items", "n_models", "unit", "remark"]  # fmt: skip
_PAIR = ("chosen", "rejected")


def right_answers(scores: xr.Dataset, correct: str | None) -> Right:
    """Find right and wrong answers: by a coordinate, or variants called chosen and rejected."""
    names = scores["variant"].to_numpy().tolist()
    if correct is None and "correct" not in scores.coords and set(names) == set(_PAIR):
        chosen = [name == _PAIR[0] for name in names]
        scores = scores.assign_coords(correct=("variant", chosen))
    found = find_right(scores, correct or "correct", is_optional=False)
    if found is None:
        raise ValueBiasError(
            "Nothing says which answers are right: there is no coordinate 'correct', and the "
            "variants are not 'chosen' and 'rejected'. Name a coordinate that is true or false, "
            "correct='...', or score a contrast set with the column 'correct'."
        )
    return found


def accuracy_along(
    readings: Readings, shares: Sequence[float], correct: str | None, prob: float
) -> pd.DataFrame:
    """Tabulate the share of pairs whose right answer is ahead, ties half, by how much is read."""
    right = right_answers(readings.scores, correct)
    models, rows = Models.of(readings.scores), []
    for share, at, rewards in _stages(readings, shares):
        values = Values.of_items(1 - above(rewards, *right)[0], SHARE)
        made = models.rows("accuracy", at, values, 0.5, prob)
        rows += [row | {"share": share, "at": at} for row in made]
    return pd.DataFrame(rows)[_COLUMNS]


def calibration_along(readings: Readings, shares: Sequence[float], prob: float) -> pd.DataFrame:
    """Tabulate how well the reward at a share of the answer foretells the final one."""
    final = readings.final
    unit = score_sd(readings.scores)[:, None, None]
    models, rows = Models.of(readings.scores), []
    for share, at, rewards in _stages(readings, shares)[:-1]:
        miss = np.abs(final - rewards) / unit
        known = np.isfinite(miss)
        mean = np.where(known, miss, 0.0).sum(axis=2) / np.maximum(known.sum(axis=2), 1)
        some = np.asarray(known.any(axis=2))
        statistics = [
            ("slope", 1.0, jackknifed(_over_all(rewards, final, _slope), some)),
            ("R²", np.nan, jackknifed(_over_all(rewards, final, _r2), some)),
            ("R² within items", np.nan, jackknifed(_over_all(*_within(rewards, final), _r2), some)),
            ("mean absolute error", np.nan, Values.of_items(np.where(some, mean, np.nan))),
        ]
        for name, null, values in statistics:
            made = models.rows(name, at, values, null, prob)
            rows += [row | {"share": share, "at": at} for row in made]
    return pd.DataFrame(rows)[["statistic", *_COLUMNS]]


def reliability_along(readings: Readings, shares: Sequence[float], bins: int) -> pd.DataFrame:
    """Tabulate the final reward by bins of the reward at a share, each with as many answers.

    Both in SDs of the model's scores, about their mean.
    """
    unit = score_sd(readings.scores)
    final = readings.final
    rows: list[dict[str, Any]] = []
    for share, at, rewards in _stages(readings, shares)[:-1]:
        for m, name in enumerate(readings.scores["model"].to_numpy().tolist()):
            known = np.isfinite(rewards[m] + final[m])
            middle = final[m][known].mean()
            told, came = ((one[m][known] - middle) / unit[m] for one in (rewards, final))
            order = np.argsort(told, kind="stable")
            for b, part in enumerate(np.array_split(order, min(bins, len(order)))):
                rows.append({
                    "share": share, "at": at, "name": str(name), "bin": b + 1,
                    "foretold": float(told[part].mean()), "final": float(came[part].mean()),
                    "sd": float(came[part].std()), "n_answers": len(part),
                })  # fmt: skip
    return pd.DataFrame(rows)


def _stages(readings: Readings, shares: Sequence[float]) -> list[tuple[float, str, Array]]:
    """Give how much is read, what to call that, and the rewards then; the whole at the end."""
    some = [(float(s), f"{s:.0%} of the answer", readings.at(s)) for s in shares]
    return [*some, (np.nan, _WHOLE, readings.final)]


_Fit = Callable[[Array, Array], Array]
_ROUNDING = 1e-9
"""As a share of the largest number: what deviates by less does not vary."""


def _over_all(x: Array, y: Array, fit: _Fit) -> Callable[[Items], Array]:
    """Give a statistic of all answers to some items, by model."""

    def of(items: Items) -> Array:
        first, second = (one[:, items].reshape(len(one), -1) for one in (x, y))
        known = np.isfinite(first) & np.isfinite(second)
        return fit(*(np.nan_to_num(_deviations(one, known)) for one in (first, second)))

    return of


def _slope(x: Array, y: Array) -> Array:
    return _ratio((x * y).sum(axis=1), (x**2).sum(axis=1))


def _r2(x: Array, y: Array) -> Array:
    return _ratio((x * y).sum(axis=1) ** 2, (x**2).sum(axis=1) * (y**2).sum(axis=1))


def _ratio(top: Array, bottom: Array) -> Array:
    return np.asarray(np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0))


def _within(x: Array, y: Array) -> tuple[Array, Array]:
    """Take the mean of each item off both, of its answers that have both."""
    known = np.isfinite(x) & np.isfinite(y)
    return _deviations(x, known), _deviations(y, known)


def _deviations(values: Array, known: NDArray[np.bool_]) -> Array:
    """Take the mean along the last axis off; NaN where not known."""
    count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    filled = np.where(known, values, 0.0)
    about = filled - filled.sum(axis=-1, keepdims=True) / count
    about[np.abs(about) <= _ROUNDING * np.abs(filled).max(initial=0.0)] = 0.0
    return np.asarray(np.where(known, about, np.nan))
