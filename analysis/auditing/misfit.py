"""What a fit does not model: models alike, families unequal, words confounded.

A fit takes models (or their bases) of a kind as independent, equally variable, and words as alike
except for their categories. Where that is visibly wrong its intervals are, too, and a note says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from valuebias._core.numbers import signed
from valuebias.analysis.auditing.confounding import (
    Estimate,
    Imbalance,
    largest_slope,
    word_imbalances,
)
from valuebias.analysis.auditing.likeness import (
    Likeness,
    Units,
    closest,
    find_alike,
    make_units,
    off_axes,
    singly,
)
from valuebias.analysis.auditing.spreads import Unequal, spread_ratios, unequal_kinds
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.grouping import PAIR_COORDS, known_bases, run_labels
from valuebias.analysis.estimands.rows import NO_FOCUS, Focus, headline_combination
from valuebias.analysis.estimands.weights import Contrast, category_contrasts, framing_contrasts
from valuebias.analysis.notes import Note
from valuebias.errors import few

__all__ = ["STATISTICS", "Structure", "make_structure", "structure_notes"]

Array = NDArray[np.float64]

STATISTICS = {
    "closest models": "largest residual correlation of two models (or bases) of a family in words",
    "unequal words": "largest ratio of two families' SDs over models (or bases), of words",
    "unequal leans": "the same of leans",
    "word covariate": "largest slope of the estimate on a number of the words, such as length",
}
"""The results of :meth:`Structure.statistics` and their meaning."""

# Fewest words for which likeness of models is judged.
_LEAST_WORDS = 8
# Share of its standard error by which the estimate must be too sure before the headline says so.
_WIDER = 1.1
_GAP_LEVEL = 0.05
_SLOPE_LEVEL = 0.05
# Standard errors by which adjusting for a covariate must move the estimate.
_MOVED = 0.2
_MOST_NAMED = 3


@dataclass(frozen=True)
class Structure:
    """The parts of a crossing that the checks read, whatever its outcome."""

    crossing: Crossing
    # (model,): the same number for models whose factors in the formula have the same levels.
    kinds: NDArray[np.intp]
    names: tuple[str, ...]  # of the kinds
    # The unit that every model is of: models of a kind that share something in the fit are one.
    labels: tuple[str, ...]
    noun: str  # what the units are
    apart: bool  # whether models of a kind are taken as independent at all, and so may be compared
    spread: bool  # whether the fit has a spread for every family
    row: Array  # (column,): the combination of design columns that the headline is about
    on_axes: Array  # (axis,): the contrast of categories that it is about
    sign: Array  # (framing,)
    # (word, covariate): numbers of the words that the fit does not adjust for.
    numbers: pd.DataFrame

    def means(self, y: Array) -> Array:
        """Means over the observed prompts of a cube (model, prompt, word); (framing, model, word).

        NaN where a model has no score of a word under a framing.
        """
        crossing = self.crossing
        groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
        if crossing.complete:
            return np.stack([y[:, group].mean(axis=1) for group in groups])
        counts = np.stack([crossing.observed[:, group].sum(axis=1) for group in groups])
        sums = np.stack([y[:, group].sum(axis=1) for group in groups])
        out = np.full_like(sums, np.nan)
        return np.asarray(np.divide(sums, counts, out=out, where=counts > 0))

    def units(self, means: Array) -> Units:
        """Make units of what the fit takes as independent."""
        profiles = off_axes(means, self.crossing.word_basis)
        return make_units(
            profiles,
            self.crossing.design.matrix,
            self.kinds,
            self.labels,
            n_axes=self.crossing.word_basis.shape[1],
        )

    def tells(self, means: Array) -> bool:
        """Whether enough words are known of every model under every framing to compare models."""
        return int(np.isfinite(means).all(axis=(0, 1)).sum()) >= _LEAST_WORDS

    def leans(self, means: Array) -> Array:
        """Signed leans of the models by the headline's contrast."""
        contrast = self.crossing.word_basis @ self.on_axes
        return np.asarray(self.sign @ (np.nan_to_num(means) @ contrast))

    def estimate(self, means: Array) -> Estimate:
        """Return every unit's signed table of words, and its weight in the headline."""
        signed = np.tensordot(self.sign, means, 1)
        names = np.array(self.labels)
        first = np.array([np.argmax(names == name) for name in dict.fromkeys(self.labels)])
        share = (names[first, None] == names) / (names[first, None] == names).sum(axis=1)[:, None]
        rows = share @ self.crossing.design.matrix
        return Estimate(share @ signed, np.linalg.pinv(rows).T @ self.row, self.kinds[first])

    def statistics(self, y: Array) -> dict[str, float]:
        """Return the statistics by name; NaN where the layout has none."""
        means = self.means(y)
        out = dict.fromkeys(STATISTICS, np.nan)
        if not self.tells(means):
            return out
        if self.apart:
            units = self.units(means)
            out["closest models"] = closest(units)
            ratios = spread_ratios(singly(units), self.leans(means))
            out |= {f"unequal {of}": ratio for of, ratio in ratios.items()}
        out["word covariate"] = largest_slope(
            self.numbers, self.crossing.word_basis, self.estimate(means)
        )
        return out


