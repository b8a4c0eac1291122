"""Shift the missing cells of a margin together.

Where most of a margin is missing (a word that one model lacks, say) the Gibbs step keeps its cells
about where they are: effects follow them, and they follow the effects. Here one number is added to
all of them, drawn given all other cells and the variances, with every effect integrated out. Where
such margins are few, that is next to nothing beside the draw of all effects given the observed
cells, and mixes as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.estimands.smoother import Fields
from valuebias.analysis.sampling.conditionals import Moments

__all__ = ["Margin", "Shifts", "make_shifts", "sparse"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Above this share of missing cells a margin is called sparse.
_SPARSE = 0.6
# Of more margins all effects are better drawn given the observed cells alone.
_MOST = 64
_NOTHING = 1e-9


@dataclass(frozen=True)
class Margin:
    """The missing cells of an entry of a margin: those of some models, prompts and words."""

    table: str  # the margin, a field of :class:`.Fields`
    at: tuple[int, ...]  # which entry
    models: Array  # one for those that are among the cells, else zero
    prompts: Array
    words: Array  # likewise; on an axis as that weighs them
    scale: float  # the sum of an entry's cells over the entry


def sparse(crossing: Crossing, threshold: float = _SPARSE) -> Iterator[tuple[str, Mask]]:
    """Say which entries are mostly missing in margins that carry a random effect.

    Margins are, in this order, prompt × word, model × prompt, and by framing model × word, in the
    entries of which a model lacks most, or its kind of models.
    """
    gaps = ~crossing.observed
    yield "prompt_word", gaps.mean(axis=0) > threshold
    yield "level", gaps.mean(axis=2) > threshold
    kinds = np.unique(crossing.design.matrix.round(9), axis=0, return_inverse=True)[1].ravel()
    by_framing = [
        gaps[:, crossing.prompts_of(f)].mean(axis=1) for f in range(len(crossing.framings))
    ]
    most = np.array(by_framing) > threshold
    for f, by_word in enumerate(by_framing):
        for kind in np.unique(kinds):
            members = kinds == kind
            most[f, members] |= by_word[members].mean(axis=0) > threshold
    yield "mean", most


def make_shifts(crossing: Crossing) -> Shifts | None:
    """Make the shifts of all sparse margins; nothing where there are none, or too many."""
    found: list[Margin] = []
    for table, mask in sparse(crossing):
        n = int(mask.sum()) * (1 + len(crossing.axes) if table == "level" else 1)
        if len(found) + n > _MOST:
            return None
        for at in np.argwhere(mask).tolist():
            found += _margins(crossing, table, at)
    shifts = Shifts(crossing, found) if found else None
    return shifts if shifts is not None and len(shifts) else None


def _margins(crossing: Crossing, table: str, at: list[int]) -> list[Margin]:
    """Make an entry of a margin; of a model and prompt also those on the axes."""
    n_models, n_prompts, n_words = crossing.shape
    if table == "prompt_word":
        p, w = at
        models = (~crossing.observed[:, p, w]).astype(float)
        sides = models, _one(n_prompts, p), _one(n_words, w)
        return [Margin(table, (p, w), *sides, float(np.sqrt(n_models)))]
    if table == "level":
        m, p = at
        row, prompts = _one(n_models, m), _one(n_prompts, p)
        words = (~crossing.observed[m, p]).astype(float)
        on_axes = [
            Margin("axis", (m, p, j), row, prompts, words * axis, 1.0)
            for j, axis in enumerate(crossing.word_basis.T)
        ]
        return [Margin(table, (m, p), row, prompts, words, 1.0), *on_axes]
    f, m, w = at
    of_framing = crossing.framing == f
    prompts = (~crossing.observed[m, :, w] & of_framing).astype(float)
    sides = _one(n_models, m), prompts, _one(n_words, w)
    return [Margin(table, (f, m, w), *sides, float(np.sqrt(of_framing.sum())))]


def _one(n: int, at: int) -> Array:
    """Make a vector of zeros but for a one."""
    out = np.zeros(n)
    out[at] = 1.0
    return out


class Shifts:
    """Shifts of a few margins; read-only once made."""

    def __init__(self, crossing: Crossing, margins: list[Margin]) -> None:
        n_words = crossing.shape[2]
        models, prompts, words = _sides(margins)
        # Levels are of any size, so that what changes nothing else cannot be told.
        off = words @ words.T - np.outer(words.sum(axis=1), words.sum(axis=1)) / n_words
        apart = _independent((models @ models.T) * (prompts @ prompts.T) * off)
        self.crossing, self.margins = crossing, [margins[k] for k in apart]
        if not apart:
            return
        self._models, self._prompts, self._words = _sides(self.margins)
        self._framing = crossing.framing[self._prompts.argmax(axis=1)]

    def __len__(self) -> int:
        return len(self.margins)

    def apply(
        self, tables: Fields, known: Fields, moments: Moments, rng: np.random.Generator
    ) -> None:
        """Shift the cells, of which there are the ``tables``; ``known`` are those of the rest."""
        precision = self.precision(moments)
        root = np.linalg.cholesky(precision)
        push = np.linalg.solve(root, self.gradient(tables, known, moments))
        by = np.linalg.solve(root.T, rng.standard_normal(len(push)) - push)
        mean, prompts = tables.mean.reshape(-1, self._words.shape[1]), tables.prompt_word
        some = self._some_words
        words = by[:, None] * self._words[:, some]
        mean[:, some] += self._means.T @ words
        prompts[:, some] += (self._shared[:, None] * self._prompts).T @ words
        own = (by[:, None] * self._models).T
        tables.level += (own * self._words.sum(axis=1)) @ self._prompts
        for j, on_axis in enumerate(self._on_axes.T):
            tables.axis[..., j] += (own * on_axis) @ self._prompts

    def precision(self, moments: Moments) -> Array:
        """Precision of the shifts given all other cells."""
        on_axes, blocks = self._on_axes, self._of_means(moments)
        total = np.zeros((len(self), len(self)))
        # What models share, and what is their own, about the means of a framing.
        shared = np.outer(self._shared, self._shared)
        own = self._models @ self._models.T - shared
        within = self._about @ self._about.T
        by = 1 / moments.residual[self._framing]
        for j, block in enumerate(blocks):
            over_words = (
                np.outer(on_axes[:, j - 1], on_axes[:, j - 1])
                if j
                else self._off_axes @ self._off_axes.T
            )
            # Prompts of two framings have nothing in common.
            of_own, of_shared = by * (1 - moments.within[self._framing, j].T)
            about = of_own * own + of_shared * shared
            total += over_words * (self._means @ block @ self._means.T + within * about)
        return total

    def gradient(self, tables: Fields, known: Fields, moments: Moments) -> Array:
        """Give the slope of half the square that the precision of all cells makes of the cube."""
        mean = tables.mean.reshape(-1, self._words.shape[1])
        basis, on_axes = self.crossing.word_basis, self._on_axes
        of_means, of_prompts = mean @ self._off_axes.T, tables.prompt_word @ self._off_axes.T
        mean_axes, prompt_axes = mean @ basis, tables.prompt_word @ basis
        by, slope = 1 / moments.residual[self._framing], np.zeros(len(self))
        # What is models' own off the axes alone is in no table: it is what is left of the cells.
        left = self._totals(tables, known) - self._levels(tables)
        for j, block in enumerate(self._of_means(moments)):
            if j:
                of_means = np.outer(mean_axes[:, j - 1], on_axes[:, j - 1])
                of_prompts = np.outer(prompt_axes[:, j - 1], on_axes[:, j - 1])
                own = np.einsum(
                    "km,mp,kp->k", self._models - self._over_models, tables.axis[..., j - 1],
                    self._about, optimize=True,
                ) * on_axes[:, j - 1]  # fmt: skip
                slope += by * (1 - moments.within[self._framing, j, 0]) * own
                left -= own
            shared = self._shared * (self._about * of_prompts.T).sum(axis=1)
            slope += by * (1 - moments.within[self._framing, j, 1]) * shared
            slope += ((self._means @ block) * of_means.T).sum(axis=1)
            left -= shared + (self._means * of_means.T).sum(axis=1)
        return np.asarray(slope + by * left)

    def _of_means(self, moments: Moments) -> Array:
        """Precision of framing means in each block of words, (framing · model) square."""
        n_models, size = self.crossing.shape[0], moments.gains.shape[1]
        by = 1 / np.repeat(moments.residual, n_models)
        return np.asarray(by[:, None] * (np.eye(size) - moments.gains))

    def _totals(self, tables: Fields, known: Fields) -> Array:
        """Sum of each margin's missing cells."""
        return np.array(
            [
                one.scale * (getattr(tables, one.table)[one.at] - getattr(known, one.table)[one.at])
                for one in self.margins
            ]
        )

    def _levels(self, tables: Fields) -> Array:
        """Sum of the levels of all cells."""
        by_row = ((self._models @ tables.level) * self._prompts).sum(axis=1)
        return np.asarray(by_row * self._words.mean(axis=1))

    @cached_property
    def _some_words(self) -> NDArray[np.intp]:
        return np.flatnonzero(self._words.any(axis=0))

    @cached_property
    def _on_axes(self) -> Array:
        return np.asarray(self._words @ self.crossing.word_basis)

    @cached_property
    def _off_axes(self) -> Array:
        rest = self._words - self._words.mean(axis=1, keepdims=True)
        return np.asarray(rest - self._on_axes @ self.crossing.word_basis.T)

    @cached_property
    def _shared(self) -> Array:
        """Coordinates on what all models share."""
        return np.asarray(self._models.sum(axis=1) / np.sqrt(self.crossing.shape[0]))

    @cached_property
    def _over_models(self) -> Array:
        return np.asarray(self._models.mean(axis=1, keepdims=True))

    @cached_property
    def _means(self) -> Array:
        """Framing means, (margin, framing · model)."""
        sums = self._prompts @ np.eye(len(self.crossing.framings))[self.crossing.framing]
        sums /= np.sqrt(np.bincount(self.crossing.framing))
        return np.asarray(np.einsum("kf,km->kfm", sums, self._models).reshape(len(self), -1))

    @cached_property
    def _about(self) -> Array:
        """Prompts about the mean of their framing."""
        out = self._prompts.copy()
        for k, f in enumerate(self._framing):
            of_framing = self.crossing.framing == f
            out[k, of_framing] -= out[k, of_framing].mean()
        return out


def _sides(margins: list[Margin]) -> tuple[Array, Array, Array]:
    """Stack models, prompts and words."""
    models, prompts, words = (
        np.array([getattr(one, side) for one in margins]) for side in ("models", "prompts", "words")
    )
    return models, prompts, words


def _independent(gram: Array) -> list[int]:
    """List vectors none of which is a sum of the others, by their products."""
    gram, size = gram.copy(), np.diag(gram).copy()
    chosen: list[int] = []
    while True:
        share = np.diag(gram) / np.maximum(size, _NOTHING)
        k = int(np.argmax(share))
        if not share[k] > _NOTHING:
            return sorted(chosen)
        chosen.append(k)
        gram -= np.outer(gram[k], gram[k]) / gram[k, k]
        gram[k], gram[:, k] = 0.0, 0.0
