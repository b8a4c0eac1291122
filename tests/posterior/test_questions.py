"""Means, comparisons, slopes, predictions and arithmetic of a posterior."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError, simulate
from valuebias.posterior.headline import verdict_of
from valuebias.posterior.wording import percent

SETTINGS = {"draws": 400, "tune": 300, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}
QUIET = {"word": 0.1, "word_family": 0.03, "model_word": 0.05, "model_category": 0.1}
KINDS = [("Gemma", "instruct"), ("Gemma", "reward"), ("Llama", "instruct"), ("Llama", "reward")]


@pytest.fixture(scope="module")
def crossover() -> xr.Dataset:
    """Families that differ in opposite ways at two stages: on average not at all."""
    planted = dict(zip(KINDS, (0.6, -0.6, -0.6, 0.6), strict=True))
    ds = simulate(
        n_models={f"{family} {stage}": 4 for family, stage in KINDS},
        n_prompts=6,
        n_words=30,
        sd=QUIET,
        effects={f"{family} {stage}": lean for (family, stage), lean in planted.items()},
        seed=5,
    )
    split = [str(name).split(" ") for name in ds["family"].to_numpy()]
    return ds.assign_coords(
        family=("model", [family for family, _ in split]),
        stage=("model", [stage for _, stage in split]),
        base=("model", ds["model"].to_numpy()),
        n_params=("model", np.geomspace(1e9, 7e10, len(split))),
    )


@pytest.fixture(scope="module")
def fit(crossover: xr.Dataset) -> valuebias.Fit:
    return valuebias.fit(crossover, "~ family * stage + log10(n_params)", **SETTINGS)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def three() -> valuebias.Fit:
    ds = simulate(
        n_models={"Alder": 3, "Birch": 3, "Cedar": 3},
        n_prompts=4,
        n_words={"agency": 8, "communion": 8, "other": 8},
        effects={"Alder": 0.5, "Birch": -0.5, "Cedar": 0.0},
        sd=QUIET,
        seed=3,
    )
    return valuebias.fit(ds, contrast=("agency", "communion"), **SETTINGS)  # type: ignore[call-overload]


def signed(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["framing"] == "signed"].reset_index(drop=True)


def test_a_planted_crossover_is_found_cell_by_cell(fit: valuebias.Fit) -> None:
    cells = signed(fit.means(by=["family", "stage"]).table())
    assert list(zip(cells["family"], cells["stage"], strict=True)) == KINDS
    assert np.sign(cells["mean"]).tolist() == [1, -1, -1, 1]
    assert (cells["p_direction"] > 0.99).all()
    assert cells["n_models"].tolist() == [4, 4, 4, 4]
    within = signed(fit.comparisons("family", by="stage").table())
    assert within["at"].tolist() == ["stage = instruct", "stage = reward"]
    assert within["name"].tolist() == ["Gemma − Llama"] * 2
    assert np.sign(within["mean"]).tolist() == [1, -1]
    double = signed(fit.comparisons(("family", "stage")).table()).iloc[0]
    assert double["estimand"] == "family difference of differences"
    assert double["at"] == "stage = instruct − reward"
    np.testing.assert_allclose(double["mean"], within["mean"][0] - within["mean"][1])
    assert double["mean"] == pytest.approx(2.4, abs=0.5)


def test_by_one_variable_they_are_the_contrasts(fit: valuebias.Fit) -> None:
    contrasts = fit.contrasts()
    for asked, estimand in (
        (fit.means(by="family"), "family lean"),
        (fit.comparisons("family"), "family difference"),
        (fit.comparisons("stage"), "stage difference"),
        (fit.slopes("log10(n_params)"), "slope"),
        (fit.means(), "overall lean"),
    ):
        table = asked.table()
        known = contrasts[contrasts["estimand"] == estimand]
        assert set(known.columns) < set(table.columns)
        merged = table.merge(known, on=["estimand", "name", "framing", "category"])
        assert len(merged) == len(known) == len(table)
        for column in ("mean", "sd", "lower", "p_direction", "ess_bulk"):
            np.testing.assert_allclose(merged[f"{column}_x"], merged[f"{column}_y"], rtol=1e-6)


def test_numbers_are_set_where_asked(fit: valuebias.Fit) -> None:
    """On a line the difference between two sizes is the slope times their distance."""
    between = signed(fit.comparisons("n_params", pair=(1e11, 1e9)).table()).iloc[0]
    slope = signed(fit.slopes("log10(n_params)").table()).iloc[0]
    np.testing.assert_allclose(between["mean"], 2 * slope["mean"], rtol=1e-6)
    at = signed(fit.means(by="family", at={"n_params": [1e9, 1e11]}).table())
    assert at["at"].tolist() == ["n_params = 1e+09", "n_params = 1e+11"] * 2
    np.testing.assert_allclose(at["mean"][1] - at["mean"][0], 2 * slope["mean"], rtol=1e-6)
    per_parameter = signed(fit.slopes("n_params", at={"n_params": 1e10}).table()).iloc[0]
    expected = slope["mean"] / (1e10 * np.log(10))
    np.testing.assert_allclose(per_parameter["mean"], expected, rtol=1e-6)


def test_weights_are_said_and_matter(crossover: xr.Dataset) -> None:
    uneven = crossover.isel(model=slice(0, 13))
    fit = valuebias.fit(uneven, "~ family * stage", **SETTINGS)  # type: ignore[call-overload]
    cells = signed(fit.means(by=["family", "stage"]).table())["mean"].to_numpy()
    observed, equal = fit.means(by="family"), fit.means(by="family", weights="equal")
    assert observed.averaging == "Averaged over the 13 models at hand as to stage."
    assert equal.averaging == "All levels of stage count the same."
    np.testing.assert_allclose(signed(equal.table())["mean"], [cells[:2].mean(), cells[2:].mean()])
    shares = np.array([8, 5]) / 13
    expected = [cells[:2] @ shares, cells[2:] @ shares]
    np.testing.assert_allclose(signed(observed.table())["mean"], expected)
    assert equal.averaging in repr(equal)


def test_contrasts_may_weigh_categories(three: valuebias.Fit) -> None:
    each = three.means(by=["family", "category"])
    table = signed(each.table())
    assert table["estimand"].unique().tolist() == ["family mean"]
    values = {(r["name"], r["category"]): r["mean"] for _, r in table.iterrows()}
    assert sum(values["Alder", c] for c in ("agency", "communion", "other")) == pytest.approx(0)
    weights = {"agency": 1, "communion": -0.5, "other": -0.5}
    weighted = signed(three.means(by="family", contrast=weights).table())
    assert weighted.loc[0, "category"] == "agency − (0.5 communion + 0.5 other)"
    expected = sum(w * values["Alder", c] for c, w in weights.items())
    np.testing.assert_allclose(weighted.loc[0, "mean"], expected)
    pair = signed(three.means(by="family", contrast={"agency": 1.0, "communion": -1.0}).table())
    usual = signed(three.means(by="family").table())
    pd.testing.assert_frame_equal(pair, usual)


def test_a_fit_may_have_weights_as_its_contrast(tmp_path, three: valuebias.Fit) -> None:
    weights = {"agency": 1, "communion": -0.5, "other": -0.5}
    fit = valuebias.fit(three.data, contrast=weights, **SETTINGS)  # type: ignore[call-overload]
    expected = three.comparisons("family", contrast=weights).table()
    head = fit.contrasts().iloc[0]
    np.testing.assert_allclose(head["mean"], expected.loc[0, "mean"])
    loaded = valuebias.load(fit.save(tmp_path / "fit.nc"))
    pd.testing.assert_series_equal(loaded.contrasts().iloc[0], head)
    assert "agency over (0.5 communion + 0.5 other)" in str(fit.headline())
    text = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "'communion': -0.5" in text


def test_all_pairs_have_joint_intervals_and_ranks(three: valuebias.Fit) -> None:
    pairs = three.comparisons("family")
    table = signed(pairs.table(prob=0.8))
    assert table["name"].tolist() == ["Alder − Birch", "Alder − Cedar", "Birch − Cedar"]
    draws = pairs.draws.sel(estimand=pairs.draws["framing"] == "signed").stack(s=("chain", "draw"))
    lower, upper = (table[name].to_numpy()[:, None] for name in ("lower_joint", "upper_joint"))
    inside = ((draws > lower) & (draws < upper)).all("estimand")
    assert float(inside.mean()) == pytest.approx(0.8, abs=0.01)
    assert (table["lower_joint"] < table["lower"]).all()
    ranks = three.means(by="family").ranks()
    first = ranks[ranks["framing"] == "signed"].set_index("name")
    assert first.loc["Alder", "rank_1"] > 0.95
    assert first.loc["Birch", "rank_3"] > 0.95
    np.testing.assert_allclose(first[["rank_1", "rank_2", "rank_3"]].sum(axis=1), 1)
    np.testing.assert_allclose(first[["rank_1", "rank_2", "rank_3"]].sum(axis=0), 1)


def test_a_new_model_is_less_certain_than_its_kind(fit: valuebias.Fit) -> None:
    new = pd.DataFrame(
        {"family": ["Gemma", "Llama"], "stage": ["reward", "reward"], "n_params": [1e9, 1e9]},
        index=["one", "two"],
    )
    predicted = signed(fit.predict(new).table())
    expected = signed(fit.means(by=["family", "stage"], at={"n_params": 1e9}).table())
    expected = expected[expected["stage"] == "reward"].reset_index(drop=True)
    np.testing.assert_allclose(predicted["mean"], expected["mean"], atol=0.05)
    assert (predicted["sd"] > expected["sd"]).all()
    correlation = np.corrcoef(fit.predict(new).draws.to_numpy().reshape(-1, 6).T)[0, 3]
    shared = np.corrcoef(fit.means(by=["family", "stage"]).draws.to_numpy().reshape(-1, 12).T)
    assert abs(correlation) <= np.abs(shared[0]).max()


def test_a_model_on_a_known_base_is_predicted_with_it() -> None:
    ds = simulate(
        n_models={"Alder": [4, 4, 4], "Birch": [4, 4, 4]}, n_prompts=4, n_words=24,
        sd=QUIET | {"base_category": 1.0, "model_category": 0.05}, seed=9,
    )  # fmt: skip
    fit = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
    bases = ["Alder 1", "Alder 2", "Alder 3", "Alder 4"]
    new = pd.DataFrame({"family": "Alder", "base": bases}, index=bases)
    table = signed(fit.predict(new).table()).set_index("name")
    leans = fit.contrasts()
    known = leans[(leans["estimand"] == "base lean") & (leans["framing"] == "signed")]
    known = known.set_index("name")["mean"]
    np.testing.assert_allclose(table["mean"][bases[:3]], known[bases[:3]], atol=0.05)
    assert table.loc["Alder 4", "sd"] > 2 * table["sd"][bases[:3]].max()
    # Two on one new base share it, also in what is drawn anew of a known base's single words.
    pairs = pd.DataFrame(
        {"family": "Alder", "base": ["new", "new", "other", "", ""]}, index=list("vwxyz")
    )
    for these_words in (False, True):
        predicted = fit.predict(pairs, these_words=these_words).draws
        draws = predicted.sel(estimand=predicted["framing"] == "signed").stack(s=("chain", "draw"))
        among = np.corrcoef(draws.transpose("estimand", "s").to_numpy())
        assert among[0, 1] > 0.9
        assert max(among[0, 2], among[0, 3], among[3, 4]) < 0.7


def test_hypotheses_are_arithmetic_of_names(fit: valuebias.Fit) -> None:
    text = "(`Gemma, instruct` - `Llama, instruct`) - (`Gemma, reward` - `Llama, reward`)"
    double = fit.comparisons(("family", "stage")).table().iloc[0]
    row = fit.hypothesis(text).iloc[0]
    np.testing.assert_allclose([row["mean"], row["sd"]], [double["mean"], double["sd"]])
    assert np.isnan(row["p_true"])
    assert fit.hypothesis(f"{text} > 1.5").loc[0, "p_true"] > 0.9
    assert fit.hypothesis(f"{text} < 1.5").loc[0, "p_true"] < 0.1
    spread = fit.hypothesis("`sd[word, positive]` > `sd[model_category, positive]`").loc[0]
    sd = fit.parameters.sel(parameter=["sd[word, positive]", "sd[model_category, positive]"])
    expected = float((sd[..., 0] > sd[..., 1]).mean())
    assert spread["p_true"] == pytest.approx(expected)
    within = fit.comparisons("family", by="stage")
    row = within.hypothesis(
        "`Gemma − Llama, stage = instruct` = `Gemma − Llama, stage = reward`"
    ).iloc[0]
    np.testing.assert_allclose(row["mean"], double["mean"])


def test_names_of_programs_are_taken_as_well(fit: valuebias.Fit) -> None:
    pairs = fit.comparisons("family", pair=("Gemma", "Llama"))
    theirs, ours = (pairs.hypothesis(f"`Gemma {sign} Llama` > 0") for sign in ("-", "−"))
    assert theirs.loc[0, "mean"] == ours.loc[0, "mean"]


@pytest.fixture(scope="module")
def tuned(crossover: xr.Dataset) -> valuebias.Fit:
    n = crossover.sizes["model"]
    ds = crossover.assign_coords(
        tuned=("model", np.arange(n) % 2 == 0), seed=("model", np.arange(n) // 2 % 2)
    )
    return valuebias.fit(ds, "~ family + tuned + C(seed)", **SETTINGS)


def test_truth_values_of_models_are_levels(tuned: valuebias.Fit) -> None:
    by_level = tuned.means("tuned").table().set_index(["name", "framing"])["mean"]
    assert {name for name, _ in by_level.index} == {"False", "True"}
    for value in (True, np.True_, "True", 1):
        at = tuned.means(at={"tuned": value}).table().set_index("framing")["mean"]
        assert at["signed"] == by_level["True", "signed"]
    row = tuned.comparisons("tuned", pair=(True, False)).table().iloc[0]
    assert row["name"] == "True − False"
    expected = by_level["True", "signed"] - by_level["False", "signed"]
    np.testing.assert_allclose(row["mean"], expected)
    both = tuned.means(at={"tuned": [True, False]}).table()
    assert set(both["at"]) == {"tuned = True", "tuned = False"}
    new = pd.DataFrame({"family": "Gemma", "tuned": [True], "seed": [1]}, index=["new"])
    wanted = tuned.predict(new).table()["mean"]
    for other in ({"tuned": ["TRUE"]}, {"tuned": [1]}, {"seed": [1.0]}, {"seed": ["1"]}):
        assert tuned.predict(new.assign(**other)).table()["mean"].equals(wanted)
    with pytest.raises(ValueBiasError, match="not seen when fitting"):
        tuned.predict(new.assign(seed=[1.5]))
    with pytest.raises(ValueBiasError, match="has levels and no slope"):
        tuned.slopes("tuned")


@pytest.mark.parametrize(
    ("text", "probability"),
    [("Gemma < Gemma", 0), ("Gemma > Gemma", 0), ("Gemma <= Gemma", 1), ("Gemma >= Gemma", 1)],
)
def test_what_is_never_true_has_no_probability(
    fit: valuebias.Fit, text: str, probability: float
) -> None:
    assert fit.means("family").hypothesis(text).loc[0, "p_true"] == probability


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f.means(by="famly"), "Did you mean 'family'"),
        (lambda f: f.means(by="n_params"), r"at=\{'n_params': \[...\]\}"),
        (lambda f: f.means(at={"stage": "base"}), "not a level of 'stage'"),
        (lambda f: f.means(at={"n_params": "big"}), "give a number"),
        (lambda f: f.means(at={"n_params": -1}), "is not finite at"),
        (lambda f: f.means(at={"n_params": []}), "gives no value"),
        (lambda f: f.means(at="stage"), "at must map"),
        (lambda f: f.means(by="stage", at={"stage": "reward"}), "named twice"),
        (lambda f: f.means(weights="same"), "'observed', 'equal'"),
        (lambda f: f.means(contrast={"agency": 1}), "sum to zero"),
        (lambda f: f.means(contrast={"agency": 1e308, "communion": -1e308}), "sum to zero"),
        (lambda f: f.means(by="category", contrast=("agency", "communion")), "leave one out"),
        (lambda f: f.comparisons("family", pair=("Gemma", "Gema")), "Did you mean 'Gemma'"),
        (lambda f: f.comparisons("family", pair=("Gemma", "Gemma")), "with itself"),
        (lambda f: f.comparisons("family", by="family"), "is compared"),
        (lambda f: f.comparisons("n_params"), "is a number"),
        (lambda f: f.comparisons(["family", "stage"], pair=("a", "b")), "pair maps each"),
        (lambda f: f.slopes("stage"), r"comparisons\('stage'\)"),
        (lambda f: f.slopes("log(size)"), "not a number of the formula"),
        (lambda f: f.hypothesis("Gemma > Llama > 0"), "has 2 relations"),
        (lambda f: f.hypothesis("Gemma > Llama"), "which is no estimate"),
        (lambda f: f.hypothesis("`Gemma, reward` >"), "lacks one side"),
        (lambda f: f.hypothesis("__import__('os')"), "not among the functions"),
        (lambda f: f.hypothesis("`Gemma, reward` > 0 # - 1"), "'#' outside of backticks"),
        (lambda f: f.means("family").hypothesis("Gemma # > 0"), "'#' outside of backticks"),
        (lambda f: f.means().hypothesis("`all models` > 0", framing="negativ"), "'negative'"),
        (lambda f: f.hypothesis("`Gemma, reward` > 0", framing=[]), r"framing is \[\]"),
        (lambda f: f.means("family").hypothesis("Gemma > 0", framing=["signed"]), "'signed'"),
        (lambda f: f.predict({"family": ["Gemma"]}), "must be a DataFrame"),
        (lambda f: f.predict(pd.DataFrame({"family": ["Gemma"], "n_params": [1.0]})), "'stage'"),
        (lambda f: f.means().table(prob=2), "between 0 and 1"),
        (lambda f: f.means().table(rope=-1), "zero or more"),
    ],
)  # fmt: skip
def test_bad_questions_are_errors(fit: valuebias.Fit, ask, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        ask(fit)


def test_questions_of_a_loaded_fit_have_the_same_answers(tmp_path, fit: valuebias.Fit) -> None:
    loaded = valuebias.load(fit.save(tmp_path / "fit.nc"))
    for ask in (
        lambda f: f.means(by=["family", "stage"], at={"n_params": 8e9}),
        lambda f: f.slopes("n_params", by="family"),
        lambda f: f.comparisons("family", by="stage", weights="equal"),
        lambda f: f.predict(
            pd.DataFrame({"family": ["Gemma"], "stage": "reward", "n_params": 1e9})
        ),
    ):
        xr.testing.assert_allclose(ask(loaded).draws, ask(fit).draws)


def test_the_headline_of_a_crossover_gives_its_cells(fit: valuebias.Fit, tmp_path) -> None:
    text = str(fit.headline())
    assert "depends, in this formula, on stage" in text
    assert "with stage = instruct" in text
    assert "with stage = reward" in text
    assert "Its sign is not the same in all." in text
    assert "which need hold for none of them" in text
    assert "value agency" not in text
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "The difference within the levels of stage" in report
    assert "joint interval" in report


def test_a_slope_that_differs_by_family_is_said_at_two_sizes(crossover: xr.Dataset) -> None:
    fit = valuebias.fit(crossover, "~ family * log10(n_params)", **SETTINGS)  # type: ignore[call-overload]
    text = str(fit.headline())
    low, high = np.quantile(crossover["n_params"], [0.25, 0.75])
    assert f"with n_params = {low:.3g}" in text
    assert f"with n_params = {high:.3g}" in text


def test_of_several_families_those_that_differ_most_stand_in_front() -> None:
    ds = simulate(
        n_models={"Alder": 3, "Birch": 3, "Cedar": 3}, n_prompts=4, n_words=16,
        effects={"Alder": 0.0, "Birch": 0.5, "Cedar": -0.5}, sd=QUIET, seed=3,
    )  # fmt: skip
    fit = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
    assert fit.contrasts().loc[0, "name"] == "Birch − Cedar"
    text = str(fit.headline())
    assert "largest of the 3 differences between 3 levels of family" in text
    assert "3 have joint intervals without zero" in text
    assert "Birch leans furthest" in text
    assert set(fit.words()["name"]) == {"Birch − Cedar"}
    assert fit.influence(progress=False).attrs["name"] == "Birch − Cedar"
    asked = fit.focused(pair=("Alder", "Cedar"))
    assert asked.contrasts().loc[0, "name"] == "Alder − Cedar"
    assert "largest" not in str(asked.headline())
    assert set(asked.words()["name"]) == {"Alder − Cedar"}
    assert asked.prior_sensitivity(factors=(2.0,), progress=False)["name"].eq("Alder − Cedar").all()


def test_a_view_puts_its_question_everywhere(fit: valuebias.Fit, tmp_path) -> None:
    view = fit.focused(pair=("Llama", "Gemma"), by="stage", at={"n_params": 1e10})
    asked = fit.comparisons("family", pair=("Llama", "Gemma"), by="stage", at={"n_params": 1e10})
    rows, expected = view.contrasts().head(2), signed(asked.table())
    assert rows["at"].tolist() == expected["at"].tolist()
    np.testing.assert_allclose(rows["mean"], expected["mean"])
    assert fit.contrasts().loc[0, "name"] == "Gemma − Llama"
    assert "with stage = instruct, n_params = 1e+10" in str(view.headline())
    words = view.words()
    assert len(words) == 2 * fit.data.sizes["response"]
    of_cells = words.groupby("at", sort=False)["mean"].sum()
    np.testing.assert_allclose(of_cells, 0, atol=1e-8)
    loaded = valuebias.load(view.save(tmp_path / "view.nc"))
    pd.testing.assert_frame_equal(loaded.contrasts(), view.contrasts())
    for kind in ("forest", "families", "words"):
        view.plot(kind).savefig(tmp_path / f"{kind}.png")
    with pytest.raises(ValueBiasError, match="levels of two variables"):
        fit.focused(pair=("Llama", "reward"))
    with pytest.raises(ValueBiasError, match="Did you mean 'Llama'"):
        fit.focused(pair=("Lama", "Gemma"))
    with pytest.raises(ValueBiasError, match="Did you mean 'stage'"):
        fit.focused(by="stages")


def test_the_largest_difference_follows_what_is_asked(three: valuebias.Fit) -> None:
    """Another contrast has another largest pair, and the headline's ranks are of one cell."""
    for contrast in (("agency", "other"), {"other": 1, "communion": -0.5, "agency": -0.5}):
        view = three.focused(contrast=contrast)
        pairs = signed(view.comparisons("family").table())
        front = view.contrasts().iloc[0]
        assert abs(front["mean"]) == pytest.approx(pairs["mean"].abs().max())
        assert "It is the largest of the 3" in str(view.headline())
    assert three.focused(pair=("Birch", "Cedar")).focused(by=[]).focus.pair == ("Birch", "Cedar")


