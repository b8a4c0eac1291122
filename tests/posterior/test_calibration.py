"""A small part of the calibration studies, and the tools that they are made with."""

from __future__ import annotations

from pathlib import Path

import ablation_worlds
import numpy as np
import pytest
import sbc_ranks
import violations
from many import results, run_all
from prior_draws import DESIGNS
from uniformity import make_bands

from valuebias.datasets.simulate import simulate

N = 20


def square(name: str, seed: int) -> dict[str, int]:
    if seed == 13:
        raise ArithmeticError
    return {"square": seed**2}


def version(name: str) -> str:
    return f"{name} 1"


def later_version(name: str) -> str:
    return f"{name} 2" if name == "a" else f"{name} 1"


def test_what_was_run_is_not_run_again(tmp_path: Path) -> None:
    store = tmp_path / "made" / "results.jsonl"
    tasks = [(name, seed) for seed in (2, 13) for name in ("a", "b")]
    with pytest.raises(ArithmeticError):
        run_all(square, tasks, store=store, design=version, shown=False)
    assert [(r["name"], r["square"]) for r in results(store, version)] == [("a", 4), ("b", 4)]
    # A write that was cut short, and a change of what "a" is.
    store.write_text(store.read_text()[:-9])
    assert [r["name"] for r in results(store, version)] == ["a"]
    run_all(square, tasks[:2], store=store, design=later_version, shown=False)
    assert len(store.read_text().splitlines()) == 4
    assert sorted(r["name"] for r in results(store, later_version)) == ["a", "b"]


def test_bands_hold_uniform_ranks_as_often_as_they_say() -> None:
    bands = make_bands(100, 51)
    rng = np.random.default_rng(3)
    p = bands.p(rng.integers(51, size=(2000, 100)))
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.015)
    lower, upper = bands.limits(0.95)
    share = bands.cumulative(rng.integers(51, size=(2000, 100))) / 100
    inside = ((lower <= share) & (share <= upper)).all(axis=1).mean()
    assert inside == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("a", "b"), [(1.5, 1.0), (2.0, 2.0), (0.6, 0.6)])
def test_bands_find_posteriors_that_are_shifted_or_of_a_wrong_width(a: float, b: float) -> None:
    ranks = (51 * np.random.default_rng(4).beta(a, b, size=(50, 500))).astype(int)
    assert (make_bands(500, 51).p(ranks) < 0.05).mean() > 0.9


def test_the_truth_of_words_is_what_families_add_to_each() -> None:
    kind = violations.KINDS["clustered"]
    quiet = dict(kind.scores) | {
        "sd": {**dict.fromkeys(kind.scores["sd"], 0.0), "word_family": 0.125}
    }
    ds = simulate(**kind.scores, effects={}, seed=5)
    truth = violations.difference_by_word(ds, kind, 5)
    # The same words in a world in which families are all there is, read off two models.
    alone = simulate(**quiet, effects={}, seed=5)["score"]
    positive, negative = (
        alone.sel(prompt=alone["framing"] == framing)[:, 0] for framing in ("positive", "negative")
    )
    gap = (positive[0] - positive[-1] - negative[0] + negative[-1]) / 2
    ratio = (gap - gap.mean()).to_series() / truth
    assert ratio.std() < 1e-4
    # Normal scores have the SD 1 over words, these scores nearly so.
    assert ratio.mean() == pytest.approx(1.0, abs=0.15)


@pytest.mark.slow
def test_intervals_hold_the_truth_where_nothing_is_violated_and_where_bases_are_known(
    tmp_path: Path,
) -> None:
    names = ["none, known", "clustered, known", "clustered, unknown"]
    tasks = [(name, seed) for seed in range(N) for name in names]
    store, design = tmp_path / "results.jsonl", violations.design
    run_all(violations.one, tasks, store=store, design=design, jobs=2, shown=False)
    found = results(store, design)
    assert len(found) == len(tasks)
    table = violations.summarise(found)
    for name in names[:2]:
        # Of 20 intervals that hold the truth with probability .9, 14 or more do in 998 of 1000.
        assert table.loc[name, "covered"] >= 14 / N
        assert table.loc[name, "doubt"] <= 4 / N
    assert table.loc["clustered, known", "top_covered"] > 0.8
    assert table.loc["clustered, unknown", "top_covered"] < 0.5


@pytest.mark.slow
def test_intervals_of_ablations_hold_slopes_and_closing_points() -> None:
    worlds = ["slopes", "levels"]
    found = [
        {"name": name, "seed": seed, **ablation_worlds.one(name, seed)}
        for name in worlds
        for seed in range(N)
    ]
    table = ablation_worlds.summarise(found)
    assert (table.loc[worlds, ["slope", "closing", "last"]] >= 14 / N).all(axis=None)
    assert table.loc["levels", "never"] > 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["complete", "one prompt a framing", "bases and a covariate", "student"]
)
def test_what_is_drawn_from_the_prior_ranks_evenly_among_posterior_draws(name: str) -> None:
    assert name in DESIGNS
    found = [sbc_ranks.one(name, seed) for seed in range(60)]
    names, ranks = sbc_ranks.ranks_of(found)
    p = make_bands(60, sbc_ranks.N_RANKS).p(ranks)
    assert p.min() * len(names) > 0.01, names[int(p.argmin())]
    # Parameters of one fit depend on one another, so that more than a twentieth may stray.
    assert (p < 0.05).mean() < 0.15
