"""Simulated scores with known truth, for tests, demonstrations and power calculations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known, check_number
from valuebias.datasets.simulated_scores import (
    SPREADS,
    Covariates,
    Pair,
    Plan,
    as_recipes,
    draw_covariate,
    draw_members,
    draw_scores,
)
from valuebias.errors import ValueBiasError
from valuebias.instruments.prompts import prompts
from valuebias.schema import build

__all__ = ["DEFAULT_SD", "simulate"]

DEFAULT_SD: Mapping[str, float] = {
    "model_category": 0.10,
    "base_category": 0.0,
    "word": 0.80,
    "word_family": 0.30,
    "base_word": 0.0,
    "model_word": 0.40,
    "prompt_category": 0.10,
    "model_prompt": 0.05,
    "prompt_word": 0.17,
    "residual": 0.19,
    "copy": 0.10,
}
"""Standard deviations near those of the paper's Big Two scores as normal scores."""

_DEFAULT_MODELS: Mapping[str, int] = {"Gemma": 4, "Llama": 6}
_DEFAULT_EFFECTS: Mapping[str, float] = {"Gemma": 0.1, "Llama": -0.1}
# Sizes of open models, so that family and size are neither confounded nor crossed exactly.
_SIZES = (2e9, 8e9, 3e9, 27e9, 1e9, 14e9, 70e9)


