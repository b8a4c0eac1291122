"""Notes on an ablation: what its layout cannot show, and what contradicts its curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from valuebias.analysis.ablation.layout import has_base_slopes
from valuebias.analysis.ablation.notes import curve_notes, layout_notes
from valuebias.analysis.design.random_terms import split_random
from valuebias.analysis.notes import Note

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = ["ablation_notes"]

_STRAIGHT = Note(
    "levelling left out",
    "gaps are assumed to change with the pairs as the formula says, however far: one that levels "
    "off before it closes looks as if it closed. Leave levelling= out to let it level off.",
    "The gap is assumed not to level off.",
)


def ablation_notes(fit: AblationPosterior) -> list[Note]:
    """List what the data of an ablation cannot show."""
    models = fit.curves.models
    slopes = None
    if fit.fit is not None and has_base_slopes(models) and fit.curves.by_pairs:
        slopes = any(
            term.group == "base" and any("n_pairs" in slope for slope in term.slopes)
            for term in split_random(fit.formula)[1]
        )
    notes = layout_notes(models, fit.formula, base_slopes=slopes, both=_most_in_common(fit))
    if fit.studied and fit.curves.by_pairs == "curve" and fit.curves.levelled is None:
        notes.append(_STRAIGHT)
    # With a free gap at each number of pairs there is no curve to contradict.
    if fit.curves.by_pairs == "curve":
        notes += curve_notes(fit.departures(), levelling=fit.curves.levelled is not None)
    return notes


def _most_in_common(fit: AblationPosterior) -> dict[str, float]:
    """Find the largest number of pairs that two families share, by source where some have more."""
    out = {}
    for source in fit.curves.sources:
        ends = {tuple(fit.curves.n_pairs_of(source, family)) for family in fit.curves.families}
        if len(ends) > 1:
            shared = [fit.curves.shared(pair, source) for pair in fit.curves.pairs]
            out[source] = max((n_pairs[-1] for n_pairs in shared if n_pairs), default=0.0)
    return out
