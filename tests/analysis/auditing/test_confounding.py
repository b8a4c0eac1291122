"""Numbers of the words that differ between categories, against statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from valuebias.analysis.auditing.confounding import (
    Estimate,
    largest_slope,
    word_imbalances,
    word_numbers,
)
from valuebias.datasets.simulate import simulate

N = (40, 60)


def material(seed: int, gap: float = 0.8, slope: float = 0.3):
    rng = np.random.default_rng(seed)
    first = np.repeat([1.0, 0.0], N)
    number = 5 + 2 * (gap * first + rng.standard_normal(sum(N)))
    outcome = 0.4 * first + slope * number + rng.standard_normal(sum(N))
    axes = np.column_stack([first, 1 - first]) - [N[0] / sum(N), N[1] / sum(N)]
    return first, number, outcome, axes


def of_one(outcome: np.ndarray) -> Estimate:
    return Estimate(outcome[None], np.ones(1), np.zeros(1, dtype=int))


def test_numbers_are_those_of_least_squares() -> None:
    first, number, outcome, axes = material(1)
    (found,) = word_imbalances(
        pd.DataFrame({"x": number}), axes, np.array([0.5, -0.5]), of_one(outcome)
    )
    unadjusted = sm.OLS(outcome, sm.add_constant(first)).fit()
    adjusted = sm.OLS(outcome, sm.add_constant(np.column_stack([first, number]))).fit()
    by_category = sm.OLS(number, sm.add_constant(first)).fit()
    sd = np.sqrt(by_category.mse_resid)
    # Half of the two columns' contrast, as the second is the first with its sign changed.
    assert found.gap == pytest.approx(by_category.params[1] / sd / 2)
    assert found.gap_p == pytest.approx(by_category.pvalues[1])
    assert found.slope == pytest.approx(adjusted.params[2] * sd)
    assert found.slope_p == pytest.approx(adjusted.pvalues[2])
    assert found.shift == pytest.approx((adjusted.params[1] - unadjusted.params[1]) / 2)


def test_unknown_numbers_and_words_are_left_out() -> None:
    _, number, outcome, axes = material(2)
    weights = np.array([0.5, -0.5])
    number[3], outcome[7] = np.nan, np.nan
    keep = np.isfinite(number) & np.isfinite(outcome)
    (some,) = word_imbalances(pd.DataFrame({"x": number}), axes, weights, of_one(outcome))
    (less,) = word_imbalances(
        pd.DataFrame({"x": number[keep]}), axes[keep], weights, of_one(outcome[keep])
    )
    assert some == less


def test_wide_numbers_are_taken_by_their_logarithm() -> None:
    _, number, outcome, axes = material(3)
    weights = np.array([0.5, -0.5])
    wide = pd.DataFrame({"frequency": np.exp(number), "plain": 50 + number})
    by_log, plain = word_imbalances(wide, axes, weights, of_one(outcome))
    assert by_log.term == "log(frequency)"
    assert plain.term == "plain"
    assert by_log.gap == pytest.approx(plain.gap)
    assert by_log.shift == pytest.approx(plain.shift)


def test_what_does_not_vary_within_categories_says_nothing() -> None:
    first, _, outcome, axes = material(4)
    table = pd.DataFrame({"constant": np.ones(sum(N)), "name": 5 + 3 * first})
    assert word_imbalances(table, axes, np.array([0.5, -0.5]), of_one(outcome)) == []
    assert np.isnan(largest_slope(table, axes, of_one(outcome)))


def test_an_axis_that_is_adjusted_for_is_no_imbalance() -> None:
    _, number, outcome, axes = material(5)
    more = np.column_stack([axes, number])
    table = pd.DataFrame({"x": number})
    assert word_imbalances(table, more, np.array([0.5, -0.5, 0.0]), of_one(outcome)) == []


def test_numbers_of_a_dataset() -> None:
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=12, seed=1)
    ds = ds.assign_coords(
        frequency=("response", np.arange(12)), note=("response", ["x"] * 12), year=2024
    )
    table = word_numbers(ds)
    assert sorted(table) == ["frequency", "length"]
    assert table["length"].tolist() == [len(word) for word in ds["response"].values]


def test_slopes_that_models_have_of_their_own_widen_the_error() -> None:
    """Words alone would call nearly every slope sure; of seven models, Welch's t does not."""
    rng = np.random.default_rng(6)
    _, number, _, axes = material(6)
    kinds = np.array([0, 0, 0, 1, 1, 1, 1])
    weights = np.array([1 / 3] * 3 + [-1 / 4] * 4)
    sure = {True: 0, False: 0}
    for _ in range(200):
        tables = rng.standard_normal((7, 1)) * number + 0.3 * rng.standard_normal((7, sum(N)))
        estimate = Estimate(tables, weights, kinds)
        for whole, one in ((True, estimate), (False, of_one(estimate.by_word))):
            found = word_imbalances(pd.DataFrame({"x": number}), axes, np.array([0.5, -0.5]), one)
            sure[whole] += found[0].slope_p < 0.05
    assert sure[True] <= 20
    assert sure[False] > 150


def test_the_variance_between_models_is_welchs() -> None:
    values = np.array([1.0, 2.0, 4.0, 0.0, 5.0, 9.0])
    kinds = np.array([3, 3, 3, 5, 5, 5])
    weights = np.array([1 / 3] * 3 + [-1 / 3] * 3)
    variance, df = Estimate(np.zeros((6, 1)), weights, kinds).variance(values)
    welch = stats.ttest_ind(values[:3], values[3:], equal_var=False)
    assert weights @ values / np.sqrt(variance) == pytest.approx(welch.statistic)
    assert df == pytest.approx(welch.df)
    # A model alone in its family varies as the others do.
    alone = Estimate(
        np.zeros((4, 1)), np.array([1, -1 / 3, -1 / 3, -1 / 3]), np.array([0, 1, 1, 1])
    )
    assert alone.variance(values[:4])[0] == pytest.approx(values[1:4].var(ddof=1) * (1 + 1 / 3))
