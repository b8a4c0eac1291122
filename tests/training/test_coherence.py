"""Heads whose rewards are coherent along an answer, beside the loss written out token by token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from valuebias import ValueBiasError
from valuebias.ablation import Head, TemporalCoherence, fit_head, temporal_coherence

Floats = np.ndarray[Any, np.dtype[np.float64]]
D = 4


def answers(n: int = 120, seed: int = 0) -> list[Floats]:
    """Give hidden states of answers of one to six tokens, chosen and rejected in turn."""
    rng = np.random.default_rng(seed)
    made = [np.cumsum(rng.normal(size=(k, D)), axis=0) for k in rng.integers(1, 7, size=2 * n)]
    for place in range(0, 2 * n, 2):
        if made[place][-1].sum() + rng.logistic() < made[place + 1][-1].sum():
            made[place], made[place + 1] = made[place + 1], made[place]
    return made


def ends(states: list[Floats]) -> tuple[Floats, Floats]:
    last = np.array([one[-1] for one in states])
    return last[::2], last[1::2]


def loss(weights: Floats, states: list[Floats], value: float, smoothness: float) -> float:
    """Compute the mean loss from its formula, answer by answer."""
    chosen, rejected = ends(states)
    total = float(np.logaddexp(0, -(chosen - rejected) @ weights).mean())
    for one in states:
        r = one @ weights
        if len(r) > 1:
            total += value * np.mean((r[:-1] - r[-1]) ** 2) / len(states)
            total += smoothness * np.mean((r[1:] - r[:-1]) ** 2) / len(states)
    return total


@pytest.mark.parametrize(("value", "smoothness"), [(0.1, 0.01), (2.0, 0.0), (0.0, 3.0)])
@pytest.mark.parametrize("standardise", [True, False])
def test_the_head_is_the_optimum_of_the_formula(
    value: float, smoothness: float, standardise: bool
) -> None:
    states = answers()
    chosen, rejected = ends(states)
    squares = ((chosen - rejected) ** 2).mean(axis=0) if standardise else np.ones(D)
    found = fit_head(
        chosen, rejected, penalty=2.0, standardise=standardise,
        coherence=temporal_coherence(states), value_weight=value, smoothness_weight=smoothness,
    )  # fmt: skip

    def objective(weights: Floats) -> float:
        ridge = float(squares @ weights**2) / len(chosen)
        return loss(weights, states, value, smoothness) + ridge

    best = minimize(objective, np.zeros(D), method="BFGS", options={"gtol": 1e-8})
    np.testing.assert_allclose(found.weights, best.x, atol=1e-5)
    assert (found.value_weight, found.smoothness_weight) == (value, smoothness)
    assert found.gradient_norm < 1e-8
    plain = fit_head(chosen, rejected, penalty=2.0, standardise=standardise)
    assert np.abs(plain.weights - found.weights).max() > 0.01
    # What the terms ask for is what they bring.
    made = temporal_coherence(states)
    term = "value" if value else "smoothness"
    assert made.of(found)[term] < made.of(plain)[term]


def test_the_forms_are_the_means_of_the_formula() -> None:
    states = answers(20)
    made = temporal_coherence(iter(states))
    weights = np.random.default_rng(1).normal(size=D)
    for term, first in (("value", (1.0, 0.0)), ("smoothness", (0.0, 1.0))):
        difference = loss(weights, states, *first) - loss(weights, states, 0, 0)
        assert made.of(weights)[term] == pytest.approx(difference, rel=1e-9)
    assert made.n_answers == 40
    assert made.n_single == sum(len(one) == 1 for one in states) > 0


def test_of_the_paper_are_the_default_weights() -> None:
    states = answers()
    made = temporal_coherence(states)
    by_default = fit_head(*ends(states), coherence=made)
    told = fit_head(*ends(states), coherence=made, value_weight=0.1, smoothness_weight=0.01)
    np.testing.assert_array_equal(by_default.weights, told.weights)
    assert (by_default.value_weight, by_default.smoothness_weight) == (0.1, 0.01)


def test_without_weights_it_is_bradley_terry() -> None:
    states = answers()
    made = temporal_coherence(states)
    none = fit_head(*ends(states), coherence=made, value_weight=0, smoothness_weight=0)
    np.testing.assert_array_equal(none.weights, fit_head(*ends(states)).weights)
    assert none.value_weight == 0


def test_with_the_terms_a_head_needs_no_penalty() -> None:
    """They bound the weights where pairs are separable."""
    states = answers(30)
    chosen, rejected = ends(states)
    ahead = (chosen - rejected).sum(axis=1) > 0
    chosen, rejected = (
        np.where(ahead[:, None], a, b) for a, b in ((chosen, rejected), (rejected, chosen))
    )
    with pytest.raises(ValueBiasError, match="separable"):
        fit_head(chosen, rejected, penalty=0)
    head = fit_head(chosen, rejected, penalty=0, coherence=temporal_coherence(states))
    assert head.gradient_norm < 1e-8
    both = fit_head(
        chosen, rejected, penalty=0, coherence=temporal_coherence(states),
        center_rewards_coefficient=0.5,
    )  # fmt: skip
    assert np.abs(both.weights - head.weights).max() > 1e-3


def test_a_head_is_kept_with_its_weights_and_earlier_ones_are_read(tmp_path: Path) -> None:
    states = answers()
    head = fit_head(*ends(states), coherence=temporal_coherence(states), value_weight=0.3)
    head.save(tmp_path / "head.npz")
    assert Head.load(tmp_path / "head.npz").value_weight == 0.3
    with np.load(tmp_path / "head.npz") as stored:
        earlier = {
            n: v for n, v in stored.items() if n not in ("value_weight", "smoothness_weight")
        }
    np.savez(tmp_path / "earlier.npz", allow_pickle=False, **earlier)
    assert Head.load(tmp_path / "earlier.npz").value_weight == 0.0


@pytest.mark.parametrize(
    ("states", "message"),
    [
        ([], "None of the 0 answers has two tokens or more"),
        ([np.ones((1, 3)), np.ones((1, 3))], "None of the 2 answers has two tokens or more"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"answer 1 has the shape \(2, 4\); expected .* 3 col"),
        ([np.ones(3)], r"answer 0 has the shape \(3,\)"),
        ([np.ones((0, 3))], r"answer 0 has the shape \(0, 3\)"),
        ([np.full((2, 3), np.nan)], "answer 0 has 6 values that are NaN"),
        ([[["a"]]], "answer 0 has the dtype"),
    ],
)
def test_bad_states(states: Any, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        temporal_coherence(states)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value_weight": -0.1}, "value_weight is -0.1; expected a number of at least 0"),
        ({"smoothness_weight": np.inf}, "smoothness_weight is inf"),
        ({"value_weight": "0.1"}, "value_weight is '0.1'"),
        ({"coherence": None, "value_weight": 0.1}, "there is no coherence, whose terms it weighs"),
        ({"coherence": np.eye(D)}, "coherence is of type ndarray"),
        ({"coherence": TemporalCoherence(np.eye(9), np.eye(9), 2, 0)}, "is of 9 features"),
    ],
)
def test_bad_weights(changes: dict[str, Any], message: str) -> None:
    states = answers(20)
    with pytest.raises(ValueBiasError, match=message):
        fit_head(*ends(states), **{"coherence": temporal_coherence(states), **changes})


def test_weights_of_another_width_are_refused() -> None:
    with pytest.raises(ValueBiasError, match=r"shape \(3,\); expected 4 finite"):
        temporal_coherence(answers(5)).of(np.ones(3))
