"""A preregistered analysis: what was to be fitted and concluded, and what departs from it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valuebias._core.tables import read_yaml
from valuebias.analysis.design.expressions import compute
from valuebias.analysis.design.grammar import check_expression
from valuebias.analysis.estimands.weights import store_contrast
from valuebias.analysis.notes import Note, as_records
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, shown
from valuebias.posterior.estimates import read_statement

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["Prereg", "judge", "read_prereg", "register"]

SETTINGS = ("formula", "outcome", "words", "base", "spread", "family", "residual", "prior",
            "contrast")  # fmt: skip
"""What of a fit may be registered."""
_KEYS = {*SETTINGS, "pair", "rope", "decision"}
_DECIDED = ("mean", "median", "lower", "upper", "p_direction", "p_rope", "p_positive")
"""What a rule may name: of the headline's row, and the probability that it is positive."""


@dataclass(frozen=True)
class Prereg:
    """A registered analysis."""

    settings: Mapping[str, Any]  # of :data:`SETTINGS`, those that were registered
    pair: tuple[str, str] | None
    rope: float | None
    decision: str  # such as "p_positive >= 0.975"; empty if there is none
    sha256: str = field(default="")  # of the file

    def resolve(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Merge with what the user gave, which counts; return departures in words as well.

        ``given`` holds only what differs from the defaults.
        """
        settings, departures = dict(self.settings), []
        for name, value in given.items():
            if name in settings and _plain(settings[name]) != _plain(value):
                departures.append(f"{name} is {shown(value)}, registered was {settings[name]!r}")
            elif name not in settings:
                departures.append(f"{name} is {shown(value)}, registered was none")
            settings[name] = value
        return settings, departures


def read_prereg(source: str | PathLike[str] | Mapping[str, Any]) -> Prereg:
    """Read a registered analysis from a YAML file, or a mapping."""
    if isinstance(source, Mapping):
        content, digest = source, ""
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
    number = isinstance(rope, int | float) and not isinstance(rope, bool) and rope >= 0
    if rope is not None and not number:
        raise ValueBiasError(
            f"rope of the preregistration must be zero or more, found {shown(rope)}."
        )
    decision = str(content.get("decision") or "")
    if decision:
        _check_decision(decision)
    settings = {name: content[name] for name in SETTINGS if name in content}
    if isinstance(settings.get("contrast"), list):
        settings["contrast"] = tuple(settings["contrast"])
    chosen = None if pair is None else (str(pair[0]), str(pair[1]))
    return Prereg(settings, chosen, None if rope is None else float(rope), decision, digest)


def register(fit: Posterior, registered: Prereg, departures: list[str]) -> Posterior:
    """Keep a registration with its fit, and note what departs from it."""
    notes = fit.notes
    if departures:
        text = f"This fit departs from its preregistration: {'; '.join(departures)}."
        notes.insert(0, Note("departure", text, text, first=True))
        warnings.warn(text, ValueBiasWarning, stacklevel=3)
    settings = dict(registered.settings)
    if "contrast" in settings:
        settings["contrast"] = store_contrast(settings["contrast"])
    kept = {
        "settings": {name: _plain(value) for name, value in settings.items()},
        "rope": registered.rope,
        "decision": registered.decision,
        "sha256": registered.sha256,
        "departures": departures,
    }
    view = fit.focused(pair=registered.pair)
    view.settings = {**view.settings, "notes": as_records(notes), "prereg": kept}
    return view


def judge(fit: Posterior) -> str:
    """Say whether the registered decision rule is met; empty where none was registered."""
    registered = fit.settings.get("prereg") or {}
    rule = registered.get("decision")
    if not rule:
        return ""
    row = fit.contrasts().iloc[0]
    draws = fit.contrast_draws.isel(estimand=0)
    values = {name: float(row[name]) for name in _DECIDED if name in row}
    values["p_positive"] = float((draws > 0).mean())
    met = all(_holds(part, pd.DataFrame([values])) for part in rule.split(" and "))
    return f"The registered rule, {rule}, is {'met' if met else 'not met'}."


def _holds(rule: str, values: pd.DataFrame) -> bool:
    left, relation, right = read_statement(rule)
    gap = (compute(left, values)[0] - compute(right, values)[0]).item()
    return bool({"<": gap < 0, "<=": gap <= 0, ">": gap > 0, ">=": gap >= 0}[relation])


def _check_decision(decision: str) -> None:
    for part in decision.split(" and "):
        left, relation, right = read_statement(part)
        if relation not in ("<", "<=", ">", ">="):
            raise ValueBiasError(
                "decision of the preregistration must compare, such as 'p_positive >= 0.975', "
                f"found {shown(part)}."
            )
        unknown = sorted((check_expression(left) | check_expression(right)) - {*_DECIDED})
        if unknown:
            raise ValueBiasError(
                f"decision of the preregistration names {shown(unknown[0])}. "
                f"{did_you_mean(unknown[0], _DECIDED)}"
            )


def _plain(value: Any) -> Any:
    """Return a setting as JSON would have it, to compare."""
    if isinstance(value, tuple | list):
        return list(value)
    if hasattr(value, "to_dict"):
        return value.to_dict()
    return value.item() if isinstance(value, np.generic) else value
