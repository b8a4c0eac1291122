"""valuebias.fit with heavy tails of words, models and bases."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning
from valuebias.datasets.simulate import simulate
from valuebias.report.methods import methods_text

QUICK: dict[str, Any] = {"draws": 12, "tune": 12, "chains": 2, "seed": 1, "progress": False}
SURE: dict[str, Any] = {**QUICK, "draws": 300, "tune": 150}
BOTH = ["words", "models"]


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    return simulate(
        n_models={"Gemma": 5, "Llama": 5}, n_prompts=4, n_words=24,
        effects={"Gemma": 0.3, "Llama": -0.3}, seed=2,
    )  # fmt: skip


def ask(ds: xr.Dataset, **given: Any) -> valuebias.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit(ds, outcome="raw", **{**QUICK, **given})


@pytest.fixture(scope="module")
def true(scores: xr.Dataset) -> pd.Series:
    return ask(scores, **SURE).contrasts().iloc[0]


@pytest.fixture(scope="module")
def both(scores: xr.Dataset) -> valuebias.Fit:
    return ask(scores, heavy_tails=BOTH)


def signs(ds: xr.Dataset) -> xr.DataArray:
    """Give how liking shows in the scores: (prompt,)."""
    return xr.where(ds["framing"] == "positive", 1.0, -1.0)


def moved(ds: xr.Dataset, by: xr.DataArray) -> xr.Dataset:
    score = (ds["score"] + by).transpose(*ds["score"].dims).astype(np.float32)
    return ds.assign(score=score.drop_vars(set(score.coords) - set(ds["score"].coords)))


@pytest.mark.once
def test_an_outlying_model_does_not_carry_the_difference(scores, true) -> None:
    who = (scores["model"] == scores["model"][0]) * 1.0
    agency = scores["membership"].sel(category="agency", drop=True) - 0.5
    odd = moved(scores, -6 * who * agency * signs(scores))
    carried = ask(odd, **SURE).contrasts().iloc[0]
    fit = ask(odd, **SURE, heavy_tails="models")
    held = fit.contrasts().iloc[0]
    assert true["name"] == carried["name"] == held["name"]
    assert carried["mean"] < true["mean"] - 0.5
    assert true["mean"] - held["mean"] < 0.6 * (true["mean"] - carried["mean"])
    assert held["sd"] < 0.8 * carried["sd"]
    # Its own lean is told as it is.
    leans = fit.models().query("framing == 'signed'").set_index("name")["mean"]
    assert leans[str(odd["model"].to_numpy()[0])] < -4


@pytest.mark.once
def test_a_word_one_family_hates_does_not_carry_the_difference(scores, true) -> None:
    word = scores["response"][scores["membership"].sel(category="agency")][0]
    hated = (scores["response"] == word) * (scores["family"] == "Gemma") * -10.0
    odd = moved(scores, hated * signs(scores))
    carried = ask(odd, **SURE).contrasts().iloc[0]
    fit = ask(odd, **SURE, heavy_tails="words")
    held = fit.contrasts().iloc[0]
    assert carried["mean"] < true["mean"] - 0.3
    assert true["mean"] - held["mean"] < 0.5 * (true["mean"] - carried["mean"])
    assert held["sd"] < 0.8 * carried["sd"]
    first = fit.words().iloc[0]
    assert first["word"] == word.item()
    assert -11 < first["mean"] < -8
    assert fit.summary().loc["nu[word:family]", "mean"] < 10


@pytest.mark.slow
@pytest.mark.once
def test_normal_effects_are_found_to_be_so(scores) -> None:
    """What t distributions of many degrees of freedom say is what the usual fit says."""
    usual, robust = (
        ask(scores, **{**SURE, "draws": 1000}, **k) for k in ({}, {"heavy_tails": BOTH})
    )
    one, other = usual.contrasts(), robust.contrasts()
    assert (one["name"] == other["name"]).all()
    assert (np.abs(one["mean"] - other["mean"]) < 0.5 * one["sd"]).all()
    one, other = (fit.words().set_index("word") for fit in (usual, robust))
    apart = (one["mean"] - other.loc[one.index, "mean"]) / one["sd"]
    assert apart.abs().max() < 0.5
    assert robust.summary().loc["nu[word]", "mean"] > 8


def test_draws_repeat_and_come_back_from_disk(both, scores, tmp_path: Path) -> None:
    again = ask(scores, heavy_tails=("models", "words"))
    for name, values in both.tree["posterior"].to_dataset().items():
        np.testing.assert_array_equal(values, again.tree["posterior"][name], err_msg=str(name))
    assert both.settings["heavy_tails"] == BOTH
    for suffix in (".nc", ".zarr"):
        back = valuebias.load(both.save(tmp_path / f"fit{suffix}"))
        assert back.settings["heavy_tails"] == BOTH
        assert back.contrasts().equals(both.contrasts())
        assert back.words().equals(both.words())
        assert back.summary().equals(both.summary())
        np.testing.assert_array_equal(
            back.ppc(draws=3)["replicated"], both.ppc(draws=3)["replicated"]
        )


def test_fits_saved_before_there_was_this_setting_have_normal_effects(scores, tmp_path) -> None:
    fit = ask(scores)
    fit.settings.pop("heavy_tails")
    back = valuebias.load(fit.save(tmp_path / "fit.nc"))
    assert back.settings["heavy_tails"] is None
    assert back.contrasts().equals(fit.contrasts())


def test_a_saved_setting_that_cannot_be_is_refused(both, tmp_path: Path) -> None:
    fit = valuebias.load(both.save(tmp_path / "whole.nc"))
    fit.settings["heavy_tails"] = ["prompts"]
    with pytest.raises(ValueBiasError, match="heavy_tails names 'prompts'"):
        valuebias.load(fit.save(tmp_path / "fit.nc"))


def test_degrees_of_freedom_are_listed(both) -> None:
    names = {"nu[word]", "nu[word:family]", "nu[model_category]"}
    summary = both.summary()
    assert names == {name for name in summary.index if name.startswith("nu")}
    assert names <= set(both.draws()["parameter"])
    assert names <= set(both.priors().index)
    assert (summary.loc[sorted(names), ["lower", "mean"]] > 2).all(axis=None)
    assert both.settings["path"] == "augmented"
    methods = " ".join(methods_text(both))
    assert "word, word:family, model_category are multivariate t distributed" in methods
    assert "Residuals are t distributed" not in methods


def test_an_unseen_model_is_drawn_from_the_t(both) -> None:
    """With two degrees of freedom or so some are far beyond what the same scale leaves normal."""
    nu = both.tree["posterior"]["nu"]
    tree = both.tree.copy()
    widths = []
    for value in (2.05, 1e6):
        posterior = tree["posterior"].to_dataset().assign(nu=nu * 0 + value)
        tree["posterior"] = xr.DataTree(posterior)
        fit = valuebias.Fit(both.data, both.settings, both.prior, tree.copy(), {})
        # Of few the farthest is not far.
        new = pd.DataFrame({"family": ["Gemma"] * 900}, index=[f"new {i}" for i in range(900)])
        draws = fit.predict(new).draws.to_numpy()
        widths.append(np.abs(draws - np.median(draws)).max())
    assert widths[0] > 2 * widths[1]


@pytest.mark.parametrize(
    ("what", "ask_it"),
    [
        ("loo\\(\\)", lambda fit: fit.loo()),
        ("loo\\(\\)", lambda fit: fit.loo(by="word")),
        ("influence\\(\\)", lambda fit: fit.influence()),
        ("fit.model", lambda fit: fit.model),
        ("design", lambda fit: valuebias.design(like=fit)),
        (
            "The card of a model",
            lambda fit: valuebias.card(fit, model=str(fit.data["model"][0].item())),
        ),
    ],
)
def test_what_takes_normal_effects_is_refused(both, what, ask_it) -> None:
    said = rf"{what}.*takes effects as normal.*heavy_tails=\['words', 'models'\]"
    with pytest.raises(ValueBiasError, match=said):
        ask_it(both)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"heavy_tails": "word"}, "heavy_tails names 'word'. Did you mean 'words'"),
        ({"heavy_tails": ["models", 3]}, "heavy_tails names 3"),
        ({"heavy_tails": True}, "heavy_tails is True; expected whose effects"),
        ({"heavy_tails": "bases"}, "no two models share one.*name 'models' instead"),
        ({"heavy_tails": "words", "sampler": "pymc"}, "leave sampler= out"),
    ],
)
def test_settings_that_cannot_be_are_refused(scores, given, said) -> None:
    with pytest.raises(ValueBiasError, match=said):
        ask(scores, **given)


def finite(fit: valuebias.Fit) -> None:
    assert np.isfinite(fit.summary()["mean"]).all()
    assert np.isfinite(fit.contrasts()["mean"]).all()
    assert np.isfinite(fit.word_draws()).all()
    assert np.isfinite(fit.ppc(draws=3)["replicated"]).all()


def test_missing_scores_and_margins_are_no_obstacle(scores) -> None:
    values = scores["score"].transpose("model", "prompt", "response").copy(deep=True)
    values[0, :, 3] = np.nan
    values[2, 1] = np.nan
    fit = ask(scores.assign(score=values), heavy_tails=BOTH, family="student", residual="model")
    assert {"nu[residual]", "nu[word]"} <= set(fit.summary().index)
    finite(fit)


def test_bases_and_covariates_of_words_may_have_them() -> None:
    ds = simulate(
        n_models={"A": [2, 1], "B": [2, 2]}, n_prompts=4, n_words=20, seed=1,
        covariates={"x": {"gap": 0.5}},
    )  # fmt: skip
    fit = ask(ds, words="~ x", heavy_tails=("words", "models", "bases"))
    names = {name for name in fit.summary().index if name.startswith("nu")}
    of = ("word", "word:family", *(f"{o}_{k}" for o in ("model", "base")
                                   for k in ("category", "covariate")))  # fmt: skip
    assert names == {f"nu[{name}]" for name in of}
    finite(fit)


@pytest.mark.parametrize(
    "chosen",
    [
        {"model": [0]},
        {"model": [0, 9]},
        {"prompt": [0, 1]},
        {"response": [0, 1, 23]},
    ],
    ids=["one model", "one model a family", "one framing", "one word in a category"],
)
def test_few_of_anything_are_no_obstacle(scores, chosen) -> None:
    part = scores.isel({"prompt": slice(None)} | chosen)
    if "prompt" in chosen:
        part = scores.sel(prompt=scores["framing"] == "negative")
    finite(ask(part, heavy_tails=BOTH))


def test_another_formula_and_more_families_are_no_obstacle(scores) -> None:
    families = np.array([*"AAABBBCCCC"])
    ds = scores.assign_coords(family=("model", families), size=("model", np.arange(10.0)))
    fit = ask(ds, formula="~ family + size", heavy_tails="words")
    names = {name for name in fit.summary().index if name.startswith("nu")}
    assert names == {"nu[word]", "nu[word:family]", "nu[word:size]"}
    finite(fit)


def test_a_registration_may_name_them(scores) -> None:
    registered = {"heavy_tails": ["words"], "outcome": "raw"}
    fit = ask(scores, prereg=registered, heavy_tails="words")
    assert fit.settings["heavy_tails"] == ["words"]
    assert fit.settings["prereg"]["departures"] == []
    fit = ask(scores, prereg=registered, heavy_tails=BOTH)
    assert "heavy_tails is ['words', 'models']" in fit.settings["prereg"]["departures"][0]


@pytest.mark.slow
@pytest.mark.once
def test_a_report_says_what_such_a_fit_lacks(both, tmp_path: Path) -> None:
    text = both.report(tmp_path / "report.md").read_text(encoding="utf-8")
    for what in ("Leaving out scores", "Leaving out models"):
        assert f"{what} takes effects as normal" in text
    assert "degrees of freedom of the t of these effects" in text
    assert "heavy_tails=['words', 'models']" in text
