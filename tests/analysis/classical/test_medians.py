from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valuebias.analysis.classical.medians import median_ranks
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError


def long_medians(ds):
    """Take median ranks as the paper's script does: one row per word and category, then rank."""
    rows = ds["score"].to_dataframe()[["score"]].reset_index()
    inside = ds["membership"].to_series()
    pairs = inside[inside].reset_index()[["response", "category"]]
    rows = rows.merge(pairs, on="response")
    rows["rank"] = rows.groupby(["model", "prompt"])["score"].rank(ascending=False)
    return rows.groupby(["model", "prompt", "category"])["rank"].median().dropna()


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("overlap", [0.0, 0.4])
def test_medians_are_those_of_the_long_table(missing, overlap):
    ds = simulate(
        n_models={"A": 2, "B": 2},
        n_prompts=5,
        n_words={"x": 7, "y": 9, "z": 6},
        overlap=overlap,
        missing=missing,
        seed=4,
    )
    ds["score"][:] = ds["score"].round(1)  # ties
    ds["score"][0, 0, ds["membership"].sel(category="y").values] = np.nan
    made = median_ranks(ds)
    frame = made.frame().set_index(["model", "prompt", "category"])["rank"].sort_index()
    expected = long_medians(ds).sort_index()
    assert len(expected) == 4 * 5 * 3 - 1
    np.testing.assert_array_equal(frame.to_numpy(), expected.to_numpy())
    assert frame.index.tolist() == expected.index.tolist()
    assert made.n_ranked == int(ds["membership"].sum())


def test_a_contrast_restricts_the_medians_but_not_the_ranking():
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words={"x": 8, "y": 9, "z": 7}, seed=4)
    whole, part = median_ranks(ds), median_ranks(ds, contrast=("z", "x"))
    assert part.categories == ("z", "x")
    np.testing.assert_array_equal(part.values, whole.values[..., [2, 0]])
    np.testing.assert_array_equal(part.pooled, whole.pooled[..., [2, 0]])


@pytest.mark.parametrize(
    ("contrast", "message"),
    [
        (("x", "Y"), "Unknown category 'Y'. Did you mean 'y'"),
        (("x", "x"), "two different categories"),
        (("x",), "two different categories"),
        ("xy", "two different categories"),
    ],
)
def test_a_bad_contrast_is_refused(contrast, message):
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words={"x": 5, "y": 5}, seed=4)
    with pytest.raises(ValueBiasError, match=message):
        median_ranks(ds, contrast=contrast)


def test_a_category_without_words_is_refused():
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words={"x": 5, "y": 5}, seed=4)
    ds["membership"].loc[{"category": "y"}] = False
    with pytest.raises(ValueBiasError, match="Category 'y' has no words"):
        median_ranks(ds)


def test_names_may_hold_anything():
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=2, n_words={"x": 5, "y": 5}, seed=4)
    family = np.where(ds["family"].values == "A", "\ud800", "=cmd()")
    made = median_ranks(ds.assign_coords(family=("model", family), category=["\udfff", "y"]))
    assert set(made.frame()["family"]) == {"\ud800", "=cmd()"}
    assert set(made.table()["category"]) == {"\udfff", "y"}


@pytest.mark.released_data
def test_the_papers_medians_are_exact(big2, big2_r):
    made = median_ranks(big2)
    assert len(made.frame()) == big2_r["rows"]
    assert made.n_ranked == big2_r["n_words"]
    table = made.table().set_index(["framing", "category", "family"])["rank"]
    for row in big2_r["avg_median_rank"]:
        key = (row["prompt_framing"], row["Category"].lower(), row["base_model"])
        assert table[key] == pytest.approx(row["mean_rank"], abs=1e-9)
    summary = made.framing_summary().set_index("framing")
    for row in big2_r["framing"]:
        got = summary.loc[row["prompt_framing"]]
        assert got["mean"] == pytest.approx(row["mean"], rel=1e-10)
        assert got["sd"] == pytest.approx(row["sd"], rel=1e-10)
    assert isinstance(made.frame()["rank"], pd.Series)
