"""The headline under many choices, and under other splits of the words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning, simulate
from valuebias._core.sums import SUM, sealed

pytestmark = pytest.mark.once
SIZES = {"n_models": {"Alder": 4, "Birch": 4}, "n_prompts": 6, "n_words": 24}
SETTINGS = {"draws": 200, "tune": 200, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    effects = {"Alder": 0.5, "Birch": -0.5}
    return simulate(**SIZES, effects=effects, sd={"word_family": 0.1}, seed=1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(scores: xr.Dataset) -> valuebias.Multiverse:
    return valuebias.multiverse(
        scores, outcomes=["normal", "rank"], bases=["base"], priors={"default": None}, seed=1,
        prompts={"few": [str(name) for name in scores["prompt"].values[[0, 1, -1]]]},
        progress=False,
    )  # fmt: skip


def test_every_combination_is_a_row(made: valuebias.Multiverse) -> None:
    table = made.table
    assert len(table) == 2 * 1 * 3 * 2 * 1
    assert not table.duplicated(["outcome", "base", "lexicon", "prompts", "prior"]).any()
    assert table["first"].sum() == 1
    first = table[table["first"]].iloc[0]
    chosen = ["normal", "all words", "all prompts", "default"]
    assert first[["outcome", "lexicon", "prompts", "prior"]].tolist() == chosen
    assert (table["error"] == "").all()
    assert table["mean"].is_monotonic_increasing
    assert (table["name"] == "Alder − Birch").all()
    share, sure = made.agreement()
    assert share == 1.0
    assert sure > 0.9
    assert "100% agree that it is positive" in str(made)


def test_the_first_is_the_fit_itself(scores: xr.Dataset, made: valuebias.Multiverse) -> None:
    fit = valuebias.fit(scores, draws=500, chains=2, seed=1, progress=False)
    row = fit.contrasts().iloc[0]
    first = made.table[made.table["first"]].iloc[0]
    scale = fit.problem.crossing.scale
    np.testing.assert_allclose(first["mean"], row["mean"] / scale)
    np.testing.assert_allclose(first["p_direction"], row["p_direction"])


def test_it_goes_on_where_it_stopped(scores: xr.Dataset, tmp_path) -> None:
    choices = {"outcomes": ["normal"], "bases": ["base"], "prompts": None, "progress": False}
    whole = valuebias.multiverse(scores, **choices, seed=3)  # type: ignore[arg-type]
    for k in (1, 2):
        valuebias.multiverse(scores, **choices, seed=3, out=tmp_path / "m", part=(k, 3))  # type: ignore[arg-type]
    results = sorted((tmp_path / "m").glob("*.json"))
    results.remove(tmp_path / "m" / "multiverse.json")
    assert 1 < len(results) < len(whole.table)
    times = {path: path.stat().st_mtime_ns for path in results}
    results[0].write_text("{", encoding="utf-8")
    # Another number in it, which is one all the same.
    other = json.loads(results[1].read_text(encoding="utf-8"))
    results[1].write_text(json.dumps(other | {"mean": other["mean"] + 0.1}), encoding="utf-8")
    again = valuebias.multiverse(scores, **choices, out=tmp_path / "m")  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(again.table, whole.table)
    assert all(path.stat().st_mtime_ns == times[path] for path in results[2:])
    assert json.loads(results[0].read_text(encoding="utf-8"))["outcome"] == "normal"
    with pytest.raises(ValueBiasError, match="other scores"):
        valuebias.multiverse(simulate(**SIZES, seed=9), **choices, out=tmp_path / "m")  # type: ignore[arg-type]
    with pytest.raises(ValueBiasError, match="other seed"):
        valuebias.multiverse(scores, **choices, seed=4, out=tmp_path / "m")  # type: ignore[arg-type]
    record = tmp_path / "m" / "multiverse.json"
    for text in ("[" * 100_000, record.read_text(encoding="utf-8").replace("scores", "cores")):
        record.write_text(text, encoding="utf-8")
        with pytest.raises(ValueBiasError, match=r"is damaged\. Delete the folder"):
            valuebias.multiverse(scores, **choices, out=tmp_path / "m")  # type: ignore[arg-type]


ONE = {
    "outcomes": ["normal"], "bases": ["base"], "lexicons": None, "prompts": None,
    "priors": {"default": None}, "progress": False,
}  # fmt: skip


def times(folder: Path) -> dict[str, int]:
    """When each result was written."""
    return {
        path.name: path.stat().st_mtime_ns
        for path in folder.glob("*.json")
        if path.name != "multiverse.json"
    }


def other_family(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(family=("model", ds["family"].values[::-1]))


def other_framing(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(framing=("prompt", ds["framing"].values[::-1]))


def other_membership(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(membership=(ds["membership"].dims, ds["membership"].values[:, ::-1]))


def other_coordinate(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(extra=("model", np.r_[np.nan, np.arange(7.0)]))


CHANGES = (other_family, other_framing, other_membership, other_coordinate)


def test_a_folder_is_of_one_dataset(scores: xr.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    made = valuebias.multiverse(scores, **ONE, seed=3, out=folder)  # type: ignore[arg-type]
    before = times(folder)
    for change in CHANGES:
        with pytest.raises(
            ValueBiasError, match="holds a multiverse with other data; name"
        ) as told:
            valuebias.multiverse(change(scores), **ONE, out=folder)  # type: ignore[arg-type]
        assert "seed=" not in str(told.value), "which would not help"
    told_otherwise = scores.assign_attrs(provenance='{"made": "2001-01-01"}')
    again = valuebias.multiverse(told_otherwise, **ONE, out=folder)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(again.table, made.table)
    assert times(folder) == before


def test_a_lost_record_does_not_give_results_to_other_data(
    scores: xr.Dataset, tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    choices = ONE | {"lexicons": "halves", "seed": 3}
    valuebias.multiverse(scores, **choices, out=folder)  # type: ignore[arg-type]
    (folder / "multiverse.json").unlink()
    other = other_family(scores)
    made = valuebias.multiverse(other, **choices, out=folder)  # type: ignore[arg-type]
    alone = valuebias.multiverse(other, **choices)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(made.table, alone.table)


def test_a_name_that_stands_for_something_else_is_estimated_again(
    scores: xr.Dataset, tmp_path: Path
) -> None:
    words = [str(word) for word in scores["response"].values]
    prompts = [str(prompt) for prompt in scores["prompt"].values]
    table = pd.DataFrame({"agency": [True, False] * 12, "communion": [False, True] * 12}, words)
    for argument, column, choices in (
        (
            "lexicons",
            "lexicon",
            [words[::2], words[1::2], *(valuebias.Lexicon("own", t) for t in (table, ~table))],
        ),
        ("prompts", "prompts", [prompts[::2], prompts[1::2]]),
        ("priors", "prior", [{"mean": 2.0}, {"mean": 3.0}, {"sd": {"word": 2.0}}]),
    ):
        folder, others = tmp_path / column, {"default": None} if argument == "priors" else {}
        for choice in choices:
            before = times(folder)
            asked = {**ONE, "seed": 3, argument: {**others, "own": choice}}
            made = valuebias.multiverse(scores, **asked, out=folder).table  # type: ignore[arg-type]
            after = times(folder)
            assert len(after) == 2
            changed = [name for name in before if before[name] != after[name]]
            rows = [json.loads((folder / name).read_text(encoding="utf-8")) for name in changed]
            assert [row[column] for row in rows] == ["own"] * bool(before)
        alone = valuebias.multiverse(scores, **asked).table  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(made, alone)
        valuebias.multiverse(scores, **asked, out=folder)  # type: ignore[arg-type]
        assert times(folder) == after


JOB = """
import sys, time, pathlib, warnings
import valuebias
warnings.simplefilter("ignore")
folder, k = pathlib.Path(sys.argv[1]), int(sys.argv[2])
scores = valuebias.read(folder / "scores.nc")
(folder / f"ready{k}").touch()
while not (folder / "go").exists():
    time.sleep(0.001)
