"""The missing cells of an incomplete crossing, and two exact ways to redraw them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.strata import Tables, make_tables
from valuebias.analysis.estimands.smoother import Fields, Smoother
from valuebias.analysis.sampling.completing import complete_prompts, smooth_means, smooth_rows
from valuebias.analysis.sampling.conditionals import Moments
from valuebias.analysis.sampling.normals import draw_normals
from valuebias.analysis.sampling.rows import Rows, fill, geometry_of, rows_where
from valuebias.analysis.sampling.shifts import Shifts, sparse
from valuebias.analysis.sampling.solving import System

__all__ = ["Completion", "Gaps", "sparse_margins"]

Array = NDArray[np.float64]

# With a smaller share of cells a list of them is quicker than a mask.
_FEW = 0.12
# Missing cells that are drawn at a time.
_AT_A_TIME = 500_000


class Gaps:
    """Which cells of a crossing are observed and which are missing; the same for all chains."""

    def __init__(self, crossing: Crossing) -> None:
        self.crossing = crossing
        self.geometry = geometry_of(crossing)
        self.missing = rows_where(~crossing.observed)
        start = make_tables(crossing, crossing.y)
        self.margins = Fields(start.mean, start.prompt_word, start.axis, crossing.y.sum(axis=2))
        self.groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
        by_row = np.einsum("mpw,mpw->p", crossing.y, crossing.y)
        self.squares = np.array([by_row[g].sum() for g in self.groups])
        self.few_observed = self.share < _FEW
        self.blocks = _blocks_of(self.missing, crossing.shape)

    @cached_property
    def observed(self) -> Rows:
        """A list of the observed cells where they are few; it is empty where they are not."""
        seen = self.crossing.observed
        return rows_where(seen if self.few_observed else seen[:0])

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Ones where a cell is observed."""
        return self.crossing.observed.view(np.uint8)

    @cached_property
    def counts(self) -> NDArray[np.intp]:
        """How many cells of each row are observed, (model, prompt)."""
        return np.asarray(self.crossing.observed.sum(axis=2))

    @cached_property
    def df(self) -> Array:
        """How many observed contrasts between words there are, by framing."""
        left = np.maximum(self.counts - 1, 0).sum(axis=0)
        return np.array([float(left[g].sum()) for g in self.groups])

    def draw_levels(self, means: Array, sd: Array, rng: np.random.Generator) -> Array:
        """Draw each row's level given the mean of what effects leave of it.

        A row without a score has no level; any will do, as it never matters.
        """
        noise = rng.standard_normal(means.shape) * sd[self.crossing.framing]
        return np.asarray(means + noise / np.sqrt(np.maximum(self.counts, 1)))

    @property
    def share(self) -> float:
        """Share of the cells that are observed."""
        return 1 - len(self.missing) / self.crossing.y.size


