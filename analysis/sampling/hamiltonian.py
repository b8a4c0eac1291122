"""A Hamiltonian step on the collapsed density, for chains whose data change at every iteration."""

from __future__ import annotations

import math
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
        n_sd, n_dim = len(target.scales), len(x)
        jumping = rng.uniform(size=n_sd) < _JUMPING
        jumping[[k for k in self.fixed if k < n_sd]] = False
        offsets = _JUMP * rng.standard_t(3, n_sd)
        out = np.empty((4, n_dim))
        out[0] = x
        accept, diverged = _move(
            *out, self.root, self.step, rng.standard_normal((n, n_dim)), rng.uniform(size=(n, 2)),
            jumping, offsets, rng.uniform(size=n_sd), target.arguments, target.room(),
        )  # fmt: skip
        return out[0], accept, diverged

    def chain(self, target: Posterior, rng: np.random.Generator, *, tune: int, draws: int) -> Array:
        """Run from the mode, moving and jumping in turn, and return the draws after tuning.

        Without Python in the loop, for many short chains on data of their own.
        """
        n, n_sd, n_dim = tune + draws, len(target.scales), len(self.mode)
        kept, rooms = np.empty((draws, n_dim)), np.empty((4, n_dim))
        rooms[0] = self.mode
        _chain(
            *rooms, self.root, self.step, tune, rng.standard_normal((n, n_dim)),
            rng.uniform(size=(n, 2)), rng.uniform(size=(n, n_sd)) < _JUMPING,
            _JUMP * rng.standard_t(3, (n, n_sd)), rng.uniform(size=(n, n_sd)), target.arguments,
            target.room(), kept,
        )  # fmt: skip
        return kept

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


# C never calls these, and its way in would have to be compiled. Arrays that are made, multiplied or
# assigned as a whole take numba longer to compile than all the arithmetic, hence loops.
@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _push(momentum, root, gradient, size):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Add ``size`` times the whitened gradient."""
    for i in range(len(gradient)):
        by = size * gradient[i]
        for k in range(len(momentum)):
            momentum[k] += by * root[i, k]


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _trajectory(  # type: ignore[no-untyped-def]
    x, gradient, point, slope, value, root, step, uniforms, momentum, arguments, work
):  # pragma: no cover - compiled
    """Make a trajectory of about a quarter turn in whitened coordinates from ``x``, and accept it.

    There the ``gradient`` and ``value`` are known; they become those of where it ends, if that is
    accepted. ``uniforms`` are of its length and of what is accepted, ``point`` and ``slope`` room.
    Returns the value, and the probability of acceptance: below zero where it diverged.
    """
    n_dim, energy = len(x), value
    n_steps = max(1, int(math.pi / 2 / step * (0.8 + 0.4 * uniforms[0])))
    for i in range(n_dim):
        energy -= 0.5 * momentum[i] ** 2
        point[i] = x[i]
    _push(momentum, root, gradient, 0.5 * step)
    end = value
    for leap in range(n_steps):
        for i in range(n_dim):
            change = 0.0
            for k in range(n_dim):
                change += root[i, k] * momentum[k]
            point[i] += step * change
        end = log_posterior(point, slope, *arguments, work)
        _push(momentum, root, slope, 0.5 * step if leap == n_steps - 1 else step)
    energy -= end
    for i in range(n_dim):
        energy += 0.5 * momentum[i] ** 2
    # Never where it is NaN.
    if not energy <= _MAX_ENERGY_ERROR:
        return value, -1.0
    accept = math.exp(min(0.0, -energy))
    if uniforms[1] < accept:
        value = end
        for i in range(n_dim):
            x[i], gradient[i] = point[i], slope[i]
    return value, accept


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _jump(  # type: ignore[no-untyped-def]
    x, gradient, jumping, offsets, uniforms, arguments, work
):  # pragma: no cover - compiled
    """Propose to add each offset in turn; offsets are as likely as their negatives.

    ``x`` is changed in its place. Returns the value there, and its gradient in ``gradient``.
    """
    value, current = log_posterior(x, gradient, *arguments, work), True
    for k in range(len(jumping)):
        if not jumping[k]:
            continue
        before = x[k]
        x[k] += offsets[k]
        proposed = log_posterior(x, gradient, *arguments, work)
        current = math.log(uniforms[k]) < proposed - value  # never where it is NaN
        if current:
            value = proposed
        else:
            x[k] = before
    if not current:
        value = log_posterior(x, gradient, *arguments, work)
    return value


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _move(  # type: ignore[no-untyped-def]
    x, gradient, point, slope, root, step, momenta, uniforms, jumping, offsets, of_jumps,
    arguments, work,
):  # fmt: skip  # pragma: no cover - compiled
    """Jump, then make a trajectory for each row of momenta; ``x`` is changed in its place."""
    value = _jump(x, gradient, jumping, offsets, of_jumps, arguments, work)
    mean, diverged = 0.0, False
    for i in range(len(momenta)):
        value, accept = _trajectory(
            x, gradient, point, slope, value, root, step, uniforms[i], momenta[i], arguments, work
        )
        mean += max(accept, 0.0) / len(momenta)
        diverged = diverged or accept < 0.0
    return mean, diverged


@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _chain(  # type: ignore[no-untyped-def]
    x, gradient, point, slope, root, step, tune, momenta, uniforms, jumping, offsets, of_jumps,
    arguments, work, kept,
):  # fmt: skip  # pragma: no cover - compiled
    """Move and jump in turn; while tuning, adapt the step as :meth:`Hamiltonian.adapt` does."""
    value = log_posterior(x, gradient, *arguments, work)
    for i in range(len(momenta)):
        value, accept = _trajectory(
            x, gradient, point, slope, value, root, step, uniforms[i], momenta[i], arguments, work
        )
        value = _jump(x, gradient, jumping[i], offsets[i], of_jumps[i], arguments, work)
        if i < tune:
            gain = max(accept, 0.0) - _TARGET_ACCEPTANCE
            log_step = math.log(step) + gain / math.sqrt(i + 5.0)
            step = min(max(math.exp(log_step), 0.02), 1.0)
        else:
            for k in range(len(x)):
                kept[i - tune, k] = x[k]
