"""Effects of bases on the paper's ten models, against lme4: see tests/oracles/bases.R.

At lme4's variances the family difference and its standard error are lme4's, and the restricted
likelihoods with and without bases differ as lme4's do; the standard errors need no scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from lme4_tables import covariances_of, in_v

from valuebias import fit
from valuebias.analysis.design.components import make_components
from valuebias.analysis.design.crossing import make_crossing
from valuebias.analysis.design.formula import parse_formula
from valuebias.analysis.design.grouping import find_groups
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.design.strata import make_strata, make_tables
from valuebias.analysis.estimands.effects import component_covariances, make_margins
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.outcome import outcome

Array = np.ndarray
FLAT = Prior(mean=1e4, effect=1e4)
# What lme4 calls them; two framings keep model × word apart from what is left.
OURS = {
    "word:family": "word:family",
    "word:base": "base_word",
    "base": "base_category",
    "model": "model_category",
    "word": "word",
}
WEIGHTS = {
    "signed": {"signed": [1.0]},
    "framings": {"signed": [0.5, -0.5], "positive": [1.0, 0.0], "negative": [0.0, 1.0]},
}


@pytest.fixture(scope="module")
def means(big2: xr.Dataset) -> xr.DataArray:
    """Give the normal scores' means by model, framing and word, the words of agency first."""
    scores = outcome(big2)
    made = scores.groupby("framing").mean("prompt").transpose("model", "framing", "response")
    agency = big2["membership"].sel(category="agency", response=made["response"]).to_numpy()
    order = np.argsort(~agency, kind="stable")
    return made.sel(framing=["positive", "negative"]).isel(response=order)


def ten(bases_r: dict[str, Any], y: Array, names: list[str], *, bases: bool) -> Problem:
    """Set up the ten models: 104 words of agency and 159 of communion, one "prompt" a framing."""
    models = pd.DataFrame(
        {key: [bases_r[key][name] for name in names] for key in ("family", "base")}
    )
    member = pd.DataFrame({"agency": np.arange(263) < 104, "communion": np.arange(263) >= 104})
    framing = np.array(["positive", "negative"][: y.shape[1]])
    design = parse_formula("~ family", models)
    groups = find_groups(models, "base" if bases else None)
    crossing = make_crossing(y, design, framing, member, pd.Index(framing), groups=groups)
    components, tables = make_components(crossing), make_tables(crossing, crossing.y)
    strata = make_strata(crossing, components, tables, FLAT.coefficient_scales(crossing))
    return Problem(crossing, components, FLAT, strata)


def as_ours(problem: Problem, sds: list[dict[str, Any]]) -> Array:
    """Translate lme4's SDs; those of leans are of a difference of two categories."""
    r = covariances_of(sds)
    ours = {name: r[group] / (2 if name.endswith("category") else 1)
            for group, name in OURS.items() if group in r}  # fmt: skip
    # Two families' independent effects on a word: half their variance is in its mean.
    ours["word"] = r["word"] + r["word:family"] / 2
    ours["model_word"] = r["Residual"] + r.get("word:model", 0.0)
    return in_v(problem.components, ours)


def differences(problem: Problem, v: Array, weights: Array) -> tuple[Array, Array]:
    """Generalised least squares: Gemma less Llama in lean, and its standard error."""
    crossing, components = problem.crossing, problem.components
    margins = make_margins(crossing, make_tables(crossing, crossing.y))
    covariance = sum(component_covariances(components, v[None], crossing.axes[0]).values())
    basis, design = crossing.model_basis, crossing.design
    framings = np.eye(components.n_framings)  # one prompt each, so that no mean is weighted
    x = np.kron(basis.T @ design.matrix, framings)
    y = (basis.T @ margins.on_axes[0]).ravel()
    weighted = np.linalg.solve(covariance[0], x)
    inverse = np.linalg.inv(x.T @ weighted)
    factor = design.factor("family")
    row = design.average_row(factor, "Gemma") - design.average_row(factor, "Llama")
    to_lean = crossing.contrast_weights(np.array([1.0, -1.0]))[0]
    k = np.kron(row * to_lean, weights)
    return k @ inverse @ (weighted.T @ y), np.sqrt(np.diag(k @ inverse @ k.T))


