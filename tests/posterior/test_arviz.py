"""What ArviZ is given it takes as it is, and its answers are those of the fit."""

from __future__ import annotations

import warnings

import arviz as az
import numpy as np
import pytest

import valuebias
from valuebias import simulate
from valuebias.errors import ValueBiasWarning
from valuebias.posterior import idata

SETTINGS = {"draws": 250, "tune": 400, "chains": 2, "seed": 1, "progress": False}


def _fit(missing: float = 0.0, **given: object) -> valuebias.Fit:
    ds = simulate(
        n_models={"Gemma": 3, "Llama": 4},
        n_prompts=8,
        n_words={"agency": 12, "communion": 15},
        effects={"Gemma": 0.5, "Llama": -0.5},
        missing=missing,
        seed=11,
    )
    return valuebias.fit(ds, **{**SETTINGS, **given})  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=[0.0, 0.05], ids=["complete", "incomplete"])
def fit(request: pytest.FixtureRequest) -> valuebias.Fit:
    return _fit(request.param)


def test_a_summary_has_the_numbers_of_the_fit(fit: valuebias.Fit) -> None:
    table = az.summary(fit.idata, var_names=["contrast"], round_to="none")
    own = fit.contrasts()
    # The second release of ArviZ may give text, and means of fewer digits.
    np.testing.assert_allclose(table["mean"].astype(float), own["mean"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(table["sd"].astype(float), own["sd"], rtol=2e-3)
    assert own.loc[0, "name"] in table.index[0]
    assert len(az.summary(fit.idata)) > len(table)


def test_traces_are_drawn(fit: valuebias.Fit) -> None:
    import matplotlib.pyplot as plt

    assert az.plot_trace(fit.idata, var_names=["sd"]) is not None
    plt.close("all")


def test_leaving_scores_out_is_what_the_fit_says() -> None:
    fit = _fit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a large Pareto k would be one
        theirs = az.loo(fit.idata, pointwise=True)
    ours = fit.loo(draws=500)
    elpd, se = (float(getattr(theirs, n, np.nan)) for n in ("elpd", "se"))
    if np.isnan(elpd):  # before ArviZ 1
        elpd = float(theirs.elpd_loo)
    assert fit.idata["log_likelihood"]["score"].sizes["draw"] == 250
    assert elpd == pytest.approx(ours.elpd, abs=0.3)
    assert se == pytest.approx(ours.se, rel=1e-3)


def test_scores_that_are_missing_have_no_density() -> None:
    fit = _fit(0.05)
    density = fit.idata["log_likelihood"]["score"]
    assert density.sizes["cell"] == int(fit.data["score"].notnull().sum())
    assert bool(np.isfinite(density).all())
    with warnings.catch_warnings():
        # Given cells that are drawn themselves some densities vary much: that is told.
        warnings.simplefilter("ignore")
        assert az.loo(fit.idata) is not None


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # ArviZ 0.23 sorts as pandas 3.1 warns of
def test_fits_are_compared_as_the_package_compares_them() -> None:
    fits = {"family": _fit(), "none": _fit(formula="~ 1")}
    new = int(az.__version__.partition(".")[0]) > 0  # rounds unless told not to
    given = {"round_to": "none"} if new else {}
    theirs = az.compare({name: fit.idata for name, fit in fits.items()}, **given)
    ours = valuebias.compare(fits, by="score", draws=500, progress=False)
    assert float(theirs["dse"].iloc[1]) == pytest.approx(ours["se_diff"].iloc[1], rel=0.05)
    gaps = [abs(float(table["elpd_diff"].iloc[1])) for table in (theirs, ours)]
    # Which is first may differ where there is little between them.
    signs = [1 if table.index[0] == "family" else -1 for table in (theirs, ours)]
    assert signs[0] * gaps[0] == pytest.approx(signs[1] * gaps[1], abs=0.5)


def test_densities_of_very_many_scores_are_left_out_and_that_is_said(monkeypatch) -> None:
    monkeypatch.setattr(idata, "_MOST_NUMBERS", 10_000)
    with pytest.warns(ValueBiasWarning, match=r"no log_likelihood: of 1,512 scores"):
        groups = _fit().idata
    assert "posterior" in groups
    assert "log_likelihood" not in groups


def test_draws_of_the_densities_are_fewer_where_scores_are_many(monkeypatch) -> None:
    monkeypatch.setattr(idata, "_MOST_NUMBERS", 1512 * 125)
    density = _fit().idata["log_likelihood"]["score"]
    assert density["draw"].to_numpy().tolist() == list(range(0, 250, 5))
