"""Look through the metadata and the chunks of a Zarr folder before zarr does."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valuebias._core.opening.limits import RefusedFileError, check_size
from valuebias._core.zarr_records import OURS
from valuebias.errors import shown

__all__ = ["check_zarr"]

_ARRAYS = (".zarray", "zarr.json")
_GATHERED = ".zmetadata"
_METADATA = (*_ARRAYS, _GATHERED, ".zgroup", ".zattrs")
_LARGEST = 64 * 1024**2
_CHUNK = re.compile(r"\d+(\.\d+)*|c")
_DEPTH = 20
_DIMS = 32
_CHUNKS = 100_000

# Each says how long its output is before it makes it, or cannot blow its input up without end.
_SAYING = ("blosc", "lz4", "zstd")
_COMPRESSORS = (*_SAYING, "gzip", "zlib")
_FILTERS = (
    "adler32", "bitround", "crc32", "crc32c", "delta", "fixedscaleoffset", "fletcher32",
    "quantize", "shuffle", "vlen-utf8",
)  # fmt: skip
_BEFORE_BYTES = ("transpose", "bytes")
_DTYPE_2 = re.compile(r"[<>|](b1|[iu][1248]|f[248]|U\d{1,9}|S\d{1,9}|[mM]8(\[\w{1,12}\])?)")
_NUMBER_3 = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)")
_TIMES_3 = ("numpy.datetime64", "numpy.timedelta64")
_POINTER = 8


@dataclass
class _Array:
    """What an array's metadata declares, and which files it has."""

    name: str
    shape: list[int]
    chunks: list[int]
    itemsize: int
    varies: bool
    compressor: str | None
    filters: list[str]
    files: dict[str, int] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * self.itemsize

    @property
    def chunk_bytes(self) -> int:
        return math.prod(self.chunks) * self.itemsize

    @property
    def n_chunks(self) -> int:
        pairs = zip(self.shape, self.chunks, strict=True)
        return math.prod(-(-size // chunk) for size, chunk in pairs)


def check_zarr(path: Path, *, lazily: Sequence[str] = ()) -> list[str]:
    """Refuse a Zarr folder that would run anything or take more memory than it has need of.

    Give the arrays that have no file of values: Zarr leaves out what is empty.
    """
    sizes: dict[str, int] = {}
    folders: list[str] = []
    for name, size in _entries(path, path, 0):
        if size is None:
            folders.append(name)
        else:
            sizes[name] = size
    total = sum(sizes.values())
    arrays: dict[str, list[_Array]] = {}
    for name in sizes:
        folder, _, file = name.rpartition("/")
        if file in (*_ARRAYS, _GATHERED):
            arrays.setdefault(folder, []).extend(_arrays(path, name, folder))
    for name, size in sizes.items():
        folder, _, file = name.rpartition("/")
        if file not in _METADATA and not file.startswith("."):
            owners = _of_chunk(arrays, folder)
            for array in owners:
                array.files[name] = size
            if not owners and _CHUNK.fullmatch(file):
                # Zarr leaves an array without metadata out, with all that it holds.
                raise RefusedFileError(
                    f"{str(path)!r} holds {shown(name)}, a chunk of an array without metadata. "
                    "The folder is damaged; get it again from where it was made."
                )
    _check_kinds_of_entries(path, arrays, sizes, folders)
    for array in (array for group in arrays.values() for array in group):
        _check_chunks(path, array, total)
    whole = sum(
        max(array.n_bytes for array in group)
        for name, group in arrays.items()
        if group and name.rpartition("/")[2] not in lazily
    )
    check_size(whole, total, repr(str(path)))
    return sorted(
        array.name
        for group in arrays.values()
        for array in group
        if not array.files and array.n_chunks and array.name.rpartition("/")[2] not in lazily
    )


def _entries(root: Path, folder: Path, depth: int) -> Iterator[tuple[str, int | None]]:
    """Give every file with its size, and every folder without one."""
    if depth > _DEPTH:
        raise RefusedFileError(f"{str(root)!r} has folders within folders without end.")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield Path(entry.path).relative_to(root).as_posix(), None
                yield from _entries(root, Path(entry.path), depth + 1)
            elif entry.is_file():
                yield Path(entry.path).relative_to(root).as_posix(), entry.stat().st_size
            elif not entry.is_symlink() or Path(entry.path).exists():
                # To read a pipe or a device may wait for ever.
                raise RefusedFileError(
                    f"{str(root)!r} holds {shown(entry.name)}, which is neither a file nor a "
                    "folder. Remove it, or get the folder again."
                )


def _of_chunk(arrays: Mapping[str, list[_Array]], folder: str) -> list[_Array]:
    """Find the array that a chunk's folder belongs to."""
    while folder not in arrays and folder:
        folder = folder.rpartition("/")[0]
    return arrays.get(folder, [])


def _arrays(root: Path, name: str, folder: str) -> list[_Array]:
    """Read the arrays that a file of metadata describes itself; check those that it gathers."""
    try:
        if (root / name).stat().st_size > _LARGEST:
            raise RefusedFileError(f"{str(root / name)!r} is longer than metadata can be.")
        document = json.loads((root / name).read_bytes())
        if name.rpartition("/")[2] == _GATHERED:
            gathered = {
                key: value for key, value in document["metadata"].items() if key.endswith(".zarray")
            }
        elif "consolidated_metadata" in document:
            gathered = dict((document["consolidated_metadata"] or {}).get("metadata") or {})
        else:
            gathered = {}
        for key, value in gathered.items():
            array = _array(value, f"{folder}/{key}", root)
            file = "" if key.endswith(".zarray") else "zarr.json"
            # Whether what this package gathered is there, the sums say.
            if array is not None and OURS not in document:
                _require_there(root, Path(folder, key, file))
        document_array = (
            None if name.rpartition("/")[2] == _GATHERED else _array(document, folder, root)
        )
    except RefusedFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise RefusedFileError(
            f"{str(root)!r} cannot be read: it is damaged, truncated or no .zarr file "
            f"({shown(name)}: {type(error).__name__})."
        ) from error
    return [] if document_array is None else [document_array]


def _require_there(root: Path, metadata: Path) -> None:
    """Refuse a folder without an array that its gathered metadata tell of: Zarr leaves it out."""
    if not (root / metadata).is_file():
        raise RefusedFileError(
            f"{str(root)!r} has no {shown(metadata.as_posix())}, though its metadata tell of the "
            "array. The folder is damaged; get it again from where it was made, or gather its "
            "metadata anew with zarr.consolidate_metadata."
        )


def _array(document: Mapping[str, Any], name: str, root: Path) -> _Array | None:
    """Read what metadata declares, in format 2 or 3; None for a group."""
    where = f"The array {shown(name or '.')} of {str(root)!r}"
    if document.get("node_type", "array") == "group":
        return None
    if document["zarr_format"] == 2:
        array = _format_2(document, name, where)
    else:
        array = _format_3(document, name, where)
    numbers = [*array.shape, *array.chunks]
    right = len(array.shape) == len(array.chunks) <= _DIMS and all(
        isinstance(n, int) and not isinstance(n, bool) for n in numbers
    )
    if not right or min(array.shape, default=0) < 0 or min(array.chunks, default=1) < 1:
        raise RefusedFileError(
            f"{where} has the shape {shown(array.shape)} in chunks of {shown(array.chunks)}, which "
            "cannot be. It is damaged; get it again from where it was made."
        )
    return array


def _format_2(document: Mapping[str, Any], name: str, where: str) -> _Array:
    filters = [str(entry["id"]) for entry in document["filters"] or ()]
    for entry in document["filters"] or ():
        _require(entry["id"], _FILTERS, f"{where} has the filter")
        for key in ("dtype", "astype"):
            if entry.get(key) is not None:
                _require_dtype(entry[key], where)
    compressor = None if document["compressor"] is None else document["compressor"]["id"]
    if compressor is not None:
        _require(compressor, _COMPRESSORS, f"{where} has the compressor")
    dtype = document["dtype"]
    texts = "vlen-utf8" in filters
    if dtype != "|O" or not texts:
        _require_dtype(dtype, where)
    itemsize = _POINTER if dtype == "|O" else _itemsize(dtype)
    chunks = list(document["chunks"])
    return _Array(name, list(document["shape"]), chunks, itemsize, texts, compressor, filters)


def _require_dtype(dtype: object, where: str) -> None:
    if not isinstance(dtype, str) or not _DTYPE_2.fullmatch(dtype):
        raise _refusal(f"{where} holds data of the type", dtype, "numbers, bool and text")


def _itemsize(dtype: str) -> int:
    size = int(re.findall(r"\d+", dtype)[0])
    return size * 4 if dtype[1] == "U" else size


def _format_3(document: Mapping[str, Any], name: str, where: str) -> _Array:
    itemsize = _itemsize_3(document["data_type"], where)
    _require(document["chunk_grid"]["name"], ("regular",), f"{where} has the chunk grid")
    key = document["chunk_key_encoding"]
    _require(_name(key), ("default", "v2"), f"{where} has the chunk keys")
    if document.get("storage_transformers"):
        raise _refusal(
            f"{where} has the storage transformer", document["storage_transformers"], "none"
        )
    names = [_name(codec) for codec in document["codecs"]]
    known = (*_BEFORE_BYTES, *_FILTERS, *_COMPRESSORS)
    for codec in document["codecs"]:
        _require(_name(codec), known, f"{where} has the codec")
        for part in ("dtype", "astype"):
            given = codec.get("configuration", {}) if isinstance(codec, Mapping) else {}
            if (given or {}).get(part) is not None:
                _require_dtype(given[part], where)
    # What stands after the compressor is its frame's checksum, at its end.
    compressors = [codec for codec in names if codec in _COMPRESSORS]
    if len(compressors) > 1 or (
        compressors and set(names[names.index(compressors[0]) + 1 :]) - {"crc32c"}
    ):
        raise _refusal(f"{where} has the codecs", names, "one compressor, the last but for crc32c")
    chunks = list(document["chunk_grid"]["configuration"]["chunk_shape"])
    filters = [codec for codec in names if codec in _FILTERS]
    compressor = compressors[0] if compressors else None
    texts = "vlen-utf8" in names
    return _Array(name, list(document["shape"]), chunks, itemsize, texts, compressor, filters)


def _itemsize_3(data_type: Any, where: str) -> int:
    name = _name(data_type)
    if _NUMBER_3.fullmatch(name):
        return int((re.findall(r"\d+", name) or ["8"])[0]) // 8
    if name in _TIMES_3:
        return 8
    if name == "string":
        return _POINTER
    if name == "fixed_length_utf32":
        size = data_type["configuration"]["length_bytes"]
        if isinstance(size, int) and size >= 0:
            return size
    raise _refusal(f"{where} holds data of the type", data_type, "numbers, bool and text")


def _name(entry: Any) -> str:
    """Give the name of a codec or type, which numcodecs' own have with its name before."""
    name = entry["name"] if isinstance(entry, Mapping) else entry
    return str(name).removeprefix("numcodecs.")


def _require(name: object, known: Sequence[str], noun: str) -> None:
    if name not in known:
        raise _refusal(noun, name, ", ".join(known))


def _refusal(noun: str, stored: object, expected: str) -> RefusedFileError:
    return RefusedFileError(
        f"{noun} {shown(stored)}; valuebias opens no others than: {expected}. Others may run code "
        "or fill memory. Where the data are yours, write them with valuebias.write."
    )


def _check_chunks(root: Path, array: _Array, total: int) -> None:
    """Hold what chunks take of memory against what is on disk."""
    where = f"The array {shown(array.name or '.')} of {str(root)!r}"
    check_size(array.chunk_bytes, total, f"A chunk of {where[0].lower()}{where[1:]}")
    if array.n_chunks > _CHUNKS + 100 * len(array.files):
        raise RefusedFileError(
            f"{where} is cut into {array.n_chunks:,} chunks and has {len(array.files):,}: it is "
            "damaged, or made to exhaust memory. Get it again from where it was made."
        )
    if array.compressor not in _SAYING:
        return
    varies = bool(array.filters) or array.varies
    for name, size in array.files.items():
        with (root / name).open("rb") as handle:
            unpacked = _unpacked(handle.read(18), str(array.compressor))
        if unpacked is None or (not varies and unpacked > array.chunk_bytes):
            raise RefusedFileError(
                f"{where} has a chunk, {shown(name)}, that unpacks to "
                f"{'another' if unpacked is None else 'a greater'} length than its metadata says. "
                "It is damaged; get it again from where it was made."
            )
        check_size(unpacked, size, repr(str(root / name)))


def _check_kinds_of_entries(
    root: Path,
    arrays: Mapping[str, list[_Array]],
    files: Iterable[str],
    folders: Iterable[str],
) -> None:
    """Refuse a folder where a chunk's file belongs, and the other way round.

    Zarr takes the chunk for one of empty values.
    """
    entries = [(name, True) for name in folders] + [(name, False) for name in files]
    for name, is_folder in entries:
        for array in _of_chunk(arrays, name):
            inside = name.removeprefix(array.name).strip("/")
            indices = [place for place in re.split("[./]", inside) if place != "c"]
            n_dims = max(len(array.shape), 1)
            if not indices or not all(place.isdecimal() for place in indices):
                continue
            if len(indices) >= n_dims if is_folder else len(indices) < n_dims:
                raise RefusedFileError(
                    f"{str(root)!r} holds {shown(name)} as a {'folder' if is_folder else 'file'}, "
                    f"where a {'file' if is_folder else 'folder'} belongs. It is damaged; get it "
                    "again from where it was made."
                )


def _unpacked(head: bytes, compressor: str) -> int | None:
    """Read from a chunk's first bytes how long it is unpacked; None where they do not say."""
    if compressor == "blosc":
        return int.from_bytes(head[4:8], "little") if len(head) >= 16 else None
    if compressor == "lz4":
        return int.from_bytes(head[:4], "little") if len(head) >= 4 else None
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        return None
    flags = head[4]
    single = bool(flags & 0x20)
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3]
    size = {0: 1 if single else 0, 1: 2, 2: 4, 3: 8}[flags >> 6]
    if not size or len(head) < start + size:
        return None
    return int.from_bytes(head[start : start + size], "little") + (256 if size == 2 else 0)
