"""Numbers of the words that differ between categories, against statsmodels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from valuebias.analysis.confounding import LENGTH, largest_slope, word_imbalances, word_numbers
from valuebias.simulate import simulate

N = (40, 60)


def material(seed: int, gap: float = 0.8, slope: float = 0.3):
    rng = np.random.default_rng(seed)
    first = np.repeat([1.0, 0.0], N)
    number = 5 + 2 * (gap * first + rng.standard_normal(sum(N)))
    outcome = 0.4 * first + slope * number + rng.standard_normal(sum(N))
    axes = np.column_stack([first, 1 - first]) - [N[0] / sum(N), N[1] / sum(N)]
    return first, number, outcome, axes


def test_numbers_are_those_of_least_squares() -> None:
    first, number, outcome, axes = material(1)
    (found,) = word_imbalances(pd.DataFrame({"x": number}), axes, np.array([0.5, -0.5]), outcome)
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
    (some,) = word_imbalances(pd.DataFrame({"x": number}), axes, weights, outcome)
    (less,) = word_imbalances(pd.DataFrame({"x": number[keep]}), axes[keep], weights, outcome[keep])
    assert some == less


def test_wide_numbers_are_taken_by_their_logarithm() -> None:
    _, number, outcome, axes = material(3)
    weights = np.array([0.5, -0.5])
    wide = pd.DataFrame({"frequency": np.exp(number), "plain": 50 + number})
    by_log, plain = word_imbalances(wide, axes, weights, outcome)
    assert by_log.term == "log(frequency)"
    assert plain.term == "plain"
    assert by_log.gap == pytest.approx(plain.gap)
    assert by_log.shift == pytest.approx(plain.shift)


def test_what_does_not_vary_within_categories_says_nothing() -> None:
    first, _, outcome, axes = material(4)
    table = pd.DataFrame({"constant": np.ones(sum(N)), "name": 5 + 3 * first})
    assert word_imbalances(table, axes, np.array([0.5, -0.5]), outcome) == []
    assert np.isnan(largest_slope(table, axes, outcome))


def test_an_axis_that_is_adjusted_for_is_no_imbalance() -> None:
    _, number, outcome, axes = material(5)
    more = np.column_stack([axes, number])
    table = pd.DataFrame({"x": number})
    assert word_imbalances(table, more, np.array([0.5, -0.5, 0.0]), outcome) == []


def test_numbers_of_a_dataset() -> None:
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=12, seed=1)
    ds = ds.assign_coords(
        frequency=("response", np.arange(12)), note=("response", ["x"] * 12), year=2024
    )
    table = word_numbers(ds)
    assert list(table) == [LENGTH, "frequency"]
    assert table[LENGTH].tolist() == [len(word) for word in ds["response"].values]
