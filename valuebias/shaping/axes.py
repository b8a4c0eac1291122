"""Axes on which two models are compared: which conversations each is, and their scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import xarray as xr

from valuebias.analysis.changes import Change, accuracy_change, lean_change
from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError, shown
from valuebias.instruments import ContrastSet, contrast_set
from valuebias.instruments import prompts as as_prompts
from valuebias.instruments.contrast_sets import CORRECT
from valuebias.models.spec import Model
from valuebias.preference_data.preferences import Preferences, preferences
from valuebias.scoring.contrasts import score_contrasts
from valuebias.scoring.run import score
from valuebias.shaping.sides import Sides, WordSides, mark, sides_of, words_of

__all__ = ["LEAN", "Accuracy", "Axis", "Engine", "accuracy_of", "axes_of", "lexicons_of"]

Floats = npt.NDArray[np.float64]

LEAN = "agency − communion"
"""The axis that is looked at unless others are named."""


@dataclass(slots=True)
class Engine:
    """The two models, and what scores them."""

    models: tuple[Model, Model]
    backend: str | type[Backend] | Backend
    progress: bool
    store: Path | None  # a folder for scores
    _scored: dict[int, xr.Dataset] = field(default_factory=dict)
    _lexicons: Iterator[int] = field(default_factory=lambda: count(1))

    def prepare(self, sets: Sequence[ContrastSet]) -> None:
        """Score contrast sets in one pass, so that each model is loaded once for all."""
        if not sets:
            return
        named = {f"{i} {one.name}": one for i, one in enumerate(sets, 1)}
        found = score_contrasts(list(self.models), named, **self._settings("contrasts.zarr"))
        for one, ds in zip(sets, cast("dict[str, xr.Dataset]", found).values(), strict=True):
            self._scored[id(one)] = ds

    def contrasts(self, contrasts: ContrastSet) -> Floats:
        """Give the scores of a set that was prepared, shape (model, row of its table)."""
        ds = self._scored[id(contrasts)]
        both = self._two(ds)
        keys = contrasts.table.index
        items = {name: i for i, name in enumerate(ds["item"].to_numpy().tolist())}
        variants = {name: i for i, name in enumerate(ds["variant"].to_numpy().tolist())}
        rows = [items[name] for name in keys.get_level_values("item")]
        columns = [variants[name] for name in keys.get_level_values("variant")]
        return np.asarray(both[:, rows, columns])

    def words(self, sides: WordSides) -> Floats:
        """Score words, shape (model, word): their signed means over prompts."""
        ds = score(
            list(self.models),
            prompts=sides.prompts,
            lexicon=list(sides.words),
            **self._settings(f"words-{next(self._lexicons)}.zarr"),
        )
        both = self._two(ds.sel(response=list(sides.words)))
        return np.asarray(np.einsum("mpw,p->mw", both, sides.weights()))

    def _settings(self, file: str) -> dict[str, Any]:
        store = None if self.store is None else self.store / file
        return {"backend": self.backend, "progress": self.progress, "store": store}

    def _two(self, ds: xr.Dataset) -> Floats:
        """Give the scores of the two by their names: a store may hold others, in any order."""
        names = [str(name) for name in ds["model"].to_numpy().tolist()]
        found = [[names.index(model.name)] if model.name in names else _labels_of(model, names)
                 for model in self.models]  # fmt: skip
        if any(len(rows) != 1 for rows in found):
            raise ValueBiasError(
                f"The two models have {sum(map(len, found))} labels together, and one of each is "
                "compared. Give the model label=."
            )
        return ds["score"].to_numpy().astype(np.float64)[[rows[0] for rows in found]]


def _labels_of(model: Model, names: Sequence[str]) -> list[int]:
    return [i for i, name in enumerate(names) if name.startswith(f"{model.name}: ")]


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Two sides, whose difference in reward is a lean."""

    name: str
    sides: Sides | WordSides

    def held_out(self, used: frozenset[str]) -> Axis:
        """Leave out what a direction was estimated from."""
        kept = self.sides.without(used)
        if kept is None:
            noun = "words" if isinstance(self.sides, WordSides) else "items"
            each = " in each category" if isinstance(self.sides, WordSides) else ""
            raise ValueBiasError(
                f"The axis {self.name!r} has fewer than two {noun}{each} that no direction was "
                "estimated from, and what a direction has seen tells nothing of what it does to "
                "others. Estimate it from a part: valuebias.direction(..., held_out=0.5). Or leave "
                "the axis out."
            )
        return replace(self, sides=kept)

    def compared(self, engine: Engine, prob: float) -> Change:
        """Score both models and compare their leans."""
        if isinstance(self.sides, WordSides):
            n = self.sides.n_first
            groups = [(values[:n], values[n:]) for values in engine.words(self.sides)]
            return lean_change(groups[0], groups[1], prob)
        both = engine.contrasts(self.sides.contrasts)
        one, other = (self.sides.differences(values) for values in both)
        return lean_change((one,), (other,), prob)

    def about(self) -> dict[str, Any]:
        """Say what it is, as columns of a table."""
        words = isinstance(self.sides, WordSides)
        first, second = self.sides.categories if words else self.sides.said  # type: ignore[union-attr]
        return {
            "axis": self.name,
            "first": first,
            "second": second,
            "unit": "words" if words else "items",
            "n": len(self.sides.words if words else self.sides.contrasts),  # type: ignore[union-attr]
        }


