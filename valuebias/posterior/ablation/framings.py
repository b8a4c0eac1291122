"""An ablation under one framing of the prompts, or under all of them side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.ablation.curves import Curves, summarise
from valuebias.analysis.ablation.lean_model import lean_model
from valuebias.analysis.ablation.levelling import LeanDraws, draw_leans
from valuebias.analysis.estimands.weights import TURNED, framing_contrasts, named_framings
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.posterior.ablation.estimates import check_prob
from valuebias.posterior.ablation.support import support_of
from valuebias.posterior.wording import rope_in_words, under

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.posterior.posterior import Posterior

__all__ = [
    "SIGNED",
    "compare_framings",
    "draw_fit_leans",
    "framings_of",
    "lean_curves",
    "lean_name",
    "look",
    "rope_of",
]

Array = NDArray[np.float64]

Ablation = TypeVar("Ablation", bound="AblationPosterior")

SIGNED = "signed"
"""The framing of every new fit: half the positive lean less the negative one."""


def framings_of(fit: Posterior | None) -> tuple[str, ...]:
    """List the framings of an ablation, "signed" first."""
    return (SIGNED,) if fit is None else (SIGNED, *fit.problem.crossing.framings)


def draw_fit_leans(fit: Posterior, *, levelling: bool) -> dict[str, LeanDraws]:
    """Draw what the gaps of a fit depend on besides its straight lines, under every framing."""
    _, weights = next(iter(fit.categories.items()))
    crossing, rng = fit.problem.crossing, fit.rng("leans")
    signs = framing_contrasts(crossing.framings)
    models = {
        framing: lean_model(fit.problem, fit.margins, fit.v, weights, signs[framing])
        for framing in framings_of(fit)
    }
    return draw_leans(models, crossing.design, levelling=levelling, rng=rng)


def lean_curves(fit: Posterior, leans: LeanDraws, framing: str = SIGNED) -> Curves:
    """Turn the draws of a fit into draws of the lean under a framing."""
    crossing = fit.problem.crossing
    categories, weights = next(iter(fit.categories.items()))
    on_axes = crossing.contrast_weights(weights)
    sign = framing_contrasts(crossing.framings)[framing]
    posterior = fit.tree["posterior"]

    def lean(name: str) -> Array:
        return np.asarray(np.einsum("cdafj,j,f->cda", posterior[name].to_numpy(), on_axes, sign))

    straight = lean("coefficient")
    model = straight @ crossing.design.matrix.T + lean("model_effect")
    return leans.curves(crossing.design, straight, model, categories)


def look(fit: Ablation, framing: str) -> Ablation:
    """Select a framing of an ablation; see :meth:`valuebias.AblationFit.at_framing`."""
    known = framings_of(fit.fit)
    if framing not in known:
        why = "" if fit.fit else " A table of medians does not distinguish framings."
        raise ValueBiasError(
            f"framing is {framing!r}, which the fit lacks.{why} {did_you_mean(framing, known)}"
        )
    if framing == fit.framing or fit.fit is None:
        return fit
    curves = lean_curves(fit.fit, fit.leans[framing], framing)
    return type(fit)(curves, fit=fit.fit, framing=framing, **fit._common)


def lean_name(fit: AblationPosterior) -> str:
    """Name the framing of an ablation's leans as figures and sentences do; empty for medians."""
    if fit.fit is None:
        return ""
    named = {framing: name for name, framing in _named(fit.fit).items()}
    # With prompts of one framing the lean has its name, also if it was not selected.
    name = named.get(fit.framing, next(iter(named.values())))
    return under(name).removeprefix("under ")


def _named(fit: Posterior | None) -> dict[str, str]:
    """Map the names of estimands to framings; "signed" only where there are two."""
    if fit is None:
        return {SIGNED: SIGNED}
    names = named_framings(fit.problem.crossing.framings)
    return {name: SIGNED if name == TURNED else name for name in names}


def rope_of(fit: AblationPosterior) -> str:
    """Write the region of practical equivalence of an ablation, as given."""
    if fit.fit is not None:
        return rope_in_words(fit.rope, fit.unit, fit.fit.problem.crossing.scale)
    # For medians the default is a share of an SD that is not stored.
    short = float(f"{fit.rope:.4g}")
    text = rope_in_words(short, fit.unit)
    return text if short == fit.rope else f"about {text}"


def compare_framings(fit: AblationPosterior, *, prob: float) -> pd.DataFrame:
    """Set the framings side by side; see :meth:`valuebias.AblationFit.by_framing`."""
    check_prob(prob)
    tables = []
    for name, framing in _named(fit.fit).items():
        curves = look(fit, framing).curves
        heads: list[tuple[object, ...]] = []
        draws: list[Array] = []
        for source in curves.sources:
            for pair in curves.pairs:
                # The largest number that both were trained on, if any.
                n_pairs = [*curves.n_pairs_of(source), *curves.shared(pair, source)][-1]
                end = curves.ends(source, [n_pairs])
                cell = (curves.category, source, n_pairs, *support_of(curves, pair, end).iloc[0])
                heads.append((name, "gap", " − ".join(pair), *cell))
                draws.append(curves.gap(pair, end)[..., 0])
            for family in curves.families:
                trained = curves.n_pairs_of(source, family)
                if trained:
                    cell = (curves.category, source, trained[-1], "measured", "")
                    heads.append((name, "family lean", family, *cell))
                    draws.append(curves.lean(family, source, trained[-1]))
        names = ["framing", "estimand", "name", "category", "source", "n_pairs", "support",
                 "extrapolated_for"]  # fmt: skip
        head = pd.DataFrame(heads, columns=names)
        tables.append(summarise(head, np.stack(draws, axis=-1), prob=prob, rope=fit.rope))
    return pd.concat(tables, ignore_index=True)