def make_structure(
    crossing: Crossing, contrast: Contrast | None, numbers: pd.DataFrame, focus: Focus = NO_FOCUS
) -> Structure:
    """Describe what a fit of a crossing takes as independent and its headline compares.

    ``numbers`` is (word, covariate).
    """
    design = crossing.design
    factors = [factor for factor in design.variables if factor.categorical]
    codes = [factor.code(design.models) for factor in factors]
    table = np.concatenate([np.zeros((len(design.models), 1)), *codes], axis=1)
    _, first, kinds = np.unique(table.round(9), axis=0, return_index=True, return_inverse=True)
    levels = [design.models[_column(factor.expression)].astype(str) for factor in factors]
    names = tuple(", ".join(level.iloc[i] for level in levels) for i in first)
    labels, noun = _independent(crossing, kinds.ravel())
    weights = next(iter(category_contrasts(crossing.categories, contrast).values()))
    return Structure(
        crossing=crossing,
        kinds=kinds.ravel(),
        names=names,
        labels=labels,
        noun=noun,
        apart=_may_be_compared(crossing),
        spread=bool(crossing.space.kinds),
        row=headline_combination(crossing, contrast, focus).row,
        on_axes=crossing.contrast_weights(weights),
        sign=next(iter(framing_contrasts(crossing.framings).values())),
        numbers=numbers.drop(columns=_adjusted(crossing, numbers)),
    )


def structure_notes(
    structure: Structure, estimate_sd: float, rng: np.random.Generator
) -> list[Note]:
    """Note where models are alike, families unequal or words confounded, unknown to the fit."""
    means = structure.means(structure.crossing.y)
    notes = _copies(structure.crossing) if structure.apart else []
    if not structure.tells(means):
        return notes
    if structure.apart:
        units = structure.units(means)
        likeness = find_alike(units, rng)
        weights = structure.estimate(means).weights
        if likeness.groups:
            notes.append(_alike_note(structure, likeness, likeness.widening(weights)))
        unequal = unequal_kinds(likeness, structure.leans(means), weights)
        if unequal is not None and not structure.spread:
            notes.append(_unequal_note(structure, unequal))
    imbalances = word_imbalances(
        structure.numbers,
        structure.crossing.word_basis,
        structure.on_axes,
        structure.estimate(means),
    )
    level = _SLOPE_LEVEL / max(len(imbalances), 1)
    confounded = [
        one
        for one in imbalances
        if one.gap_p < _GAP_LEVEL and one.slope_p < level and abs(one.shift) > _MOVED * estimate_sd
    ]
    if confounded:
        notes.append(_confounded_note(structure, confounded, estimate_sd))
    return notes


def estimate_sd(structure: Structure, coefficient: Array) -> float:
    """Posterior SD of the headline's estimate; ``coefficient`` (draw, column, framing, axis)."""
    draws = coefficient @ structure.on_axes @ structure.sign @ structure.row
    return float(draws.std())


def _column(expression: str) -> str:
    """Name the coordinate that a categorical factor is of."""
    return expression[2:-1] if expression.startswith("C(") else expression


def _independent(crossing: Crossing, kinds: NDArray[np.intp]) -> tuple[tuple[str, ...], str]:
    """Name the unit of every model, and say what the units are."""
    names = [str(name) for name in crossing.models]
    groups = [group for group in crossing.space.groups if ":" not in group.name]
    if not groups:
        return tuple(names), "models"
    same = kinds[:, None] == kinds
    shared = np.any([group.labels[:, None] == group.labels for group in groups], axis=0) & same
    _, units = connected_components(shared)
    if [group.name for group in groups] == ["base"]:
        return tuple(groups[0].labels[np.argmax(units == unit)] for unit in units), "bases"
    return tuple(names[np.argmax(units == unit)] for unit in units), "groups"


def _may_be_compared(crossing: Crossing) -> bool:
    """Whether models are neither pairs nor checkpoints, whose likeness has a known reason."""
    models = crossing.design.models
    related = set(PAIR_COORDS) <= set(models.columns) or run_labels(models) is not None
    return not related and not crossing.space.dropped


