"""One fit of an ablation that is saved, read and reported."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from ablations import ablation

import valuebias
from valuebias import AblationFit, ValueBiasWarning

HOSTILE = ("<script>alert(1)</script>", "=cmd()", r"\input{x}", "a|b", "\ud83d", "{{ 7 * 7 }}")
FAMILIES = ("<b>Gem$ma</b>", "Lla_ma")


def hostile_ablation() -> xr.Dataset:
    """Give runs of two checkpoints each, with accuracies, and names that are out to do harm."""
    ds = ablation(
        11, families=FAMILIES, sources=("$s$", "_t"), n_pairs=(8_000, 16_000), seeds=2,
        shares=(0.5, 1.0), n_words=20,
    )  # fmt: skip
    words = ds["response"].to_numpy().astype("U80")
    words[: len(HOSTILE)] = HOSTILE
    share = np.linspace(0.6, 0.7, ds.sizes["model"])
    return ds.assign_coords(
        response=words, accuracy=("model", share), loss=("model", 1 - share / 2)
    )


@pytest.fixture(scope="session")
def hostile_fit() -> AblationFit:
    """Give a fit of too few draws, so that it does not converge and has to say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit_ablation(
            hostile_ablation(), draws=60, tune=150, chains=2, seed=1, progress=False
        )


@pytest.fixture(scope="session")
def medians_fit() -> AblationFit:
    """Give a fit of a table of medians, with a gap that halves."""
    rng = np.random.default_rng(1)
    rows = [
        (family, f"{family} 2B", n, step, category, 700 + sign * gap / 4 + 2 * rng.normal())
        for family, turn in (("<b>Ä", 1), ("B", -1))
        for n, gap in ((1000, 200.0), (2000, 150.0), (4000, 100.0))
        for step in (1, 2)
        for category, sign in (("agency", -turn), ("communion", turn))
    ]
    names = ["family", "base", "n_pairs", "checkpoint", "category", "median_rank"]
    table = pd.DataFrame(rows, columns=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit_ablation_medians(table.assign(source="s"), draws=100, seed=7)
