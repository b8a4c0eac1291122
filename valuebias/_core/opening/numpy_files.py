"""Read numpy's files: plain numbers and text only, and no more than the file can hold."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from valuebias._core.foreign import reading
from valuebias._core.opening.limits import RefusedFileError, check_size
from valuebias._core.sums import archive_is_whole
from valuebias.errors import shown

__all__ = ["is_text", "load_array", "load_arrays"]

_KINDS = "biufUS"
_LAST = 0x10FFFF
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def load_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read a ``.npy`` file of numbers."""
    where = Path(path)
    with _damage_told(where), where.open("rb") as handle:
        _check_header(handle, where.stat().st_size, repr(str(where)))
        handle.seek(0)
        return _text_checked(np.asarray(np.load(handle, allow_pickle=False)))


def load_arrays(
    path: str | os.PathLike[str], names: Iterable[str], *, optional: Collection[str] = ()
) -> dict[str, NDArray[Any]]:
    """Read some arrays of a ``.npz`` file, of which some may be missing."""
    where = Path(path)
    with _damage_told(where), zipfile.ZipFile(where) as archive:
        if archive_is_whole(where, archive.comment) is False:
            raise ValueError("it does not hold what was written")
        there = set(archive.namelist())
        asked = [name for name in names if name not in optional or f"{name}.npy" in there]
        return {name: _member(archive, f"{name}.npy", where) for name in asked}


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> NDArray[Any]:
    entry = archive.getinfo(name)
    if entry.compress_type not in _PACKED:
        raise RefusedFileError(f"{str(path)!r} packs {shown(name)} in a way that numpy does not.")
    check_size(entry.file_size, path.stat().st_size, f"{shown(name)} in {str(path)!r}")
    with archive.open(entry) as handle:
        _check_header(handle, entry.file_size, f"{shown(name)} in {str(path)!r}")
    with archive.open(entry) as handle:
        return _text_checked(np.asarray(npy.read_array(handle, allow_pickle=False)))


def is_text(values: NDArray[Any]) -> bool:
    """Tell whether all characters of fixed-width text exist: numpy takes any four bytes for one.

    Examples
    --------
    >>> is_text(np.array(["love"])), is_text(np.array([2**31], dtype="<u4").view("<U1"))
    (True, False)
    """
    if values.dtype.kind != "U" or not values.size or not values.dtype.itemsize:
        return True
    code = np.dtype(np.uint32).newbyteorder(values.dtype.byteorder)
    return bool(np.ascontiguousarray(values).view(code).max() <= _LAST)


def _text_checked(values: NDArray[Any]) -> NDArray[Any]:
    if not is_text(values):
        raise ValueError("it holds text that is no Unicode")
    return values


def _check_header(handle: Any, size: int, noun: str) -> None:
    """Refuse objects, and arrays that are longer than what follows their header."""
    major = npy.read_magic(handle)[0]
    if major not in (1, 2, 3):
        raise RefusedFileError(f"{noun} has the format {major} of numpy's, of 1, 2 and 3.")
    read = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    shape, _, dtype = read(handle)
    if dtype.kind not in _KINDS:
        raise RefusedFileError(
            f"{noun} holds data of the type {shown(str(dtype))}; expected numbers or text. What is "
            "pickled can run any code when it is loaded, so valuebias never does."
        )
    if math.prod(map(int, shape)) * dtype.itemsize > size - handle.tell():
        raise RefusedFileError(
            f"{noun} says that it is of the shape {shown(shape)} and is only {size:,} bytes long: "
            "it is damaged or truncated. Make it again."
        )


def _damage_told(path: Path) -> AbstractContextManager[None]:
    because = "it is not there, damaged, or does not hold what was expected"
    return reading(path, because=because, advice="Make it again.")
