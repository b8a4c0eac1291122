"""Zarr folders with a sum for every file, written with them and checked by every reader.

Whoever reads by the record (see :mod:`valuebias._core.zarr_records`) finds the folder as it was or
as it will be, and opens it in one read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import MemoryStore

from valuebias._core.disk import explain_os_errors, write_bytes
from valuebias._core.sums import DamagedError, sum_of
from valuebias._core.zarr_records import (
    MARK,
    RECORD,
    Record,
    advice,
    content_of,
    marked,
    marks_for,
    owners,
    read_record,
    same_as_recorded,
)

__all__ = [
    "CheckedFolder",
    "SummedFolder",
    "commit",
    "damage",
    "files_of",
    "note",
    "open_checked",
]

_METADATA = (".zarray", ".zattrs", ".zgroup")
_BLOCK = re.compile(r"(?:.*/)?(score|token_logprob)/(\d+\.\d+\.\d+)(?:\.\d+)?")


class _Folder(Store):
    """A folder as Zarr sees it; without its threads, which cost more than reading a small file."""

    supports_writes = False
    supports_deletes = False
    supports_listing = True
    supports_partial_writes = False

    def __init__(self, root: Path, *, read_only: bool) -> None:
        super().__init__(read_only=read_only)
        self.root = root

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.root == other.root

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def read(self, key: str) -> bytes | None:
        """Read a file; None where there is none."""
        return content_of(self.root / key)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        content = self.read(key)
        if content is None:
            return None
        match byte_range:
            case RangeByteRequest(start=start, end=end):
                content = content[start:end]
            case OffsetByteRequest(offset=offset):
                content = content[offset:]
            case SuffixByteRequest(suffix=suffix):
                content = content[-suffix:]
        return prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        return self.read(key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse, as Zarr does where a store is for reading."""
        self._check_writable()

    async def delete(self, key: str) -> None:
        """Refuse, as Zarr does where a store is for reading."""
        self._check_writable()

    def _keys(self) -> Iterator[str]:
        for path in self.root.rglob("*"):
            if path.is_file():
                yield path.relative_to(self.root).as_posix()

    async def list(self) -> AsyncIterator[str]:
        for key in self._keys():
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in self._keys():
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        try:
            names = sorted(path.name for path in (self.root / prefix).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            names = []
        for name in names:
            yield name


class SummedFolder(_Folder):
    """A new folder to write to, which notes the sum of every file."""

    supports_writes = True
    supports_deletes = True

    def __init__(self, root: Path) -> None:
        super().__init__(root, read_only=False)
        self.sums: dict[str, str] = {}

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, for Zarr."""
        self.write(key, value.as_numpy_array().data)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a file that is not there, for Zarr."""
        if key not in self.sums:
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Remove a file, for Zarr."""
        if self.sums.pop(key, None) is not None:
            (self.root / key).unlink()

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Write a file."""
        path = self.root / key
        try:
            path.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.sums[key] = sum_of(content)

    def seal(self) -> None:
        """Write the sums, after all else."""
        for key, content in marks_for(self.sums).items():
            self.write(key, content)
        metadata = json.loads((self.root / RECORD).read_bytes())["metadata"]
        sums = {key: known for key, known in sorted(self.sums.items()) if key != RECORD}
        (self.root / RECORD).write_bytes(Record(metadata, sums).to_bytes())


class CheckedFolder(_Folder):
    """A folder to read, in which every file is compared with its sum as it is read.

    Raises
    ------
    DamagedError
        If the record is damaged; or, of a folder that nobody adds to, any of the metadata. While it
        is read: naming the file.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root, read_only=True)
        self.record = read_record(root)
        self._marks: dict[str, dict[str, str] | None] = {}
        if self.record is not None:
            self.blocks = self.record.blocks
            # Read by itself, and not by what is only about this package.
            self._served = _served(self.record)
            if not self.blocks:
                for key in (*self.record.metadata, *({MARK} & self.record.sums.keys())):
                    self._check(key, super().read(key))
        else:
            self.blocks = any(root.glob("score/.finished.*"))
            self._served = {}
        self._owners = owners(root, self.record) if self.blocks else []

    @property
    def consolidated(self) -> bool:
        """Whether all metadata lie in one file."""
        return self.record is not None

    def read(self, key: str) -> bytes | None:
        """Read a file and check it; None where there is to be none."""
        if key in self._served:
            return self._served[key]
        block = _BLOCK.fullmatch(key) if self.blocks else None
        if block is not None:
            return self._chunk(key, block[2])
        content = super().read(key)
        if self.record is None:
            return content
        # What is not listed was never written: Zarr leaves out what is empty.
        return self._check(key, content) if key in self.record.sums else None

    def _chunk(self, key: str, block: str) -> bytes | None:
        if block not in self._marks:
            self._marks[block] = marked(self.root, block, self._owners)
        known = (self._marks[block] or {}).get(key)
        if known is None:
            # Without a mark it is not finished, whatever lies there.
            return None
        content = self._equal(key, super().read(key), known)
        expected = self._length(key.rpartition("/")[0])
        if expected not in (None, len(content)):
            raise DamagedError(
                f"{str(self.root / key)!r} holds {len(content):,} bytes where its metadata says "
                f"{expected:,}. {advice(self.blocks)}"
            )
        return content

    def _length(self, array: str) -> int | None:
        """Say how long chunks are; None where they are packed, or nothing says it.

        Zarr's own error would not name the file, and come when an array is used that was opened
        long before.
        """
        said = {} if self.record is None else self.record.metadata.get(f"{array}/.zarray", {})
        try:
            if said["compressor"] is None and not said["filters"]:
                return int(np.dtype(said["dtype"]).itemsize * math.prod(said["chunks"]))
        except (KeyError, TypeError, ValueError):
            pass
        return None

    def _check(self, key: str, content: bytes | None) -> bytes:
        sums = {} if self.record is None else self.record.sums
        return self._equal(key, content, sums[key])

    def _equal(self, key: str, content: bytes | None, known: str) -> bytes:
        if content is None:
            raise DamagedError(f"{str(self.root / key)!r} is missing. {advice(self.blocks)}")
        if sum_of(content) != known:
            raise DamagedError(
                f"{str(self.root / key)!r} is damaged: it does not hold what was written. "
                f"{advice(self.blocks)}"
            )
        return content

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["root"])  # type: ignore[misc]


def files_of(write: Callable[[MemoryStore], object]) -> dict[str, bytes]:
    """Give the files that something writes to a Zarr store, without a disk."""
    kept: dict[str, Buffer] = {}
    write(MemoryStore(kept))
    return {key: value.to_bytes() for key, value in kept.items()}


def commit(folder: Path, files: Mapping[str, bytes], *, seen: bool = True) -> list[str]:
    """Make a folder hold some files, but for the scores, which are written block by block."""
    try:
        before, damaged = read_record(folder), []
    except DamagedError:
        before, damaged = None, [RECORD]
    metadata, sums, changed = {}, {}, {}
    for key, content in sorted({**files, **marks_for(files)}.items()):
        if key == RECORD:
            continue
        if key.rsplit("/", 1)[-1] in _METADATA:
            metadata[key] = json.loads(content)
        else:
            sums[key] = sum_of(content)
        present = content_of(folder / key)
        if present != content:
            changed[key] = content
            if before and not (before.pending or same_as_recorded(before, key, present)):
                damaged.append(key)
    pending = {key: content for key, content in changed.items() if key in sums}
    after = Record(metadata, sums, blocks=True)
    changes = bool(changed) or before != after
    if changes and seen:
        write_bytes(folder / RECORD, replace(after, pending=pending).to_bytes())
    for key, content in changed.items():
        if key == ".zgroup":
            # In place, because the lock is on it.
            with explain_os_errors(folder / key):
                (folder / key).write_bytes(content)
        else:
            write_bytes(folder / key, content)
    if changes and (pending or not seen):
        write_bytes(folder / RECORD, after.to_bytes())
    return damaged


def note(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    """Let one of Zarr's metadata files of a locked folder say something else."""
    record = read_record(folder)
    if record is not None:
        metadata = {**record.metadata, name: dict(content)}
        write_bytes(folder / RECORD, replace(record, metadata=metadata).to_bytes())
    # As Zarr writes it, so that a store is the same whether or not it was interrupted.
    write_bytes(folder / name, json.dumps(content, indent=2).encode())


def open_checked(folder: Path) -> xr.Dataset:
    """Open a group; what is read of it later is checked then."""
    store: Any = CheckedFolder(folder)
    whole = store.consolidated
    # Of a folder that others made the format is not known.
    form = 2 if whole else None
    return xr.open_dataset(
        store, engine="zarr", consolidated=whole, zarr_format=form, decode_times=False
    )


def damage(folder: Path) -> list[str]:
    """List what differs from what a folder's record says; scores in blocks are left out."""
    record = read_record(folder)
    if record is None:
        return []
    keys = [*record.metadata, *(key for key in record.sums if key not in record.metadata)]
    return [key for key in keys if not same_as_recorded(record, key, content_of(folder / key))]


def _served(record: Record) -> dict[str, bytes]:
    whole = {"metadata": record.metadata, "zarr_consolidated_format": 1}
    served = {key: json.dumps(content).encode() for key, content in record.metadata.items()}
    return {**served, **record.pending, RECORD: json.dumps(whole).encode()}
