"""Weights of categories and of framings.

A *lean* is the difference of two categories' mean outcomes (agency − communion). Under positive
framing a higher reward means liking, under negative framing the reverse, so the signed lean is half
the difference of the leans under positive and negative framing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuebias._core.numbers import is_finite
from valuebias.analysis.estimands.estimand import CategoryPair
from valuebias.errors import ValueBiasError, did_you_mean, shown
from valuebias.schema.contract import SIGNS

__all__ = [
    "TURNED",
    "Contrast",
    "category_contrasts",
    "framing_contrasts",
    "named_framings",
    "read_contrast",
    "store_contrast",
]

Array = NDArray[np.float64]

Contrast = tuple[str, str] | Mapping[str, float]
"""Two categories to compare, or the weight of each category that takes part."""
TURNED = "negative, turned"
"""Name of the lean under negative prompts alone with its sign turned, so that it is of liking."""
_ZERO = 1e-9
_MOST = 1e6  # of a weight


def category_contrasts(
    categories: tuple[str, ...], contrast: Contrast | None
) -> dict[CategoryPair, Array]:
    """Weights on the categories by what is compared.

    With a pair, that pair; with weights, these; with two categories, agency first or else the
    first; with more, each category against the mean of the others.
    """
    lowered = [c.lower() for c in categories]
    if contrast is None and {"agency", "communion"} <= set(lowered):
        contrast = (categories[lowered.index("agency")], categories[lowered.index("communion")])
    elif contrast is None and len(categories) == 2:
        contrast = (categories[0], categories[1])
    if contrast is not None:
        weights = _check_contrast(contrast, categories)
        names = [_side({c: w for c, w in weights.items() if w * s > 0}, s) for s in (1, -1)]
        return {CategoryPair(*names): np.array([weights.get(c, 0.0) for c in categories])}
    n = len(categories)
    return {
        CategoryPair(name, ""): np.where(np.arange(n) == i, 1.0, -1.0 / (n - 1))
        for i, name in enumerate(categories)
    }


def read_contrast(stored: Any) -> Contrast | None:
    """Read a contrast as settings hold it: a list of two, or weights."""
    if not stored:
        return None
    if isinstance(stored, Mapping):
        return {str(name): float(weight) for name, weight in stored.items()}
    return (str(stored[0]), str(stored[1]))


def store_contrast(contrast: Contrast | None) -> list[str] | dict[str, float] | None:
    """Return a contrast as settings hold it, and JSON; see :func:`read_contrast`."""
    if isinstance(contrast, Mapping):
        return {name: float(weight) for name, weight in contrast.items()}
    return list(contrast) if contrast else None


def _side(weights: Mapping[str, float], sign: int) -> str:
    """Write one side of a contrast: "agency", or "(0.5 communion + 0.5 other)"."""
    parts = [f"{sign * w:.12g} {name}" if sign * w != 1 else name for name, w in weights.items()]
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _check_contrast(contrast: Contrast, categories: tuple[str, ...]) -> dict[str, float]:
    """Return the weights of a contrast."""
    if isinstance(contrast, Mapping):
        weights = dict(contrast)
        numbers = [float(w) for w in weights.values() if is_finite(w) and abs(w) < _MOST]
        if len(numbers) < len(weights) or not any(numbers) or abs(sum(numbers)) > _ZERO:
            raise ValueBiasError(
                "the weights of contrast must be numbers that sum to zero, not all of them zero, "
                f"such as {{{categories[0]!r}: 1, {categories[-1]!r}: -1}}; found "
                f"{shown(contrast)}. Only differences between categories are known."
            )
    elif (
        isinstance(contrast, tuple | list)
        and len(contrast) == 2
        and all(isinstance(name, str) for name in contrast)
    ):
        weights = {contrast[0]: 1.0, contrast[1]: -1.0}
    else:
        raise ValueBiasError(
            f"contrast must be a pair of categories such as {categories[:2]}, or a weight for each "
            f"category, found {shown(contrast)}."
        )
    for name in weights:
        if name not in categories:
            raise ValueBiasError(
                f"contrast names the category {name!r}, which the dataset lacks. "
                f"{did_you_mean(name, categories)}"
            )
    if len(weights) == 1:
        name = next(iter(weights))
        raise ValueBiasError(f"contrast compares {name!r} with itself; name two categories.")
    return {name: float(weight) for name, weight in weights.items()}


def framing_contrasts(framings: tuple[str, ...]) -> dict[str, Array]:
    """Weights on the framings: signed first, then each framing present.

    Neutral prompts say nothing of liking: alone they are themselves, with no sign turned.
    """
    sign = np.array([SIGNS.get(framing, 1.0) for framing in framings])
    out = {"signed": sign / len(framings)}
    out |= {name: np.eye(len(framings))[i] for i, name in enumerate(framings)}
    return out


def named_framings(framings: tuple[str, ...], first: str | None = None) -> dict[str, Array]:
    """Weights on the framings as estimands are named, the headline's first.

    Of prompts of one framing nothing is signed by framing: the lean under positive prompts is that,
    and under negative ones what is liked has the sign turned; under neutral ones it is just that.
    Of two framings one may be asked to come first, negative prompts likewise with the sign turned.
    """
    known = framing_contrasts(framings)
    if len(framings) == 2:
        if first == "negative":
            return {TURNED: -known["negative"], **known}
        return {first: known[first], **known} if first in known else known
    only = {framings[0]: known[framings[0]]}
    return {TURNED: known["signed"], **only} if SIGNS.get(framings[0]) == -1 else only
