"""Settings of a fit whose sampled units are items of a contrast set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from valuebias._core.checks import check_known
from valuebias.analysis.design.noise import read_tails
from valuebias.analysis.design.priors import Prior, as_prior
from valuebias.analysis.outcome import KINDS
from valuebias.errors import ValueBiasError, shown
from valuebias.posterior.item_wording import word_component

__all__ = ["ITEM_OUTCOMES", "ITEM_PRIOR", "item_settings"]

ITEM_OUTCOMES = ("scaled", "raw", "rank")
"""The outcomes that items may have: normal and z scores of two variants lose how far they are."""
ITEM_PRIOR = Prior(sd={"model_category": 1.0, "base_category": 1.0}, mean=2.0, effect=1.0)
"""Wider than that for words: biases may be larger, and less is known of how models differ."""


def item_settings(
    settings: Mapping[str, Any], given: Mapping[str, Any], by: str | None
) -> dict[str, Any]:
    """Give the settings of a fit of items, or refuse what makes no sense of them."""
    out = {**settings, "by": "variant" if by is None else by}
    if not isinstance(out["by"], str):
        raise ValueBiasError(
            f"by={shown(by)} must name a coordinate of the variants, such as 'correct'."
        )
    if settings["words"] is not None:
        raise ValueBiasError(
            "words= adjusts for what differs between words; the variants of an item are compared "
            "with one another, which leaves nothing of the item to adjust for. Leave words= out."
        )
    if settings["family"] != "gaussian":
        raise ValueBiasError(
            "family='student' takes single scores as outlying; in a contrast set differences "
            "within items are what is sampled. Leave family= out; residual='model' gives each "
            "model an SD of its own."
        )
    if "words" in read_tails(settings["heavy_tails"]):
        raise ValueBiasError(
            "heavy_tails='words' is for scores of words; of a contrast set name 'models' or "
            "'bases'."
        )
    if given.get("outcome") is None and settings["outcome"] == "normal":
        out["outcome"] = ITEM_OUTCOMES[0]
    if out["outcome"] not in KINDS:
        check_known(out["outcome"], ITEM_OUTCOMES, f"outcome={shown(out['outcome'])} is unknown.")
    if out["outcome"] not in ITEM_OUTCOMES:
        raise ValueBiasError(
            f"outcome={shown(out['outcome'])} says of the few variants of an item which is "
            f"higher, and loses by how much. Name one of {', '.join(map(repr, ITEM_OUTCOMES))}."
        )
    out["prior"] = _prior(settings["prior"])
    return out


def _prior(given: Prior | Mapping[str, Any] | None) -> Prior:
    """Fill a prior up, with the names of components as they are inside."""
    usual = ITEM_PRIOR.to_dict()
    prior = as_prior({**usual, **given} if isinstance(given, Mapping) else given or ITEM_PRIOR)
    sd = {word_component(name): scale for name, scale in prior.sd.items()}
    return replace(prior, sd=sd if isinstance(given, Prior) else {**usual["sd"], **sd})
