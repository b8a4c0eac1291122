"""Find the exact optimum of a penalised Bradley–Terry model: L-BFGS, then Newton steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuebias._core.arrays import Doubles
from valuebias.errors import ValueBiasError

__all__ = ["Problem", "check_bounded", "solve"]

_TOLERANCE = 1e-8
"""Of the gradient's norm. Newton steps go on far below it, as long as they help."""
_N_SEARCH, _N_NEWTON, _N_CONJUGATE = 2000, 30, 500
_ROWS_A_FEATURE = 8
"""Rows that a first guess of the curvature is taken from."""
_MOST_FEATURES = 8192
"""With more features, a matrix of features by features is not worth making for that guess."""
_FLAT = 1e-6
"""Curvature, as a share of that where all rewards are 0, below which there is no optimum."""
_COLLINEAR = 1e-11
"""Curvature there, as a share of the largest, below which a direction is not told by the pairs."""
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Problem:
    """What is minimised, by pair and over standardised weights."""

    # (n, d): features of chosen less those of rejected answers, each feature with mean square 1.
    differences: Doubles
    penalty: Doubles  # (d,): of the square of each weight; half of it, over n, is added
    # (d, d): half the curvature of terms that are quadratic in the weights, such as the one that
    # pulls the two rewards' sum to zero.
    quadratic: Doubles | None

    @property
    def is_free(self) -> bool:
        """Whether nothing but the data bounds the weights."""
        return self.quadratic is None and not self.penalty.any()

    def value_and_gradient(self, weights: Doubles) -> tuple[float, Doubles]:
        """Give the objective and its gradient.

        ``weights`` is (d,); ``gradient`` is (d,).
        """
        n = len(self.differences)
        margins = self.differences @ weights
        if self.is_free and margins.min() > 0:
            raise ValueBiasError(
                f"The {n} pairs are separable: some weights put every chosen answer above the "
                "rejected one, so that larger ones always fit better and no optimum is finite. "
                "Give a penalty above 0."
            )
        value = float(np.logaddexp(0, -margins).mean() + self.penalty @ weights**2 / (2 * n))
        gradient = self.penalty * weights / n - self.differences.T @ _expit(-margins) / n
        if self.quadratic is not None:
            pull = self.quadratic @ weights
            value += float(weights @ pull)
            gradient += 2 * pull
        return value, gradient

    def curvature(self, weights: Doubles, direction: Doubles) -> Doubles:
        """Multiply a direction by the Hessian.

        ``weights`` is (d,); ``direction`` is (d,); the result is (d,).
        """
        return self._product(_spread(self.differences @ weights), direction)

    def _product(self, spread: Doubles, direction: Doubles) -> Doubles:
        n = len(self.differences)
        seen = self.differences.T @ (spread * (self.differences @ direction))
        product: Doubles = (seen + self.penalty * direction) / n
        if self.quadratic is not None:
            product += 2 * (self.quadratic @ direction)
        return product

    def hessian(self, weights: Doubles, *, every: int = 1, least: float = 0.0) -> Doubles:
        """Give the Hessian, or a guess of it.

        ``weights`` is (d,); the result is (d, d).
        """
        rows = self.differences[::every]
        roots = np.sqrt(np.maximum(_spread(rows @ weights), least))
        matrix = np.zeros((rows.shape[1], rows.shape[1]))
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK] * roots[start : start + _BLOCK, None]
            matrix += block.T @ block
        matrix /= len(rows)
        matrix[np.diag_indices_from(matrix)] += self.penalty / len(self.differences)
        return matrix if self.quadratic is None else matrix + 2 * self.quadratic


def solve(problem: Problem, start: Doubles) -> tuple[Doubles, int, float]:
    """Give the best weights, the number of iterations and steps, and the norm of the gradient.

    ``start`` is (d,); so are the weights, which are standardised.

    Notes
    -----
    The search runs in coordinates in which a guess of the Hessian, made from some of the pairs, is
    the identity: collinear features, which hidden states have many of, then slow nothing down.
    L-BFGS ends where rounding hides any fall of the objective; Newton steps, by conjugate
    gradients in the same coordinates, go on until the gradient falls no more.
    """
    from scipy.optimize import minimize

    space = _Space(_root(problem, start))

    def objective(inner: Doubles) -> tuple[float, Doubles]:
        value, gradient = problem.value_and_gradient(space.outer(inner))
        return value, space.inner_gradient(gradient)

    search = minimize(
        objective,
        space.inner(start),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _N_SEARCH, "maxcor": 20, "gtol": 1e-9, "ftol": 0.0, "maxls": 40},
    )
    weights, n_steps, norm = _polish(problem, space, space.outer(np.asarray(search.x)))
    if not norm <= _TOLERANCE:
        hint = "Give a penalty above 0" if problem.is_free else "Give a larger penalty"
        raise ValueBiasError(
            f"The optimum was not reached: after {search.nit} iterations the gradient has the norm "
            f"{norm:.2g}, expected at most {_TOLERANCE:g}. The pairs are separable or nearly so, "
            f"or features are collinear. {hint}."
        )
    return weights, int(search.nit) + n_steps, norm


