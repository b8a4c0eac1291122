"""Items of a contrast set as words of a crossing: the same model as written out in full."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from contrast_worlds import world

from valuebias.analysis.design.items import ItemLayout
from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.effects import draw_effects, make_margins
from valuebias.analysis.hierarchical import Model, Problem, make_problem
from valuebias.analysis.outcome import outcome
from valuebias.schema.contrast_categories import average_by

BASES = ["x", "x", "y", "u", "u", "v", "w"]


def problem(seed: int, *, variants: str = "abc", bases: list[str] | None = None) -> Problem:
    made = world(seed, n_items=12, variants=tuple(variants), families=(3, 4), bases=bases)
    data = average_by(made.scores, None).data
    return make_problem(data, Model("~ family", "scaled", by="variant"), None)


def differences(one: Problem) -> np.ndarray:
    """Give contrasts of the variants, flat: (model · item · contrast,)."""
    crossing = one.crossing
    layout = ItemLayout(len(crossing.items), len(crossing.categories))
    return (layout.to_items(crossing.y[:, 0]) @ layout.contrasts).ravel()


def full_covariance(one: Problem, v: np.ndarray) -> np.ndarray:
    """Write the covariance of the contrasts out, term by term."""
    crossing, components = one.crossing, one.components
    n_models, n_items, n_groups = crossing.shape[0], len(crossing.items), len(crossing.categories)
    every, each, on_contrasts = np.ones((n_items,) * 2), np.eye(n_items), np.eye(n_groups - 1)
    x, kind = crossing.design.matrix, crossing.space.kind_of
    base = crossing.space.group("base")

    def sd(name: str) -> np.ndarray:
        index = components[name].index
        return np.sqrt([v[index[k if len(index) > 1 else 0][0]] for k in kind])

    def between(name: str, alike: np.ndarray) -> np.ndarray:
        return alike * np.outer(sd(name), sd(name))

    over_all = [(x * one.coefficient_scales**2) @ x.T, between("model_category", np.eye(n_models))]
    on_items = [between("word", np.ones((n_models,) * 2)), between("residual", np.eye(n_models))]
    on_items += [between("word:family", x[:, 1:] @ x[:, 1:].T)]
    if base is not None:
        over_all.append(between("base_category", base.alike))
        on_items.append(between("base_word", base.alike))
    return np.kron(np.kron(sum(over_all), every) + np.kron(sum(on_items), each), on_contrasts)


@pytest.mark.parametrize("variants", ["ab", "abc", "abcd"])
@pytest.mark.parametrize("bases", [None, BASES])
def test_the_likelihood_is_that_of_the_whole_table(variants: str, bases: list[str] | None) -> None:
    one = problem(1, variants=variants, bases=bases)
    z, rng = differences(one), np.random.default_rng(2)
    gaps = []
    for _ in range(3):
        v = rng.uniform(0.05, 1.0, one.components.n_variances)
        covariance = full_covariance(one, v)
        full = -0.5 * (np.linalg.slogdet(covariance)[1] + z @ np.linalg.solve(covariance, z))
        gaps.append(full - one.packed(v)[0])
    assert np.ptp(gaps) == pytest.approx(0.0, abs=1e-8 * len(z))


def test_means_are_those_of_generalised_least_squares() -> None:
    one = problem(3, bases=BASES)
    crossing, n = one.crossing, 40_000
    v = np.random.default_rng(4).uniform(0.05, 0.5, one.components.n_variances)
    margins = make_margins(crossing, make_tables(crossing, crossing.y))
    scales = one.coefficient_scales
    drawn = draw_effects(
        crossing, one.components, margins, np.tile(v, (n, 1)), scales, np.random.default_rng(5)
    )
    covariance = full_covariance(one, v)
    n_items, n_contrasts = len(crossing.items), len(crossing.categories) - 1
    # (model · item · contrast, column · contrast): each coefficient on each contrast.
    loads = np.einsum(
        "mq,i,jk->mijqk", crossing.design.matrix, np.ones(n_items), np.eye(n_contrasts)
    )
    loads = loads.reshape(len(covariance), -1)
    prior = np.repeat(scales**2, n_contrasts)[:, None]
    gain = prior * np.linalg.solve(covariance, loads).T
    mean, spread = gain @ differences(one), np.diag(prior.ravel()) - gain @ loads * prior.T
    found = drawn.coefficient[:, :, 0] / np.sqrt(n_items)
    found = found.reshape(n, -1)
    error = np.sqrt(np.diag(spread) / n)
    assert (np.abs(found.mean(axis=0) - mean) < 5 * error).all()
    assert found.std(axis=0) == pytest.approx(np.sqrt(np.diag(spread)), rel=0.03)


def test_items_come_back_from_the_words_that_they_are_laid_out_as() -> None:
    layout, rng = ItemLayout(7, 3), np.random.default_rng(6)
    table = rng.standard_normal((4, 7, 3))
    words = layout.to_words(table)
    assert words.shape == (4, 7 * 2 + 1)
    np.testing.assert_allclose(words.mean(axis=-1), 0.0, atol=1e-14)
    centred = table - table.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(layout.to_items(words), centred, atol=1e-13)
    np.testing.assert_allclose((words**2).sum(), (centred**2).sum())


def test_the_effect_of_a_variant_is_its_mean_over_items() -> None:
    one = problem(7)
    crossing = one.crossing
    weights = np.array([1.0, 0.0, -1.0])
    on_axes = crossing.y[:, 0] @ crossing.word_basis @ crossing.contrast_weights(weights)
    data = average_by(world(7, n_items=12, variants="abc", families=(3, 4)).scores, None).data
    scaled = outcome(data, kind="scaled").transpose("model", "prompt", "response").to_numpy()
    np.testing.assert_allclose(on_axes, (scaled @ weights).mean(axis=1), atol=1e-12)


@pytest.mark.parametrize(
    ("families", "absent"),
    [((1,), {"word"}), ((1, 1), {"word:family"}), ((3, 3), set())],
)
def test_what_cannot_be_told_apart_is_not_in_the_model(
    families: tuple[int, ...], absent: set[str]
) -> None:
    data = average_by(world(8, families=families).scores, None).data
    formula = "~ 1" if len(families) == 1 else "~ family"
    names = set(make_problem(data, Model(formula, "scaled", by="variant"), None).components.names)
    every = {"model_category", "word", "residual"}
    every |= {"word:family"} if len(families) > 1 else set()
    assert names == every - absent


def test_scores_are_in_sds_of_their_model() -> None:
    scores = world(9, variants=("a", "b", "c")).scores
    factor = xr.DataArray(np.linspace(1, 50, scores.sizes["model"]), dims="model")
    other = scores.assign(score=(scores["score"] * factor + 3).astype("float32"))
    one, two = (
        outcome(average_by(ds, None).data, kind="scaled").to_numpy() for ds in (scores, other)
    )
    np.testing.assert_allclose(np.diff(one), np.diff(two), atol=2e-4)
    all_of_one = scores["score"].isel(model=2).to_numpy()
    expected = all_of_one[:, 0] / all_of_one.std(ddof=1)
    np.testing.assert_allclose(one[2, :, 0], expected, rtol=1e-5)
