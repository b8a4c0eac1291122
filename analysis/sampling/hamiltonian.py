"""A Hamiltonian step on the collapsed density, for chains whose data change at every iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.sampling.density import Posterior, log_posterior

__all__ = ["Hamiltonian"]

Array = NDArray[np.float64]

_MAX_ENERGY_ERROR = 1000.0
_TARGET_ACCEPTANCE = 0.85
# Share of the SDs that try to jump at once, and how far, on the log scale.
_JUMPING, _JUMP = 1 / 3, 1.5
# Of the climb to the mode: its least curvature, its longest step, the gain that is not worth one,
# how many steps without measuring the curvature, and how often that is measured.
_FLAT, _FARTHEST, _NO_GAIN, _CLIMBS, _MOST_CURVATURES = 0.1, 2.0, 1e-4, 40, 20


@dataclass
class Hamiltonian:
    """Hamiltonian steps preconditioned by the curvature at the mode."""

    mode: Array
    root: Array
    step: float
    fixed: tuple[int, ...] = ()  # parameters that stay where they are

    @classmethod
    def at_mode(
        cls, target: Posterior, start: Array, step: float = 0.4, fixed: tuple[int, ...] = ()
    ) -> Hamiltonian:
        """Find the mode from ``start`` and factor the inverse of the curvature there."""
        free = np.setdiff1d(np.arange(len(start)), np.array(fixed, dtype=np.intp))

        def at(values: Array) -> Array:
            x = start.copy()
            x[free] = values
            return x

        def climbed(values: Array) -> tuple[float, Array]:
            value, gradient = target(at(values))
            return value, gradient[free]

        top, values, vectors = _climb(climbed, start[free])
        # A flat direction has its prior's width: SD about one on the log scale. The root is the
        # symmetric one: it mixes parameters least, so that a long tail stays on an axis of its own.
        root = np.zeros((len(start),) * 2)
        root[np.ix_(free, free)] = vectors / np.sqrt(np.maximum(values, 1.0)) @ vectors.T
        return cls(at(top), root, step, fixed)

    def move(
        self, target: Posterior, x: Array, rng: np.random.Generator, n: int
    ) -> tuple[Array, float, bool]:
        """Try long jumps, then make ``n`` trajectories of about a quarter turn each.

        Jumps are of some log SDs, one after the other (Metropolis steps). Trajectories are as long
        as the mode is wide: in the tail of an SD near zero, where the density falls by its prior's
        slope of one only, they would wander for dozens of draws.

        Returns the new point, mean acceptance of trajectories, and whether any diverged.
        """
        n_sd = len(target.scales)
        jumping = rng.uniform(size=n_sd) < _JUMPING
        jumping[[k for k in self.fixed if k < n_sd]] = False
        chosen = np.flatnonzero(jumping)
        offsets = _JUMP * rng.standard_t(3, len(chosen))
        uniforms = rng.uniform(size=len(chosen) + 2 * n)
        momenta = rng.standard_normal((n, len(x)))
        x = x.copy()
        accept, diverged = _move(
            x, self.root, self.step, momenta, uniforms, chosen, offsets, target.arguments,
            target.room(),
        )  # fmt: skip
        return x, accept, diverged

    def chain(self, target: Posterior, rng: np.random.Generator, *, tune: int, draws: int) -> Array:
        """Run from the mode, moving and jumping in turn, and return the draws after tuning.

        Without Python in the loop, for many short chains on data of their own.
        """
        n, n_sd = tune + draws, len(target.scales)
        return np.asarray(
            _chain(
                self.mode,
                self.root,
                self.step,
                tune,
                rng.standard_normal((n, len(self.mode))),
                rng.uniform(size=(n, 2)),
                rng.uniform(size=(n, n_sd)) < _JUMPING,
                _JUMP * rng.standard_t(3, (n, n_sd)),
                np.log(rng.uniform(size=(n, n_sd))),
                target.arguments,
                target.room(),
            )
        )

    def adapt(self, accept: float, iteration: int) -> None:
        """Robbins–Monro on the log step size."""
        rate = 1.0 / np.sqrt(iteration + 5.0)
        log_step = np.log(self.step) + rate * (accept - _TARGET_ACCEPTANCE)
        self.step = float(np.clip(np.exp(log_step), 0.02, 1.0))


def _climb(target: Callable[[Array], tuple[float, Array]], x: Array) -> tuple[Array, Array, Array]:
    """Climb to the mode by Newton's method; returns it, and the curvature's values and vectors.

    The curvature is measured anew after so many steps only, and learnt from the steps between
    (BFGS): the density has few parameters, but measuring takes two evaluations for each.
    """
    value, gradient = target(x)
    for _ in range(_MOST_CURVATURES):
        values, vectors = _curvature(target, x)
        # Away from the mode a direction may be flat, or curved the other way.
        inverse = vectors / np.maximum(np.abs(values), _FLAT) @ vectors.T
        for climbed in range(_CLIMBS):
            step = inverse @ gradient
            step *= min(1.0, _FARTHEST / np.abs(step).max())
            while (gain := float(gradient @ step)) > _NO_GAIN:
                new_value, new_gradient = target(x + step)
                if new_value > value + 0.01 * gain:
                    break
                step /= 4
            else:
                if climbed:
                    break
                return x, values, vectors
            change = gradient - new_gradient
            x, value, gradient = x + step, new_value, new_gradient
            if (bend := float(step @ change)) > 0:
                left = np.eye(len(x)) - np.outer(step, change) / bend
                inverse = left @ inverse @ left.T + np.outer(step, step) / bend
    return x, *_curvature(target, x)


def _curvature(target: Callable[[Array], tuple[float, Array]], x: Array) -> tuple[Array, Array]:
    h = 1e-4
    slopes = [target(x + e)[1] - target(x - e)[1] for e in h * np.eye(len(x))]
    curvature = -np.array(slopes) / (2 * h)
    values, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    return values, vectors


# C never calls these, and its way in would have to be compiled.
@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _trajectory(  # type: ignore[no-untyped-def]
    x, value, gradient, root, step, n_steps, momentum, arguments, work
):  # pragma: no cover - compiled
    """Leapfrog in whitened coordinates from ``x``, where ``value`` and ``gradient`` are known.

    ``x`` and ``gradient`` become those of the end point. Returns its value and the energy error.
    """
    start = 0.5 * np.dot(momentum, momentum) - value
    momentum = momentum + 0.5 * step * np.dot(root.T, gradient)
    for i in range(n_steps):
        x += step * np.dot(root, momentum)
        value = log_posterior(x, gradient, *arguments, work)
        factor = 0.5 if i == n_steps - 1 else 1.0
        momentum += factor * step * np.dot(root.T, gradient)
    return value, 0.5 * np.dot(momentum, momentum) - value - start


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _steps(step, uniform):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Give the steps of a trajectory of about a quarter turn."""
    return max(1, int(np.pi / 2 / step * (0.8 + 0.4 * uniform)))


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _move(  # type: ignore[no-untyped-def]
    x, root, step, momenta, uniforms, chosen, offsets, arguments, work
):  # pragma: no cover - compiled
    """Jump, then make a trajectory for each row of momenta; ``x`` is changed in its place.

    Uniform numbers are those of jumps, then two of each trajectory: its length, what is accepted.
    """
    gradient, n, n_jumps = np.empty(len(x)), len(momenta), len(chosen)
    value = _jump(x, gradient, chosen, offsets, np.log(uniforms[:n_jumps]), arguments, work)
    mean, any_diverged = 0.0, False
    point, slope = np.empty(len(x)), np.empty(len(x))
    for i in range(n):
        point[:], slope[:] = x, gradient
        n_steps = _steps(step, uniforms[n_jumps + 2 * i])
        end, energy = _trajectory(
            point, value, slope, root, step, n_steps, momenta[i], arguments, work
        )
        if not energy <= _MAX_ENERGY_ERROR:
            any_diverged = True
            continue
        accept = np.exp(min(0.0, -energy))
        mean += accept / n
        if uniforms[n_jumps + 2 * i + 1] < accept:
            x[:], gradient[:] = point, slope
            value = end
    return mean, any_diverged


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _jump(  # type: ignore[no-untyped-def]
    x, gradient, chosen, offsets, log_uniforms, arguments, work
):  # pragma: no cover - compiled
    """Propose to add each offset in turn; offsets are as likely as their negatives.

    ``x`` is changed in its place. Returns the value there, and its gradient in ``gradient``.
    """
    value, accepted = log_posterior(x, gradient, *arguments, work), True
    for i in range(len(chosen)):
        k = chosen[i]
        before = x[k]
        x[k] += offsets[i]
        proposed = log_posterior(x, gradient, *arguments, work)
        accepted = log_uniforms[i] < proposed - value  # never where it is NaN
        if accepted:
            value = proposed
        else:
            x[k] = before
    if not accepted:
        value = log_posterior(x, gradient, *arguments, work)
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _chain(  # type: ignore[no-untyped-def]
    x, root, step, tune, momenta, uniforms, jumping, offsets, log_uniforms, arguments, work
):  # pragma: no cover - compiled
    """Move and jump in turn; while tuning, adapt the step as :meth:`Hamiltonian.adapt` does."""
    kept = np.empty((len(momenta) - tune, len(x)))
    x, gradient, slope = x.copy(), np.empty(len(x)), np.empty(len(x))
    value = log_posterior(x, gradient, *arguments, work)
    for i in range(len(momenta)):
        point, slope[:] = x.copy(), gradient
        n_steps = _steps(step, uniforms[i, 0])
        _, energy = _trajectory(
            point, value, slope, root, step, n_steps, momenta[i], arguments, work
        )
        accept = 0.0
        if energy <= _MAX_ENERGY_ERROR:
            accept = np.exp(min(0.0, -energy))
        if uniforms[i, 1] < accept:
            x = point
        chosen = np.flatnonzero(jumping[i])
        value = _jump(
            x, gradient, chosen, offsets[i][chosen], log_uniforms[i][chosen], arguments, work
        )
        if i < tune:
            log_step = np.log(step) + (accept - _TARGET_ACCEPTANCE) / np.sqrt(i + 5.0)
            step = min(max(np.exp(log_step), 0.02), 1.0)
        else:
            kept[i - tune] = x
    return kept
