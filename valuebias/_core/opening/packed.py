"""Unpack compressed files of text."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

from valuebias._core.foreign import reading
from valuebias._core.opening.limits import MOST_TEXT, check_size

__all__ = ["PACKED", "unpacked"]

PACKED = (".gz", ".zst")
"""The suffixes of compressed files that are read."""
_BLOCK = 2**20


def unpacked(path: Path) -> bytes:
    """Give the bytes of a file, unpacked where its suffix says that it is compressed."""
    suffix = path.suffix.lower()
    if suffix not in PACKED:
        return path.read_bytes()
    stored = path.stat().st_size
    content = io.BytesIO()
    because = f"it is damaged, truncated or no {suffix} file"
    advice = "Copy it again, or make it again."
    with reading(path, because=because, advice=advice), _opened(path, suffix) as stream:
        # By blocks, so that what unpacks to more than it may is stopped before it fills memory.
        while block := stream.read(_BLOCK):
            content.write(block)
            check_size(content.tell(), stored, repr(str(path)), most=MOST_TEXT)
    return content.getvalue()


def _opened(path: Path, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.open(path, "rb")
    # Here, because few files are.
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd")