def simulate(
    *,
    n_models: Mapping[str, int | Sequence[int]] = _DEFAULT_MODELS,
    n_prompts: int = 54,
    n_words: int | Mapping[str, int] = 263,
    overlap: float = 0.0,
    effects: Mapping[str, float | Mapping[str, float]] | None = None,
    sd: Mapping[str, float | tuple[float, float]] | None = None,
    correlation: float = 0.0,
    spread: Mapping[str, float | Mapping[str, float]] | None = None,
    covariates: Covariates | None = None,
    copies: int = 0,
    missing: float = 0.0,
    seed: int,
) -> xr.Dataset:
    r"""Draw scores from a crossed Gaussian model with planted family effects.

    Parameters
    ----------
    n_models : mapping of str to int or sequence of int
        The families, and how many models each has. A sequence gives the number of models per base:
        3 and 1 are three models trained from one base and a fourth from another. With a number
        every model has its own base.
    n_prompts : int, default 54
        How many prompts, half of them positive (one more, if odd). Up to 54 they are the first of
        each framing in the prompt set "superlatives"; beyond that they have invented names.
    n_words : int or mapping of str to int
        Words in each category. A number is split between agency and communion as 104 : 159.
    overlap : float, default 0
        The share of words, from 0 to 1, that belong to a second category as well.
    effects : mapping, optional
        The lean of each family, half of which is added to the first category and half taken from
        the second: positive prompts get it unchanged, negative ones with the sign changed. A
        family's entry may also be a mapping of category to effect. The default is +0.1 for Gemma
        and -0.1 for Llama if these are the families, else nothing.
    sd : mapping of str to float or pair of float, optional
        Standard deviations that differ from :data:`DEFAULT_SD`; a pair is for positive and negative
        prompts. ``model_category``: of a model's lean (difference of two categories) within its
        base; ``base_category``: of a base's within its family; ``word``, ``word_family``,
        ``base_word``, ``model_word``: of a word's score in general, by family, by base and by
        model; ``prompt_category`` and ``model_prompt``: of the lean by prompt and by model and
        prompt; ``prompt_word``: of a word's score by prompt; ``residual``: of a single score;
        ``copy``: of the noise that a near-copy adds.
    correlation : float, default 0
        The correlation, from -1 to 1, between the two framings in all effects on ``…category`` or
        ``word…`` by model, base or family, and in slopes.
    spread : mapping of str to float or mapping, optional
        Families whose models differ more or less than others': the factor of their
        ``model_category``, ``base_category`` and ``slope_model`` and their ``model_word`` and
        ``base_word``. A family's entry may also have a number for each of the two, ``"category"``
        and ``"word"``.
    covariates : mapping of str to mapping, optional
        Covariates of words, stored as coordinates on ``response``: standard normal within each
        category. ``gap`` (0.5): by how much the first category's mean exceeds the second's;
        ``slope`` (0): what one unit adds to a word's score, for all or as a mapping by family,
        unchanged for positive prompts, with the sign changed for negative ones; ``slope_family``
        and ``slope_model`` (0): SDs of the slopes about that, by framing.
    copies : int, default 0
        Pairs of near-identical models per family: its second model has the scores of the first and
        a little noise, its fourth those of the third, and so on. The two share a base.
    missing : float, default 0
        The share of cells, from 0 to below 1, dropped at random.
    seed : int
        Seed of the random numbers; the same seed gives the same scores. It also gives the same
        effects of a kind whatever the SDs: with all others at zero, the scores are these effects.

    Returns
    -------
    xarray.Dataset
        A dataset that follows the contract (:mod:`valuebias.schema`), of kind "reward". Its
        provenance says that it is simulated, from what, and which slopes the families got.

    Raises
    ------
    ValueBiasError
        If a number is out of its range, a name unknown, or copies do not share a base.

    Notes
    -----
    With model :math:`m` on base :math:`b` of family :math:`g`, prompt :math:`p` of framing
    :math:`f` (sign :math:`s_f = \pm 1`), word :math:`w`, its memberships :math:`B_{wc}` and
    covariates :math:`x_w`,

    .. math::

        y_{mpw} = \sum_c B_{wc} (s_f e_{gc} + a_{mfc} + a'_{bfc} + b_{pc} + d_{mpc})
                  + u_{wf} + v_{wgf} + v'_{wbf} + t_{mwf} + z_{mf} x_w + q_{pw} + \epsilon_{mpw}.

    Examples
    --------
    >>> ds = simulate(n_models={"Gemma": 2, "Llama": 3}, n_prompts=4, n_words=10, seed=1)
    >>> dict(ds.sizes)
    {'model': 5, 'prompt': 4, 'response': 10, 'category': 2}

    Models that share a base, which differ by more than models do:

    >>> ds = simulate(
    ...     n_models={"Gemma": [3, 1], "Llama": [3, 2, 1]},
    ...     sd={"base_category": 0.1, "base_word": (0.3, 0.44)},
    ...     seed=1,
    ... )
    >>> ds["base"].values[:4].tolist()
    ['Gemma 1', 'Gemma 1', 'Gemma 1', 'Gemma 2']
    """
    for name, given in (("n_models", n_models), ("effects", effects), ("sd", sd),
                        ("spread", spread), ("covariates", covariates)):  # fmt: skip
        if given is not None and not isinstance(given, Mapping):
            raise ValueBiasError(f"{name} is {given!r}; expected a mapping, such as a dict.")
    for name, value in (("n_prompts", n_prompts), ("copies", copies), ("seed", seed)):
        if not isinstance(value, int | np.integer) or (name == "seed" and value < 0):
            raise ValueBiasError(f"{name} is {value!r}; expected a whole number from 0 up.")
    scale = _scales(sd)
    words = _word_counts(n_words)
    bases = {family: _base_sizes(family, n, copies) for family, n in n_models.items()}
    if not n_models:
        raise ValueBiasError("n_models is empty; expected families with 1 model or more each.")
    check_number(n_prompts, "n_prompts", "1 or more", least=1)
    check_number(overlap, "overlap", "a share from 0 to 1", least=0, most=1)
    check_number(missing, "missing", "a share from 0 to below 1", least=0, most=1, below=True)
    check_number(correlation, "correlation", "-1 to 1", least=-1, most=1)
    rng = np.random.default_rng(seed)
    table, models = _prompt_table(n_prompts), _model_table(bases)
    family = pd.factorize(models["family"])[0]
    plan = Plan(
        family=family,
        base=pd.factorize(models["base"])[0],
        framing=(table["framing"] == "negative").to_numpy().astype(np.intp),
        member=draw_members(words, overlap, rng),
        planted=_planted(effects, list(n_models), list(words)),
        sd=scale,
        spread=_spreads(spread, list(n_models))[:, family],
        correlation=correlation,
        copied=_copied(family, copies),
        seed=seed,
    )
    recipes = as_recipes(covariates, list(n_models), taken=(*models.columns, *table.columns))
    drawn = {name: draw_covariate(plan, i, r) for i, (name, r) in enumerate(recipes.items())}
    score = draw_scores(plan, list(drawn.values()), rng)
    if missing:
        score[rng.random(score.shape, dtype=np.float32) < missing] = np.nan
    names = [f"{category}_{i + 1:04d}" for category, n in words.items() for i in range(n)]
    parameters = {
        "n_models": bases,
        "n_prompts": n_prompts,
        "n_words": words,
        "overlap": overlap,
        "effects": {
            family: dict(zip(words, row, strict=True))
            for family, row in zip(n_models, plan.planted.tolist(), strict=True)
        },
        "sd": scale,
        "correlation": correlation,
        "spread": dict(spread or {}),
        "covariates": {name: asdict(recipe) for name, recipe in recipes.items()},
        "copies": copies,
        "missing": missing,
        "seed": seed,
    }
    slopes = {
        name: dict(zip(n_models, c.slopes.T.tolist(), strict=True)) for name, c in drawn.items()
    }
    ds = build(
        score,
        models=models,
        prompts=table,
        lexicon=pd.DataFrame(plan.member, index=pd.Index(names, dtype=object), columns=list(words)),
        responses=names,
        provenance={
            "simulated": True,
            "by": "valuebias.simulate",
            "parameters": parameters,
            "slopes": slopes,
        },
    )
    return ds.assign_coords({name: ("response", c.values) for name, c in drawn.items()})


