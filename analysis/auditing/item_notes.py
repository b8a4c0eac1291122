"""What the scores of a contrast set cannot tell, or what a fit of its items takes for granted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.items import ItemLayout
from valuebias.analysis.notes import Note
from valuebias.errors import few

__all__ = ["item_notes"]

Array = NDArray[np.float64]

_FEW_ITEMS = 10
_MANY_LEFT_OUT = 0.1
# How far SDs that the fit takes as one may differ before it is said.
_UNEQUAL = 1.5
_LEAST_ITEMS = 8
_ROUNDING = 1e-6
"""Of the largest outcome: scores are kept in 32 bits, and what scatters by less does not."""


def item_notes(crossing: Crossing, left_out: list[str]) -> list[Note]:
    """Note items without scores, few items, and spreads that differ; empty where there are none."""
    n = len(crossing.items)
    notes = []
    if left_out:
        share = len(left_out) / (n + len(left_out))
        text = (
            f"{len(left_out)} of {n + len(left_out)} items ({few(left_out)}) lack a score of some "
            "model and were left out: what is said is of the others. Score them again where it "
            "is not by chance that they lack it."
        )
        line = f"{share:.0%} of the items lack scores and were left out."
        notes.append(Note("items left out", text, line if share > _MANY_LEFT_OUT else ""))
    if n < _FEW_ITEMS:
        notes.append(
            Note(
                "few items",
                f"there are {n} items, which tell little of how much items differ: how far results "
                "hold for others like them is in part the prior's. Add items.",
                f"There are {n} items only.",
            )
        )
    if n >= _LEAST_ITEMS:
        layout = ItemLayout(n, len(crossing.categories))
        table = layout.to_items(crossing.y[:, 0])
        notes += [*_unequal_models(crossing, table), *_unequal_pairs(crossing, table)]
    return notes


def _unequal_models(crossing: Crossing, table: Array) -> Iterator[Note]:
    """Note models whose items scatter more than others', which all have one SD in the fit."""
    if len(table) < 3:
        return
    own = table - table.mean(axis=0)
    sd = np.sqrt(((own - own.mean(axis=1, keepdims=True)) ** 2).mean(axis=(1, 2)))
    sd[sd <= _ROUNDING * np.abs(table).max()] = 0.0
    typical = float(np.median(sd))
    wide = np.flatnonzero(sd > _UNEQUAL * typical)
    if wide.size:
        names = [str(crossing.models[i]) for i in wide[np.argsort(-sd[wide])]]
        those = "where those of a typical model are the same in all"
        if typical > 0:
            those = f"up to {sd.max() / typical:.1f} times as much as those of a typical model"
        yield Note(
            "models of unequal scatter",
            f"the differences of {few(names)} scatter over items {those}. The fit takes "
            "one SD for all, so that their own intervals are too narrow: residual='model' gives "
            "each model its own.",
        )


def _unequal_pairs(crossing: Crossing, table: Array) -> Iterator[Note]:
    """Note groups of variants whose differences vary unequally over items and models."""
    names = crossing.categories
    if len(names) < 3:
        return
    pairs = list(combinations(range(len(names)), 2))
    own = table - table.mean(axis=1, keepdims=True)
    sd = np.array([np.sqrt(((own[..., a] - own[..., b]) ** 2).mean()) for a, b in pairs])
    ratio = float(sd.max() / max(sd.min(), 1e-300))
    if ratio > _UNEQUAL:
        most, least = (" and ".join(names[i] for i in pairs[k]) for k in (sd.argmax(), sd.argmin()))
        yield Note(
            "variants of unequal scatter",
            f"over items {most} differ {ratio:.1f} times as variably as {least}. The fit takes one "
            f"SD for all differences between variants, so that intervals of {most} are too narrow, "
            "and those of others too wide: fit the two that matter by themselves, as "
            "scores.sel(variant=[...]) with every variant that counts to one of them.",
            "Variants differ unequally over items, so that intervals of some are too narrow.",
        )
