"""The exact reward head, against other ways to the same optimum, and where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from valuebias import ValueBiasError
from valuebias.ablation import Head, fit_head, fit_path
from valuebias.training.head import both_sides
from valuebias.training.solving import Problem

Floats = npt.NDArray[np.float64]


def pairs(n: int = 400, d: int = 6, seed: int = 0) -> tuple[Floats, Floats]:
    """Features of very different scales, correlated, with a preference that follows them."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(d, d)) * np.logspace(-2, 2, d)
    chosen, rejected = (rng.normal(size=(n, d)) @ mixing + 3 for _ in range(2))
    margins = (chosen - rejected) @ rng.normal(size=d)
    swapped = 1.5 * margins / margins.std() < rng.logistic(size=n)
    chosen[swapped], rejected[swapped] = rejected[swapped], chosen[swapped]
    return chosen, rejected


def by_newton(chosen: Floats, rejected: Floats, ridge: Floats, centring: float) -> Floats:
    """Find the optimum by plain Newton steps from zero, each halved while it does not help."""
    x, s = chosen - rejected, chosen + rejected
    w = np.zeros(x.shape[1])

    def loss(w: Floats) -> float:
        centred = centring * ((s @ w) ** 2).sum()
        return float(np.logaddexp(0, -x @ w).sum() + ridge @ w**2 / 2 + centred)

    for _ in range(100):
        p = 1 / (1 + np.exp(x @ w))
        gradient = ridge * w - x.T @ p + 2 * centring * s.T @ (s @ w)
        hessian = (x.T * (p * (1 - p))) @ x + np.diag(ridge) + 2 * centring * s.T @ s
        step = np.linalg.solve(hessian, gradient)
        while loss(w - step) > loss(w) and np.abs(step).max() > 1e-14:
            step /= 2
        w = w - step
    return w


def same(found: Floats, expected: Floats) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())


def test_without_a_penalty_it_is_a_logistic_regression_without_intercept() -> None:
    chosen, rejected = pairs()
    head = fit_head(chosen, rejected, penalty=0)
    # Which answer comes first is arbitrary: every second pair the other way round.
    y = np.arange(len(chosen)) % 2
    x = (chosen - rejected) * (2 * y - 1)[:, None]
    scale = x.std(axis=0)
    logit = sm.Logit(y, x / scale).fit(disp=False, method="newton", tol=1e-12)
    np.testing.assert_allclose(head.weights * scale, logit.params, rtol=1e-6)
    assert head.loss == pytest.approx(-logit.llf / len(y), rel=1e-10)
    assert head.accuracy == np.mean((logit.predict() > 0.5) == y)
    assert head.gradient_norm < 1e-12
    assert head.n_pairs == 400


@pytest.mark.parametrize("centring", [0, 0.01])
@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("penalty", [0.3, 50])
def test_with_penalties_it_is_where_newton_ends(
    penalty: float, standardise: bool, centring: float
) -> None:
    chosen, rejected = pairs()
    head = fit_head(
        chosen,
        rejected,
        penalty=penalty,
        standardise=standardise,
        center_rewards_coefficient=centring,
    )
    squares = ((chosen - rejected) ** 2).mean(axis=0)
    ridge = penalty * squares if standardise else np.full(6, float(penalty))
    same(head.weights, by_newton(chosen, rejected, ridge, centring))
    assert head.gradient_norm < 1e-12
    assert (head.penalty, head.center_rewards_coefficient, head.standardised) == (
        penalty,
        centring,
        standardise,
    )


def test_the_default_penalty_is_the_number_of_features_that_differ() -> None:
    chosen, rejected = pairs()
    chosen, rejected = (np.insert(side, 2, 5.0, axis=1) for side in (chosen, rejected))
    head = fit_head(chosen, rejected)
    assert head.penalty == 6
    assert head.weights[2] == 0
    same(head.weights, fit_head(chosen, rejected, penalty=6).weights)


def test_centring_pulls_the_sum_of_rewards_to_zero_and_costs_loss() -> None:
    chosen, rejected = pairs()

    def size(head: Head) -> float:
        return float(np.mean((head.score(chosen) + head.score(rejected)) ** 2))

    heads = [
        fit_head(chosen, rejected, penalty=1, center_rewards_coefficient=value)
        for value in (0, 0.01, 1)
    ]
    sizes = [size(head) for head in heads]
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2]
    assert heads[0].loss < heads[1].loss < heads[2].loss


