"""Structure that a fit does not know of: a note where it is visible, none where it is known."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias.analysis.notes import Note
from valuebias.datasets.simulate import simulate

SIZE: dict[str, Any] = {"n_models": {"A": 4, "B": 6}, "n_prompts": 6, "n_words": 150}
QUICK: dict[str, Any] = {"draws": 40, "tune": 100, "chains": 1, "seed": 1, "progress": False}
CODES = {"models alike", "families unequal", "words confounded"}
BASES = [0, 0, 0, 1, 2, 2, 2, 3, 3, 4]
OWN = [f"base of {i}" for i in range(10)]


def scores(seed: int, **changes: Any) -> xr.Dataset:
    """Simulate models that are said to have a base each, and words whose names have one length."""
    ds = simulate(**{**SIZE, "effects": {}, **changes}, seed=seed)
    words = [f"word{i:03d}" for i in range(ds.sizes["response"])]
    return ds.assign_coords(response=words, base=("model", OWN[: ds.sizes["model"]]))


def added(ds: xr.Dataset, effect: np.ndarray) -> xr.Dataset:
    """Add effects by framing, model and word."""
    framing = (ds["framing"].to_numpy() == "negative").astype(int)
    more = effect[framing].transpose(1, 0, 2)
    return ds.assign(score=(ds["score"].dims, (ds["score"].to_numpy() + more).astype("float32")))


def on_bases(seed: int, sd: float = 0.5) -> xr.Dataset:
    rng = np.random.default_rng([seed, 1])
    effect = sd * rng.standard_normal((2, max(BASES) + 1, SIZE["n_words"]))
    return added(scores(seed), effect[:, BASES])


def copied(ds: xr.Dataset, seed: int) -> xr.Dataset:
    """Make the second model of each family a near-copy of the first."""
    rng = np.random.default_rng([seed, 2])
    values = ds["score"].to_numpy().copy()
    for first in (0, 4):
        values[first + 1] = values[first] + 0.1 * rng.standard_normal(values[0].shape)
    return ds.assign(score=(ds["score"].dims, values))


def unequal(seed: int, sd: float, models: slice) -> xr.Dataset:
    rng = np.random.default_rng([seed, 3])
    effect = np.zeros((2, 10, SIZE["n_words"]))
    effect[:, models] = sd * rng.standard_normal(effect[:, models].shape)
    return added(scores(seed, n_models={"A": 2, "B": 8}), effect)


def confounded(seed: int, gap: float = 0.7, slope: float = 0.25) -> xr.Dataset:
    """Give words a frequency, of which the families make something different."""
    rng = np.random.default_rng([seed, 4])
    ds = scores(seed)
    first = ds["membership"].to_numpy()[:, 0]
    frequency = gap * first + rng.standard_normal(len(first))
    family = (ds["family"].to_numpy() == "A").astype(float)
    effect = np.array([1.0, -1.0])[:, None, None] * slope * family[:, None] * frequency
    return added(ds, effect).assign_coords(frequency=("response", frequency))


def fit(ds: xr.Dataset, **options: Any) -> valuebias.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.ValueBiasWarning)
        return valuebias.fit(ds, **{**QUICK, **options})


def noted(ds: xr.Dataset, **options: Any) -> list[Note]:
    return [note for note in fit(ds, **options).notes if note.code in CODES]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_models": {"A": 3, "B": 3}},
        pytest.param({"missing": 0.1}, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_said_of_clean_data(changes: dict[str, Any]) -> None:
    assert noted(scores(1, **changes), spread=False) == []


def test_models_on_unknown_bases_are_named_in_their_groups() -> None:
    (note,) = noted(on_bases(2))
    assert note.code == "models alike"
    groups = ("a-1, simulated/a-2", "a-3"), ("b-1, simulated/b-2", "b-3"), ("b-4", "b-5")
    for first, last in groups:
        assert f"simulated/{first} and simulated/{last} look like one base (" in note.text
    assert "simulated/a-4" not in note.text
    assert "simulated/b-6" not in note.text
    assert "the same 'base'" in note.text
    assert note.headline.startswith("Of the 10 models, 8 (named in the notes) are too alike")
    assert note.first


def test_known_bases_need_no_note() -> None:
    ds = on_bases(2).assign_coords(base=("model", [f"base {b}" for b in BASES]))
    assert noted(ds) == []
    (note,) = noted(ds, base=None)
    assert "take out base=None" in note.text
    # That bases were left out is a note of its own.
    assert note.headline == ""


def test_what_a_formula_says_models_share_needs_no_note() -> None:
    ds = on_bases(2).assign_coords(recipe=("model", [f"recipe {b}" for b in BASES]))
    assert noted(ds, formula="~ family + (1 | recipe)") == []


def test_bases_that_are_alike_are_noted_as_bases() -> None:
    """Two names for one base: models 0 and 1 on one, 2 on the other."""
    bases = ["x", "x", "y", "z", *"ppqrst"]
    rng = np.random.default_rng(3)
    effect = 0.7 * rng.standard_normal((2, 9, SIZE["n_words"]))[:, [0, 0, 0, 1, 2, 2, 3, 4, 5, 6]]
    ds = added(scores(3), effect).assign_coords(base=("model", bases))
    (note,) = noted(ds)
    assert "bases x and y look like one (" in note.text


def test_near_copies_are_noted_also_where_cells_are_missing() -> None:
    for ds in (copied(scores(4), 4), copied(scores(4, missing=0.05), 4)):
        (note,) = noted(ds)
        assert "simulated/a-1 and simulated/a-2 look" in note.text
        assert "simulated/b-1 and simulated/b-2 look" in note.text
        assert note.headline


def test_one_base_a_family_is_the_familys() -> None:
    rng = np.random.default_rng(5)
    effect = 0.5 * rng.standard_normal((2, 2, SIZE["n_words"]))[:, [0] * 4 + [1] * 6]
    assert noted(added(scores(5), effect)) == []


def test_a_small_family_that_varies_more_makes_the_interval_too_narrow() -> None:
    ds = unequal(6, 1.1, slice(0, 2))
    (note,) = noted(ds, spread=False)
    assert note.code == "families unequal"
    assert "models of A differ from one another" in note.text
    assert "too narrow" in note.headline
    assert noted(ds) == []  # by default, families have spreads of their own


def test_a_small_family_that_varies_less_leaves_the_headline_alone() -> None:
    (note,) = noted(unequal(7, 1.1, slice(2, 10)), spread=False)
    assert "models of B differ from one another" in note.text
    assert note.headline == ""


def test_a_covariate_that_moves_the_estimate_is_noted() -> None:
    (note,) = noted(confounded(8))
    assert note.code == "words confounded"
    assert "frequency (by +0." in note.text
    assert "words='~ frequency'" in note.text
    assert "frequency" in note.headline


@pytest.mark.parametrize("changes", [{"gap": 0.0}, {"slope": 0.0}])
def test_a_covariate_that_does_not_matter_is_not(changes: dict[str, float]) -> None:
    assert noted(confounded(9, **changes)) == []


def test_a_covariate_in_the_fit_needs_no_note() -> None:
    assert noted(confounded(8), words="~ frequency") == []


def test_pairs_and_checkpoints_are_not_compared() -> None:
    """They are alike for a reason that their coordinates give."""
    ds = copied(scores(10), 10)
    pairs = ds.assign_coords(
        numerator=("model", [f"n{i}" for i in range(10)]),
        denominator=("model", [f"d{i}" for i in range(10)]),
    )
    assert noted(pairs) == []
    runs = ds.assign_coords(
        base=("model", [f"base {i}" for i in range(10)]),
        source=("model", ["x"] * 10),
        n_pairs=("model", [100.0] * 10),
        seed=("model", [1] * 10),
        step=("model", [1] * 10),
    )
    assert noted(runs) == []


def test_the_predictive_check_sees_it_too() -> None:
    made = {
        "closest models": fit(copied(scores(11), 11)),
        "unequal words": fit(unequal(11, 1.1, slice(0, 2)), spread=False),
        "word covariate": fit(confounded(11)),
    }
    for name, one in made.items():
        assert float(one.ppc(draws=40)["p"].sel(statistic=name)) < 0.05
    clean = fit(scores(12).assign_coords(frequency=("response", np.arange(150.0))))
    assert float(clean.ppc(draws=40)["p"].sel(statistic=list(made)).min()) > 0.02


def test_the_audit_sees_it_without_a_fit() -> None:
    def findings(ds: xr.Dataset, check: str) -> list[str]:
        table = valuebias.audit(ds).findings
        return table.loc[table["check"] == check, "detail"].tolist()

    hidden = on_bases(13)
    first, second, third = sorted(findings(hidden, "models alike"))
    assert first.startswith("'simulated/a-1', 'simulated/a-2' and 'simulated/a-3' look like one")
    assert "their 'base' says 'base of 4', 'base of 5' and 'base of 6'" in second
    assert third.startswith("'simulated/b-4' and 'simulated/b-5' look like one base")
    known = hidden.assign_coords(base=("model", [f"base {b}" for b in BASES]))
    assert findings(known, "models alike") == []

    (text,) = findings(unequal(14, 1.1, slice(0, 2)), "unequal spread")
    assert text.startswith("Models of 'A' differ from one another")
    odd = np.zeros((2, 10, 150))
    odd[:, 9] = 1.5 * np.random.default_rng(15).standard_normal((2, 150))
    table = valuebias.audit(added(scores(15), odd)).findings
    assert (
        "model 'simulated/b-6'" in table.loc[table["check"] == "unequal spread", "where"].tolist()
    )

    (text,) = findings(confounded(16), "words confounded")
    assert "'frequency' (standardised difference +0." in text
    assert "between 'A' and 'B' by −0." in text or "between 'A' and 'B' by +0." in text
    for check in ("models alike", "unequal spread", "words confounded"):
        assert findings(scores(17), check) == []


def test_notes_are_kept_with_the_fit(tmp_path) -> None:
    made = fit(on_bases(18))
    path = made.save(tmp_path / "fit.nc")
    assert valuebias.load(path).notes == made.notes
    assert json.loads(json.dumps(made.settings["notes"])) == made.settings["notes"]


@pytest.mark.released_data
def test_the_papers_ten_stand_on_five_bases(big2: xr.Dataset) -> None:
    (note,) = noted(big2, base=None)
    groups = note.text.split("; models ")
    assert len(groups) == 3
    assert groups[0].count("Gemma-2-27B") == 3
    assert groups[1].count("3.1-8B") == 3
    assert "ArmoRM-Llama3-8B-v0.1 and Ray2333/GRM-Llama3-8B-rewardmodel-ft" in groups[2]
    # The others are the Gemma of 2B and the Llama 3.2 of 3B.
    assert "gemma2-2B" not in note.text
    assert "Llama3.2-3B" not in note.text
    bases = {"27B": "Gemma 2 27B", "2B": "Gemma 2 2B", "3.1": "Llama 3.1", "3.2": "Llama 3.2"}
    named = [
        next((b for key, b in bases.items() if key in m), "Llama 3") for m in big2["model"].values
    ]
    assert noted(big2.assign_coords(base=("model", named))) == []


def test_a_model_without_a_framing_is_no_reason_to_stop() -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=6, n_words=24, seed=1)
    lacking = (ds["model"] == ds["model"][0]) & (ds["framing"] == "negative")
    ds["score"] = ds["score"].where(~lacking)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.errors.ValueBiasWarning)
        fit = valuebias.fit(ds, draws=20, tune=20, chains=2, seed=1, progress=False)
    codes = {note.code for note in fit.notes}
    assert not codes & {"models alike", "families unequal", "words confounded"}
    assert np.isfinite(fit.ppc(draws=3)["observed"]).all()
