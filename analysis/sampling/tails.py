"""Effects with heavy tails: those of words, models or bases that are t distributed.

A t is a scale mixture: the effects u of a level (a word's, a model's) are normal with the variance
1/λ times that of a typical one, and λ is Gamma(ν/2, ν/2). With κ the smallest 1/λ of all levels, u
is the sum of a common part of κ times the variance and of an own part of 1/λ − κ times. What the
own parts make of scores is taken off them, and what is left has one variance again, so that the
algebra of normal effects holds for it. After all effects were drawn given the own parts (see
:mod:`.robust`),

1. ν, and the SDs by a common factor, are drawn given u, no λ given; then each λ;
2. what u and the formula's effects make of scores stays, and how much of it is the formula's is
   drawn, which the own parts would hold where it was;
3. u is divided anew into its two parts, of which the own ones are kept;
4. SDs, correlation and families' factors of these components are drawn given the own parts, all
   other effects integrated out, one by one (slices).

The density has κ times the variance for a component's own: ``x`` is shifted by half its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import special

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.noise import LEAST_NU, NU_RATE, NU_SHAPE
from valuebias.analysis.sampling.locations import relocate_models, relocate_words
from valuebias.analysis.sampling.parts import make_parts
from valuebias.analysis.sampling.slices import slice_sample
from valuebias.analysis.sampling.tail_layout import Tail, make_tail

if TYPE_CHECKING:
    from valuebias.analysis.sampling.density import Posterior

__all__ = ["Tails"]

Array = NDArray[np.float64]

_NEAR_ONE = 1 - 1e-12  # correlations beyond it are taken for it
_FIRST_NU = 10.0


class _State:
    """What one chain knows of a component."""

    def __init__(self, n_levels: int) -> None:
        self.log_nu = float(np.log(_FIRST_NU - LEAST_NU))
        self.weight: Array = np.ones(n_levels)
        self.excess: Array | None = None  # (level, column, framing), families' factors in

    @property
    def nu(self) -> float:
        return LEAST_NU + float(np.exp(self.log_nu))

    @property
    def common(self) -> float:
        """The share κ of the variance that all levels have."""
        return float(1 / self.weight.max())


class Tails:
    """The components with heavy tails of one chain."""

    def __init__(
        self,
        crossing: Crossing,
        components: Components,
        scales: Array,
        posterior: Posterior,
        tails: tuple[str, ...],
    ) -> None:
        # ``scales`` (column,) are prior SDs of the formula's effects.
        parts = make_parts(crossing, components, scales)
        self.crossing, self._parts, self._posterior = crossing, parts, posterior
        self._scales = scales
        self.tails = [
            make_tail(crossing, components, parts, posterior, name)
            for name in components.tailed(tails)
        ]
        self._where = {tail.name: self._coordinates(tail) for tail in self.tails}
        self.fixed = set().union(*self._where.values())
        self.empty()

    def _coordinates(self, tail: Tail) -> set[int]:
        """Which coordinates of ``x`` the distribution of a component's effects depends on."""
        out = {*map(int, tail.sds), *([tail.correlation] if tail.correlation >= 0 else [])}
        n_spread = self._posterior.n_spread // 2
        first = len(self._posterior.scales) + self._posterior.n_correlated + tail.spread * n_spread
        return out | set(range(first, first + n_spread) if tail.spread >= 0 else [])

    def empty(self) -> None:
        """Start a chain, with normal effects."""
        self._states = [_State(len(tail.kind_of)) for tail in self.tails]
        self.cube: Array | float = 0.0

    def shifted(self, x: Array, sign: int = 1) -> Array:
        """Turn the SDs into those of the common parts, or with a sign of −1 back."""
        x = x.copy()
        for tail, state in zip(self.tails, self._states, strict=True):
            x[tail.sds] += sign * 0.5 * np.log(state.common)
        return x

    def add_own(self, x: Array, effects: list[Array], cubes: list[Array]) -> None:
        """Add the own parts to effects, and to what these make of scores."""
        spread = self._posterior.constrain(x)[2]
        for tail, state in zip(self.tails, self._states, strict=True):
            if state.excess is None:
                continue
            raw = tail.by_column(state.excess / _factors(tail, spread)[:, None, None])
            effects[tail.part] += raw
            cubes[tail.part] += self._cube_of(tail, state.excess)

    def redraw(self, x: Array, effects: list[Array], rng: np.random.Generator) -> Array:
        """Make steps 1 to 3 given the effects; takes and returns ``x`` with their own SDs."""
        x, spread = x.copy(), self._posterior.constrain(x)[2]
        self.cube, coefficient = np.zeros(self.crossing.shape), effects[-1].copy()
        for tail, state in zip(self.tails, self._states, strict=True):
            levels = tail.by_level(effects[tail.part])
            squares = _squares(levels, _inverse(tail, x))
            size = levels.shape[1] * levels.shape[2]
            move = _redraw_nu(tail, state, x, squares, size, rng)
            x[tail.sds] += move
            rate = 0.5 * (state.nu + squares * np.exp(-2 * move))
            state.weight = rng.standard_gamma(0.5 * (state.nu + size), len(squares)) / rate
            factors = _factors(tail, spread)[:, None, None]
            levels = self._relocated(tail, state, x, levels * factors, coefficient, rng) / factors
            share = state.weight * state.common
            noise = rng.standard_normal(levels.shape) @ _root(tail, x).T
            noise *= np.sqrt(state.common * np.maximum(1 - share, 0))[:, None, None]
            excess = levels * (1 - share)[:, None, None] + noise
            state.excess = excess * factors
            self.cube += self._cube_of(tail, state.excess)
        return x

    def _relocated(
        self,
        tail: Tail,
        state: _State,
        x: Array,
        levels: Array,
        coefficient: Array,
        rng: np.random.Generator,
    ) -> Array:
        """Make step 2: change ``coefficient`` (column, framing, axis) in place, return the levels.

        ``levels`` (level, column, framing) have the families' factors in them.
        """
        spread = self._posterior.constrain(x)[2]
        weight, inverse = state.weight / _factors(tail, spread) ** 2, _inverse(tail, x)
        at = np.ix_(tail.formula, np.arange(coefficient.shape[1]), tail.axes)
        if tail.of_words:
            scales = self._scales[tail.formula]
            levels, coefficient[at] = relocate_words(
                levels, coefficient[at], tail.rows, scales, weight, inverse, rng
            )
        elif len(tail.formula):
            levels, coefficient[at] = relocate_models(
                levels, coefficient[at], tail.rows, weight, inverse, rng
            )
        return levels

    def slices(self, target: Posterior, x: Array, rng: np.random.Generator) -> Array:
        """Make step 4, at SDs of the common parts; ``target`` is of scores without own parts."""
        known = [(tail, state, self._sums(tail, state)) for tail, state in self._each()]
        x, point = x.copy(), x.copy()

        def density(values: Array, k: int) -> Array:
            point[k] = values[0]
            value = target(point)[0]
            for tail, state, sums in known:
                if k in self._where[tail.name]:  # the others are constant
                    value += self._density_of_own(tail, state, sums, point)
            return np.array([value if np.isfinite(value) else -np.inf])

        for k in sorted(self.fixed):
            x[k] = point[k] = slice_sample(partial(density, k=k), x[[k]], 0.5, rng)[0]
        return x

    def numbers(self) -> Array:
        """Lay out what :class:`TailDraws` reads."""
        pairs = [np.log([state.common, state.nu]) for state in self._states]
        excess = [self._on_axes(tail, state).ravel() for tail, state in self._each()]
        return np.concatenate([*pairs, *excess])

    @property
    def n_numbers(self) -> int:
        """How many these are."""
        return len(self.numbers())

    @property
    def n_columns(self) -> int:
        """How many columns of the design, by framing, words have own parts in."""
        n_columns = self.crossing.design.matrix.shape[1] * len(self.crossing.framings)
        return n_columns if any(tail.of_words for tail in self.tails) else 0

    def of_words(self) -> Array:
        """Own parts of words, (column · framing, word)."""
        shape = (self.crossing.design.matrix.shape[1], len(self.crossing.framings))
        out = np.zeros((*shape, self.crossing.shape[2]))
        for tail, state in self._each():
            if tail.of_words and state.excess is not None:
                out[tail.columns] += tail.by_column(state.excess)
        return out.reshape(-1, out.shape[-1])

    def _each(self) -> list[tuple[Tail, _State]]:
        return list(zip(self.tails, self._states, strict=True))

    def _cube_of(self, tail: Tail, excess: Array) -> Array:
        return self._parts[tail.part].cube(self.crossing, tail.by_column(excess))

    def _on_axes(self, tail: Tail, state: _State) -> Array:
        """Own parts on the axes: (column, framing, axis), or (model, framing, axis)."""
        crossing, part = self.crossing, self._parts[tail.part]
        n_framings, n_axes = len(crossing.framings), len(crossing.axes)
        if tail.of_words:
            n = tail.columns.stop - tail.columns.start
            if state.excess is None:
                return np.zeros((n, n_framings, n_axes))
            return np.asarray(tail.by_column(state.excess) @ crossing.word_basis)
        if state.excess is None:
            return np.zeros((crossing.shape[0], n_framings, n_axes))
        by_word = tail.by_column(state.excess) @ np.asarray(part.over_words).T
        return np.tensordot(part.over_models, by_word @ crossing.word_basis, 1)

    def _sums(self, tail: Tail, state: _State) -> tuple[Array, Array]:
        """Numbers of own parts by family, and sums of their squares in units of their variance."""
        left = 1 / state.weight - state.common
        # The level of the smallest variance has none of its own.
        has = left > 1e-9 * state.common
        n_kinds = max(len(self.crossing.space.kinds), 1) if tail.spread >= 0 else 1
        excess = np.asarray(state.excess)[has] / np.sqrt(left[has])[:, None, None]
        products = np.einsum("lcf,lcg->lfg", excess, excess)
        kind = tail.kind_of[has]
        counts = np.bincount(kind, minlength=n_kinds) * excess.shape[1]
        sums = np.stack([products[kind == k].sum(axis=0) for k in range(n_kinds)])
        return counts.astype(float), sums

    def _density_of_own(
        self, tail: Tail, state: _State, known: tuple[Array, Array], point: Array
    ) -> float:
        """Log-density of the own parts; and of the SDs, whose prior is on those of effects."""
        counts, sums = known
        factors = np.ones(1)
        if tail.spread >= 0:
            factors = self._posterior.constrain(point)[2][tail.spread]
        total, n = float(counts.sum()), len(tail.sds)
        value = -n * float(counts @ np.log(factors))
        scatter = factors**-2.0 @ sums.reshape(len(sums), -1)
        log_sd = [float(x) - 0.5 * math.log(state.common) for x in point[tail.sds]]
        rho = 0.0
        if tail.correlation >= 0:
            rho = _clipped(math.tanh(0.5 * float(point[tail.correlation])))
        squares = 0.0
        for f, (x, scale) in enumerate(zip(log_sd, tail.scales, strict=True)):
            squares += scatter[f * (n + 1)] * math.exp(-2 * x)
            # The density has that of the common part.
            value += 0.5 * (state.common - 1) * (math.exp(x) / scale) ** 2
        if n == 2:
            squares -= 2 * rho * scatter[1] * math.exp(-sum(log_sd))
        value -= total * (sum(log_sd) + 0.5 * math.log1p(-(rho**2)))
        return value - 0.5 * float(squares) / (1 - rho**2)


