"""Checksums of what is written, by which every reader can tell what is damaged."""

from __future__ import annotations

import hashlib
import io
import json
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import xarray as xr

from valuebias._core.foreign import reading
from valuebias._core.provenance import sha256
from valuebias.errors import ValueBiasError

__all__ = [
    "DamagedError",
    "archive_bytes",
    "archive_is_whole",
    "array_bytes",
    "content_sum",
    "file_bytes",
    "file_is_whole",
    "folder_is_whole",
    "json_sum",
    "read_array",
    "read_json",
    "seal_folder",
    "sealed",
    "sum_of",
]

SUM = "sha256"
_SEAL = "sums.json"
_AGAIN = "`valuebias check` lists all that is damaged."
_TRAILER = b"valuebias-sha256"
# Of a file whose name says what it is of: its sum is also of its name and its folder's, so that one
# put in another's place is no more than a damaged one.
_PLACED = b"valuebias-placed"
_BEGUN = frozenset(_TRAILER[:n] for n in range(1, len(_TRAILER) + 1))


Buffer: TypeAlias = bytes | bytearray | memoryview | mmap.mmap


class DamagedError(ValueBiasError):
    """What is read is not what was written.

    Examples
    --------
    >>> issubclass(DamagedError, ValueBiasError)
    True
    """


def sum_of(content: bytes | bytearray | memoryview) -> str:
    """Give the SHA-256 of a content, as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def json_sum(content: Mapping[str, Any]) -> str:
    """Give the SHA-256 of what JSON says, however it is set out and without a sum in it."""
    rest = {name: value for name, value in content.items() if name != SUM}
    return sum_of(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Give what JSON is to say with its own sum, which :func:`read_json` checks."""
    plain = json.loads(json.dumps(content))
    return {**plain, SUM: json_sum(plain)}


def read_json(path: Path) -> dict[str, Any]:
    """Read JSON that has its own sum in it; one of earlier versions is taken as it is."""
    with reading(path, advice=_AGAIN, kind=DamagedError):
        content = json.loads(path.read_bytes())
        right = isinstance(content, dict) and content.get(SUM, SUM) in (SUM, json_sum(content))
    if not right:
        raise DamagedError(f"{str(path)!r} is damaged: it does not say what was written.")
    return dict(content)


def _of_place(path: Path) -> bytes:
    return "/".join(path.absolute().parts[-2:]).encode("utf-8", "surrogateescape")


def array_bytes(values: npt.NDArray[Any], path: Path) -> list[bytes | memoryview]:
    """Give the pieces of a ``.npy`` file with a sum at its end, where NumPy does not look."""
    head = io.BytesIO()
    whole = np.ascontiguousarray(values)
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(whole))
    body = whole.reshape(-1).view(np.uint8).data
    digest = hashlib.sha256(head.getvalue())
    digest.update(body)
    digest.update(_of_place(path))
    return [head.getvalue(), body, _PLACED, digest.digest()]


def read_array(path: Path) -> tuple[npt.NDArray[Any], bool]:
    """Read what :func:`array_bytes` gave, or a plain ``.npy`` file; tell whether a sum vouches."""
    explained = reading(
        path, because="it is damaged or truncated", advice=_AGAIN, kind=DamagedError
    )
    with explained, path.open("rb") as file:
        size = path.stat().st_size
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        room = int(np.prod(shape, dtype=object)) * dtype.itemsize
        known = dtype.kind == "f" and not fortran and version == (1, 0)
        if not known or room < 0 or size - start not in (room, room + len(_TRAILER) + 32):
            raise ValueError("its length or its header is wrong")
        file.seek(0)
        head = file.read(start)
        values = np.empty(shape, dtype=dtype)
        body = values.reshape(-1).view(np.uint8).data
        file.readinto(body)
        rest = file.read()
    if not rest:
        return values, False
    digest = hashlib.sha256(head)
    digest.update(body)
    if rest.startswith(_PLACED):
        digest.update(_of_place(path))
    if rest[len(_TRAILER) :] != digest.digest() or rest[: len(_TRAILER)] not in (_TRAILER, _PLACED):
        raise DamagedError(f"{str(path)!r} is damaged: it does not hold what was written.")
    return values, True


