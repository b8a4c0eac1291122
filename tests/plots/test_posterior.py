"""A fit is drawn beside the data that it is of, and beside no other."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias.datasets.simulate import simulate
from valuebias.fitting.result import Fit
from valuebias.plots.posterior_numbers import category_means, check_same_data


def test_the_same_data_in_another_order_pass(simulated: xr.Dataset, fit: Fit) -> None:
    turned = simulated.isel(
        model=slice(None, None, -1), prompt=slice(None, None, -1), response=slice(None, None, -1),
        category=[1, 0],
    )  # fmt: skip
    assert check_same_data(fit, turned) is fit


def test_words_outside_the_lexicon_may_be_more(simulated: xr.Dataset, fit: Fit) -> None:
    more = simulated.isel(response=[0]).assign_coords(response=["other"])
    more["membership"][:] = False
    assert check_same_data(fit, xr.concat([simulated, more], "response", data_vars="minimal",
                            coords="minimal", compat="override", join="outer")) is fit  # fmt: skip


def test_other_data_are_refused(simulated: xr.Dataset, fit: Fit) -> None:
    names = simulated["response"].to_numpy().astype("U40")
    names[3] = "\ud83d"
    scores, member = simulated.copy(deep=True), simulated.copy(deep=True)
    scores["score"][0, 0, 0] += 1
    member["membership"][0] = ~member["membership"][0]
    others = {
        "the model 'simulated/gemma-1' is in the fit only": simulated.isel(model=slice(1, None)),
        "the prompt .* is in the fit only": simulated.isel(prompt=slice(1, None)),
        r"the word '\\ud83d' is in the dataset only": simulated.assign_coords(response=names),
        "the category 'x' is in the dataset only": simulated.assign_coords(category=["x", "y"]),
        "other scores": scores,
        "words in other categories": member,
        "other scores than the dataset, of": simulated.assign_attrs(kind="logprob"),
    }
    for message, other in others.items():
        with pytest.raises(ValueBiasError, match=message):
            check_same_data(fit, other)
    for draw in (valuebias.plots.plot_ranks, valuebias.plots.plot_chosen_words):
        with pytest.raises(ValueBiasError, match="other scores"):
            draw(scores, fit=fit)
        with pytest.raises(ValueBiasError, match=r"of type Classical; expected what valuebias.fit"):
            draw(simulated, fit=valuebias.classical(simulated, n_permutations=1))  # type: ignore[arg-type]


def test_family_means_are_those_of_the_summary(fit: Fit) -> None:
    made = category_means(fit, by="family")
    summary = fit.summary()
    for family in ("Gemma", "Llama"):
        for framing in ("positive", "negative"):
            for category in ("agency", "communion"):
                draws = made.of(family, framing, category)
                row = summary.loc[f"mean[{family}, {framing}, {category}]"]
                assert draws.mean() == pytest.approx(row["mean"], abs=1e-9)
                assert np.quantile(draws, 0.05) == pytest.approx(row["lower"], abs=1e-9)


def test_model_means_of_many_categories_give_the_models_leans() -> None:
    words = {"care": 6, "fairness": 7, "loyalty": 8}
    ds = simulate(n_models={"A": 2, "B": 3}, n_prompts=4, n_words=words, overlap=0.2, seed=4)
    fit = valuebias.fit(ds, draws=20, tune=80, chains=2, seed=1, progress=False)
    made = category_means(fit, by="model")
    assert made.draws.shape == (5, 2, 3, 40)
    np.testing.assert_allclose(made.draws.sum(axis=2), 0, atol=1e-9)
    for model in ds["model"].values.tolist():
        lean = fit.contrast_draws.sel(estimand=f"model lean | {model} | negative | care − others")
        # A category against the mean of two others is 3/2 of it against the mean of all three.
        expected = lean.values.ravel() / 1.5
        np.testing.assert_allclose(made.of(model, "negative", "care"), expected, atol=1e-9)


def test_without_families_in_the_formula_there_is_nothing_by_family(simulated: xr.Dataset) -> None:
    fit = valuebias.fit(simulated, "~ 1", draws=10, tune=60, chains=2, seed=1, progress=False)
    with pytest.raises(ValueBiasError, match=r"'~ 1'.*not compare families.* Fit '~ family'"):
        valuebias.plots.plot_ranks(simulated, fit=fit)


def test_pairs_of_two_families_are_one_family(pairs: xr.Dataset, pair_fit: Fit) -> None:
    figure = valuebias.plots.plot_ranks(pairs, fit=pair_fit)
    diamonds = [ln for ln in figure.axes[2].get_lines() if ln.get_marker() == "D"]
    summary = pair_fit.summary()
    expected = [summary.loc[f"mean[all models, positive, {c}]", "mean"]
                for c in pairs["category"].values]  # fmt: skip
    assert [float(ln.get_xdata()[0]) for ln in diamonds] == pytest.approx(expected, abs=1e-9)
