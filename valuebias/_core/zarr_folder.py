"""Zarr folders with a sum for every file, written with them and checked by every reader.

The sums lie in Zarr's own consolidated metadata (``.zmetadata``), under a key that only this
package looks at. That file is also what a folder *is*: it is replaced in one step, and where others
have to follow it, it says until then what they are to hold (``pending``). So whoever reads by it
finds the folder as it was or as it will be, and opens it in one read.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from valuebias._core.sums import SUM, DamagedError, json_sum, sum_of

__all__ = [
    "MARK",
    "OWNER",
    "RECORD",
    "CheckedFolder",
    "OtherStoreError",
    "Record",
    "SummedFolder",
    "commit",
    "damage",
    "files_of",
    "marked",
    "metadata_of",
    "note",
    "open_checked",
    "owners",
    "read_record",
    "same_as_recorded",
]

RECORD = ".zmetadata"
MARK = "score/.summed"
"""Says that there are sums, to whoever finds scores that have lost them; fits have a digest, too.

It lies where the marks of blocks do: of a file beside the arrays, Zarr says that it knows it not.
"""
OWNER = "of"
"""Under which the mark of a block says whose scores it is of."""
_MARKS = {MARK: b'{"sums": ".zmetadata"}'}
_OURS = "valuebias"
_FORMAT = "valuebias-sums/1"
_METADATA = (".zarray", ".zattrs", ".zgroup")
_BLOCK = re.compile(r"(?:.*/)?(score|token_logprob)/(\d+\.\d+\.\d+)(?:\.\d+)?")


class OtherStoreError(DamagedError):
    """A block and the record of its folder are of different stores."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a folder holds."""

    metadata: dict[str, Any]  # what each of Zarr's metadata files says
    # The SHA-256 of every other file, by its place in the folder; scores that are written block by
    # block are not among them: their marks vouch for them.
    sums: dict[str, str] = field(default_factory=dict)
    blocks: bool = False  # whether there are such scores
    # What files are to hold that may not hold it yet.
    pending: dict[str, bytes] = field(default_factory=dict)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of the folder."""
        return dict(self.metadata.get(".zattrs", {}))

    def to_bytes(self) -> bytes:
        """Give the content of ``.zmetadata``."""
        ours: dict[str, Any] = {"format": _FORMAT, "blocks": self.blocks, "sums": self.sums}
        if self.pending:
            ours["pending"] = {
                key: base64.b64encode(content).decode() for key, content in self.pending.items()
            }
        whole = {"metadata": self.metadata, "zarr_consolidated_format": 1, _OURS: ours}
        whole = json.loads(json.dumps(whole))
        whole[_OURS][SUM] = _own_sum(whole)
        return json.dumps(whole, indent=1).encode()


def read_record(folder: Path) -> Record | None:
    """Read what a folder is to hold; None where nothing says so, as in earlier versions."""
    path = folder / RECORD
    try:
        whole = json.loads(path.read_bytes())
        if not isinstance(whole, dict) or _OURS not in whole:
            if isinstance(whole, dict) and isinstance(whole.get("metadata"), dict):
                _check_never_summed(folder)
                return None
            raise ValueError("no metadata")
        ours = whole[_OURS]
        if ours[SUM] != _own_sum(whole):
            raise ValueError("another sum")
        pending = {key: base64.b64decode(text) for key, text in ours.get("pending", {}).items()}
        return Record(whole["metadata"], ours["sums"], ours["blocks"], pending)
    except (FileNotFoundError, NotADirectoryError):
        _check_never_summed(folder)
        return None
    except DamagedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(
            f"{str(path)!r} is damaged ({type(error).__name__}: {str(error)[:100]}). {_advice()}"
        ) from error


def _marks_for(files: Iterable[str]) -> dict[str, bytes]:
    return _MARKS if "score/.zarray" in set(files) else {}


def _check_never_summed(folder: Path) -> None:
    """Refuse what had sums and has lost them."""
    if (folder / MARK).exists():
        blocks = any(folder.glob("score/.finished.*"))
        raise DamagedError(
            f"{str(folder / RECORD)!r}, in which the checksums of all else were, is missing or was "
            f"written anew without them. {_advice(blocks)} If {str(folder)!r} was changed on "
            f"purpose, delete {MARK!r} in it: it is read without checksums then."
        )


def metadata_of(folder: Path, name: str) -> dict[str, Any]:
    """Give what one of Zarr's metadata files says, by the record or else by the file itself."""
    try:
        record = read_record(folder)
    except DamagedError:
        record = None
    if record is not None and name in record.metadata:
        return dict(record.metadata[name])
    try:
        return dict(json.loads((folder / name).read_text(encoding="utf-8")))
    except RecursionError as error:
        raise DamagedError(
            f"{str(folder / name)!r} is damaged: it is nested too deeply. {_advice()}"
        ) from error


