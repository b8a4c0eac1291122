"""The card of one model."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning, simulate

pytestmark = pytest.mark.once
SETTINGS = {"draws": 300, "tune": 200, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}
SIZES = {
    "n_models": {"Alder": 6, "Birch": 5}, "n_prompts": 6, "n_words": 24,
    "effects": {"Alder": 0.3, "Birch": -0.3},
    "sd": {"word": 0.1, "word_family": 0.05, "model_word": 0.1},
}  # fmt: skip


def with_outlier(seed: int, push: float) -> xr.Dataset:
    """Simulated scores whose first model leans further by a planted amount, and likes one word."""
    ds = simulate(**SIZES, seed=seed)  # type: ignore[arg-type]
    agency = ds["membership"].sel(category="agency").to_numpy()
    sign = np.where(ds["framing"] == "positive", 1.0, -1.0)
    score = ds["score"].to_numpy().copy()
    score[0] += push * sign[:, None] * np.where(agency, 0.5, -0.5)
    score[0, :, 3] += 1.5 * sign
    return ds.assign(score=(ds["score"].dims, score))


def test_a_planted_outlier_is_unusual_and_its_word_is_found(tmp_path) -> None:
    ds = with_outlier(2, 1.5)
    name = str(ds["model"].values[0])
    fit = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
    card = valuebias.card(fit, name)
    table = card.table()
    assert table.loc["this model", "mean"] > table.loc["family", "upper"]
    assert table.loc["family", "further"] < 0.05
    words = card.words()
    assert words.loc[0, "word"] == str(ds["response"].values[3])
    planted = 1.5 * np.where(ds["membership"].sel(category="agency"), 0.5, -0.5)
    planted[3] += 1.5
    assert words.loc[0, "mean"] == pytest.approx(planted[3] - planted.mean(), abs=0.4)
    assert "For a model of Alder that is unusual" in str(card)
    # The family is predicted from the others: the outlier does not widen it.
    assert table.loc["family", "upper"] - table.loc["family", "lower"] < 1.0
    page = card.write(tmp_path / "card.html").read_text(encoding="utf-8")
    assert name in page
    assert "A new model of any family" in page or "a new model of any family" in page


def test_a_usual_model_is_beyond_as_often_as_not() -> None:
    """Where all models of a family are alike, the share of new ones beyond it is uniform."""
    beyond = []
    for seed in range(8):
        fit = valuebias.fit(simulate(**SIZES, seed=seed), **SETTINGS)  # type: ignore[call-overload,arg-type]
        card = valuebias.card(fit, str(fit.data["model"].values[seed % 6]))
        beyond.append(card.table().loc["family", "further"])
    # Of eight uniform numbers none below .001 or above .999, a mean within four SEs, and not all
    # in the middle half: that has a probability of 1 in 256.
    assert 0.001 < min(beyond) <= max(beyond) < 0.999
    assert np.mean(beyond) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 8))
    assert max(abs(share - 0.5) for share in beyond) > 0.25


@pytest.mark.slow
def test_shares_beyond_usual_models_are_uniform() -> None:
    """What is not known of words is shared by all models and must not hide what they differ in."""
    beyond = []
    for seed in range(60):
        ds = simulate(n_models={"A": 8, "B": 8}, n_prompts=8, n_words=60, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ValueBiasWarning)
            fit = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
        beyond.append(valuebias.card(fit, str(ds["model"].values[seed % 16])).table())
    for who in ("family", "all"):
        assert stats.kstest([t.loc[who, "further"] for t in beyond], "uniform").pvalue > 0.01


def test_a_card_of_scores_fits_them_first() -> None:
    ds = valuebias.datasets.load("simulated")
    card = valuebias.card(ds, str(ds["model"].values[0]), seed=1, progress=False)
    assert set(card.table().index) == {"this model", "family", "all"}


def test_the_only_model_of_a_family_has_no_family() -> None:
    ds = simulate(**SIZES | {"n_models": {"Alder": 1, "Birch": 5}}, seed=1)  # type: ignore[arg-type]
    with pytest.warns(valuebias.ValueBiasWarning, match="one model only"):
        fit = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
    card = valuebias.card(fit, str(ds["model"].values[0]))
    assert "It is the only model of Alder here" in str(card)
    assert set(card.table().index) == {"this model", "all"}


def test_gaps_are_completed() -> None:
    ds = simulate(**SIZES, missing=0.1, seed=1)  # type: ignore[arg-type]
    fit = valuebias.fit(ds, **SETTINGS)  # type: ignore[call-overload]
    card = valuebias.card(fit, str(ds["model"].values[0]))
    assert np.isfinite(card.words()["mean"]).all()
    assert card.table().loc["family", "lower"] < card.table().loc["family", "upper"]


def test_what_is_not_there_is_an_error(tmp_path) -> None:
    ds = simulate(**SIZES, seed=1)  # type: ignore[arg-type]
    name = str(ds["model"].values[0])
    with pytest.raises(ValueBiasError, match="Did you mean"):
        valuebias.card(ds, name[:-1])
    with pytest.raises(ValueBiasError, match="scores or of a fit"):
        valuebias.card("fit.nc", name)  # type: ignore[arg-type]
    card = valuebias.card(ds, name, seed=1, progress=False)
    with pytest.raises(ValueBiasError, match=r"\.html"):
        card.write(tmp_path / "card.pdf")
