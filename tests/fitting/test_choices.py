"""Learning models of choices, as users fit them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias.analysis.learning.rules import make_rule
from valuebias.analysis.learning.sequences import outcome_range, pack_sequences


@pytest.fixture(scope="module")
def choices() -> xr.Dataset:
    task = valuebias.bandit_task(trials=10, tasks=8, seed=1)
    return valuebias.simulate_choices(task, value="relative", n_models={"A": 2, "B": 1}, seed=1)


def test_models_are_compared(choices: xr.Dataset) -> None:
    fits = {v: valuebias.fit_choices(choices, value=v) for v in ("absolute", "relative", "mixed")}
    table = fits["absolute"].compare(fits["relative"], fits["mixed"])
    assert table.index[0] == "relative, one rate"
    assert table["bic_diff"].iloc[0] == 0
    stats = fits["relative"].fit_statistics()
    assert stats["n"].tolist() == [224, 224, 224]
    np.testing.assert_allclose(stats["aic"], 4 - 2 * stats["log_lik"])
    np.testing.assert_allclose(stats["bic"], 2 * np.log(224) - 2 * stats["log_lik"])
    twice = fits["relative"].compare(valuebias.fit_choices(choices))
    assert sorted(twice.index) == ["relative, one rate (1)", "relative, one rate (2)"]


def test_what_a_fit_says_and_shows(choices: xr.Dataset) -> None:
    fit = valuebias.fit_choices(choices, value="mixed", learning_rates=2)
    said = fit.headline()
    assert "672 sampled choices of 3 models" in said
    assert "Relative weight: A-1" in said
    assert "Σ" not in said
    assert "a confirmatory and a disconfirmatory learning rate" in repr(fit)
    assert "<table>" in fit._repr_html_()
    figure = fit.plot()
    assert [axes.get_title(loc="left") for axes in figure.axes][2] == "transfer: relatively better"
    assert len(fit.plot("parameters").axes) == 4
    predicted = fit.predicted()
    assert predicted.attrs["how"] == "expected"
    truth, model = (
        valuebias.choice_measures(each).set_index(["model", "measure"])["mean"]
        for each in (choices, predicted)
    )
    assert (truth - model).abs().max() < 0.12
    expected = valuebias.fit_choices(predicted, value="mixed", learning_rates=2)
    assert "Σ p log q of expected choices" in expected.headline()


def test_predictions_are_the_likelihood(choices: xr.Dataset) -> None:
    fit = valuebias.fit_choices(choices)
    p = fit.predicted()["chose_first"].to_numpy()
    y = choices["chose_first"].transpose("model", "task", "trial").to_numpy()
    total = np.where(y == 1, np.log(p), np.log(1 - p)).sum(axis=(1, 2))
    np.testing.assert_allclose(total, fit.fit_statistics()["log_lik"])


def test_the_scale_of_outcomes_may_be_given(choices: xr.Dataset) -> None:
    fits = [valuebias.fit_choices(choices, value="absolute", outcome_range=ends)
            for ends in (None, (0, 10), (0, 20))]  # fmt: skip
    found = [fit.summary()["estimate"].to_numpy() for fit in fits]
    np.testing.assert_array_equal(found[0], found[1])
    # Values from 0 to 1/2 take twice the inverse temperature, but for where options begin.
    started = valuebias.fit_choices(choices, value="absolute", outcome_range=(0, 20), initial=0.25)
    doubled = started.summary().set_index(["model", "parameter"])["estimate"]
    plain = fits[0].summary().set_index(["model", "parameter"])["estimate"]
    for name in ("learning_rate", "inverse_temperature"):
        ratio = doubled.xs(name, level=1) / plain.xs(name, level=1)
        np.testing.assert_allclose(ratio, 2 if name == "inverse_temperature" else 1, rtol=0.01)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"value": "relativ"}, "Did you mean 'relative'?"),
        ({"learning_rates": 3}, "learning_rates is 3; expected 1 or 2"),
        ({"split": "both"}, "split is 'both'"),
        ({"method": "bayes"}, "method is 'bayes'"),
        ({"initial": float("nan")}, "initial is nan"),
        ({"outcome_range": (1, 1)}, "expected two finite numbers"),
        ({"outcome_range": 3}, "expected two numbers"),
        ({"starts": 0}, "starts is 0"),
        ({"cores": 0}, "cores is 0"),
    ],
)
def test_settings_that_are_refused(choices: xr.Dataset, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueBiasError) as raised:
        valuebias.fit_choices(choices, **given)
    assert said in str(raised.value)


def test_choices_that_are_refused(choices: xr.Dataset) -> None:
    few = choices.isel(task=[0], trial=slice(0, 8))
    constant = choices.assign_coords(
        first_outcome=choices["first_outcome"] * 0, second_outcome=choices["second_outcome"] * 0
    )
    nothing = choices.where(choices["phase"] == "none")
    outside = choices.assign(chose_first=choices["chose_first"] * 2)
    infinite = choices.assign_coords(first_outcome=choices["first_outcome"] / 0)
    for broken, said in (
        (few, "has 8 choices, and Q-learning of relative values"),
        (constant, "All outcomes are 0"),
        (nothing, "There is no choice"),
        (outside, "A choice is 2"),
        (infinite, "finite"),
        (choices.isel(model=0), "Keep all dimensions"),
        (choices.drop_vars("phase"), "lacks 'phase'"),
        (choices.assign_coords(family=("model", ["A", "", "B"])), "have no family"),
        ("choices.csv", "of type str"),
    ):
        with pytest.raises(ValueBiasError) as raised:
            valuebias.fit_choices(broken, value="absolute" if broken is constant else "relative")
        assert said in str(raised.value), said


def test_what_a_fit_refuses(choices: xr.Dataset) -> None:
    fit = valuebias.fit_choices(choices)
    other = valuebias.fit_choices(choices.isel(task=slice(0, 4)))
    for call, said in (
        (lambda: fit.compare(), "further fits of the same choices"),
        (lambda: fit.compare(other), "of different choices"),
        (lambda: fit.loo(), "method='hierarchical'"),
        (lambda: fit.plot("trace"), "kind is 'trace'"),
        (lambda: fit.summary(prob=2), "prob is 2"),
        (lambda: valuebias.plots.plot_learning(fit.choices), "no summary of parameters"),
    ):
        with pytest.raises(ValueBiasError) as raised:
            call()
        assert said in str(raised.value)


def test_simulations_that_are_refused() -> None:
    task = valuebias.bandit_task(trials=2)
    for given, said in (
        ({"parameters": {"rate": 0.1}}, "There is no parameter 'rate'"),
        ({"parameters": {"learning_rate": 2.0}}, "learning_rate is 2.0; expected a number from 0"),
        ({"n_models": []}, "n_models is []"),
        ({"n_models": {"A": 0}}, "n_models is 0"),
    ):
        with pytest.raises(ValueBiasError) as raised:
            valuebias.simulate_choices(task, **given)  # type: ignore[arg-type]
        assert said in str(raised.value)
    with pytest.raises(ValueBiasError, match="of type str"):
        valuebias.simulate_choices("bandit")  # type: ignore[arg-type]


@pytest.mark.slow
def test_hierarchical_fits(choices: xr.Dataset) -> None:
    task = valuebias.bandit_task(trials=12, tasks=10, seed=3)
    truth = {"learning_rate": 0.3, "inverse_temperature": 5.0, "relative_weight": 0.7}
    made = valuebias.simulate_choices(
        task, value="mixed", parameters=truth, n_models={"A": 4, "B": 4}, seed=2
    )
    how: dict[str, Any] = {"method": "hierarchical", "draws": 500, "tune": 500, "seed": 1}
    fit = valuebias.fit_choices(made, value="mixed", **how)
    table = fit.summary()
    assert table["rhat"].max() < 1.03
    assert table["ess"].min() > 200
    for name, true in truth.items():
        rows = table[(table["level"] == "family") & (table["parameter"] == name)]
        assert ((rows["lower"] < true) & (true < rows["upper"])).all()
        # Models are drawn towards one another.
        alone = valuebias.fit_choices(made, value="mixed").summary()
        apart = alone[alone["parameter"] == name]["estimate"].std()
        pooled = table[(table["level"] == "model") & (table["parameter"] == name)]["mean"].std()
        assert pooled < apart
    absolute = valuebias.fit_choices(made, value="absolute", **how)
    compared = absolute.compare(fit)
    assert compared.index[0] == "mixed, one rate"
    assert compared["elpd_diff"].iloc[1] < -3 * compared["se_diff"].iloc[1]
    assert len(fit.loo()) == 80
    # Leaving out costs no more than the parameters are worth.
    inside = fit.log_likelihood().mean(("chain", "draw")).sum().item()
    assert -40 < compared["elpd"].iloc[0] - inside < 5
    assert "hierarchical" in fit.headline()
    assert len(fit.plot("parameters").axes) == 3
    assert "<table>" in fit._repr_html_()
    with pytest.raises(ValueBiasError, match="AIC and BIC are of maximum likelihood"):
        fit.fit_statistics()
    with pytest.raises(ValueBiasError, match="fit both by one"):
        fit.compare(valuebias.fit_choices(made))


@pytest.mark.slow
def test_one_model_has_no_levels_above_it(choices: xr.Dataset) -> None:
    alone = choices.isel(model=[0])
    fit = valuebias.fit_choices(alone, method="hierarchical", draws=300, tune=300, seed=1)
    table = fit.summary().set_index(["level", "parameter"])["mean"]
    assert table["family"].tolist() == table["model"].tolist()
    ml = valuebias.fit_choices(alone).summary().set_index("parameter")["estimate"]
    assert abs(table["model", "learning_rate"] - ml["learning_rate"]) < 0.1


@pytest.mark.slow
def test_the_density_that_is_sampled(choices: xr.Dataset) -> None:
    from valuebias.analysis.learning.hierarchy import build_pooled

    rule = make_rule("mixed", 2, "confirmation", None)
    sequences = pack_sequences(choices, rule, outcome_range(choices, None))
    model = build_pooled(sequences, rule, np.array([0, 0, 1]), ("A", "B"))
    point = model.initial_point(random_seed=1)
    rng = np.random.default_rng(2)
    point = {name: rng.normal(size=np.shape(value)) * 0.3 for name, value in point.items()}
    gradient = model.compile_dlogp()(point)
    logp = model.compile_logp()
    flat = []
    for name in (variable.name for variable in model.value_vars):
        for place in np.ndindex(point[name].shape):
            ends = []
            for side in (-1, 1):
                moved = {key: value.copy() for key, value in point.items()}
                moved[name][place] += side * 1e-6
                ends.append(float(logp(moved)))
            flat.append((ends[1] - ends[0]) / 2e-6)
    np.testing.assert_allclose(gradient, flat, rtol=1e-4, atol=1e-4)


PUBLISHED = os.environ.get("VALUEBIAS_RELATIVE_VALUES", "")


@pytest.mark.skipif(
    not PUBLISHED,
    reason="VALUEBIAS_RELATIVE_VALUES names no CSV file of the published choices of Hayes et al. "
    "(2024), with the columns of valuebias.read_choices, all of Llama-2-70B",
)
def test_the_published_choices_give_the_published_likelihoods() -> None:
    choices = valuebias.read_choices(Path(PUBLISHED))
    standard = choices.isel(task=np.flatnonzero(choices["style"].to_numpy() == "standard"))
    known = {("absolute", 1): 1087.1, ("relative", 1): 1085.8, ("relative", 2): 967.9}
    for (value, rates), loss in known.items():
        fit = valuebias.fit_choices(standard, value=value, learning_rates=rates)
        stats = fit.fit_statistics()
        assert stats["n"].sum() == 2245
        assert -stats["log_lik"].sum() == pytest.approx(loss, abs=0.1)
    table = valuebias.choice_measures(choices, by="style")
    found = table[table["measure"] == "training accuracy"]["mean"].round(3).tolist()
    assert sorted(found) == [0.569, 0.658]