def _scales(sd: Mapping[str, float | tuple[float, float]] | None) -> dict[str, Pair]:
    """Expand every SD by framing."""
    for name, value in (sd or {}).items():
        check_known(name, DEFAULT_SD, f"There is no SD {name!r}.")
        parts = list(np.ravel(np.asarray(value, dtype=object)))
        if len(parts) not in (1, 2) or not all(_is_number(v) and v >= 0 for v in parts):
            raise ValueBiasError(
                f"The SD {name!r} is {value!r}; expected a number from 0 up, or two of them, for "
                "positive and negative prompts."
            )
    pairs = {
        name: np.broadcast_to(v, 2).tolist() for name, v in {**DEFAULT_SD, **(sd or {})}.items()
    }
    return {name: (float(first), float(second)) for name, (first, second) in pairs.items()}


def _base_sizes(family: str, n: Any, copies: int) -> list[int]:
    """Count the models of a family on each base."""
    each = list(n) if isinstance(n, Iterable) else [n]
    if not all(isinstance(size, int | np.integer) for size in each):
        sizes = []
    elif isinstance(n, Iterable):
        sizes = each
    else:
        sizes = [2] * min(copies, n // 2)
        sizes += [1] * (n - sum(sizes))
    if not sizes or min(sizes) < 1:
        raise ValueBiasError(
            f"n_models has {n!r} for the family {family!r}; expected a number of 1 or more, or "
            "such a number for each base."
        )
    base = np.repeat(np.arange(len(sizes)), sizes)
    pairs = base[: 2 * copies]
    if copies < 0 or len(pairs) < 2 * copies or (pairs[::2] != pairs[1::2]).any():
        raise ValueBiasError(
            f"copies is {copies}, and the family {family!r} has {sizes} models by base: the first "
            f"{2 * copies} cannot be pairs on one base each. Give fewer copies or more models."
        )
    return sizes


def _copied(family: npt.NDArray[np.intp], copies: int) -> npt.NDArray[np.intp]:
    """Index of the model whose scores each model has: itself, or if a near-copy its neighbour."""
    position = np.arange(family.size)
    within = position - np.searchsorted(family, family)
    return np.asarray(position - ((within % 2 == 1) & (within < 2 * copies)))


def _spreads(
    spread: Mapping[str, float | Mapping[str, float]] | None, families: list[str]
) -> npt.NDArray[np.float32]:
    """Give the factors as an array (of effects on categories or words, family)."""
    out = np.ones((len(SPREADS), len(families)), dtype=np.float32)
    for family, entry in (spread or {}).items():
        check_known(family, families, f"spread names the family {family!r}.")
        parts = entry if isinstance(entry, Mapping) else dict.fromkeys(SPREADS, entry)
        for part, value in parts.items():
            check_known(part, SPREADS, f"The spread of {family!r} has {part!r}.")
            if not _is_number(value) or not 0 <= value < np.inf:
                raise ValueBiasError(
                    f"The spread of {family!r} is {value!r}; expected a number from 0 up."
                )
            out[SPREADS.index(part), families.index(family)] = value
    return out


def _word_counts(n_words: int | Mapping[str, int]) -> dict[str, int]:
    numbers = n_words.values() if isinstance(n_words, Mapping) else [n_words]
    if not all(isinstance(n, int | np.integer) for n in numbers):
        raise ValueBiasError(
            f"n_words is {n_words!r}; expected a whole number, or one for each category."
        )
    if isinstance(n_words, Mapping):
        counts = dict(n_words)
    else:
        agency = round(n_words * 104 / 263)
        counts = {"agency": agency, "communion": n_words - agency}
    for category, count in counts.items():
        if count < 1:
            raise ValueBiasError(f"Category {category!r} has {count} words; expected 1 or more.")
    if len(counts) < 2:
        noun = "category" if len(counts) == 1 else "categories"
        raise ValueBiasError(f"n_words names {len(counts)} {noun}; expected 2 or more.")
    return counts


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating) and bool(np.isfinite(value))


