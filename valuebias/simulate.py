"""Simulated scores with known truth, for tests, demonstrations and power calculations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.instruments.prompts import prompts
from valuebias.schema import build

__all__ = ["DEFAULT_SD", "simulate"]

DEFAULT_SD: Mapping[str, float] = {
    "model_category": 0.10,
    "word": 0.80,
    "word_family": 0.30,
    "model_word": 0.40,
    "prompt_category": 0.10,
    "model_prompt": 0.05,
    "prompt_word": 0.17,
    "residual": 0.19,
}
"""Standard deviations near those of the paper's Big Two scores as normal scores."""

_DEFAULT_MODELS: Mapping[str, int] = {"Gemma": 4, "Llama": 6}
_DEFAULT_EFFECTS: Mapping[str, float] = {"Gemma": 0.1, "Llama": -0.1}
# Sizes of open models, so that family and size are neither confounded nor crossed exactly.
_SIZES = (2e9, 8e9, 3e9, 27e9, 1e9, 14e9, 70e9)


def simulate(
    *,
    n_models: Mapping[str, int] = _DEFAULT_MODELS,
    n_prompts: int = 54,
    n_words: int | Mapping[str, int] = 263,
    overlap: float = 0.0,
    effects: Mapping[str, float | Mapping[str, float]] | None = None,
    sd: Mapping[str, float] | None = None,
    correlation: float = 0.0,
    missing: float = 0.0,
    seed: int,
) -> xr.Dataset:
    r"""Draw scores from a crossed Gaussian model with planted family effects.

    Parameters
    ----------
    n_models : mapping of str to int
        The families, and how many models each has.
    n_prompts : int, default 54
        How many prompts, half of them positive (one more, if odd). Up to 54 they are the first of
        each framing in the prompt set "superlatives"; beyond that they have made-up names.
    n_words : int or mapping of str to int
        Words in each category. A number is split between agency and communion as 104 : 159.
    overlap : float, default 0
        The share of words, from 0 to 1, that belong to a second category as well.
    effects : mapping, optional
        The lean of each family, half of which is added to the first category and half taken from
        the second: positive prompts get it as it is, negative ones with the sign changed. A
        family's entry may also be a mapping of category to effect. The default plants +0.1 in Gemma
        and -0.1 in Llama where these are the families, else nothing.
    sd : mapping of str to float, optional
        Standard deviations that differ from :data:`DEFAULT_SD`. ``model_category``: of a model's
        lean (difference of two categories) within its family; ``word``, ``word_family``,
        ``model_word``: of a word's score in general, by family and by model; ``prompt_category``
        and ``model_prompt``: of the lean by prompt and by model and prompt; ``prompt_word``: of a
        word's score by prompt; ``residual``: of a single score.
    correlation : float, default 0
        The correlation, from -1 to 1, between the two framings in ``model_category``, ``word``,
        ``word_family`` and ``model_word``.
    missing : float, default 0
        The share of cells, from 0 to below 1, dropped at random.
    seed : int
        Seed of the random numbers; the same seed gives the same scores.

    Returns
    -------
    xarray.Dataset
        A dataset that follows the contract (:mod:`valuebias.schema`), of kind "reward". Its
        provenance says that it is simulated, and from what.

    Raises
    ------
    ValueBiasError
        If a number is out of its range or a name unknown.

    Notes
    -----
    With model :math:`m` of family :math:`g`, prompt :math:`p` of framing :math:`f` (sign
    :math:`s_f = \pm 1`), word :math:`w` and its memberships :math:`B_{wc}`,

    .. math::

        y_{mpw} = \sum_c B_{wc} (s_f e_{gc} + a_{mfc} + b_{pc} + d_{mpc})
                  + u_{wf} + v_{wgf} + t_{mwf} + q_{pw} + \epsilon_{mpw}.

    Examples
    --------
    >>> ds = simulate(n_models={"Gemma": 2, "Llama": 3}, n_prompts=4, n_words=10, seed=1)
    >>> dict(ds.sizes)
    {'model': 5, 'prompt': 4, 'response': 10, 'category': 2}
    """
    scale = _scales(sd)
    words = _word_counts(n_words)
    _check_ranges(n_models, n_prompts, overlap, correlation, missing)
    planted = _planted(effects, list(n_models), list(words))
    rng = np.random.default_rng(seed)
    member = _members(words, overlap, rng)
    family = np.repeat(np.arange(len(n_models)), list(n_models.values()))
    table = _prompt_table(n_prompts)
    framing = (table["framing"] == "negative").to_numpy().astype(np.intp)
    score = _scores(rng, family, framing, member, planted, scale, correlation)
    if missing:
        score[rng.random(score.shape, dtype=np.float32) < missing] = np.nan
    names = [f"{category}_{i + 1:04d}" for category, n in words.items() for i in range(n)]
    parameters = {
        "n_models": dict(n_models),
        "n_prompts": n_prompts,
        "n_words": words,
        "overlap": overlap,
        "effects": {
            family: dict(zip(words, row, strict=True))
            for family, row in zip(n_models, planted.tolist(), strict=True)
        },
        "sd": scale,
        "correlation": correlation,
        "missing": missing,
        "seed": seed,
    }
    return build(
        score,
        models=_model_table(n_models),
        prompts=table,
        lexicon=pd.DataFrame(member, index=pd.Index(names, dtype=object), columns=list(words)),
        responses=names,
        provenance={
            "simulated": True,
            "by": "valuebias.simulate.simulate",
            "parameters": parameters,
        },
    )


