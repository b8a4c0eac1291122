"""Compare each file with its checksum, for every kind of file that valuebias writes."""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valuebias._core.foreign import reading
from valuebias._core.sums import (
    SUM,
    DamagedError,
    archive_is_whole,
    folder_is_whole,
    read_array,
    read_json,
    sum_of,
)
from valuebias.errors import ValueBiasError

__all__ = ["LEAVES", "Findings", "is_zarr", "look_at_folder", "look_at_zarr"]

_OLDER = "it was written by an earlier version, which wrote no checksums"
_OWN = "valuebias did not write it, or an earlier version did, which wrote no checksums"
_AGAIN = "Copy it again, or make it again."
_EXPORT = "valuebias.json"
"""The description of an exported ONNX model."""


@dataclass(slots=True)
class Findings:
    """The state of the files looked at so far."""

    n_files: int = 0  # n_files, n_bytes: how many are intact
    n_bytes: int = 0
    # File, ``"damaged"`` or ``"missing"``, and how, or its contents.
    bad: list[tuple[Path, str, str]] = field(default_factory=list)
    # Files without checksums, and why.
    unsummed: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # further remarks
    # Kinds of what was checked: ``"store"``, ``"fit"`` and so on.
    kinds: set[str] = field(default_factory=set)

    def fine(self, path: Path, size: int | None = None) -> None:
        """Count an intact file."""
        self.n_files += 1
        self.n_bytes += path.stat().st_size if size is None else size

    def vouched(self, path: Path, summed: object, why: str) -> None:
        """Count a file that is as its sums say, if it has some."""
        if summed:
            self.fine(path)
        else:
            self.unsummed.append((path, why))

    def compare(self, path: Path, known: str, of: str = "") -> None:
        """Compare a file with its sum."""
        content = self.content(path, of)
        if content is not None:
            self.tell(path, sum_of(content) == known, len(content), of)

    def content(self, path: Path, of: str = "") -> bytes | None:
        """Read a file; record one that is missing or cannot be read."""
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self.bad.append((path, "missing", of))
        except OSError as error:
            self.bad.append((path, "damaged", f"{error.strerror}{', ' if of else ''}{of}"))
        return None

    def tell(self, path: Path, right: bool, size: int, of: str = "") -> None:
        """Record the result of a comparison."""
        if right:
            self.fine(path, size)
        else:
            self.bad.append((path, "damaged", of))

    @contextmanager
    def damage_noted(self, path: Path) -> Iterator[None]:
        """Record any error in reading a file as its damage."""
        try:
            with warnings.catch_warnings(), reading(path, advice=_AGAIN):
                warnings.simplefilter("ignore")
                yield
        except ValueBiasError as error:
            self.bad.append((path, "damaged", str(error)))


# --- folders of Zarr: stores, datasets, fits -----------------------------------------------------


def is_zarr(folder: Path) -> bool:
    """Whether a folder looks like a Zarr folder, even with files missing."""
    names = (".zmetadata", ".zgroup", "zarr.json")
    return folder.suffix == ".zarr" or any((folder / name).exists() for name in names)


def look_at_zarr(folder: Path, findings: Findings) -> None:
    """Look at a store, a dataset or a fit."""
    from valuebias._core.opening.zarr_folders import check_zarr
    from valuebias._core.zarr_records import RECORD
    from valuebias.scoring.store import LAZY

    before = len(findings.bad)
    with findings.damage_noted(folder):
        # Rejects what must not be opened: a pipe, a folder that links to itself.
        check_zarr(folder, lazily=LAZY)
    refused = len(findings.bad) > before
    if refused and not all(path.is_dir() or path.is_file() for path in folder.rglob("*")):
        return
    if (folder / RECORD).exists() or (folder / "score").is_dir():
        look: Callable[[Path, Findings], None] = _look_at_group
    elif _is_fit(folder):
        look = _look_at_fit
    elif _holds_groups(folder):
        look = _look_at_vocabularies
    else:
        findings.unsummed.append((folder, _OWN))
        return
    # What is damaged is named file by file.
    del findings.bad[before:]
    look(folder, findings)


