"""Draw covariates of simulated words, and the slopes of models on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from valuebias.datasets.simulated_scores import Covariate, Plan
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.schema import DIMS

__all__ = ["Covariates", "Recipe", "as_recipes", "draw_covariate"]

Covariates = Mapping[str, Mapping[str, float | Mapping[str, float]]]
"""The argument `covariates` of :func:`valuebias.simulate`."""

# A separate stream of random numbers.
_STREAM = 3


@dataclass(frozen=True)
class Recipe:
    """How to draw one covariate."""

    gap: float  # by how much the first category's mean exceeds the second's
    # By family: what one unit adds to a score, with the sign changed under negative prompts.
    slope: dict[str, float]
    slope_family: float  # slope_family, slope_model: SDs of slopes about that, by framing
    slope_model: float


_KEYS = tuple(field.name for field in fields(Recipe))


def as_recipes(
    covariates: Covariates | None, families: list[str], *, taken: tuple[str, ...]
) -> dict[str, Recipe]:
    """Check the requested covariates; ``taken`` are names of other coords."""
    covariates = covariates or {}
    for name in covariates:
        if not name.isidentifier() or name in (*taken, *DIMS, "category", "score", "membership"):
            raise ValueBiasError(
                f"A covariate may not be called {name!r}: a formula needs a name without blanks or "
                "signs that no other coordinate has, such as 'frequency'."
            )
    return {name: _as_recipe(name, numbers, families) for name, numbers in covariates.items()}


def _as_recipe(
    name: str, numbers: Mapping[str, float | Mapping[str, float]], families: list[str]
) -> Recipe:
    for key in numbers:
        if key not in _KEYS:
            raise ValueBiasError(f"The covariate {name!r} has {key!r}. {did_you_mean(key, _KEYS)}")
    slope = numbers.get("slope", 0.0)
    by_family = slope if isinstance(slope, Mapping) else dict.fromkeys(families, slope)
    for family in by_family:
        if family not in families:
            raise ValueBiasError(
                f"The covariate {name!r} has a slope of the family {family!r}. "
                f"{did_you_mean(family, families)}"
            )
    slopes = {f: _number(name, "slope", by_family.get(f, 0.0)) for f in families}
    gap = _number(name, "gap", numbers.get("gap", 0.5))
    scales = {
        key: _number(name, key, numbers.get(key, 0.0), least=0.0)
        for key in ("slope_family", "slope_model")
    }
    return Recipe(gap, slopes, **scales)


def _number(name: str, key: str, value: object, *, least: float = -np.inf) -> float:
    if not (isinstance(value, int | float | np.number) and np.isfinite(value) and value >= least):
        raise ValueBiasError(
            f"The covariate {name!r} has {key} {value!r}; expected a number"
            f"{' from 0 up' if least == 0 else ''}."
        )
    return float(value)


def draw_covariate(plan: Plan, index: int, recipe: Recipe) -> Covariate:
    """Draw the covariate that is number ``index``, and its slopes."""
    rng = plan.stream(_STREAM, index)
    towards = plan.member[:, 0].astype(np.float32) - plan.member[:, 1]
    values = rng.standard_normal(len(plan.member), dtype=np.float32) + recipe.gap / 2 * towards
    shared = np.array(list(recipe.slope.values()), dtype=np.float32)
    slopes = plan.by_framing(rng, (recipe.slope_family,) * 2, len(plan.planted))
    slopes += np.stack([shared, -shared])
    of_models = plan.by_framing(rng, (recipe.slope_model,) * 2, plan.family.size)
    return Covariate(values, slopes, slopes[:, plan.family] + plan.spread[0] * of_models)
