"""valuebias.fit with heavy tails, and with a residual SD of each model's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning
from valuebias.datasets.simulate import simulate
from valuebias.report.methods import methods_text

QUICK: dict[str, Any] = {"draws": 20, "tune": 20, "chains": 2, "seed": 1, "progress": False}
SURE: dict[str, Any] = {**QUICK, "draws": 400, "tune": 150}
BOTH = {"family": "student", "residual": "model"}


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    return simulate(
        n_models={"Gemma": 3, "Llama": 3}, n_prompts=6, n_words=30,
        effects={"Gemma": 0.3, "Llama": -0.3}, seed=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def odd(scores: xr.Dataset) -> xr.Dataset:
    """Let one family hate a few words of one category, once each."""
    rng, out = np.random.default_rng(1), scores.copy(deep=True)
    values = out["score"].transpose("model", "prompt", "response").to_numpy().copy()
    places = [
        np.flatnonzero(mask)
        for mask in (
            out["family"] == "Gemma",
            out["framing"] == "positive",
            out["membership"].sel(category="agency"),
        )
    ]
    for _ in range(10):
        values[tuple(rng.choice(place) for place in places)] -= 12
    return out.assign(score=(("model", "prompt", "response"), values))


def ask(ds: xr.Dataset, **given: Any) -> valuebias.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit(ds, outcome="raw", **{**QUICK, **given})


@pytest.fixture(scope="module")
def both(scores: xr.Dataset) -> valuebias.Fit:
    return ask(scores, **BOTH)


@pytest.mark.once
def test_outlying_scores_do_not_carry_the_difference(scores, odd) -> None:
    true, carried, held = (
        ask(ds, **SURE, family=family).contrasts().iloc[0]
        for ds, family in ((scores, "gaussian"), (odd, "gaussian"), (odd, "student"))
    )
    assert carried["mean"] < true["mean"] - 1.5 * true["sd"]
    assert abs(held["mean"] - true["mean"]) < 0.5 * true["sd"]
    assert held["sd"] < 1.3 * true["sd"]


@pytest.mark.once
def test_a_noisy_model_is_seen_and_the_others_are_alike(scores) -> None:
    rng, values = np.random.default_rng(0), scores["score"].copy(deep=True)
    noisy = str(values["model"].to_numpy()[1])
    values.loc[{"model": noisy}] += 0.8 * rng.standard_normal(values.sel(model=noisy).shape)
    fit = ask(scores.assign(score=values), **SURE, residual="model")
    factor = fit.tree["posterior"]["residual_factor"].mean(("chain", "draw"))
    others = factor.drop_sel(model=noisy)
    assert factor.sel(model=noisy) > 2.5 * others.max()
    assert others.max() < 1.6 * others.min()


@pytest.mark.once
def test_normal_residuals_of_one_sd_are_found_to_be_so(scores) -> None:
    """What a t of many degrees of freedom and equal SDs say is what the usual fit says."""
    usual, robust = ask(scores, **SURE), ask(scores, **SURE, **BOTH)
    one, other = usual.contrasts(), robust.contrasts()
    assert (one["name"] == other["name"]).all()
    assert (np.abs(one["mean"] - other["mean"]) < 0.35 * one["sd"]).all()
    summary = robust.summary()
    assert summary.loc["nu[residual]", "mean"] > 10
    # Six models with some hundred degrees of freedom each cannot say more.
    assert summary.loc["residual_spread[model]", "lower"] < 0.1
    for framing in ("positive", "negative"):
        name = f"sd[residual, {framing}]"
        assert summary.loc[name, "mean"] == pytest.approx(
            usual.summary().loc[name, "mean"], rel=0.1
        )


def test_draws_repeat_and_come_back_from_disk(both, scores, tmp_path: Path) -> None:
    again = ask(scores, **BOTH)
    for name, values in both.tree["posterior"].to_dataset().items():
        np.testing.assert_array_equal(values, again.tree["posterior"][name], err_msg=str(name))
    for suffix in (".nc", ".zarr"):
        back = valuebias.load(both.save(tmp_path / f"fit{suffix}"))
        assert {k: back.settings[k] for k in BOTH} == BOTH
        assert back.contrasts().equals(both.contrasts())
        assert back.words().equals(both.words())
        assert back.summary().equals(both.summary())
        np.testing.assert_array_equal(
            back.ppc(draws=3)["replicated"], both.ppc(draws=3)["replicated"]
        )


def test_fits_saved_before_there_were_these_settings_are_normal(scores, tmp_path: Path) -> None:
    fit = ask(scores)
    for name in BOTH:
        fit.settings.pop(name)
    back = valuebias.load(fit.save(tmp_path / "fit.nc"))
    assert back.settings["family"] == "gaussian"
    assert back.settings["residual"] is None
    assert back.contrasts().equals(fit.contrasts())


def test_parameters_of_residuals_are_listed(both) -> None:
    draws, priors, summary = both.draws(), both.priors(), both.summary()
    models = both.data["model"].to_numpy()
    names = ["nu[residual]", "residual_spread[model]", *(f"residual_factor[{m}]" for m in models)]
    assert set(names) <= set(summary.index)
    assert set(names) <= set(draws["parameter"])
    assert set(names[:2]) <= set(priors.index)
    assert (summary.loc["nu[residual]", ["lower", "mean"]] > 2).all()
    assert both.settings["path"] == "augmented"
    methods = " ".join(methods_text(both))
    assert "t distributed" in methods
    assert "residual SD of its own" in methods
    assert "No-U-Turn" not in methods


@pytest.mark.slow
@pytest.mark.once
def test_a_report_says_what_such_a_fit_lacks(both, tmp_path: Path) -> None:
    text = both.report(tmp_path / "report.md").read_text(encoding="utf-8")
    for what in ("Leaving out scores", "Leaving out models"):
        assert f"{what} takes residuals as normal" in text
    assert "family='student'" in text
    assert "residual='model'" in text
    assert "degrees of freedom of the t" in text


@pytest.mark.parametrize(
    ("what", "ask_it"),
    [
        ("loo\\(\\)", lambda fit: fit.loo()),
        ("loo\\(\\)", lambda fit: fit.loo(by="model")),
        ("loo\\(\\)", lambda fit: valuebias.compare({"a": fit, "b": fit}, progress=False)),
        ("influence\\(\\)", lambda fit: fit.influence()),
        ("fit.model", lambda fit: fit.model),
        ("design", lambda fit: valuebias.design(like=fit)),
        (
            "The card of a model",
            lambda fit: valuebias.card(fit, model=str(fit.data["model"][0].item())),
        ),
    ],
)
def test_what_takes_normal_residuals_is_refused(both, what, ask_it) -> None:
    with pytest.raises(ValueBiasError, match=f"{what}.*takes residuals as normal.*student"):
        ask_it(both)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"family": "studnt"}, "family is 'studnt'. Did you mean 'student'"),
        ({"family": "Llama"}, "which families of models are compared is said by the formula"),
        ({"residual": "word"}, "residual is 'word'; expected 'model'"),
        ({"residual": True}, "expected 'model'"),
        ({"family": "student", "sampler": "pymc"}, "leave sampler= out"),
    ],
)
def test_settings_that_cannot_be_are_refused(scores, given, said) -> None:
    with pytest.raises(ValueBiasError, match=said):
        ask(scores, **given)


def test_missing_scores_and_margins_are_no_obstacle(scores) -> None:
    values = scores["score"].transpose("model", "prompt", "response").copy(deep=True)
    values[0, :, 3] = np.nan
    values[2, 1] = np.nan
    fit = ask(scores.assign(score=values), **BOTH)
    assert np.isfinite(fit.summary()["mean"]).all()
    assert np.isfinite(fit.words()["mean"]).all()


def test_a_registration_may_name_them(scores) -> None:
    fit = ask(scores, prereg={"family": "student", "outcome": "raw"})
    assert fit.settings["family"] == "student"
    assert fit.settings["prereg"]["departures"] == []
