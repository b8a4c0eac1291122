"""Leave-one-model-out, -base-out and -word-out, and comparing fits by them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias.analysis.design.units import Unit, model_units
from valuebias.datasets.simulate import simulate
from valuebias.posterior.leave_out import Whole

QUICK = {"draws": 500, "tune": 400, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}


@pytest.fixture(scope="module")
def clustered() -> xr.Dataset:
    """Give ten models on five bases whose words differ by base."""
    return simulate(
        n_models={"A": (3, 1), "B": (3, 2, 1)},
        n_prompts=6,
        n_words=30,
        sd={"base_category": 0.2, "base_word": 0.5, "model_word": 0.15},
        seed=4,
    )


def fitted(ds: xr.Dataset, **settings: object) -> valuebias.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.ValueBiasWarning)
        return valuebias.fit(ds, **{**QUICK, **settings})  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def with_bases(clustered: xr.Dataset) -> valuebias.Fit:
    return fitted(clustered)


@pytest.fixture(scope="module")
def without_bases(clustered: xr.Dataset) -> valuebias.Fit:
    return fitted(clustered, base=None)


@pytest.mark.parametrize(("by", "n"), [("model", 10), ("base", 5), ("word", 30)])
def test_the_sum_and_its_error_are_those_of_the_units(
    with_bases: valuebias.Fit, by: str, n: int
) -> None:
    found = with_bases.loo(by=by, progress=False)  # type: ignore[call-overload]
    assert (found.by, found.n, len(found.table)) == (by, n, n)
    assert found.table.columns.tolist() == ["unit", "elpd", "mcse", "pareto_k", "refitted"]
    assert found.elpd == pytest.approx(found.table["elpd"].sum())
    assert found.se == pytest.approx(np.sqrt(n) * found.table["elpd"].std(ddof=1))
    assert (found.table["mcse"] < 0.5).all()
    assert ((found.table["pareto_k"] > found.k_limit) == found.table["refitted"]).all()
    names = {"model": "model", "base": "base", "word": "response"}
    expected = list(dict.fromkeys(with_bases.data[names[by]].to_numpy().tolist()))
    assert found.by_unit.index.tolist() == expected


def test_weights_and_integrals_agree() -> None:
    # Few prompts and words, so that a model does not tell the variances more than the others do.
    ds = simulate(n_models={"A": 8, "B": 8}, n_prompts=4, n_words=12, seed=2)
    fit = fitted(ds, draws=2000)
    found = fit.loo(by="model", draws=4000, progress=False)
    weighed = found.table[found.table["pareto_k"] < 0.5]
    assert len(weighed) > 3
    whole = Whole(fit)
    units = model_units(fit.data)
    for i, row in weighed.iloc[:4].iterrows():
        unit = units[int(str(i))]
        other = whole.predict(unit, whole.densities([unit], 400)[0], limit=-np.inf)
        assert other["refitted"]
        error = 3 * np.hypot(row["mcse"], other["mcse"])
        assert row["elpd"] == pytest.approx(other["elpd"], abs=error + 0.05)


def test_words_with_covariates_are_left_out_either_way() -> None:
    ds = simulate(
        n_models={"A": 3, "B": 3}, n_prompts=4, n_words=16,
        covariates={"frequency": {"gap": 1.0, "slope": 0.3}}, seed=3,
    )  # fmt: skip
    fit = fitted(ds, words="~ frequency", draws=1500)
    found = fit.loo(by="word", draws=3000, progress=False)
    whole = Whole(fit)
    best = found.table["pareto_k"].argsort()[:2]
    for i in best:
        unit = Unit("", word=int(i))
        other = whole.predict(unit, whole.densities([unit], 400)[0], limit=-np.inf)
        row = found.table.loc[i]
        error = 4 * np.hypot(row["mcse"], other["mcse"])
        assert row["elpd"] == pytest.approx(other["elpd"], abs=0.05 + error)


@pytest.mark.parametrize("by", ["model", "word", "score"])
def test_the_model_that_made_the_data_predicts_best(
    with_bases: valuebias.Fit, without_bases: valuebias.Fit, by: str
) -> None:
    fits = {"without": without_bases, "with": with_bases}
    table = valuebias.compare(fits, by=by, progress=False)
    assert table.index.tolist() == ["with", "without"]
    assert table.columns.tolist() == ["elpd_diff", "se_diff", "elpd", "se", "n", "unsure"]
    assert table.attrs["by"] == by
    assert table.loc["with", ["elpd_diff", "se_diff"]].tolist() == [0, 0]
    other = table.loc["without"]
    assert other["elpd_diff"] == pytest.approx(other["elpd"] - table.loc["with", "elpd"])
    if by != "score":
        assert other["elpd_diff"] < -2 * other["se_diff"]
        each = {name: fit.loo(by=by, progress=False).by_unit for name, fit in fits.items()}  # type: ignore[call-overload]
        difference = each["without"] - each["with"]
        assert other["se_diff"] == pytest.approx(np.sqrt(len(difference)) * difference.std())


def test_the_order_of_fits_does_not_matter(
    with_bases: valuebias.Fit, without_bases: valuebias.Fit
) -> None:
    fits = {"a": with_bases, "b": without_bases}
    one = valuebias.compare(fits, by="base", progress=False)
    other = valuebias.compare(dict(reversed(fits.items())), by="base", progress=False)
    pd.testing.assert_frame_equal(one, other)


def test_it_is_the_same_after_loading(with_bases: valuebias.Fit, tmp_path) -> None:  # type: ignore[no-untyped-def]
    loaded = valuebias.load(with_bases.save(tmp_path / "fit.nc"))
    for by in ("base", "word"):
        one, other = (fit.loo(by=by, progress=False) for fit in (with_bases, loaded))  # type: ignore[union-attr,call-overload]
        np.testing.assert_allclose(one.table["elpd"], other.table["elpd"], atol=0.5)


def test_a_fit_of_few_draws_is_sampled_again_for_its_integral(
    clustered: xr.Dataset, with_bases: valuebias.Fit
) -> None:
    few = fitted(clustered, draws=20)
    one, other = (fit.loo(by="base", progress=False) for fit in (with_bases, few))
    assert one.table["refitted"].any()
    np.testing.assert_allclose(one.table["elpd"], other.table["elpd"], atol=0.7)


def test_what_to_leave_out_is_known(with_bases: valuebias.Fit) -> None:
    with pytest.raises(ValueBiasError, match=r"unknown by='models'\. Did you mean 'model'"):
        with_bases.loo(by="models")  # type: ignore[call-overload]
    with pytest.raises(ValueBiasError, match="unknown by='prompt'"):
        valuebias.compare({"a": with_bases, "b": with_bases}, by="prompt")
    with pytest.raises(ValueBiasError, match="draws must be a whole number"):
        with_bases.loo(by="model", draws=0)


def test_without_bases_in_the_data_none_can_be_left_out(clustered: xr.Dataset) -> None:
    few = {"draws": 20, "tune": 50}
    blank = clustered.assign_coords(base=("model", [""] * 10))
    with pytest.raises(ValueBiasError, match=r"have no 'base'.*assign_coords.*by='model'"):
        fitted(blank, **few).loo(by="base")
    one = clustered.assign_coords(base=("model", ["x"] * 10))
    with pytest.raises(ValueBiasError, match="all models are of one base, 'x'"):
        fitted(one, **few).loo(by="base")


@pytest.mark.parametrize(
    ("gaps", "what", "dim"),
    [
        ((0, 0, slice(0, 3)), "word", "response"),
        ((slice(0, 6), 1, slice(None)), "prompt", "prompt"),
        ((4, slice(None, None, 2), slice(0, 20)), "model", "model"),
    ],
)
def test_of_an_incomplete_crossing_the_advice_makes_a_complete_one(
    clustered: xr.Dataset, gaps: tuple, what: str, dim: str
) -> None:
    few = {"draws": 20, "tune": 30}
    ds = clustered.copy(deep=True)
    ds["score"].to_numpy()[gaps] = np.nan
    fit = fitted(ds, **few)
    with pytest.raises(ValueBiasError, match=rf"Drop the {what}s .*dropna\('{dim}'") as found:
        fit.loo(by="model", progress=False)
    advice = str(found.value).rpartition("fit again: ")[2].partition(").")[0] + ")"
    rest = eval(advice, {"dataset": ds})  # noqa: S307 - our own advice
    assert fitted(rest, **few).settings["n_missing"] == 0


def test_gaps_everywhere_leave_nothing_to_advise(clustered: xr.Dataset) -> None:
    ds = clustered.copy(deep=True)
    ds["score"].to_numpy()[np.arange(30) % 10, np.arange(30) % 6, np.arange(30)] = np.nan
    fit = fitted(ds, draws=20, tune=30)
    with pytest.raises(ValueBiasError, match="only by='score'"):
        fit.loo(by="word", progress=False)
    assert fit.loo().n == clustered["score"].size - 30


def test_only_fits_of_the_same_are_compared(
    clustered: xr.Dataset, with_bases: valuebias.Fit
) -> None:
    few = {"draws": 20, "tune": 50}

    def against(ds: xr.Dataset, **changed: object) -> dict[str, valuebias.Fit]:
        other = fitted(ds, **{**few, **changed})
        return {"one": with_bases, "other": other}

    with pytest.raises(ValueBiasError, match="'one' is of the outcome 'raw' and 'other' of 'z'"):
        valuebias.compare(against(clustered, outcome="z"))
    with pytest.raises(ValueBiasError, match="fits of different words, 30 and 29"):
        valuebias.compare(against(clustered.isel(response=slice(1, None))))
    with pytest.raises(ValueBiasError, match="fits of different models, 10 and 10"):
        valuebias.compare(against(clustered.isel(model=slice(None, None, -1))))
    with pytest.raises(ValueBiasError, match="fits of different scores"):
        valuebias.compare(against(clustered.assign(score=clustered["score"] * 2)))
    others = clustered.assign_coords(base=("model", list("abcdefghij")))
    with pytest.raises(ValueBiasError, match="name different bases"):
        valuebias.compare(against(others), by="base")
    for wrong in ({"a": with_bases}, [with_bases, with_bases]):
        with pytest.raises(ValueBiasError, match="two fits or more by name"):
            valuebias.compare(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueBiasError, match="'b' is a LOO"):
        valuebias.compare({"a": with_bases, "b": with_bases.loo(draws=2)})  # type: ignore[dict-item]


@pytest.mark.slow
def test_the_papers_bases_predict_models_bases_and_words(big2: xr.Dataset) -> None:
    fits = {
        name: fitted(big2, base=base, outcome="normal", draws=1000, chains=4)
        for name, base in (("bases", "base"), ("none", None))
    }
    expected = {"model": (1054, 245), "base": (797, 257), "word": (508, 37)}
    for by, (difference, error) in expected.items():
        row = valuebias.compare(fits, by=by, progress=False).loc["none"]
        assert row["elpd_diff"] == pytest.approx(-difference, abs=10)
        assert row["se_diff"] == pytest.approx(error, abs=10)