def test_the_largest_of_several_is_judged_with_the_others(three: valuebias.Fit) -> None:
    """Picked for its size, it needs a joint interval without zero."""
    table = three.comparisons("family").table(prob=0.9)
    assert (table["p_joint"] <= table["p_direction"]).all()
    clear = table["lower_joint"] * table["upper_joint"] > 0
    assert (clear == (table["p_joint"] > 0.95)).all()
    nothing = simulate(n_models=dict.fromkeys("ABCDEF", 2), n_prompts=4, n_words=20, seed=4)
    view = valuebias.fit(nothing, **SETTINGS)  # type: ignore[call-overload]
    pairs = signed(view.comparisons("family").table())
    picked = pairs.loc[pairs["mean"].abs().idxmax()]
    assert view.headline().verdict == verdict_of(picked["p_joint"])
    assert "by itself" in str(view.headline())


def test_what_the_formula_alone_says_is_said(crossover: xr.Dataset, fit: valuebias.Fit) -> None:
    far = fit.focused(at={"n_params": 1e13})
    assert "from 1e+09 to 7e+10, not 1e+13: the formula alone" in str(far.headline())
    assert "With n_params = 1e+13, averaged over" in str(far.headline())
    assert "not 1e+13" in fit.means("family", at={"n_params": 1e13}).averaging
    gone = (crossover["family"] == "Llama") & (crossover["stage"] == "reward")
    some = valuebias.fit(crossover.sel(model=~gone), "~ family + stage", **SETTINGS)  # type: ignore[call-overload]
    text = str(some.focused(at={"stage": "reward"}).headline())
    assert "No model at hand is of Llama with stage = reward" in text


