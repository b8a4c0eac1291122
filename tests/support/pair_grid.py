"""Simulated pairs of models, whose leans are those of their models."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.schema import build

TRUE_LEAN = 0.5


def grid(seed: int, numerators: int = 4, denominators: int = 4) -> xr.Dataset:
    """Pairs whose leans are those of their models: half of 0.5 ± 0.3 and ± 0.3, and the words'."""
    rng = np.random.default_rng(seed)
    n_prompts, n_words = 6, 30
    axis = np.repeat([1.0, -1.0], n_words // 2)
    sign = np.repeat([1.0, -1.0], n_prompts // 2)
    lean = (
        TRUE_LEAN
        + 0.3 * rng.normal(size=(numerators, 1))
        - 0.3 * rng.normal(size=(1, denominators))
    )
    lean = lean.ravel()[:, None, None] / 2 * sign[:, None] * axis
    score = lean + rng.normal(size=n_words) + 0.3 * rng.normal(size=lean.shape)
    pairs = list(product(range(numerators), range(denominators)))
    models = pd.DataFrame(
        {
            "family": "A over B",
            "base": "A over B",
            "stage": "pretrained",
            "numerator": [f"a{a}" for a, _ in pairs],
            "denominator": [f"b{b}" for _, b in pairs],
        },
        index=[f"a{a} − b{b}" for a, b in pairs],
    )
    framing = np.where(sign > 0, "positive", "negative")
    prompts = pd.DataFrame({"text": [f"p{i}" for i in range(n_prompts)], "framing": framing},
                           index=[f"p{i}" for i in range(n_prompts)])  # fmt: skip
    lexicon = pd.DataFrame({"agency": axis > 0, "communion": axis < 0},
                           index=[f"w{i}" for i in range(n_words)])  # fmt: skip
    words = list(lexicon.index)
    return build(score, models=models, prompts=prompts, lexicon=lexicon, responses=words,
                 kind="implicit")  # fmt: skip