def archive_bytes(arrays: Mapping[str, Any], path: Path | None = None) -> bytes:
    """Give a ``.npz`` file whose comment, where archives end, is the sum of all before it.

    With ``path``, for that place alone.
    """
    whole = io.BytesIO()
    np.savez(whole, allow_pickle=False, **{name: np.asarray(a) for name, a in arrays.items()})
    size = len(_TRAILER) + hashlib.sha256().digest_size
    content = whole.getvalue()[:-2] + size.to_bytes(2, "little")
    if path is None:
        return content + _TRAILER + hashlib.sha256(content).digest()
    return content + _PLACED + hashlib.sha256(content + _of_place(path)).digest()


def archive_is_whole(path: Path, comment: bytes) -> bool | None:
    """Tell whether an archive is what was written; None where it has no comment, and so no sum."""
    if not comment:
        return None
    content = path.read_bytes()[: -len(comment)]
    if comment.startswith(_PLACED):
        return comment == _PLACED + hashlib.sha256(content + _of_place(path)).digest()
    return comment == _TRAILER + hashlib.sha256(content).digest()


def file_bytes(content: bytes | memoryview) -> list[bytes | memoryview]:
    """Give the pieces of a file with a sum at its end, where its format does not look."""
    return [content, _TRAILER, hashlib.sha256(content).digest()]


def file_is_whole(content: Buffer, length: int | None = None) -> bool | None:
    """Tell whether a file is what :func:`file_bytes` gave; None where it ends in no sum.

    By its `length`, where the format says it, a file is also known that was cut within its sum.
    """
    end = len(content) - len(_TRAILER) - hashlib.sha256().digest_size
    begun = length is not None and content[length : length + len(_TRAILER)] in _BEGUN
    if begun and end != length:
        return False
    with memoryview(content) as view:
        if end < 0 or bytes(view[end : end + len(_TRAILER)]) != _TRAILER:
            return None
        with view[:end] as before:
            return hashlib.sha256(before).digest() == bytes(view[end + len(_TRAILER) :])


def content_sum(ds: xr.Dataset) -> str:
    """Give the SHA-256 of what a dataset says: the same before writing it and after reading it."""
    digest = hashlib.sha256()
    attrs = {str(name): str(value) for name, value in ds.attrs.items()}
    digest.update(json.dumps(attrs, sort_keys=True).encode())
    for name in sorted(map(str, ds.variables)):
        values = ds[name].to_numpy()
        marks = {str(key): str(value) for key, value in ds[name].attrs.items()}
        digest.update(f"{name} {ds[name].dims} {values.shape} {sorted(marks.items())}".encode())
        if values.dtype.kind in "biuf":
            # Formats keep the numbers but not always their type or the order of their bytes.
            digest.update(np.ascontiguousarray(values.astype(np.float64)).data)
        else:
            digest.update(json.dumps(values.astype(str).tolist()).encode())
    return digest.hexdigest()


def seal_folder(folder: Path) -> None:
    """Write down the sums of all files in a folder, in a file ``sums.json`` among them."""
    sums = {
        path.relative_to(folder).as_posix(): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / _SEAL).write_text(json.dumps(sealed({"files": sums}), indent=1), encoding="utf-8")


def folder_is_whole(folder: Path) -> tuple[bool, list[str]]:
    """Tell whether sums vouch for a folder, and which of its files are damaged or missing."""
    seal = folder / _SEAL
    if not seal.exists():
        return False, []
    try:
        sums = dict(read_json(seal)["files"])
    except (DamagedError, KeyError, TypeError, ValueError):
        return True, [_SEAL]
    return True, [name for name, known in sums.items() if not _is(folder / name, known)]


def _is(path: Path, known: str) -> bool:
    return path.is_file() and sha256(path) == known
