"""Read all that lies in a folder, packed or not: for tests that look for what must not be there."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["everything", "found_in"]


def found_in(folder: Path, wanted: list[str]) -> list[str]:
    """Say in which files of a folder, or names of them, one of some texts stands."""
    found = {}
    for where, content in everything(folder):
        for text in wanted:
            for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
                at = content.find(text.encode(encoding))
                if at >= 0:
                    found[where, text] = content[max(0, at - 60) : at + 90]
    return [f"{where}: {text}: {around!r}" for (where, text), around in found.items()]


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Give each file's name, its bytes, and whatever is packed in them."""
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        yield f"name of {name}", name.encode("utf-8", "surrogateescape")
        if path.is_file():
            content = path.read_bytes()
            yield name, content
            for part in _unpacked(path, content):
                yield f"in {name}", part
        elif (path / "zarr.json").exists() and not (path.parent / "zarr.json").exists():
            for part in _zarr(path):
                yield f"arrays of {name}", part


def _unpacked(path: Path, content: bytes) -> Iterator[bytes]:
    if content[:4] == b"\x89HDF":
        yield from _hdf5(path)
    elif content[:4] == b"PAR1":
        yield from _parquet(path)
    elif content[:4] == b"\x89PNG":
        yield from _png(content)
    elif content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            for name in packed.namelist():
                yield packed.read(name)
    elif content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:4] == b"%PDF":
        for found in re.finditer(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
            yield _inflated(found[1])
    if path.suffix in (".html", ".md", ".svg", ".ipynb"):
        for found in re.finditer(rb"base64,([A-Za-z0-9+/=\s%]+)", content):
            inside = base64.b64decode(found[1], validate=False)
            yield inside
            yield from _unpacked(Path("inside"), inside)


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(content)
    except zlib.error:
        return b""


def _png(content: bytes) -> Iterator[bytes]:
    for found in re.finditer(rb"(zTXt|iTXt|eXIf|iCCP)(.*)", content, re.DOTALL):
        for at in range(min(200, len(found[2]))):
            yield _inflated(found[2][at:])


def _text(values: object) -> bytes:
    import numpy as np

    array = np.asarray(values)
    if array.dtype.kind in "OSUTV":
        return "\n".join(map(str, array.ravel().tolist())).encode("utf-8", "surrogateescape")
    return array.tobytes()


def _hdf5(path: Path) -> Iterator[bytes]:
    import h5py

    parts: list[bytes] = []

    def look(name: str, item: h5py.Group | h5py.Dataset) -> None:
        parts.append(name.encode())
        parts.extend(_text(value) for value in item.attrs.values())
        if isinstance(item, h5py.Dataset):
            text = h5py.check_string_dtype(item.dtype) is not None
            parts.append(_text(item.asstr()[()] if text else item[()]))

    with h5py.File(path) as opened:
        look("/", opened)
        opened.visititems(look)
    yield from parts


def _zarr(path: Path) -> Iterator[bytes]:
    import zarr

    opened = zarr.open(path, mode="r")
    groups = [opened] if isinstance(opened, zarr.Group) else []
    while groups:
        group = groups.pop()
        yield str(dict(group.attrs)).encode()
        groups.extend(inner for _, inner in group.groups())
        for _, array in group.arrays():
            yield str(dict(array.attrs)).encode()
            yield _text(array[...])


def _parquet(path: Path) -> Iterator[bytes]:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    yield table.to_pandas().to_csv().encode("utf-8", "surrogatepass")
    for value in (table.schema.metadata or {}).values():
        yield value
    stored = pyarrow.parquet.read_metadata(path).metadata or {}
    for value in stored.values():
        try:
            yield base64.b64decode(value, validate=True)
        except ValueError:
            yield value
