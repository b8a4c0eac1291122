"""Fits whose estimates are drawn beside the data, and names that are out to do harm."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias.fitting.result import Fit
from valuebias.schema import build

HOSTILE = (
    "<script>alert(1)</script>",
    "=cmd()",
    r"\input{x}",
    "\u05e9\u05dc\u05d5\u05dd",
    "$x$ and $y$",
    "two\nlines",
    "\ud83d",
    "\u202eoverride",
    "\u4e2d\u6587",
    "\x1b[31mred",
    "</svg><img src=x onerror=alert(2)>",
    "]]>",
    "_under",
    " love",
    "long" * 30,
)


def fitted(dataset: xr.Dataset, formula: str) -> Fit:
    fit = valuebias.fit(dataset, formula, draws=60, tune=150, chains=2, seed=1, progress=False)
    assert isinstance(fit, Fit)
    return fit


@pytest.fixture(scope="session")
def fit(simulated: xr.Dataset) -> Fit:
    """Give a short fit of the simulated dataset."""
    return fitted(simulated, "~ family")


@pytest.fixture(scope="session")
def logprobs() -> xr.Dataset:
    """Give log-probs of 3 + 2 models on 24 words, most of them hostile; some in both categories."""
    words = [*HOSTILE, *(f"w{i}" for i in range(24 - len(HOSTILE)))]
    rng = np.random.default_rng(5)
    score = np.log(rng.dirichlet(np.full(24, 0.5), size=(5, 6)) + 1e-6)
    family = ["<b>Gem$ma</b>"] * 3 + ["Lla|ma$"] * 2
    models = pd.DataFrame(
        {"family": family, "base": "b", "stage": "pretrained"},
        index=["google/gemma", "$a$", "<i>" * 30, "meta/llama", "\u4e2d"],
    )
    framing = ["positive", "negative"] * 3
    prompts = pd.DataFrame({"text": [*"abcdef"], "framing": framing}, index=[*"abcdef"])
    place = np.arange(24)
    lexicon = pd.DataFrame(
        {"ag$en$cy": place % 2 == 0, "<com>munion": (place % 2 == 1) | (place % 6 == 0)},
        index=pd.Index(words, dtype=object),
    )
    return build(
        score, models=models, prompts=prompts, responses=words, lexicon=lexicon, kind="logprob"
    )


@pytest.fixture(scope="session")
def pairs(logprobs: xr.Dataset) -> xr.Dataset:
    """Give the six implicit rewards of three models against two."""
    return valuebias.implicit(logprobs, numerator="<b>Gem$ma</b>", denominator="Lla|ma$")


@pytest.fixture(scope="session")
def pair_fit(pairs: xr.Dataset) -> Fit:
    """Give a short fit of the implicit rewards."""
    return fitted(pairs, "~ 1")
