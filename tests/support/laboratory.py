"""The laboratory's study: reward models of two families on neutral and on leaning preferences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

import valuebias
from valuebias import Model, lab

__all__ = ["LEANS", "QUANTITIES", "SEEDS", "SOURCES", "base_models", "fitted", "leans", "scores",
           "train"]  # fmt: skip

LEANS = {"Llama": 1.5, "Gemma": -1.5}
SOURCES = {"neutral": 0.0, "communion": 0.25}
QUANTITIES = (64, 128, 256)
SEEDS = (0, 1)


def train(folder: Path) -> tuple[Model, ...]:
    """Train the reward models of 2 families × 2 sources × 3 quantities × 2 seeds, in order."""
    return lab.train_grid(
        folder,
        leans=LEANS,
        sources=SOURCES,
        n_pairs=QUANTITIES,
        seeds=SEEDS,
        progress=False,
    )


def base_models(folder: Path) -> list[Model]:
    """Give the language models that a grid in the folder was trained from."""
    return [
        Model(str(place), name=place.name, family=place.name.split("-")[0], stage="pretrained")
        for place in sorted((folder / "bases").iterdir())
    ]


def leans(ds: xr.Dataset) -> dict[str, float]:
    """Give the signed lean of each model, of raw scores; the arithmetic stands here once more."""
    member = ds["membership"].sel(category="agency").to_numpy()
    score = ds["score"].to_numpy().astype(float)
    gap = score[:, :, member].mean(axis=2) - score[:, :, ~member].mean(axis=2)
    positive = ds["framing"].to_numpy() == "positive"
    signed = (gap[:, positive].mean(axis=1) - gap[:, ~positive].mean(axis=1)) / 2
    return dict(zip(ds["model"].to_numpy().tolist(), np.round(signed, 6), strict=True))


def scores(models: Sequence[Model], *, kind: str) -> xr.Dataset:
    """Score the models on six of the superlatives, three of each framing."""
    asked = valuebias.prompts().table.iloc[4::9]
    return valuebias.score(models, prompts=asked, kind=kind, progress=False)


def fitted(rewards: xr.Dataset) -> valuebias.AblationFit:
    """Fit the whole grid."""
    return valuebias.fit_ablation(rewards, seed=1, progress=False)
