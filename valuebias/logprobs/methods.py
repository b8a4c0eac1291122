"""Ways to read two language models as one implicit reward model.

Each takes the log-probs p and q, in nats, that the two models give to a text, and says how much
more the first one values it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias.errors import ValueBiasError, did_you_mean

__all__ = ["Method", "get_method", "implicit_methods"]

Doubles = npt.NDArray[np.float64]
Formula = Callable[[Doubles, Doubles], Doubles]

FLOOR = float(np.log(1e-6))
"""Below this log-prob (a probability of one in a million) the clipped log-ratio sees no change."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way to read two models as one.

    Attributes
    ----------
    name : str
        What users call it.
    formula : str
        In p and q, the probabilities of a text under the numerator and the denominator.
    antisymmetric : bool
        Whether exchanging the two models changes the sign and nothing else.
    units : {"nat", "1"}
        Of the result.
    source : str
        Where it comes from.
    function : callable
        From the *log-probs* of the two, float64 arrays of one shape, to the result.

    Examples
    --------
    >>> get_method("mwlr").formula
    '½ (p + q) (log p − log q)'
    """

    name: str
    formula: str
    antisymmetric: bool
    units: str
    source: str
    function: Formula

    def __call__(self, p: npt.ArrayLike, q: npt.ArrayLike) -> Doubles:
        """Apply it to log-probs in nats; NaN where either is NaN."""
        with np.errstate(under="ignore"):
            return self.function(np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64))


def log_ratio(p: Doubles, q: Doubles) -> Doubles:
    """Return log p − log q: large wherever one model thinks a text all but impossible."""
    return p - q


def clipped_log_ratio(p: Doubles, q: Doubles) -> Doubles:
    """Return the log-ratio of probabilities that are raised to one in a million at least."""
    return np.maximum(p, FLOOR) - np.maximum(q, FLOOR)


def probability_difference(p: Doubles, q: Doubles) -> Doubles:
    """Return p − q: sees nothing but the likeliest texts."""
    return np.exp(p) - np.exp(q)


def mwlr(p: Doubles, q: Doubles) -> Doubles:
    """Return the mixture-weighted log-ratio: the log-ratio, weighted by the mean probability.

    Over a whole vocabulary it sums to (KL(p‖q) − KL(q‖p)) / 2.
    """
    return 0.5 * (np.exp(p) + np.exp(q)) * (p - q)


def kl(p: Doubles, q: Doubles) -> Doubles:
    """Return a text's part of the Kullback–Leibler divergence KL(p‖q)."""
    return np.exp(p) * (p - q)


def js(p: Doubles, q: Doubles) -> Doubles:
    """Return a text's part of the Jensen–Shannon divergence, signed by the larger probability."""
    mixture = np.logaddexp(p, q) - np.log(2)
    part = 0.5 * (np.exp(p) * (p - mixture) + np.exp(q) * (q - mixture))
    # Negative by rounding only, where p and q are the same.
    return np.asarray(np.sign(p - q) * np.maximum(part, 0))


_PAPER = "Christian et al. (2026), Figure A3"
_METHODS = {
    method.name: method
    for method in (
        Method("mwlr", "½ (p + q) (log p − log q)", True, "nat", _PAPER, mwlr),
        Method("log_ratio", "log p − log q", True, "nat", "Rafailov et al. (2023), Eq. 5, β = 1",
               log_ratio),
        Method("clipped_log_ratio", "log max(p, 1e-6) − log max(q, 1e-6)", True, "nat", _PAPER,
               clipped_log_ratio),
        Method("probability_difference", "p − q", True, "1", _PAPER, probability_difference),
        Method("kl", "p (log p − log q)", False, "nat", "Kullback & Leibler (1951)", kl),
        Method("js", "sign(p − q) ½ (p log(p/m) + q log(q/m)), m = ½ (p + q)", True, "nat",
               "Lin (1991), Eq. 4.1", js),
    )
}  # fmt: skip


def implicit_methods() -> pd.DataFrame:
    """List the methods.

    Returns
    -------
    pandas.DataFrame
        One row per method, named by the index: its ``formula``, whether it is ``antisymmetric``,
        its ``units`` and its ``source``.

    Examples
    --------
    >>> implicit_methods()["formula"]["probability_difference"]
    'p − q'
    """
    columns = ("name", "formula", "antisymmetric", "units", "source")
    rows = [[getattr(method, column) for column in columns] for method in _METHODS.values()]
    return pd.DataFrame(rows, columns=list(columns)).set_index("name")


def get_method(method: str | Formula | Method) -> Method:
    """Return a method.

    Examples
    --------
    >>> get_method("mlwr")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: There is no method 'mlwr'. Did you mean 'mwlr'? Known: ...
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str):
        if method not in _METHODS:
            raise ValueBiasError(
                f"There is no method {method!r}. {did_you_mean(method, _METHODS)} Or give a "
                "function of two arrays of log-probs."
            )
        return _METHODS[method]
    if callable(method):
        name = str(getattr(method, "__name__", type(method).__name__))
        return Method(name, "given as a function", False, "nat", "the caller", method)
    raise ValueBiasError(
        f"method is {method!r}; expected a function or a name. {did_you_mean('', _METHODS)}"
    )