def test_tiny_slopes_can_be_read(fit: valuebias.Fit) -> None:
    assert "e-1" in str(fit.slopes("n_params"))
    assert "e-1" not in str(fit.slopes("log10(n_params)"))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda f: f.focused(at=[("n_params", 1)]), "must map variables"),
        (lambda f: f.focused(pair={"Gemma", "Llama"}), "two different levels"),
        (lambda f: f.focused(by=3), "by must name variables, found 3"),
        (lambda f: f.focused(by="nonsense"), "which the formula"),
        (lambda f: f.comparisons(3), "variable must name"),
        (lambda f: f.comparisons(("family", "family")), "two different ones"),
        (lambda f: f.comparisons("family", pair={"Gemma", "Llama"}), "two levels or values"),
        (lambda f: f.comparisons("n_params"), r"give pair=\("),
        (lambda f: f.means(by="log10(n_params)"), r"give at=\{'n_params'"),
        (lambda f: f.predict(pd.DataFrame()), "one without rows"),
        (
            lambda f: f.predict(
                pd.DataFrame(
                    {"family": ["Gemma"], "stage": "reward", "n_params": -1.0}, index=["x"]
                )
            ),
            "'x' are missing, or such that",
        ),
    ],
)
def test_what_cannot_be_asked_is_said(fit: valuebias.Fit, ask, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        ask(fit)


def test_numbers_beyond_all_models_give_no_infinite_estimate() -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=12, seed=3)
    ds = ds.assign_coords(size=("model", [1.0, 2, 3, 1, 2, 3]))
    fit = valuebias.fit(ds, "~ family * size", **SETTINGS)  # type: ignore[call-overload]
    new = pd.DataFrame({"family": ["A"], "size": [1e308]})
    for ask in (lambda: fit.means(at={"size": 1e308}), lambda: fit.predict(new)):
        with pytest.raises(ValueBiasError, match="which no model has"):
            ask()
    assert np.isfinite(fit.means(at={"size": 100}).table()["mean"]).all()


