"""Checksums of what is written, by which every reader can tell what is damaged."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from valuebias.errors import ValueBiasError

__all__ = [
    "DamagedError",
    "array_bytes",
    "content_sum",
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
_TRAILER = b"valuebias-sha256"


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
    """Read JSON that has its own sum in it; one without, from earlier versions, is taken as it is.

    Raises
    ------
    DamagedError
        If it cannot be read, or is not what was written.
    """
    try:
        found = json.loads(path.read_bytes())
        right = isinstance(found, dict) and found.get(SUM, SUM) in (SUM, json_sum(found))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(f"{str(path)!r} is damaged ({type(error).__name__}).") from error
    if not right:
        raise DamagedError(f"{str(path)!r} is damaged: it does not say what was written.")
    return dict(found)


def array_bytes(values: npt.NDArray[Any]) -> list[bytes | memoryview]:
    """Give the pieces of a ``.npy`` file with a sum at its end, where NumPy does not look."""
    head = io.BytesIO()
    whole = np.ascontiguousarray(values)
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(whole))
    body = whole.reshape(-1).view(np.uint8).data
    digest = hashlib.sha256(head.getvalue())
    digest.update(body)
    return [head.getvalue(), body, _TRAILER, digest.digest()]


def read_array(path: Path) -> tuple[npt.NDArray[Any], bool]:
    """Read what :func:`array_bytes` gave, or a plain ``.npy`` file; tell whether a sum vouches.

    Raises
    ------
    DamagedError
        If it is not what was written.
    """
    try:
        with path.open("rb") as file:
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
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, MemoryError) as error:
        raise DamagedError(
            f"{str(path)!r} is damaged ({type(error).__name__}: {str(error)[:100]})."
        ) from error
    if not rest:
        return values, False
    digest = hashlib.sha256(head)
    digest.update(body)
    if rest != _TRAILER + digest.digest():
        raise DamagedError(f"{str(path)!r} is damaged: it does not hold what was written.")
    return values, True


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
        path.relative_to(folder).as_posix(): sum_of(path.read_bytes())
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
    try:
        return sum_of(path.read_bytes()) == known
    except OSError:
        return False
