"""Check that a saved fit has every setting, each of its type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from valuebias.analysis.design.noise import read_noise
from valuebias.errors import ValueBiasError, shown
from valuebias.schema.contract import SIGNS

__all__ = ["SETTINGS_OF_ABLATIONS", "SETTINGS_OF_FITS", "parse_settings"]

_TEXT, _MAYBE, _WHOLE = (str,), (str, type(None)), (int,)
SETTINGS_OF_FITS: Mapping[str, tuple[type, ...]] = {
    "formula": _TEXT, "outcome": _TEXT, "words": _MAYBE, "base": _MAYBE,
    "spread": (bool, type(None)), "contrast": (list, dict, type(None)), "draws": _WHOLE,
    "tune": _WHOLE, "chains": _WHOLE, "seed": _WHOLE, "sampler": _TEXT, "path": _TEXT,
    "n_missing": _WHOLE, "dropped_words": _WHOLE, "notes": (list,),
}  # fmt: skip
"""Type of each setting of :func:`valuebias.fit`."""
SETTINGS_OF_ABLATIONS: Mapping[str, tuple[type, ...]] = {
    "formula": _TEXT, "rope": (float, int), "unit": _TEXT, "framing": _TEXT, "notes": (list,),
    "category": _MAYBE,
}  # fmt: skip
"""The same for :func:`valuebias.fit_ablation`."""


def parse_settings(text: str, wanted: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    """Parse a saved fit's settings.

    Examples
    --------
    >>> parse_settings('{"seed": 1}', {"seed": (int,)})
    {'seed': 1}
    """
    settings = json.loads(text)
    for name, types in wanted.items():
        value = settings.get(name, ...) if isinstance(settings, dict) else ...
        # True is not a number, and not every list is a pair of categories.
        right = type(value) in types
        if right and isinstance(value, list) and name == "contrast":
            right = len(value) == 2 and all(isinstance(one, str) for one in value)
        if right and isinstance(value, dict):
            right = all(type(weight) is float for weight in value.values())
        if not right:
            state = "is missing" if value is ... else f"is {shown(value)}"
            raise ValueBiasError(
                f"The saved fit is damaged, or an earlier version saved it: its setting {name!r} "
                f"{state}. Copy it again, or fit again."
            )
    if wanted is SETTINGS_OF_FITS:
        # Fits of earlier versions had normal residuals of one SD, and normal effects.
        usual = {"family": "gaussian", "residual": None, "heavy_tails": None}
        read_noise(*(settings.setdefault(name, value) for name, value in usual.items()))
        # Nor were they of contrast sets.
        by, left_out = settings.setdefault("by", None), settings.setdefault("dropped_items", 0)
        if not (isinstance(by, str | None) and type(left_out) is int):
            raise ValueBiasError(
                f"The saved fit is damaged: its settings 'by' and 'dropped_items' are {shown(by)} "
                f"and {shown(left_out)}. Copy it again, or fit again."
            )
        settings["focus"] = _focus(settings.get("focus"))
        registered = settings.get("prereg")
        if registered is not None and not (
            isinstance(registered, dict)
            and isinstance(registered.get("decision"), str)
            and isinstance(registered.get("departures"), list)
            and isinstance(registered.get("rope"), float | None)
            and _is_question(registered.get("question"))
        ):
            raise ValueBiasError(
                f"The saved fit is damaged: its setting 'prereg' is {shown(registered)}. Copy it "
                "again, or fit again."
            )
    return dict(settings)


def _is_question(stored: Any) -> bool:
    """Whether this is a question that was registered."""
    return isinstance(stored, dict) and all(
        [
            stored.keys() == {"pair", "contrast", "name", "category"},
            isinstance(stored.get("pair"), list | None),
            isinstance(stored.get("contrast"), dict),
            all(isinstance(stored.get(part), str) for part in ("name", "category")),
        ]
    )


def _focus(stored: Any) -> dict[str, Any]:
    """Check what stands in front of a fit; fits of earlier versions have nothing of the kind."""
    focus = {} if stored is None else stored
    if not isinstance(focus, dict) or not all(
        [
            focus.keys() <= {"pair", "by", "at", "largest", "framing"},
            focus.get("framing") in (None, *SIGNS),
            isinstance(focus.get("at", {}), dict),
            isinstance(focus.get("by", []), list),
            all(isinstance(name, str) for name in [*focus.get("by", []), *focus.get("pair", [])]),
            len(focus.get("pair", ["", ""])) == 2,
        ]
    ):
        raise ValueBiasError(
            f"The saved fit is damaged: its setting 'focus' is {shown(stored)}. Copy it again, or "
            "fit again."
        )
    return focus
