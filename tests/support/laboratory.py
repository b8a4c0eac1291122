"""The laboratory's study: reward models of two families on neutral and on leaning preferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import valuebias
from valuebias import Model, lab
from valuebias.ablation import Study

__all__ = ["LEANS", "N_PAIRS", "PENALTY", "PROMPTS", "fitted", "leans", "logprobs", "on_one_scale",
           "preferences", "pretrained", "study"]  # fmt: skip

LEANS = {"llama": 1.5, "gemma": -1.5}
N_PAIRS = (64, 128, 256)
PENALTY = 1000
"""Keeps a head near zero, so that 256 pairs do not already say all that many more would."""
PROMPTS = valuebias.prompts().table.iloc[4::9]
"""Six of the superlatives, three of each framing."""


def pretrained(folder: Path, leans: Mapping[str, float] = LEANS, *, n_each: int = 3) -> list[Model]:
    """Pretrain base models as the guide does, each from a seed of its own."""
    return [
        lab.pretrain(
            folder / f"{architecture}-{seed}",
            architecture=architecture,
            lean=lean,
            seed=seed,
            progress=False,
        )
        for seed, (architecture, lean) in enumerate([*leans.items()] * n_each)
    ]


def preferences(share_lean: float = 0.0, *, n_pairs: int = 512, seed: int = 0) -> pd.DataFrame:
    """Generate a source of which a share favours communion."""
    return lab.generate_preferences(n_pairs, share_lean=share_lean, favour="communion", seed=seed)


def study(
    bases: Sequence[Model],
    sources: Mapping[str, float],
    n_pairs: Sequence[int] = N_PAIRS,
    *,
    seeds: Sequence[int] = (0, 1),
) -> Study:
    """Describe reward models of bases × sources × numbers of pairs × seeds."""
    tables = {
        name: preferences(share, seed=seed) for seed, (name, share) in enumerate(sources.items())
    }
    return Study(bases, tables, n_pairs, seeds=seeds, penalty=PENALTY, prompts=PROMPTS)


def leans(ds: xr.Dataset) -> dict[str, float]:
    """Give the signed lean of each model, of raw scores; the arithmetic stands here once more."""
    member = ds["membership"].sel(category="agency").to_numpy()
    score = ds["score"].to_numpy().astype(float)
    gap = score[:, :, member].mean(axis=2) - score[:, :, ~member].mean(axis=2)
    positive = ds["framing"].to_numpy() == "positive"
    signed = (gap[:, positive].mean(axis=1) - gap[:, ~positive].mean(axis=1)) / 2
    return dict(zip(ds["model"].to_numpy().tolist(), np.round(signed, 6), strict=True))


def on_one_scale(rewards: xr.Dataset) -> xr.Dataset:
    """Divide each model's rewards by their SD, so that models can be compared."""
    return rewards.assign(score=rewards["score"] / rewards["score"].std(("prompt", "response")))


def logprobs(models: Sequence[Model]) -> xr.Dataset:
    """Score language models on the six prompts."""
    return valuebias.score(models, prompts=PROMPTS, kind="logprob", progress=False)


def fitted(rewards: xr.Dataset) -> valuebias.AblationFit:
    """Fit the whole study."""
    return valuebias.fit_ablation(rewards, seed=1, progress=False)
