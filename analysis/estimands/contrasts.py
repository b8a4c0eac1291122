"""All estimands of a posterior."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.estimands.effects import EffectDraws
from valuebias.analysis.estimands.estimand import (
    BASE,
    DIFFERENCE,
    LEAN,
    MODEL,
    OVERALL,
    PREDICTED,
    SLOPE_DIFFERENCE,
    THESE_WORDS,
    UNADJUSTED,
    WORD_SLOPE,
    CategoryPair,
    Estimand,
)
from valuebias.analysis.estimands.rows import NO_FOCUS, Focus, Row, focused_rows
from valuebias.analysis.estimands.unseen import Unseen
from valuebias.analysis.estimands.weights import (
    Contrast,
    category_contrasts,
    framing_contrasts,
    named_framings,
)

__all__ = ["estimands", "make_estimands"]

Array = NDArray[np.float64]


def estimands(
    crossing: Crossing,
    components: Components,
    effects: EffectDraws,
    v: Array,
    contrast: Contrast | None,
    rng: np.random.Generator,
    focus: Focus = NO_FOCUS,
    nu: Mapping[str, Array] | None = None,
) -> list[Estimand]:
    """All estimands, the headline first; ``nu`` as of :class:`Unseen`."""
    rows = focused_rows(crossing, focus)
    framings = named_framings(crossing.framings, focus.framing)
    first = next(iter(framings))
    out = []
    for categories, weights in category_contrasts(crossing.categories, contrast).items():
        on_axes = crossing.contrast_weights(weights)
        coefficient = effects.coefficient @ on_axes  # (draw, column, framing)
        these_words = (effects.coefficient + effects.word_shift) @ on_axes
        unadjusted = effects.coefficient @ crossing.unadjusted_weights(weights)
        model, base = effects.model @ on_axes, effects.base @ on_axes
        unseen = Unseen(crossing, components, v, weights, rng, nu=nu)
        for framing, sign in framings.items():
            by_column, on_these = coefficient @ sign, these_words @ sign
            under = (framing, *categories)
            for combination in rows:
                out.append(combination.estimand(under, by_column @ combination.row))
                if combination.form == DIFFERENCE and framing == first:
                    out.append(combination.estimand(under, on_these @ combination.row, THESE_WORDS))
                    if crossing.covariate_names:
                        draws = unadjusted @ sign @ combination.row
                        out.append(combination.estimand(under, draws, UNADJUSTED))
                if combination.form == LEAN and combination.variable != OVERALL:
                    # One draw of a model for all framings; of a family's own spread where it has.
                    who = combination.first if combination.variable == "family" else None
                    new, on_these_new = unseen.models(who), unseen.on_these_words(who)
                    predicted = replace(combination, form=PREDICTED)
                    out.append(predicted.estimand(under, by_column @ combination.row + new @ sign))
                    draws = on_these @ combination.row + (new + on_these_new) @ sign
                    out.append(predicted.estimand(under, draws, THESE_WORDS))
            kinds = by_column @ crossing.design.matrix.T
            leans = kinds + model @ sign
            for m, name in enumerate(crossing.models):
                out.append(Estimand(LEAN, MODEL, str(name), "", *under, leans[:, m]))
            out += _base_leans(crossing, kinds + base @ sign, under)
    out += _covariate_slopes(crossing, effects, rows)
    order = {key: i for i, key in enumerate(dict.fromkeys((r.form, r.variable) for r in rows))}
    framing_order = {name: i for i, name in enumerate(framings)}
    return sorted(
        out,
        key=lambda e: (
            order.get((e.form, e.variable), len(order)),
            bool(e.variant),
            framing_order[e.framing],
        ),
    )


def _base_leans(crossing: Crossing, leans: Array, under: tuple[str, str, str]) -> list[Estimand]:
    """Leans of the bases, where models share some; ``leans`` (draw, model) without models' own."""
    base = crossing.space.group("base")
    if base is None:
        return []
    return [
        Estimand(LEAN, BASE, name, "", *under, leans[:, base.labels == name].mean(axis=1))
        for name in dict.fromkeys(base.labels.tolist())
    ]


def _covariate_slopes(crossing: Crossing, effects: EffectDraws, rows: list[Row]) -> list[Estimand]:
    """Return the effects of one SD of a word's covariate, categories held fixed."""
    out = []
    for k, covariate in enumerate(crossing.covariate_names):
        slope = effects.coefficient @ crossing.to_slope[:, k]
        for framing, sign in framing_contrasts(crossing.framings).items():
            for combination in rows:
                form = {DIFFERENCE: SLOPE_DIFFERENCE, LEAN: WORD_SLOPE}.get(combination.form)
                if form == SLOPE_DIFFERENCE or combination.variable == OVERALL:
                    draws = slope @ sign @ combination.row
                    other = replace(combination, form=str(form))
                    out.append(other.estimand((framing, covariate, ""), draws))
    return out


def make_estimands(
    crossing: Crossing,
    effects: EffectDraws,
    rows: Iterable[Row],
    categories: Mapping[CategoryPair, Array],
    front: str | None = None,
) -> list[Estimand]:
    """Estimands of rows of the design, of models and words like these: by row, then framing."""
    rows, out = list(rows), []
    for pair, weights in categories.items():
        coefficient = effects.coefficient @ crossing.contrast_weights(weights)
        for framing, sign in named_framings(crossing.framings, front).items():
            by_column = coefficient @ sign
            out += [row.estimand((framing, *pair), by_column @ row.row) for row in rows]
    return out
