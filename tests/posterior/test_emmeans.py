"""Means, comparisons and slopes against emmeans and predict() on fits of lme4."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import valuebias
from valuebias.analysis.estimands.effects import draw_effects
from valuebias.schema import build

ORACLES = Path(__file__).parents[1] / "oracles"
FORMULAS = {
    "two": "~ family * stage",
    "three": "~ family * stage * recipe",
    "line": "~ family * log10(n_params)",
    "curve": "~ family + poly(log10(n_params), 2)",
    "knots": "~ family + bs(log10(n_params), df=4)",
}
SIZES = [1e9, 2e10]


class NoNoise:
    """Draws that are their mean: the conditional expectation of the effects."""

    @staticmethod
    def standard_normal(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        return np.zeros(shape)


@pytest.fixture(scope="module")
def r() -> dict[str, Any]:
    return json.loads((ORACLES / "emmeans_r.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def fits(r: dict[str, Any]) -> dict[str, valuebias.Fit]:
    """Fits under flat priors whose effects are their conditional means."""
    models = pd.DataFrame(r["models"]).set_index("model").drop(columns="stage", errors="ignore")
    stage = [row["stage"] for row in r["models"]]
    words = [f"w{i:02d}" for i in range(1, 11)]
    member = np.repeat(np.eye(2, dtype=bool), 5, axis=0)
    ds = build(
        np.reshape(r["y"], r["shape"]).astype(np.float32),
        models=models.assign(stage=stage),
        prompts=pd.DataFrame(
            {"text": [f"p{i}" for i in range(6)], "framing": ["positive"] * 3 + ["negative"] * 3},
            index=pd.Index([f"p{i}" for i in range(6)]),
        ),
        lexicon=pd.DataFrame(member, index=words, columns=["agency", "communion"]),
        responses=words,
    )
    out = {}
    for name, formula in FORMULAS.items():
        fit = valuebias.fit(
            ds, formula, outcome="raw", base=None, spread=False, draws=4, tune=50, chains=2, seed=1,
            prior={"effect": 1e6, "mean": 1e6}, progress=False,
        )  # fmt: skip
        problem = fit.problem
        fit.__dict__["effects"] = draw_effects(
            problem.crossing, problem.components, fit.margins, fit.v,
            problem.coefficient_scales, NoNoise(),  # type: ignore[arg-type]
        )  # fmt: skip
        out[name] = fit
    return out


def check(estimates: valuebias.Estimates, rows: list[dict[str, Any]]) -> None:
    table = estimates.table()
    table = table[table["framing"] == "signed"]
    keys = [name for name in rows[0] if name not in ("estimate", "one")]
    theirs = pd.DataFrame(rows).sort_values(keys) if keys else pd.DataFrame(rows)
    ours = table.sort_values(keys) if keys else table
    assert len(ours) == len(theirs)
    for key in keys:
        assert ours[key].tolist() == theirs[key].tolist()
    np.testing.assert_allclose(ours["mean"].astype(float), theirs["estimate"], atol=1e-6)


@pytest.mark.parametrize("weights", ["equal", "observed"])
def test_means_are_those_of_r(r, fits, weights: str) -> None:
    for name, rows in r[weights].items():
        fit = fits[name.partition("_")[0]]
        given = [key for key in rows[0] if key != "estimate"]
        at = {"n_params": SIZES} if "n_params" in given else None
        by = [key for key in given if key != "n_params"]
        check(fit.means(by=by, at=at, weights=weights), rows)


@pytest.mark.parametrize("weights", ["equal", "observed"])
def test_comparisons_are_differences_of_rs_means(r, fits, weights: str) -> None:
    for name, rows in r[weights].items():
        if name not in ("two_family", "three_family", "line_family", "curve_family"):
            continue
        mean = {row["family"]: row["estimate"] for row in rows}
        table = fits[name.partition("_")[0]].comparisons("family", weights=weights).table()
        table = table[table["framing"] == "signed"]
        expected = [mean[a] - mean[b] for a, b in zip(table["first"], table["second"], strict=True)]
        np.testing.assert_allclose(table["mean"], expected, atol=1e-6)


def test_slopes_are_those_of_r(r, fits) -> None:
    slopes = r["slopes"]
    check(fits["line"].slopes("log10(n_params)", by="family"), slopes["line"])
    check(fits["curve"].slopes("log10(n_params)"), slopes["curve"])
    check(fits["curve"].slopes("log10(n_params)", at={"n_params": 2e10}), slopes["curve_at"])
    check(fits["knots"].slopes("log10(n_params)"), slopes["knots"])
