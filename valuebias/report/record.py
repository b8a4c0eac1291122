"""The sections on how the numbers were produced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from valuebias.report.content import Column, Section, Table
from valuebias.report.inputs import ReportInputs
from valuebias.report.methods import dataset_provenance, methods_text, reproduce

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = [
    "listed",
    "methods_section",
    "prior_table",
    "provenance_section",
    "provenance_table",
    "reproduce_section",
    "reproduction",
]

_SETTINGS = ("formula", "outcome", "family", "residual", "heavy_tails", "contrast", "sampler",
             "chains", "draws", "tune", "seed", "path", "n_missing", "dropped_words", "by",
             "dropped_items")  # fmt: skip


def methods_section(inputs: ReportInputs) -> Section:
    """Describe what was done, with the priors."""
    fit = inputs.fit
    return Section("methods", "Methods", methods_text(fit), tables=(prior_table(fit),))


def prior_table(fit: Posterior) -> Table:
    """List the priors."""
    columns = (
        Column("parameter", "parameter"),
        Column("prior", "prior"),
        Column("meaning", "meaning"),
    )
    caption = "Priors, in units of the outcome."
    return Table("priors", caption, fit.priors().reset_index(), columns)


def provenance_section(inputs: ReportInputs) -> Section:
    """List versions, seed, hashes and settings."""
    return Section("provenance", "Provenance", tables=(provenance_table(inputs.fit),))


def provenance_table(fit: Posterior) -> Table:
    """List what went into a fit."""
    data = dataset_provenance(fit)
    rows = [("fit", name, fit.settings.get(name)) for name in _SETTINGS]
    rows += [("fit", key, fit.provenance[key]) for key in ("date", "python", "platform")
             if key in fit.provenance]  # fmt: skip
    rows += [("fit", f"{name} version", version)
             for name, version in fit.provenance.get("packages", {}).items()]  # fmt: skip
    scores = fit.data["score"].to_numpy()
    rows.append(
        ("data", "SHA-256 of the scores as fitted", hashlib.sha256(scores.tobytes()).hexdigest())
    )
    for part in ("dataset", "lexicon", "prompts"):
        entry = data.get(part)
        if isinstance(entry, Mapping):
            rows += [("data", f"{part} {key}", _text(value)) for key, value in entry.items()]
    rows += [("data", key, _text(data[key])) for key in ("date", "simulated", "by") if key in data]
    files = data.get("files")
    for file in files if isinstance(files, list) else []:
        rows.append(("file", file.get("name"), f"SHA-256 {file.get('sha256')}"))
    rows = [row for row in rows if row[2] not in (None, "", "[]")]
    return listed(rows)


def listed(rows: Sequence[tuple[str, object, object]]) -> Table:
    """Make a table of values with what they describe."""
    table = pd.DataFrame(rows, columns=["of", "what", "value"])
    table["value"] = table["value"].map(_text)
    columns = (Column("of", "of"), Column("what", "what"), Column("value", "value"))
    return Table("provenance", "What went into the numbers.", table, columns)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(entry) for entry in value) or "[]"
    return str(value)


def reproduce_section(inputs: ReportInputs) -> Section:
    """Give the code that repeats the fit."""
    return reproduction(reproduce(inputs.fit))


def reproduction(code: str) -> Section:
    """Give some code, and say what it gives back."""
    text = (
        "With the versions listed above, the same seed gives the same draws; with others, the same "
        "answer within Monte-Carlo error."
    )
    return Section("reproduce", "How to reproduce", (text,), code=code)
