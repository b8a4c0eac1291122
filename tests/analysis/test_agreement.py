"""Tests of valuebias.rank_agreement: rank correlations with a reference rater."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning, rank_agreement, simulate
from valuebias.analysis.agreement import _Kendall, _Spearman


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    """Give 3 + 4 models on 2 + 3 bases, 4 prompts and 40 words, with a coordinate ``human``."""
    ds = simulate(
        n_models={"A": [2, 1], "B": [2, 1, 1]}, n_prompts=4, n_words={"x": 20, "y": 20}, seed=5
    )
    rng = np.random.default_rng(2)
    liked = ds["score"].sel(prompt=ds["framing"] == "positive").mean(["model", "prompt"])
    human = np.round(liked.to_numpy() + rng.normal(size=40), 1)
    return ds.assign_coords(human=("response", human))


def table(scores: xr.Dataset, reference: Any = "human", **options: Any) -> pd.DataFrame:
    options = {"n_resamples": 50, "seed": 1, "progress": False} | options
    return rank_agreement(scores, reference, **options)


def row(found: pd.DataFrame, **parts: str) -> pd.Series[Any]:
    for column, value in parts.items():
        found = found[found[column] == value]
    assert len(found) == 1
    return found.iloc[0]


@pytest.mark.parametrize(
    ("method", "by_scipy"), [("spearman", stats.spearmanr), ("kendall", stats.kendalltau)]
)
def test_a_prompts_agreement_is_scipys(scores: xr.Dataset, method: str, by_scipy: Any) -> None:
    found = table(scores, method=method)
    for model in scores["model"].values:
        for prompt in scores["prompt"].values:
            theirs = by_scipy(scores["score"].sel(model=model, prompt=prompt), scores["human"])
            ours = row(found, estimand="model", name=model, prompt=prompt)
            assert ours["estimate"] == pytest.approx(theirs.statistic, abs=1e-12)


@pytest.mark.parametrize("pair", [_Spearman, _Kendall])
def test_a_resample_is_what_scipy_gives_for_its_words(pair: type) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 6, 30).astype(float), rng.normal(size=30).round(1)
    x[3] = np.nan
    times = np.bincount(rng.integers(0, 30, 30), minlength=30)
    at = np.repeat(np.arange(30), times)
    at = at[~np.isnan(x[at])]
    made = pair(x, y)
    by_scipy = stats.spearmanr if pair is _Spearman else stats.kendalltau
    assert made.resampled(times) == pytest.approx(by_scipy(x[at], y[at]).statistic, abs=1e-12)


def test_means_are_over_prompts_then_models_then_bases(scores: xr.Dataset) -> None:
    found = table(scores)
    by_prompt = found[(found["estimand"] == "model") & (found["prompt"] != "")]
    by_prompt = by_prompt.pivot(index="name", columns="prompt", values="estimate")
    by_prompt = by_prompt.loc[scores["model"].values, scores["prompt"].values]
    positive = (scores["framing"] == "positive").values
    positives, negatives = (by_prompt.loc[:, at].mean(axis=1) for at in (positive, ~positive))
    signed = (positives - negatives) / 2
    for framing, values in {
        "positive": positives, "negative": negatives, "signed": signed
    }.items():  # fmt: skip
        bases = values.groupby([scores["family"].values, scores["base"].values]).mean()
        families = bases.groupby(level=0).mean()
        for name, value in families.items():
            ours = row(found, estimand="family", name=name, framing=framing, prompt="", unit="word")
            assert ours["estimate"] == pytest.approx(value, abs=1e-12)
        ours = row(found, estimand="family difference", framing=framing, prompt="", unit="base")
        assert ours["name"] == "A − B"
        assert ours["estimate"] == pytest.approx(families["A"] - families["B"], abs=1e-12)
        welch = stats.ttest_ind(bases["A"], bases["B"], equal_var=False).confidence_interval(0.9)
        assert [ours["lower"], ours["upper"]] == pytest.approx([welch.low, welch.high])
        assert (ours["n_models"], ours["n_bases"]) == (7, 5)
        own = row(found, estimand="family", name="B", framing=framing, prompt="", unit="base")
        student = stats.ttest_1samp(bases["B"], 0).confidence_interval(0.9)
        assert [own["lower"], own["upper"]] == pytest.approx([student.low, student.high])
        values_of = bases.to_numpy()
        gaps = [
            abs(values_of[list(at)].mean() - np.delete(values_of, at).mean())
            for at in combinations(range(5), 2)
        ]
        assert ours["p"] == pytest.approx(np.mean(np.array(gaps) >= gaps[0] - 1e-12))
        assert ours["p.min"] == pytest.approx(0.1)
        assert "no p below 0.05 is possible" in ours["remark"]


def test_intervals_over_words_hold_the_truth_as_often_as_they_say() -> None:
    rho, n = 0.5, 80
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's, of two normal variables
    bare = simulate(n_models={"A": 1}, n_prompts=1, n_words={"x": n // 2, "y": n // 2}, seed=1)
    rng, held = np.random.default_rng(7), 0
    for _ in range(200):
        x, y = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n).T
        made = bare.assign(score=(bare["score"].dims, x.reshape(1, 1, n).astype(np.float32)))
        found = table(made.assign_coords(human=("response", y)), n_resamples=99)
        model = row(found, estimand="model", prompt="")
        held += model["lower"] <= truth <= model["upper"]
    assert 0.83 <= held / 200 <= 0.96


def test_what_models_share_does_not_widen_a_difference(scores: xr.Dataset) -> None:
    twins = scores["score"].copy()
    twins[3:] = twins[:1].values
    twins[:3] = twins[:1].values
    found = table(scores.assign(score=twins))
    difference = found[(found["estimand"] == "family difference") & (found["unit"] == "word")]
    assert (difference[["estimate", "se", "lower", "upper"]].abs() < 1e-12).all(axis=None)
    assert (found.loc[found["estimand"] == "family", "se"].iloc[0]) > 0.01


def test_the_reference_may_be_a_coordinate_a_series_or_an_array(scores: xr.Dataset) -> None:
    human = scores["human"]
    series = pd.Series(human.values, index=scores["response"].values.astype(object), name="human")
    shuffled = series.sample(frac=1, random_state=1)
    others = pd.concat([shuffled, pd.Series({"no such word": 3.0})]).rename("human")
    first = table(scores)
    for reference in (series, shuffled, others, human, human[::-1], human.drop_vars("response")):
        pd.testing.assert_frame_equal(table(scores, reference), first)
    assert first.attrs == {
        "reference": "human", "method": "spearman", "prob": 0.9, "seed": 1, "resamples": 50,
        "words": 40,
    }  # fmt: skip
    assert table(scores, -human)["estimate"].iloc[0] == pytest.approx(-first["estimate"].iloc[0])


def test_words_without_a_reference_are_left_out_and_counted(scores: xr.Dataset) -> None:
    human = scores["human"].to_series().astype(object)
    some = human.iloc[:31].copy()
    some.iloc[0] = None
    with pytest.warns(ValueBiasWarning, match=r"no number for 10 of 40 words") as caught:
        found = table(scores, some)
    assert caught[0].filename == __file__
    assert set(found["n_words"]) == {30}
    whole = table(scores.isel(response=slice(1, 31)))
    pd.testing.assert_frame_equal(found, whole)


def test_what_was_not_scored_or_is_constant_is_said(scores: xr.Dataset) -> None:
    score, positive = scores["score"].copy(), (scores["framing"] == "positive").values
    score[0] = np.where(positive[:, None], 2.0, 3.0)
    score[1, 0, :5] = np.nan
    score[2, 1] = 7.0
    holed = scores.assign(score=score)
    found = table(holed)
    models = scores["model"].values
    dead = found[(found["estimand"] == "model") & (found["name"] == models[0])]
    assert dead["estimate"].isna().all()
    assert dead["remark"].str.contains("all its scores are equal").all()
    kept = np.arange(5, 40)
    ours = row(found, estimand="model", name=models[1], prompt=scores["prompt"].values[0])
    theirs = stats.spearmanr(score[1, 0, kept], scores["human"][kept]).statistic
    assert ours["estimate"] == pytest.approx(theirs)
    family = found[(found["estimand"] == "family") & (found["name"] == "A")]
    assert family.query("framing == 'signed'")["n_models"].eq(2).all()
    assert family["estimate"].notna().all()


def test_one_base_of_a_family_or_one_family_is_said(scores: xr.Dataset) -> None:
    few = scores.isel(model=[0, 1, 3, 5])
    found = table(few)
    alone = found[(found["unit"] == "base") & (found["name"] == "A")]
    assert alone[["se", "lower", "upper"]].isna().all(axis=None)
    assert alone["remark"].str.contains("one base").all()
    difference = found[(found["unit"] == "base") & (found["estimand"] == "family difference")]
    assert difference["remark"].str.contains("one base").all()
    assert difference["lower"].isna().all()
    one = table(scores.isel(model=[0, 1, 2]))
    assert set(one["estimand"]) == {"model", "base", "family"}


def test_bases_that_families_share_are_not_permuted(scores: xr.Dataset) -> None:
    shared = scores.assign_coords(base=("model", ["b1", "b2", "b3", "b1", "b2", "b4", "b5"]))
    difference = table(shared).query("estimand == 'family difference' and unit == 'base'")
    assert difference["p"].isna().all()
    assert difference["remark"].str.contains("families share bases").all()


def test_models_without_a_base_are_bases_of_their_own(scores: xr.Dataset) -> None:
    found = table(scores.assign_coords(base=("model", [""] * 7)))
    assert found.query("estimand == 'family' and name == 'B'")["n_bases"].eq(4).all()


def test_prompts_of_one_framing_are_named_as_a_fit_names_them(scores: xr.Dataset) -> None:
    for framing, names in (
        ("neutral", ["neutral"]), ("positive", ["positive"]),
        ("negative", ["negative, turned", "negative"]),
    ):  # fmt: skip
        found = table(scores.assign_coords(framing=("prompt", [framing] * 4)))
        means = found[(found["prompt"] == "") & (found["estimand"] == "family difference")]
        assert list(dict.fromkeys(means["framing"])) == names
        if framing == "negative":
            turned, plain = (means.loc[means["framing"] == name, "estimate"] for name in names)
            assert turned.tolist() == (-plain).tolist()


def test_the_table_holds_any_words_and_goes_to_json(scores: xr.Dataset) -> None:
    words = scores["response"].to_numpy().astype("U80")
    words[:2] = ["\ud83d", "<b>nan</b>"]
    named = scores.assign_coords(response=words)
    series = pd.Series(scores["human"].values, index=pd.Index(words.astype(object), dtype=object))
    pd.testing.assert_frame_equal(table(named, series), table(scores), check_names=False)
    assert len(json.loads(table(named, series).to_json(orient="records"))) > 20


def test_the_seed_decides(scores: xr.Dataset) -> None:
    pd.testing.assert_frame_equal(table(scores, seed=3), table(scores, seed=3))
    assert not table(scores, seed=3)["lower"].equals(table(scores, seed=4)["lower"])


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("humann", r"no coordinate 'humann' on response\. Did you mean 'human'"),
        ("family", "no coordinate 'family' on response"),
        (3, r"reference is 3; expected the name of a coordinate"),
        ([1.0, 2.0], r"pd\.Series\(values, index=words\)"),
        (pd.Series({"a": 1.0, "b": 2.0}), r"numbers for 0 of the 40 words .* expected 3 at least"),
        (pd.Series(np.arange(40.0)), r"Its index should have the words"),
        (pd.Series([1.0, 2.0], index=["a", "a"]), r"the word 'a' more than once"),
        (xr.DataArray(np.arange(39.0), dims="response"), r"39 values .* have 40 words"),
        (xr.DataArray(np.zeros((40, 2)), dims=("response", "who")), r"expected \('response',\)"),
    ],
)
def test_a_bad_reference_is_explained(scores: xr.Dataset, reference: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        table(scores, reference)


def test_a_reference_that_is_no_rating_is_explained(scores: xr.Dataset) -> None:
    for values, said in (
        (["high"] * 40, "values that are no numbers"),
        ([np.inf] + [1.0] * 39, "infinite"),
        ([2.0] * 40, "is 2 for every word"),
        ([np.nan] * 38 + [1.0, 2.0], "numbers for 2 of the 40 words"),
    ):
        with pytest.raises(ValueBiasError, match=said):
            table(scores.assign_coords(human=("response", values)))
    bare = scores.drop_vars("human")
    with pytest.raises(ValueBiasError, match="They have none at all"):
        table(bare)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "pearson"}, "Unknown method 'pearson'"),
        ({"prob": 1.0}, r"prob"),
        ({"prob": "0.9"}, r"prob"),
        ({"n_resamples": 1}, r"n_resamples"),
        ({"n_resamples": 10.5}, r"n_resamples"),
        ({"seed": -1}, r"seed"),
    ],
)
def test_a_bad_option_is_explained(scores: xr.Dataset, options: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        table(scores, **options)


@pytest.mark.released_data
def test_humans_and_the_ten_reward_models(elo: xr.Dataset) -> None:
    found = rank_agreement(elo, "elo_score", n_resamples=99, progress=False)
    signed = found[found["prompt"] == ""]
    assert set(signed["framing"]) == {"positive"}
    models = signed[signed["estimand"] == "model"].set_index("name")["estimate"]
    assert len(models) == 10
    assert models.between(0.2, 0.6).all()
    assert models.idxmax() == "Ray2333/GRM-Llama3.2-3B-rewardmodel-ft"
    words, bases = (
        row(signed, estimand="family difference", unit=unit) for unit in ("word", "base")
    )
    # Of these models certain; of further bases of the two families not.
    assert words["upper"] < 0
    assert bases["lower"] < 0 < bases["upper"]
    assert valuebias.datasets.info("christian2025-elo").licence == "MIT"
    ranked = rank_agreement(elo, -elo["elo_rank"], n_resamples=2, progress=False)
    assert ranked["estimate"].iloc[0] == pytest.approx(found["estimate"].iloc[0], abs=1e-3)
