"""One answer of a report, token by token, where rewards were read along answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from valuebias.analysis.along.readings import Answer, Readings
from valuebias.analysis.along.sentences import by_sentence
from valuebias.errors import ValueBiasError, shown
from valuebias.plots import along
from valuebias.posterior.ablation.result import AblationPosterior
from valuebias.report.content import Column, Section, Table, number, sentence
from valuebias.schema.contrast_categories import SCORE_SD, groups_of_variants

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior
    from valuebias.report.inputs import ReportInputs

__all__ = ["along_section", "check_along"]

_TITLE = "An answer, token by token"
_MOST_AWAY = 0.05  # SDs of a model's scores; scored twice, they may differ by rounding


def check_along(scores: Any, fit: Posterior | AblationPosterior) -> None:
    """Refuse what has no rewards along the answers of a fit, before anything is computed."""
    if isinstance(fit, AblationPosterior) or not fit.of_items:
        raise ValueBiasError(
            "along= takes rewards along the answers of a contrast set, and this fit is of words. "
            "Leave it out, or fit the contrast set: valuebias.fit(scores, by=...)."
        )
    if not isinstance(scores, xr.Dataset):
        raise ValueBiasError(
            f"along is of type {type(scores).__name__}; expected the dataset that "
            "valuebias.score_contrasts(..., read='all') returns."
        )
    Readings.of(scores)
    for dim, own in (("model", "model"), ("item", "prompt")):
        names = scores[dim].to_numpy().tolist()
        if not set(names) & set(fit.data[own].to_numpy().tolist()):
            raise ValueBiasError(
                f"along has no {dim} of this fit, but such as {shown(names[0])}. Give "
                "the scores that were fitted."
            )
    by = str(fit.settings["by"])
    for name in ("response", by):
        if name not in scores.coords:
            what = "the texts of answers" if name == "response" else "by which this fit compares"
            raise ValueBiasError(
                f"along has no coordinate {name!r}, {what}. Give the scores that were fitted."
            )
    _check_same_scores(scores, fit, by)


def _check_same_scores(scores: xr.Dataset, fit: Posterior, by: str) -> None:
    """Refuse rewards of another scoring, of which what a report says of items would not hold."""
    names, group = groups_of_variants(scores, by)
    for name in fit.problem.crossing.categories:
        if name not in names:
            raise ValueBiasError(
                f"along has no variant whose {by} is {shown(name)}, which this fit compares. Give "
                "the scores that were fitted, with all variants."
            )
        member = xr.DataArray(group == names.index(name), dims=("item", "variant"))
        mean = scores["score"].reset_coords(drop=True).where(member).mean("variant")
        own = fit.data["score"].sel(response=name).rename(prompt="item")
        away = abs(mean - own.reset_coords(drop=True)) / fit.data[SCORE_SD].reset_coords(drop=True)
        if bool((away > _MOST_AWAY).any()):
            m, i = np.argwhere(away.transpose("model", "item").to_numpy() > _MOST_AWAY)[0]
            model, item = str(away["model"].to_numpy()[m]), str(away["item"].to_numpy()[i])
            raise ValueBiasError(
                f"along has other scores than this fit, such as those of {name} in the item "
                f"{item!r} by {model!r}. Give the scores that were fitted, with all variants."
            )


def along_section(inputs: ReportInputs, scores: xr.Dataset) -> Section:
    """Show what changes the reward within an answer of the item that differs most."""
    pair, on_groups = next(iter(inputs.fit.categories.items()))
    weights = dict(zip(inputs.fit.problem.crossing.categories, on_groups.tolist(), strict=True))
    first, second = pair.first, pair.second or "the others"
    chosen = _choose(inputs, Readings.of(scores), weights)
    if chosen is None:
        missing = f"No answer of {first} was read whose tokens are known."
        return Section("along", _TITLE, missing=missing)
    table = by_sentence([chosen])
    form = number(inputs.digits, signed=True)
    columns = (
        Column("text", "sentence"),
        Column("after", "reward after it", form),
        Column("change", "change", form),
    )
    named = table.assign(text=table["text"].where(table["text"] != "", "(end of the conversation)"))
    own = "in units of the model's own rewards"
    which = f"the answer {chosen.variant!r} to the item {chosen.item!r}, read by {chosen.model}"
    picture = inputs.picture(
        "along",
        lambda: along.plot_along(
            scores, item=chosen.item, variant=chosen.variant, model=chosen.model
        ),
        f"Heat strip: {which}; each token is coloured by what it changes in the reward. Below, the "
        "reward after each token. The table has it by sentences.",
        f"{sentence(which)}: each token on the colour of what it changes in the reward, "
        f"and below the reward of a conversation that ended there ({own}).",
    )
    return Section(
        "along",
        _TITLE,
        paragraphs=(
            f"{_which_item(inputs)}, the answer one of {first}, and the model, of those that read "
            f"it, the one whose scores of {first} and of {second} are furthest apart there, in SDs "
            "of its scores. It was chosen for that, and shows where in an answer a reward may "
            "change; it is no evidence of what models do in general.",
        ),
        tables=(Table("along", f"The reward sentence by sentence ({own}).", named, columns),),
        picture=picture,
    )


def _which_item(inputs: ReportInputs) -> str:
    """Say how the item was found; without a table of items it is no extreme."""
    if inputs.words is None:
        return "The item is the first that was read token by token"
    return (
        "The item is, of those read token by token, the one whose difference is furthest from zero"
    )


def _choose(
    inputs: ReportInputs, readings: Readings, weights: Mapping[str, float]
) -> Answer | None:
    """Find the answer whose item and model lean most, among those that were read."""
    fit, scores = inputs.fit, readings.scores
    names, group = groups_of_variants(scores, str(fit.settings["by"]))
    of_first = [k for k, name in enumerate(names) if weights.get(name, 0.0) > 0]
    readable = readings.located & np.isin(group, of_first)
    place = {
        dim: {str(name): k for k, name in enumerate(scores[dim].to_numpy().tolist())}
        for dim in ("model", "item")
    }
    ordered = inputs.words["item"] if inputs.words is not None else fit.data["prompt"].to_numpy()
    models = [str(name) for name in fit.data["model"].to_numpy().tolist()]
    for item in ordered.tolist():
        if item not in place["item"]:
            continue
        values = fit.data["score"].sel(prompt=item, response=list(weights)).to_numpy()
        leans = values @ np.array(list(weights.values())) / fit.data[SCORE_SD].to_numpy()
        for m in np.argsort(-np.abs(leans), kind="stable"):
            if models[m] not in place["model"]:
                continue
            found = readable[place["model"][models[m]], place["item"][item]]
            if found.any():
                variant = str(scores["variant"].to_numpy()[np.argmax(found)])
                return readings.one(models[m], item, variant)
    return None