def _polish(problem: Problem, space: _Space, weights: Doubles) -> tuple[Doubles, int, float]:
    gradient = problem.value_and_gradient(weights)[1]
    norm = float(np.linalg.norm(gradient))
    for step in range(_N_NEWTON):
        moved = weights + _newton(problem, space, weights, gradient)
        gradient_there = problem.value_and_gradient(moved)[1]
        norm_there = float(np.linalg.norm(gradient_there))
        if not norm_there < norm:
            return weights, step, norm
        is_last = norm_there > norm / 2
        weights, gradient, norm = moved, gradient_there, norm_there
        if is_last and norm < _TOLERANCE:
            return weights, step + 1, norm
    return weights, _N_NEWTON, norm


def _newton(problem: Problem, space: _Space, weights: Doubles, gradient: Doubles) -> Doubles:
    from scipy.sparse.linalg import LinearOperator, cg

    spread = _spread(problem.differences @ weights)

    def product(inner: Doubles) -> Doubles:
        return space.inner_gradient(problem._product(spread, space.outer(inner)))

    size = len(weights)
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    inner, _ = cg(operator, -space.inner_gradient(gradient), rtol=1e-8, maxiter=_N_CONJUGATE)
    return space.outer(np.asarray(inner))


@dataclass(frozen=True, slots=True)
class _Space:
    """Coordinates: inner = root.T @ weights; without a root the weights themselves."""

    root: Doubles | None

    def inner(self, weights: Doubles) -> Doubles:
        return weights if self.root is None else self.root.T @ weights

    def outer(self, inner: Doubles) -> Doubles:
        return inner if self.root is None else self._solved(inner, transposed=True)

    def inner_gradient(self, gradient: Doubles) -> Doubles:
        return gradient if self.root is None else self._solved(gradient, transposed=False)

    def _solved(self, values: Doubles, *, transposed: bool) -> Doubles:
        from scipy.linalg import solve_triangular

        return np.asarray(
            solve_triangular(
                self.root, values, lower=True, trans=int(transposed), check_finite=False
            )
        )


def _root(problem: Problem, start: Doubles) -> Doubles | None:
    """Give the Cholesky factor of a guess of the Hessian."""
    from scipy.linalg import cholesky

    n, d = problem.differences.shape
    if d > _MOST_FEATURES:
        return None
    every = max(1, n // max(_ROWS_A_FEATURE * d, 1000))
    guess = problem.hessian(start, every=every, least=0.02)
    # Enough to be positive definite whatever is collinear; it moves no optimum.
    guess[np.diag_indices_from(guess)] += 1e-9 * np.trace(guess) / d
    return np.asarray(cholesky(guess, lower=True, check_finite=False))


def check_bounded(problem: Problem, weights: Doubles) -> None:
    """Refuse an optimum that is none, where no penalty bounds the weights.

    ``weights`` is (d,).
    """
    at_zero, axes = np.linalg.eigh(problem.hessian(np.zeros_like(weights)))
    n_collinear = int((at_zero < _COLLINEAR * at_zero.max()).sum())
    if n_collinear:
        raise ValueBiasError(
            f"{n_collinear} of {len(weights)} directions of the weights cannot be told from the "
            "pairs, because features are collinear or nearly so. Give a penalty above 0."
        )
    # In these coordinates every direction has the same curvature where all rewards are 0.
    axes = axes / np.sqrt(at_zero)
    left, directions = np.linalg.eigh(axes.T @ problem.hessian(weights) @ axes)
    flat = axes @ directions[:, left < _FLAT]
    if not flat.shape[1]:
        return
    moved = problem.differences @ (flat @ np.linalg.lstsq(flat, weights, rcond=None)[0])
    n_apart = int((moved > moved.max() / 10).sum())
    raise ValueBiasError(
        f"The pairs are separable, or as good as: some weights fit {n_apart} of the {len(moved)} "
        "pairs ever better and leave the others alone, so that no optimum is finite. Give a "
        "penalty above 0."
    )


def _expit(values: Doubles) -> Doubles:
    from scipy.special import expit

    return np.asarray(expit(values))


def _spread(margins: Doubles) -> Doubles:
    """Give each pair's curvature, p (1 − p)."""
    return _expit(margins) * _expit(-margins)