@pytest.mark.parametrize("which", ["models", "bases"])
@pytest.mark.parametrize("kept", ["signed", "framings"])
def test_standard_errors_are_lme4s(bases_r, kept: str, which: str) -> None:
    r = bases_r[kept][which]
    n = {"signed": 1, "framings": 2}[kept]
    y = np.random.default_rng(1).normal(size=(10, n, 263))
    problem = ten(bases_r, y, list(bases_r["base"]), bases=which == "bases")
    weights = np.array([WEIGHTS[kept][row["framing"]] for row in r["difference"]])
    _, errors = differences(problem, as_ours(problem, r["sd"]), weights)
    np.testing.assert_allclose(errors, [row["se"] for row in r["difference"]], rtol=1e-4)


@pytest.mark.released_data
@pytest.mark.parametrize("which", ["models", "bases"])
@pytest.mark.parametrize("kept", ["signed", "framings"])
def test_estimates_are_lme4s(bases_r, means: xr.DataArray, kept: str, which: str) -> None:
    r = bases_r[kept][which]
    problem = of_means(bases_r, means, kept, which)
    weights = np.array([WEIGHTS[kept][row["framing"]] for row in r["difference"]])
    estimates, errors = differences(problem, as_ours(problem, r["sd"]), weights)
    np.testing.assert_allclose(
        estimates, [row["estimate"] for row in r["difference"]], rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(errors, [row["se"] for row in r["difference"]], rtol=1e-4)


@pytest.mark.released_data
@pytest.mark.parametrize("kept", ["signed", "framings"])
def test_restricted_likelihoods_differ_as_lme4s_do(bases_r, means: xr.DataArray, kept: str) -> None:
    found = {}
    for which in ("models", "bases"):
        problem = of_means(bases_r, means, kept, which)
        found[which] = problem.packed(as_ours(problem, bases_r[kept][which]["sd"]))[0]
    expected = bases_r[kept]["bases"]["logLik"] - bases_r[kept]["models"]["logLik"]
    assert expected > 200
    assert found["bases"] - found["models"] == pytest.approx(expected, abs=1e-2)


def of_means(bases_r: dict[str, Any], means: xr.DataArray, kept: str, which: str) -> Problem:
    y = means.to_numpy()
    if kept == "signed":
        y = (y[:, :1] - y[:, 1:]) / 2
    return ten(
        bases_r, y, [str(name) for name in means["model"].to_numpy()], bases=which == "bases"
    )


@pytest.mark.filterwarnings("ignore:.*which were left out:valuebias.ValueBiasWarning")
@pytest.mark.filterwarnings("ignore:.*look like one base:valuebias.ValueBiasWarning")
@pytest.mark.slow
@pytest.mark.released_data
@pytest.mark.parametrize("which", ["models", "bases"])
def test_the_posterior_tells_lme4s_story(bases_r, big2: xr.Dataset, which: str) -> None:
    """The priors are proper and the variances uncertain, so that the posterior is the wider."""
    r = bases_r["framings"][which]
    base = [bases_r["base"][str(name)] for name in big2["model"].to_numpy()]
    made = fit(
        big2.assign_coords(base=("model", base)),
        base="base" if which == "bases" else None,
        spread=False,
        seed=1,
        progress=False,
    )
    table = made.contrasts().set_index(["estimand", "framing"]).loc["family difference"]
    for row in r["difference"]:
        ours = table.loc[row["framing"]]
        assert abs(ours["mean"] - row["estimate"]) < 0.3 * row["se"]
        assert row["se"] < ours["sd"] < 2.2 * row["se"]
    found = made.summary(prob=0.99)
    theirs = covariances_of(r["sd"])
    theirs["word:model"] = theirs["word:model"] + theirs["Residual"]
    # Not of leans, of which there are too few for REML to be more than a guess.
    names = {"word:model": "model_word", "word:family": "word:family", "word:base": "base_word"}
    for group, name in names.items():
        for f, framing in enumerate(("positive", "negative")):
            if group in theirs:
                sd = found.loc[f"sd[{name}, {framing}]"]
                assert sd["lower"] < np.sqrt(theirs[group][f, f]) < sd["upper"], (name, framing)