def _is_fit(folder: Path) -> bool:
    """Distinguish a fit of an earlier version, without a record, from a store of groups."""
    from valuebias._core.zarr_records import metadata_of

    try:
        return _kind(metadata_of(folder, ".zattrs")) == "fit"
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _holds_groups(folder: Path) -> bool:
    from valuebias.scoring.store import groups_of

    try:
        return bool(groups_of(folder))
    except (ValueBiasError, OSError, ValueError):
        return any((entry / "score").is_dir() for entry in folder.iterdir())


def _look_at_vocabularies(folder: Path, findings: Findings) -> None:
    """Look at a store of whole vocabularies: one group per model."""
    from valuebias.scoring.store import attrs_of, groups_of

    findings.kinds.add("store")
    for name in (".zgroup", ".zattrs"):
        content = findings.content(folder / name)
        if content is None:
            continue
        try:
            attrs = json.loads(content)
            right = attrs == {"zarr_format": 2} if name == ".zgroup" else bool(attrs_of(folder))
        except (ValueError, RecursionError):
            attrs, right = {}, False
        if right and name == ".zattrs" and SUM not in attrs:
            findings.unsummed.append((folder / name, _OLDER))
        else:
            findings.tell(folder / name, right, len(content))
    try:
        names = groups_of(folder)
    except (ValueBiasError, OSError, ValueError):
        names = sorted(p.name for p in folder.iterdir() if (p / "score").is_dir())
    for name in names:
        if (folder / name).is_dir():
            _look_at_group(folder / name, findings)
        else:
            findings.bad.append((folder / name, "missing", "with all scores of one model"))


def _look_at_group(folder: Path, findings: Findings) -> None:
    from valuebias._core.zarr_records import RECORD, read_record, same_as_recorded

    try:
        record = read_record(folder)
    except DamagedError:
        state = "damaged" if (folder / RECORD).exists() else "missing"
        findings.bad.append((folder / RECORD, state, "the record of all other files"))
        if any(folder.glob("score/.finished.*")):
            _look_at_blocks(folder, findings)
        return
    if record is None:
        _look_at_older(folder, findings)
        return
    findings.kinds.add("store" if record.blocks else _kind(record.attrs))
    content = findings.content(folder / RECORD)
    findings.fine(folder / RECORD, len(content or b""))
    for key in [*record.metadata, *(key for key in record.sums if key not in record.metadata)]:
        # After a kill the record holds the contents of files still to be written.
        content = b"" if key in record.pending else findings.content(folder / key)
        if content is not None and key not in record.pending:
            findings.tell(folder / key, same_as_recorded(record, key, content), len(content))
    if record.blocks:
        _look_at_blocks(folder, findings)


def _kind(attrs: dict[str, Any]) -> str:
    return "fit" if str(attrs.get("format", "")).startswith("valuebias-") else "dataset"


def _look_at_older(folder: Path, findings: Findings) -> None:
    """Look at a folder without a record: scores still have marks, and a fit a digest."""
    from valuebias._core.zarr_records import metadata_of

    attrs: dict[str, Any] = {}
    if (folder / ".zattrs").exists():
        with findings.damage_noted(folder / ".zattrs"):
            attrs = metadata_of(folder, ".zattrs")
    if _kind(attrs) == "fit":
        _look_at_fit(folder, findings)
        return
    blocks = any(folder.glob("score/.finished.*"))
    findings.kinds.add("store" if blocks else "dataset")
    findings.unsummed.append((folder, f"{_OWN}{' but of scores' if blocks else ''}"))
    if blocks:
        _look_at_blocks(folder, findings)