def _scales(sd: Mapping[str, float] | None) -> dict[str, float]:
    for name, value in (sd or {}).items():
        if name not in DEFAULT_SD:
            raise ValueBiasError(f"There is no SD {name!r}. {did_you_mean(name, DEFAULT_SD)}")
        if not 0 <= value < np.inf:
            raise ValueBiasError(f"The SD {name!r} is {value!r}; expected a number from 0 up.")
    return {**DEFAULT_SD, **(sd or {})}


def _word_counts(n_words: int | Mapping[str, int]) -> dict[str, int]:
    if isinstance(n_words, Mapping):
        counts = dict(n_words)
    else:
        agency = round(n_words * 104 / 263)
        counts = {"agency": agency, "communion": n_words - agency}
    for category, count in counts.items():
        if count < 1:
            raise ValueBiasError(f"Category {category!r} has {count} words; expected 1 or more.")
    if len(counts) < 2:
        raise ValueBiasError(f"n_words names {len(counts)} categories; expected 2 or more.")
    return counts


def _check_ranges(
    n_models: Mapping[str, int], n_prompts: int, overlap: float, correlation: float, missing: float
) -> None:
    if not n_models or min(n_models.values()) < 1:
        raise ValueBiasError(f"n_models is {dict(n_models)}; expected 1 or more in each family.")
    if n_prompts < 1:
        raise ValueBiasError(f"n_prompts is {n_prompts}; expected 1 or more.")
    if not 0 <= overlap <= 1:
        raise ValueBiasError(f"overlap is {overlap}; expected a share from 0 to 1.")
    if not 0 <= missing < 1:
        raise ValueBiasError(f"missing is {missing}; expected a share from 0 to below 1.")
    if not -1 <= correlation <= 1:
        raise ValueBiasError(f"correlation is {correlation}; expected -1 to 1.")


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
        if family not in families:
            raise ValueBiasError(
                f"effects names the family {family!r}. {did_you_mean(family, families)}"
            )
        if not isinstance(effect, Mapping):
            effect = {categories[0]: effect / 2, categories[1]: -effect / 2}
        for category, value in effect.items():
            if category not in categories:
                raise ValueBiasError(
                    f"effects names the category {category!r}. {did_you_mean(category, categories)}"
                )
            planted[families.index(family), categories.index(category)] = value
    return planted


def _members(
    words: Mapping[str, int], overlap: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    first = np.repeat(np.arange(len(words)), list(words.values()))
    member = np.zeros((first.size, len(words)), dtype=bool)
    member[np.arange(first.size), first] = True
    shared = rng.permutation(first.size)[: round(overlap * first.size)]
    member[shared, (first[shared] + 1) % len(words)] = True
    return member


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


def _model_table(n_models: Mapping[str, int]) -> pd.DataFrame:
    rows = [(family, i) for family, n in n_models.items() for i in range(n)]
    slug = {family: "-".join(family.lower().split()) for family in n_models}
    return pd.DataFrame(
        {
            "family": [family for family, _ in rows],
            "base": [f"{family} {1 + i % 2}" for family, i in rows],
            "stage": "reward",
            "n_params": [
                _SIZES[(i + 2 * list(n_models).index(family)) % len(_SIZES)] for family, i in rows
            ],
        },
        index=[f"simulated/{slug[family]}-{i + 1}" for family, i in rows],
    )


def _scores(
    rng: np.random.Generator,
    family: npt.NDArray[np.intp],
    framing: npt.NDArray[np.intp],
    member: npt.NDArray[np.bool_],
    planted: npt.NDArray[np.float64],
    scale: Mapping[str, float],
    correlation: float,
) -> npt.NDArray[np.float32]:
    """Draw the cube (model, prompt, word)."""
    n_models, n_prompts, (n_words, n_categories) = family.size, framing.size, member.shape

    def normal(name: str, *shape: int) -> npt.NDArray[Any]:
        return scale[name] * rng.standard_normal(shape, dtype=np.float32)

    def by_framing(name: str, *shape: int) -> npt.NDArray[Any]:
        # Two framings on the first axis, correlated.
        pair = normal(name, 2, *shape)
        pair[1] = correlation * pair[0] + np.sqrt(1 - correlation**2) * pair[1]
        return pair

    # Independent effects of SD s/√2 on each category make the difference of any two have SD s.
    half = np.sqrt(0.5)
    sign = np.where(framing == 0, 1.0, -1.0)
    by_model = by_framing("model_category", n_models, n_categories)[framing].swapaxes(0, 1)
    lean = sign[None, :, None] * planted[family][:, None, :] + half * by_model
    lean += half * normal("prompt_category", n_prompts, n_categories)
    lean += half * normal("model_prompt", n_models, n_prompts, n_categories)
    by_word = by_framing("word", 1, n_words) + by_framing("model_word", n_models, n_words)
    by_word += by_framing("word_family", len(planted), n_words)[:, family]
    score: npt.NDArray[np.float32] = (lean @ member.T).astype(np.float32)
    score += by_word[framing].swapaxes(0, 1)
    score += normal("prompt_word", n_prompts, n_words)
    score += normal("residual", *score.shape)
    return score
