"""Read Feather files, which are Arrow's, within bounds."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from valuebias._core.foreign import reading
from valuebias._core.opening.limits import check_size
from valuebias.errors import ValueBiasError

__all__ = ["read_feather"]

_START = b"ARROW1\0\0"
_FIRST = b"FEA1"
_AGAIN = "Copy it again, or write it again."
_BATCH, _DICTIONARY = 3, 2
"""Kinds of messages that have data."""


def read_feather(path: Path) -> pa.Table:
    """Read a Feather file, after a look at what its parts unpack to."""
    with reading(path, because="it is damaged, truncated or no Feather file", advice=_AGAIN):
        with pa.memory_map(str(path)) as file:
            start = file.read(len(_START))
            if start.startswith(_FIRST):
                raise ValueBiasError(
                    f"{str(path)!r} is a Feather file of the first version. Write it anew."
                )
            if start != _START:
                raise ValueError("it does not begin as one")
            n_batches = pa.ipc.open_file(file).num_record_batches
            file.seek(len(_START))
            _check_sizes(file, path)
            file.seek(len(_START))
            # Not by the table of contents, which may name a part many times.
            table, read = _read(file)
        if read != n_batches:
            raise ValueError(f"it has {read} of {n_batches} parts")
        table.validate(full=True)
        # Polars writes text as views, which few functions take.
        for i, field in enumerate(table.schema):
            if pa.types.is_string_view(field.type):
                table = table.set_column(i, field.name, table.column(i).cast(pa.large_string()))
    return table


def _read(file: pa.MemoryMappedFile) -> tuple[pa.Table, int]:
    with pa.ipc.open_stream(file) as stream:
        batches = list(stream)
        return pa.Table.from_batches(batches, stream.schema), len(batches)


def _check_sizes(file: pa.MemoryMappedFile, path: Path) -> None:
    declared = 0
    for message in pa.ipc.MessageReader.open_stream(file):
        body = message.body
        for offset, length in _buffers(message.metadata.to_pybytes()):
            inside = 0 if body is None else body.size - offset
            if length > 0 and inside >= 8:
                # Compressed parts begin with the length of what they unpack to.
                said = struct.unpack("<q", body.slice(offset, 8).to_pybytes())[0]
                declared += max(length, said)
                check_size(declared, path.stat().st_size, repr(str(path)))


def _buffers(message: bytes) -> Iterator[tuple[int, int]]:
    """Give where the parts of a message begin and how long they are, by Arrow's format."""
    table = _offset(message, 0)
    kind = _field(message, table, 1)
    if kind is None or message[kind] not in (_BATCH, _DICTIONARY):
        return
    header = _offset(message, _field(message, table, 2) or 0)
    if message[kind] == _DICTIONARY:
        header = _offset(message, _field(message, header, 1) or 0)
    compressed = _field(message, header, 3)
    vector = _field(message, header, 2)
    if compressed is None or vector is None:
        return
    first = _offset(message, vector)
    for i in range(struct.unpack_from("<I", message, first)[0]):
        offset, length = struct.unpack_from("<qq", message, first + 4 + 16 * i)
        yield offset, length


def _offset(message: bytes, at: int) -> int:
    return int(at + struct.unpack_from("<I", message, at)[0])


def _field(message: bytes, table: int, number: int) -> int | None:
    """Give where a field of a table lies; None where it is left out."""
    known = table - struct.unpack_from("<i", message, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", message, known)[0]:
        return None
    offset = struct.unpack_from("<H", message, known + 4 + 2 * number)[0]
    return table + offset if offset else None
