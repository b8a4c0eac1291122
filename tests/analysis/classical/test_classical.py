from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols

from valuebias import ValueBiasError, classical
from valuebias.analysis.classical.anova import type_two
from valuebias.analysis.classical.classical import AVERAGES, Classical
from valuebias.datasets.simulate import simulate


def small(**changes):
    arguments = {"n_models": {"Gemma": 3, "Llama": 4}, "n_prompts": 8, "n_words": 40, "seed": 5}
    return simulate(**{**arguments, **changes})


@pytest.fixture(scope="module")
def result() -> Classical:
    return classical(small(), n_permutations=99)


@pytest.mark.parametrize("data", ["three_families", "incomplete"])
def test_the_anova_is_cars(data, classical_r, request):
    ranks = request.getfixturevalue(data)
    table, messages = type_two(ranks.frame())
    r = pd.DataFrame(classical_r[{"three_families": "three"}.get(data, data)]["anova"])
    assert messages == ()
    assert table.index.tolist() == r["term"].tolist()
    for column in ("Sum Sq", "Df", "F value", "Pr(>F)"):
        np.testing.assert_allclose(table[column], r[column].astype(float), rtol=1e-7)


@pytest.mark.released_data
def test_the_anova_of_the_paper_is_cars(big2, classical_r):
    table = classical(big2, n_permutations=1).anova
    r = pd.DataFrame(classical_r["big2"]["anova"])
    for column in ("Sum Sq", "Df", "F value", "Pr(>F)"):
        np.testing.assert_allclose(table[column], r[column].astype(float), rtol=1e-6, atol=1e-250)


@pytest.mark.released_data
def test_the_paper_beside_random_slopes(big2, big2_r):
    made = classical(big2)
    assert len(made.medians) == 1080
    assert made.permutation["p.perm"].tolist() == pytest.approx(
        [
            row["p"]
            for row in sorted(
                big2_r["welch_permutation"], key=lambda r: r["prompt_framing"] != "positive"
            )
        ],
        abs=1.5e-3,
    )
    headline = made.headline()
    assert (
        "Llama models lean 9.9 median ranks more towards agency against communion" in headline.text
    )
    assert "t = 7.94 on 1064" in headline.text
    assert "t = 2.03 on 8" in headline.text
    assert headline.row["name"] == "Gemma − Llama"
    three_way = made.mixed["Value"].iloc[-1]
    assert headline.row["estimate"] == pytest.approx(three_way / 2)
    assert made.fits["singular"].tolist() == [False, True]


