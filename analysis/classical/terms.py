"""The fixed effects of the paper's model: family * category * framing in treatment coding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

__all__ = ["FixedEffects", "fixed_effects"]


@dataclass(frozen=True, eq=False)
class FixedEffects:
    """Names and design of the fixed effects."""

    # ``"(Intercept)"``, ``"family[Llama]"``, ``"family[Llama]:category[communion]"`` …, in R's
    # order.
    names: tuple[str, ...]
    # The factors of the term each effect belongs to; empty for the intercept.
    term_of: tuple[tuple[str, ...], ...]
    cells: tuple[str, ...]  # ``"agency:positive"`` …, category-fastest
    # (family, cell, effect): the row of the design matrix for a family in a cell.
    design: NDArray[np.float64]

    @property
    def terms(self) -> tuple[tuple[str, ...], ...]:
        """The distinct terms but the intercept."""
        return tuple(dict.fromkeys(term for term in self.term_of if term))


def fixed_effects(
    families: Sequence[str], categories: Sequence[str], framings: Sequence[str]
) -> FixedEffects:
    """Code family * category * framing by treatment contrasts.

    Examples
    --------
    >>> fixed_effects(["Gemma", "Llama"], ["agency"], ["positive", "negative"]).names
    ('(Intercept)', 'family[Llama]', 'framing[negative]', 'family[Llama]:framing[negative]')
    """
    levels = {"family": families, "category": categories, "framing": framings}
    grid = np.indices((len(families), len(framings), len(categories))).reshape(3, -1)
    position = {"family": grid[0], "framing": grid[1], "category": grid[2]}
    varying = [name for name, values in levels.items() if len(values) > 1]
    names: list[str] = []
    term_of: list[tuple[str, ...]] = []
    columns: list[NDArray[np.float64]] = []
    for order in range(len(varying) + 1):
        for term in combinations(varying, order):
            # R lets the first factor's levels vary fastest.
            for reverse in product(*(range(1, len(levels[name])) for name in reversed(term))):
                picked = dict(zip(term, reversed(reverse), strict=True))
                names.append(
                    ":".join(f"{name}[{levels[name][i]}]" for name, i in picked.items())
                    or "(Intercept)"
                )
                term_of.append(term)
                inside = [position[name] == i for name, i in picked.items()]
                columns.append(np.logical_and.reduce([np.ones(grid.shape[1], bool), *inside]) * 1.0)
    design = np.stack(columns, axis=-1)
    return FixedEffects(
        names=tuple(names),
        term_of=tuple(term_of),
        cells=tuple(f"{c}:{f}" for f in framings for c in categories),
        design=design.reshape(len(families), len(framings) * len(categories), len(names)),
    )
