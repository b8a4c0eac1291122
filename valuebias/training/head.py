"""A linear reward head: its weights, what it scores, how it is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.atomic import atomic_path
from valuebias._core.opening.limits import RefusedFileError
from valuebias._core.opening.numpy_files import load_arrays
from valuebias._core.sums import archive_bytes
from valuebias.errors import ValueBiasError

__all__ = ["Head", "both_sides", "check_finite", "measured", "numbers"]

Floats = npt.NDArray[np.float64]

_LATER = ("value_weight", "smoothness_weight")
"""Fields that files of earlier versions lack."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear reward head.

    Attributes
    ----------
    weights : ndarray, shape (d,)
        Float64; a reward is the product of features and weights, in nats.
    loss : float
        Mean of ``log(1 + exp(-margin))`` over the pairs that it was fitted to, in nats; log 2 is
        the loss of a coin.
    accuracy : float
        Share of these pairs whose chosen answer has the higher reward; a tie is half.
    n_pairs : int
        How many.
    n_iterations : int
        Of the solver.
    gradient_norm : float
        Euclidean norm of the gradient at the end: of the whole objective by pair, over the weights
        of standardised differences. 0 but for rounding.
    penalty, center_rewards_coefficient : float
        As given to :func:`fit_head`, or its default.
    standardised : bool
        Whether the penalty is on the weights of standardised differences.
    value_weight, smoothness_weight : float
        Of the terms of temporal coherence, 0 without them.

    Examples
    --------
    >>> from valuebias.ablation import fit_head
    >>> head = fit_head(np.eye(3), np.eye(3)[[1, 2, 0]], penalty=1)
    >>> head.n_pairs, head.score(np.zeros(3))
    (3, array(0.))
    """

    weights: Floats
    loss: float
    accuracy: float
    n_pairs: int
    n_iterations: int
    gradient_norm: float
    penalty: float
    center_rewards_coefficient: float
    standardised: bool
    value_weight: float = 0.0
    smoothness_weight: float = 0.0

    def score(self, features: npt.ArrayLike) -> Floats:
        """Give the rewards of answers.

        Parameters
        ----------
        features : array_like, shape (..., d)
            One row of features an answer.

        Returns
        -------
        ndarray, shape (...)
            Rewards, float64.

        Raises
        ------
        ValueBiasError
            If there are more or fewer features, or one is NaN or infinite.
        """
        values = numbers(features, "features")
        if values.ndim == 0 or values.shape[-1] != len(self.weights):
            raise ValueBiasError(
                f"The features have the shape {values.shape}; expected {len(self.weights)} on the "
                "last axis, those of the model that the head was fitted to."
            )
        rewards = np.asarray(values.astype(np.float64, copy=False) @ self.weights)
        if not np.isfinite(rewards).all():
            check_finite(values.reshape(-1, values.shape[-1]), "features")
            raise ValueBiasError("The features are too large: a reward is not a finite number.")
        return rewards

    def evaluate(self, chosen: npt.ArrayLike, rejected: npt.ArrayLike) -> dict[str, float]:
        """Measure the head on other pairs, such as held-out ones.

        Parameters
        ----------
        chosen, rejected : array_like, shape (n, d)
            Features of the better and the worse answers.

        Returns
        -------
        dict
            Entries ``n_pairs``, ``loss`` and ``accuracy``, as in the attributes.

        Raises
        ------
        ValueBiasError
            If the shapes differ, there is no pair, or a feature is NaN or infinite.
        """
        first, second = both_sides(chosen, rejected)
        loss, accuracy = measured(self.score(first) - self.score(second))
        return {"n_pairs": len(first), "loss": loss, "accuracy": accuracy}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the head to a file of numpy arrays.

        Parameters
        ----------
        path : str or path-like
            Ends in ``.npz``.

        Raises
        ------
        ValueBiasError
            If it does not, or cannot be written.
        """
        if Path(path).suffix != ".npz":
            raise ValueBiasError(f"{os.fspath(path)!r} does not end in .npz. Rename it.")
        content = archive_bytes({field.name: getattr(self, field.name) for field in fields(self)})
        with atomic_path(path) as part:
            part.write_bytes(content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Head:
        """Read a head that :meth:`save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        Head
            As it was.

        Raises
        ------
        ValueBiasError
            If the file is not there, is damaged, or holds something else.
        """
        text = os.fspath(path)
        try:
            names = [field.name for field in fields(cls)]
            stored = load_arrays(path, names, optional=_LATER)
            weights = stored.pop("weights")
            content = {name: value.item() for name, value in stored.items()}
        except RefusedFileError:
            raise
        except ValueError as error:
            raise ValueBiasError(
                f"{text!r} is not there or holds no head ({type(error).__name__}). Expected a file "
                "that Head.save wrote."
            ) from error
        if weights.ndim != 1 or weights.dtype != np.float64 or not np.isfinite(weights).all():
            raise ValueBiasError(f"{text!r} has weights that are no row of finite numbers.")
        return cls(weights=weights, **content)


def numbers(values: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Take anything for an array of numbers."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueBiasError(f"{name} has the dtype {array.dtype}; expected numbers.")
    return array


def both_sides(
    chosen: npt.ArrayLike, rejected: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Take the features of both answers of each pair.

    ``chosen, rejected`` is (n, d).
    """
    first, second = numbers(chosen, "chosen"), numbers(rejected, "rejected")
    if first.ndim != 2 or first.shape != second.shape or not first.size:
        raise ValueBiasError(
            f"chosen and rejected have the shapes {first.shape} and {second.shape}; expected twice "
            "the same: one row a pair, one column a feature, and at least one of each."
        )
    return first, second


def check_finite(values: npt.NDArray[Any], name: str) -> None:
    """Refuse features that are NaN or infinite.

    ``values`` is (n, d).
    """
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0].tolist()
        raise ValueBiasError(
            f"{name} has {len(bad)} values that are NaN or infinite, the first "
            f"({values[row, column]}) in row {row}, feature {column}. Leave these pairs out, or "
            "compute the features in a wider dtype (float16 overflows)."
        )


def measured(margins: Floats) -> tuple[float, float]:
    """Measure how well rewards tell chosen from rejected answers.

    ``margins`` is (n,).
    """
    loss = float(np.logaddexp(0, -margins).mean())
    return loss, float((margins > 0).mean() + (margins == 0).mean() / 2)