def test_more_features_than_pairs() -> None:
    chosen, rejected = pairs(n=30, d=80)
    head = fit_head(chosen, rejected)
    ridge = head.penalty * ((chosen - rejected) ** 2).mean(axis=0)
    same(head.weights, by_newton(chosen, rejected, ridge, 0))


def test_exactly_collinear_features_share_a_weight() -> None:
    chosen, rejected = (np.hstack([side, side[:, :1]]) for side in pairs())
    head = fit_head(chosen, rejected)
    assert head.weights[0] == pytest.approx(head.weights[6], rel=1e-6)


@given(st.integers(0, 2**32), st.floats(0.01, 100), st.floats(-6, 6))
def test_symmetries(seed: int, penalty: float, power: float) -> None:
    chosen, rejected = pairs(n=60, d=4, seed=seed)
    head = fit_head(chosen, rejected, penalty=penalty)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(60), rng.permutation(4)
    permuted = fit_head(chosen[rows][:, columns], rejected[rows][:, columns], penalty=penalty)
    same(permuted.weights, head.weights[columns])
    swapped = fit_head(rejected, chosen, penalty=penalty)
    same(swapped.weights, -head.weights)
    scaled = fit_head(chosen * 10**power, rejected * 10**power, penalty=penalty)
    same(scaled.weights * 10**power, head.weights)
    shifted = fit_head(chosen + 7, rejected + 7, penalty=penalty)
    np.testing.assert_allclose(shifted.loss, head.loss, rtol=1e-9)
    assert np.log(2) > head.loss > 0
    far = fit_head(chosen, rejected, penalty=penalty, start=head.weights * -3 + 1)
    same(far.weights, head.weights)


@given(st.integers(0, 2**32))
def test_gradient_and_curvature_are_those_of_the_value(seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 5))
    problem = Problem(rng.normal(size=(20, 5)), rng.uniform(0, 3, size=5), root @ root.T)
    weights, direction = rng.normal(size=(2, 5))
    step = 1e-5 * direction
    ahead, behind = (problem.value_and_gradient(weights + sign * step) for sign in (1, -1))
    gradient = problem.value_and_gradient(weights)[1]
    assert (ahead[0] - behind[0]) / 2e-5 == pytest.approx(float(gradient @ direction), abs=1e-6)
    product = problem.curvature(weights, direction)
    np.testing.assert_allclose((ahead[1] - behind[1]) / 2e-5, product, atol=1e-5)
    np.testing.assert_allclose(problem.hessian(weights) @ direction, product, rtol=1e-9)


def test_no_other_weights_are_better() -> None:
    chosen, rejected = pairs()
    squares = ((chosen - rejected) ** 2).mean(axis=0)
    head = fit_head(chosen, rejected, penalty=2)

    def objective(weights: Floats) -> float:
        margins = (chosen - rejected) @ weights
        return float(np.logaddexp(0, -margins).sum() + (squares * weights**2).sum())

    rng = np.random.default_rng(1)
    for size in (1e-1, 1e-3, 1e-5):
        moved = head.weights + size * rng.normal(size=(50, 6)) / np.sqrt(squares)
        assert min(map(objective, moved)) > objective(head.weights)


def test_a_path_is_the_same_as_fits_one_by_one() -> None:
    chosen, rejected = pairs(n=3000, d=20)
    heads = fit_path(chosen, rejected, [3000, 100, 1000, 2900, 1000], progress=False)
    assert list(heads) == [100, 1000, 2900, 3000]
    for quantity, head in heads.items():
        alone = fit_head(chosen[:quantity], rejected[:quantity])
        same(head.weights, alone.weights)
        assert head.n_pairs == quantity
    assert heads[3000].n_iterations < alone.n_iterations


