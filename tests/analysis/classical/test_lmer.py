"""The strata against lme4: same standard errors at its SDs, and its maximum is ours.

See tests/oracles/lmer.R for the model; with a coefficient prior wide enough, the collapsed
likelihood is the restricted one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dense import as_problem

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import make_crossing
from valuebias.analysis.design.formula import parse_formula
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.effects import component_covariances, draw_effects, make_margins
from valuebias.analysis.hierarchical import Problem

Array = np.ndarray
ORACLES = Path(__file__).parents[2] / "oracles"
FLAT = Prior(mean=1e4, effect=1e4)


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return json.loads((ORACLES / "lmer_r.json").read_text(encoding="utf-8"))


def crossed(y: Array, family: list[str], framing: list[str], first: int) -> Problem:
    """Set up two categories, the first with ``first`` words."""
    n_words = y.shape[2]
    member = pd.DataFrame({"x": np.arange(n_words) < first, "y": np.arange(n_words) >= first})
    design = parse_formula("~ family", pd.DataFrame({"family": family}))
    prompts = pd.Index([str(i) for i in range(len(framing))])
    return as_problem(make_crossing(y, design, np.array(framing), member, prompts), FLAT)


@pytest.fixture(scope="module")
def problem(oracle: dict[str, Any]) -> Problem:
    y = np.reshape(oracle["y"], oracle["shape"])
    return crossed(y, ["A"] * 3 + ["B"] * 5, ["positive"] * 5 + ["negative"] * 3, 8)


def in_v(components: Components, covariances: dict[str, Array]) -> Array:
    """Put covariances over framings into the vector of variance parameters."""
    v = np.zeros(components.n_variances)
    for name, covariance in covariances.items():
        index = components[name].index[0]
        v[list(index[:2])] = np.diag(covariance)
        if len(index) > 2:
            v[index[2]] = covariance[0, 1]
    return v


def table_of(sds: list[dict[str, Any]]) -> dict[str, Array]:
    """lme4's covariances by grouping factor, 2 × 2 over framings."""
    frame = pd.DataFrame(sds)
    out = {}
    for group, rows in frame.groupby("grp"):
        sd = rows[rows["var2"].isna()]["sdcor"].to_numpy()
        sd = np.repeat(sd, 2) if len(sd) == 1 else sd
        r = rows["sdcor"][rows["var2"].notna()]
        correlation = np.array([[1, r.iloc[0]], [r.iloc[0], 1]]) if len(r) else np.eye(2)
        out[group] = sd[:, None] * correlation * sd
    return out


def as_ours(components: Components, sds: list[dict[str, Any]]) -> Array:
    r = table_of(sds)
    by_family = r.get("word:family", np.zeros((2, 2)))
    return in_v(
        components,
        {
            # Two families' independent effects on a word: half their variance is in its mean.
            "word": r["word"] + by_family / 2,
            "word:family": by_family,
            "model_word": r["word:model"],
            # A lean is a difference of two categories, so it has twice the variance of each.
            "model_category": r["model"] / 2,
            "prompt_category": r["prompt"] / 2,
            "model_prompt": r["model:prompt"] / 2,
            "prompt_word": r["word:prompt"],
            "residual": r["Residual"],
        },
    )


def family_leans(problem: Problem, v: Array) -> tuple[Array, Array]:
    """Generalised least squares on the category axis: leans (family, framing) and covariance."""
    crossing, components = problem.crossing, problem.components
    margins = make_margins(crossing, make_tables(crossing, crossing.y))
    parts = component_covariances(components, v[None], crossing.axes[0])
    design, basis = crossing.design, crossing.model_basis
    rows = np.array(
        [design.average_row(design.factor("family"), g) for g in design.factor("family").levels]
    )
    to_lean = crossing.contrast_weights(np.array([1.0, -1.0]))[0]
    unrotate = rows @ np.linalg.inv(basis.T @ design.matrix) * to_lean
    map_ = np.kron(unrotate, np.diag(1 / np.sqrt(components.replication)))
    y = (basis.T @ margins.on_axes[0]).ravel()
    return map_ @ y, map_ @ sum(parts.values())[0] @ map_.T


