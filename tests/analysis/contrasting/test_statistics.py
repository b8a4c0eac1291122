"""Plain statistics of contrast sets, beside scipy's and statsmodels'."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import xarray as xr
from contrast_worlds import world
from scipy import stats

import valuebias
from valuebias.analysis.contrasting.values import position_test
from valuebias.errors import ValueBiasError
from valuebias.schema.contrast_categories import score_sd

BASES = ["x", "x", "y", "z", "u", "u", "v", "w"]


def one(table: pd.DataFrame, **where: str) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


def quizzed(seed: int, *, n: int = 30, **settings: Any) -> xr.Dataset:
    """Give scores of items with one right and two wrong answers, of known lengths."""
    rng = np.random.default_rng([seed, 5])
    columns = {
        "correct": [True, False, False] * n,
        "length": rng.integers(1, 40, 3 * n).astype(float),
        "position": [str((v + i) % 3 + 1) for i in range(n) for v in range(3)],
        "hedging": ["none", "some", "strong"] * n,
    }
    return world(seed, n_items=n, variants=("r", "w1", "w2"), **(columns | settings)).scores


def test_gaps_of_models_are_those_of_cluster_robust_least_squares() -> None:
    made = world(1, n_items=25, gap=0.3)
    row = one(valuebias.contrast_statistics(made.scores).to_frame("gap"), name="org/m2")
    y = made.scores["score"].sel(model="org/m2").to_numpy().astype(float)
    y = y / y.std(ddof=1)
    dummy = np.tile([1.0, 0.0], 25)
    item = np.repeat(np.arange(25), 2)
    fitted = sm.OLS(y.ravel(), sm.add_constant(dummy)).fit(
        cov_type="cluster", cov_kwds={"groups": item, "use_correction": False}
    )
    assert row["estimate"] == pytest.approx(fitted.params[1], abs=1e-6)
    assert row["se"] == pytest.approx(fitted.bse[1] * np.sqrt(25 / 24), rel=1e-5)
    interval = stats.t.interval(0.9, 24, row["estimate"], row["se"])
    assert (row["lower"], row["upper"]) == pytest.approx(interval, abs=1e-6)


def test_families_have_two_way_clusters() -> None:
    made = world(2, n_items=20, families=(3, 4))
    row = one(valuebias.contrast_statistics(made.scores).to_frame("gap"), level="family", name="F1")
    y = made.scores["score"].to_numpy().astype(float) / score_sd(made.scores)[:, None, None]
    gap = (y[..., 0] - y[..., 1])[3:]
    cells = sm.OLS(gap.ravel(), np.ones(gap.size))
    model, item = (index.ravel() for index in np.indices(gap.shape))

    def variance(groups: np.ndarray) -> float:
        kwds = {"groups": groups, "use_correction": False}
        n = len(np.unique(groups))
        return float(cells.fit(cov_type="cluster", cov_kwds=kwds).bse[0] ** 2 * n / (n - 1))

    both = variance(model) + variance(item) - variance(np.arange(gap.size))
    assert row["estimate"] == pytest.approx(gap.mean(), abs=1e-6)
    assert row["se"] == pytest.approx(np.sqrt(max(both, variance(model), variance(item))), rel=1e-4)


def test_bases_are_the_clusters_where_models_share_them() -> None:
    made = world(3, bases=BASES, sd={"base": 0.8, "model": 0.05})
    table = valuebias.contrast_statistics(made.scores).to_frame("gap", level="family")
    lonely = made.scores.assign_coords(base=("model", [""] * 8))
    alone = valuebias.contrast_statistics(lonely).to_frame("gap", level="family")
    assert table["n_bases"].tolist() == [3, 3]
    assert set(table["unit"]) == {"bases and items"}
    assert set(alone["unit"]) == {"models and items"}
    assert (table["estimate"] == alone["estimate"]).all()
    assert table["se"].mean() > alone["se"].mean()


def test_correlations_are_those_of_scipy() -> None:
    scores = quizzed(4)
    table = valuebias.contrast_statistics(scores).to_frame()
    y, x = scores["score"].sel(model="org/m1").to_numpy(), scores["length"].to_numpy()
    overall = one(table, statistic="correlation overall", of="length", name="org/m1")
    assert overall["estimate"] == pytest.approx(stats.spearmanr(y.ravel(), x.ravel()).statistic)
    varied = [i for i in range(30) if np.ptp(x[i]) > 0]
    by_item = [stats.spearmanr(y[i], x[i]).statistic for i in varied]
    within = one(table, statistic="correlation within items", of="length", name="org/m1")
    assert within["estimate"] == pytest.approx(np.mean(by_item))
    assert within["se"] == pytest.approx(np.std(by_item, ddof=1) / np.sqrt(len(by_item)))


def test_a_head_that_is_the_length_of_answers_is_found_out() -> None:
    scores = quizzed(5)
    scores["score"][0] = 3 * scores["length"].to_numpy() + 7
    table = valuebias.contrast_statistics(scores).to_frame()
    for statistic in ("correlation within items", "correlation overall"):
        row = one(table, statistic=statistic, of="length", name="org/m0")
        assert row["estimate"] == pytest.approx(1.0)
        assert row["p"] < 1e-6


def test_an_order_of_texts_counts_as_places() -> None:
    scores = quizzed(6)
    scores["score"][1] = np.tile([2.0, 1.0, 0.0], (30, 1)) + 0.01 * scores["score"][1]
    order = {"hedging": ["none", "some", "strong"]}
    table = valuebias.contrast_statistics(scores, order=order).to_frame("correlation within items")
    assert one(table, of="hedging", name="org/m1")["estimate"] == pytest.approx(-1.0)
    with pytest.raises(ValueBiasError, match="from the lowest to the highest"):
        valuebias.contrast_statistics(scores, order={"hedging": ["none", "some"]})


def test_accuracy_and_pairs_are_counted() -> None:
    scores = quizzed(7, n=4)
    scores["score"][0] = np.array([[2, 1, 0], [1, 1, 0], [1, 2, 0], [0, 2, 1]], dtype=np.float32)
    found = valuebias.contrast_statistics(scores)
    table = found.to_frame()
    assert one(table, statistic="accuracy", name="org/m0")["estimate"] == 0.25
    assert one(table, statistic="accuracy", name="org/m0")["null"] == pytest.approx(1 / 3)
    pairs = one(table, statistic="P(wrong > right)", name="org/m0")
    assert pairs["estimate"] == pytest.approx((0 + 0.25 + 0.5 + 1) / 4)
    assert found.n_ties == 1
    assert "1 ties of pairs count half" in repr(found)


def test_calibration_is_of_how_sure_a_model_is_of_its_choice() -> None:
    rng = np.random.default_rng(8)
    n = 4000
    sure = rng.uniform(0, 3, n)
    is_right = rng.random(n) < 1 / (1 + np.exp(-sure))
    difference = np.where(is_right, sure, -sure)
    scores = world(8, n_items=n, families=(1, 1), correct=[True, False] * n).scores
    scores["score"][0] = np.stack([difference, np.zeros(n)], axis=1)
    scores["score"][1] = 4 * np.stack([difference, np.zeros(n)], axis=1)
    found = valuebias.contrast_statistics(scores, bins=5)
    error = found.to_frame("calibration error", level="model").set_index("name")["estimate"]
    assert error["org/m0"] < 0.03
    assert error["org/m1"] > 0.1
    table = found.reliability
    table = table[table["name"] == "org/m0"]
    assert table["n_pairs"].sum() == n
    place = np.minimum(((1 / (1 + np.exp(-sure)) - 0.5) * 10).astype(int), 4)
    for _, row in table.iterrows():
        assert row["accuracy"] == pytest.approx(is_right[place == row["bin"] - 1].mean())
    expected = np.sum(table["n_pairs"] * (table["confidence"] - table["accuracy"]).abs()) / n
    assert error["org/m0"] == pytest.approx(expected)
    assert "5 bins" in repr(found)


def test_spread_over_positions_and_its_test() -> None:
    scores = quizzed(9, n=60)
    place = scores["position"].to_numpy()
    scores["score"][0] += np.float32(1.5) * (place == "1")
    table = valuebias.contrast_statistics(scores).to_frame("spread over positions", level="model")
    table = table.set_index("name")
    assert table.loc["org/m0", "estimate"] > 2 * table["estimate"].drop("org/m0").median()
    assert table.loc["org/m0", "p"] < 1e-4
    assert np.isnan(table.loc["org/m0", "mde"])
    # With two positions the test is that of paired differences.
    two = scores["score"][:1, :, :2].to_numpy().astype(float)
    p, _ = position_test(two, np.tile([0, 1], (60, 1)), 2)
    assert p[0] == pytest.approx(stats.ttest_rel(two[0, :, 0], two[0, :, 1]).pvalue)


def test_what_would_have_been_found_stands_beside_what_was_not() -> None:
    made = world(10, gap=0.0, n_items=30)
    table = valuebias.contrast_statistics(made.scores).to_frame("gap")
    null = (table["lower"] <= 0) & (table["upper"] >= 0)
    assert null.any()
    assert (table["mde"].notna() == null).all()
    row = table[null & (table["level"] == "model")].iloc[0]
    t = stats.t(29)
    assert row["mde"] == pytest.approx((t.ppf(0.975) + t.ppf(0.8)) * row["se"])


def test_items_without_a_wrong_answer_are_refused_by_name_and_can_be_left_out() -> None:
    scores = quizzed(11)
    scores["score"][:, [4, 6], 1:] = np.nan
    with pytest.raises(ValueBiasError, match=r"2 of 30 items have no wrong.*'q4' and 'q6'"):
        valuebias.contrast_statistics(scores)
    left = valuebias.contrast_statistics(scores.drop_sel(item=["q4", "q6"]))
    assert one(left.to_frame("accuracy"), name="org/m0")["n_items"] == 28
    without = valuebias.contrast_statistics(scores, correct=None).to_frame()
    assert "accuracy" not in set(without["statistic"])
    scores["score"][:, 3, 0] = np.nan
    with pytest.raises(ValueBiasError, match="1 of 30 items have no right answer"):
        valuebias.contrast_statistics(scores)


def test_scores_that_a_model_lacks_count_for_the_others() -> None:
    scores = quizzed(12)
    scores["score"][0, :10, 0] = np.nan
    table = valuebias.contrast_statistics(scores).to_frame()
    accuracy = table[table["statistic"] == "accuracy"]
    assert one(accuracy, name="org/m0")["n_items"] == 20
    assert one(accuracy, name="org/m1")["n_items"] == 30
    assert one(accuracy, name="F0")["n_items"] == 20
    assert np.isfinite(table["estimate"]).all()


def test_one_model_of_a_family_says_nothing_of_how_models_differ() -> None:
    made = world(13, families=(1, 3))
    table = valuebias.contrast_statistics(made.scores).to_frame("gap")
    for where in ({"level": "family", "name": "F0"}, {"level": "family difference"}):
        row = one(table, **where)
        assert np.isnan(row["se"])
        assert row["remark"] == "one model: nothing is seen of how models differ"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"by": "hedgin"}, "Did you mean 'hedging'"),
        ({"correct": "rigt"}, "correct=None"),
        ({"correct": "length"}, "is not true or false"),
        ({"numbers": "lenght"}, "Did you mean 'length'"),
        ({"bins": 1}, "at least 2"),
        ({"prob": 1.2}, "between 0 and 1"),
        ({"position": "place"}, "takes a coordinate in which variants differ"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        valuebias.contrast_statistics(quizzed(14), **arguments)


def test_unknown_statistics_and_scores_of_words_are_refused() -> None:
    found = valuebias.contrast_statistics(quizzed(15))
    with pytest.raises(ValueBiasError, match="accuracy"):
        found.to_frame("acuracy")
    with pytest.raises(ValueBiasError, match="valuebias-contrasts"):
        valuebias.contrast_statistics(valuebias.datasets.load("simulated"))


def missed(found: pd.DataFrame, truth: float) -> np.ndarray:
    return np.asarray(~((found["lower"] <= truth) & (truth <= found["upper"])))


@pytest.mark.slow
@pytest.mark.parametrize("bases", [None, BASES], ids=["models", "bases"])
def test_intervals_miss_nothing_more_often_than_they_say(bases: list[str] | None) -> None:
    n, wrong = 200, {}
    for seed in range(n):
        scores = quizzed(
            1000 + seed, families=(4, 4), bases=bases, sd={"base": 0.3 if bases else 0.0}
        )
        table = valuebias.contrast_statistics(scores).to_frame()
        table = table[table["null"].notna() & table["lower"].notna()]
        table = table[table["statistic"] != "spread over positions"]
        # What a model was given of its own is no chance.
        table = table[(table["level"] != "model") | table["statistic"].str.startswith("corr")]
        for key, rows in table.groupby(["statistic", "level"]):
            out = ~((rows["lower"] <= rows["null"]) & (rows["null"] <= rows["upper"]))
            wrong.setdefault(key, []).append(out.mean())
    assert len(wrong) > 8
    for key, shares in wrong.items():
        error = max(np.std(shares, ddof=1) / np.sqrt(n), np.sqrt(0.09 / n) / 4)
        # Two errors for what a fit estimates too; three where a dozen others are looked at as well.
        limit = 2 if key[0] == "gap" else 3
        assert np.mean(shares) <= 0.1 + limit * error, key


def test_a_contrast_says_which_groups_and_which_is_the_first() -> None:
    made = world(11, gap=0.4, variants=("r", "w1", "w2"), level=["a", "b", "c"] * 40)
    every = valuebias.contrast_statistics(made.scores, by="level").to_frame("gap")
    assert set(every["of"]) == {"a − b", "a − c", "b − c"}
    turned = valuebias.contrast_statistics(made.scores, by="level", contrast=("c", "a"))
    table = turned.to_frame("gap")
    assert set(table["of"]) == {"c − a"}
    plain = every[every["of"] == "a − c"]
    np.testing.assert_allclose(table["estimate"], -plain["estimate"].to_numpy())
    np.testing.assert_allclose(table["lower"], -plain["upper"].to_numpy())


@pytest.mark.parametrize(
    ("contrast", "said"),
    [
        (("c", "d"), "contrast names 'd', which is no group of 'variant'"),
        (("r", "r"), "contrast names 'r' twice"),
        ("rw", r"expected two groups of 'variant', such as \('w2', 'r'\)"),
        (("r",), "expected two groups"),
    ],
)
def test_a_contrast_is_of_two_groups(contrast: Any, said: str) -> None:
    made = world(12, variants=("r", "c", "w2"))
    with pytest.raises(ValueBiasError, match=said):
        valuebias.contrast_statistics(made.scores, contrast=contrast)


def test_where_nothing_scatters_intervals_say_what_may_be_unseen() -> None:
    scores = quizzed(16, n=5)
    scores["score"][:] = np.array([9.0, 1.0, 0.0]) + 0.1 * scores["score"]
    table = valuebias.contrast_statistics(scores).to_frame("accuracy")
    exact = stats.binomtest(5, 5, 1 / 3)
    row = one(table, name="org/m0")
    assert row["estimate"] == 1.0
    expected = exact.proportion_ci(0.9, method="exact")
    assert (row["lower"], row["upper"]) == pytest.approx((expected.low, expected.high))
    assert row["p"] == pytest.approx(2 * exact.pvalue)
    assert row["remark"].startswith("no scatter")
    family, both = one(table, name="F0"), one(table, level="family difference")
    assert family["lower"] < row["lower"]
    assert both["lower"] < 0 < both["upper"]
    # What has no ends, such as a gap, has no interval then.
    scores["score"][0] = np.array([2.0, 1.0, 0.0])
    gap = one(valuebias.contrast_statistics(scores).to_frame("gap"), of="r − w1", name="org/m0")
    assert gap["estimate"] > 0
    assert np.isnan([gap["lower"], gap["upper"], gap["p"]]).all()


def test_intervals_keep_within_what_can_be() -> None:
    scores = quizzed(17, n=12)
    scores["score"][:, 1:] = np.array([9.0, 1.0, 0.0]) + 0.1 * scores["score"][:, 1:]
    table = valuebias.contrast_statistics(scores).to_frame()
    shares = table[table["statistic"].isin(["accuracy", "P(wrong > right)", "calibration error"])]
    shares = shares[(shares["level"] != "family difference") & shares["lower"].notna()]
    assert shares["lower"].min() >= 0
    assert shares["upper"].max() <= 1


def test_an_interval_of_a_spread_reaches_zero_where_the_test_finds_none() -> None:
    found = []
    for seed in range(20):
        table = valuebias.contrast_statistics(quizzed(400 + seed, n=15)).to_frame()
        table = table[(table["statistic"] == "spread over positions") & (table["level"] == "model")]
        found.append(table[["p", "lower", "estimate"]])
    table = pd.concat(found)
    assert (table["lower"][table["p"] > 0.1] == 0).all()
    assert ((table["lower"] > 0) & (table["estimate"] > 0)).mean() < 0.2