def owners(folder: Path, record: Record | None = None) -> list[str]:
    """Give for each model the sum of all that its scores depend on, which its marks have, too.

    So a block of another store, mark and all, is not taken for one of this. None where the record
    does not say it, or is lost.
    """
    try:
        attrs = record.attrs if record is not None else metadata_of(folder, ".zattrs")
        said = json.loads(attrs["provenance"])
        common = said["scoring"]["settings"]
        return [json_sum({OWNER: [common, entry["settings"]]}) for entry in said["models"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def marked(folder: Path, block: str, owners: Sequence[str]) -> dict[str, str] | None:
    """Read the mark of a block: the sum of each of its chunks; None where it is not finished.

    ``owners`` are those of the models; marks of earlier versions do not say theirs.
    """
    path = folder / "score" / f".finished.{block}"
    try:
        content = json.loads(path.read_bytes())
        owner, row = content.pop(OWNER, None), int(block.partition(".")[0])
        if owner is not None and row < len(owners) and owner != owners[row]:
            raise OtherStoreError(
                f"{str(path)!r}, the mark of a block, is of other scores than {RECORD!r} "
                f"describes: one of the two was copied from another store. {_advice()}"
            )
        parts = [f"token_logprob/{block}.{part}" for part in range(len(content) - 1)]
        if sorted(content) != sorted([f"score/{block}", *parts]):
            raise ValueError("other chunks")
        return {str(key): str(known) for key, known in content.items()}
    except FileNotFoundError:
        return None
    except DamagedError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(
            f"{str(path)!r}, the mark of a block, is damaged. {_advice()}"
        ) from error


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
        return _content(self.root / key)

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
        for key, content in _marks_for(self.sums).items():
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
                f"{expected:,}. {_advice(self.blocks)}"
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
            raise DamagedError(f"{str(self.root / key)!r} is missing. {_advice(self.blocks)}")
        if sum_of(content) != known:
            raise DamagedError(
                f"{str(self.root / key)!r} is damaged: it does not hold what was written. "
                f"{_advice(self.blocks)}"
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
    for key, content in sorted({**files, **_marks_for(files)}.items()):
        if key == RECORD:
            continue
        if key.rsplit("/", 1)[-1] in _METADATA:
            metadata[key] = json.loads(content)
        else:
            sums[key] = sum_of(content)
        present = _content(folder / key)
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
    return [key for key in keys if not same_as_recorded(record, key, _content(folder / key))]


def _served(record: Record) -> dict[str, bytes]:
    whole = {"metadata": record.metadata, "zarr_consolidated_format": 1}
    served = {key: json.dumps(content).encode() for key, content in record.metadata.items()}
    return {**served, **record.pending, RECORD: json.dumps(whole).encode()}


def _own_sum(whole: Mapping[str, Any]) -> str:
    ours = {name: value for name, value in whole[_OURS].items() if name != SUM}
    return json_sum({**whole, _OURS: ours})


def same_as_recorded(record: Record, key: str, content: bytes | None) -> bool:
    """Tell whether a file holds what the record says; what it does not name is as it may be."""
    if key in record.sums:
        return content is not None and sum_of(content) == record.sums[key]
    if key not in record.metadata:
        return True
    try:
        return content is not None and json.loads(content) == record.metadata[key]
    except (ValueError, RecursionError):
        return False


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _advice(resumed: bool = True) -> str:
    if resumed:
        return (
            "Run the same valuebias.score(...) again: what is damaged is made again, and nothing "
            "else. `valuebias check` lists all that is damaged."
        )
    return "Copy it again, or make it again. `valuebias check` lists all that is damaged."
