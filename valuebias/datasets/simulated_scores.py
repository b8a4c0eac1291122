"""Draw the scores of a simulated crossing, effect by effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from valuebias._core.checks import check_known
from valuebias.errors import ValueBiasError
from valuebias.schema import DIMS

__all__ = [
    "SPREADS",
    "Covariate",
    "Covariates",
    "Plan",
    "as_recipes",
    "draw_covariate",
    "draw_members",
    "draw_scores",
]

Floats = npt.NDArray[np.float32]
Pair = tuple[float, float]

SPREADS = ("category", "word")
"""Spreads that families may differ in: of their models' leans, and on single words."""

# Bases, near-copies and covariates draw from separate streams, so that all other draws of a
# seed stay the same with or without them.
_BASES, _COPIES, _COVARIATES = 1, 2, 3
# Independent effects of SD s/√2 on each category make the difference of any two have SD s.
_HALF = np.sqrt(0.5)
Covariates = Mapping[str, Mapping[str, float | Mapping[str, float]]]
"""The argument `covariates` of :func:`valuebias.simulate`."""


@dataclass(frozen=True)
class Plan:
    """The design of a simulation."""

    family: npt.NDArray[np.intp]  # family, base: (model,)
    base: npt.NDArray[np.intp]
    framing: npt.NDArray[np.intp]  # (prompt,): 0 for positive, 1 for negative
    member: npt.NDArray[np.bool_]  # (word, category)
    planted: npt.NDArray[np.float64]  # (family, category)
    sd: Mapping[str, Pair]  # by framing
    spread: Floats  # (2, model): factors of the SDs of the model and its base, by :data:`SPREADS`
    correlation: float  # between the framings
    # (model,): the model whose scores a model has; itself unless it is a near-copy.
    copied: npt.NDArray[np.intp]
    seed: int

    def stream(self, *key: int) -> np.random.Generator:
        """Make random numbers that depend on the seed and ``key`` alone."""
        return np.random.default_rng([self.seed, *key])

    def by_framing(self, rng: np.random.Generator, sd: Pair, *shape: int) -> Floats:
        """Draw effects correlated over framings, (framing, …)."""
        pair: Floats = rng.standard_normal((2, *shape), dtype=np.float32)
        pair[1] = self.correlation * pair[0] + np.sqrt(1 - self.correlation**2) * pair[1]
        scale = np.array(sd, dtype=np.float32).reshape(2, *(1 for _ in shape))
        return np.asarray(pair * scale)

    def by_prompt(self, name: str) -> Floats:
        """Give the SD of every prompt, that of its framing; (prompt, 1)."""
        return np.array(self.sd[name], dtype=np.float32)[self.framing][:, None]


@dataclass(frozen=True)
class Covariate:
    """A covariate of words, and its effects on scores."""

    values: Floats  # (word,)
    slopes: Floats  # (framing, family): slopes of the families
    by_model: Floats  # (framing, model): slopes of the models


def draw_members(
    words: Mapping[str, int], overlap: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Draw which words are in which categories, (word, category)."""
    first = np.repeat(np.arange(len(words)), list(words.values()))
    member = np.zeros((first.size, len(words)), dtype=bool)
    member[np.arange(first.size), first] = True
    shared = rng.permutation(first.size)[: round(overlap * first.size)]
    member[shared, (first[shared] + 1) % len(words)] = True
    return member


def draw_scores(plan: Plan, covariates: Sequence[Covariate], rng: np.random.Generator) -> Floats:
    """Draw the cube (model, prompt, word)."""
    framing, family, base = plan.framing, plan.family, plan.base
    n_models, n_prompts, (n_words, n_categories) = family.size, framing.size, plan.member.shape
    on_categories, on_words = plan.spread[..., None]

    def joint(name: str, *shape: int, of: np.random.Generator = rng) -> Floats:
        return plan.by_framing(of, plan.sd[name], *shape)

    def nested(name: str, *shape: int) -> Floats:
        return np.asarray(plan.by_prompt(name) * rng.standard_normal(shape, dtype=np.float32))

    of_bases = plan.stream(_BASES)
    n_bases = int(base.max()) + 1
    sign = np.where(framing == 0, 1.0, -1.0)
    by_model = on_categories * joint("model_category", n_models, n_categories)
    by_model += on_categories * joint("base_category", n_bases, n_categories, of=of_bases)[:, base]
    lean = sign[None, :, None] * plan.planted[family][:, None, :]
    lean = lean + _HALF * by_model[framing].swapaxes(0, 1)
    lean += _HALF * nested("prompt_category", n_prompts, n_categories)
    lean += _HALF * nested("model_prompt", n_models, n_prompts, n_categories)
    by_word = joint("word", 1, n_words) + on_words * joint("model_word", n_models, n_words)
    by_word += joint("word_family", len(plan.planted), n_words)[:, family]
    by_word += on_words * joint("base_word", n_bases, n_words, of=of_bases)[:, base]
    for covariate in covariates:
        by_word += covariate.by_model[:, :, None] * covariate.values
    score: Floats = (lean @ plan.member.T).astype(np.float32)
    score += by_word[framing].swapaxes(0, 1)
    score += nested("prompt_word", n_prompts, n_words)
    score += nested("residual", *score.shape)
    copies = np.flatnonzero(plan.copied != np.arange(n_models))
    if copies.size:
        noise = plan.stream(_COPIES).standard_normal(score[copies].shape, dtype=np.float32)
        score[copies] = score[plan.copied[copies]] + plan.by_prompt("copy") * noise
    return score


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
        check_known(key, _KEYS, f"The covariate {name!r} has {key!r}.")
    slope = numbers.get("slope", 0.0)
    by_family = slope if isinstance(slope, Mapping) else dict.fromkeys(families, slope)
    for family in by_family:
        check_known(
            family, families, f"The covariate {name!r} has a slope of the family {family!r}."
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
    rng = plan.stream(_COVARIATES, index)
    towards = plan.member[:, 0].astype(np.float32) - plan.member[:, 1]
    values = rng.standard_normal(len(plan.member), dtype=np.float32) + recipe.gap / 2 * towards
    shared = np.array(list(recipe.slope.values()), dtype=np.float32)
    slopes = plan.by_framing(rng, (recipe.slope_family,) * 2, len(plan.planted))
    slopes += np.stack([shared, -shared])
    of_models = plan.by_framing(rng, (recipe.slope_model,) * 2, plan.family.size)
    return Covariate(values, slopes, slopes[:, plan.family] + plan.spread[0] * of_models)