def _look_at_blocks(folder: Path, findings: Findings) -> None:
    """Look at scores written block by block, each with a mark that has its sums."""
    from valuebias._core.zarr_records import RECORD, OtherStoreError, marked, owners

    findings.kinds.add("store")
    names, n_blocks = _models(folder)
    of_models = owners(folder)
    marks = sorted(folder.glob("score/.finished.*"))
    elsewhere = 0
    for mark in marks:
        block = mark.name.removeprefix(".finished.")
        row = block.partition(".")[0]
        name = names[int(row)] if row.isdigit() and int(row) < len(names) else ""
        of = f"scores of {name!r}" if name else "scores"
        try:
            sums = marked(folder, block, of_models) or {}
        except OtherStoreError:
            elsewhere += 1
            findings.bad.append((mark, "damaged", f"of other scores than {RECORD!r} describes"))
            continue
        except DamagedError:
            findings.bad.append((mark, "damaged", of))
            continue
        for key, known in sums.items():
            findings.compare(folder / key, known, of)
    if elsewhere and elsewhere == len(marks):
        findings.notes.append(
            f"No scores in {str(folder)!r} are those that {RECORD!r} describes: it seems to be the "
            "record of another store. Copy the right one there; all else may be whole."
        )
    if n_blocks > len(marks):
        findings.notes.append(
            f"{str(folder)!r} is unfinished: {n_blocks - len(marks)} of {n_blocks} blocks of "
            "scores are missing. Run the same call again to continue."
        )


