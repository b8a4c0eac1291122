"""A preregistered analysis: what was to be fitted and concluded, and what departs from it."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from valuebias._core.numbers import is_finite, plain_numbers
from valuebias._core.tables import read_yaml
from valuebias.analysis.design.noise import read_tails
from valuebias.analysis.design.priors import as_prior
from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.weights import Contrast, category_contrasts, store_contrast
from valuebias.analysis.notes import Note, as_records
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, shown
from valuebias.posterior.decisions import DECIDED, check_decision, judge_decision

if TYPE_CHECKING:
    import xarray as xr

    from valuebias.posterior.posterior import Posterior

__all__ = ["DEFAULTS", "Prereg", "describe_registration", "judge", "read_prereg", "register"]

SETTINGS = ("formula", "outcome", "words", "base", "spread", "family", "residual",
            "heavy_tails", "prior", "contrast")  # fmt: skip
"""What of a fit may be registered."""
DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(SETTINGS), "outcome": "normal", "base": "base", "family": "gaussian",
}  # fmt: skip
"""What holds where nothing is given or registered."""
_KEYS = (*SETTINGS, "pair", "rope", "decision")


@dataclass(frozen=True)
class Prereg:
    """A registered analysis."""

    settings: Mapping[str, Any]  # of :data:`SETTINGS`, those that were registered
    pair: tuple[str, str] | None
    rope: float | None
    decision: str  # such as "p_positive >= 0.975"; empty if there is none
    sha256: str = field(default="")  # of the file

    def merge(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all settings: what the user gave counts, then what is registered."""
        return {**DEFAULTS, **self.settings, **given}

    def entries(self) -> dict[str, Any]:
        """Return everything that is registered, as JSON would have it."""
        settings = {name: _plain(value) for name, value in self.settings.items()}
        if "contrast" in settings:
            settings["contrast"] = store_contrast(settings["contrast"])
        rest: dict[str, Any] = {
            "pair": None if self.pair is None else list(self.pair),
            "rope": self.rope,
            "decision": self.decision or None,
        }
        return settings | {name: value for name, value in rest.items() if value is not None}