def _blocks_of(missing: Rows, shape: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """List runs of prompts to draw together: the first, past the last, and their missing cells."""
    ends = np.cumsum(np.diff(missing.start).reshape(shape[:2]).sum(axis=0))
    run = ends // _AT_A_TIME
    stops = np.flatnonzero(np.append(run[1:] != run[:-1], True)) + 1
    starts = [0, *stops[:-1].tolist()]
    counts = np.diff(ends[stops - 1], prepend=0)
    return list(zip(starts, stops.tolist(), counts.tolist(), strict=True))


@dataclass(frozen=True)
class _Effects:
    """Room for effects drawn given a completed cube, and for the noise that makes them."""

    mean: Array  # (framing · model, word)
    noise: NDArray[np.float32]
    on_axes: Array  # (2, framing · model, axis): of means and noise
    own: Array  # (model, prompt, axis); like the next two, first the noise
    shared: Array  # (prompt, axis)
    level: Array  # (model, prompt)
    centre: Array  # (framing, word): of the margins' table of prompts
    by_model: Array
    by_word: Array
    counts: NDArray[np.uint64]

    @classmethod
    def make(cls, crossing: Crossing) -> _Effects:
        """Make the room."""
        (m, p, w), n_axes, f = crossing.shape, len(crossing.axes), len(crossing.framings)
        return cls(
            mean=np.empty((f * m, w)),
            noise=np.empty((f * m, w), np.float32),
            on_axes=np.empty((2, f * m, n_axes)),
            own=np.empty((m, p, n_axes)),
            shared=np.empty((p, n_axes)),
            level=np.empty((m, p)),
            centre=np.empty((f, w)),
            by_model=np.empty((2, m)),
            by_word=np.empty((2, w)),
            counts=np.empty(w, np.uint64),
        )


class Completion:
    """One completion of a cube: its margins and, if ``keep``, its missing cells, in step."""

    def __init__(self, gaps: Gaps, *, keep: bool = True) -> None:
        self.gaps, self.crossing = gaps, gaps.crossing
        self.margins = Fields.zeros(gaps.crossing)
        self.missing = np.zeros(len(gaps.missing) if keep else 0, dtype=np.float32)
        # Here and not where it is needed: what threads take for themselves is not given back.
        self._noise = np.empty(max(n for *_, n in gaps.blocks), dtype=np.float32)
        self._effects = _Effects.make(gaps.crossing)
        self._work = np.empty((0, 0))
        self.empty()

    def empty(self) -> None:
        """Make all missing cells zero."""
        known = self.gaps.margins
        for name in ("mean", "prompt_word", "axis", "level"):
            np.copyto(getattr(self.margins, name), getattr(known, name))
        self.missing[:] = 0
        self._squares = self.gaps.squares

    @property
    def tables(self) -> Tables:
        """Sufficient statistics of the completed cube."""
        m, n_words = self.margins, self.crossing.shape[2]
        level_ss = np.array([(m.level[:, g] ** 2).sum() / n_words for g in self.gaps.groups])
        return Tables(m.mean, m.prompt_word, m.axis, self._squares - level_ss)

    def redraw(
        self, moments: Moments, rng: np.random.Generator, shifts: Shifts | None = None
    ) -> None:
        """Draw all effects given the completed cube, then the missing cells given the effects.

        One Gibbs step; its cost is that of the tables. It hardly moves a cell all of whose
        neighbours in a margin are missing too: these take ``shifts``, or :meth:`redraw_exactly`.
        """
        gaps, known, margins, to = self.gaps, self.gaps.margins, self.margins, self._effects
        if shifts is not None:
            # Squares and the cells themselves are made anew without a look at what they were.
            shifts.apply(margins, known, moments, rng)
        framing, basis, per_prompt, _ = gaps.geometry.transposed
        by_word = gaps.geometry.word_basis
        residual, within = moments.residual, moments.within
        draw_normals(rng, to.noise.reshape(-1))
        for table in (to.own, to.shared, to.level):
            rng.standard_normal(out=table)
        smooth_means(
            margins.mean.reshape(to.noise.shape), to.noise, moments.gains, moments.roots, basis,
            *to.on_axes, to.mean,
        )  # fmt: skip
        smooth_rows(
            margins.axis, margins.level, margins.prompt_word, residual, within, framing, to.own,
            to.shared, to.level, to.centre,
        )  # fmt: skip
        self._forget()
        for first, stop, count in gaps.blocks:
            noise = self._noise[:count]
            draw_normals(rng, noise)
            complete_prompts(
                first, stop, gaps.missing.start, gaps.missing.words, noise, self.missing, residual,
                within, framing, basis, by_word, per_prompt, to.mean, to.own, to.shared, to.level,
                to.centre, known.prompt_word, margins.mean, margins.prompt_word, margins.axis,
                margins.level, self._squares, to.by_model, to.by_word, to.counts,
            )  # fmt: skip

    def _forget(self) -> None:
        """Take all but the table of prompts back to the observed cells."""
        for name in ("mean", "axis", "level"):
            np.copyto(getattr(self.margins, name), getattr(self.gaps.margins, name))
        self._squares = self.gaps.squares.copy()

    def redraw_exactly(
        self,
        smoother: Smoother,
        rng: np.random.Generator,
        redraw_sd: Callable[[Array], Array] | None = None,
    ) -> None:
        """Draw the effects given the observed cells alone, then the missing cells given these.

        In between the residual's SDs (framing,) may be redrawn from the squares that effects leave.
        """
        system = System(self.gaps, smoother)
        if not self._work.size:
            self._work = system.work()
        effects, squares = system.draw(rng, self._work, self.margins.prompt_word)
        sd = np.sqrt(smoother.residual) if redraw_sd is None else redraw_sd(squares)
        effects.level = self.gaps.draw_levels(effects.level, sd, rng)
        self.fill(effects, sd, rng)

    def fill(self, effects: Fields, sd: Array, rng: np.random.Generator) -> None:
        """Draw the missing cells given effects, levels and residual SDs (framing,).

        The effects of prompts may lie where this completion's margin is: it is written anew.
        """
        gaps, known, margins = self.gaps, self.gaps.margins, self.margins
        self._forget()
        for first, stop, count in gaps.blocks:
            noise = self._noise[:count]
            draw_normals(rng, noise)
            self._squares += fill(
                (first, stop), gaps.missing.start, gaps.missing.words, noise, self.missing, sd,
                *gaps.geometry.arrays,
                effects.mean, effects.prompt_word, effects.axis, effects.level, known.prompt_word,
                margins.mean, margins.prompt_word, margins.axis, margins.level,
            )  # fmt: skip


def sparse_margins(crossing: Crossing) -> float:
    """Share of the missing cells that lie where most of a margin is missing.

    Scattered gaps give nearly 0; a word that one model lacks altogether gives 1 for its cells.
    """
    gaps = ~crossing.observed
    (_, by_word), (_, by_row), (_, by_framing) = sparse(crossing)
    where = by_word | by_row[..., None]
    where |= by_framing[crossing.framing].swapaxes(0, 1)
    return float((where & gaps).sum() / max(int(gaps.sum()), 1))
