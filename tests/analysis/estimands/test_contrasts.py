"""Estimands: which there are, and that they are the combinations they say."""

from __future__ import annotations

import numpy as np
import pytest
from dense import make_problem, some_theta

from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.contrasts import estimands
from valuebias.analysis.estimands.effects import draw_effects, make_margins
from valuebias.analysis.estimands.estimand import CategoryPair, stack_draws, summarise_contrasts
from valuebias.analysis.estimands.weights import category_contrasts, framing_contrasts
from valuebias.errors import ValueBiasError

N = 4000


def test_agency_comes_before_communion_whatever_their_order() -> None:
    for names in (("communion", "agency"), ("Agency", "Communion")):
        (pair, weights), *rest = category_contrasts(names, None).items()
        first = names[int(np.argmax(weights))]
        assert (pair.first, rest) == (first, [])
        assert first.lower() == "agency"


def test_two_categories_are_compared_in_order_and_more_each_with_the_others() -> None:
    assert {k: v.tolist() for k, v in category_contrasts(("b", "a"), None).items()} == {
        ("b", "a"): [1, -1]
    }
    many = category_contrasts(("a", "b", "c"), None)
    assert {k: v.tolist() for k, v in many.items()}["b", ""] == [-0.5, 1, -0.5]
    assert [pair.label for pair in many] == ["a − others", "b − others", "c − others"]
    assert category_contrasts(("a", "b", "c"), ("c", "a"))[CategoryPair("c", "a")].tolist() == [
        -1,
        0,
        1,
    ]


@pytest.mark.parametrize("contrast", ["ab", ("a",), ("a", "b", "c"), 5, ("a", "x"), ("a", "a"), ()])
def test_a_contrast_that_is_none_is_refused(contrast: object) -> None:
    with pytest.raises(ValueBiasError, match="contrast"):
        category_contrasts(("a", "b", "c"), contrast)  # type: ignore[arg-type]


def test_signed_is_half_the_difference_of_the_framings() -> None:
    both = framing_contrasts(("positive", "negative"))
    assert {k: v.tolist() for k, v in both.items()} == {
        "signed": [0.5, -0.5],
        "positive": [1, 0],
        "negative": [0, 1],
    }
    # With one framing a lean is signed by it alone.
    assert framing_contrasts(("negative",))["signed"].tolist() == [-1]


@pytest.fixture(scope="module")
def made():
    problem = make_problem(formula="~ family + size", words=("x",) * 4 + ("y",) * 5)
    crossing, components = problem.crossing, problem.components
    theta = some_theta(components, np.random.default_rng(1))
    v = np.broadcast_to(theta.v, (N, components.n_variances))
    margins = make_margins(crossing, make_tables(crossing, crossing.y))
    rng = np.random.default_rng(2)
    effects = draw_effects(crossing, components, margins, v, problem.coefficient_scales, rng)
    items = estimands(crossing, components, effects, v, None, rng)
    return problem, theta, effects, items


def draws_of(items, kind: str, name: str, framing: str) -> np.ndarray:
    (found,) = [e for e in items if (e.kind, e.name, e.framing) == (kind, name, framing)]
    return found.draws


def test_the_headline_is_first_and_every_estimand_is_there_once(made) -> None:
    items = made[3]
    head = items[0]
    assert (head.kind, head.name, head.framing) == ("family difference", "A − B", "signed")
    keys = [(e.kind, e.name, e.framing, e.category) for e in items]
    assert len(set(keys)) == len(keys)
    assert {e.kind for e in items} == {
        "family difference",
        "family difference, these words",
        "family lean",
        "predicted lean",
        "predicted lean, these words",
        "slope",
        "overall lean",
        "model lean",
    }


def test_differences_leans_and_framings_add_up(made) -> None:
    items = made[3]
    for framing in ("signed", "positive", "negative"):
        a, b = (draws_of(items, "family lean", g, framing) for g in "AB")
        difference = draws_of(items, "family difference", "A − B", framing)
        np.testing.assert_allclose(difference, a - b, atol=1e-12)
    signed, positive, negative = (
        draws_of(items, "overall lean", "all models", f) for f in ("signed", "positive", "negative")
    )
    np.testing.assert_allclose(signed, (positive - negative) / 2, atol=1e-12)


def test_leans_are_differences_of_category_effects(made) -> None:
    problem, _, effects, items = made
    crossing = problem.crossing
    # What a model's words of each category are expected to score, read off cell by cell.
    cube = np.einsum("mq,sqfj->smfj", crossing.design.matrix, effects.coefficient)
    words = (cube + effects.model) @ crossing.word_basis.T
    x = crossing.membership[:, 0] > 0
    lean = words[..., x].mean(axis=-1) - words[..., ~x].mean(axis=-1)
    for m, name in enumerate(crossing.models):
        drawn = draws_of(items, "model lean", name, "positive")
        np.testing.assert_allclose(drawn, lean[:, m, 0], atol=1e-10)


def test_an_unseen_model_adds_the_spread_of_its_kind(made) -> None:
    problem, theta, _, items = made
    c = problem.components.names.index("model_category")
    sd, r = theta.sd[c], theta.correlation[c]
    # The difference of two categories has twice the variance; signed, a quarter over framings.
    variance = 2 * (sd @ sd - 2 * r * sd[0] * sd[1]) / 4
    extra = draws_of(items, "predicted lean", "A", "signed") - draws_of(
        items, "family lean", "A", "signed"
    )
    assert extra.mean() == pytest.approx(0, abs=5 * np.sqrt(variance / N))
    assert extra.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / N))


def test_a_table_of_draws_says_what_the_draws_say(made) -> None:
    draws = stack_draws(made[3], chains=4)
    assert draws.dims == ("chain", "draw", "estimand")
    np.testing.assert_array_equal(draws[..., 0].to_numpy().ravel(), made[3][0].draws)
    table = summarise_contrasts(draws, 0.8, 0.3)
    x, row = made[3][0].draws, table.iloc[0]
    assert row["mean"] == pytest.approx(x.mean())
    assert row["median"] == pytest.approx(np.median(x))
    assert row["sd"] == pytest.approx(x.std(ddof=1))
    assert (row["lower"], row["upper"]) == pytest.approx(tuple(np.quantile(x, [0.1, 0.9])))
    assert row["p_direction"] == pytest.approx(max((x > 0).mean(), (x < 0).mean()))
    assert row["p_rope"] == pytest.approx((np.abs(x) < 0.3).mean())
    assert row["rhat"] == pytest.approx(1, abs=0.01)
