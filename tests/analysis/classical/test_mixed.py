from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import optimize
from statsmodels.regression.mixed_linear_model import MixedLM

from valuebias.analysis.classical import mixed, reml
from valuebias.analysis.classical.medians import median_ranks
from valuebias.analysis.classical.mixed import INTERCEPT, SLOPES, fit_mixed
from valuebias.errors import ValueBiasError

SPECS = {INTERCEPT: "intercept", SLOPES: "slopes"}


def r_name(term: str) -> str:
    """Name a term as R does: family[Llama] is familyLlama."""
    return term.replace("[", "").replace("]", "")


def authors_name(term: str) -> str:
    """Name a term as R does with the authors' columns and levels."""
    for ours, theirs in {
        "family": "base_model",
        "category": "Category",
        "framing": "prompt_framing",
        "agency": "Agency",
        "communion": "Communion",
    }.items():
        term = term.replace(ours, theirs)
    return r_name(term)


def compare(fit, oracle, *, error, sd):
    """Compare a fit with lme4's, given the relative errors allowed of SEs and SDs."""
    r = pd.DataFrame(oracle["coef"]).set_index("term")
    assert [r_name(term) for term in fit.table.index] == list(r.index)
    np.testing.assert_allclose(fit.table["Value"], r["Estimate"], rtol=1e-6)
    np.testing.assert_allclose(fit.table["Std.Error"], r["Std. Error"], rtol=error)
    np.testing.assert_allclose(fit.table["t-value"], r["t value"], rtol=max(error, 2e-6))
    spread = [row["sdcor"] for row in oracle["sd"] if "var2" not in row]
    np.testing.assert_allclose(fit.sd["sd"], spread, rtol=sd)
    wald = pd.DataFrame(oracle["wald"])
    np.testing.assert_allclose(fit.wald()["Chisq"], wald["Chisq"], rtol=max(10 * error, 1e-6))
    assert fit.wald()["term"].tolist() == wald["term"].tolist()
    assert fit.wald()["Df"].tolist() == wald["Df"].tolist()


@pytest.mark.parametrize("data", ["three_families", "incomplete"])
def test_random_intercept_is_lme4s_and_nlmes(data, classical_r, request):
    fit = fit_mixed(request.getfixturevalue(data), spec=INTERCEPT)
    oracle = classical_r[{"three_families": "three"}.get(data, data)]
    compare(fit, oracle["intercept"], error=1e-6, sd=1e-6)
    assert fit.loglik == pytest.approx(oracle["intercept"]["logLik"], abs=1e-8)
    nlme = pd.DataFrame(oracle["nlme"])
    assert fit.table["DF"].tolist() == nlme["DF"].tolist()
    np.testing.assert_allclose(fit.table["p-value"], nlme["p-value"], rtol=1e-3)


@pytest.mark.parametrize("data", ["three_families", "incomplete"])
def test_random_slopes_reach_lme4s_likelihood_or_more(data, classical_r, request):
    # Four degrees of freedom between models for six cells: the maximum lies on the boundary, where
    # lme4 stops a little below it.
    fit = fit_mixed(request.getfixturevalue(data), spec=SLOPES)
    oracle = classical_r[{"three_families": "three"}.get(data, data)]["slopes"]
    assert -1e-6 < fit.loglik - oracle["logLik"] < 0.02
    assert fit.singular
    assert "is singular" in fit.messages[0]