def test_advice_can_be_followed(fit: valuebias.Fit) -> None:
    assert len(fit.comparisons("n_params", pair=(1e10, 1e9)).table()) == 3
    assert len(fit.means(at={"n_params": np.array(3e9)}).table()) == 3
    assert fit.focused(by="stage").focused(pair=("Llama", "Gemma")).focus.by == ("stage",)


def test_a_base_of_another_family_is_refused() -> None:
    ds = simulate(n_models={"A": [2, 2], "B": [2, 2]}, n_prompts=4, n_words=20, seed=1)
    shared = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
    base = str(ds["base"].values[0])
    table = pd.DataFrame({"family": ["B"], "base": base}, index=["x"])
    with pytest.raises(ValueBiasError, match="are of 'A'"):
        shared.predict(table)
    assert len(shared.predict(table.assign(family="A")).table()) == 3


def test_the_largest_is_that_of_the_values_in_front() -> None:
    """One value in a list, as the command gives it, is the value that the headline is about."""
    ds = simulate(n_models=dict.fromkeys("ABC", 5), n_prompts=4, n_words=24, sd=QUIET, seed=6)
    size = np.tile([1e9, 2e9, 4e9, 8e9, 16e9], 3)
    slope = {"A": 0.5, "B": 0.0, "C": -0.5}
    family = ds["family"].to_numpy().astype(str)
    lean = np.array([slope[f] for f in family]) * (np.log10(size) - 9.6)
    sign = np.where(ds["framing"] == "positive", 1.0, -1.0)
    agency = np.where(ds["membership"].sel(category="agency"), 0.5, -0.5)
    shifted = ds["score"].to_numpy() + lean[:, None, None] * sign[:, None] * agency
    ds = ds.assign(score=(ds["score"].dims, shifted.astype("float32")))
    ds = ds.assign_coords(n_params=("model", size))
    fit = valuebias.fit(ds, "~ family * log10(n_params)", **SETTINGS)  # type: ignore[call-overload]
    for value in (1e9, 1.6e10):
        for at in (value, [value], [value, 4e9]):
            front = fit.focused(at={"n_params": at}).contrasts().iloc[0]
            pairs = signed(fit.comparisons("family", at={"n_params": value}).table())
            assert abs(front["mean"]) == pytest.approx(pairs["mean"].abs().max())
            assert (front["first"], front["second"]) == (("C", "A") if value < 4e9 else ("A", "C"))