def _factors(tail: Tail, spread: Array) -> Array:
    """Give what multiplies the SD of each level, (level,)."""
    return spread[tail.spread][tail.kind_of] if tail.spread >= 0 else np.ones(len(tail.kind_of))


def _root(tail: Tail, x: Array) -> Array:
    """Lower triangular root of the covariance over framings."""
    root = np.diag(np.exp(x[tail.sds]))
    if tail.correlation >= 0:
        rho = _clipped(math.tanh(0.5 * float(x[tail.correlation])))
        root[1, 0] = rho * root[1, 1]
        root[1, 1] *= np.sqrt(1 - rho**2)
    return root


def _clipped(rho: float) -> float:
    return max(-_NEAR_ONE, min(rho, _NEAR_ONE))


def _inverse(tail: Tail, x: Array) -> Array:
    inverse = np.linalg.inv(_root(tail, x))
    return np.asarray(inverse.T @ inverse)


def _squares(levels: Array, inverse: Array) -> Array:
    """Squared size of each level's effects in units of their covariance."""
    return np.asarray(np.einsum("lcf,fg,lcg->l", levels, inverse, levels, optimize=True))


def _redraw_nu(
    tail: Tail, state: _State, x: Array, squares: Array, size: int, rng: np.random.Generator
) -> float:
    """Draw degrees of freedom, then the SDs' common factor, whose logarithm is returned.

    No λ is given: given all of them the degrees of freedom would hardly move. SDs move along with
    these, so that the mean of a level's log|u| stays.
    """
    n, log_sd = len(squares), x[tail.sds]

    def log_density(log_nu: float, move: float) -> float:
        nu = LEAST_NU + np.exp(log_nu)
        value = special.gammaln(0.5 * (nu + size)) - special.gammaln(0.5 * nu)
        value = n * (value - 0.5 * size * np.log(nu) - size * move)
        value -= 0.5 * (nu + size) * np.log1p(squares * np.exp(-2 * move) / nu).sum()
        value += (NU_SHAPE - 1) * np.log(nu) - NU_RATE * nu + log_nu
        moved = log_sd + move
        return float(value + (moved - 0.5 * (np.exp(moved) / tail.scales) ** 2).sum())

    def along(log_nu: float) -> float:
        nu = LEAST_NU + np.exp(log_nu)
        return float(0.5 * (special.digamma(0.5 * nu) - np.log(nu)))

    start = along(state.log_nu)
    by_nu: Callable[[Array], Array] = lambda at: np.array(  # noqa: E731
        [log_density(float(at[0]), along(float(at[0])) - start)]
    )
    state.log_nu = float(slice_sample(by_nu, np.array([state.log_nu]), 1.0, rng)[0])
    move = along(state.log_nu) - start
    by_move: Callable[[Array], Array] = lambda at: np.array(  # noqa: E731
        [log_density(state.log_nu, float(at[0]))]
    )
    return float(slice_sample(by_move, np.array([move]), 4 / np.sqrt(2 * n * size), rng)[0])
