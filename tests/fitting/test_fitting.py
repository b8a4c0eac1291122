"""valuebias.fit: what it refuses, warns of and does not depend on."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning
from valuebias.datasets.simulate import simulate

QUICK: dict[str, Any] = {"draws": 20, "tune": 20, "chains": 2, "seed": 1, "progress": False}
SURE: dict[str, Any] = {**QUICK, "draws": 1000, "tune": 400}


def ask(ds: object, formula: Any = "~ family", **given: Any) -> valuebias.Fit:
    return valuebias.fit(ds, formula, **{**QUICK, **given})  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    return simulate(
        n_models={"A": 3, "B": 3},
        n_prompts=6,
        n_words={"agency": 8, "communion": 10},
        effects={"A": 0.4, "B": -0.4},
        seed=4,
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"formula": "~ famly"}, "names 'famly'.*Did you mean 'family'"),
        ({"formula": "~ family + base"}, "collinear with 'family'"),
        ({"formula": 3}, "formula must be text"),
        ({"sampler": "nutpy"}, "unknown sampler 'nutpy'. Did you mean 'nutpie'"),
        ({"outcome": "ranks"}, "Unknown outcome 'ranks'. Did you mean 'rank'"),
        ({"contrast": ("agency", "comunion")}, "Did you mean 'communion'"),
        ({"contrast": "agency"}, "must be a pair of categories"),
        ({"contrast": 5}, "must be a pair of categories"),
        ({"prior": {"meen": 1.0}}, "unknown prior 'meen'. Did you mean 'mean'"),
        ({"prior": {"mean": 0}}, "mean must be a positive number"),
        ({"prior": {"effect": float("nan")}}, "effect must be a positive number"),
        ({"prior": {"sd": {"wrd": 1.0}}}, "no component 'wrd'.*Did you mean 'word'"),
        ({"prior": {"sd": {"word:famly": 1.0}}}, "Did you mean 'word:family'"),
        ({"prior": {"sd": {"word": "wide"}}}, "must be a positive number"),
        ({"prior": {"sd": 0.5}}, "sd must be a mapping"),
        ({"prior": 0.5}, "must be a Prior or a mapping"),
        ({"draws": 3}, "draws must be a whole number of 4 or more, found 3"),
        ({"draws": 10.5}, "draws must be a whole number"),
        ({"tune": 0}, "tune must be a whole number of 1 or more"),
        ({"chains": 0}, "chains must be a whole number of 1 or more"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": 2**32}, "seed must be a whole number from 0"),
        ({"seed": "1"}, "seed must be a whole number from 0"),
    ],
    ids=str,
)
def test_settings_that_are_none_are_refused(small: xr.Dataset, given: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        ask(small, **given)


def scored(ds: xr.Dataset, change: Callable[[np.ndarray], None]) -> xr.Dataset:
    values = ds["score"].to_numpy().copy()
    change(values)
    return ds.assign(score=(ds["score"].dims, values))


def put(place: Any, value: float) -> Callable[[np.ndarray], None]:
    def change(values: np.ndarray) -> None:
        values[place] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ds: ds["score"], "Expected an xarray.Dataset, found DataArray"),
        (lambda ds: None, "Expected an xarray.Dataset, found NoneType"),
        (lambda ds: "big2", "found the text 'big2'.*datasets.load\\(name\\)"),
        (lambda ds: ds.isel(category=[]), "None of the .* words is in a category"),
        (lambda ds: ds.drop_vars("membership"), "'membership' is missing"),
        (lambda ds: ds.drop_vars("framing"), "'framing' is missing"),
        (lambda ds: ds.isel(model=slice(0, 3)), "have family = 'A', so nothing can be compared"),
        (lambda ds: ds.isel(category=[0]), "1 categor"),
        (lambda ds: ds.isel(response=[0, 10]), "2 scored words for 2 categories are too few"),
        (lambda ds: ds.isel(model=[0, 1, 2, 3, 4, 5, 0]), "occurs 2 times"),
        (lambda ds: scored(ds, put(0, np.nan)), "'simulated/a-1' has no score at all"),
        (lambda ds: scored(ds, put(0, 1.0)), "the same score, 1.0"),
        (lambda ds: scored(ds, put((0, 1, 2), np.inf)), "is inf"),
        (lambda ds: ds.assign_attrs(units="bit"), "have the units 'bit'"),
        (lambda ds: ds.assign_attrs(kind="logprob", units="nat"), "at most 0"),
        (lambda ds: ds.assign_attrs(kind="logprob"), "expected 'nat'"),
    ],
)
def test_data_that_break_the_contract_are_refused(
    small: xr.Dataset, change: Callable[[xr.Dataset], object], said: str
) -> None:
    with pytest.raises(ValueBiasError, match=said):
        ask(change(small))


# One of the cases warns of two things.
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"model": [0, 3, 4, 5]}, "family A has one model only"),
        ({"model": [0, 3]}, "families A, B have one model only"),
        ({"prompt": [0, 1, 2, 3]}, "one prompt only under negative framing"),
        ({"prompt": [0, 1, 2]}, "all prompts have positive framing"),
    ],
    ids=str,
)
def test_what_the_data_cannot_say_is_a_warning_and_a_note(
    small: xr.Dataset, keep: dict[str, list[int]], said: str
) -> None:
    with pytest.warns(ValueBiasWarning, match=said) as caught:
        fit = ask(small.isel(keep))
    # The warning points at the caller, not into the package.
    assert caught[0].filename == __file__
    assert any(said in note.text for note in fit.notes)
    assert np.isfinite(fit.contrasts()[["mean", "lower", "upper"]]).all(axis=None)


def test_words_outside_the_lexicon_are_dropped(small: xr.Dataset) -> None:
    member = small["membership"].to_numpy().copy()
    member[2] = False
    fit = ask(small.assign(membership=(("response", "category"), member)))
    assert fit.settings["dropped_words"] == 1
    assert fit.data.sizes["response"] == 17


def head(fit: valuebias.Fit) -> dict[str, float]:
    return fit.contrasts().iloc[0][["mean", "sd", "lower", "upper"]].astype(float).to_dict()


def assert_same(a: dict[str, float], b: dict[str, float], tolerance: float) -> None:
    """Compare within Monte-Carlo error, in SDs of the posterior."""
    for name in a:
        assert abs(a[name] - b[name]) < tolerance * a["sd"], name


@pytest.fixture(scope="module")
def raw(small: xr.Dataset) -> valuebias.Fit:
    return ask(small, outcome="raw", **{k: SURE[k] for k in ("draws", "tune")})


@pytest.mark.parametrize("dim", ["model", "prompt", "response", "category"])
def test_the_order_of_things_does_not_matter(
    small: xr.Dataset, raw: valuebias.Fit, dim: str
) -> None:
    order = np.random.default_rng(1).permutation(small.sizes[dim])
    if dim == "category":
        order = np.array([1, 0])
    other = ask(small.isel({dim: order}), outcome="raw", draws=1000, tune=400)
    assert_same(head(raw), head(other), 0.2)


def test_names_do_not_matter(small: xr.Dataset, raw: valuebias.Fit) -> None:
    renamed = small.assign_coords(
        {d: [f"{d} {i}" for i in range(small.sizes[d])] for d in ("model", "prompt", "response")}
    )
    other = ask(renamed, outcome="raw", draws=1000, tune=400)
    assert head(other) == pytest.approx(head(raw))


@pytest.mark.parametrize("factor", [1e-6, 250.0])
def test_contrasts_have_the_units_of_the_scores(
    small: xr.Dataset, raw: valuebias.Fit, factor: float
) -> None:
    scaled = small.assign(score=small["score"] * np.float32(factor))
    other = ask(scaled, outcome="raw", draws=1000, tune=400)
    # Sampling starts at the same place relative to the scale, so the draws are the same but for
    # rounding, which chaos makes into another draw of the same posterior.
    assert_same(head(raw), {k: v / factor for k, v in head(other).items()}, 0.2)


def test_a_level_of_each_model_and_prompt_does_not_matter(
    small: xr.Dataset, raw: valuebias.Fit
) -> None:
    level = np.random.default_rng(2).normal(size=(6, 6, 1)).astype("float32")
    other = ask(small.assign(score=small["score"] + level), outcome="raw", draws=1000, tune=400)
    assert_same(head(raw), head(other), 0.2)


def test_swapping_the_framings_turns_the_sign(small: xr.Dataset, raw: valuebias.Fit) -> None:
    swapped = {"positive": "negative", "negative": "positive"}
    framing = [swapped[f] for f in small["framing"].values.tolist()]
    other = head(
        ask(small.assign_coords(framing=("prompt", framing)), outcome="raw", draws=1000, tune=400)
    )
    turned = {"mean": -other["mean"], "sd": other["sd"], "lower": -other["upper"]}
    assert_same({k: head(raw)[k] for k in turned}, turned, 0.2)


def test_ranks_are_turned_so_that_more_is_a_higher_reward(small: xr.Dataset) -> None:
    means = {kind: head(ask(small, outcome=kind))["mean"] for kind in ("rank", "normal", "z")}
    assert min(means.values()) > 0


def test_the_same_seed_gives_the_same_draws(small: xr.Dataset) -> None:
    for ds in (small, scored(small, put((0, 0, 0), np.nan))):
        one, same, other = (ask(ds, seed=seed) for seed in (7, 7, 8))
        xr.testing.assert_identical(one.tree["posterior"].ds, same.tree["posterior"].ds)
        xr.testing.assert_identical(one.contrast_draws, same.contrast_draws)
        assert not one.tree["posterior"].ds.equals(other.tree["posterior"].ds)


def test_a_seed_that_was_not_given_is_drawn_and_kept(small: xr.Dataset) -> None:
    fit = ask(small, seed=None)
    again = ask(small, seed=fit.settings["seed"])
    xr.testing.assert_identical(fit.contrast_draws, again.contrast_draws)


def test_missing_cells_take_the_other_path_to_the_same_answer(
    small: xr.Dataset, raw: valuebias.Fit
) -> None:
    assert raw.settings["path"] == "complete"
    lacking = scored(small, put((2, 3, 4), np.nan))
    fit = ask(lacking, outcome="raw", draws=1000, tune=300)
    assert (fit.settings["path"], fit.settings["n_missing"]) == ("incomplete", 1)
    assert_same(head(raw), head(fit), 0.25)


def test_a_tenth_missing_widens_the_intervals_a_little_at_most() -> None:
    given: dict[str, Any] = {
        "n_models": {"A": 4, "B": 4},
        "n_prompts": 8,
        "n_words": 40,
        "effects": {"A": 0.3, "B": -0.3},
        "seed": 6,
    }
    whole, lacking = (
        head(ask(simulate(**given, missing=share), outcome="raw", draws=600, tune=300))
        for share in (0.0, 0.1)
    )
    assert abs(whole["mean"] - lacking["mean"]) < 0.7 * whole["sd"]
    assert 0.75 < lacking["sd"] / whole["sd"] < 1.5


def test_what_is_planted_is_what_the_headline_estimates() -> None:
    # Nothing but the effects and a trace of noise: the contrast is the planted difference itself.
    quiet = dict.fromkeys(
        ("model_category", "word", "word_family", "model_word", "prompt_category", "model_prompt",
         "prompt_word", "residual"), 0.01,
    )  # fmt: skip
    ds = simulate(
        n_models={"A": 4, "B": 4},
        n_prompts=8,
        n_words=40,
        effects={"A": 0.7, "B": -0.2},
        sd=quiet,
        seed=9,
    )
    table = ask(ds, outcome="raw", draws=300, tune=300).contrasts()
    found = table.set_index(["estimand", "name", "framing"])["mean"]
    planted = {
        ("family difference", "A − B", "signed"): 0.9,
        ("family difference", "A − B", "positive"): 0.9,
        ("family difference", "A − B", "negative"): -0.9,
        ("family lean", "A", "signed"): 0.7,
        ("family lean", "B", "negative"): 0.2,
        ("predicted lean", "B", "signed"): -0.2,
        ("overall lean", "all models", "signed"): 0.25,
    }
    for key, value in planted.items():
        assert found[key] == pytest.approx(value, abs=0.02), key


@pytest.mark.parametrize("share", [0.0, 0.05], ids=["complete", "incomplete"])
def test_an_interrupted_fit_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    monkeypatch.chdir(tmp_path)
    ds = simulate(n_prompts=6, n_words=30, missing=share, seed=1)
    ask(ds)  # compile first, so that the interrupt falls into the sampling
    timer = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        ask(ds, draws=300_000).save(tmp_path / "fit.nc")
    timer.join()
    assert list(tmp_path.iterdir()) == []


def test_words_without_categories_are_given_a_lexicon_as_advised() -> None:
    ds = simulate(n_prompts=4, n_words=20, seed=1)
    member = ds["membership"].to_pandas()
    with pytest.raises(
        ValueBiasError, match=r"None of the 20 words .* lexicon= of .*schema\.build"
    ):
        valuebias.fit(ds.isel(category=[]), draws=50, progress=False)
    built = valuebias.schema.build(
        ds["score"],
        models=valuebias.schema.model_table(ds),
        prompts=valuebias.schema.prompt_table(ds),
        lexicon=member,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert valuebias.fit(built, draws=50, tune=50, seed=1, progress=False).settings["seed"] == 1


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize(
    "prompts", [{"positive": 1}, {"positive": 2}, {"positive": 1, "negative": 1}]
)
def test_fits_of_few_prompts_converge(prompts: dict[str, int]) -> None:
    """Of one prompt, what is a model's and what a single score's own cannot be told apart."""
    data = valuebias.datasets.load("simulated")
    framing = data["framing"].to_numpy()
    chosen = [i for name, n in prompts.items() for i in np.flatnonzero(framing == name)[:n]]
    for seed in (0, 1, 4):
        made = valuebias.fit(data.isel(prompt=chosen), seed=seed, progress=False)
        assert made.diagnostics().converged
        assert made.diagnostics().table["ess_bulk"].min() > 150
