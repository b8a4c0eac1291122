"""Gaps that level off: densities against dense normals, draws against the engine and the truth."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from ablations import ablation
from scipy import stats

import valuebias
from valuebias import ValueBiasWarning
from valuebias.analysis.ablation.closing import departure_rows
from valuebias.analysis.ablation.layout import progress_of
from valuebias.analysis.ablation.lean_model import LeanModel, LeanPart, lean_model
from valuebias.analysis.ablation.lean_rows import average_rows, pair_rows
from valuebias.analysis.ablation.levelling import LeanDraws, draw_leans
from valuebias.analysis.ablation.levels import levels_of
from valuebias.analysis.design.formula import ModelDesign, parse_formula
from valuebias.analysis.estimands.estimand import CategoryPair
from valuebias.analysis.estimands.weights import category_contrasts

QUANTITIES = (1_000, 2_000, 4_000, 8_000)
SIGN = np.array([0.5, -0.5])


def layout(
    quantities: dict[str, tuple[int, ...]], *, bases: int = 2, seeds: int = 2
) -> ModelDesign:
    """Give runs of families that were trained on some numbers of pairs."""
    rows = [
        (family, f"{family}{b}", "s", n, seed, 1)
        for family, own in quantities.items()
        for b, n, seed in product(range(bases), own, range(seeds))
    ]
    models = pd.DataFrame(rows, columns=["family", "base", "source", "n_pairs", "seed", "step"])
    models.index = pd.Index([f"m{i}" for i in range(len(models))])
    return parse_formula("~ family * log2(n_pairs)", models.assign(progress=progress_of(models)))


def parts_of(
    design: ModelDesign, *, draws: int = 1, run: float = 0.1, base: float = 0.2
) -> tuple[LeanPart, ...]:
    """Give what runs, bases and whatever else make of leans, the same in all draws."""
    models = design.models
    same = (models["base"].to_numpy()[:, None] == models["base"].to_numpy()).astype(float)
    sd = np.full(draws, run)
    return (
        LeanPart(np.eye(len(models)), sd**2, relative_sd=sd[:, None]),
        LeanPart(same, np.full(draws, base**2)),
        LeanPart(np.eye(len(models)), np.full(draws, 0.02**2)),
    )


def bent(gap: float, change: float, level: float, n: np.ndarray) -> np.ndarray:
    """A gap that changes by so much over three doublings, until it levels off."""
    share = np.minimum(np.log2(n / QUANTITIES[0]), level) / level if level < 3 else (
        np.log2(n / QUANTITIES[0]) / 3)  # fmt: skip
    return gap + change * share


def test_the_prior_on_levels_is_that_of_lindy() -> None:
    levels = levels_of(list(map(float, QUANTITIES)))
    assert np.exp(levels.log_prior).sum() == pytest.approx(1)
    rng = np.random.default_rng(1)
    chosen = np.searchsorted(np.cumsum(np.exp(levels.log_prior)), rng.uniform(size=200_000))
    at = levels.draw(chosen, rng)
    # After t ranges it has stopped with probability t / (1 + t).
    for t in (1.5, 2.0, 3.0, 5.0):
        assert (at <= QUANTITIES[0] * 8.0**t).mean() == pytest.approx(t / (1 + t), abs=0.01)
    assert np.isinf(at).mean() == pytest.approx(3 / 26, abs=0.01)


def test_evidence_and_factors_are_those_of_a_dense_normal() -> None:
    design = layout({"A": QUANTITIES, "B": QUANTITIES})
    parts = parts_of(design)
    scales = np.array([1.0, 0.5, 0.4, 0.3])
    lean = np.random.default_rng(1).normal(size=(1, len(design.models)))
    model = LeanModel(lean, parts, scales)
    columns = pair_rows(design, ("A", "B")).columns["s"][..., :4]
    leans = model.within(model.span(np.concatenate(list(columns), axis=1)))
    basis = model.span(np.concatenate(list(columns), axis=1))
    assert basis.shape[1] < len(design.models)

    def dense(column: np.ndarray, factor: float) -> float:
        fixed, own = parts[1:], parts[0]
        cov = factor**2 * own.variance[0] * own.over_models
        cov = cov + sum(part.variance[0] * part.over_models for part in fixed)
        cov = cov + (column * scales**2) @ column.T
        return float(stats.multivariate_normal.logpdf(lean[0], np.zeros(len(cov)), cov))

    for factor in (0.5, 1.7):
        found = [leans.log_evidence((basis.T @ c)[None], np.array([factor]))[0] for c in columns]
        expected = [dense(c, factor) for c in columns]
        np.testing.assert_allclose(np.diff(found), np.diff(expected), atol=1e-9)
    factors = np.array([0.5, 1.0, 1.7])
    found = leans.log_density_of_factors((basis.T @ columns[0])[None], factors)[:, 0]
    # The half-normal prior on the SD, and the volume that moving its logarithm has.
    prior = np.log(factors) - 0.5 * (factors * 0.1) ** 2
    expected = [dense(columns[0], f) for f in factors] + prior
    np.testing.assert_allclose(np.diff(found), np.diff(expected), atol=1e-9)


def test_straight_lines_are_the_engines() -> None:
    ds = ablation(3, seeds=2, shares=(0.5, 1.0), n_words=20)
    ds = ds.assign_coords(progress=("model", [0.5, 1.0] * (ds.sizes["model"] // 2)))
    # Runs share effects of the run, so that the reduction has several parts to keep apart.
    with warnings.catch_warnings():
        # There is one base a family.
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit(
            ds, "~ family * log2(n_pairs)", base=None, outcome="raw", draws=1500, tune=400,
            chains=2, seed=1, progress=False,
        )  # fmt: skip
    crossing = fit.problem.crossing
    weights = next(iter(category_contrasts(crossing.categories, None).values()))
    recovery = fit
    model = lean_model(fit.problem, recovery.margins, recovery.v, weights, SIGN)
    basis = model.span(crossing.design.matrix)
    leans = model.within(basis)
    rows = np.broadcast_to(basis.T @ crossing.design.matrix, (leans.n_draws, basis.shape[1], 4))
    rng = np.random.default_rng(1)
    drawn = leans.draw(rows, np.ones(leans.n_draws), rng)
    on_axes = crossing.contrast_weights(weights)
    engine = np.einsum(
        "cdafj,j,f->cda", fit.tree["posterior"]["coefficient"].to_numpy(), on_axes, SIGN
    ).reshape(-1, 4)
    apart = (drawn.mean(axis=0) - engine.mean(axis=0)) / engine.std(axis=0)
    np.testing.assert_allclose(apart, 0, atol=0.15)
    np.testing.assert_allclose(drawn.std(axis=0), engine.std(axis=0), rtol=0.12)


def drawn_from(lean: np.ndarray, design: ModelDesign, *, draws: int, **parts: float) -> LeanDraws:
    scales = np.array([1.0, 0.5, 0.5, 0.5])
    model = LeanModel(lean[None], parts_of(design, draws=draws, **parts), scales)
    rng = np.random.default_rng(2)
    return draw_leans({"signed": model}, design, levelling=True, rng=rng)["signed"]


@pytest.mark.parametrize("level", [1.0, 2.0, 3.0])
def test_a_level_in_the_range_is_found_whatever_both_families_do(level: float) -> None:
    design = layout({"A": QUANTITIES, "B": QUANTITIES}, seeds=4)
    models = design.models
    n = models["n_pairs"].to_numpy(dtype=float)
    turn = np.where(models["family"] == "A", 0.5, -0.5)
    # What both do is no line at all.
    common = 0.4 * np.sin(2 * np.log2(n / 1000))
    lean = common + turn * bent(0.8, -0.6, level, n)
    lean += 0.02 * np.random.default_rng(1).normal(size=len(n))
    drawn = drawn_from(lean, design, draws=400, run=0.02, base=0.02)
    at = np.log2(drawn.level[0, :, 0] / QUANTITIES[0])
    assert np.mean(np.abs(np.minimum(at, 3) - level) < 0.26) > 0.95
    design_curves = drawn.curves(
        design, np.zeros((4, 100, 4)), np.zeros((4, 100, len(n))), CategoryPair("a", "c")
    )
    ends = design_curves.ends("s", [1000, 2000, 4000, 8000])
    gap = design_curves.gap(("A", "B"), ends)
    np.testing.assert_allclose(
        gap.mean(axis=(0, 1)), bent(0.8, -0.6, level, ends["n_pairs"].to_numpy()), atol=0.05
    )
    # The gap is that of the leans of the cells, draw by draw.
    leans = [design_curves.lean(family, "s", 4000.0) for family in "AB"]
    np.testing.assert_allclose(leans[0] - leans[1], gap[..., 2], atol=1e-10)


def test_a_gap_that_never_changes_leaves_the_prior_on_levels() -> None:
    design = layout({"A": QUANTITIES, "B": QUANTITIES}, seeds=4)
    turn = np.where(design.models["family"] == "A", 0.5, -0.5)
    drawn = drawn_from(0.8 * turn, design, draws=2000, run=0.02)
    within = (drawn.level[0, :, 0] < QUANTITIES[-1]).mean()
    assert within == pytest.approx(1 - levels_of(list(map(float, QUANTITIES))).latest, abs=0.06)


def test_runs_that_one_family_has_for_itself_say_nothing_of_the_gap() -> None:
    design = layout({"A": QUANTITIES[:3], "B": QUANTITIES})
    rows = pair_rows(design, ("A", "B"))
    np.testing.assert_allclose(np.exp2(rows.levels["s"].at[[0, -1]]), [2000, 4000])
    # What one family has for itself is free, and so says nothing of the gap.
    assert rows.n_common == 4
    own = (design.models["n_pairs"] == 8000).to_numpy()
    np.testing.assert_array_equal(rows.columns["s"][0, own, 4:].sum(axis=0), [0, 0, 0, own.sum()])
    turn = np.where(design.models["family"] == "A", 0.5, -0.5)
    lean = turn * bent(0.8, -0.6, 3.0, design.models["n_pairs"].to_numpy(dtype=float))
    shifted = lean + 0.5 * own
    drawn = [drawn_from(one, design, draws=400, run=0.02) for one in (lean, shifted)]
    # The effects of the family, that is; what both do has moved.
    ours = [one.coefficient[..., [1, 3]] for one in drawn]
    np.testing.assert_allclose(ours[0], ours[1], atol=0.02)
    # With two numbers in common, a line goes through both anyway.
    assert pair_rows(layout({"A": QUANTITIES[:2], "B": QUANTITIES}), ("A", "B")).n_common == 2
    # With none, all that can be said is the formula's.
    rows = pair_rows(layout({"A": QUANTITIES[:2], "B": QUANTITIES[2:]}), ("A", "B"))
    assert rows.n_common == 0
    np.testing.assert_allclose(np.exp2(rows.levels["s"].at[-1]), 8000)


@pytest.mark.slow
def test_levels_are_calibrated() -> None:
    """Data from the prior: the posterior probability of a level is that of its being true."""
    design = layout({"A": QUANTITIES, "B": QUANTITIES}, bases=3)
    rows = pair_rows(design, ("A", "B"))
    scales = np.array([1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    rng = np.random.default_rng(1)
    prior = np.exp(rows.levels["s"].log_prior)
    chance, truth, ranks = [], [], []
    for _ in range(150):
        level = rng.choice(len(prior), p=prior)
        effect = scales * rng.normal(size=8)
        base = dict(zip(design.models["base"].unique(), 0.2 * rng.normal(size=6), strict=True))
        lean = rows.columns["s"][level] @ effect + design.models["base"].map(base).to_numpy()
        # The SD of runs comes from its prior, too, and is not known.
        sd = abs(rng.normal())
        lean = lean + np.hypot(sd, 0.02) * rng.normal(size=len(lean))
        parts = parts_of(design, draws=24, run=1.0)
        model = LeanModel(lean[None], parts, scales[:4])
        drawn = draw_leans({"s": model}, design, levelling=True, rng=rng)["s"]
        at = np.searchsorted(rows.levels["s"].at, np.log2(drawn.level[0, :, 0]) - 1e-9)
        chance.append(np.bincount(np.minimum(at, len(prior) - 1), minlength=len(prior)) / len(at))
        truth.append(np.eye(len(prior))[level])
        end = average_rows(
            design, pd.DataFrame({"family": ["A", "B"], "source": "s", "n_pairs": 8000.0,
                                  "progress": 1.0}), rows.levels["s"].bends,
        )  # fmt: skip
        gap = (end[:, 0] - end[:, 1]) @ effect[:4]
        found = drawn.lean[0, :, 3] - drawn.lean[0, :, 7]
        ranks.append((found < gap[level]).mean())
    off = np.mean(np.array(chance) - np.array(truth), axis=0)
    error = np.std(np.array(chance) - np.array(truth), axis=0) / np.sqrt(len(chance))
    assert (np.abs(off) < 3.5 * error).all()
    assert stats.kstest(ranks, "uniform").pvalue > 0.001


def test_departures_from_a_line_are_those_that_were_put_in() -> None:
    rng = np.random.default_rng(1)
    quantities = [1000.0, 2000.0, 4000.0, 8000.0]
    noise = rng.normal(size=(4000, 4)) * 0.01
    straight = departure_rows(quantities, np.array([0.6, 0.5, 0.4, 0.3]) + noise, prob=0.9)
    assert straight["p_straight"].iloc[0] > 0.9
    np.testing.assert_allclose(straight["straight"], [0.6, 0.5, 0.4, 0.3], atol=0.001)
    levelled = departure_rows(quantities, np.array([0.6, 0.4, 0.2, 0.2]) + noise, prob=0.9)
    np.testing.assert_allclose(levelled["mean"], [0.04, -0.02, -0.08, 0.06], atol=0.001)
    assert levelled["p_straight"].iloc[0] < 1e-6 < 0.9 < levelled["p_levelling"].iloc[0]
    turned = departure_rows(quantities, np.array([0.6, 0.4, 0.2, 0.5]) + noise, prob=0.9)
    assert turned["p_levelling"].iloc[0] < 1e-6
