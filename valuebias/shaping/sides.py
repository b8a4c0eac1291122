"""Two sides of an item: which conversations of a contrast set, or words of a lexicon, they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.numbers import digits_apart, is_finite
from valuebias.errors import ValueBiasError, few, shown
from valuebias.instruments import ContrastSet, Lexicon, PromptSet
from valuebias.instruments.lexicons import lexicon as as_lexicon

__all__ = ["Between", "Sides", "WordSides", "mark", "sides_of", "words_of"]

Between: TypeAlias = tuple[Any, Any]

_VARIANT = "variant"


def mark(*texts: str) -> str:
    """Name what was used, so that it can be told from what is held out."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:24]


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """Two groups of conversations of a contrast set, in items that have both."""

    contrasts: ContrastSet  # the items that have both, and nothing but the two groups
    first: npt.NDArray[np.bool_]  # which rows of its table are of the first one
    by: str  # what tells them apart
    said: tuple[str, str]

    @property
    def item(self) -> npt.NDArray[np.int64]:
        """The number of each row's item."""
        order = {name: i for i, name in enumerate(self.contrasts.items)}
        names = self.contrasts.table.index.get_level_values("item")
        return np.array([order[name] for name in names], dtype=np.int64)

    def marks(self) -> list[str]:
        """Name the conversations."""
        table = self.contrasts.table
        return [mark(p, r) for p, r in zip(table["prompt"], table["response"], strict=True)]

    def without(self, used: frozenset[str]) -> Sides | None:
        """Leave out items of which a conversation was used; None where fewer than two are left."""
        seen = np.array([one in used for one in self.marks()])
        items = self.item
        kept = ~np.isin(items, items[seen])
        if len(np.unique(items[kept])) < 2:
            return None
        return _kept(self.contrasts, kept, self.first, self.by, self.said)

    def thinned(self, share: float) -> Sides | None:
        """Hold a share of the items out, by a hash of their names; None where too few are left."""
        items = self.contrasts.items
        out = frozenset(_drawn(items, share))
        kept = ~self.contrasts.table.index.get_level_values("item").isin(out)
        if len(items) - len(out) < 2:
            return None
        return _kept(self.contrasts, kept, self.first, self.by, self.said)

    def differences(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Give each item's mean of the first group less that of the second; values by row."""
        items, n = self.item, len(self.contrasts)
        means = []
        for rows in (self.first, ~self.first):
            sums = np.zeros((n, *values.shape[1:]))
            np.add.at(sums, items[rows], values[rows].astype(np.float64))
            count = np.bincount(items[rows], minlength=n)
            means.append(sums / count.reshape(n, *[1] * (values.ndim - 1)))
        return np.asarray(means[0] - means[1])


def sides_of(contrasts: ContrastSet, between: Between | None, by: str | None) -> Sides:
    """Find the two groups; without `between` there have to be two levels."""
    stated = contrasts.about.get("contrast")
    chosen = by or (stated if isinstance(stated, str) else _VARIANT)
    table = contrasts.table
    known = [_VARIANT, *table.columns[2:]]
    check_known(chosen, known, f"The contrast set {contrasts.name!r} has no column {chosen!r}.")
    values = table.index.get_level_values(_VARIANT) if chosen == _VARIANT else table[chosen]
    digits = digits_apart(value for value in values if is_finite(value))
    level = np.array([_text(value, digits) for value in values], dtype=object)
    # What is not known of a variant is no level.
    levels = [name for name in dict.fromkeys(level.tolist()) if name]
    if between is None and len(levels) != 2:
        raise ValueBiasError(
            f"The contrast set {contrasts.name!r} has {len(levels)} levels of {chosen!r}, "
            f"{few(levels)}. Say which two, or two groups, are compared: between=(first, second)."
        )
    groups = _groups(levels if between is None else between, digits)
    for name in (name for group in groups for name in group):
        check_known(name, levels, f"{chosen!r} of {contrasts.name!r} has no level {name!r}.")
    first, second = (np.isin(level, list(group)) for group in groups)
    items = pd.Series(range(len(table)), index=table.index).index.get_level_values("item")
    both = set(items[first]) & set(items[second])
    kept = (first | second) & items.isin(list(both))
    if not kept.any():
        raise ValueBiasError(
            f"No item of {contrasts.name!r} has both {few(groups[0])} and {few(groups[1])}, so "
            "that nothing can be compared within items. Choose two that stand side by side."
        )
    said = tuple(few(group, quote=False) for group in groups)
    return _kept(contrasts, kept, first, chosen, (said[0], said[1]))


def _text(level: Any, digits: int) -> str:
    if isinstance(level, float | np.floating) and np.isnan(level):
        return ""
    return f"{level:.{digits}g}" if is_finite(level) else str(level)


def _groups(between: Any, digits: int = 6) -> tuple[tuple[str, ...], tuple[str, ...]]:
    pair = isinstance(between, Sequence) and not isinstance(between, str) and len(between) == 2
    if pair:
        groups = [
            tuple(_text(name, digits) for name in one)
            if isinstance(one, list | tuple | set)
            else (_text(one, digits),)
            for one in between
        ]
        if all(groups) and not set(groups[0]) & set(groups[1]):
            return groups[0], groups[1]
    raise ValueBiasError(
        f"between is {shown(between)}; expected two different names, or two groups of names "
        "without one in common, such as ('long', 'short')."
    )


def _kept(
    contrasts: ContrastSet,
    kept: npt.NDArray[np.bool_],
    first: npt.NDArray[np.bool_],
    by: str,
    said: tuple[str, str],
) -> Sides:
    table = contrasts.table[kept]
    part = ContrastSet(contrasts.name, table, contrasts.about, contrasts.citation)
    return Sides(part, first[kept], by, said)


@dataclass(frozen=True, slots=True, eq=False)
class WordSides:
    """The words of two categories as answers to prompts."""

    lexicon: Lexicon
    words: tuple[str, ...]  # those of the first category, then those of the second
    n_first: int
    categories: tuple[str, str]
    prompts: PromptSet

    def weights(self) -> npt.NDArray[np.float64]:
        """Give the weight of each prompt in a signed lean: framings count alike, one is turned."""
        framing = self.prompts.table["framing"].to_numpy()
        weights = np.zeros(len(framing))
        for name in dict.fromkeys(framing.tolist()):
            rows = framing == name
            weights[rows] = (-1.0 if name == "negative" else 1.0) / rows.sum()
        return np.asarray(weights / len(set(framing.tolist())))

    def marks(self) -> list[str]:
        """Name the words."""
        return [mark(word) for word in self.words]

    def without(self, used: frozenset[str]) -> WordSides | None:
        """Leave out words that were used; None where a category has fewer than two left."""
        kept = [one not in used for one in self.marks()]
        words = tuple(word for word, keep in zip(self.words, kept, strict=True) if keep)
        n_first = sum(kept[: self.n_first])
        if min(n_first, len(words) - n_first) < 2:
            return None
        return WordSides(self.lexicon, words, n_first, self.categories, self.prompts)

    def thinned(self, share: float) -> WordSides | None:
        """Hold a share of each category's words out; None where too few are left."""
        sides = (self.words[: self.n_first], self.words[self.n_first :])
        return self.without(frozenset(mark(w) for side in sides for w in _drawn(side, share)))


def _drawn(names: Sequence[str], share: float) -> list[str]:
    ordered = sorted(names, key=lambda name: mark("held out", name))
    return ordered[: round(share * len(names))]


def words_of(source: Any, between: Between | None, prompts: PromptSet) -> WordSides:
    """Find the words of two categories, by default a lexicon's first two."""
    lexicon = as_lexicon(source)
    if lexicon.weighted:
        raise ValueBiasError(
            f"The lexicon {lexicon.name!r} has weights; a direction is between words that belong "
            "and words that do not. Give valuebias.lexicon(..., threshold=...)."
        )
    if between is None and len(lexicon.categories) < 2:
        raise ValueBiasError(
            f"The lexicon {lexicon.name!r} has one category; a direction is between two. Give a "
            "lexicon with another one."
        )
    first, second = _groups(lexicon.categories[:2] if between is None else between)
    sides: list[list[str]] = []
    table = lexicon.table
    for group in (first, second):
        for name in group:
            said = f"The lexicon {lexicon.name!r} has no category {name!r}."
            check_known(name, lexicon.categories, said)
        inside = np.any([table[name].to_numpy(dtype=bool) for name in group], axis=0)
        sides.append([str(word) for word in lexicon.table.index[inside]])
    shared = set(sides[0]) & set(sides[1])
    own = [[w for w in side if w not in shared and not w.endswith("*")] for side in sides]
    for side, group in zip(own, (first, second), strict=True):
        if len(side) < 2:
            raise ValueBiasError(
                f"The lexicon {lexicon.name!r} has {len(side)} words that are of {few(group)} "
                "alone and no wildcards; a direction needs two or more. Choose other categories."
            )
    categories = (few(first, quote=False), few(second, quote=False))
    return WordSides(lexicon, (*own[0], *own[1]), len(own[0]), categories, prompts)
