"""Fits of words that belong to their categories more or less."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias.analysis.design.crossing import as_design
from valuebias.analysis.outcome import outcome
from valuebias.errors import ValueBiasError
from valuebias.schema import concat

PAIR = ("agency", "caring")  # as long as one another, or their lengths would be confounded


def simulated(seed: int, *, missing: float = 0.0, effect: float = 0.0) -> xr.Dataset:
    return valuebias.simulate(
        n_models={"A": 5, "B": 5}, n_prompts=4, n_words=dict.fromkeys(PAIR, 30), missing=missing,
        effects={"A": effect}, seed=seed,
    )  # fmt: skip


def weighed(ds: xr.Dataset, weights: np.ndarray) -> xr.Dataset:
    return ds.assign(membership=(("response", "category"), weights))


def random_weights(ds: xr.Dataset, how: str, rng: np.random.Generator) -> np.ndarray:
    member = ds["membership"].to_numpy()
    if how == "apart":
        return np.where(member, rng.uniform(0.05, 1, member.shape), 0.0)
    if how == "shared":
        return np.where(
            member, rng.uniform(0.3, 1, member.shape), rng.uniform(0, 0.4, member.shape)
        )
    return rng.uniform(-1, 1, member.shape)


def plain_contrasts(ds: xr.Dataset, weights: np.ndarray) -> np.ndarray:
    """Difference of weighted means, signed by framing, of each model."""
    y = outcome(ds).transpose("model", "prompt", "response").to_numpy()
    means = (y - y.mean(axis=2, keepdims=True)) @ (weights / np.abs(weights).sum(axis=0))
    leans = means[..., 0] - means[..., 1]
    positive = ds["framing"].to_numpy() == "positive"
    return (leans[:, positive].mean(axis=1) - leans[:, ~positive].mean(axis=1)) / 2


def fitted(ds: xr.Dataset, **given) -> valuebias.Fit:
    return valuebias.fit(ds, **{"draws": 200, "chains": 2, "seed": 1, "progress": False} | given)


@pytest.mark.parametrize("missing", [0.0, 0.05])
def test_weights_of_0_and_1_give_the_same_fit_to_the_bit(missing: float) -> None:
    ds = valuebias.simulate(
        n_models={"A": 3, "B": 3}, n_prompts=4, n_words=dict.fromkeys(PAIR, 12), overlap=0.2,
        missing=missing, seed=2,
    )  # fmt: skip
    marks = fitted(ds, draws=50)
    weights = fitted(weighed(ds, ds["membership"].to_numpy().astype(float)), draws=50)
    for name, node in marks.tree.items():
        for variable in node.data_vars:
            np.testing.assert_array_equal(
                node[variable].to_numpy(), weights.tree[name][variable].to_numpy()
            )


@pytest.mark.parametrize("how", ["apart", "shared", "signed"])
def test_the_design_is_about_the_contrast_of_weighted_means(how: str) -> None:
    ds = simulated(3)
    rng = np.random.default_rng(4)
    weights = random_weights(ds, how, rng)
    crossing = fitted(weighed(ds, weights), draws=20).problem.crossing
    assert crossing.weighted
    y = rng.normal(size=len(weights))
    y -= y.mean()
    wanted = y @ (weights / np.abs(weights).sum(axis=0)) @ [1.0, -1.0]
    on_axes = crossing.contrast_weights(np.array([1.0, -1.0]))
    assert on_axes @ (crossing.word_basis.T @ y) == pytest.approx(wanted, abs=1e-12)


def test_of_three_categories_every_pair_is_the_contrast_of_weighted_means() -> None:
    three = dict.fromkeys((*PAIR, "others"), 12)
    ds = valuebias.simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=three, seed=3)
    weights = random_weights(ds, "shared", np.random.default_rng(1))
    fit = fitted(weighed(ds, weights))
    names = ds["category"].to_numpy().tolist()
    of_a = ds["family"].to_numpy() == "A"
    for first, second in ((0, 1), (0, 2), (1, 2)):
        plain = plain_contrasts(ds, weights[:, [first, second]])
        row = fit.focused(contrast=(names[first], names[second])).contrasts().iloc[0]
        assert row["mean"] == pytest.approx(plain[of_a].mean() - plain[~of_a].mean(), abs=0.02)


def test_of_words_in_one_category_each_weights_of_one_are_marks() -> None:
    marks = np.repeat(np.eye(3), [4, 5, 7], axis=0)
    nearly = np.where(marks > 0, 1 - 1e-13 * np.arange(16)[:, None], 0)
    np.testing.assert_allclose(
        as_design(nearly), as_design(marks) - as_design(marks).mean(axis=0), atol=1e-9
    )


@pytest.mark.parametrize("how", ["apart", "shared", "signed"])
def test_the_estimate_is_the_plain_contrast_of_weighted_means(how: str) -> None:
    """Over simulated data sets the posterior's mean follows the plain contrast, and covers it."""
    pairs = []
    inside = 0
    for seed in range(6):
        ds = simulated(seed, effect=0.3 * (-1) ** seed)
        weights = random_weights(ds, how, np.random.default_rng(seed))
        plain = plain_contrasts(ds, weights)
        row = fitted(weighed(ds, weights)).contrasts().iloc[0]
        of_a = ds["family"].to_numpy() == "A"
        pairs.append((plain[of_a].mean() - plain[~of_a].mean(), row["mean"]))
        inside += row["lower"] < pairs[-1][0] < row["upper"]
    wanted, found = np.array(pairs).T
    assert np.corrcoef(wanted, found)[0, 1] > 0.99
    assert np.polyfit(wanted, found, 1)[0] == pytest.approx(1, abs=0.15)
    assert inside == 6