def read_prereg(source: str | PathLike[str] | Mapping[str, Any]) -> Prereg:
    """Read a registered analysis from a YAML file, or a mapping."""
    if isinstance(source, Mapping):
        content, digest = source, ""
    elif not isinstance(source, str | os.PathLike):
        raise ValueBiasError(
            "prereg must be the path of a YAML file, or a mapping such as {'formula': '~ family'}; "
            f"found {shown(source)}."
        )
    else:
        path = Path(source)
        content = read_yaml(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not isinstance(content, Mapping) or not content:
        raise ValueBiasError(
            f"a preregistration maps settings to values, such as 'formula: ~ family'; found "
            f"{shown(content)}."
        )
    for name in content:
        if name not in _KEYS:
            raise ValueBiasError(
                f"the preregistration has the entry {shown(name)}. "
                f"{did_you_mean(name, sorted(_KEYS))}"
            )
    pair, rope = content.get("pair"), content.get("rope")
    if pair is not None and not (isinstance(pair, list | tuple) and len(pair) == 2):
        raise ValueBiasError(
            f"pair of the preregistration must be two levels, found {shown(pair)}."
        )
    if rope is not None and not (is_finite(rope) and rope >= 0):
        raise ValueBiasError(
            f"rope of the preregistration must be a number of zero or more, found {shown(rope)}."
        )
    decision = content.get("decision") or ""
    if decision:
        check_decision(decision)
    settings = {name: plain_numbers(content[name]) for name in SETTINGS if name in content}
    if isinstance(settings.get("contrast"), list):
        settings["contrast"] = tuple(settings["contrast"])
    chosen = None if pair is None else (str(pair[0]), str(pair[1]))
    return Prereg(settings, chosen, None if rope is None else float(rope), decision, digest)


def register(fit: Posterior, registered: Prereg, given: Mapping[str, Any]) -> Posterior:
    """Keep a registration with its fit, and note what departs from it.

    ``given`` are the settings that the user gave beside the registration.
    """
    departures = _given_departures(fit, registered, given)
    rope = registered.rope
    if rope is not None:
        before = describe(registered.settings.get("outcome") or DEFAULTS["outcome"]).unit
        now = describe(fit.settings["outcome"]).unit
        if before != now:
            departures.append(
                f"rope is 0.05 of the outcome's SD, registered was {rope:g} {before}, which says "
                f"nothing of {now}"
            )
            rope = None
    if registered.decision and registered.pair is None and fit.focus.largest:
        departures.append(
            "no pair was registered, so that the rule is judged on the largest of several "
            "differences, which the data chose"
        )
    notes = fit.notes
    if departures:
        text = f"This fit departs from its preregistration: {'; '.join(departures)}."
        notes.insert(0, Note("departure", text, text, first=True))
        warnings.warn(text, ValueBiasWarning, stacklevel=3)
    view = fit.focused(pair=registered.pair)
    front = view.contrast_draws.isel(estimand=0)
    compares = str(front["form"].item()) == DIFFERENCE
    weights = next(iter(view.categories.values()))
    kept = {
        "settings": registered.entries(),
        "rope": rope,
        "decision": registered.decision,
        "sha256": registered.sha256,
        "departures": departures,
        "question": {
            "pair": [str(front[side].item()) for side in ("first", "second")] if compares else None,
            "contrast": dict(
                zip(view.problem.crossing.categories, map(float, weights), strict=True)
            ),
            "name": str(front["name"].item()),
            "category": str(front["category"].item()),
        },
    }
    view.settings = {**view.settings, "notes": as_records(notes), "prereg": kept}
    return view


def _given_departures(fit: Posterior, registered: Prereg, given: Mapping[str, Any]) -> list[str]:
    """Say in words where what the user gave is not what is registered, or the default."""
    departures = []
    for name, value in given.items():
        before = registered.settings.get(name, DEFAULTS[name])
        if _meaning(fit, name, value) == _meaning(fit, name, before):
            continue
        was = f"registered was {_plain(before)!r}"
        if name not in registered.settings:
            was = "which was not registered"
        departures.append(f"{name} is {shown(value)}, {was}")
    return departures


def _meaning(fit: Posterior, name: str, value: Any) -> Any:
    """Return what a setting means for these data, so that two ways to write it are the same."""
    if name == "formula" and value is None:
        several = len(np.unique(fit.data["family"].to_numpy())) > 1
        value = "~ family" if several else "~ 1"
    if name in ("formula", "words") and isinstance(value, str):
        return re.sub(r"\s+", "", value).removeprefix("~")
    if name == "contrast":
        contrast: Contrast | None = value
        known = category_contrasts(fit.problem.crossing.categories, contrast)
        return [weights.tolist() for weights in known.values()]
    if name == "heavy_tails":
        return read_tails(value)
    return as_prior(value) if name == "prior" else _plain(value)


def judge(fit: Posterior) -> str:
    """Say whether the registered decision rule is met; empty where none was registered.

    On the registered question, whatever stands in front.
    """
    registered = fit.settings.get("prereg") or {}
    rule = registered.get("decision")
    if not rule:
        return ""
    question = registered["question"]
    departs = _front_departs(fit)
    asked = fit
    if departs:
        asked = fit.focused(
            pair=question["pair"], by=[], at={}, contrast=question["contrast"], framing="signed"
        )
    row = asked.contrasts().iloc[0]
    draws = asked.contrast_draws.isel(estimand=0)
    values = {name: float(row[name]) for name in DECIDED if name in row}
    values["p_positive"] = float((draws > 0).mean())
    on = (
        f" judged on {question['name']} in {question['category']} as registered," if departs else ""
    )
    return f"The registered rule, {rule},{on} {judge_decision(rule, values)}."


def _front_departs(fit: Posterior) -> list[str]:
    """Say where the question in front is another than the registered one."""
    question = fit.settings["prereg"]["question"]
    front: xr.DataArray = fit.contrast_draws.isel(estimand=0)
    name, category, at = (str(front[part].item()) for part in ("name", "category", "at"))
    departs = []
    if name != question["name"]:
        departs.append(f"{name} instead of {question['name']}")
    weights = next(iter(fit.categories.values()))
    registered = [question["contrast"][one] for one in fit.problem.crossing.categories]
    if not np.allclose(weights, registered):
        departs.append(f"{category} instead of {question['category']}")
    if at or fit.focus.at or fit.focus.by:
        where = at or ", ".join([*fit.focus.by, *fit.focus.at])
        departs.append(f"models with {where} instead of all")
    if fit.focus.framing:
        departs.append(f"{fit.focus.framing} prompts instead of all")
    return departs


def describe_registration(fit: Posterior) -> str:
    """Say what was registered, whether the fit keeps to it, and whether what is shown does."""
    registered = fit.settings["prereg"]
    entries = ", ".join(f"{name} {value!r}" for name, value in registered["settings"].items())
    digest = f" (SHA-256 {registered['sha256'][:16]}…)" if registered["sha256"] else ""
    front = _front_departs(fit)
    departures = registered["departures"]
    kept = f"The fit departs from that: {'; '.join(departures)}." if departures else ""
    if front:
        kept = f"{kept} What stands in front here departs from that: {'; '.join(front)}."
    return f"The analysis was registered{digest}: {entries}. {kept.strip() or 'It keeps to that.'}"


def _plain(value: Any) -> Any:
    """Return a setting as JSON would have it, to compare."""
    if isinstance(value, tuple | list):
        return list(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return value.item() if isinstance(value, np.generic) else value
