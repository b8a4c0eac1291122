"""What an ablation may be like, simulated, and whether a fit of it holds what was planted.

Every simulation has 2 families × 3 bases × 4 numbers of pairs × 2 seeds, 54 prompts and 263 words,
and is of one of the worlds below. What is planted is a curve of the gap between the families, in
units of the scores; bases depart from their family by a lean and by a slope of their own, runs by a
lean.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import valuebias
from valuebias import ValueBiasWarning
from valuebias.schema import build

__all__ = ["WORLDS", "design", "one", "summarise"]

QUANTITIES = (1_000, 2_000, 4_000, 8_000)
ROPE = 0.05
FIT: Mapping[str, Any] = {"outcome": "raw", "rope": ROPE, "draws": 500}
SD: Mapping[str, float] = {
    "base": 0.10, "base_slope": 0.0, "run": 0.05, "word": 0.80, "word_family": 0.20,
    "word_base": 0.30, "word_run": 0.20, "prompt": 0.10, "model_prompt": 0.05,
    "prompt_word": 0.17, "residual": 0.19,
}  # fmt: skip
"""Standard deviations near those of the paper's reward models, as normal scores."""


@dataclass(frozen=True)
class World:
    """What is planted.

    Attributes
    ----------
    title : str
        What is special to it.
    gap : tuple of float
        At every number of pairs.
    closes : float
        The number of pairs at which it enters the ROPE; infinite for never.
    note : str
        Code of the note that should be there; empty where none is called for.
    bases, seeds : int
        Of a family; of a base and number of pairs.
    settings : mapping
        Of the fit, where it is not told all.
    sd : mapping
        Standard deviations other than :data:`SD`.
    """

    title: str
    gap: tuple[float, ...]
    closes: float
    note: str = ""
    bases: int = 3
    seeds: int = 2
    settings: Mapping[str, Any] = field(default_factory=dict)
    sd: Mapping[str, float] = field(default_factory=dict)


def _line(start: float, slope: float, levels: float = np.inf) -> tuple[tuple[float, ...], float]:
    """Give a gap that changes by ``slope`` for so many doublings, and where it closes."""
    doublings = np.log2(np.array(QUANTITIES) / QUANTITIES[0])
    gap = start + slope * np.minimum(doublings, levels)
    needed = (abs(start) - ROPE) / abs(slope)
    return tuple(gap), QUANTITIES[0] * 2**needed if needed <= levels else np.inf


_OWN = {"base_slope": 0.10}
_ALIKE = {"base_slope": 0.02}
WORLDS = {
    "even": World("bases alike, the gap closes", *_line(0.6, -0.15), sd={"base": 0.0}),
    "slopes": World("slopes by base; closes later than measured", *_line(0.6, -0.10), sd=_OWN),
    "slopes, closes": World("slopes by base; closes", *_line(0.4, -0.15), sd=_OWN),
    "slopes, not told": World(
        "slopes by base, left out of the formula",
        *_line(0.6, -0.10),
        "slopes of bases left out",
        sd=_OWN,
        settings={"formula": "~ family * log2(n_pairs)"},
    ),
    "closes": World("closes", *_line(0.4, -0.15), sd=_ALIKE),
    "closes later": World("closes later than measured", *_line(0.6, -0.12), sd=_ALIKE),
    "levels": World("levels off, never closes", *_line(0.6, -0.15, 2.0), sd=_ALIKE),
    "levels early": World("levels off early, never closes", *_line(0.6, -0.20, 1.5), sd=_ALIKE),
    # Halves with every doubling on the way to a gap that stays.
    "levels slowly": World(
        "levels off slowly, never closes", (0.60, 0.45, 0.375, 0.3375), np.inf, sd=_ALIKE
    ),
    "levels, few runs": World(
        "levels off; two bases a family, one seed", *_line(0.6, -0.15, 2.0), seeds=1, bases=2
    ),
    "levels, not told": World(
        "levels off, a straight line fitted",
        *_line(0.6, -0.15, 2.0),
        "levelling left out",
        sd=_ALIKE,
        settings={"levelling": False},
    ),
    "one base each": World(
        "one base a family", *_line(0.4, -0.15), "one base a family", bases=1, seeds=4, sd=_OWN
    ),
}


