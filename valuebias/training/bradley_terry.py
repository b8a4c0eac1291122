"""The reward head that fits preferences best: an exact Bradley–Terry regression on features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.checks import check_number, check_whole
from valuebias._core.progress import progress_bar
from valuebias.errors import ValueBiasError
from valuebias.training.coherence import SMOOTHNESS_WEIGHT, VALUE_WEIGHT, TemporalCoherence
from valuebias.training.head import Head, both_sides, check_finite, measured, numbers
from valuebias.training.solving import Problem, check_bounded, solve

__all__ = ["Head", "fit_head", "fit_path"]

Floats = npt.NDArray[np.float64]

_BLOCK = 4096


def fit_head(
    chosen: npt.ArrayLike,
    rejected: npt.ArrayLike,
    *,
    penalty: float | None = None,
    standardise: bool = True,
    center_rewards_coefficient: float = 0.0,
    coherence: TemporalCoherence | None = None,
    value_weight: float | None = None,
    smoothness_weight: float | None = None,
    start: Head | npt.ArrayLike | None = None,
) -> Head:
    r"""Fit a linear reward head to preferences, exactly.

    Parameters
    ----------
    chosen, rejected : array_like, shape (n, d)
        Features of the better and the worse answer of each pair, such as a language model's last
        hidden states. Any floating dtype; all sums are in float64.
    penalty : float, optional
        Of the squared weights; 0 for none. By default the number of features that differ.
    standardise : bool, default True
        Whether the penalty is on the weights of standardised differences, each feature divided by
        the root mean square of its differences, so that the fit is the same whatever the scale of
        the features. False: on the weights themselves, and `penalty` must be given.
    center_rewards_coefficient : float, default 0
        Pulls the sum of a pair's two rewards to zero; TRL's ``center_rewards_coefficient``.
    coherence : TemporalCoherence, optional
        What :func:`temporal_coherence` gives of the same base's hidden states at every token of
        answers, such as those of the pairs: adds the two terms of temporal coherence.
    value_weight, smoothness_weight : float, optional
        What these weigh; by default 0.1 and 0.01.
    start : Head or array_like of shape (d,), optional
        Weights to start from. It changes nothing but the time taken.

    Returns
    -------
    Head
        The optimum, which is the only one.

    Raises
    ------
    ValueBiasError
        If the shapes differ, there is no pair, a feature is NaN or infinite, or all pairs have the
        same features twice; if a number is out of its range; or, without a penalty, if there is no
        finite optimum (the pairs are separable) or no single one (features are collinear).

    Notes
    -----
    Minimised over the weights w is

    .. math::

        \sum_i \log(1 + e^{-(x_i - y_i)^\top w}) + \frac{\lambda}{2} \sum_j s_j^2 w_j^2
        + c \sum_i ((x_i + y_i)^\top w)^2

    with x the chosen and y the rejected features, s the root mean square of each feature's
    differences (1 where `standardise` is False), λ the penalty and c `center_rewards_coefficient`:
    the loss of Bradley and Terry (1952), which reward models are trained with, as TRL sums it.
    There is no intercept: it cancels in every pair.

    The penalty is that of a normal prior. By default, λ = d, the pairs' differences of rewards have
    a prior root mean square of 1 nat, however many features there are and however correlated; and
    as any prior it weighs less the more pairs there are. :meth:`Head.evaluate` on held-out pairs
    tells whether another penalty does better. The differences are not centred, so that it does
    not matter which answer of a pair comes first.

    With `coherence`, this is added, over the tokens t < T of an answer, and with means over
    tokens first and over answers then:

    .. math::

        n \, \lambda_1 \, E\!\left[(r_t - r_T)^2\right]
        + n \, \lambda_2 \, E\!\left[(r_{t+1} - r_t)^2\right]

    with :math:`r_t = h_t^\top w` the reward at token t, :math:`r_T` the final one, λ₁
    `value_weight`, λ₂ `smoothness_weight`. A beginning's reward is to be an estimate of the final
    one (value regression), and rewards are not to jump (temporal difference). This is our reading
    of the two terms of Nikulkov (2026, arXiv 2604.22981), whose weights are the defaults. There is
    one difference to training with :class:`Objective`'s ``"tcrm"``: no gradient is stopped at
    :math:`r_T`, so that the final reward moves towards its estimates as well. Both terms are then
    quadratic in w, and the optimum is still exact and the only one.

    The differences take 8 n d bytes. 50,000 pairs of 640 features take a few seconds on one core.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> chosen, rejected = rng.normal(size=(2, 500, 3))
    >>> swapped = (chosen - rejected) @ [1, 0, -1] < rng.logistic(size=500)
    >>> chosen[swapped], rejected[swapped] = rejected[swapped], chosen[swapped]
    >>> fit_head(chosen, rejected, penalty=0).weights.round(1).tolist()
    [1.2, 0.1, -1.1]
    """
    first, second = both_sides(chosen, rejected)
    differences = _differences(first, second)
    scale = _scale(differences)
    active = scale > 0
    if not active.any():
        raise ValueBiasError(
            f"All {len(first)} pairs have the same features for both answers. "
            "Check that they are of different texts."
        )
    if not active.all():
        differences, scale = differences[:, active], scale[active]
    strength = _strength(penalty, len(scale), standardise=standardise)
    name, expected = "center_rewards_coefficient", "a number of at least 0"
    check_number(center_rewards_coefficient, name, expected, least=0, below=True)
    pull = _pull(coherence, value_weight, smoothness_weight, first.shape[1])
    quadratic = bool(center_rewards_coefficient) or pull is not None
    if not strength and not quadratic and len(differences) <= len(scale):
        raise ValueBiasError(
            f"{len(differences)} pairs of {len(scale)} features are separable, or have no single "
            "optimum. Give a penalty above 0, or more pairs than features."
        )
    differences /= scale
    form = np.zeros((len(scale), len(scale))) if quadratic else None
    if form is not None and center_rewards_coefficient:
        for start_row in range(0, len(first), _BLOCK):
            rows = slice(start_row, start_row + _BLOCK)
            block = np.add(first[rows], second[rows], dtype=np.float64)[:, active] / scale
            form += block.T @ block
        form *= center_rewards_coefficient / len(first)
    if form is not None and pull is not None:
        form += pull[0][np.ix_(active, active)] / np.multiply.outer(scale, scale)
    penalties = np.full(len(scale), strength) if standardise else strength / scale**2
    problem = Problem(differences, penalties, form)
    solved, n_iterations, gradient_norm = solve(
        problem, _start(start, first.shape[1])[active] * scale
    )
    if not strength:
        check_bounded(problem, solved)
    weights = np.zeros(first.shape[1])
    weights[active] = solved / scale
    loss, accuracy = measured(differences @ solved)
    return Head(
        weights=weights,
        loss=loss,
        accuracy=accuracy,
        n_pairs=len(first),
        n_iterations=n_iterations,
        gradient_norm=gradient_norm,
        penalty=strength,
        center_rewards_coefficient=float(center_rewards_coefficient),
        standardised=standardise,
        value_weight=0.0 if pull is None else pull[1],
        smoothness_weight=0.0 if pull is None else pull[2],
    )


def fit_path(
    chosen: npt.ArrayLike,
    rejected: npt.ArrayLike,
    n_pairs: Sequence[int],
    *,
    penalty: float | None = None,
    standardise: bool = True,
    center_rewards_coefficient: float = 0.0,
    progress: bool = True,
) -> dict[int, Head]:
    """Fit a head to each of several nested numbers of pairs.

    Parameters
    ----------
    chosen, rejected : array_like, shape (n, d)
        Features of the better and the worse answers, in the order of a subset
        (:meth:`valuebias.Preferences.subset`): the first rows are a smaller subset.
    n_pairs : sequence of int
        How many of the first rows to fit.
    penalty, standardise, center_rewards_coefficient : optional
        As in :func:`fit_head`.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    dict of int to Head
        From the fewest pairs to the most. Each starts from the one before, which saves time
        and changes no result.

    Raises
    ------
    ValueBiasError
        If one of `n_pairs` is larger than the number of pairs or there is none, or as in
        :func:`fit_head`.

    Examples
    --------
    >>> chosen, rejected = np.random.default_rng(0).normal(size=(2, 50, 3))
    >>> heads = fit_path(chosen, rejected, [20, 50], progress=False)
    >>> [head.n_pairs for head in heads.values()]
    [20, 50]
    """
    first, second = both_sides(chosen, rejected)
    if not len(n_pairs):
        raise ValueBiasError("n_pairs is empty; expected numbers of pairs.")
    for number in n_pairs:
        check_whole(number, "n_pairs", least=1)
        if number > len(first):
            raise ValueBiasError(
                f"n_pairs={number} is larger than the number of pairs, {len(first)}. "
                "Ask for fewer, or give more pairs."
            )
    heads: dict[int, Head] = {}
    before: Head | None = None
    counts = sorted(set(map(int, n_pairs)))
    with progress_bar("Fitting heads", shown=progress) as advance:
        for position, count in enumerate(counts, 1):
            before = fit_head(
                first[:count],
                second[:count],
                penalty=penalty,
                standardise=standardise,
                center_rewards_coefficient=center_rewards_coefficient,
                start=before,
            )
            heads[count] = before
            if advance is not None:
                advance(position, len(counts))
    return heads


def _differences(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Floats:
    with np.errstate(invalid="ignore", over="ignore"):
        differences: Floats = np.subtract(first, second, dtype=np.float64)
    if not np.isfinite(differences).all():
        check_finite(first, "chosen")
        check_finite(second, "rejected")
        raise ValueBiasError("The features are too large to subtract. Divide all by a number.")
    return differences


def _scale(differences: Floats) -> Floats:
    """Give the root mean square of each feature, about zero."""
    most = np.abs(differences).max(axis=0)
    safe = np.where(most > 0, most, 1.0)
    squares = np.zeros_like(most)
    for start in range(0, len(differences), _BLOCK):
        squares += ((differences[start : start + _BLOCK] / safe) ** 2).sum(axis=0)
    return np.asarray(most * np.sqrt(squares / len(differences)))


def _strength(penalty: float | None, n_features: int, *, standardise: bool) -> float:
    if penalty is None:
        if not standardise:
            raise ValueBiasError(
                "The default penalty is for standardised differences. Give penalty= where "
                "standardise=False."
            )
        return float(n_features)
    check_number(penalty, "penalty", "a number of at least 0", least=0, below=True)
    return float(penalty)


def _pull(
    coherence: TemporalCoherence | None,
    value_weight: float | None,
    smoothness_weight: float | None,
    n_features: int,
) -> tuple[Floats, float, float] | None:
    """Give the quadratic form of both terms with their weights; None where there is none."""
    given = {"value_weight": value_weight, "smoothness_weight": smoothness_weight}
    if coherence is None:
        for name, weight in given.items():
            if weight is not None:
                raise ValueBiasError(
                    f"{name} is {weight!r}, but there is no coherence, whose terms it weighs. Give "
                    "coherence= what valuebias.ablation.temporal_coherence(...) returns."
                )
        return None
    if not isinstance(coherence, TemporalCoherence):
        raise ValueBiasError(
            f"coherence is of type {type(coherence).__name__}; expected what "
            "valuebias.ablation.temporal_coherence(...) returns."
        )
    if len(coherence.value) != n_features:
        raise ValueBiasError(
            f"coherence is of {len(coherence.value)} features, and the pairs have {n_features}. "
            "Make both from hidden states of the same base."
        )
    for name, weight in given.items():
        if weight is not None:
            check_number(weight, name, "a number of at least 0", least=0, below=True)
    first = VALUE_WEIGHT if value_weight is None else float(value_weight)
    second = SMOOTHNESS_WEIGHT if smoothness_weight is None else float(smoothness_weight)
    if not first and not second:
        return None
    return first * coherence.value + second * coherence.smoothness, first, second


def _start(start: Head | npt.ArrayLike | None, n_features: int) -> Floats:
    if start is None:
        return np.zeros(n_features)
    given = start.weights if isinstance(start, Head) else start
    weights = numbers(given, "start").astype(np.float64)
    if weights.shape != (n_features,) or not np.isfinite(weights).all():
        raise ValueBiasError(
            f"start has the shape {weights.shape}; expected {n_features} finite numbers, one a "
            "feature."
        )
    return weights
