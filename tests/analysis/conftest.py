"""R's results, and the made-up medians that some of them are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valuebias.analysis.classical.medians import MedianRanks

ORACLES = Path(__file__).parent.parent / "oracles"


def read_json(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((ORACLES / name).read_text(encoding="utf-8"))
    return read


@pytest.fixture(scope="session")
def big2_r() -> dict[str, Any]:
    """Give what R says of the paper's Big Two scores, analysed as its authors did."""
    big2: dict[str, Any] = read_json("big2_r.json")["big2"]
    return big2


@pytest.fixture(scope="session")
def classical_r() -> dict[str, Any]:
    """Give what classical.R says: mixed models at their maximum, type-II ANOVA, Welch's t."""
    return read_json("classical_r.json")


@pytest.fixture(scope="session")
def bases_r() -> dict[str, Any]:
    """Give what bases.R says: lme4 with and without effects of the ten models' bases."""
    return read_json("bases_r.json")


def as_ranks(frame: pd.DataFrame) -> MedianRanks:
    """Arrange a table of medians; what it lacks becomes NaN."""
    models = frame.drop_duplicates("model")
    prompts = frame.drop_duplicates("prompt")
    categories = sorted(set(frame["category"]))
    values = np.full((len(models), len(prompts), len(categories)), np.nan)
    for row in frame.itertuples():
        place = list(models["model"]).index(row.model), list(prompts["prompt"]).index(row.prompt)
        values[(*place, categories.index(str(row.category)))] = row.rank
    return MedianRanks(
        values=values,
        pooled=np.full((len(models), 2, len(categories)), np.nan),
        models=tuple(models["model"]),
        prompts=tuple(prompts["prompt"]),
        categories=tuple(categories),
        framings=("positive", "negative"),
        family=tuple(models["family"]),
        framing=tuple(prompts["framing"]),
        families=tuple(sorted(set(frame["family"]))),
        n_ranked=120,
    )


@pytest.fixture(scope="session")
def three_families() -> MedianRanks:
    """Give made-up medians of 7 models of 3 families, 3 categories, 4 + 3 prompts."""
    return as_ranks(pd.read_csv(ORACLES / "three_families.csv"))


@pytest.fixture(scope="session")
def incomplete() -> MedianRanks:
    """Give the same without every fifth row."""
    frame = pd.read_csv(ORACLES / "three_families.csv")
    return as_ranks(frame[np.arange(1, len(frame) + 1) % 5 != 0])