def _planted(
    effects: Mapping[str, float | Mapping[str, float]] | None,
    families: list[str],
    categories: list[str],
) -> npt.NDArray[np.float64]:
    """Give the effects as an array (family, category)."""
    if effects is None:
        effects = {f: e for f, e in _DEFAULT_EFFECTS.items() if f in families}
    planted = np.zeros((len(families), len(categories)))
    for family, effect in effects.items():
        check_known(family, families, f"effects names the family {family!r}.")
        entries = effect.values() if isinstance(effect, Mapping) else [effect]
        if not all(map(_is_number, entries)):
            raise ValueBiasError(
                f"The effect of {family!r} is {effect!r}; expected a number, or one per category."
            )
        if not isinstance(effect, Mapping):
            effect = {categories[0]: effect / 2, categories[1]: -effect / 2}
        for category, value in effect.items():
            check_known(category, categories, f"effects names the category {category!r}.")
            planted[families.index(family), categories.index(category)] = value
    return planted


def _prompt_table(n_prompts: int) -> pd.DataFrame:
    n_negative = n_prompts // 2
    counts = {"positive": n_prompts - n_negative, "negative": n_negative}
    if n_prompts <= 54:
        known = prompts("superlatives").table
        return pd.concat([known[known["framing"] == f].head(n) for f, n in counts.items()])
    framing = [f for f, n in counts.items() for _ in range(n)]
    names = [f"prompt_{i + 1:04d}" for i in range(n_prompts)]
    texts = [f"Simulated {f} prompt {i + 1}." for i, f in enumerate(framing)]
    return pd.DataFrame({"text": texts, "framing": framing}, index=names)


def _model_table(bases: Mapping[str, list[int]]) -> pd.DataFrame:
    """Describe the models; those of one base have the same size."""
    rows = [
        (family, "-".join(family.lower().split()), f, base)
        for f, (family, sizes) in enumerate(bases.items())
        for base, size in enumerate(sizes)
        for _ in range(size)
    ]
    number = pd.Series([family for family, *_ in rows]).pipe(lambda s: s.groupby(s).cumcount())
    return pd.DataFrame(
        {
            "family": [family for family, *_ in rows],
            "base": [f"{family} {base + 1}" for family, _, _, base in rows],
            "stage": "reward",
            "n_params": [_SIZES[(base + 2 * f) % len(_SIZES)] for _, _, f, base in rows],
        },
        index=[f"simulated/{row[1]}-{i + 1}" for row, i in zip(rows, number, strict=True)],
    )
