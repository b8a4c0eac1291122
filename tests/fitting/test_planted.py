"""Likings planted in the scores of batteries, and whether they come back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import valuebias
from valuebias.schema.contrast_categories import score_sd

Planted = tuple[str, tuple[str, str], float, Callable[[pd.DataFrame], Any]]
PLANTED: dict[str, Planted] = {
    # By which coordinate, the two sides, how much, and of what.
    "sycophancy": (
        "variant",
        ("opinion wrong, answer wrong", "opinion none, answer wrong"),
        0.8,
        lambda first: (first["opinion"] == "wrong") & (first["agreement"] == "agrees"),
    ),
    "hedging": ("hedging", ("very hedged", "confident"), -0.6, lambda first: first["doubt"]),
    "position": ("position", ("B", "A"), 0.5, lambda first: first["position"] == "B"),
    "length": ("verbosity", ("very long", "plain"), 0.3, lambda first: np.log(first["length"])),
}


@pytest.mark.parametrize("name", list(PLANTED))
def test_what_is_planted_in_a_battery_comes_back(name: str) -> None:
    rng = np.random.default_rng(list(map(ord, name)))
    made = valuebias.battery(name, valuebias.questions("arithmetic", n=80, seed=1))
    first, (by, sides, size, column) = made.table.loc[made.items[0]], PLANTED[name]
    effect = size * column(first).to_numpy(dtype=float)
    n_models, n_items = 8, len(made.items)
    own = 1 + 0.1 * rng.standard_normal((n_models, 1, 1))
    score = rng.normal(size=(n_models, n_items, len(effect))) + own * effect
    score += 2 * rng.normal(size=(n_models, n_items, 1))  # questions differ, and may
    models = pd.DataFrame(
        {"family": ["A", "B"] * 4, "stage": "reward"}, index=[f"org/m{i}" for i in range(n_models)]
    )
    scores = valuebias.schema.build_contrasts(score, models=models, contrasts=made)
    of = [effect[(first.index if by == "variant" else first[by]) == side].mean() for side in sides]
    truth = (of[0] - of[1]) / score_sd(scores) * own[:, 0, 0]
    found = valuebias.contrast_statistics(scores, by=by, contrast=sides)
    gap = found.to_frame("gap", level="model")
    inside = (gap["lower"] <= truth) & (truth <= gap["upper"])
    assert inside.sum() >= 5  # binomial(8, 0.9) is lower once in 200
    assert (gap["p"] < 0.05).all()
    gaps = found.to_frame("gap", level="family").set_index("name")
    for family in "AB":
        row, mine = gaps.loc[family], models["family"].to_numpy() == family
        assert abs(row["estimate"] - truth[mine].mean()) < 3 * row["se"]
    if name == "position":
        row = found.to_frame("spread over positions", level="model").set_index("name")
        spread = np.array([effect[first["position"] == p].mean() for p in "ABCD"]).std()
        expected = spread / score_sd(scores) * own[:, 0, 0]
        assert ((row["lower"] <= expected) & (expected <= row["upper"])).sum() >= 5
        assert (row["p"] < 0.01).all()
    if name in ("hedging", "length"):
        number = {"hedging": "doubt", "length": "length"}[name]
        within = found.to_frame("correlation within items", level="model")
        within = within[within["of"] == number]
        assert (np.sign(within["estimate"]) == np.sign(size)).all()
        assert (within["p"] < 0.01).all()
    fit = valuebias.fit(
        scores, by=None if by == "variant" else by, contrast=sides, seed=1, draws=200, tune=200,
        progress=False,
    )  # fmt: skip
    leans = fit.models().set_index("name").loc[models.index]
    assert (np.abs(leans["mean"] - truth) < 3 * leans["sd"]).all()
