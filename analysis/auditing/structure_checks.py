"""The checks of a data audit for what makes an analysis too sure of itself.

Models that count as independent and are not, families that differ in spread, and words that differ
between the categories in more than their meaning. They need no fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.numbers import signed
from valuebias.analysis.auditing.checks import Data, Finding
from valuebias.analysis.auditing.confounding import Estimate, word_imbalances, word_numbers
from valuebias.analysis.auditing.likeness import Likeness, find_alike, make_units, off_axes
from valuebias.analysis.auditing.spreads import odd_units, unequal_kinds
from valuebias.analysis.design.crossing import as_design
from valuebias.analysis.design.grouping import PAIR_COORDS
from valuebias.analysis.estimands.estimand import CategoryPair
from valuebias.analysis.estimands.weights import category_contrasts
from valuebias.analysis.outcome import outcome
from valuebias.errors import few
from valuebias.schema.contract import NEUTRAL, SIGNS
from valuebias.schema.weights import are_marks

__all__ = ["CHECKS", "look"]

Array = NDArray[np.float64]

# Checkpoints are alike for a known reason.
_RUN = ("source", "n_pairs", "seed", "step")
_LEAST_WORDS = 20
_GAP = 0.3
_GAP_LEVEL = 0.01


class _Tables:
    """Mean normal scores by framing, model and word, with descriptions of models and words."""

    def __init__(self, data: Data) -> None:
        inside = np.flatnonzero(data.inside)
        finite = np.isfinite(data.lexical)
        scored = np.flatnonzero(finite.any(axis=(1, 2)))
        self.ds = data.ds.isel(response=inside, model=scored)
        self.family = self.ds["family"].to_numpy().astype(str)
        self.families, self.kinds = np.unique(self.family, return_inverse=True)
        self.member = self.ds["membership"].transpose("response", "category").to_numpy()
        self.score = np.where(finite, data.lexical, np.nan)[scored]
        self.usable = inside.size >= _LEAST_WORDS and scored.size > 0 and self.member.size > 0

    @cached_property
    def means(self) -> Array:
        """Mean over the prompts of a framing, (framing, model, word); NaN where there is none."""
        values = outcome(xr.DataArray(self.score, dims=("model", "prompt", "response")))
        centred = values - values.mean("response")
        framing = self.ds["framing"].to_numpy().astype(str)
        # Neutral prompts are analysed apart from others.
        expected = [name for name in SIGNS if name in framing] or [NEUTRAL]
        groups = [np.flatnonzero(framing == name) for name in expected]
        return np.stack([centred[:, group].mean("prompt") for group in groups if group.size])

    @cached_property
    def signed(self) -> Array:
        """Half the difference of framings, or the only one; (model, word)."""
        weights = [1.0, -1.0] if len(self.means) == 2 else [1.0]
        return np.asarray(np.tensordot(weights, self.means, 1) / len(weights))

    @cached_property
    def likeness(self) -> Likeness | None:
        """Models that look like one; None where they may not be compared."""
        related = set(PAIR_COORDS) <= set(self.ds.coords) or set(_RUN) <= set(self.ds.coords)
        if related or not self.usable:
            return None
        member = self.member.astype(float)
        profiles = off_axes(self.means, member if are_marks(member) else _centred(member))
        if profiles.shape[2] < _LEAST_WORDS:
            return None
        rows = (self.kinds[:, None] == np.arange(len(self.families))).astype(float)
        n_axes = self.member.shape[1] - 1
        units = make_units(profiles, rows, self.kinds, n_axes=n_axes)
        return find_alike(units, np.random.default_rng(0))

    @cached_property
    def contrasts(self) -> dict[CategoryPair, Array]:
        """Contrasts of categories; none where there is one category."""
        names = tuple(self.ds["category"].to_numpy().astype(str))
        return category_contrasts(names, None) if len(names) > 1 else {}


def _models_alike(tables: _Tables) -> Iterator[Finding]:
    alike = tables.likeness
    if alike is None:
        return
    names = tables.ds["model"].to_numpy().astype(str)
    bases = _bases(tables.ds)
    for group in alike.groups:
        of_group = [bases[i] for i in group.members]
        if of_group[0] and len(set(of_group)) == 1:
            continue  # the fit allows for what models of one base share
        said = sorted({base for base in of_group if base})
        stated = f"their 'base' says {few(said)}" if said else "no 'base' is given"
        yield Finding(
            "warning",
            f"family {str(tables.family[group.members[0]])!r}",
            f"{few([str(names[i]) for i in group.members])} look like one base (residual "
            f"correlation {group.correlation:.2f}; at most {group.expected:.2f} expected of "
            f"independent models), and {stated}. Models of one base do not count for as many: give "
            "them the same 'base'.",
        )


def _unequal_spread(tables: _Tables) -> Iterator[Finding]:
    alike = tables.likeness
    if alike is None or not tables.contrasts:
        return
    weights = next(iter(tables.contrasts.values()))
    contrast = np.linalg.pinv(_centred(tables.member)).T @ weights
    if not contrast.any():
        return  # every word is in both categories
    leans = np.nan_to_num(tables.signed) @ contrast
    unequal = unequal_kinds(alike, leans, np.zeros(len(tables.kinds)))
    names = tables.ds["model"].to_numpy().tolist()
    for unit, ratio in odd_units(alike):
        yield Finding(
            "note",
            f"model {names[unit]!r}",
            f"Its words depart {ratio:.1f} times as much from those of its family as other models' "
            "do: it counts for as much as they, with more noise.",
        )
    if unequal is not None:
        more, less = (str(tables.families[k]) for k in (unequal.more, unequal.less))
        yield Finding(
            "warning",
            "family",
            f"Models of {more!r} differ from one another {unequal.ratio:.1f} times as much as "
            f"those of {less!r} in their {unequal.of} (at most {unequal.expected:.1f} times "
            "expected of families with one spread). Either the families differ in spread, or the "
            f"models of {less!r} share something, such as a base.",
        )


def _words_confounded(tables: _Tables) -> Iterator[Finding]:
    numbers = word_numbers(tables.ds)
    if not tables.usable or not tables.contrasts or not numbers.shape[1]:
        return
    axes = _centred(tables.member)
    counts = np.bincount(tables.kinds)
    signs = np.zeros(len(counts))
    signs[:2] = [1.0, -1.0][: len(counts)]
    estimate = Estimate(tables.signed, (signs / counts)[tables.kinds], tables.kinds)
    for pair, weights in tables.contrasts.items():
        imbalances = word_imbalances(numbers, axes, weights, estimate)
        for one in imbalances:
            if one.gap_p < _GAP_LEVEL / len(imbalances) and abs(one.gap) > _GAP:
                moved = ""
                if len(counts) > 1:
                    first, second = (str(name) for name in tables.families[:2])
                    moved = (
                        f"Adjusting for it would move the difference between {first!r} and "
                        f"{second!r} by {signed(one.shift)} SD. "
                    )
                yield Finding(
                    "note",
                    "response",
                    f"Words of {pair.first!r} and {pair.second or 'others'!r} differ in "
                    f"{one.name!r} (standardised difference {signed(one.gap)}). "
                    f"{moved}Fit with words='~ {one.term}' to adjust for it.",
                )


def _centred(member: NDArray[Any]) -> Array:
    # Without a word that is in no category, or a category without words, which come here as well.
    inside, used = member.any(axis=1), member.any(axis=0)
    weights = np.zeros(member.shape)
    weights[np.ix_(inside, used)] = as_design(member[np.ix_(inside, used)].astype(float))
    return np.asarray(weights - weights.mean(axis=0))


def _bases(ds: xr.Dataset) -> list[str]:
    if "base" not in ds.coords:
        return [""] * ds.sizes["model"]
    named = [str(value).strip() for value in ds["base"].to_numpy()]
    return ["" if name in ("nan", "None") else name for name in named]


_FINDERS: dict[str, Callable[[_Tables], Iterable[Finding]]] = {
    "models alike": _models_alike,
    "unequal spread": _unequal_spread,
    "words confounded": _words_confounded,
}

CHECKS = tuple(_FINDERS)
"""The names of the checks, in the order they are made."""


def look(data: Data) -> dict[str, list[Finding]]:
    """Make all checks, on tables that they share."""
    tables = _Tables(data)
    return {name: list(find(tables)) for name, find in _FINDERS.items()}
