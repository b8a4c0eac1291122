"""Bases, spreads and word covariates through the public door."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError, ValueBiasWarning

QUICK = {"draws": 300, "tune": 300, "chains": 2, "seed": 1, "progress": False}
OF_BASES = {"base_category": 0.3, "base_word": 0.4}


def fit(ds: xr.Dataset, formula: str | None = None, **options: object) -> valuebias.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit(ds, formula, **{**QUICK, **options})  # type: ignore[call-overload]


def headline(made: valuebias.Fit) -> pd.Series:
    return made.contrasts().iloc[0]


@pytest.fixture(scope="module")
def clustered() -> xr.Dataset:
    """Give models on five bases that differ by more than their models do."""
    return simulate(
        n_models={"Gemma": [3, 1], "Llama": [3, 2, 1]}, n_prompts=8, n_words=60, effects={},
        sd=OF_BASES, seed=3,
    )  # fmt: skip


def test_the_coordinate_brings_bases_in_and_none_leaves_them_out(clustered: xr.Dataset) -> None:
    known, by_hand = fit(clustered), fit(clustered, "~ family + (1 | base)")
    pd.testing.assert_frame_equal(known.contrasts(), by_hand.contrasts())
    assert {"base_category", "base_word"} <= set(known.problem.components.names)
    assert not any(note.code == "bases left out" for note in known.notes)
    blind = fit(clustered, base=None)
    assert not any(name.startswith("base") for name in blind.problem.components.names)
    assert "Models share 5 bases, which were left out" in str(blind.headline())


def test_models_of_one_base_count_for_less() -> None:
    # With many models a base the interval is wider by a third to a half, beyond what draws vary by.
    many = simulate(
        n_models={"Gemma": [6, 6], "Llama": [6, 6]}, n_prompts=8, n_words=60, effects={},
        sd=OF_BASES, seed=3,
    )  # fmt: skip
    assert headline(fit(many))["sd"] > 1.15 * headline(fit(many, base=None))["sd"]


def test_another_coordinate_may_name_the_bases(clustered: xr.Dataset) -> None:
    other = clustered.rename(base="lineage").assign_coords(
        base=("model", clustered["model"].values)
    )
    pd.testing.assert_frame_equal(
        fit(other, base="lineage").contrasts(), fit(clustered).contrasts()
    )


def test_bases_are_named_in_words(clustered: xr.Dataset) -> None:
    numbered = clustered.assign_coords(size=("model", np.arange(10.0)))
    advice = "dataset.assign_coords(size=dataset['size'].astype(str))"
    with pytest.raises(ValueBiasError, match=rf"'size' holds numbers.*: {re.escape(advice)}"):
        fit(numbered, base="size")
    advised = numbered.assign_coords(size=numbered["size"].astype(str))
    assert fit(advised, base="size").contrasts().equals(fit(clustered, base=None).contrasts())


def test_leans_of_bases_are_told_and_models_lie_about_them(clustered: xr.Dataset) -> None:
    table = fit(clustered).contrasts()
    signed = table[table["framing"] == "signed"].set_index(["estimand", "name"])["mean"]
    assert set(signed["base lean"].index) == set(clustered["base"].values.tolist())
    for base in np.unique(clustered["base"]):
        models = clustered["model"].values[clustered["base"].values == base]
        assert abs(signed["model lean"][models].mean() - signed["base lean"][base]) < 0.1


def test_with_one_base_a_family_the_headline_says_so_first() -> None:
    ds = simulate(n_models={"A": [3], "B": [4]}, n_prompts=6, n_words=40, sd=OF_BASES, seed=1)
    with pytest.warns(ValueBiasWarning, match="every family has one base"):
        made = valuebias.fit(ds, **{**QUICK, "draws": 1000})
    assert str(made.headline()).startswith("Each family has one base here")
    wide, narrow = (
        headline(made)["sd"],
        headline(fit(ds, prior={"sd": {"base_category": 0.01}}))["sd"],
    )
    assert wide > 1.2 * narrow


def test_a_base_of_its_own_for_every_model_changes_nothing() -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=6, n_words=40, seed=1)
    assert len(set(ds["base"].values)) == 6
    pd.testing.assert_frame_equal(fit(ds).contrasts(), fit(ds, base=None).contrasts())


def test_incomplete_scores_know_of_bases(clustered: xr.Dataset) -> None:
    rng = np.random.default_rng(1)
    gappy = clustered.copy()
    gappy["score"] = gappy["score"].where(rng.random(gappy["score"].shape) > 0.02)
    whole, part = headline(fit(clustered)), headline(fit(gappy))
    assert part["mean"] == pytest.approx(whole["mean"], abs=0.3 * whole["sd"])
    assert part["sd"] == pytest.approx(whole["sd"], rel=0.3)


def test_a_family_that_varies_more_has_a_wider_mean() -> None:
    ds = simulate(
        n_models={"A": 4, "B": 8}, n_prompts=8, n_words=60, effects={}, spread={"A": 4.0}, seed=2,
    )  # fmt: skip
    apart, pooled = (fit(ds, outcome="raw", spread=spread) for spread in (None, False))
    spread = apart.summary().loc[["spread[word, A]", "spread[word, B]"], "mean"]
    assert spread.iloc[0] / spread.iloc[1] == pytest.approx(4.0, rel=0.15)
    leans = [
        made.contrasts()
        .query("estimand == 'family lean' and framing == 'signed'")
        .set_index("name")
        for made in (apart, pooled)
    ]
    assert leans[0].loc["A", "sd"] > leans[1].loc["A", "sd"]
    predicted = apart.contrasts().query("estimand == 'predicted lean' and framing == 'signed'")
    by_family = predicted.set_index("name")["sd"]
    assert by_family["A"] > 1.3 * by_family["B"]


def test_a_covariate_takes_its_share_of_the_contrast() -> None:
    # Agency words are more frequent by 1.5 SD, and frequency is liked by A and not by B.
    ds = simulate(
        n_models={"A": 4, "B": 4}, n_prompts=8, n_words=80, effects={},
        covariates={"frequency": {"gap": 1.5, "slope_family": 0.8}}, seed=6,
    )  # fmt: skip
    plain, adjusted = fit(ds, outcome="raw"), fit(ds, outcome="raw", words="~ frequency")
    table = adjusted.contrasts()
    table = table[table["framing"] == "signed"].set_index("estimand")
    own, left = table.loc["family difference"], table.loc["family difference, unadjusted"]
    assert abs(left["mean"] - headline(plain)["mean"]) < 0.3 * left["sd"]
    assert abs(left["mean"] - own["mean"]) > 2 * own["sd"]
    assert own["lower"] < 0 < own["upper"]
    # One SD of the covariate; the gap is part of its spread over words.
    x = ds["frequency"].to_numpy()
    slope = table.loc["family difference in slope"]
    gap = (
        x[ds["membership"].sel(category="agency")].mean()
        - x[ds["membership"].sel(category="communion")].mean()
    )
    assert slope["mean"] * gap / x.std() == pytest.approx(left["mean"] - own["mean"], rel=0.05)
    assert "frequency" in adjusted.settings["words"]


def test_the_adjusted_contrast_is_that_of_least_squares() -> None:
    # With flat priors and one model a family the mean is the regression's own.
    ds = simulate(
        n_models={"A": 2, "B": 2}, n_prompts=8, n_words=60, covariates={"x": {"gap": 1.0}}, seed=4
    )
    made = fit(ds, "~ family", outcome="raw", words="~ x", prior={"effect": 50, "mean": 50})
    y = ds["score"].to_numpy()
    sign = np.where(ds["framing"] == "positive", 1, -1)
    by_word = np.einsum("mpw,p->mw", y, sign / len(sign))
    family = (ds["family"] == "A").to_numpy()
    difference = by_word[family].mean(0) - by_word[~family].mean(0)
    agency = ds["membership"].sel(category="agency").to_numpy().astype(float)
    design = np.column_stack([np.ones(60), agency, ds["x"]])
    expected = np.linalg.lstsq(design, difference)[0][1]
    assert headline(made)["mean"] == pytest.approx(expected, abs=0.15 * headline(made)["sd"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("~ frequenzy", "not a coordinate on 'response'"),
        ("~ log(frequency)", "Give these a value"),
        ("frequency ~ length", "left-hand side"),
        ("~ same", "the same for all words"),
        ("~ kind", "tells the categories .* apart"),
    ],
)
def test_formulas_of_words_are_refused_in_their_own_terms(words: str, said: str) -> None:
    ds = simulate(n_prompts=4, n_words=20, seed=1)
    agency = ds["membership"].sel(category="agency").to_numpy()
    ds = ds.assign_coords(
        frequency=("response", np.arange(20.0)),
        same=("response", np.ones(20)),
        kind=("response", np.where(agency, "a", "c")),
    )
    with pytest.raises(ValueBiasError, match=said):
        valuebias.fit(ds, words=words, **QUICK)


def test_what_adds_a_coordinate_is_said() -> None:
    dataset = simulate(n_prompts=4, n_words=20, seed=1)
    advice = "dataset.assign_coords({'rarity': ('response', values)})"
    with pytest.raises(ValueBiasError, match=re.escape(advice)):
        valuebias.fit(dataset, words="~ rarity", **QUICK)
    values = np.linspace(0, 1, 20)
    dataset = dataset.assign_coords({"rarity": ("response", values)})
    assert "rarity" in valuebias.fit(dataset, words="~ rarity", **QUICK).settings["words"]


def test_everything_survives_saving(clustered: xr.Dataset, tmp_path) -> None:
    x = np.random.default_rng(1).normal(size=clustered.sizes["response"])
    made = fit(clustered.assign_coords(x=("response", x)), words="~ x")
    again = valuebias.load(made.save(tmp_path / "fit.nc"))
    pd.testing.assert_frame_equal(again.contrasts(), made.contrasts())
    pd.testing.assert_frame_equal(again.summary(), made.summary())
    assert again.notes == made.notes


def noted(ds: xr.Dataset, formula: str | None = None, **options: object) -> dict[str, str]:
    made = fit(ds, formula, draws=20, tune=100, **options)
    return {note.code: note.text for note in made.notes}


def test_bases_by_another_name_count_as_bases(clustered: xr.Dataset) -> None:
    assert "bases left out" not in noted(clustered, "~ family + (1 | family:base)")
    slopes_alone = noted(clustered, "~ family + (0 + log(n_params) | base)")
    assert "(1 | base)" in slopes_alone["bases left out"]


def test_models_without_a_level_share_nothing(clustered: xr.Dataset) -> None:
    gaps = np.array(["x", "", "x", "", "y", "y", "", "", "z", ""], dtype=object)
    own = np.where(gaps == "", np.arange(10).astype(str).astype(object), gaps)
    made, expected = (
        fit(clustered.assign_coords(recipe=("model", r)), "~ family + (1 | recipe)", draws=20)
        for r in (gaps, own)
    )
    np.testing.assert_allclose(headline(made)["mean"], headline(expected)["mean"])


def test_groups_that_the_formula_holds_already_reach_the_headline(clustered: xr.Dataset) -> None:
    made = fit(clustered, "~ family + (1 | base) + (1 | family)", draws=20)
    assert (
        "levels of family, 2 in number"
        in {n.code: n.text for n in made.notes}["spread of familys unknown"]
    )
    assert "the prior alone says" in str(made.headline())


@pytest.mark.parametrize("name", ["model", "word"])
def test_random_effects_that_are_built_in_are_named(clustered: xr.Dataset, name: str) -> None:
    with pytest.raises(ValueBiasError, match="in the model anyway"):
        fit(clustered, f"~ family + (1 | {name})")


def test_with_one_base_for_all_families_differ_in_it_no_more(clustered: xr.Dataset) -> None:
    one = clustered.assign_coords(base=("model", ["p"] * 10))
    made = fit(one, draws=20)
    assert "All models have one base" in str(made.headline())
    assert "Families differ in data and size together" in str(made.headline())
    same = one.assign_coords(n_params=("model", [2e9] * 10), source=("model", ["hh"] * 10))
    assert "Families differ" not in str(fit(same, draws=20).headline())


def test_words_in_every_category_are_not_blamed_on_covariates(clustered: xr.Dataset) -> None:
    everywhere = clustered.assign(membership=xr.ones_like(clustered["membership"]))
    with pytest.raises(ValueBiasError, match="cannot be told apart by their words"):
        fit(everywhere)
    assert "inf times" not in str(valuebias.audit(everywhere).findings["detail"].tolist())


@pytest.mark.parametrize("spread", [3, "yes"])
def test_a_spread_is_true_or_false(clustered: xr.Dataset, spread: object) -> None:
    with pytest.raises(ValueBiasError, match="spread must be True, False or None"):
        fit(clustered, spread=spread)


def test_families_of_one_base_are_named_beside_others_of_several() -> None:
    ds = simulate(n_models={"A": [3], "B": [2], "C": [2, 1, 1]}, n_prompts=6, n_words=40, seed=2)
    made = fit(ds)
    (note,) = [note for note in made.notes if note.code == "one base of a family"]
    assert "one base only of A (A 1) and B (B 1)" in note.text
    assert "one base only of A and B" in str(made.headline())


def test_no_word_is_certain_where_no_models_replicate() -> None:
    effects = {"A": 2.0, "B": -2.0}
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=8, n_words=40, effects=effects, seed=2)
    made = fit(ds)
    table = made.words()
    assert table["p_direction"].max() > 0.995
    assert not table["certain"].any()
    (note,) = [note for note in made.notes if note.code == "no replication"]
    assert "generalise over none" in note.text
    made.loo()
    made.ppc()


def test_other_coordinates_of_bases_are_held_to_one_spelling() -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=2, n_words=12, seed=1)
    names = ["x 1", "X 1", "x 2", "y 1", "y 1", "y 2"]
    ds = ds.assign_coords(parent=("model", names), base=("model", [""] * 6))
    for settings in ({"base": "parent"}, {"formula": "~ family + (1 | parent)"}):
        with pytest.raises(ValueBiasError, match="'x 1' and 'X 1' differ in capitals or spaces"):
            valuebias.fit(ds, seed=1, progress=False, **settings)


def test_bases_that_differ_in_spelling_are_mended_by_the_line() -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=2, n_words=12, seed=1)
    ds = ds.assign_coords(base=("model", ["x 1", "X 1", "x 2", "y 1", "y 1", "y 2"]))
    with pytest.raises(ValueBiasError, match="differ in capitals") as caught:
        valuebias.fit(ds, seed=1, progress=False)
    line = re.search(r"dataset = dataset\.assign_coords\(.*\)\)", str(caught.value))
    assert line is not None
    scope = {"dataset": ds}
    exec(line[0], scope)  # noqa: S102
    assert scope["dataset"]["base"].to_numpy().tolist()[:2] == ["x 1", "x 1"]
    fit(scope["dataset"], draws=20, tune=20, chains=1)


def test_bases_that_look_alike_are_noted_and_predicted_with_a_warning() -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=2, n_words=12, seed=1)
    ds = ds.assign_coords(base=("model", ["org/a1", "a1", "a2", "b1", "b1", "b2"]))
    made = fit(ds, draws=20, tune=20, chains=1)
    (note,) = [note for note in made.settings["notes"] if note["code"] == "names alike"]
    assert "'org/a1' and 'a1' differ in what stands before a slash only" in note["text"]
    assert "org/a1 and a1 look alike" in note["headline"]
    new = pd.DataFrame({"family": ["B", "B"], "base": ["B1", "b1"]}, index=["new", "other"])
    with pytest.raises(ValueBiasError, match="'b1' and 'B1' differ in capitals") as caught:
        made.predict(new)
    scope = {"models": new}
    exec(str(caught.value).rpartition("alike: ")[2].removesuffix("."), scope)  # noqa: S102
    assert scope["models"]["base"].tolist() == ["b1", "b1"]
    made.predict(scope["models"])
    with pytest.warns(ValueBiasWarning, match="'b1' and 'org/b1' look alike"):
        made.predict(new.assign(base=["org/b1", ""]))


def test_words_in_no_category_are_warned_of() -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=40, seed=1)
    ds["membership"][5:25] = False
    with pytest.warns(ValueBiasWarning, match="20 of the 40 words scored") as caught:
        valuebias.fit(ds, **{**QUICK, "draws": 20, "tune": 20})
    assert sum("words scored" in str(one.message) for one in caught) == 1
