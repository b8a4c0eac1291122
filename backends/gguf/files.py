"""Read what a GGUF file says of itself, and put a file that was split together again."""

from __future__ import annotations

import mmap
import os
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.checks import check_installed
from valuebias._core.fetch import cache_folder
from valuebias._core.foreign import reading
from valuebias.errors import ValueBiasError

__all__ = ["Contents", "first_part", "parts", "read_gguf", "split_names", "whole"]

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
# Small tensors whose values matter before a model is loaded.
_SMALL = re.compile(r"rope_(?:freqs|factors_long|factors_short)\.weight|cls\..*")
# Long arrays that only a tokenizer needs; taking them apart takes longer than all else.
_VOCABULARY = re.compile(
    r"tokenizer\.ggml\.(?:tokens|scores|token_type|merges|precompiled_charsmap)"
)
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a value, by the number of its type."""
_STRING, _ARRAY = 8, 9
_DIMS = 8
_ENTRY, _TENSOR = 8 + 4, 8 + 4 + 4 + 8
"""Bytes that the shortest entry and the shortest description of a tensor have."""


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a GGUF file says of its model, without the weights."""

    path: Path  # the file, or the first of its parts
    fields: Mapping[str, Any]  # its metadata, without the vocabulary
    shapes: Mapping[str, tuple[int, ...]]  # tensor to shape, in the order of PyTorch
    # The values of those tensors that say how to compute: frequencies, and a classification head.
    small: Mapping[str, npt.NDArray[np.float32]]

    @property
    def architecture(self) -> str:
        """What llama.cpp calls the architecture, which its entries begin with."""
        return str(self.fields["general.architecture"])

    def get(self, key: str, default: Any = None) -> Any:
        """Return an entry of the architecture, such as ``"rope.freq_base"``."""
        return self.fields.get(f"{self.architecture}.{key}", default)


def split_names(name: str) -> list[str]:
    """Name all parts of a file that was split, of which one is named.

    Examples
    --------
    >>> split_names("a-00002-of-00002.gguf")
    ['a-00001-of-00002.gguf', 'a-00002-of-00002.gguf']
    >>> split_names("a.gguf")
    ['a.gguf']
    """
    match = _PART.fullmatch(name)
    if match is None:
        return [name]
    start, _, count, end = match.groups()
    return [f"{start}-{i:05}-of-{count}{end}" for i in range(1, int(count) + 1)]


def first_part(path: Path) -> Path:
    """Return the first part of a file that was split; any other path as it is."""
    return path.with_name(split_names(path.name)[0])


def parts(path: Path) -> list[Path]:
    """Find the files that a GGUF file consists of."""
    paths = [path.with_name(name) for name in split_names(path.name)]
    missing = [part.name for part in paths if not part.is_file()]
    if missing:
        raise ValueBiasError(
            f"{os.fspath(path)!r} is one of {len(paths)} parts of a model, and "
            f"{len(missing)} of them are not beside it: {', '.join(missing[:4])}"
            f"{' ...' if len(missing) > 4 else ''}. Complete the download."
        )
    return paths