@pytest.mark.released_data
def test_the_papers_mixed_model(big2, big2_r):
    fit = fit_mixed(median_ranks(big2), spec=INTERCEPT)
    r = pd.DataFrame(big2_r["lme_random_intercept"]).set_index("term")
    assert [authors_name(term) for term in fit.table.index] == list(r.index)
    np.testing.assert_allclose(fit.table["Value"], r["Value"], rtol=1e-6)
    np.testing.assert_allclose(fit.table["Std.Error"], r["Std.Error"], rtol=1e-4)
    np.testing.assert_allclose(fit.table["t-value"], r["t-value"], rtol=1e-4)
    assert fit.table["DF"].tolist() == r["DF"].tolist()
    # Relative errors of a p value are t² times those of its t.
    np.testing.assert_allclose(fit.table["p-value"], r["p-value"], rtol=1e-2, atol=1e-120)
    sd = fit.sd.set_index("group")["sd"]
    # nlme stops at a log-likelihood 4e-8 under the maximum, where the SD is 1.1e-4 larger.
    assert sd["model"] == pytest.approx(big2_r["lme_sd"]["model"], rel=2e-4)
    assert sd["residual"] == pytest.approx(big2_r["lme_sd"]["residual"], rel=1e-6)
    assert not fit.singular
    assert fit.messages == ()


@pytest.mark.released_data
@pytest.mark.parametrize("spec", SPECS)
def test_both_mixed_models_are_lme4s_at_its_maximum(spec, big2, classical_r):
    oracle = classical_r["big2"][SPECS[spec]]
    fit = fit_mixed(median_ranks(big2), spec=spec)
    compare(fit, oracle, error=2e-6, sd=2e-6)
    assert fit.loglik == pytest.approx(oracle["logLik"], abs=1e-7)


@pytest.mark.released_data
def test_random_slopes_against_nlme(big2, big2_r):
    fit = fit_mixed(median_ranks(big2), spec=SLOPES)
    r = pd.DataFrame(big2_r["lme_random_slopes"]).set_index("term")
    assert [authors_name(term) for term in fit.table.index] == list(r.index)
    np.testing.assert_allclose(fit.table["Value"], r["Value"], rtol=1e-6)
    assert fit.table["DF"].tolist() == r["DF"].tolist()
    assert fit.table["t-value"].iloc[-1] == pytest.approx(-2.03, abs=0.05)
    # The oracle is lme(random = ~ 0 + cell | model, control = lmeControl(opt = "optim")), which
    # stopped 0.21 under the maximum that lme4 and the closed form agree on.
    np.testing.assert_allclose(fit.table["Std.Error"], r["Std.Error"], rtol=6e-3)
    assert fit.table["DF(models)"].tolist() == [8] * 8
    assert fit.table["p-value(models)"].iloc[-1] == pytest.approx(0.077, abs=0.001)


def test_statsmodels_agrees_on_the_likelihood(incomplete):
    cells = mixed._cell_means(incomplete)
    effects = fit_mixed(incomplete, spec=INTERCEPT).effects
    model, prompt, category = np.nonzero(~np.isnan(incomplete.values))
    framing = np.array([incomplete.framings.index(level) for level in incomplete.framing])
    exog = effects.design[cells.family[model], framing[prompt] * 3 + category]
    theirs = MixedLM(incomplete.values[model, prompt, category], exog, groups=model).fit(
        reml=True, method=["bfgs"], gtol=1e-8
    )
    ours = fit_mixed(incomplete, spec=INTERCEPT)
    assert ours.loglik == pytest.approx(theirs.llf, abs=1e-6)
    assert ours.loglik >= theirs.llf - 1e-9
    np.testing.assert_allclose(ours.beta, theirs.fe_params, rtol=1e-5)
    np.testing.assert_allclose(ours.sd["sd"].iloc[0] ** 2, theirs.cov_re[0, 0], rtol=1e-3)


def dense_loglik(ranks, effects, variances):
    """Restricted log-likelihood from the rows themselves, one multivariate normal a model."""
    cells = mixed._cell_means(ranks)
    framing = np.array([ranks.framings.index(level) for level in ranks.framing])
    total, information, score, rows = 0.0, 0.0, 0.0, 0
    for m in range(len(ranks.models)):
        prompt, category = np.nonzero(~np.isnan(ranks.values[m]))
        cell = framing[prompt] * len(ranks.categories) + category
        x, y = effects.design[cells.family[m]][cell], ranks.values[m, prompt, category]
        v = variances.between[np.ix_(cell, cell)] + variances.residual * np.eye(len(y))
        inverse = np.linalg.inv(v)
        total += np.linalg.slogdet(v)[1] + y @ inverse @ y
        information = information + x.T @ inverse @ x
        score = score + x.T @ inverse @ y
        rows += len(y)
    total += np.linalg.slogdet(information)[1] - score @ np.linalg.solve(information, score)
    return -0.5 * (total + (rows - len(effects.names)) * np.log(2 * np.pi))


