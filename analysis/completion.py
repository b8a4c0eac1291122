"""The missing cells of an incomplete crossing, and two exact ways to redraw them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.crossing import Crossing
from valuebias.analysis.smoother import Fields, Smoother, accumulate, read_cells
from valuebias.analysis.strata import Tables, make_tables
from valuebias.errors import ValueBiasError

__all__ = ["Completion", "sparse_margins"]

Array = NDArray[np.float64]

_CG_TOLERANCE = 1e-5
_CG_MOST = 200


class Completion:
    """One completion of a cube: its missing cells and its margins, kept in step."""

    def __init__(self, crossing: Crossing, cells: NDArray[np.intp]) -> None:
        self.crossing, self.cells = crossing, cells
        start = make_tables(crossing, crossing.y)
        self.margins = Fields(start.mean, start.prompt_word, start.axis, crossing.y.sum(axis=2))
        self.missing = np.zeros(len(cells))
        self._groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
        self._framing_of_cell = crossing.framing[cells[:, 1]]
        self._raw_ss = np.array([(crossing.y[:, g] ** 2).sum() for g in self._groups])
        self._geometry = (
            crossing.framing,
            crossing.word_basis,
            1 / np.sqrt(np.bincount(crossing.framing)),
            1 / np.sqrt(crossing.shape[0]),
        )

    @property
    def tables(self) -> Tables:
        """Sufficient statistics of the completed cube."""
        m, n_words = self.margins, self.crossing.shape[2]
        level_ss = np.array([(m.level[:, g] ** 2).sum() / n_words for g in self._groups])
        return Tables(m.mean, m.prompt_word, m.axis, self._raw_ss - level_ss)

    def redraw(self, smoother: Smoother, rng: np.random.Generator) -> None:
        """Draw all effects given the completed cube, then the missing cells given the effects.

        One Gibbs step; its cost is that of the tables. It hardly moves a cell all of whose
        neighbours in a margin are missing too: see :meth:`redraw_exactly`.
        """
        effects = smoother.draw(self.margins, rng)
        noise = self._residual_sd(smoother) * rng.standard_normal(len(self.cells))
        self._fill(self._read(effects) + noise)

    def redraw_exactly(self, smoother: Smoother, rng: np.random.Generator) -> None:
        """Draw the missing cells given the observed ones, all effects integrated out.

        A simulated cube is corrected by its conditional mean given the observed cells (Matheron's
        rule); the correction solves a system in the missing cells by conjugate gradients, whose
        operator is the smoother.
        """
        crossing = self.crossing
        simulated = smoother.simulate_cube(rng)
        difference = np.where(crossing.observed, crossing.y - simulated, 0.0)
        tables = make_tables(crossing, difference)
        margins = Fields(tables.mean, tables.prompt_word, tables.axis, difference.sum(axis=2))
        right = self._read(smoother.mean(margins))
        start = self.missing - simulated[tuple(self.cells.T)]
        self._fill(simulated[tuple(self.cells.T)] + self._solve(smoother, right, start))

    def _solve(self, smoother: Smoother, right: Array, x: Array) -> Array:
        """Solve σ² Q_mm x = right for the missing cells, Q the precision of the whole cube.

        Both sides are multiplied by σ², which the two framings do not share; dividing by σ again
        makes the system symmetric.
        """
        sd = self._residual_sd(smoother)

        def multiply(u: Array) -> Array:
            full = u * sd
            margins = Fields.zeros(self.crossing)
            self._accumulate(full, margins)
            return np.asarray((full - self._read(smoother.mean(margins))) / sd)

        precondition = self._preconditioner(smoother)
        u, target = x / sd, right / sd
        residual = target - multiply(u)
        direction = image = precondition(residual)
        size = residual @ image
        enough = _CG_TOLERANCE**2 * max(float(target @ precondition(target)), 1e-300)
        for _ in range(_CG_MOST):
            if size <= enough:
                return np.asarray(u * sd)
            product = multiply(direction)
            step = size / (direction @ product)
            u += step * direction
            residual -= step * product
            image = precondition(residual)
            before, size = size, residual @ image
            direction = image + size / before * direction
        raise ValueBiasError(
            f"the missing cells could not be drawn given the observed ones in {_CG_MOST} steps: "
            "the gaps leave too little to go by. Drop words, prompts or models that hardly any "
            "others share scores with."
        )

    def _preconditioner(self, smoother: Smoother) -> Callable[[Array], Array]:
        """Invert the system as if each margin of the smoother stood alone.

        With n of N cells of a margin missing and gain g, that block is I − g 11'/N, and its inverse
        I + 11'/N · g / (1 − g n / N). Without it, wholly missing margins take many iterations.
        """
        gain_mean, gain_prompt = smoother.margin_gains
        n_models, _, n_words = self.crossing.shape
        n_prompts = np.bincount(self.crossing.framing)
        counts = self._missing_counts
        by_mean = gain_mean[:, None, None]
        by_mean = by_mean / (1 - by_mean * counts.mean / n_prompts[:, None, None])
        by_prompt = gain_prompt[self.crossing.framing][:, None]
        by_prompt = by_prompt / (1 - by_prompt * counts.prompt_word / n_models)
        # A level nothing is known about (every word missing) does not matter: bound its weight.
        by_level = 1 / np.maximum(1 - counts.level / n_words, 1e-3) / n_words
        zero = np.zeros_like(self.margins.axis)

        def precondition(u: Array) -> Array:
            sums = Fields.zeros(self.crossing)
            self._accumulate(u, sums)
            return np.asarray(
                u
                + self._read(
                    Fields(
                        by_mean * sums.mean,
                        by_prompt * sums.prompt_word,
                        zero,
                        by_level * sums.level,
                    )
                )
            )

        return precondition

    @cached_property
    def _missing_counts(self) -> Fields:
        """How many cells of each margin are missing."""
        gaps = ~self.crossing.observed
        return Fields(
            np.stack([gaps[:, g].sum(axis=1) for g in self._groups]).astype(float),
            gaps.sum(axis=0).astype(float),
            np.zeros(0),
            gaps.sum(axis=2).astype(float),
        )

    def _residual_sd(self, smoother: Smoother) -> Array:
        return np.asarray(np.sqrt(smoother.residual)[self._framing_of_cell])

    def _read(self, smooth: Fields) -> Array:
        return np.asarray(
            read_cells(
                self.cells,
                *self._geometry,
                smooth.mean,
                smooth.prompt_word,
                smooth.axis,
                smooth.level,
            )
        )

    def _accumulate(self, values: Array, margins: Fields) -> None:
        m = margins
        accumulate(self.cells, values, *self._geometry, m.mean, m.prompt_word, m.axis, m.level)

    def _fill(self, values: Array) -> None:
        n_framings = len(self.crossing.framings)
        growth = values**2 - self.missing**2
        self._raw_ss += np.bincount(self._framing_of_cell, growth, minlength=n_framings)
        self._accumulate(values - self.missing, self.margins)
        self.missing = values


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