def read_gguf(path: Path) -> Contents:
    """Read a GGUF file's metadata and the names and shapes of its tensors."""
    paths = parts(path)
    states = tuple((os.fspath(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths)
    return _read(states)


# Taking apart a vocabulary of 262 144 tokens takes ten seconds, and several ask.
@lru_cache(maxsize=8)
def _read(states: tuple[tuple[str, int, int], ...]) -> Contents:
    paths = [Path(path) for path, *_ in states]
    fields: dict[str, Any] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    small: dict[str, npt.NDArray[np.float32]] = {}
    for i, path in enumerate(paths):
        reader = _reader(path)
        with _damage_told(path):
            entries = {
                key: field.contents()
                for key, field in reader.fields.items()
                if _VOCABULARY.fullmatch(key) is None
            }
            count = int(entries.get("split.count") or 1)
            number = int(entries.get("split.no") or 0)
        if i == 0:
            fields = entries
        if count != len(paths) or (count > 1 and number != i):
            raise ValueBiasError(
                f"{os.fspath(path)!r} says that it is part {number + 1} of "
                f"{count}; expected part {i + 1} of {len(paths)}, as its name says. Give the parts "
                "the names that they had: ...-00001-of-0000N.gguf."
            )
        from gguf import dequantize

        with _damage_told(path):
            for tensor in reader.tensors:
                if tensor.name in shapes:
                    raise ValueError(f"the tensor {tensor.name[:60]!r} stands in two parts")
                shapes[tensor.name] = tuple(int(n) for n in reversed(tensor.shape))
                if _SMALL.fullmatch(tensor.name):
                    values = dequantize(tensor.data, tensor.tensor_type)
                    small[tensor.name] = np.array(values, dtype=np.float32)
    total = fields.get("split.tensors.count")
    if "general.architecture" not in fields or (total is not None and total != len(shapes)):
        raise ValueBiasError(
            f"{os.fspath(paths[0])!r} has {len(shapes)} tensors"
            + (f" in {len(paths)} parts instead of {total}" if total is not None else "")
            + (
                ""
                if "general.architecture" in fields
                else " and does not say of which architecture its model is"
            )
            + ". Download or convert it again."
        )
    return Contents(paths[0], fields, shapes, small)


def _reader(path: Path) -> Any:
    needs = ", and a GGUF file needs it"
    check_installed("gguf", extra="torch", before="The package ", after=needs)
    from gguf import GGUFReader

    with _damage_told(path):
        check_sizes(path)
        reader = GGUFReader(path)
        _check_layout(reader, path.stat().st_size)
        return reader


def _damage_told(path: Path) -> AbstractContextManager[None]:
    because = "it is truncated or is not a GGUF file"
    return reading(path, because=because, advice="Download or convert it again.")


def _check_layout(reader: Any, size: int) -> None:
    """Check that tensors lie end to end, up to the alignment, as llama.cpp requires."""
    at = int(reader.data_offset)
    for tensor in sorted(reader.tensors, key=lambda each: int(each.data_offset)):
        if int(tensor.data_offset) != at:
            raise ValueError(f"{tensor.name[:60]!r} does not begin where the tensor before it ends")
        end = at + int(tensor.n_bytes)
        if end > size:
            raise ValueError(f"{tensor.name[:60]!r} ends beyond the file")
        at = end + -end % int(reader.alignment)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a GGUF file in one piece, for as long as it is being loaded.

    transformers reads one file only, so parts are written together into a file beside the cache,
    which needs their size on the disk for a while.
    """
    paths = parts(path)
    if len(paths) == 1:
        yield path
        return
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="gguf-") as scratch:
        target = Path(scratch) / "whole.gguf"
        _write_together(paths, target)
        yield target


def _write_together(paths: list[Path], target: Path) -> None:
    """Write the tensors of all parts, and what the loader needs to know of them."""
    from gguf import GGUFValueType, GGUFWriter

    readers = [_reader(path) for path in paths]
    fields = readers[0].fields
    architecture = fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    for key, field in fields.items():
        value = field.contents() if key.startswith((f"{architecture}.", "general.name")) else None
        if value is not None and value != []:
            is_array = field.types[0] == GGUFValueType.ARRAY
            sub_type = field.types[-1] if is_array else None
            writer.add_key_value(key, value, field.types[0], sub_type=sub_type)
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    for tensor in tensors:
        data = tensor.data
        writer.add_tensor_info(tensor.name, data.shape, data.dtype, data.nbytes, tensor.tensor_type)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(tensor.data)
    except OSError as error:
        raise ValueBiasError(
            f"The parts of {os.fspath(paths[0])!r} cannot be written together in "
            f"{os.fspath(target.parent)!r} ({error.strerror}). Make room there, or join them "
            "yourself: llama-gguf-split --merge."
        ) from error
    finally:
        writer.close()


def check_sizes(path: Path) -> None:
    """Raise a ValueError where a length goes beyond the end of the file.

    GGUFReader takes lengths for granted: an array that claims 2⁶⁰ entries would keep it busy for
    ever, and fill the memory.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        head = _Head(content)
        version = head.number("I", at=4)
        # A file of the other byte order has its version here in that order.
        head.order = ">" if version & 0xFFFF == 0 else "<"
        head.offset = 8
        n_tensors, n_entries = head.number("Q"), head.number("Q")
        head.check_room(n_tensors, _TENSOR, "tensors")
        head.check_room(n_entries, _ENTRY, "entries")
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

    def check_room(self, count: int, least: int, noun: str) -> None:
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
            self.check_room(count, 8, "entries of an array")
            for _ in range(count):
                self.value(kind, depth=1)
        else:
            raise ValueError(f"an entry is of the type {kind}, which is not known")