def test_what_a_joint_verdict_would_have_found_is_more() -> None:
    ds = simulate(n_models=dict.fromkeys("ABCDEF", 2), n_prompts=4, n_words=20, seed=4)
    fit = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
    row = fit.contrasts().iloc[0]
    text = str(fit.headline())
    assert fit.headline().verdict == "open"
    found = float(text.split("A difference of about ")[1].split(" ")[0])
    # Of one difference 1.96 + 0.84 SDs; of the largest of fifteen some 2.9 + 0.84.
    assert found > 3.2 * row["sd"]


def test_stages_stand_as_they_are_trained_and_each_difference_says_how_small(tmp_path) -> None:
    kinds = [(f, s) for f in ("Gemma", "Llama") for s in ("reward", "instruct", "pretrained")]
    ds = simulate(
        n_models={f"{family} {stage}": 2 for family, stage in kinds},
        n_prompts=4, n_words=16, sd=QUIET, seed=2,
    )  # fmt: skip
    split = [str(name).split(" ") for name in ds["family"].to_numpy()]
    ds = ds.assign_coords(
        family=("model", [family for family, _ in split]),
        stage=("model", [stage for _, stage in split]),
        base=("model", ds["model"].to_numpy()),
    )
    fit = valuebias.fit(ds, "~ family * stage", **SETTINGS)  # type: ignore[call-overload]
    said = ["pretrained", "instruct", "reward"]
    assert [
        str(at) for at in signed(fit.comparisons("family", by="stage").table())["stage"]
    ] == said
    asked = fit.focused(by="stage")
    text = str(asked.headline())
    places = [text.index(f"with stage = {stage}") for stage in said]
    assert places == sorted(places)
    page = asked.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    (line,) = [x for x in page.splitlines() if "taken as too small to matter" in x]
    rows = signed(fit.comparisons("family", by="stage").table())
    for stage, p in zip(said, rows["p_rope"], strict=True):
        assert f"{percent(p, 400)} with stage = {stage}" in line.replace("\\", "")
    assert "It lies" not in line