def test_scores_and_held_out_pairs() -> None:
    chosen, rejected = pairs(n=2000)
    head = fit_head(chosen[:1000], rejected[:1000])
    rewards = head.score(chosen[1000:])
    assert rewards.shape == (1000,)
    assert rewards.dtype == np.float64
    np.testing.assert_allclose(rewards, chosen[1000:] @ head.weights)
    assert head.score(chosen.reshape(50, 40, 6)).shape == (50, 40)
    found = head.evaluate(chosen[1000:], rejected[1000:])
    margins = rewards - head.score(rejected[1000:])
    assert found["accuracy"] == np.mean(margins > 0) > 0.7
    assert found["loss"] == pytest.approx(np.log1p(np.exp(-margins)).mean())
    assert found["n_pairs"] == 1000
    assert head.evaluate(chosen, chosen) == {
        "n_pairs": 2000, "accuracy": 0.5, "loss": pytest.approx(np.log(2)),
    }  # fmt: skip
    within = head.evaluate(chosen[:1000], rejected[:1000])
    assert within["loss"] == pytest.approx(head.loss)
    assert within["accuracy"] == head.accuracy


@pytest.mark.parametrize("dtype", ["float16", "float32", "int64"])
def test_other_dtypes(dtype: str) -> None:
    chosen, rejected = (np.round(side, 1).astype(dtype) for side in pairs())
    wide = [side.astype(np.float64) for side in (chosen, rejected)]
    same(fit_head(chosen, rejected).weights, fit_head(*wide).weights)


def test_a_saved_head_comes_back_as_it_was(tmp_path: Path) -> None:
    head = fit_head(*pairs(), center_rewards_coefficient=0.1)
    head.save(tmp_path / "new" / "head.npz")
    back = Head.load(tmp_path / "new" / "head.npz")
    np.testing.assert_array_equal(back.weights, head.weights)
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["head.npz"]
    for name in ("loss", "accuracy", "n_pairs", "n_iterations", "gradient_norm", "penalty"):
        assert getattr(back, name) == getattr(head, name)
        assert type(getattr(back, name)) is type(getattr(head, name))
    assert back.standardised is True
    again = fit_head(*pairs(), center_rewards_coefficient=0.1, start=back)
    same(again.weights, head.weights)
    assert again.n_iterations <= 3


def test_files_that_hold_no_head(tmp_path: Path) -> None:
    head = fit_head(*pairs())
    with pytest.raises(ValueBiasError, match=r"does not end in \.npz"):
        head.save(tmp_path / "head.safetensors")
    path = tmp_path / "head.npz"
    head.save(path)
    whole = path.read_bytes()
    contents = [whole[:-40], b"", b"text", whole[:100]]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(ValueBiasError, match="holds no head"):
            Head.load(path)
    with path.open("wb") as handle:
        np.save(handle, np.zeros(3))
    with pytest.raises(ValueBiasError, match="holds no head"):
        Head.load(path)
    np.savez(path, allow_pickle=False, other=np.zeros(3))
    with pytest.raises(ValueBiasError, match="holds no head"):
        Head.load(path)
    with pytest.raises(ValueBiasError, match="is not there"):
        Head.load(tmp_path / "none.npz")


def apart() -> tuple[Floats, Floats]:
    chosen, rejected = pairs()
    ahead = (chosen - rejected) @ np.ones(6) > 0
    chosen[~ahead], rejected[~ahead] = rejected[~ahead], chosen[~ahead]
    return chosen, rejected


def apart_in_part() -> tuple[Floats, Floats]:
    """One feature tells three pairs, and is zero in all others."""
    sides = pairs()
    marks = np.zeros((400, 1))
    marks[[5, 50, 300]] = 1
    return np.hstack([sides[0], marks]), np.hstack([sides[1], 0 * marks])


def tied_in_part() -> tuple[Floats, Floats]:
    """Every margin is at least zero, and most are zero."""
    x = np.zeros((50, 2))
    x[:25, 0], x[25:, 1] = 1, np.where(np.arange(25) % 3, 1, -1)
    return x, 0 * x


@pytest.mark.parametrize("make", [apart, apart_in_part, tied_in_part])
def test_separable_pairs_need_a_penalty(make: Callable[[], tuple[Floats, Floats]]) -> None:
    chosen, rejected = make()
    with pytest.raises(ValueBiasError, match=r"separable.*no optimum is finite.*Give a penalty"):
        fit_head(chosen, rejected, penalty=0)
    for penalty in (None, 1e-3):
        assert fit_head(chosen, rejected, penalty=penalty).gradient_norm < 1e-8