@pytest.mark.parametrize("which", ["full", "without_word_family"])
def test_standard_errors_are_lme4s(oracle, problem: Problem, which: str) -> None:
    v = as_ours(problem.components, oracle[which]["sd"])
    estimate, covariance = family_leans(problem, v)
    coef = {row["term"]: row for row in oracle[which]["coef"]}
    terms = ["xp:familyA", "familyA:xn", "xp:familyB", "familyB:xn"]
    np.testing.assert_allclose(estimate, [coef[t]["Estimate"] for t in terms], rtol=1e-8)
    errors = [coef[t]["Std. Error"] for t in terms]
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), errors, rtol=1e-4)


def test_drawn_coefficients_have_lme4s_standard_errors(oracle, problem: Problem) -> None:
    crossing, n = problem.crossing, 20_000
    v = np.broadcast_to(
        as_ours(problem.components, oracle["full"]["sd"]), (n, problem.components.n_variances)
    )
    margins = make_margins(crossing, make_tables(crossing, crossing.y))
    effects = draw_effects(
        crossing,
        problem.components,
        margins,
        v,
        problem.coefficient_scales,
        np.random.default_rng(1),
    )
    estimate, covariance = family_leans(problem, v[0])
    design = crossing.design
    rows = [design.average_row(design.factor("family"), g) for g in ("A", "B")]
    to_lean = crossing.contrast_weights(np.array([1.0, -1.0]))
    leans = np.einsum("gq,sqfj,j->sgf", rows, effects.coefficient, to_lean).reshape(n, -1)
    np.testing.assert_allclose(leans.mean(axis=0), estimate, atol=0.03)
    np.testing.assert_allclose(np.cov(leans.T), covariance, rtol=0.1, atol=0.01)


def likelihood(problem: Problem, v: Array) -> tuple[float, Array]:
    return problem.packed(v)


def test_lme4s_maximum_is_where_our_gradient_vanishes(oracle, problem: Problem) -> None:
    components = problem.components
    v = as_ours(components, oracle["full"]["sd"])
    gradient = likelihood(problem, v)[1] * np.abs(v)
    # lme4 has one variance where prompts carry an effect, so only the sum over framings vanishes.
    for member in components.members:
        slopes = gradient[list(member.index[0])]
        slopes = slopes if member.joint else [slopes.sum()]
        np.testing.assert_allclose(slopes, 0, atol=2e-3, err_msg=member.name)


def test_restricted_likelihoods_differ_as_lme4s_do(oracle, problem: Problem) -> None:
    full, less = (
        likelihood(problem, as_ours(problem.components, oracle[which]["sd"]))[0]
        for which in ("full", "without_word_family")
    )
    expected = oracle["full"]["logLik"] - oracle["without_word_family"]["logLik"]
    assert full - less == pytest.approx(expected, abs=1e-4)


def test_standard_errors_of_the_papers_scores_are_lme4s(big2_r) -> None:
    """142,020 scores, words and models crossed; lme4 took 230 s for it.

    Standard errors depend on the sides of the crossing and the SDs alone, so no score is needed.
    """
    reference = big2_r["lmer_token"]
    sd = [row["sdcor"] for row in reference["sd"]]
    word, prompt, model, residual = sd[0], sd[1], sd[2:6], sd[-1]
    assert prompt == 0
    y = np.random.default_rng(1).normal(size=(10, 54, 263))
    family = ["Gemma"] * 4 + ["Llama"] * 6
    problem = crossed(y, family, ["positive"] * 27 + ["negative"] * 27, 104)
    # lme4's model effects on the two categories correlate −1: their difference is the SDs' sum.
    lean = np.array([model[0] + model[1], model[2] + model[3]])
    r = sd[7]
    v = in_v(
        problem.components,
        {
            "word": np.full((2, 2), word**2),
            "model_category": np.outer(lean, lean) * [[1, r], [r, 1]] / 2,
            "residual": np.eye(2) * residual**2,
        },
    )
    _, covariance = family_leans(problem, v)  # Gemma +, Gemma −, Llama +, Llama −
    weights = {
        "CategoryCommunion": [1, 0, 0, 0],
        "base_modelLlama:CategoryCommunion": [-1, 0, 1, 0],
        "CategoryCommunion:prompt_framingnegative": [-1, 1, 0, 0],
        "base_modelLlama:CategoryCommunion:prompt_framingnegative": [1, -1, -1, 1],
    }
    errors = {row["term"]: row["Std. Error"] for row in reference["coef"]}
    for term, k in weights.items():
        ours = np.sqrt(np.array(k) @ covariance @ k)
        assert ours == pytest.approx(errors[term], rel=1e-4), term