def test_leans_of_models_follow_the_plain_contrast_too() -> None:
    ds = simulated(5)
    weights = random_weights(ds, "shared", np.random.default_rng(5))
    leans = fitted(weighed(ds, weights)).models().query("framing == 'signed'")
    plain = plain_contrasts(ds, weights)
    found = leans.set_index("name")["mean"][ds["model"].to_numpy().tolist()]
    assert np.corrcoef(plain, found)[0, 1] > 0.85  # partly pooled


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".parquet", ".csv"])
def test_weights_are_kept_in_files(tmp_path: Path, suffix: str) -> None:
    ds = simulated(6)
    weights = random_weights(ds, "signed", np.random.default_rng(6))
    valuebias.write(weighed(ds, weights), tmp_path / f"w{suffix}")
    again = valuebias.read(tmp_path / f"w{suffix}")
    assert again["membership"].dtype == np.float64
    np.testing.assert_array_equal(again["membership"].to_numpy(), weights)


@pytest.mark.once
def test_a_fit_with_weights_is_saved_audited_and_reported(tmp_path: Path) -> None:
    ds = simulated(7, missing=0.02)
    made = weighed(ds, random_weights(ds, "shared", np.random.default_rng(7)))
    assert "by their weights" in " ".join(valuebias.audit(made).findings["detail"])
    fit = fitted(made, draws=60)
    fit.save(tmp_path / "fit.nc")
    again = valuebias.load(tmp_path / "fit.nc")
    assert again.contrasts().equals(fit.contrasts())
    text = fit.report(tmp_path / "r.md").read_text()
    assert "a lean is the difference of weighted means" in text
    assert "takes medians over words that are in a category or are not" in text
    assert fit.placebo(n=19, seed=1).n_splits > 1
    with pytest.raises(ValueBiasError, match=r"dataset\['membership'\] >= 0.5"):
        valuebias.classical(made)
    # What the error advises.
    thresholded = made.assign(membership=made["membership"] >= 0.5)
    assert len(valuebias.classical(thresholded, n_permutations=19, progress=False).medians)