def test_attributes_are_tables_with_rs_columns(result):
    assert result.mixed.columns.tolist() == ["Value", "Std.Error", "DF", "t-value", "p-value"]
    assert result.mixed_slopes.columns.tolist()[5:] == ["DF(models)", "p-value(models)"]
    assert result.mixed.index.tolist() == result.mixed_slopes.index.tolist()
    assert result.mixed.index[0] == "(Intercept)"
    assert result.anova.columns.tolist() == ["Sum Sq", "Df", "F value", "Pr(>F)"]
    assert result.anova.index[-1] == "Residuals"
    assert len(result.anova_mixed) == 14
    assert len(result.table) == len(result.permutation) * 2 == len(result.welch) * 2 == 8
    assert result.sd["group"].tolist() == ["model", "residual"] + ["model"] * 4 + ["residual"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seed = 3


def test_leans_are_the_differences_of_mean_medians(result):
    # Balanced data: the fixed effects are means of cells.
    means = result.medians.groupby(["family", "category", "framing"])["rank"].mean()

    def lean(family, framing):
        return means[family, "communion", framing] - means[family, "agency", framing]

    frame = result.contrasts()
    frame = frame[frame["spec"] == "random intercept"].set_index(["name", "framing"])["estimate"]
    for family in ("Gemma", "Llama"):
        for framing in ("positive", "negative"):
            assert frame[family, framing] == pytest.approx(lean(family, framing))
        signed = (lean(family, "positive") - lean(family, "negative")) / 2
        assert frame[family, "signed"] == pytest.approx(signed)
    difference = frame["Gemma", "signed"] - frame["Llama", "signed"]
    assert frame["Gemma − Llama", "signed"] == pytest.approx(difference)


def test_a_planted_lean_has_its_sign():
    ds = small(effects={"Gemma": 1.0, "Llama": -1.0})
    made = classical(ds, n_permutations=9)
    assert made.contrasts().iloc[0]["estimate"] > 5
    assert "Gemma models lean" in made.headline().text


def test_intervals_widen_with_prob_and_follow_students_t(result):
    narrow, wide = (result.contrasts(prob=prob).iloc[0] for prob in (0.5, 0.99))
    assert wide["upper"] - wide["lower"] > narrow["upper"] - narrow["lower"]
    assert narrow["estimate"] == wide["estimate"]
    assert (narrow["lower"] + narrow["upper"]) / 2 == pytest.approx(narrow["estimate"])
    with pytest.raises(ValueBiasError, match="prob=95"):
        result.contrasts(prob=95)


def test_a_contrast_orders_the_categories():
    ds = small()
    plain, same, turned = (
        classical(ds, contrast=pair, n_permutations=9)
        for pair in (None, ("agency", "communion"), ("communion", "agency"))
    )
    pd.testing.assert_frame_equal(plain.mixed, same.mixed)
    row, back = plain.contrasts().iloc[0], turned.contrasts().iloc[0]
    assert back["category"] == "communion − agency"
    assert back["estimate"] == pytest.approx(-row["estimate"])
    assert back["se"] == pytest.approx(row["se"])


def test_many_families_and_categories():
    ds = small(
        n_models={"Gemma": 3, "Llama": 2, "Qwen": 2},
        n_words={"care": 12, "fairness": 12, "loyalty": 12, "authority": 12, "sanctity": 12},
        overlap=0.3,
    )
    made = classical(ds, n_permutations=9)
    assert len(made.mixed) == 3 * 5 * 2
    assert len(made.welch) == len(made.permutation) == 3 * 5 * 2
    assert made.mixed_slopes["DF(models)"].unique().tolist() == [4]
    differences = made.contrasts().query("estimand == 'family difference' and framing == 'signed'")
    assert len(differences) == 2 * 3 * 10
    assert made.anova.loc["family:category:framing", "Df"] == 8


def test_one_framing_only():
    ds = small()
    made = classical(ds.sel(prompt=ds["framing"] == "negative"), n_permutations=9)
    assert made.mixed.index[-1] == "family[Llama]:category[communion]"
    assert made.anova.index.tolist() == ["family", "category", "family:category", "Residuals"]
    frame = made.contrasts()
    assert set(frame["framing"]) == {"signed", "negative"}
    first = frame[frame["name"] == "Gemma − Llama"].set_index(["spec", "framing"])["estimate"]
    for spec in ("random intercept", "random slopes"):
        assert first[spec, "signed"] == pytest.approx(-first[spec, "negative"])


def test_one_model_a_family_is_answered_without_mixed_models():
    made = classical(small(n_models={"Gemma": 1, "Llama": 1}), n_permutations=9)
    assert made.mixed.empty
    assert made.mixed_slopes.empty
    assert made.sd.empty
    assert made.contrasts().empty
    assert len(made.anova) == 8
    assert made.welch["t"].notna().all()
    assert "One model only in Gemma, Llama" in made.messages[0]
    assert "one each" in made.messages[1]
    assert "not estimated" in str(made)
    assert json.loads(json.dumps(made.to_dict()))["mixed"] == []


def test_one_model_in_one_family_is_allowed_and_said():
    made = classical(small(n_models={"Gemma": 3, "Llama": 1}), n_permutations=9)
    assert len(made.mixed) == 8
    assert "One model only in Llama" in made.messages[0]


def test_missing_medians_are_counted():
    ds = small()
    ds["score"][0, 0] = np.nan
    made = classical(ds, n_permutations=9)
    assert "2 of 112 median ranks do not exist" in made.messages[0]
    assert made.fits["n"].tolist() == [110, 110]
    assert made.mixed["DF"].iloc[0] == 110 - 7 - 6


def test_prompts_that_tie_all_words_are_answered():
    ds = small()
    ds["score"][:] = np.arange(8, dtype=np.float32)[None, :, None]
    made = classical(ds, n_permutations=9)
    assert made.mixed.empty
    assert made.anova.empty
    assert made.welch["t"].isna().all()
    assert any("All median ranks are the same" in message for message in made.messages)
    assert any("ANOVA: not estimated" in message for message in made.messages)


def test_odd_names_go_through():
    ds = small()
    family = np.where(ds["family"].values == "Gemma", "\ud800", "a:b − c")
    model = np.array([f"\udc00{name}" for name in ds["model"].values])
    ds = ds.assign_coords(family=("model", family), category=["\udfff", "C(x)"], model=model)
    made = classical(ds, n_permutations=9)
    assert len(made.mixed) == 8
    assert "C(x)" in str(made)
    assert json.loads(json.dumps(made.to_dict()))["table"][0]["family"] in ("\ud800", "a:b − c")
    assert "a:b − c" in made.headline().text


def test_printed_it_holds_every_table(result):
    text = str(result)
    for part in (
        "Average median rank",
        "random intercept by model",
        "Type-II ANOVA",
        "99 shuffles",
    ):
        assert part in text
    assert result.headline().text in text
    assert "NaN" not in text
    row = result.permutation.iloc[0]
    assert f"{round(99 * row['p.perm'])}/99" in text  # the paper's p, which a share of 0 would hide


def test_the_dict_is_plain_and_whole(result):
    made = result.to_dict()
    again = json.loads(json.dumps(made, allow_nan=False))
    assert again == made
    assert made["mixed"][-1]["term"] == "family[Llama]:category[communion]:framing[negative]"
    assert made["mixed"][-1]["Value"] == pytest.approx(result.mixed["Value"].iloc[-1])
    assert made["anova"][-1] == {
        "term": "Residuals",
        "Sum Sq": result.anova["Sum Sq"].iloc[-1],
        "Df": result.anova["Df"].iloc[-1],
        "F value": None,
        "Pr(>F)": None,
    }
    assert len(made["medians"]) == 112


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_permutations": 0}, "n_permutations=0; expected a whole number from 1"),
        ({"n_permutations": 9.5}, "n_permutations=9.5"),
        ({"seed": -1}, "seed=-1; expected a whole number from 0"),
        ({"contrast": ("agency", "comunion")}, "Did you mean 'communion'"),
    ],
)
def test_bad_arguments_are_refused(changes, message):
    with pytest.raises(ValueBiasError, match=message):
        classical(small(), **changes)


