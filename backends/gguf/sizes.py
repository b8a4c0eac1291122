"""Look through the head of a GGUF file: every length in it against what is left of the file.

The reader of the package gguf takes lengths for granted, and goes on beyond the end of the file: an
array that claims 2⁶⁰ entries would keep it busy for ever, and fill the memory.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

__all__ = ["check_sizes"]

_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by the number of its type."""
_STRING, _ARRAY = 8, 9
_DIMS = 8
_ENTRY, _TENSOR = 8 + 4, 8 + 4 + 4 + 8
"""Bytes that the shortest entry and the shortest description of a tensor have."""


def check_sizes(path: Path) -> None:
    """Raise a ValueError where a length goes beyond the end of the file."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        head = _Head(content)
        version = head.number("I", at=4)
        # A file of the other byte order has its version here in that order.
        head.order = ">" if version & 0xFFFF == 0 else "<"
        head.offset = 8
        n_tensors, n_entries = head.number("Q"), head.number("Q")
        head.demand(n_tensors, _TENSOR, "tensors")
        head.demand(n_entries, _ENTRY, "entries")
        for _ in range(n_entries):
            head.text()
            head.value(head.number("I"), depth=0)
        for _ in range(n_tensors):
            head.text()
            dims = head.number("I")
            if dims > _DIMS:
                raise ValueError(f"a tensor has {dims} dimensions")
            head.skip(8 * dims + 4 + 8)


class _Head:
    """A cursor in the head of a file."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content, self.size = content, len(content)
        self.order, self.offset = "<", 0

    def number(self, form: str, *, at: int | None = None) -> int:
        offset = self.offset if at is None else at
        width = struct.calcsize(form)
        if offset + width > self.size:
            raise ValueError("it ends within its head")
        self.offset = offset + width
        return int(struct.unpack_from(self.order + form, self.content, offset)[0])

    def skip(self, size: int) -> None:
        if size > self.size - self.offset:
            raise ValueError(f"it says {size:,} bytes where {self.size - self.offset:,} are left")
        self.offset += size

    def demand(self, count: int, least: int, noun: str) -> None:
        if count * least > self.size - self.offset:
            raise ValueError(f"it says {count:,} {noun}, more than there is room for")

    def text(self) -> None:
        self.skip(self.number("Q"))

    def value(self, kind: int, *, depth: int) -> None:
        if kind in _SCALARS:
            self.skip(_SCALARS[kind])
        elif kind == _STRING:
            self.text()
        elif kind == _ARRAY and not depth:
            kind, count = self.number("I"), self.number("Q")
            if kind in _SCALARS:
                self.skip(_SCALARS[kind] * count)
                return
            self.demand(count, 8, "entries of an array")
            for _ in range(count):
                self.value(kind, depth=1)
        else:
            raise ValueError(f"an entry is of the type {kind}, which is not known")