def test_parts_with_weights_are_joined() -> None:
    ds = weighed(simulated(8), random_weights(simulated(8), "apart", np.random.default_rng(8)))
    joined = concat([ds.isel(model=slice(4)), ds.isel(model=slice(4, None))])
    np.testing.assert_array_equal(joined["membership"], ds["membership"])
    other = ds.isel(model=slice(4, None)).assign(membership=ds["membership"] / 2)
    with pytest.raises(ValueBiasError, match="in other categories"):
        concat([ds.isel(model=slice(4)), other])


def test_a_lexicon_with_weights_goes_from_scores_to_the_record(tmp_path: Path) -> None:
    folder = tmp_path / "scores"
    folder.mkdir()
    models = tmp_path / "models.csv"
    models.write_text("model,family,base,stage\na,A,a0,reward\nb,B,b0,reward\n")
    for name in "ab":
        (folder / f"{name}.csv").write_text("word,best_ever_one\nwin,1\nlove,2\nrise,4\nkind,3\n")
    lexicon = {"up": {"win": 0.5, "rise": 0.25}, "down": {"love": 0.75, "win": 0.125}}
    ds = valuebias.read_scores(folder, models=models, lexicon=valuebias.lexicon(lexicon))
    assert ds["membership"].sel(response="win").to_numpy().tolist() == [0.5, 0.125]
    assert json.loads(ds.attrs["provenance"])["lexicon"]["weighted"] is True


def test_other_lexicons_of_a_multiverse_may_have_weights() -> None:
    ds = simulated(9)
    words = ds["response"].to_numpy().astype(str)
    weights = random_weights(ds, "apart", np.random.default_rng(9))
    other = valuebias.lexicon(
        {c: dict(zip(words, w, strict=True)) for c, w in zip(PAIR, weights.T, strict=True)}
    )
    found = valuebias.multiverse(
        ds, lexicons={"weighted": other}, outcomes=["normal"], bases=["base"], prompts=None,
        priors={"default": None}, seed=1, progress=False,
    ).table.set_index("lexicon")  # fmt: skip
    alone = fitted(weighed(ds, weights), draws=1000, chains=4).contrasts().iloc[0]["mean"]
    assert found["mean"]["weighted"] == pytest.approx(alone, abs=0.02)
    assert abs(found["mean"]["weighted"] - found["mean"]["all words"]) > 0.001


def test_a_placebo_is_of_the_difference_that_is_fitted() -> None:
    """Also where words are in two categories, of which plain means tell less."""
    ds = valuebias.simulate(
        n_models={"A": 4, "B": 4}, n_prompts=20, n_words={"x": 40, "y": 40}, effects={"A": 0.8},
        overlap=0.4, seed=2,
    )  # fmt: skip
    both = int((ds["membership"].sum("category") == 2).sum())
    assert both > 10
    fit = valuebias.fit(ds, outcome="z", seed=1, progress=False)
    these = fit.contrasts().query("variant == 'these words' and framing == 'signed'").iloc[0]
    assert fit.placebo(n=19).difference == pytest.approx(these["mean"], rel=0.05)
    assert fit.placebo(n=19).difference > 1.1 * _plain(ds, ds["membership"])


def _plain(ds: xr.Dataset, membership: xr.DataArray) -> float:
    """Give the difference of the families in the categories' plain means."""
    z = (ds["score"] - ds["score"].mean("response")) / ds["score"].std("response")
    signs = xr.where(ds["framing"] == "positive", 1.0, -1.0)
    share = membership / membership.sum("response")
    by_category = (z * share).sum("response")
    lean = by_category.sel(category="x") - by_category.sel(category="y")
    by_model = (lean * signs).mean("prompt")
    of = ds["family"].to_numpy()
    return float(by_model[of == "A"].mean() - by_model[of == "B"].mean())