def test_medians_without_variation_are_answered():
    # So far apart that the words of a category hold the same ranks under every prompt.
    made = classical(small(effects={"Gemma": 90.0, "Llama": -90.0}), n_permutations=9)
    assert made.mixed.empty
    assert any("differ between prompts" in message for message in made.messages)
    assert made.anova.empty


def test_bad_data_are_refused():
    with pytest.raises(ValueBiasError, match="Dataset"):
        classical(pd.DataFrame())
    with pytest.raises(ValueBiasError, match="categories"):
        classical(small().isel(category=slice(1)))


def test_one_family_is_analysed_without_a_comparison():
    made = classical(small().isel(model=slice(3)), n_permutations=9)
    # Medians of two categories' ranks hardly leave a model a level: with none, it is least squares.
    assert made.fits.loc[0, "singular"]
    frame = made.medians.rename(columns={"rank": "y"})
    direct = ols("y ~ C(category) * C(framing, Treatment('positive'))", frame).fit()
    np.testing.assert_allclose(made.mixed["Value"], direct.params, atol=1e-6)
    np.testing.assert_allclose(made.mixed["Std.Error"], direct.bse, rtol=1e-5)
    assert made.anova.index.tolist() == ["category", "framing", "category:framing", "Residuals"]
    assert made.welch.empty
    assert made.permutation.empty
    assert set(made.contrasts()["estimand"]) == {"family lean"}
    assert "Gemma models lean" in made.headline().text
    assert any("no families to compare" in message for message in made.messages)
    assert "not estimated" in str(made)


def test_its_summary_is_a_table_and_its_repr_fits_a_screen(result):
    table = result.summary()
    assert table["spec"].unique().tolist() == ["random intercept", "random slopes"]
    own = table[table["spec"] == "random intercept"].set_index("term")["Value"]
    pd.testing.assert_series_equal(
        own, result.mixed["Value"], check_names=False, check_index_type=False
    )
    assert repr(result).endswith(result.headline().text)
    assert len(repr(result)) < 1000
    assert repr(result.headline()) == result.headline().text


def test_it_is_said_what_each_average_is_of() -> None:
    """The table's medians are over words and prompts, those of the tests over words alone."""
    ds = simulate(n_models={"Gemma": 3, "Llama": 4}, n_prompts=6, n_words=31, seed=3)
    made = classical(ds, n_permutations=9)
    table = made.table.set_index(["framing", "category", "family"])["rank"]
    welch = made.welch.set_index(["framing", "category"])["mean1"]
    pooled = table.xs("Gemma", level="family")
    assert (pooled - welch.reindex(pooled.index)).abs().max() > 0.01
    means = made.medians[made.medians["family"] == "Gemma"].groupby(["framing", "category"])
    np.testing.assert_allclose(means["rank"].mean().reindex(welch.index), welch)
    assert AVERAGES in str(made)
