"""Which coordinates of a contrast set its statistics are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.errors import ValueBiasError, did_you_mean, few, shown
from valuebias.schema.contrast_categories import groups_of_variants

__all__ = ["Right", "find_right", "numbers_of", "places_of"]

Mask = NDArray[np.bool_]


class Right(NamedTuple):
    """Which variants of each item are right answers and which wrong ones, both (item, variant)."""

    right: Mask
    wrong: Mask


def find_right(
    scores: xr.Dataset, correct: str | None, *, is_optional: bool = True
) -> Right | None:
    """Find right and wrong answers, None where that is not asked; refuse items without either."""
    if correct is None or (correct == "correct" and correct not in scores.coords):
        return None
    if correct not in scores.coords or scores[correct].dtype.kind != "b":
        what = "is no coordinate" if correct not in scores.coords else "is not true or false"
        truths = [str(n) for n, c in scores.coords.items() if c.dtype.kind == "b"]
        raise ValueBiasError(
            f"correct={shown(correct)} {what} of these scores. {did_you_mean(correct, truths)}"
            f"{' correct=None leaves correctness out.' if is_optional else ''}"
        )
    truth = scores[correct].broadcast_like(scores["score"].isel(model=0)).to_numpy()
    there = np.isfinite(scores["score"].to_numpy()).any(axis=0)
    right, wrong = truth & there, ~truth & there
    for mask, noun in ((right, "right"), (wrong, "wrong")):
        lacking = np.flatnonzero(~mask.any(axis=1))
        if lacking.size:
            names = [str(scores["item"].to_numpy()[i]) for i in lacking]
            raise ValueBiasError(
                f"{lacking.size} of {len(mask)} items have no {noun} answer with a score: "
                f"{few(names)}. Leave them out, scores.drop_sel(item=[...])"
                f"{', or correctness: correct=None' if is_optional else ''}."
            )
    return Right(right, wrong)


def numbers_of(
    scores: xr.Dataset,
    numbers: str | Sequence[str] | None,
    order: Mapping[str, Sequence[str]] | None,
    but: Sequence[str | None],
) -> dict[str, NDArray[np.float64]]:
    """Give the numbers of variants by name, (item, variant), places in an order among them."""
    like = scores["score"].isel(model=0)
    numeric = [
        str(name)
        for name, coord in scores.coords.items()
        if "variant" in coord.dims and "model" not in coord.dims and coord.dtype.kind in "iuf"
    ]
    asked = [numbers] if isinstance(numbers, str) else numbers
    chosen = [name for name in numeric if name not in but] if asked is None else list(asked)
    for name in chosen:
        if name not in numeric:
            raise ValueBiasError(
                f"numbers= names {shown(name)}, which is no number in which variants differ. "
                f"{did_you_mean(str(name), numeric)} An order of texts is given as order={{...}}."
            )
    out = {name: scores[name].broadcast_like(like).to_numpy().astype(float) for name in chosen}
    for name, levels in (order or {}).items():
        groups, group = groups_of_variants(scores, name)
        if isinstance(levels, str) or sorted(map(str, levels)) != sorted(groups):
            raise ValueBiasError(
                f"order={{{name!r}: ...}} must list every value once, from the lowest to the "
                f"highest: {few(groups)}; found {shown(levels)}."
            )
        place = [list(map(str, levels)).index(level) for level in groups]
        out[name] = np.where(group >= 0, np.array(place, dtype=float)[group], np.nan)
    return out


def places_of(
    scores: xr.Dataset, position: str | None
) -> tuple[list[str], NDArray[np.intp]] | None:
    """Name the positions, and give each conversation's; None where there are none to compare."""
    if position is None or (position == "position" and position not in scores.coords):
        return None
    names, group = groups_of_variants(scores, position)
    return (names, np.asarray(group)) if len(names) > 1 else None
