"""The missing cells of an incomplete crossing, and two exact ways to redraw them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.strata import Tables, make_tables
from valuebias.analysis.estimands.smoother import Fields, Smoother
from valuebias.analysis.sampling.rows import (
    fill,
    gather,
    gather_dense,
    geometry_of,
    level_rows,
    rows_where,
)
from valuebias.analysis.sampling.solving import gains_of, solve
from valuebias.errors import ValueBiasError

__all__ = ["Completion", "Gaps", "System", "draw_given_observed", "sparse_margins"]

Array = NDArray[np.float64]

# Squared error of the effects in posterior SDs, summed over all directions.
_CG_ERROR = 1e-4
_CG_MOST = 3000
# With a smaller share of cells a list of them is quicker than a mask.
_FEW = 0.12


class Gaps:
    """Which cells of a crossing are observed and which are missing; the same for all chains."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing = crossing
        self.geometry = geometry_of(crossing)
        self.observed, self.missing = rows_where(crossing.observed), rows_where(~crossing.observed)
        self.y = crossing.y[crossing.observed]
        start = make_tables(crossing, crossing.y)
        self.margins = Fields(start.mean, start.prompt_word, start.axis, crossing.y.sum(axis=2))
        self.groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
        by_row = np.einsum("mpw,mpw->p", crossing.y, crossing.y)
        self.squares = np.array([by_row[g].sum() for g in self.groups])

    @cached_property
    def framing_of_cell(self) -> NDArray[np.int8]:
        """Framing of each observed cell."""
        rows = np.tile(self.crossing.framing.astype(np.int8), self.crossing.shape[0])
        return np.repeat(rows, np.diff(self.observed.start))

    @cached_property
    def df(self) -> Array:
        """How many observed contrasts between words there are, by framing."""
        left = np.maximum(self.crossing.observed.sum(axis=2) - 1, 0).sum(axis=0)
        return np.array([float(left[g].sum()) for g in self.groups])

    def left_by(self, effects: Fields) -> tuple[Array, Array]:
        """Mean of what effects leave of each row's scores, and by framing the squares about it."""
        means, squares = level_rows(
            self.observed.start, self.observed.words, self.y, *self.geometry.arrays,
            effects.mean, effects.prompt_word, effects.axis,
        )  # fmt: skip
        return means.reshape(self.crossing.shape[:2]), squares

    def draw_levels(self, means: Array, sd: Array, rng: np.random.Generator) -> Array:
        """Draw each row's level given the mean of what effects leave of it.

        A row without a score has no level; any will do, as it never matters.
        """
        counts = np.maximum(np.diff(self.observed.start), 1).reshape(means.shape)
        noise = rng.standard_normal(means.shape) * sd[self.crossing.framing]
        return np.asarray(means + noise / np.sqrt(counts))

    @property
    def share(self) -> float:
        """Share of the cells that are observed."""
        return len(self.observed) / self.crossing.y.size


class Completion:
    """One completion of a cube: its missing cells and its margins, kept in step."""

    def __init__(self, gaps: Gaps) -> None:
        self.gaps, self.crossing = gaps, gaps.crossing
        self.margins = gaps.margins
        self.missing = np.zeros(len(gaps.missing), dtype=np.float32)
        self._squares = gaps.squares

    @property
    def tables(self) -> Tables:
        """Sufficient statistics of the completed cube."""
        m, n_words = self.margins, self.crossing.shape[2]
        level_ss = np.array([(m.level[:, g] ** 2).sum() / n_words for g in self.gaps.groups])
        return Tables(m.mean, m.prompt_word, m.axis, self._squares - level_ss)

    def redraw(self, smoother: Smoother, rng: np.random.Generator) -> None:
        """Draw all effects given the completed cube, then the missing cells given the effects.

        One Gibbs step; its cost is that of the tables. It hardly moves a cell all of whose
        neighbours in a margin are missing too: see :meth:`redraw_exactly`.
        """
        self.fill(smoother.draw(self.margins, rng), np.sqrt(smoother.residual), rng)

    def redraw_exactly(
        self,
        smoother: Smoother,
        rng: np.random.Generator,
        redraw_sd: Callable[[Array], Array] | None = None,
    ) -> None:
        """Draw the effects given the observed cells alone, then the missing cells given these.

        In between the residual's SDs (framing,) may be redrawn from the squares that effects leave.
        """
        effects = draw_given_observed(self.gaps, smoother, rng)
        levels, squares = self.gaps.left_by(effects)
        sd = np.sqrt(smoother.residual) if redraw_sd is None else redraw_sd(squares)
        effects.level = self.gaps.draw_levels(levels, sd, rng)
        self.fill(effects, sd, rng)

    def fill(self, effects: Fields, sd: Array, rng: np.random.Generator) -> None:
        """Draw the missing cells given effects, levels and residual SDs (framing,)."""
        gaps, known = self.gaps, self.gaps.margins
        margins = Fields(
            known.mean.copy(), known.prompt_word.copy(), known.axis.copy(), known.level.copy()
        )
        values = rng.standard_normal(len(gaps.missing), dtype=np.float32)
        squares = fill(
            gaps.missing.start, gaps.missing.words, values, sd, *gaps.geometry.arrays,
            effects.mean, effects.prompt_word, effects.axis, effects.level,
            margins.mean, margins.prompt_word, margins.axis, margins.level,
        )  # fmt: skip
        self.margins, self.missing, self._squares = margins, values, gaps.squares + squares


