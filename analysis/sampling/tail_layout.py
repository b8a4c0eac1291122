"""Which effects have heavy tails, where their parameters stand, and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.sampling.parts import Part

if TYPE_CHECKING:
    from valuebias.analysis.sampling.density import Posterior

__all__ = ["Tail", "TailDraws", "make_tail"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Tail:
    """A component whose effects are t distributed, and where its parameters stand."""

    name: str
    part: int  # its position among the parts
    of_words: bool  # whether levels are words, not models or bases
    sds: NDArray[np.intp]  # (framing,): positions of the log SDs in ``x``
    scales: Array  # (framing,): of the priors on these
    correlation: int  # position of the correlation's log-odds; −1 without
    spread: int  # which of the families' factors multiplies it; −1 without
    kind_of: NDArray[np.intp]  # (level,): the family of each level
    columns: slice  # of the design, where levels are words
    # Which columns of the formula (column,) say something of the levels' mean, on which axes
    # (axis,); and how: by level (level, column), or of words by axis (word, axis).
    formula: NDArray[np.intp]
    axes: NDArray[np.intp]
    rows: Array

    def by_level(self, effects: Array) -> Array:
        """Arrange effects (column, framing, column) as (level, column, framing)."""
        return effects.transpose((2, 0, 1) if self.of_words else (0, 2, 1))

    def by_column(self, levels: Array) -> Array:
        """Undo :meth:`by_level`."""
        return levels.transpose((1, 2, 0) if self.of_words else (0, 2, 1))


@dataclass(frozen=True)
class TailDraws:
    """Draws of what heavy-tailed effects are like, and of their own parts."""

    names: list[str]
    common: Array  # (…, component): share of the variance that all levels have
    nu: Array  # (…, component): degrees of freedom
    word_shift: Array  # (…, column, framing, axis): own parts, to be added to these effects
    model: Array  # (…, model, framing, axis)
    base: Array  # (…, model, framing, axis)

    @classmethod
    def read(
        cls, kept: Array, crossing: Crossing, components: Components, names: list[str]
    ) -> TailDraws:
        """Undo :meth:`Tails.numbers`, (…, number)."""
        n, lead = len(names), kept.shape[:-1]
        pairs = np.exp(kept[..., : 2 * n]).reshape(*lead, n, 2)
        shape = (len(crossing.framings), len(crossing.axes))
        word_shift = np.zeros((*lead, crossing.design.matrix.shape[1], *shape))
        model = np.zeros((*lead, crossing.shape[0], *shape))
        base, at = np.zeros_like(model), 2 * n
        for name in names:
            columns = _columns_of(crossing, components, name)
            rows = crossing.shape[0] if columns is None else columns.stop - columns.start
            size = rows * shape[0] * shape[1]
            excess = kept[..., at : at + size].reshape(*lead, rows, *shape)
            at += size
            if columns is not None:
                word_shift[..., columns, :, :] += excess
                continue
            model += excess
            if name.startswith("base_"):
                base += excess
        return cls(names, pairs[..., 0], pairs[..., 1], word_shift, model, base)


def make_tail(
    crossing: Crossing, components: Components, parts: list[Part], posterior: Posterior, name: str
) -> Tail:
    """Find where the parameters of the component of this name stand."""
    n_framings, at = len(crossing.framings), components.names.index(name)
    part = next(i for i, one in enumerate(parts) if one.name == name)
    sds = np.arange(at * n_framings, (at + 1) * n_framings)
    columns = _columns_of(crossing, components, name)
    of_words = columns is not None
    kind_of = np.zeros(crossing.shape[2], dtype=np.intp)
    if not of_words:
        # Of a base the family of its models, which are all of one.
        kind_of = crossing.space.kind_of[np.argmax(parts[part].over_models != 0, axis=0)]
        kind_of = kind_of * (components[name].spread >= 0)
    correlated = n_framings == 2 and at < posterior.n_correlated
    return Tail(
        name=name,
        part=part,
        of_words=of_words,
        sds=sds,
        scales=posterior.scales[sds],
        correlation=len(posterior.scales) + at if correlated else -1,
        spread=components[name].spread,
        kind_of=kind_of,
        columns=columns or slice(0, 0),
        **_locations(crossing, parts, part, columns),
    )


def _locations(
    crossing: Crossing, parts: list[Part], part: int, columns: slice | None
) -> dict[str, Any]:
    """Find which columns of the formula a component's effects may move against."""
    one, coefficient = parts[part], parts[-1]
    every = np.arange(len(crossing.axes))
    if columns is not None:
        formula = np.arange(columns.start, columns.stop)
        return {"formula": formula, "axes": every, "rows": coefficient.over_words}
    kind = one.name.rpartition("_")[2]
    axes = np.array([j for j in every if crossing.axes[j].kind == kind], dtype=np.intp)
    # Of bases, columns that are the same for all models on one.
    rows = np.linalg.pinv(one.over_models) @ coefficient.over_models
    apart = np.abs(one.over_models @ rows - coefficient.over_models).max(axis=0)
    formula = np.flatnonzero(apart <= 1e-9 * np.abs(coefficient.over_models).max())
    return {"formula": formula, "axes": axes, "rows": rows[:, formula]}


def _columns_of(crossing: Crossing, components: Components, name: str) -> slice | None:
    """Columns of the design that a component of words is of; None for others."""
    if name not in components.spans:
        return None
    term = name.partition(":")[2] or "mean"
    return next(one.columns for one in crossing.design.terms if one.name == term)
