"""Notes that a reader of a result must know: code uses their code, people read their text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_type_hints

from valuebias.errors import ValueBiasError, shown

__all__ = ["Note", "as_notes", "as_records"]


@dataclass(frozen=True)
class Note:
    """One thing that the data at hand cannot tell, or that makes a result less sure than it looks.

    Attributes
    ----------
    code : str
        What kind of note it is, such as ``"one base a family"``; never shown.
    text : str
        A sentence or two for the list of notes.
    headline : str
        A sentence for the headline; empty where the note does not change how that is to be read.
    first : bool
        Whether that sentence goes before the answer, because it qualifies all of it.
    """

    code: str
    text: str
    headline: str = ""
    first: bool = False


_REQUIRED = frozenset({"code", "text"})


def as_records(notes: Iterable[Note]) -> list[dict[str, Any]]:
    """Return notes as plain dicts, for storage."""
    return [asdict(note) for note in notes]


def as_notes(records: Iterable[Mapping[str, Any]]) -> list[Note]:
    """Read notes back from :func:`as_records`."""
    types = get_type_hints(Note)
    notes = []
    for record in records:
        if not isinstance(record, Mapping) or not _REQUIRED <= record.keys() <= types.keys():
            raise ValueBiasError(f"{shown(record)} is not a note of a fit. Fit again.")
        if any(type(value) is not types[name] for name, value in record.items()):
            raise ValueBiasError(f"{shown(record)} is not a note of a fit. Fit again.")
        notes.append(Note(**record))
    return notes
