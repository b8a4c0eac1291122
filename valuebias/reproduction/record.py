"""The record of each item of a reproduction, and whether it still holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from valuebias._core.atomic import atomic_path
from valuebias._core.foreign import read_json, reading
from valuebias._core.provenance import sha256, versions
from valuebias._core.sums import SUM, json_sum, sealed
from valuebias.errors import ValueBiasError

__all__ = [
    "RECORD",
    "Entry",
    "by_reason",
    "fingerprint",
    "read_record",
    "write_if_changed",
    "write_record",
]

RECORD = "reproduction.json"
_FORMAT = "valuebias-reproduction/1"
_STATES = ("made", "missing", "failed")


@dataclass(frozen=True, slots=True)
class Entry:
    """The record of one item."""

    name: str  # name, title: of the item
    title: str
    state: str  # whether it exists; lacks data; or failed
    reason: str = ""  # why it does not exist
    notes: list[str] = field(default_factory=list)  # notes for the reader
    # File, from the reproduction's folder, to SHA-256.
    files: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)  # file that it was made from to SHA-256
    settings: dict[str, int] = field(default_factory=dict)  # the settings that it depends on
    packages: dict[str, str] = field(default_factory=dict)  # versions of the packages that made it
    date: str = ""  # when it was made
    fingerprint: str = ""  # hash of inputs, settings and version; empty if nothing was made

    def is_intact(self, folder: Path) -> bool:
        """Whether all files exist as they were written."""
        return bool(self.files) and all(
            (folder / name).is_file() and sha256(folder / name) == expected
            for name, expected in self.files.items()
        )


def by_reason(entries: Iterable[Entry]) -> list[tuple[str, str, list[Entry]]]:
    """Group the items that were not made by reason."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.state != "made":
            groups.setdefault((entry.state, entry.reason), []).append(entry)
    return [(state, reason, group) for (state, reason), group in groups.items()]


def fingerprint(name: str, inputs: Mapping[str, str], settings: Mapping[str, int]) -> str:
    """Hash everything that an item depends on, including the package's version."""
    whole = [name, versions().get("valuebias", ""), dict(inputs), dict(settings)]
    text = json.dumps(whole, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def read_record(folder: Path, paper: str) -> dict[str, Entry]:
    """Read the record of an earlier run."""
    path = folder / RECORD
    if not path.exists():
        return {}
    advice = "Remove it to make everything again, or choose another folder."
    because = "it is damaged or was not written by valuebias"
    stored = read_json(path, advice=advice, because=because)
    with reading(path, because=because, advice=advice):
        if stored.get(SUM, json_sum(stored)) != json_sum(stored):
            raise ValueError("its contents differ from what was written")
        header = str(stored["paper"]), str(stored["format"])
        entries = {entry["name"]: _checked(Entry(**entry)) for entry in stored["items"]}
        if len(entries) < len(stored["items"]):
            raise ValueError("an item occurs twice")
    if header != (paper, _FORMAT):
        raise ValueBiasError(
            f"{str(path)!r} is of {header[0][:60]!r} in the format {header[1][:60]!r}; expected "
            f"{paper!r} and {_FORMAT!r}. Choose another folder."
        )
    return entries


def _checked(entry: Entry) -> Entry:
    """Check the types of an entry, and that its files lie in the folder."""
    texts = (entry.name, entry.title, entry.state, entry.reason, entry.date, entry.fingerprint)
    fine = all(isinstance(text, str) for text in (*texts, *entry.notes))
    for content in (entry.files, entry.inputs, entry.packages):
        fine = fine and all(isinstance(text, str) for pair in content.items() for text in pair)
    if not fine or entry.state not in _STATES or not isinstance(entry.notes, list):
        raise TypeError("an item has a field of another type")
    if not all(type(value) is int for value in entry.settings.values()):
        raise TypeError("a setting is not a whole number")
    for name in entry.files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise ValueError("a file is outside the folder")
    return entry


def write_record(folder: Path, paper: str, entries: Mapping[str, Entry]) -> None:
    """Write the record of all items so far."""
    items = [asdict(entry) for entry in entries.values()]
    whole: dict[str, Any] = {"format": _FORMAT, "paper": paper, "items": items}
    write_if_changed(folder / RECORD, json.dumps(sealed(whole), indent=1) + "\n")


def write_if_changed(path: Path, text: str) -> None:
    """Write a text file whole, unless it already has this content."""
    content = text.encode("utf-8")
    if path.is_file() and path.read_bytes() == content:
        return
    with atomic_path(path) as part:
        part.write_bytes(content)