def test_the_likelihood_of_cell_means_is_that_of_the_rows(incomplete):
    effects = fit_mixed(incomplete, spec=INTERCEPT).effects
    root = np.random.default_rng(2).normal(size=(6, 6))
    variances = reml.Variances(root @ root.T, 7.0, singular=False)
    made = reml.gls(mixed._cell_means(incomplete), effects, variances)
    assert made.loglik == pytest.approx(dense_loglik(incomplete, effects, variances), abs=1e-9)


def test_the_gradient_is_that_of_finite_differences(incomplete):
    effects = fit_mixed(incomplete, spec=INTERCEPT).effects
    cells = mixed._cell_means(incomplete)
    root = np.tril(np.random.default_rng(2).normal(size=(6, 6))) + 3 * np.eye(6)

    def at(point):
        lower = point[:-1].reshape(6, 6)
        return reml.gls(
            cells, effects, reml.Variances(lower @ lower.T, point[-1], singular=False)
        ).loglik

    between, residual = reml._gradient(
        cells, effects, reml.Variances(root @ root.T, 7.0, singular=False)
    )
    point = np.append(root.reshape(-1), 7.0)
    numeric = optimize.approx_fprime(point, at, 1e-6)
    np.testing.assert_allclose(numeric[:-1].reshape(6, 6), 2 * between @ root, atol=1e-5)
    assert numeric[-1] == pytest.approx(residual, abs=1e-5)


def test_climbing_ends_where_the_closed_form_is(three_families):
    fit = fit_mixed(three_families, spec=SLOPES)
    cells = mixed._cell_means(three_families)
    assert cells.complete
    climbed, messages = reml._climbed(cells, fit.effects)
    made = reml.gls(cells, fit.effects, climbed)
    assert messages == ()
    assert made.loglik == pytest.approx(fit.loglik, abs=1e-5)
    assert made.loglik <= fit.loglik + 1e-9
    np.testing.assert_allclose(np.sqrt(np.diag(made.cov)), fit.table["Std.Error"], rtol=1e-4)


def test_a_variance_of_zero_is_said_and_leaves_least_squares(three_families):
    # Every model of a family gets the same medians but for prompts, in opposite order.
    values = np.array(three_families.values)
    family = np.asarray(three_families.family)
    for name in three_families.families:
        rows = np.flatnonzero(family == name)
        values[rows[1:]] = values[rows[0]]
    fit = fit_mixed(replace(three_families, values=values), spec=INTERCEPT)
    assert fit.singular
    assert "estimated as zero" in fit.messages[0]
    assert fit.sd["sd"].iloc[0] == 0
    framing = np.array([three_families.framings.index(f) for f in three_families.framing])
    model, prompt, category = np.indices(values.shape).reshape(3, -1)
    codes = np.searchsorted(np.asarray(three_families.families), family)
    exog = fit.effects.design[codes[model], framing[prompt] * 3 + category]
    residual = values.reshape(-1) - exog @ np.linalg.lstsq(exog, values.reshape(-1))[0]
    scale = residual @ residual / (len(residual) - exog.shape[1])
    error = np.sqrt(scale * np.diag(np.linalg.inv(exog.T @ exog)))
    np.testing.assert_allclose(fit.table["Std.Error"], error, rtol=1e-9)


def test_statsmodels_stopping_short_is_said():
    found = reml.Variances(np.full((2, 2), 4.0), 2.0, singular=False)
    assert mixed._messages(found, 2.001, ["no matter"]) == ()
    (message,) = mixed._messages(found, 0.5, ["Gradient optimization failed", "singular"])
    assert message.endswith("It said: Gradient optimization failed; singular")
    assert mixed._messages(found, 0.5, [])[0].endswith("It said: nothing")


