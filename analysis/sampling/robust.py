"""Sample scores whose residuals or effects have heavy tails, or residuals an SD by model.

A residual that is t distributed is normal with a variance of its own, drawn at random (a scale
mixture). Scores with unequal variances are not balanced, but they contain a balanced set: with c
the smallest variance of a framing, a score of variance s² is the sum of a value of variance c about
its expectation and of an independent normal of variance s² − c. The values are a complete crossing
whose one residual variance is known, so that the collapsed density of complete crossings holds for
all other variances, and a score that is missing is one of infinite variance. A chain alternates

1. every effect given the scores and all variances (conjugate gradients);
2. the residuals' parameters, then each score's variance, given what effects leave of the scores;
3. the SDs of effects given the effects in units of these, which move along;
4. the values given the scores, effects and residuals' variances;
5. the SDs and correlations given the values, effects integrated out.

Steps 1 to 3 do without the values, which step 4 draws anew before they are used. Of effects with
heavy tails a part is known in all of these, and drawn anew after step 3 (:mod:`.tails`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import special

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.noise import LEAST_NU, NU_RATE, NU_SHAPE, RESIDUAL_SPREAD, Noise
from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.sampling.incomplete import Sampler, solvable_smoother
from valuebias.analysis.sampling.parts import draw_apart, make_parts, stretches
from valuebias.analysis.sampling.slices import slice_sample
from valuebias.analysis.sampling.tails import Tails

if TYPE_CHECKING:
    from valuebias.analysis.hierarchical import Problem
    from valuebias.analysis.sampling.density import Posterior

__all__ = ["NoiseDraws", "RobustSampler", "Values"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseDraws:
    """Draws of what residuals are like."""

    sd: Array  # (…, framing): SD of a typical model, or scale of its t
    factor: Array  # (…, model): what each model's SD is of that
    spread: Array  # (…,): SD of the factors' logs
    nu: Array  # (…,): degrees of freedom

    @classmethod
    def read(cls, kept: Array, n_framings: int) -> NoiseDraws:
        """Undo :meth:`RobustSampler.noise_of`, (…, number), but for heavy-tailed effects."""
        values = np.exp(kept)
        last = values[..., -2], values[..., -1]
        return cls(values[..., :n_framings], values[..., n_framings:-2], *last)


class Values:
    """The balanced values of one chain, and the parameters of the residuals."""

    def __init__(
        self, crossing: Crossing, noise: Noise, scales: Array, tails: Tails | None = None
    ) -> None:
        self.crossing, self.noise, self.tails = crossing, noise, tails
        self._scales = scales  # of the prior on the SDs, (framing,)
        seen = crossing.observed.sum(axis=2)
        groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
        self._groups = groups
        self._counts = np.array([seen[:, g].sum(axis=1) for g in groups], dtype=float).T
        self.empty()

    def empty(self) -> None:
        """Take the scores themselves, zero where there are none."""
        n_models, *_ = self.crossing.shape
        self.log_sd, self.shift = np.log(self._scales), np.zeros(n_models)
        self.log_spread, self.log_nu = np.log(0.5 * RESIDUAL_SPREAD), np.log(10.0 - LEAST_NU)
        self.weight: Array = np.ones((1, 1, 1))
        self.fresh = True
        if self.tails is not None:
            self.tails.empty()
        self._take(self.crossing.y)

    def _take(self, cube: Array) -> None:
        self.tables = make_tables(self.crossing, cube)

    @property
    def nu(self) -> float:
        """Degrees of freedom."""
        return LEAST_NU + float(np.exp(self.log_nu))

    @property
    def _log_sds(self) -> Array:
        """By row, (model, prompt, 1)."""
        return np.asarray((self.log_sd[self.crossing.framing] + self.shift[:, None])[..., None])

    def redraw_noise(self, fitted: Array, rng: np.random.Generator) -> None:
        """Draw residuals' parameters given what effects and levels make of all scores."""
        left = np.where(self.crossing.observed, self.crossing.y - fitted, 0.0)
        squares = left**2
        if self.noise.student:
            self._redraw_tails(squares, rng)
            # The variance of each score, given its residual.
            rate = 0.5 * (self.nu + squares * np.exp(-2 * self._log_sds))
            self.weight = rng.standard_gamma(0.5 * (self.nu + 1), squares.shape) / rate
            squares *= self.weight
        by_row = squares.sum(axis=2)
        self._redraw_sds(np.array([by_row[:, g].sum(axis=1) for g in self._groups]).T, rng)

    @property
    def precision(self) -> Array:
        """Of each score, (model, prompt, word); zero where it is missing."""
        return np.asarray(np.exp(-2 * self._log_sds) * self.weight * self.crossing.observed)

    def redraw(self, fitted: Array, rng: np.random.Generator) -> Array:
        """Draw the values given what effects make of all scores, and take own parts off them.

        Returns their residual variance by framing.
        """
        framing, precision = self.crossing.framing, self.precision
        core = 1 / np.array([precision[:, g].max() for g in self._groups])
        share = precision * core[framing][:, None]
        values = (self.crossing.y - fitted) * share
        noise = rng.standard_normal(values.shape, dtype=np.float32)
        values += np.sqrt(core[framing][:, None] * np.maximum(1 - share, 0)) * noise
        values += fitted
        if self.tails is not None:
            values -= self.tails.cube
        self._take(values)
        return core

    def _redraw_tails(self, squares: Array, rng: np.random.Generator) -> None:
        """Draw degrees of freedom, then the SDs' common factor, with no score's variance given.

        Given these, the degrees of freedom would hardly move; nor would they at given SDs, so that
        these move along, and the mean of log|residual| stays.
        """
        n_by_framing = self._counts.sum(axis=0)
        n = n_by_framing.sum()
        framing = self.crossing.framing

        def log_density(log_nu: float, move: float) -> float:
            nu = LEAST_NU + np.exp(log_nu)
            log_sd = self.log_sd + move
            sds = np.exp(-2 * (log_sd + self.shift[:, None])) / nu
            value = special.gammaln(0.5 * (nu + 1)) - special.gammaln(0.5 * nu) - 0.5 * np.log(nu)
            value = n * value - 0.5 * (nu + 1) * _log_sum(squares, sds, framing)
            value += (NU_SHAPE - 1) * np.log(nu) - NU_RATE * nu + log_nu
            return float(value - n_by_framing @ log_sd + self._prior(log_sd))

        def along(log_nu: float) -> float:
            nu = LEAST_NU + np.exp(log_nu)
            return float(0.5 * (special.digamma(0.5 * nu) - np.log(nu)))

        def by_nu(x: Array) -> Array:
            move = along(float(x[0])) - along(self.log_nu)
            return np.array([log_density(float(x[0]), move)])

        def by_move(x: Array) -> Array:
            return np.array([log_density(self.log_nu, float(x[0]))])

        log_nu = float(slice_sample(by_nu, np.array([self.log_nu]), 1.0, rng)[0])
        self.log_sd = self.log_sd + along(log_nu) - along(self.log_nu)
        self.log_nu = log_nu
        self.log_sd = self.log_sd + slice_sample(by_move, np.zeros(1), 4 / np.sqrt(2 * n), rng)

    def _prior(self, log_sd: Array) -> float:
        """Log-density of the half-normal priors on the log scale."""
        return float((log_sd - 0.5 * (np.exp(log_sd) / self._scales) ** 2).sum())

    def _redraw_sds(self, squares: Array, rng: np.random.Generator) -> None:
        """Draw the SDs given the residuals' weighted squares, (model, framing)."""
        counts = self._counts

        def by_framing(log_sd: Array) -> Array:
            total = np.exp(-2 * self.shift) @ squares
            value = log_sd - 0.5 * (np.exp(log_sd) / self._scales) ** 2
            return np.asarray(
                value - counts.sum(axis=0) * log_sd - 0.5 * total * np.exp(-2 * log_sd)
            )

        width = 4 / np.sqrt(2 * counts.sum(axis=0) + 1)
        self.log_sd = slice_sample(by_framing, self.log_sd, width, rng)
        if not self.noise.by_model:
            return

        def likelihood(shift: Array) -> Array:
            inverse = np.exp(-2 * (self.log_sd + shift[:, None]))
            return np.asarray(-counts.sum(axis=1) * shift - 0.5 * (squares * inverse).sum(axis=1))

        def by_shift(shift: Array) -> Array:
            return np.asarray(likelihood(shift) - 0.5 * (shift * np.exp(-self.log_spread)) ** 2)

        def by_spread(x: Array) -> Array:
            value = self._prior_spread(x) - len(self.shift) * x
            return np.asarray(value - 0.5 * (self.shift**2).sum() * np.exp(-2 * x))

        def by_move(x: Array) -> Array:
            # What models share may belong to the typical SD.
            moved = (self.shift - x) * np.exp(-self.log_spread)
            return np.array([self._prior(self.log_sd + x) - 0.5 * (moved**2).sum()])

        def by_stretch(x: Array) -> Array:
            # Where all models are alike, SD and factors only move together.
            value = self._prior_spread(self.log_spread + x)
            return np.asarray(value + likelihood(self.shift * np.exp(x)).sum())

        self.shift = slice_sample(
            by_shift, self.shift, 4 / np.sqrt(2 * counts.sum(axis=1) + 4), rng
        )
        move = slice_sample(by_move, np.zeros(1), 0.3, rng)
        self.log_sd, self.shift = self.log_sd + move, self.shift - move
        self.log_spread = float(slice_sample(by_spread, np.array([self.log_spread]), 1.0, rng)[0])
        stretch = float(slice_sample(by_stretch, np.zeros(1), 0.5, rng)[0])
        self.log_spread, self.shift = self.log_spread + stretch, self.shift * np.exp(stretch)

    @staticmethod
    def _prior_spread(log_spread: Array) -> Array:
        return np.asarray(log_spread - 0.5 * (np.exp(log_spread) / RESIDUAL_SPREAD) ** 2)