def test_collinear_features_need_a_penalty() -> None:
    chosen, rejected = (np.hstack([side, side[:, :1]]) for side in pairs())
    with pytest.raises(ValueBiasError, match=r"1 of 7 directions .* collinear"):
        fit_head(chosen, rejected, penalty=0)
    with pytest.raises(ValueBiasError, match="5 pairs of 6 features"):
        fit_head(*pairs(n=5), penalty=0)


def test_badly_scaled_features_need_none() -> None:
    """Nearly collinear is not collinear: what can be told from the pairs is."""
    chosen, rejected = pairs(n=2000)
    rng = np.random.default_rng(0)
    near = [
        np.hstack([s, s[:, :1] + 1e-3 * rng.normal(size=(2000, 1))]) for s in (chosen, rejected)
    ]
    head = fit_head(near[0], near[1], penalty=0)
    assert head.gradient_norm < 1e-10
    same(head.weights, by_newton(near[0], near[1], np.zeros(7), 0))


X = np.arange(6.0).reshape(3, 2) ** 2


def put(value: float) -> Floats:
    changed = X.copy()
    changed[1, 1] = value
    return changed


@pytest.mark.parametrize(
    ("chosen", "rejected", "options", "message"),
    [
        (put(np.nan), -X, {}, r"chosen has 1 values .* \(nan\) in row 1, feature 1"),
        (X, put(-np.inf), {}, r"rejected has 1 values .* \(-inf\) in row 1, feature 1"),
        (put(np.inf), put(np.inf), {}, "chosen has 1 values"),
        (put(1.7e308), put(-1.7e308), {}, "too large to subtract"),
        (X, X[:2], {}, r"shapes \(3, 2\) and \(2, 2\)"),
        (X[0], X[0], {}, r"shapes \(2,\) and \(2,\)"),
        (X[:0], X[:0], {}, "at least one of each"),
        (X.astype(str), X, {}, "chosen has the dtype"),
        (X, X, {}, "All 3 pairs have the same features"),
        (X, -X, {"penalty": -1}, "penalty is -1"),
        (X, -X, {"penalty": np.nan}, "penalty is nan"),
        (X, -X, {"penalty": "big"}, "penalty is 'big'"),
        (X, -X, {"center_rewards_coefficient": np.inf}, "center_rewards_coefficient is inf"),
        (X, -X, {"standardise": False}, "Give penalty= where"),
        (X, -X, {"start": [1.0]}, r"start has the shape \(1,\); expected 2"),
        (X, -X, {"start": [1.0, np.nan]}, "expected 2 finite numbers"),
    ],
)
def test_what_cannot_be_fitted(
    chosen: Any, rejected: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueBiasError, match=message):
        fit_head(chosen, rejected, **options)


def test_what_cannot_be_scored() -> None:
    head = fit_head(X, -X)
    for features, message in (
        (np.zeros((2, 3)), "expected 2 on the last axis"),
        (np.float64(3), "expected 2 on the last axis"),
        (put(np.nan), "features has 1 values"),
    ):
        with pytest.raises(ValueBiasError, match=message):
            head.score(features)


@pytest.mark.parametrize("n_pairs", [[], [0], [4], [2.0]])
def test_numbers_of_pairs_that_are_none(n_pairs: Any) -> None:
    with pytest.raises(ValueBiasError, match="n_pairs"):
        fit_path(X, -X, n_pairs, progress=False)


@pytest.mark.slow
def test_fifty_thousand_pairs(record_property: Callable[[str, object], None]) -> None:
    rng = np.random.default_rng(0)
    n, d = 50_000, 640
    mixing = rng.normal(size=(d, d)) * np.exp(rng.normal(size=d)) / np.sqrt(d)
    chosen, rejected = ((rng.normal(size=(n, d)) @ mixing).astype(np.float32) for _ in range(2))
    margins = (chosen - rejected) @ rng.normal(size=d)
    swapped = margins / margins.std() < rng.logistic(size=n)
    chosen[swapped], rejected[swapped] = rejected[swapped].copy(), chosen[swapped].copy()
    start = time.perf_counter()
    head = fit_head(*both_sides(chosen, rejected))
    record_property("seconds of a head of 50,000 pairs x 640", time.perf_counter() - start)
    assert head.gradient_norm < 1e-12
    assert head.n_iterations < 40
