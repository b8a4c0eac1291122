"""Look through a netCDF file (HDF5) before its data are read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from valuebias._core.opening.limits import MOST, RefusedFileError, check_size
from valuebias.errors import shown

__all__ = ["check_hdf5"]

# Deflate, shuffle and checksums; others are plug-ins that HDF5 loads from a folder.
_FILTERS = (1, 2, 3)
_DEPTH = 20
_DIMS = 32
_OBJECTS = 100_000
_CHUNKS = 1_000_000
# How netCDF notes which dimension is whose.
_REFERENCES = ("DIMENSION_LIST", "REFERENCE_LIST")
_ATTRIBUTE = 64 * 1024**2
_ON_DISK = 16
"""How many bytes stand for a text: its length, and where it lies."""


def check_hdf5(file: h5py.File, path: Path) -> None:
    """Refuse a file that refers to others or asks for more memory than it can have need of."""
    checker = _Checker(path)
    checker.group(file, 0)
    check_size(checker.declared, checker.size, repr(str(path)))


class _Checker:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.declared = 0
        self.seen: set[Any] = set()

    def group(self, group: h5py.Group, depth: int) -> None:
        if depth > _DEPTH or len(self.seen) > _OBJECTS or not self.is_new(group):
            raise self.refusal("has groups within groups without end")
        self.attributes(group)
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise self.refusal(f"has a link, {shown(name)}, to something elsewhere")
            item = group[name]
            if isinstance(item, h5py.Group):
                self.group(item, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self.dataset(item)
                self.attributes(item)
            else:
                raise self.refusal(f"defines a type of its own, {shown(name)}")

    def is_new(self, item: h5py.Group | h5py.Dataset) -> bool:
        key = h5py.h5o.get_info(item.id).addr
        new = key not in self.seen
        self.seen.add(key)
        return new

    def dataset(self, item: h5py.Dataset) -> None:
        properties = item.id.get_create_plist()
        where = shown(item.name)
        if properties.get_external_count() or item.is_virtual:
            raise self.refusal(f"has data, {where}, that lie in another file")
        for i in range(properties.get_nfilters()):
            if properties.get_filter(i)[0] not in _FILTERS:
                raise self.refusal(
                    f"packs {where} with HDF5's filter {properties.get_filter(i)[0]}"
                )
        self.check_plain(item.dtype, where)
        shape = item.shape or ()
        if len(shape) > _DIMS:
            raise self.refusal(f"has {len(shape)} dimensions in {where}")
        n = math.prod(shape)
        self.declared += n * item.dtype.itemsize
        if item.chunks is not None:
            check_size(math.prod(item.chunks) * item.dtype.itemsize, self.size, str(self.path))
            pairs = zip(shape, item.chunks, strict=True)
            if math.prod(-(-size // chunk) for size, chunk in pairs) > _CHUNKS:
                raise self.refusal(f"cuts {where} into more than {_CHUNKS:,} pieces")
        if h5py.check_string_dtype(item.dtype) and item.dtype.kind == "O" and self.is_new(item):
            self.pointers(item)
            self.texts(item, n)

    def pointers(self, item: h5py.Dataset) -> None:
        """Refuse texts longer than the file: HDF5 takes memory for them before it looks."""
        pieces: list[tuple[int, int]] = []
        if item.chunks is None:
            start = item.id.get_offset()
            pieces = [] if start is None else [(start, item.size * _ON_DISK)]
        elif not item.id.get_create_plist().get_nfilters():
            infos = (item.id.get_chunk_info(i) for i in range(item.id.get_num_chunks()))
            pieces = [(chunk.byte_offset, chunk.size) for chunk in infos]
        with self.path.open("rb") as handle:
            for start, size in pieces:
                handle.seek(start)
                content = handle.read(size)
                whole = content[: len(content) // _ON_DISK * _ON_DISK]
                lengths = np.frombuffer(whole, dtype="<u4")[:: _ON_DISK // 4]
                if lengths.size and int(lengths.max()) > self.size:
                    raise self.refusal(f"has a text in {shown(item.name)} longer than itself")

    def texts(self, item: h5py.Dataset, n: int) -> None:
        """Add up texts, of which a file can hold one and name it any number of times."""
        check_size(self.declared, self.size, repr(str(self.path)))
        if n * self.size <= _ATTRIBUTE or not item.shape:
            return
        rows = max(1, _ATTRIBUTE // (self.size * max(1, math.prod(item.shape[1:]))))
        for start in range(0, item.shape[0], rows):
            part = np.asarray(item[start : start + rows], dtype=object).ravel()
            self.declared += sum(map(len, part))
            check_size(self.declared, self.size, repr(str(self.path)))

    def attributes(self, item: h5py.Group | h5py.Dataset) -> None:
        for name in item.attrs:
            attribute = item.attrs.get_id(name)
            if name not in _REFERENCES:
                self.check_plain(attribute.dtype, f"the attribute {shown(name)}")
            n = math.prod(attribute.shape or ())
            if n * attribute.dtype.itemsize > min(_ATTRIBUTE, MOST * self.size):
                raise self.refusal(f"has {n:,} values in the attribute {shown(name)}")

    def check_plain(self, dtype: np.dtype[Any], where: str) -> None:
        text = h5py.check_string_dtype(dtype) is not None
        number = dtype.kind in "biuf" and dtype.itemsize <= 8
        if not (text or number or dtype.kind == "S"):
            raise self.refusal(f"holds data of the type {shown(str(dtype))} in {where}")

    def refusal(self, noun: str) -> RefusedFileError:
        return RefusedFileError(
            f"{str(self.path)!r} {noun}; valuebias opens no other netCDF files than of plain "
            "numbers and text, packed with HDF5's own filters, whole in one file. Where the data "
            "are yours, write them with valuebias.write."
        )