def _models(folder: Path) -> tuple[list[str], int]:
    """Name the models of a group, and count its blocks when finished."""
    from valuebias._core.zarr_records import metadata_of
    from valuebias.scoring.sharing import Share
    from valuebias.scoring.store import provenance_of

    try:
        header = metadata_of(folder, "score/.zarray")
        provenance = provenance_of(folder)
        names = [str(entry["name"]) for entry in provenance["models"]]
        pairs = zip(header["shape"], header["chunks"], strict=True)
        each = [-(-int(size) // int(chunk)) for size, chunk in pairs]
        n_blocks = math.prod(each)
        share = Share.recorded(provenance)
        if share is not None:
            n_blocks = sum(len(share.rows(name)) for name in names) * each[2]
    except (ValueBiasError, OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return [], 0
    return names, n_blocks


# --- files ---------------------------------------------------------------------------------------


def _look_at_fit(path: Path, findings: Findings) -> None:
    from valuebias.posterior.saved import load_saved

    findings.kinds.add("fit")
    with findings.damage_noted(path):
        load_saved(path)
        size = sum(p.stat().st_size for p in path.rglob("*")) if path.is_dir() else None
        findings.fine(path, size)


def _look_at_netcdf(path: Path, findings: Findings, *, explicit: bool) -> None:
    import h5py

    from valuebias._core.opening.hdf5_bytes import check_bytes
    from valuebias._core.opening.hdf5_files import check_hdf5
    from valuebias.io import read
    from valuebias.io.files import SUM_OF_CONTENT

    names: set[str] = set()
    before = len(findings.bad)
    with findings.damage_noted(path):
        check_bytes(path)
        with path.open("rb") as handle, h5py.File(handle) as file:
            check_hdf5(file, path)
            names = {str(name) for name in file.attrs}
    if len(findings.bad) > before:
        return
    if {"format", "sha256"} <= names:
        _look_at_fit(path, findings)
    elif names & {SUM_OF_CONTENT, "schema"}:
        findings.kinds.add("dataset")
        with findings.damage_noted(path):
            read(path)
            findings.vouched(path, SUM_OF_CONTENT in names, _OLDER)
    elif explicit:
        findings.unsummed.append((path, _OWN))


def _look_at_parquet(path: Path, findings: Findings, *, explicit: bool) -> None:
    from valuebias.io import read
    from valuebias.io.long import described_by

    description: dict[str, Any] | None = None
    with findings.damage_noted(path):
        description = described_by(path)
        if description is not None:
            read(path)
            findings.vouched(path, "sum" in description, _OLDER)
        elif explicit:
            findings.unsummed.append((path, _OWN))
        findings.kinds.add("dataset")


def _look_at_csv(path: Path, findings: Findings, *, explicit: bool) -> None:
    from valuebias.io import read

    side = path.with_name(f"{path.name}.json")
    if side.exists():
        findings.kinds.add("dataset")
        with findings.damage_noted(path):
            read(path)
            findings.fine(path)
            findings.fine(side)
    elif explicit:
        findings.kinds.add("dataset")
        findings.unsummed.append((path, f"there is no {side.name!r} beside it, which has its sum"))


def _look_at_array(path: Path, findings: Findings, *, explicit: bool) -> None:
    if path.parent.name != "features":
        if explicit:
            findings.unsummed.append((path, _OWN))
        return
    findings.kinds.add("study")
    with findings.damage_noted(path):
        findings.vouched(path, read_array(path)[1], _OWN)


def _look_at_archive(path: Path, findings: Findings, *, explicit: bool) -> None:
    """Look at a head or a checkpoint."""
    ours = path.parent.name == "heads" or path.parent.parent.name == "runs"
    if not (explicit or ours):
        return
    findings.kinds.add("study")
    with findings.damage_noted(path), zipfile.ZipFile(path) as archive:
        whole = archive_is_whole(path, archive.comment)
        if whole is False or archive.testzip() is not None:
            raise ValueError("it does not hold what was written")
        findings.vouched(path, whole, f"{_OLDER} but of single arrays")


def _look_at_json(path: Path, findings: Findings, *, explicit: bool) -> None:
    if path.name.endswith(".csv.json"):
        table = path.with_suffix("")
        if not table.exists():
            findings.bad.append((table, "missing", f"{path.name!r} describes it"))
        elif explicit:
            _look_at_csv(table, findings, explicit=explicit)
    elif path.name == "done.json" and path.parent.parent.name == "runs":
        findings.kinds.add("study")
        with findings.damage_noted(path):
            findings.vouched(path, SUM in read_json(path), _OLDER)
    elif explicit:
        raise ValueBiasError(f"{str(path)!r} is not a file that valuebias checks.")


def look_at_folder(folder: Path, findings: Findings) -> bool:
    """Look at a folder with a list of its files; return whether it is one."""
    from valuebias.reproduction.record import RECORD, read_record

    if (folder / RECORD).is_file():
        findings.kinds.add("reproduction")
        with findings.damage_noted(folder / RECORD):
            entries = read_record(folder, "christian2026")
            findings.fine(folder / RECORD)
            for entry in entries.values():
                for name, known in entry.files.items():
                    findings.compare(folder / name, known, entry.title)
        return True
    if (folder / _EXPORT).is_file():
        _look_at_export(folder, findings)
        return True
    vouched, damaged = folder_is_whole(folder)
    for name in damaged:
        state = "damaged" if (folder / name).exists() else "missing"
        findings.bad.append((folder / name, state, ""))
    if vouched and not damaged:
        for path in folder.rglob("*"):
            if path.is_file():
                findings.fine(path)
    return vouched


def _look_at_export(folder: Path, findings: Findings) -> None:
    """Look at a model's ONNX file and the files beside it, of any version."""
    findings.kinds.add("export")
    with findings.damage_noted(folder / _EXPORT):
        entries = read_json(folder / _EXPORT)["files"]
        if any(Path(name).name != name for name in entries):
            raise ValueError("a file is outside the folder")
        findings.fine(folder / _EXPORT)
        for name, known in entries.items():
            findings.compare(folder / name, known)


LEAVES: dict[str, Callable[..., None]] = {
    ".nc": _look_at_netcdf,
    ".parquet": _look_at_parquet,
    ".csv": _look_at_csv,
    ".npy": _look_at_array,
    ".npz": _look_at_archive,
    ".json": _look_at_json,
}
"""Checks of a file by suffix; `explicit`: the user named this file, not a folder around it."""
