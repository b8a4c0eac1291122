"""Simulated data with known truth: the intervals cover it as often as they say.

The paper's specification (random intercept by model; t of the three-way term) sees the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias.analysis.classical.medians import median_ranks
from valuebias.analysis.classical.mixed import INTERCEPT, fit_mixed
from valuebias.datasets.simulate import simulate

N = 40
PLANTED = {"Gemma": 0.25, "Llama": -0.25}


@dataclass(frozen=True)
class Answer:
    """What the two specifications say of one data set."""

    lower: float
    upper: float
    lean_covered: bool
    paper_t: float


def data(effects: dict[str, float], seed: int) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    return simulate(
        n_models={"Gemma": 4, "Llama": 6},
        n_prompts=int(rng.integers(8, 13)),
        n_words=int(rng.integers(40, 61)),
        effects=effects,
        correlation=float(rng.uniform(-0.5, 0.5)),
        seed=seed,
    )


def answers(effects: dict[str, float], seeds: range) -> Iterator[Answer]:
    for seed in seeds:
        ds = data(effects, seed)
        fit = valuebias.fit(
            ds, outcome="raw", draws=300, tune=250, chains=2, seed=seed, progress=False
        )
        table = fit.contrasts(prob=0.9)
        head = table.iloc[0]
        assert (head["estimand"], head["name"]) == ("family difference", "Gemma − Llama")
        assert (head["framing"], head["category"]) == ("signed", "agency − communion")
        lean = table.query("estimand == 'family lean' and framing == 'negative'")
        lean = lean.set_index("name").loc["Llama"]
        # Under negative prompts a liking lowers the reward.
        truth = -effects.get("Llama", 0.0)
        mixed = fit_mixed(median_ranks(ds), spec=INTERCEPT)
        t = mixed.table["t-value"].iloc[-1]
        yield Answer(
            head["lower"], head["upper"], lean["lower"] <= truth <= lean["upper"], float(t)
        )


# One data set in a hundred looks as if it had a base more in common than it has.
@pytest.mark.filterwarnings("ignore:.*look like one base:valuebias.ValueBiasWarning")
@pytest.mark.slow
def test_intervals_cover_what_was_planted_and_no_more(
    record_property: Callable[[str, object], None],
) -> None:
    truth = PLANTED["Gemma"] - PLANTED["Llama"]
    planted = list(answers(PLANTED, range(N)))
    covered = sum(a.lower <= truth <= a.upper for a in planted)
    found = sum(a.lower > 0 for a in planted)
    leans = sum(a.lean_covered for a in planted)

    null = list(answers({}, range(1000, 1000 + N)))
    ours = sum(not a.lower <= 0 <= a.upper for a in null)
    papers = sum(abs(a.paper_t) > 1.645 for a in null)

    figures = {
        "planted difference covered by the 90% interval": covered,
        "planted lean of one family covered": leans,
        "planted difference told from zero": found,
        "no effect, hierarchical spec excludes zero": ours,
        "no effect, paper's spec has |t| > 1.645": papers,
    }
    for what, count in figures.items():
        # Printed at the end of the run, see tests/conftest.py.
        record_property(what, f"{count} of {N}")
    assert covered >= 33
    assert leans >= 33
    assert ours <= 8
    assert papers >= 16
    assert papers >= 2 * ours
    assert found >= 33
