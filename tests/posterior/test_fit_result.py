"""What a fit answers, and that its answers fit together."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias.datasets.simulate import simulate
from valuebias.posterior.estimate import refit

SETTINGS = {"draws": 500, "tune": 400, "chains": 2, "seed": 1, "progress": False}
SIZE = {
    "n_models": {"Gemma": 3, "Llama": 4},
    "n_prompts": 8,
    "n_words": {"agency": 12, "communion": 15},
    "effects": {"Gemma": 0.5, "Llama": -0.5},
    "seed": 11,
}


@pytest.fixture(scope="module", params=[0.0, 0.05], ids=["complete", "incomplete"])
def fit(request: pytest.FixtureRequest) -> valuebias.Fit:
    ds = simulate(**SIZE, missing=request.param)  # type: ignore[arg-type]
    return valuebias.fit(ds, outcome="raw", **SETTINGS)  # type: ignore[call-overload]


def test_contrasts_have_the_columns_that_are_promised(fit: valuebias.Fit) -> None:
    table = fit.contrasts()
    assert table.columns.tolist() == [
        "estimand", "name", "framing", "category", "mean", "median", "sd", "lower", "upper",
        "p_direction", "p_rope", "rhat", "ess_bulk", "ess_tail",
        "form", "variable", "first", "second", "over", "against", "variant",
        "at",
    ]  # fmt: skip
    assert table.loc[0, "estimand"] == "family difference"
    assert table["p_direction"].between(0.5, 1).all()
    assert (table["lower"] < table["median"]).all()
    assert (table["median"] < table["upper"]).all()
    assert table.attrs["prob"] == 0.9


def test_a_wider_interval_holds_a_narrower_one_and_a_rope_of_all_holds_all(
    fit: valuebias.Fit,
) -> None:
    wide, narrow = fit.contrasts(prob=0.99), fit.contrasts(prob=0.5, rope=1e9)
    assert (wide["lower"] <= narrow["lower"]).all()
    assert (wide["upper"] >= narrow["upper"]).all()
    assert (narrow["p_rope"] == 1).all()
    assert (fit.contrasts(rope=0)["p_rope"] == 0).all()


@pytest.mark.once
def test_words_are_drawn_from_every_so_many_draws_where_there_are_very_many(
    monkeypatch, tmp_path
) -> None:
    ds = simulate(**SIZE, missing=0.05)  # type: ignore[arg-type]
    fewer = {**SETTINGS, "draws": 252, "tune": 150}
    every = valuebias.fit(ds, outcome="raw", **fewer)  # type: ignore[call-overload]
    monkeypatch.setattr("valuebias.analysis.sampling.incomplete._FEW_DRAWS", 150)
    monkeypatch.setattr("valuebias.analysis.sampling.incomplete._MOST_NUMBERS", 1)
    some = valuebias.fit(ds, outcome="raw", **fewer)  # type: ignore[call-overload]
    assert (every.words().attrs["draws"], some.words().attrs["draws"]) == (504, 126)
    draws = some.word_draws()
    assert draws.shape == (2, 63, 27)
    whole = every.word_draws()
    np.testing.assert_array_equal(every.contrast_draws, some.contrast_draws)
    # The fits' draws are the same, but for what is drawn of each word given them.
    difference = whole[:, ::4].to_numpy() - draws.to_numpy()
    assert (np.abs(difference.mean(axis=(0, 1))) < 0.5 * whole.std(("chain", "draw"))).all()
    basis = some.problem.crossing.word_basis
    np.testing.assert_allclose(draws.to_numpy() @ basis, whole[:, ::4].to_numpy() @ basis)
    path = some.save(tmp_path / "some.nc")
    xr.testing.assert_allclose(valuebias.load(path).word_draws(), draws)


@pytest.mark.parametrize("prob", [0, 1, -0.1, 1.5, float("nan"), "0.9", None])
def test_a_probability_lies_between_zero_and_one(fit: valuebias.Fit, prob: object) -> None:
    for method in (fit.contrasts, fit.summary, fit.words, fit.models):
        with pytest.raises(ValueBiasError, match="prob must lie between 0 and 1"):
            method(prob=prob)  # type: ignore[operator]


@pytest.mark.parametrize("rope", [-1, float("nan"), "a"])
def test_a_rope_is_zero_or_more(fit: valuebias.Fit, rope: object) -> None:
    with pytest.raises(ValueBiasError, match="rope must be zero or more"):
        fit.contrasts(rope=rope)  # type: ignore[arg-type]


def test_model_leans_come_with_the_models_coordinates(fit: valuebias.Fit) -> None:
    table = fit.models()
    assert len(table) == 7 * 3
    assert table.query("framing == 'signed'")["name"].tolist() == fit.data["model"].values.tolist()
    assert {"family", "base", "n_params"} <= set(table.columns)
    signed = table.query("framing == 'signed'").groupby("family")["mean"].mean()
    assert signed["Gemma"] > signed["Llama"]


@pytest.mark.parametrize("name", ["mean", "lower", "name", "rhat"])
def test_a_coordinate_may_have_the_name_of_a_column(name: str) -> None:
    ds = simulate(n_prompts=4, n_words=12, seed=1).assign_coords({name: ("model", np.arange(10.0))})
    fit = valuebias.fit(ds, draws=10, tune=10, chains=2, seed=1, progress=False)
    table = fit.models()
    assert (table[name] if name == "name" else table["mean"]).notna().all()
    assert table.columns.is_unique


def test_words_that_drive_the_difference_average_to_these_words_contrast(
    fit: valuebias.Fit,
) -> None:
    words = fit.words()
    assert words["mean"].abs().is_monotonic_decreasing
    by_category = words.groupby("categories")["mean"].mean()
    table = fit.contrasts().set_index("estimand")
    these = table.loc["family difference, these words", "mean"]
    assert by_category["agency"] - by_category["communion"] == pytest.approx(these, abs=1e-6)
    assert words["name"].unique().tolist() == ["Gemma − Llama"]


def test_draws_of_words_add_up_over_framings_and_families(fit: valuebias.Fit) -> None:
    draws = {f: fit.word_draws(framing=f) for f in ("signed", "positive", "negative")}
    assert draws["positive"].dims == ("chain", "draw", "response")
    assert draws["positive"].sizes["draw"] == 500
    np.testing.assert_array_equal(draws["signed"]["response"], fit.data["response"])
    # Asked again, the answer is the same.
    np.testing.assert_array_equal(fit.word_draws(framing="positive"), draws["positive"])
    mean = {f: d.mean(("chain", "draw")).to_numpy() for f, d in draws.items()}
    assert mean["positive"].mean() == pytest.approx(0, abs=1e-9)
    half = (mean["positive"] - mean["negative"]) / 2
    np.testing.assert_allclose(mean["signed"], half, atol=0.06)
    # Each is near what its words were given, on average over models and prompts.
    raw = fit.data["score"]
    raw = raw - raw.mean("response")
    for framing in ("positive", "negative"):
        chosen = raw.isel(prompt=np.flatnonzero(raw["framing"].to_numpy() == framing))
        given = chosen.mean(("model", "prompt")).to_numpy()
        assert np.corrcoef(given, mean[framing])[0, 1] > 0.97
    with pytest.raises(ValueBiasError, match="framing is 'both', which the fit lacks"):
        fit.word_draws(framing="both")


def test_draws_of_words_average_to_the_categories_of_these_words(fit: valuebias.Fit) -> None:
    crossing, effects = fit.problem.crossing, fit.effects
    weights = crossing.contrast_weights(np.array([1.0, -1.0]))
    these = (effects.coefficient + effects.word_shift) @ weights
    expected = np.einsum("q,sqf->sf", crossing.design.matrix.mean(axis=0), these)
    agency = fit.data["membership"].sel(category="agency").to_numpy()
    for f, framing in enumerate(("positive", "negative")):
        draws = fit.word_draws(framing=framing).to_numpy().reshape(len(these), -1)
        gap = draws[:, agency].mean(axis=1) - draws[:, ~agency].mean(axis=1)
        np.testing.assert_allclose(gap, expected[:, f], atol=1e-6)


def test_family_means_of_the_categories_give_the_leans(fit: valuebias.Fit) -> None:
    summary = fit.summary()["mean"]
    leans = fit.contrasts().query("estimand == 'family lean'").set_index(["name", "framing"])
    for family in ("Gemma", "Llama"):
        for framing in ("positive", "negative"):
            a, c = (summary[f"mean[{family}, {framing}, {k}]"] for k in ("agency", "communion"))
            assert a - c == pytest.approx(leans.loc[(family, framing), "mean"])
            assert a + c == pytest.approx(0, abs=1e-9)


def test_draws_are_tidy_and_are_those_of_the_contrasts(fit: valuebias.Fit) -> None:
    table = fit.draws()
    parts = ["estimand", "name", "framing", "category"]
    assert table.columns.tolist() == ["chain", "draw", "parameter", "value", *parts]
    assert sorted(table["chain"].unique()) == [1, 2]
    assert table["draw"].min() == 1
    assert not table.duplicated(["chain", "draw", "parameter"]).any()
    assert not table.duplicated(["chain", "draw", *parts]).any()
    signed = table.query("estimand == 'family difference' and framing == 'signed'")
    assert signed["value"].mean() == pytest.approx(fit.contrasts().loc[0, "mean"])
    spread_of_words = table.query("estimand == 'sd' and name == 'word' and framing == 'positive'")
    assert spread_of_words["value"].mean() == pytest.approx(
        fit.summary().loc["sd[word, positive]", "mean"]
    )


def test_wide_draws_are_the_tidy_ones(fit: valuebias.Fit) -> None:
    tidy, wide = fit.draws(), fit.draws(format="draws_df")
    assert wide.columns[:3].tolist() == [".chain", ".iteration", ".draw"]
    assert wide[".draw"].tolist() == list(range(1, 1001))
    pivoted = tidy.pivot(index=["chain", "draw"], columns="parameter", values="value")
    indexed = wide.set_index([".chain", ".iteration"]).drop(columns=".draw")
    np.testing.assert_array_equal(pivoted[indexed.columns], indexed)
    assert pivoted.index.tolist() == indexed.index.tolist()
    with pytest.raises(ValueBiasError, match="Did you mean 'tidy'"):
        fit.draws(format="tidi")  # type: ignore[arg-type]


def test_what_programs_read_has_ordinary_hyphens_and_ascii_columns() -> None:
    ds = simulate(n_models={"Zoë": 2, "Llama": 2}, n_prompts=6, n_words=10, seed=1)
    # As pairs of models are called; a table is joined to the models by their own names.
    ds = ds.assign_coords(model=[f"a{i} − b" for i in range(4)])
    fit = valuebias.fit(ds, draws=20, tune=20, chains=2, seed=1, progress=False)
    tidy, wide = fit.draws(), fit.draws(format="draws_df")
    assert not [column for column in wide if not column.isascii()]
    label = "family difference | Llama - Zo<U+00EB> | signed | agency - communion"
    np.testing.assert_array_equal(wide[label], fit.contrast_draws[..., 0].to_numpy().ravel())
    assert set(tidy.loc[tidy["estimand"] == "family difference", "name"]) == {"Llama - Zoë"}
    assert set(tidy.loc[tidy["estimand"] == "model lean", "name"]) == set(ds["model"].values)
    leans = tidy["estimand"].str.contains("lean")
    assert set(tidy.loc[leans, "category"]) == {"agency - communion"}
    assert fit.contrasts().loc[0, "name"] == "Llama − Zoë"


def test_priors_are_listed_for_every_component(fit: valuebias.Fit) -> None:
    listed = set(fit.priors().index)
    assert {f"sd[{name}]" for name in fit.problem.components.names} <= listed
    assert {"mean", "effect"} <= listed


def test_each_prior_scale_is_moved_by_itself(fit: valuebias.Fit) -> None:
    # Nearly every one of these priors needs a fit of its own.
    fewer = {**SETTINGS, "draws": 200, "tune": 150}
    fit = valuebias.fit(fit.data, outcome="raw", **fewer)  # type: ignore[call-overload]
    table = fit.prior_sensitivity(factors=(0.1,), progress=False)
    names = [*fit.problem.components.names, "mean", "effect", "spread"]
    assert table.index.tolist() == [("all", 1.0), ("all", 0.1), *((name, 0.1) for name in names)]
    own = table.loc[("all", 1.0)]
    # A tenth of the prior's scale pulls the difference in.
    assert abs(table.loc[("all", 0.1), "mean"]) < abs(own["mean"])
    assert abs(table.loc[("effect", 0.1), "mean"]) < abs(own["mean"])
    for bad in ((0,), ("a",), (float("inf"),)):
        with pytest.raises(ValueBiasError, match="positive"):
            fit.prior_sensitivity(factors=bad)  # type: ignore[arg-type]


def test_reweighted_draws_are_those_of_a_fit_with_that_prior(fit: valuebias.Fit) -> None:
    table = fit.prior_sensitivity(factors=(0.5,), progress=False)
    for scale in ("model_category", "effect"):
        row = table.loc[(scale, 0.5)]
        assert not row["refitted"]
        prior = fit.prior.scaled(0.5, fit.problem.components, scale)
        again = refit(fit, prior=prior, outcome=fit.settings["outcome"]).contrasts().iloc[0]
        # Four standard errors of the difference, at some 700 effective draws each.
        assert row["mean"] == pytest.approx(again["mean"], abs=0.2 * again["sd"])
        assert row["sd"] == pytest.approx(again["sd"], rel=0.2)


def test_leaving_out_prefers_the_model_with_families() -> None:
    ds = simulate(**{**SIZE, "effects": {"Gemma": 3.0, "Llama": -3.0}})  # type: ignore[arg-type]
    with_, without = (
        valuebias.fit(ds, formula, outcome="raw", **SETTINGS).loo(draws=20)  # type: ignore[call-overload]
        for formula in ("~ family", "~ 1")
    )
    assert with_.n == ds["score"].size
    assert with_.p_loo > 0
    assert with_.elpd > without.elpd - 5


def test_the_same_question_has_the_same_answer_in_any_order(fit: valuebias.Fit) -> None:
    other = valuebias.Fit(fit.data, fit.settings, fit.prior, fit.tree, fit.provenance)
    words, contrasts = other.words(), other.contrasts()
    pd.testing.assert_frame_equal(fit.contrasts(), contrasts)
    pd.testing.assert_frame_equal(fit.words(), words)
    xr.testing.assert_identical(fit.ppc(draws=5), other.ppc(draws=5))


def test_the_headline_says_the_first_row_in_words(fit: valuebias.Fit) -> None:
    headline = fit.headline()
    row = fit.contrasts().iloc[0]
    assert "Models of the Gemma family value agency over communion more" in headline.text
    assert f"{row['mean']:+.2f}".replace("-", "−") in headline.text
    assert repr(fit).startswith("<valuebias.Fit '~ family': 7 models × 8 prompts × 27 words")


def test_a_fit_that_did_not_converge_says_so_first() -> None:
    ds = simulate(**SIZE)  # type: ignore[arg-type]
    fit = valuebias.fit(ds, draws=8, tune=2, chains=2, seed=1, progress=False)
    verdict = fit.diagnostics()
    assert not verdict.converged
    assert fit.headline().text.startswith("NOT CONVERGED")


def test_one_chain_cannot_be_judged_and_says_so() -> None:
    ds = simulate(**SIZE)  # type: ignore[arg-type]
    fit = valuebias.fit(ds, draws=50, tune=50, chains=1, seed=1, progress=False)
    verdict = fit.diagnostics()
    assert not verdict.converged
    assert "R-hat needs two chains" in verdict.messages[0]
    assert fit.headline().text.startswith("NOT CONVERGED")
    assert fit.contrasts()["rhat"].isna().all()


def test_the_pymc_model_is_about_the_same_parameters(fit: valuebias.Fit) -> None:
    model = fit.model
    assert {v.name for v in model.free_RVs} == {"sd", "correlation_unit", "spread_contrast"}
    assert list(model.coords["component"]) == fit.problem.components.names
    logp = model.compile_logp()(model.initial_point())
    assert np.isfinite(logp)


def test_several_families_and_categories_are_all_compared() -> None:
    ds = simulate(
        n_models={"A": 2, "B": 2, "C": 3},
        n_prompts=6,
        n_words={"care": 8, "fairness": 8, "loyalty": 8},
        overlap=0.1,
        seed=3,
    )
    fit = valuebias.fit(ds, draws=20, tune=20, chains=2, seed=1, progress=False)
    table = fit.contrasts()
    differences = table.query("estimand == 'family difference' and framing == 'signed'")
    assert set(differences["name"]) == {"A − B", "A − C", "B − C"}
    assert set(differences["category"]) == {
        "care − others", "fairness − others", "loyalty − others"
    }  # fmt: skip
    pair = valuebias.fit(
        ds, contrast=("loyalty", "care"), draws=20, tune=20, chains=2, seed=1, progress=False
    )
    assert set(pair.contrasts()["category"]) == {"loyalty − care"}


@pytest.mark.parametrize("formula", ["~ 1", "~ log10(n_params)"])
def test_without_groups_no_words_drive_a_difference(formula: str) -> None:
    ds = simulate(n_prompts=4, n_words=12, seed=1)
    fit = valuebias.fit(ds, formula, draws=10, tune=10, chains=2, seed=1, progress=False)
    first = {"~ 1": "overall lean", "~ log10(n_params)": "slope"}[formula]
    assert fit.contrasts().loc[0, "estimand"] == first
    assert fit.headline().text
    with pytest.raises(ValueBiasError, match="compares no groups"):
        fit.words()


def test_words_compare_the_families_that_are_asked_for(fit: valuebias.Fit) -> None:
    one, other = (
        fit.words(pair=pair).set_index("word")["mean"].sort_index()
        for pair in (("Gemma", "Llama"), ("Llama", "Gemma"))
    )
    np.testing.assert_allclose(one, -other, atol=0.2)
    with pytest.raises(ValueBiasError, match="Did you mean 'Llama'"):
        fit.words(pair=("Gemma", "Lama"))
    with pytest.raises(ValueBiasError, match="two different levels"):
        fit.words(pair=("Gemma", "Gemma"))