def _adjusted(crossing: Crossing, numbers: pd.DataFrame) -> list[str]:
    """Name the numbers of the words that the fit adjusts for in some form."""
    terms = " ".join(crossing.covariate_names)
    names = map(str, numbers.columns)
    return [name for name in names if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", terms)]


def _copies(crossing: Crossing) -> list[Note]:
    """Note models with the same scores everywhere, whose distance of zero compares with none."""
    same: dict[bytes, list[str]] = {}
    for name, y, seen in zip(crossing.models, crossing.y, crossing.observed, strict=True):
        same.setdefault(y.tobytes() + seen.tobytes(), []).append(str(name))
    copies = [names for names in same.values() if len(names) > 1]
    if not copies:
        return []
    left = [name for names in copies for name in names[1:]]
    listed = "; ".join(f"models {few(names)}" for names in copies)
    text = (
        f"{listed} have the same scores throughout: one model under several names, which counts "
        f"once. Leave the others out: scores.drop_sel(model={left})."
    )
    which = f"The models {few(copies[0])}" if len(copies) == 1 else "Some models (see the notes)"
    said = f"{which} are copies of one another, so that intervals are too narrow."
    return [Note("models identical", text, said, first=True)]


def _names(structure: Structure, units: Units, members: tuple[int, ...], limit: int = 5) -> str:
    names = [structure.labels[units.members[i][0]] for i in members]
    listed = names[:limit] + ([f"{len(names) - limit} more"] if len(names) > limit else [])
    return f"{', '.join(listed[:-1])} and {listed[-1]}"


def _alike_note(structure: Structure, likeness: Likeness, widening: float) -> Note:
    one = "one base" if structure.noun == "models" else "one"
    parts = [
        f"{structure.noun} {_names(structure, likeness.units, group.members)} look like {one} "
        f"(residual correlation {group.correlation:.2f}; at most {group.expected:.2f} expected of "
        f"independent {structure.noun})"
        for group in likeness.groups
    ]
    known = structure.noun == "models" and _stated_by_base(structure, likeness)
    advice = (
        "Their 'base' says so; take out base=None, and the fit allows for it."
        if known
        else _ADVICE[structure.noun]
    )
    text = f"{'; '.join(parts)}. They do not count for as many. {advice}"
    # The headline of a fit without bases already says so.
    if known or widening <= _WIDER:
        return Note("models alike", text)
    return Note("models alike", text, _alike_headline(structure, likeness), first=True)


_ADVICE = {
    "models": "Give those of one base the same 'base', or name what else they share, as "
    "(1 | recipe) does.",
    "bases": "If they are versions of one, give their models one 'base'.",
    "groups": "Name what they share in the formula, as (1 | recipe) does.",
}


def _stated_by_base(structure: Structure, alike: Likeness) -> bool:
    bases = known_bases(structure.crossing.design.models)
    groups = [{bases[i] for i in group.members} for group in alike.groups] if bases else [{"", "?"}]
    return all(len(names) == 1 for names in groups)


def _alike_headline(structure: Structure, likeness: Likeness) -> str:
    members = [group.members for group in likeness.groups]
    if len(members) == 1 and len(members[0]) <= _MOST_NAMED:
        who = f"The {structure.noun} {_names(structure, likeness.units, members[0])}"
    else:
        n, of = sum(map(len, members)), len(likeness.units.members)
        who = f"Of the {of} {structure.noun}, {n} (named in the notes)"
    return f"{who} are too alike to count as independent, so that intervals are too narrow."


def _unequal_note(structure: Structure, unequal: Unequal) -> Note:
    more, less = structure.names[unequal.more], structure.names[unequal.less]
    text = (
        f"{structure.noun} of {more} differ from one another {unequal.ratio:.1f} times as much as "
        f"those of {less} in their {unequal.of} (at most {unequal.expected:.1f} times expected of "
        "families with one spread), and the fit takes the spread of both as one. Either the "
        f"families differ in spread, which spread=True allows for, or the {structure.noun} of "
        f"{less} share something, such as a base."
    )
    headline = (
        f"The {structure.noun} of {more} differ among themselves more than those of {less}, so "
        "that the interval is too narrow."
    )
    return Note("families unequal", text, headline if unequal.widening > _WIDER else "")


def _confounded_note(structure: Structure, imbalances: list[Imbalance], estimate_sd: float) -> Note:
    worst = max(imbalances, key=lambda one: abs(one.shift))
    listed = ", ".join(f"{one.name} (by {signed(one.gap)} SD)" for one in imbalances)
    text = (
        f"The categories compared differ in their words' {listed}, on which the estimate depends: "
        f"adjusting for {worst.name} would move it by {signed(worst.shift)}, that is "
        f"{abs(worst.shift) / estimate_sd:.1f} times its standard error. Fit with "
        f"words='~ {' + '.join(one.term for one in imbalances)}' to adjust."
    ).replace("-", "−")
    headline = (
        f"The categories' words differ in {worst.name} as well, and adjusting for it would move "
        f"the estimate by {signed(worst.shift)}."
    ).replace("-", "−")
    return Note("words confounded", text, headline)