def simulate(world: World, seed: int, *, n_prompts: int = 54, n_words: int = 263) -> xr.Dataset:
    """Simulate the scores of a study.

    Parameters
    ----------
    world : World
        What is planted.
    seed : int
        Of the random numbers.
    n_prompts, n_words : int
        How many.

    Returns
    -------
    xarray.Dataset
        Scores whose gap between the families "A" and "B" is that of the world. Attribute ``own``:
        by how much the bases at hand are further apart, and how much more with a doubling.
    """
    sd = SD | dict(world.sd)
    rng = np.random.default_rng(seed)
    sign = np.where(np.arange(n_prompts) < n_prompts // 2, 1.0, -1.0)
    half = (sign < 0).astype(int)
    agency = np.arange(n_words) < n_words // 2
    axis = np.where(agency, 0.5, -0.5)
    doublings = np.log2(np.array(QUANTITIES) / QUANTITIES[0])

    def normal(name: str, *shape: int) -> Any:
        return sd[name] * rng.standard_normal(shape, dtype=np.float32)

    def liking(name: str) -> Any:
        # A liking of words by framing: the same in part, turned round in part.
        both, turned = normal(name, n_words), normal(name, n_words)
        return np.stack([both + turned, both - turned]) / np.sqrt(2)

    common = liking("word")[half] + normal("prompt_word", n_prompts, n_words)
    common += normal("prompt", n_prompts)[:, None] * axis
    rows, cubes, own_gap = [], [], np.zeros(2)
    for family, turn in (("A", 0.5), ("B", -0.5)):
        of_family = liking("word_family")
        for b in range(world.bases):
            of_base = of_family + liking("word_base")
            lean, slope = normal("base", 2), normal("base_slope", 2)
            at_start = lean - slope * doublings.mean()
            signed = [(one[0] - one[1]) / 2 for one in (at_start, slope)]
            own_gap += np.sign(turn) * np.array(signed) / world.bases
            for (q, n), s in product(enumerate(QUANTITIES), range(world.seeds)):
                own = lean + slope * (doublings[q] - doublings.mean()) + normal("run", 2)
                # By framing: signed by framing it is the gap, half a family.
                leans = turn * world.gap[q] * sign + own[half] + normal("model_prompt", n_prompts)
                cube = common + (of_base + liking("word_run"))[half] + leans[:, None] * axis
                cubes.append(cube + normal("residual", n_prompts, n_words))
                rows.append((family, f"{family}{b + 1}", "s", float(n), s, 1))
    names = ["family", "base", "source", "n_pairs", "seed", "step"]
    models = pd.DataFrame(rows, columns=names).assign(stage="reward", tuning="bt")
    models.index = pd.Index([f"rm {i}" for i in range(len(models))])
    prompts = pd.DataFrame({"framing": np.where(sign > 0, "positive", "negative")})
    prompts.index = pd.Index([f"p{i}" for i in range(n_prompts)])
    prompts["text"] = prompts.index
    words = [f"w{i}" for i in range(n_words)]
    lexicon = pd.DataFrame({"agency": agency, "communion": ~agency}, index=words)
    made = build(np.stack(cubes), models=models, prompts=prompts, lexicon=lexicon, responses=words)
    return made.assign_attrs(own=own_gap.tolist())


def design(name: str) -> str:
    """Say what is simulated and fitted under a name."""
    # JSON has no infinity.
    world = json.dumps(asdict(WORLDS[name]), default=dict) if name in WORLDS else ""
    return world and json.dumps([world, dict(SD), FIT])


def one(name: str, seed: int) -> dict[str, Any]:
    """Simulate a world and fit it, and say what the 90 % intervals hold.

    They are those of the ``slope``, of the ``closing`` point and of the gap at the ``last`` number
    of pairs.
    """
    planted = WORLDS[name]
    scores = simulate(planted, seed)
    planted = _at_hand(planted, scores.attrs.pop("own"))
    start = time.perf_counter()
    with warnings.catch_warnings():
        # What the fit warns of stands in its notes.
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit_ablation(scores, **FIT, **planted.settings, seed=seed, progress=False)
    seconds = time.perf_counter() - start
    slope, closing, last = fit.slope().iloc[0], fit.closing_point().iloc[0], fit.gaps().iloc[-1]
    change = (planted.gap[-1] - planted.gap[0]) / np.log2(QUANTITIES[-1] / QUANTITIES[0])
    return {
        "slope": _holds(slope, change),
        "closing": _holds(closing, planted.closes),
        "last": _holds(last, planted.gap[-1]),
        "never": float(closing["p_not"]),
        "notes": [note.code for note in fit.notes],
        "seconds": seconds,
    }


def summarise(found: list[dict[str, Any]]) -> pd.DataFrame:
    """One line a world: shares of simulations, of ``told`` where a note is called for."""
    frame = pd.DataFrame(found)
    due = frame["name"].map({name: world.note for name, world in WORLDS.items()})
    frame["told"] = [code in codes for code, codes in zip(due, frame["notes"], strict=True)]
    by_name = frame.groupby("name", sort=False)
    table = by_name[["slope", "closing", "last", "never", "told", "seconds"]].mean()
    table.insert(0, "n", by_name.size())
    return table.reindex([name for name in WORLDS if name in table.index])


def _at_hand(world: World, own: list[float]) -> World:
    """Add what the bases at hand are, where nothing is to be said of others."""
    if world.bases > 1:
        return world
    doublings = np.log2(np.array(QUANTITIES) / QUANTITIES[0])
    slope = (world.gap[-1] - world.gap[0]) / doublings[-1] + own[1]
    start = world.gap[0] + own[0]
    gap, closes = _line(start, slope)
    # Inside from the start, or on the way out of it.
    closes = QUANTITIES[0] if abs(start) <= ROPE else closes if start * slope < 0 else np.inf
    return replace(world, gap=gap, closes=closes)


def _holds(row: pd.Series, truth: float) -> bool:
    return bool(row["lower"] <= truth <= row["upper"])
