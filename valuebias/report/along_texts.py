"""One answer of a report, token by token, where rewards were read along answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from valuebias.analysis.along.readings import Answer, Readings
from valuebias.analysis.along.sentences import by_sentence
from valuebias.errors import ValueBiasError, shown
from valuebias.plots import along
from valuebias.posterior.ablation.result import AblationPosterior
from valuebias.report.content import Column, Section, Table, number, sentence

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior
    from valuebias.report.inputs import ReportInputs

__all__ = ["along_section", "check_along"]

_TITLE = "An answer, token by token"


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


def along_section(inputs: ReportInputs, scores: xr.Dataset) -> Section:
    """Show what changes the reward within an answer of the item that differs most."""
    first = str(inputs.headline.row["over"])
    chosen = _choose(inputs, Readings.of(scores), first)
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
    shown = table.assign(text=table["text"].where(table["text"] != "", "(end of the conversation)"))
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
            f"The item is the one whose difference is furthest from zero, the answer one of "
            f"{first}, and the model the one in which that difference is largest. It was chosen "
            "for that, and shows where in an answer a reward may change; it is no evidence of what "
            "models do in general.",
        ),
        tables=(Table("along", f"The reward sentence by sentence ({own}).", shown, columns),),
        picture=picture,
    )


def _choose(inputs: ReportInputs, readings: Readings, first: str) -> Answer | None:
    """Find the answer whose item and model lean most, among those that were read."""
    fit, scores = inputs.fit, readings.scores
    data = fit.data
    items = inputs.words["item"].tolist() if inputs.words is not None else []
    known = set(scores["item"].to_numpy().tolist())
    own = [name for name in items or data["prompt"].to_numpy().tolist() if name in known]
    by = str(fit.settings["by"])
    for item in own:
        values = data["score"].sel(prompt=item)
        over = values.sel(response=data["membership"].sel(category=first).to_numpy())
        gaps = (over.mean("response") - values.mean("response")) / values["score_sd"]
        order = np.argsort(-np.abs(gaps.to_numpy()), kind="stable")
        for model in data["model"].to_numpy()[order].tolist():
            for answer in readings.answers(model=model, item=item):
                labels = scores[by].sel(variant=answer.variant)
                if "item" in labels.dims:
                    labels = labels.sel(item=item)
                if str(labels.item()) == first and answer.ends is not None:
                    return answer
    return None
