"""Known parameters are found again, and intervals hold them as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

import valuebias

TRUTH = {
    "confirmatory_rate": 0.4,
    "disconfirmatory_rate": 0.15,
    "inverse_temperature": 6.0,
    "relative_weight": 0.6,
}


def coverage(n: int, *, two: bool) -> dict[str, float]:
    """Count how often 90% intervals hold the truth."""
    truth = TRUTH if two else {"learning_rate": 0.3, "inverse_temperature": 5.0,
                               "relative_weight": 0.6}  # fmt: skip
    rates = 2 if two else 1
    task = valuebias.bandit_task(trials=15, tasks=15, seed=5)
    choices = valuebias.simulate_choices(
        task, value="mixed", learning_rates=rates, parameters=truth, n_models=n, seed=11
    )
    fit = valuebias.fit_choices(choices, value="mixed", learning_rates=rates)
    table = fit.summary()
    held = {}
    for name, rows in table.groupby("parameter"):
        true = truth[str(name)]
        assert abs(rows["estimate"].mean() - true) < 0.15 * max(true, 0.4)
        held[str(name)] = ((rows["lower"] <= true) & (true <= rows["upper"])).mean()
        inside = rows[~rows["at_bound"]]
        assert inside["se"].notna().all()
        # What the estimates differ by is what the Hessian says, to three errors of an SD.
        apart = inside["se"].mean() / inside["estimate"].std()
        assert abs(np.log(apart)) < 0.1 + 3 / np.sqrt(2 * len(inside)), name
    return held


def test_parameters_are_recovered() -> None:
    assert min(coverage(20, two=False).values()) >= 0.65


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    n = 200
    for two in (False, True):
        for name, share in coverage(n, two=two).items():
            # Three standard errors of a share of .9, and a little as intervals are asymptotic.
            assert abs(share - 0.9) < 3 * np.sqrt(0.09 / n) + 0.02, (name, share)


def test_the_best_of_several_starts_is_kept() -> None:
    task = valuebias.bandit_task(trials=8, tasks=4, seed=5)
    choices = valuebias.simulate_choices(task, value="mixed", seed=3)
    one, many = (
        valuebias.fit_choices(choices, value="mixed", learning_rates=2, starts=n)
        .fit_statistics()["log_lik"]
        .sum()
        for n in (1, 12)
    )
    assert many >= one - 1e-9


def test_rules_that_contain_others_fit_no_worse() -> None:
    task = valuebias.bandit_task(trials=8, tasks=4, seed=5)
    choices = valuebias.simulate_choices(task, value="mixed", n_models=3, seed=3)
    total = {
        (value, n): valuebias.fit_choices(choices, value=value, learning_rates=n)
        .fit_statistics()["log_lik"]
        .to_numpy()
        for value in ("absolute", "relative", "mixed")
        for n in (1, 2)
    }
    for value in ("absolute", "relative"):
        assert (total["mixed", 1] >= total[value, 1] - 1e-6).all()
        assert (total[value, 2] >= total[value, 1] - 1e-6).all()


def test_expected_choices_give_what_draws_give_on_average() -> None:
    task = valuebias.bandit_task(trials=10, tasks=10, seed=5)
    truth = {"learning_rate": 0.3, "inverse_temperature": 5.0}
    choices = valuebias.simulate_choices(task, parameters=truth, expected=True)
    fit = valuebias.fit_choices(choices)
    found = fit.summary().set_index("parameter")["estimate"]
    # The likelihood of probabilities is largest at the truth itself.
    np.testing.assert_allclose([found[name] for name in truth], list(truth.values()), rtol=1e-3)


def test_bounds_are_said() -> None:
    task = valuebias.bandit_task(trials=10, tasks=8, seed=5)
    choices = valuebias.simulate_choices(task, value="absolute", expected=True)
    fit = valuebias.fit_choices(choices, value="mixed")
    row = fit.summary().set_index("parameter").loc["relative_weight"]
    assert row["at_bound"]
    assert row["estimate"] == pytest.approx(0, abs=1e-3)
    assert np.isnan(row["se"])
    assert row["lower"] == 0
    assert 0 < row["upper"] < 0.3
    assert "At the end of the range" in fit.headline()
    assert "relative_weight of model-1" in fit.headline()
