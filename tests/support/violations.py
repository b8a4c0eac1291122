"""Simulated scores without any effect of families, that break what a plain model takes for granted.

Ten models, 54 prompts and 263 words; SDs are those that the model with bases finds in the paper's
Big Two scores. Each kind of scores is fitted twice: with what is peculiar to it known to the fit,
and as it would be by someone who does not know it.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import valuebias
from valuebias.datasets.simulate import DEFAULT_SD, simulate
from valuebias.errors import ValueBiasWarning

__all__ = ["KINDS", "LITTLE_DOUBT", "design", "one", "summarise"]

SD: dict[str, float | tuple[float, float]] = {
    "model_category": (0.08, 0.11),
    "word": (0.88, 0.70),
    "word_family": 0.125,
    "model_word": (0.23, 0.39),
    "prompt_category": (0.10, 0.05),
    "model_prompt": 0.04,
    "prompt_word": (0.16, 0.15),
    "residual": (0.17, 0.24),
}
# The paper's scores say little of the first: between 0 and 0.2.
OF_BASES: dict[str, float | tuple[float, float]] = {
    "base_category": 0.12,
    "base_word": (0.30, 0.44),
}
TEN = {"Gemma": 4, "Llama": 6}
FIT = {"draws": 500, "chains": 2}
STRUCTURE = ("models alike", "families unequal", "words confounded")
LITTLE_DOUBT = 0.975
"""The probability of the direction from which on the headline says that there is little doubt."""


@dataclass(frozen=True)
class Kind:
    """One kind of scores, and how they are fitted.

    Attributes
    ----------
    title : str
    scores : mapping
        Arguments of :func:`simulate`.
    known, unknown : mapping
        Arguments of :func:`valuebias.fit`. ``unknown`` is None where there is nothing to know.
    blind : bool
        Whether the coordinate ``base`` tells nothing where the structure is not known.
    note : str
        The code of the note that is due where it is not known; empty where scores cannot show it:
        what all models of a family share is the family's.
    """

    title: str
    scores: Mapping[str, Any]
    known: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, Any] | None = field(default_factory=dict)
    blind: bool = False
    note: str = ""


KINDS = {
    "none": Kind("nothing", {"n_models": TEN, "sd": SD}, unknown=None),
    "one base": Kind(
        "one base a family, 4 v 6",
        {"n_models": {"Gemma": [4], "Llama": [6]}, "sd": SD | OF_BASES},
        blind=True,
    ),
    "unequal": Kind(
        "2 v 8 models, the small family three times as variable",
        {"n_models": {"Gemma": 2, "Llama": 8}, "sd": SD, "spread": {"Gemma": 3.0}},
        known={"spread": True},
        unknown={"spread": False},
        note="families unequal",
    ),
    # Normal scores have one variance, so that words on which models differ more lose in the rest.
    "unequal leans": Kind(
        "the same, but on single words twice",
        {
            "n_models": {"Gemma": 2, "Llama": 8},
            "sd": SD,
            "spread": {"Gemma": {"category": 3.0, "word": 2.0}},
        },
        known={"spread": True},
        unknown={"spread": False},
        note="families unequal",
    ),
    "covariate": Kind(
        "a word covariate, category gap 0.5 SD, slopes that differ by 0.12",
        {
            "n_models": TEN,
            "sd": SD,
            "covariates": {
                "frequency": {
                    "gap": 0.5,
                    "slope": {"Gemma": 0.06, "Llama": -0.06},
                    "slope_model": 0.03,
                }
            },
        },
        known={"words": "~ frequency"},
        note="words confounded",
    ),
    "clustered": Kind(
        "clustered as the paper's ten, 3 + 1 v 3 + 2 + 1",
        {"n_models": {"Gemma": [3, 1], "Llama": [3, 2, 1]}, "sd": SD | OF_BASES},
        blind=True,
        note="models alike",
    ),
    "copies": Kind(
        "one near-copy pair a family",
        {"n_models": TEN, "sd": SD, "copies": 1},
        blind=True,
        note="models alike",
    ),
}
HALVES = ("known", "unknown")


def tasks(n: int, kinds: list[str], halves: list[str]) -> list[tuple[str, int]]:
    """List what is to be run: names such as "clustered, known", with their seeds."""
    names = [
        f"{kind}, {half}"
        for kind in kinds
        for half in halves
        if half == "known" or KINDS[kind].unknown is not None
    ]
    return [(name, seed) for seed in range(n) for name in names]


def design(name: str) -> str:
    """Say what is simulated and fitted under a name."""
    kind, _, half = name.rpartition(", ")
    return json.dumps([asdict(KINDS[kind]), half, FIT]) if kind in KINDS else ""


def one(name: str, seed: int) -> dict[str, Any]:
    """Simulate and fit once, and say what became of it."""
    key, _, half = name.rpartition(", ")
    kind = KINDS[key]
    ds = simulate(**kind.scores, effects={}, seed=seed)
    given = ds
    if half == "unknown" and kind.blind:
        given = ds.assign_coords(base=("model", ds["model"].to_numpy()))
    options = kind.known if half == "known" else kind.unknown
    start = time.perf_counter()
    with warnings.catch_warnings():
        # What the fit warns of stands in its notes.
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit(given, **options, **FIT, seed=seed, progress=False)
    row = fit.contrasts(prob=0.9).iloc[0]
    told = [note.code for note in fit.notes if note.headline]
    out = {name: float(row[name]) for name in ("mean", "sd", "lower", "upper", "p_direction")}
    out |= {"rhat": float(row["rhat"]), "notes": told, "seconds": time.perf_counter() - start}
    return out | (judged(fit.words(prob=0.9), ds, kind, seed) if key == "clustered" else {})


def judged(table: pd.DataFrame, ds: xr.Dataset, kind: Kind, seed: int) -> dict[str, float]:
    """Compare what is said of words with the truth."""
    truth = difference_by_word(ds, kind, seed).loc[table["word"]].to_numpy()
    inside = (table["lower"] <= truth) & (truth <= table["upper"])
    certain = table["certain"].to_numpy()
    likely = (table["p_direction"] >= LITTLE_DOUBT).to_numpy()
    wrong = np.sign(table["mean"].to_numpy()) != np.sign(truth)
    return {
        "top_covered": float(inside[:10].mean()),
        "words_covered": float(inside.mean()),
        "certain": int(certain.sum()),
        "certain_wrong": int((certain & wrong).sum()),
        "likely": int(likely.sum()),
        "likely_wrong": int((likely & wrong).sum()),
        "top_size": float(table["mean"].abs()[:10].mean()),
        "top_truth": float(np.abs(truth[:10]).mean()),
    }


def difference_by_word(ds: xr.Dataset, kind: Kind, seed: int) -> pd.Series:
    """Give by how much the first family likes each word more, in units of normal scores.

    The same seed draws the same effects, so that without all others the scores are the families'.
    """
    nothing = dict.fromkeys(DEFAULT_SD, 0.0)
    only = nothing | {"word_family": kind.scores["sd"]["word_family"]}
    score = simulate(**(kind.scores | {"sd": only}), effects={}, seed=seed)["score"]
    by_framing = score.groupby("framing").mean()
    signed = (by_framing.sel(framing="positive") - by_framing.sel(framing="negative")) / 2
    difference = signed.isel(model=0) - signed.isel(model=-1)
    # Normal scores have the SD 1 over the words of a model and prompt.
    relative = (difference - difference.mean()) / ds["score"].std("response").mean()
    return relative.to_series()


def summarise(found: list[dict[str, Any]]) -> pd.DataFrame:
    """One line a kind and half: shares of simulations."""
    frame = pd.DataFrame(found)
    frame["covered"] = (frame["lower"] <= 0) & (frame["upper"] >= 0)
    frame["doubt"] = frame["p_direction"] >= LITTLE_DOUBT
    due = {f"{key}, {half}": kind.note for key, kind in KINDS.items() for half in HALVES}
    pairs = list(zip(frame["notes"], frame["name"].map(due), strict=True))
    frame["told"] = [code in codes for codes, code in pairs]
    frame["any_note"] = [any(code in STRUCTURE for code in codes) for codes, _ in pairs]
    by_name = frame.groupby("name", sort=False)
    table = by_name[["covered", "doubt", "told", "any_note", "seconds"]].mean()
    table.insert(0, "n", by_name.size())
    if "top_covered" in frame:
        words = ["top_covered", "words_covered", "certain", "likely"]
        table[words] = by_name[words].mean()
        for name in ("certain", "likely"):
            table[f"{name}_wrong"] = by_name[f"{name}_wrong"].sum() / by_name[name].sum()
        table["exaggeration"] = by_name["top_size"].sum() / by_name["top_truth"].sum()
    return table