@pytest.mark.parametrize("size", [0.001, 30, 300])
def test_any_size_of_the_variance_is_found(size, three_families):
    # Shifts that sum to zero in a family, so that they alone decide the variance between models.
    shift = size * np.array([0, 1, -1, 2, -2, 1, -1.0])
    made = fit_mixed(
        replace(three_families, values=three_families.values + shift[:, None, None]),
        spec=INTERCEPT,
    )
    # Balanced: mean square of the models' means over 21 rows, less the residual's share.
    family = np.asarray(three_families.family)
    means = three_families.values.mean(axis=(1, 2)) + shift
    centred = means - np.array([means[family == name].mean() for name in family])
    residual = made.sd["sd"].iloc[1] ** 2
    expected = centred @ centred / 4 - residual / 21
    assert made.sd["sd"].iloc[0] ** 2 == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("spec", SPECS)
def test_what_cannot_be_estimated_is_refused_with_the_reason(spec, three_families):
    one_each = replace(
        three_families,
        values=three_families.values[[0, 3, 5]],
        models=tuple(three_families.models[i] for i in (0, 3, 5)),
        family=("Gemma", "Llama", "Qwen"),
    )
    with pytest.raises(ValueBiasError, match="3 models in 3 families, one each"):
        fit_mixed(one_each, spec=spec)
    values = np.array(three_families.values)
    values[np.asarray(three_families.family) == "Qwen", :4, 1] = np.nan
    with pytest.raises(
        ValueBiasError, match="'Qwen' has no score for 'fairness' with positive prompts"
    ):
        fit_mixed(replace(three_families, values=values), spec=spec)
    flat = replace(three_families, values=np.full_like(values, 30.5))
    with pytest.raises(ValueBiasError, match="All median ranks are the same"):
        fit_mixed(flat, spec=spec)
    single = replace(
        three_families,
        values=three_families.values[:4, :1, :1],
        models=three_families.models[:4],
        family=("Gemma", "Gemma", "Gemma", "Llama"),
        families=("Gemma", "Llama"),
        prompts=three_families.prompts[:1],
        framing=("positive",),
        framings=("positive",),
        categories=("care",),
    )
    with pytest.raises(ValueBiasError, match=r"too few|Every model has one median"):
        fit_mixed(single, spec=spec)


@pytest.mark.parametrize("shift", [0, 5])
def test_models_that_differ_by_a_shift_only_leave_no_residual(shift, three_families):
    family = np.searchsorted(np.asarray(three_families.families), three_families.family)
    values = three_families.values[family][:, [0, 4]] + shift * np.arange(7)[:, None, None]
    ranks = replace(
        three_families,
        values=values,
        prompts=("p1", "n1"),
        framing=("positive", "negative"),
    )
    with pytest.raises(ValueBiasError, match="no residual"):
        fit_mixed(ranks, spec=INTERCEPT)


def test_one_prompt_a_framing_gives_no_random_slopes(three_families):
    one = replace(
        three_families,
        values=three_families.values[:, [0, 4]],
        prompts=("p1", "n1"),
        framing=("positive", "negative"),
    )
    assert len(fit_mixed(one, spec=INTERCEPT).table) == 18
    with pytest.raises(ValueBiasError, match="two or more prompts"):
        fit_mixed(one, spec=SLOPES)


def test_the_covariance_of_random_slopes_is_returned_as_correlations(three_families):
    fit = fit_mixed(three_families, spec=SLOPES)
    np.testing.assert_allclose(np.diag(fit.correlation), 1)
    assert (np.abs(fit.correlation) <= 1 + 1e-9).all()
    assert fit.sd["term"].tolist()[:2] == ["care:positive", "fairness:positive"]
    assert fit.sd["term"].tolist()[3] == "care:negative"