def axes_of(given: Any) -> list[Axis]:
    """Read contrast sets, each by itself or with what is compared in it."""
    if given is None:
        return []
    if isinstance(given, ContrastSet):
        given = [given]
    named: list[tuple[Any, Any]] = []
    if isinstance(given, Mapping):
        named = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str):
        # Not as a mapping, in which one of two with the same name would be lost.
        named = [(one.name if isinstance(one, ContrastSet) else f"axis {i}", one)
                 for i, one in enumerate(given, 1)]  # fmt: skip
    else:
        raise ValueBiasError(
            f"axes is {shown(given)}; expected contrast sets by their names, such as "
            "{'length': (contrasts, ('long', 'short'))}."
        )
    found = []
    for name, one in named:
        parts = one if isinstance(one, tuple) else (one,)
        if not 1 <= len(parts) <= 3:
            raise ValueBiasError(
                f"The axis {name!r} has {len(parts)} parts; expected a contrast set, the two sides "
                "and perhaps the column that they are levels of."
            )
        contrasts, between, by = (*parts, None, None)[:3]
        found.append(Axis(str(name), sides_of(contrast_set(contrasts), between, by)))
    return found


def lexicons_of(given: Any, prompts: Any) -> list[Axis]:
    """Read lexicons, each by itself or with two categories; by default agency and communion."""
    if given is None:
        given = {LEAN: None}
    if not isinstance(given, Mapping):
        raise ValueBiasError(
            f"lexicons is {shown(given)}; expected lexicons by the names of their axes, such as "
            "{'warmth': (lexicon, ('warm', 'cold'))}."
        )
    asked = as_prompts(prompts)
    found = []
    for name, one in given.items():
        lexicon, between = one if isinstance(one, tuple) and len(one) == 2 else (one, None)
        found.append(Axis(str(name), words_of(lexicon, between, asked)))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Accuracy:
    """Items with right and wrong answers, and what they are drawn by."""

    contrasts: ContrastSet
    cluster: npt.NDArray[Any]  # of each row of the table

    @property
    def n(self) -> int:
        """How many clusters there are."""
        return len(np.unique(self.cluster))

    def held_out(self, used: frozenset[str]) -> Accuracy:
        """Leave out clusters of which a conversation was used."""
        table = self.contrasts.table
        seen = np.array(
            [mark(p, r) in used for p, r in zip(table["prompt"], table["response"], strict=True)]
        )
        kept = ~np.isin(self.cluster, self.cluster[seen])
        if len(np.unique(self.cluster[kept])) < 2:
            raise ValueBiasError(
                f"The accuracy on {self.contrasts.name!r} would be of fewer than two items that no "
                "direction was estimated from. Give others."
            )
        part = ContrastSet(self.contrasts.name, table[kept], self.contrasts.about)
        return Accuracy(part, self.cluster[kept])

    def compared(self, engine: Engine, prob: float) -> Change:
        """Score both models and compare how often right answers have more reward than wrong ones.

        Of a cluster it is the mean over its items, of an item over its pairs; a tie is half.
        """
        both = engine.contrasts(self.contrasts)
        table = self.contrasts.table
        right = table[CORRECT].to_numpy(dtype=bool)
        item = table.index.get_level_values("item").to_numpy()
        rows: dict[Any, list[int]] = {}
        for i, name in enumerate(item):
            rows.setdefault(name, []).append(i)
        shares: dict[Any, list[Floats]] = {}
        for some in rows.values():
            own = np.array(some)
            good, bad = both[:, own[right[own]]], both[:, own[~right[own]]]
            margin = good[:, :, None] - bad[:, None, :]
            share = (margin > 0).mean((1, 2)) + (margin == 0).mean((1, 2)) / 2
            shares.setdefault(self.cluster[own[0]], []).append(share)
        means = np.array([np.mean(some, axis=0) for some in shares.values()])
        return accuracy_change(means[:, 0], means[:, 1], prob)


def accuracy_of(given: Any) -> Accuracy:
    """Read what tells right from wrong: a contrast set, or preferences, whose prompts are drawn."""
    if isinstance(given, ContrastSet):
        table = given.table
        if CORRECT not in table.columns:
            raise ValueBiasError(
                f"The contrast set {given.name!r} has no column {CORRECT!r}, which says which "
                "answers are right. Give one that has, or preferences."
            )
        wrong = (~table[CORRECT].astype(bool)).groupby(level="item").transform("any")
        if not wrong.any():
            raise ValueBiasError(
                f"All answers of the contrast set {given.name!r} are right, so that accuracy has "
                "nothing to tell apart. Give one with wrong answers, or preferences."
            )
        kept = ContrastSet(given.name, table[wrong.to_numpy()], given.about)
        return Accuracy(kept, kept.table.index.get_level_values("item").to_numpy())
    pairs = given if isinstance(given, Preferences) else preferences(given, progress=False)
    rows, prompts = [], []
    for i, row in enumerate(pairs.pairs.itertuples(index=False), 1):
        messages = json.loads(str(row.prompt))
        if len(messages) != 1 or messages[0]["role"] != "user":
            raise ValueBiasError(
                f"Pair {i} of {pairs.name!r} has {len(messages)} messages before the answers; "
                "accuracy is of pairs with one, the user's. Leave the others out."
            )
        texts = {"chosen": str(row.chosen), "rejected": str(row.rejected)}
        rows.append({"prompt": messages[0]["content"], "answers": texts,
                     CORRECT: [True, False]})  # fmt: skip
        prompts += [messages[0]["content"]] * 2
    return Accuracy(contrast_set(rows, name=pairs.name), np.array(prompts, dtype=object))
