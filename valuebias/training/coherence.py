"""How coherent rewards along an answer are, for any linear head: two quadratic forms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from valuebias.errors import ValueBiasError
from valuebias.training.head import Head, check_finite, numbers

__all__ = ["SMOOTHNESS_WEIGHT", "VALUE_WEIGHT", "TemporalCoherence", "temporal_coherence"]

Floats = npt.NDArray[np.float64]

VALUE_WEIGHT, SMOOTHNESS_WEIGHT = 0.1, 0.01
"""Of the two terms, as Nikulkov (2026) weighs them."""
_BLOCK = 4096


@dataclass(frozen=True, slots=True, eq=False)
class TemporalCoherence:
    """What two terms of temporal coherence are for any linear head; of :func:`temporal_coherence`.

    Attributes
    ----------
    value, smoothness : ndarray, shape (d, d)
        The value term of a head with weights w is ``w @ value @ w``, and likewise the other.
    n_answers : int
        How many answers they are means over.
    n_single : int
        How many of these have one token only, and so add nothing.

    Examples
    --------
    >>> states = [np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 1.0]])]
    >>> temporal_coherence(states).of([1.0, 0.0])
    {'value': 6.5, 'smoothness': 2.5}
    """

    value: Floats = field(repr=False)
    smoothness: Floats = field(repr=False)
    n_answers: int
    n_single: int

    def of(self, head: Head | npt.ArrayLike) -> dict[str, float]:
        """Measure how coherent the rewards of a head are.

        Parameters
        ----------
        head : Head or array_like of shape (d,)
            The head, or its weights.

        Returns
        -------
        dict
            Entries ``value``, the mean of the squared difference between the reward at a token
            before the last and the final one, and ``smoothness``, that of successive rewards.

        Raises
        ------
        ValueBiasError
            If there are more or fewer weights than features, or one is not finite.
        """
        weights = numbers(head.weights if isinstance(head, Head) else head, "weights")
        if weights.shape != (len(self.value),) or not np.isfinite(weights).all():
            raise ValueBiasError(
                f"The weights have the shape {weights.shape}; expected {len(self.value)} finite "
                "numbers, one a feature."
            )
        forms = {"value": self.value, "smoothness": self.smoothness}
        return {name: float(weights @ form @ weights) for name, form in forms.items()}


def temporal_coherence(answers: Iterable[npt.ArrayLike]) -> TemporalCoherence:
    r"""Sum up what temporal coherence asks of a linear head, from hidden states at every token.

    Parameters
    ----------
    answers : iterable of array_like, shape (tokens, d)
        Of each answer, chosen or rejected, the hidden states at its tokens in order; at the last of
        them the reward is read. They are taken one by one: a generator need not hold them all.

    Returns
    -------
    TemporalCoherence
        For ``fit_head(..., coherence=...)``. It takes 16 d² bytes, however many tokens there are.

    Raises
    ------
    ValueBiasError
        If there is no answer, none has two tokens or more, their widths differ, or a hidden state
        is NaN or infinite.

    Notes
    -----
    With :math:`r_t` the reward at token t of an answer, T its last, the two terms are the means
    over answers of

    .. math::

        \frac{1}{T-1} \sum_{t<T} (r_t - r_T)^2
        \qquad\text{and}\qquad
        \frac{1}{T-1} \sum_{t<T} (r_{t+1} - r_t)^2 .

    An answer of one token adds nothing to either. See :func:`fit_head` for how they are weighed,
    and for where this reading of Nikulkov (2026) departs from training.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> made = temporal_coherence(rng.normal(size=(n, 4)) for n in (1, 5, 7))
    >>> made.n_answers, made.n_single, made.value.shape
    (3, 1, (4, 4))
    """
    sums: list[Floats] = []
    n_answers = n_single = 0
    for place, given in enumerate(answers):
        states = _states(given, place, len(sums[0]) if sums else None)
        if not sums:
            sums = [np.zeros((states.shape[1],) * 2) for _ in range(2)]
        n_answers += 1
        if len(states) < 2:
            n_single += 1
            continue
        for form, differences in zip(
            sums, (states[:-1] - states[-1], np.diff(states, axis=0)), strict=True
        ):
            for start in range(0, len(differences), _BLOCK):
                block = differences[start : start + _BLOCK]
                form += block.T @ block / len(differences)
    if n_answers == n_single:
        raise ValueBiasError(
            f"None of the {n_answers} answers has two tokens or more, and the terms of temporal "
            "coherence compare an answer's tokens. Give the hidden states at every token, one "
            "array an answer; or leave coherence out."
        )
    value, smoothness = (form / n_answers for form in sums)
    return TemporalCoherence(value, smoothness, n_answers, n_single)


def _states(given: npt.ArrayLike, place: int, width: int | None) -> Floats:
    """Take the hidden states of one answer, and refuse what is none."""
    name = f"answer {place}"
    states = numbers(given, name)
    if states.ndim != 2 or not states.size or (width is not None and states.shape[1] != width):
        wide = "the same number of" if width is None else str(width)
        raise ValueBiasError(
            f"{name} has the shape {states.shape}; expected one row a token and {wide} columns, "
            "one a feature, as of all other answers."
        )
    check_finite(states, name)
    return states.astype(np.float64)