class System:
    """The precision of the effects given the observed cells, and how to solve for it.

    See :mod:`valuebias.analysis.sampling.solving`.
    """

    def __init__(self, gaps: Gaps, smoother: Smoother) -> None:
        self.gaps, self.crossing = gaps, gaps.crossing
        self.residual = smoother.residual
        self.smoother = smoother
        self._no_level = np.zeros(self.crossing.shape[:2])

    def draw(self, smoother: Smoother, rng: np.random.Generator) -> Fields:
        """Draw the effects: correct simulated ones by what their cells miss the observed by."""
        gaps = self.gaps
        effects = smoother.simulate(rng)
        noise = rng.standard_normal(len(gaps.y))
        noise *= np.sqrt(self.residual)[gaps.framing_of_cell]
        correction = self.mean(self.gather(effects, np.subtract(gaps.y, noise, out=noise)))
        effects.mean += correction.mean
        effects.prompt_word += correction.prompt_word
        effects.axis += correction.axis
        return effects

    def gather(self, tables: Fields, target: Array) -> Array:
        """Give ``Z'CR⁻¹(target − Z tables)``, or ``Z'CR⁻¹Z tables`` where there is no target."""
        flat, gaps = np.zeros(self._size), self.gaps
        out, geometry = self._tables(flat), gaps.geometry
        every = (tables.mean, tables.prompt_word, tables.axis, out.mean, out.prompt_word, out.axis)
        weight = 1 / self.residual
        if len(target) or gaps.share < _FEW:  # there is a target once a draw only
            rows = gaps.observed
            gather(rows.start, rows.words, target, weight, *geometry.arrays, *every)
        else:
            mask = self.crossing.observed.view(np.uint8)
            gather_dense(mask, weight, *geometry.transposed, *every)
        return flat

    def mean(self, right: Array, error: float = _CG_ERROR) -> Fields:
        """Solve for the effects."""
        gaps, crossing = self.gaps, self.crossing
        sizes = (len(crossing.framings), *crossing.shape)
        typical = self.smoother.with_fewer_scores(gaps.share)
        solution, left = solve(
            right, error, _CG_MOST, sizes, gaps.share, self.residual, gaps.share >= _FEW,
            gaps.observed.start, gaps.observed.words, crossing.observed.view(np.uint8),
            gaps.geometry.arrays, gaps.geometry.transposed[1], gains_of(typical),
        )  # fmt: skip
        if not left < max(1.0, error):
            raise ValueBiasError(
                f"the missing cells could not be drawn given the observed ones in {_CG_MOST:,} "
                "steps: the gaps leave too little to go by. Drop words, prompts or models that "
                "hardly any others share scores with."
            )
        return self._tables(solution)

    @cached_property
    def _size(self) -> int:
        (m, p, w), crossing = self.crossing.shape, self.crossing
        return len(crossing.framings) * m * w + p * w + m * p * len(crossing.axes)

    def _tables(self, flat: Array) -> Fields:
        """See a flat vector as tables."""
        (m, p, w), n_axes = self.crossing.shape, len(self.crossing.axes)
        first = len(self.crossing.framings) * m * w
        second = first + p * w
        return Fields(
            flat[:first].reshape(-1, m, w),
            flat[first:second].reshape(p, w),
            flat[second:].reshape(m, p, n_axes),
            self._no_level,
        )


def draw_given_observed(gaps: Gaps, smoother: Smoother, rng: np.random.Generator) -> Fields:
    """Draw all effects but the levels given the observed cells alone."""
    return System(gaps, smoother).draw(smoother, rng)


def sparse_margins(crossing: Crossing, threshold: float = 0.6) -> float:
    """Share of the missing cells that lie where most of a margin is missing.

    The margins are those that carry a random effect: model × word × framing, kind of model × word
    × framing, prompt × word and model × prompt. Scattered gaps give nearly 0; a word that one model
    lacks altogether gives 1 for its cells.
    """
    gaps = ~crossing.observed
    sparse = gaps.mean(axis=0, keepdims=True) > threshold
    sparse = sparse | (gaps.mean(axis=2, keepdims=True) > threshold)
    kinds = np.unique(crossing.design.matrix.round(9), axis=0, return_inverse=True)[1].ravel()
    for f in range(len(crossing.framings)):
        group = crossing.prompts_of(f)
        by_word = gaps[:, group].mean(axis=1)
        for kind in np.unique(kinds):
            members = kinds == kind
            most = (by_word > threshold) | (by_word[members].mean(axis=0) > threshold)
            block = np.ix_(members, group)
            sparse[block] |= most[members][:, None]
    return float((sparse & gaps).sum() / max(int(gaps.sum()), 1))