class RobustSampler(Sampler):
    """Chains whose residual's variance is not among the variances of the collapsed density."""

    normal = False

    def __init__(self, problem: Problem) -> None:
        super().__init__(
            problem.crossing, problem.components, problem.posterior, problem.coefficient_scales
        )
        n_framings = len(self.crossing.framings)
        at = self.components.names.index("residual") * n_framings
        self.noise, self.exact = problem.noise, False
        self.residual = list(range(at, at + n_framings))
        self.parts = make_parts(self.crossing, self.components, self.coefficient_scales)
        tails = self._make_tails()
        self.fixed = (*self.residual, *(sorted(tails.fixed) if tails else ()))
        self.n_noise = n_framings + self.crossing.shape[0] + 2 + (tails.n_numbers if tails else 0)
        self.n_shift = tails.n_columns if tails else 0

    def _make_tails(self) -> Tails | None:
        if not self.noise.tails:
            return None
        return Tails(
            self.crossing,
            self.components,
            self.coefficient_scales,
            self.posterior,
            self.noise.tails,
        )

    def make_state(self) -> Values:
        """Make what a chain works in."""
        scales = self.posterior.scales[self.residual]
        return Values(self.crossing, self.noise, scales, self._make_tails())

    def impute(self, state: Any, x: Array, rng: np.random.Generator) -> tuple[Array, Posterior]:
        """Make steps 1 to 4; returns the variances, with the values' for the residual's.

        Where scores say little of a component its SD would hardly move in step 5, as the values
        say much, and where they say much it would hardly move in step 3: hence both (interweaving:
        Yu and Meng 2011, J. Comput. Graph. Stat. 20, 531–570).
        """
        crossing, tails = self.crossing, state.tails
        if state.fresh:
            state.log_sd, state.fresh = x[self.residual], False
        sd, correlation, spread = self.posterior.constrain(x)
        v = self.components.variances(sd, correlation, spread)
        smoother = solvable_smoother(crossing, self.components, self.coefficient_scales, v)
        known = tails.cube if tails else 0.0
        effects, cubes = draw_apart(self.parts, smoother, state.precision, spread, rng, known)
        if tails:
            tails.add_own(x, effects, cubes)
            x = tails.shifted(x, -1)
        state.redraw_noise(_with_levels(state, sum(cubes), rng), rng)
        x = self._stretch(state, x, effects, cubes, rng)
        if tails:
            x = tails.shifted(tails.redraw(x, effects, rng))
        core = state.redraw(_with_levels(state, sum(cubes), rng), rng)
        x[self.residual] = 0.5 * np.log(core)
        target = self._target(state)
        return tails.slices(target, x, rng) if tails else x, target

    def _stretch(
        self,
        state: Values,
        x: Array,
        effects: list[Array],
        cubes: list[Array],
        rng: np.random.Generator,
    ) -> Array:
        """Draw the components' SDs given all effects in units of these, which move along."""
        x, crossing, names = x.copy(), self.crossing, self.components.names
        n_framings, n_correlated = len(crossing.framings), self.posterior.n_correlated
        left, precision = crossing.y - cubes[-1], state.precision
        signs = np.ones((len(names), n_framings))
        for f in range(n_framings):
            group = crossing.prompts_of(f)
            at = np.array([names.index(part.name) for part in self.parts[:-1]])
            where = at * n_framings + f
            tightness = (np.exp(x[where]) / self.posterior.scales[where]) ** 2
            of_framing = [cube[:, group] for cube in cubes[:-1]]
            by = stretches(of_framing, left[:, group], precision[:, group], tightness, rng)
            x[where] += np.log(np.abs(by))
            signs[at, f] = np.sign(by)
            for part, one, cube, factor in zip(self.parts, effects, cubes, by, strict=False):
                cube[:, group] *= factor
                one[:, f if part.joint else group] *= factor
        n_sd = len(self.posterior.scales)
        if n_framings == 2:
            x[n_sd : n_sd + n_correlated] *= signs[:n_correlated].prod(axis=1)
        return x

    def noise_of(self, state: Any, x: Array) -> Array:
        """Lay out the residuals' parameters as a vector."""
        numbers = [state.log_spread, np.log(state.nu)]
        of_tails = state.tails.numbers() if state.tails else np.zeros(0)
        return np.concatenate([state.log_sd, state.shift, numbers, of_tails])

    def shift_of(self, state: Any) -> Array:
        """Give the own parts of words with heavy tails."""
        return np.asarray(state.tails.of_words())


def _with_levels(state: Values, effects: Any, rng: np.random.Generator) -> Array:
    """Add to effects the levels of rows, drawn given these; rows without scores have any."""
    precision = state.precision
    total = precision.sum(axis=2)
    total = np.where(total > 0, total, 1.0)
    level = ((state.crossing.y - effects) * precision).sum(axis=2) / total
    level += rng.standard_normal(level.shape) / np.sqrt(total)
    return np.asarray(effects + level[..., None])


@numba.njit(cache=True, nogil=True)
def _log_sum(  # type: ignore[no-untyped-def]
    squares, factor, framing
):  # pragma: no cover - compiled
    """Sum up log(1 + factor · square); a logarithm of a product is quicker than of each."""
    total = 0.0
    for m in range(squares.shape[0]):
        for p in range(squares.shape[1]):
            product, scale, row = 1.0, factor[m, framing[p]], squares[m, p]
            for w in range(len(row)):
                product *= 1.0 + row[w] * scale
                if product > 1e150:
                    total += np.log(product)
                    product = 1.0
            total += np.log(product)
    return total