valuebias.multiverse(
    scores, outcomes=["normal"], bases=["base"], prompts=None, priors={"default": None},
    out=folder / "m", part=(k, 2), workers=1, progress=False,
)
"""


def test_jobs_that_start_at_once_share_a_seed(scores: xr.Dataset, tmp_path: Path) -> None:
    valuebias.write(scores, tmp_path / "scores.nc")
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", JOB, str(tmp_path), str(k)], stderr=subprocess.PIPE, text=True
        )
        for k in (1, 2)
    ]
    until = time.monotonic() + 120
    while not all((tmp_path / f"ready{k}").exists() for k in (1, 2)):
        assert time.monotonic() < until
        assert all(job.poll() is None for job in jobs)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    errors = [job.communicate(timeout=120)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], errors
    folder = tmp_path / "m"
    seed = json.loads((folder / "multiverse.json").read_text(encoding="utf-8"))["seed"]
    before = times(folder)
    assert len(before) == 3
    assert {json.loads((folder / name).read_text(encoding="utf-8"))["seed"] for name in before} == {
        seed
    }
    choices = ONE | {"lexicons": "halves"}
    made = valuebias.multiverse(scores, **choices, out=folder)  # type: ignore[arg-type]
    alone = valuebias.multiverse(scores, **choices, seed=seed)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(made.table, alone.table)
    assert times(folder) == before


def test_folders_that_cannot_be_are_errors(
    scores: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "link").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    for out, message in (
        ("file", "is not a folder"),
        ("file/below/it", "is not a folder"),
        ("link", "is not a folder"),
        ("n" * 300, "the name is too long"),
        ("new/" + "n" * 300, "the name is too long"),
        ("a\0b", "must be the path of a folder"),
        ("\ud800", "must be the path of a folder"),
        ("", "must be the path of a folder"),
        (3, "must be the path of a folder"),
        (b"bytes", "must be the path of a folder"),
        (["m"], "must be the path of a folder"),
        ("/proc/nope", "not possible to write '/proc/nope'"),
    ):
        if out == "/proc/nope" and not os.path.isdir("/proc"):
            continue
        with pytest.raises(ValueBiasError, match=message):
            valuebias.multiverse(scores, **ONE, seed=1, out=out)  # type: ignore[arg-type]
        assert sorted(tmp_path.iterdir()) == before


def without(name: str) -> Callable[[dict[str, object]], dict[str, object]]:
    return lambda said: {key: value for key, value in said.items() if key != name}


def test_what_is_not_what_was_written_is_not_taken(scores: xr.Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    made = valuebias.multiverse(scores, **ONE, seed=3, out=folder).table  # type: ignore[arg-type]
    path = folder / next(iter(times(folder)))
    written = json.loads(path.read_text(encoding="utf-8"))
    plain = without(SUM)(written)
    for other in (
        plain | {"mean": 9.0},
        *(sealed(plain | {"mean": mean}) for mean in ("x", None, True, [1.0], float("nan"))),
        *(sealed(plain | {"converged": value}) for value in ("yes", None)),
        sealed({"a": 1}),
        *(sealed(without(name)(plain | {"mean": 9.0})) for name in ("p_rope", "error", "name")),
        sealed(plain | {"seed": 4, "mean": 9.0}),
        sealed(plain | {"of": "x", "mean": 9.0}),
    ):
        path.write_text(json.dumps(other), encoding="utf-8")
        again = valuebias.multiverse(scores, **ONE, out=folder).table  # type: ignore[arg-type]
        pd.testing.assert_frame_equal(again, made)
        assert json.loads(path.read_text(encoding="utf-8")) == written
    record = folder / "multiverse.json"
    known = without(SUM)(json.loads(record.read_text(encoding="utf-8")))
    estimand = dict(known["estimand"])  # type: ignore[call-overload]
    for other in (
        known,
        sealed(known | {"estimand": "x"}),
        sealed(known | {"estimand": None}),
        sealed(known | {"estimand": estimand | {"weights": {"agency": "x"}}}),
        sealed(known | {"estimand": without("form")(estimand)}),
        *(sealed(known | {"seed": seed}) for seed in (-5, True, 1.0, "x", 2**32)),
        sealed(known | {"scores": 3}),
        sealed(without("data")(known)),
        sealed({"a": 1}),
    ):
        record.write_text(json.dumps(other), encoding="utf-8")
        with pytest.raises(ValueBiasError, match=r"is damaged\. Delete the folder"):
            valuebias.multiverse(scores, **ONE, out=folder)  # type: ignore[arg-type]


def test_what_cannot_be_estimated_is_said(scores: xr.Dataset) -> None:
    made = valuebias.multiverse(
        scores, outcomes=["normal"], bases=["base"], prompts=None, priors={"default": None},
        formulas=["~ family", "~ nothing"], lexicons={"one": ["agency_0001"]}, seed=1,
        progress=False,
    )  # fmt: skip
    errors = made.table.set_index(["formula", "lexicon"])["error"]
    assert errors["~ family", "all words"] == ""
    assert "nothing" in errors["~ nothing", "all words"]
    assert errors["~ family", "one"] != ""
    assert "3 could not be estimated" in str(made)
    assert len(valuebias.plots.plot_multiverse(made).axes) == 2


def test_every_specification_estimates_the_same() -> None:
    """Of three families, the pair of the first; what does not have it is not counted."""
    ds = simulate(
        n_models={"A": 3, "B": 3, "C": 3}, n_prompts=4, n_words=16, seed=12,
        effects={"A": 0.05, "B": 0.0, "C": -0.05}, sd={"model_category": 0.3},
    )  # fmt: skip
    ds = ds.assign_coords(stage=("model", ["instruct", "reward", "reward"] * 3))
    words = [str(word) for word in ds["response"].to_numpy()]
    halves = {"even": words[::2], "odd": words[1::2]}
    choices = {
        "outcomes": ["normal"], "bases": ["base"], "priors": {"default": None}, "seed": 1,
        "progress": False,
    }  # fmt: skip
    made = valuebias.multiverse(
        ds, lexicons=halves, prompts=None,
        formulas=["~ family", "~ stage", "~ log10(n_params)", "~  family"], **choices,  # type: ignore[arg-type]
    )  # fmt: skip
    table = made.table
    counted = table[table["error"] == ""]
    assert len(set(counted["name"])) == 1
    assert set(counted["formula"]) == {"~ family", "~  family"}
    largest = {
        str(valuebias.fit(
            ds.sel(response=half), draws=50, tune=50, chains=1, seed=1, progress=False
        ).contrasts().loc[0, "name"])
        for half in (*halves.values(), words)
    }  # fmt: skip
    assert len(largest) > 1, "each would have picked a pair of its own"
    assert (counted["mean"] < 0).any(), "nor is it turned positive"
    why = table[table["error"] != ""]["error"]
    assert why.str.startswith("does not compare these: ").all()
    assert why.str.contains("has no levels of 'family'").all()
    assert table.loc[table["duplicate"], "formula"].tolist() == ["~  family"] * 3
    assert "Of 3 specifications" in str(made)
    assert "3 more are the same fit as another and counted once." in str(made)
    assert "6 more are not counted, as they do not compare these. See the column" in str(made)
    one_sided = [str(n) for n in ds["prompt"].values[ds["framing"].values == "positive"]]
    asked = valuebias.multiverse(
        ds, lexicons=None, pair=("C", "A"), prompts={"positive": one_sided}, **choices  # type: ignore[arg-type]
    )  # fmt: skip
    assert asked.table["name"].tolist() == ["C − A", ""]
    assert "they are of one framing" in asked.table["error"].iloc[1]


def test_a_choice_without_a_difference_counts_once(scores: xr.Dataset) -> None:
    """No base is shared, so that bases have no effects either way."""
    with pytest.warns(ValueBiasWarning, match="outcomes lists 'normal' more than once"):
        made = valuebias.multiverse(
            scores, outcomes=["normal", "normal"], lexicons=None, prompts=None,
            priors={"default": None}, seed=1, progress=False,
        )  # fmt: skip
    assert made.table["duplicate"].tolist() == [False, True]
    assert "Of 1 specifications" in str(made)
    assert "1 more is the same fit as another and counted once." in str(made)


def test_a_first_that_cannot_be_estimated_says_why(scores: xr.Dataset) -> None:
    with pytest.raises(ValueBiasError, match=r"the first specification.*nothing"):
        valuebias.multiverse(scores, formulas=["~ nothing", "~ family"], seed=1, progress=False)


def test_lexicons_and_prompts_of_ones_own(scores: xr.Dataset) -> None:
    table = pd.DataFrame(
        {"agency": [True] * 5 + [False] * 5, "communion": [False] * 5 + [True] * 5},
        index=[f"agency_{i:04d}" for i in range(1, 6)]
        + [f"communion_{i:04d}" for i in range(1, 6)],
    )
    own = valuebias.Lexicon("own", table)
    halves = {"agency": [True, False], "communion": [False, True]}
    stems = valuebias.Lexicon("stems", pd.DataFrame(halves, ["agency_000*", "communion_000*"]))
    few = [str(name) for name in scores["prompt"].values[[0, -1]]]
    lexicons = {"own": own, "words": table.index.tolist(), "stems": stems}
    made = valuebias.multiverse(
        scores, outcomes=["normal"], bases=["base"], priors={"default": None},
        lexicons=lexicons, prompts={"few": few}, seed=1, progress=False,
    )  # fmt: skip
    rows = made.table.set_index(["lexicon", "prompts"])["mean"]
    assert len(rows) == 8
    # Of words 1 to 9 and not 1 to 5.
    assert np.isfinite(rows["stems", "few"])
    assert rows["stems", "few"] != rows["own", "few"]
    assert rows["own", "few"] == pytest.approx(rows["words", "few"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"bases": [None, "None"]}, "lists None and 'None', which are one name"),
        ({"lexicons": {"a": 5}}, r"lexicons\['a'\] must be a Lexicon or a list of words, found 5"),
        ({"lexicons": {"a": None}}, "must be a Lexicon or a list of words, found None"),
        ({"lexicons": {"a": "agency_0001"}}, "must be a Lexicon or a list of words"),
        ({"lexicons": {"a": {"agency": ["agency_0001"]}}}, "must be a Lexicon or a list of words"),
        ({"lexicons": {"all words": ["agency_0001"]}}, "Give yours another name"),
        ({"lexicons": {1: ["agency_0001"], "1": ["agency_0002"]}}, "two choices .* named '1'"),
        ({"lexicons": np.array(["halves", "jackknife"])}, "Or map names to lexicons"),
        ({"prompts": {"a": None}}, r"prompts\['a'\] must be a list of prompts, found None"),
        ({"prompts": {"all prompts": ["p"]}}, "Give yours another name"),
        ({"priors": {1: None, "1": {"mean": 2.0}}}, "two choices .* named '1'"),
        ({"priors": {"a": 5}}, r"priors\['a'\]: prior must be a Prior"),
        ({"contrast": 5}, "contrast must be a pair of categories"),
        ({"part": (3, 2)}, "needs out="),
        ({"outcomes": "rank"}, "must be a list"),
        ({"formulas": "~ family"}, "formulas must be a list"),
        ({"bases": "base"}, "bases must be a list"),
        ({"words": "~ length"}, "words must be a list"),
        ({"formulas": []}, "no choice of formula"),
        ({"outcomes": [3]}, "must list texts"),
        ({"pair": "Alder"}, "pair must be two levels"),
        ({"pair": ("Alder", "Brich")}, "Did you mean 'Birch'"),
        ({"workers": 0}, "workers must be a whole number of 1 or more"),
        ({"seed": "a"}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"part": 3, "out": "x"}, "needs out="),
        ({"part": (3, 2), "out": "x"}, "needs out="),
        ({"outcomes": []}, "no choice of outcome"),
        ({"lexicons": "halfs"}, "Did you mean 'halves'"),
        ({"lexicons": {"x": ["zebra"]}}, "'zebra', which the scores lack"),
        ({"prompts": "thirds"}, "give 'halves'"),
        ({"priors": [1]}, "must map names"),
        ({"part": (1, 2)}, "needs out="),
    ],
)
def test_bad_choices_are_errors(
    scores: xr.Dataset,
    wrong: dict[str, object],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = {"seed": 1, "progress": False} | wrong
    if message != "needs out=":
        asked["out"] = "made"
    with pytest.raises(ValueBiasError, match=message):
        valuebias.multiverse(scores, **asked)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def fitted(seed: int, effect: float) -> valuebias.Fit:
    effects = {"Alder": effect, "Birch": -effect}
    ds = simulate(**SIZES, effects=effects, seed=seed)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # Of hundreds of studies some have two models that look like one base, by chance.
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit(ds, **SETTINGS | {"draws": 20, "tune": 30})  # type: ignore[call-overload]


@pytest.mark.slow
def test_p_values_of_placebos_are_uniform_without_an_effect() -> None:
    p = [fitted(seed, 0.0).placebo(n=999).p for seed in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_placebos_find_an_effect_and_seldom_none() -> None:
    found = [fitted(seed, 0.4).placebo(n=499).p for seed in range(5)]
    assert max(found) < 0.05
    nothing = [fitted(seed, 0.0).placebo(n=499).p for seed in range(15)]
    assert min(nothing) > 0.002
    assert stats.kstest(nothing, "uniform").pvalue > 0.001


def test_matched_splits_keep_their_bins(scores: xr.Dataset) -> None:
    """A covariate that is the categories in disguise leaves nothing to shuffle."""
    agency = scores["membership"].sel(category="agency").to_numpy()
    twin = scores.assign_coords(
        frequency=("response", agency.astype(float)), tail=("response", np.arange(24) % 3)
    )
    fit = valuebias.fit(twin, **SETTINGS)  # type: ignore[call-overload]
    free = fit.placebo(n=199)
    assert free.p < 0.05
    assert "is larger" in str(free)
    with pytest.raises(ValueBiasError, match="none can change places"):
        fit.placebo(match="frequency", bins=2, n=199)
    bound = fit.placebo(match=("tail",), n=199)
    assert bound.table().loc[0, "matched"] == "tail"
    assert bound.p < 0.1
    assert "different splits" not in str(bound)
    # The categories but for one word of each: two words can change places, two splits.
    nearly = agency.astype(float)
    nearly[np.flatnonzero(agency)[0]] = nearly[np.flatnonzero(~agency)[0]] = 0.5
    narrow = valuebias.fit(
        twin.assign_coords(frequency=("response", nearly)),
        **SETTINGS | {"draws": 20, "tune": 30},  # type: ignore[call-overload]
    ).placebo(match="frequency", bins=24, n=199)
    assert narrow.n_splits == 2
    assert len(np.unique(narrow.random.round(9))) == 2
    assert "There are 2 different splits in all, so that p can hardly be less than 0.5" in str(
        narrow
    )
    same = int(np.isclose(np.abs(narrow.random), abs(narrow.difference)).sum())
    assert narrow.p == (1 + same) / 200
    assert f" {same} tell Alder − Birch apart" in str(narrow)
    for wrong, message in (
        ({"match": "frequenzy"}, "Did you mean 'frequency'"),
        ({"match": 3}, "match names 3"),
        ({"match": [[3]]}, "is not a coordinate"),
        ({"seed": "x"}, "seed must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"n": 3}, "n must be"),
        ({"bins": 1}, "bins must be"),
    ):
        with pytest.raises(ValueBiasError, match=message):
            fit.placebo(**wrong)  # type: ignore[arg-type]


def test_a_placebo_names_what_it_is_of(scores: xr.Dataset) -> None:
    quick = SETTINGS | {"draws": 20, "tune": 30}
    staged = scores.assign_coords(
        stage=("model", ["instruct", "reward"] * 4), n_params=("model", [1e9, 2e9, 4e9, 8e9] * 2)
    )
    fit = valuebias.fit(staged, "~ family * stage", **quick)  # type: ignore[call-overload]
    made = fit.focused(by="stage").placebo(n=99)
    assert made.table().loc[0, ["name", "at"]].tolist() == ["Alder − Birch", "stage = instruct"]
    assert "apart as far as the categories do, with stage = instruct (p" in str(made)
    cell = fit.focused(at={"stage": "instruct"}).placebo(n=99)
    assert cell.difference == made.difference
    size = valuebias.fit(staged, "~ log10(n_params)", **quick).placebo(n=99)  # type: ignore[call-overload]
    assert "change as much with log10(n_params) as the categories do (p" in str(size)
    assert ": the slope is" in str(size)
    overall = valuebias.fit(staged, "~ 1", **quick).placebo(n=99)  # type: ignore[call-overload]
    assert "differ as much for all models as the categories do (p" in str(overall)
    assert ": the lean is" in str(overall)


def test_a_placebo_of_gaps_names_the_words() -> None:
    ds = simulate(n_models={"Alder": 2, "Birch": 2}, n_prompts=4, n_words=12, seed=1)
    score = ds["score"].to_numpy().copy()
    positive = ds["framing"].to_numpy() == "positive"
    score[np.ix_([0], positive, [3])] = np.nan
    gappy = ds.assign(score=(ds["score"].dims, score))
    fit = valuebias.fit(gappy, **SETTINGS | {"draws": 5, "tune": 5, "chains": 1})  # type: ignore[call-overload]
    word = str(ds["response"].to_numpy()[3])
    with pytest.raises(ValueBiasError, match=f"'{word}' were scored by some model after no pos"):
        fit.placebo(n=99)
