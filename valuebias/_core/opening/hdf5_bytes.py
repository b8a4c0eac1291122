"""Look at the bytes of a netCDF file (HDF5) before the HDF5 library does.

The library trusts lengths within a file, and while it reads nothing can stop it. So a file with a
sum is compared with that first, and of any other the heaps, in which HDF5 keeps texts, are gone
through before.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from valuebias._core.opening.limits import RefusedFileError
from valuebias._core.sums import Buffer, DamagedError, file_is_whole

__all__ = ["check_bytes"]

_HEAP = b"GCOL\x01\0\0\0"
_HEAD = struct.Struct("<8sQ")
_OBJECT = struct.Struct("<HHIQ")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_ENDS = {0: 40, 1: 44, 2: 28, 3: 28}
"""Where a file says how long it is, by the version of its first block."""


def check_bytes(path: Path) -> None:
    """Refuse a file that is not what was written, or in which HDF5 would never come to an end."""
    with path.open("rb") as handle:
        if not path.stat().st_size:
            return
        with mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
            whole = file_is_whole(content, _length(content))
            good = whole is not None or all(_ends(content, start) for start in _heaps(content))
    if whole is False:
        raise DamagedError(
            f"{str(path)!r} is damaged, truncated or was copied in part: it does not hold what "
            "was written. Copy it again, or make it again."
        )
    if not good:
        raise RefusedFileError(
            f"{str(path)!r} is damaged, or made to keep whoever reads it busy for ever: its texts "
            "do not follow one another. Get it again from where it was made."
        )


def _length(content: Buffer) -> int | None:
    end_field = _ENDS.get(content[8]) if len(content) > 64 else None
    if end_field is None or content[:8] != _SIGNATURE:
        return None
    return int.from_bytes(content[end_field : end_field + 8], "little")


def _heaps(content: Buffer) -> Iterator[int]:
    """Find where heaps begin; in numbers or texts the same eight bytes would be a rare accident."""
    start = content.find(_HEAP)  # type: ignore[union-attr]
    while start >= 0:
        yield start
        start = content.find(_HEAP, start + 1)  # type: ignore[union-attr]


def _ends(content: Buffer, start: int) -> bool:
    """Go through a heap as HDF5 does; tell whether every object lies behind the one before."""
    if start + _HEAD.size > len(content):
        return True
    _, size = _HEAD.unpack_from(content, start)
    end = start + size
    if end > len(content):  # which HDF5 refuses by itself
        return True
    position = start + _HEAD.size
    while position + _OBJECT.size <= end:
        number, _, _, length = _OBJECT.unpack_from(content, position)
        # The free space at the end has the number 0, and its length includes its head.
        step = length if number == 0 else _OBJECT.size + -(-length // 8) * 8
        if step < _OBJECT.size or position + step > end:
            return False
        position += step
    return True
