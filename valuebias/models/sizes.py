"""How large a model's weights are, on disk and in memory, by the headers of their files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuebias._core.checks import NotInstalled
from valuebias._core.foreign import parse_json, reading
from valuebias.backends.base import Source
from valuebias.backends.gguf import files as gguf_files
from valuebias.errors import ValueBiasError
from valuebias.models.config import read_raw
from valuebias.models.weights import INDEX, listed

__all__ = ["ITEM", "Size", "size_of"]

ITEM = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""
_LONGEST = 100_000_000
"""The format's own bound on a header."""


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes; None where the files here do not say."""

    disk: int | None = None  # of the files with weights
    memory: int | None = None  # of the weights that are loaded, in the arithmetic of the run


def size_of(source: Source) -> Size:
    """Add up what a model's files say; nothing of what is not here."""
    if source.file is not None:
        return _of_file(source, source.folder / source.file)
    try:
        paths = [source.folder / name for name in listed(source.folder, source.name)]
        here = [path for path in paths if path.is_file()]
    except ValueBiasError:
        return Size()
    if len(here) < len(paths):
        return Size(_stated(source.folder / INDEX))
    skipped = _unused(source)
    memory = 0
    for path in here:
        for name, entry in _header(path).items():
            if not any(part in f".{name}" for part in skipped):
                memory += _bytes(entry, source.dtype)
    return Size(_on_disk(here), memory)


def _of_file(source: Source, path: Path) -> Size:
    if path.suffix.lower() != ".gguf":
        # The weights of an ONNX file are computed with as they are.
        total = _on_disk(sorted(path.parent.glob(f"{path.name}*")))
        return Size(total, total)
    try:
        disk = _on_disk(gguf_files.parts(path))
    except ValueBiasError:
        return Size()
    try:
        shapes = gguf_files.read_gguf(path).shapes
    except NotInstalled:
        return Size(disk)
    return Size(disk, ITEM[source.dtype] * sum(map(math.prod, shapes.values())))


def _on_disk(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _stated(index: Path) -> int | None:
    """Read how large files are that are not here, where their index says so."""
    try:
        total = json.loads(index.read_bytes())["metadata"]["total_size"]
        return int(total) or None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _unused(source: Source) -> tuple[str, ...]:
    """Name what is not loaded: a language model's head where another one is read, or it is tied."""
    tied = read_raw(source.folder, source.name).get("tie_word_embeddings") is True
    return (".lm_head.",) if source.kind == "reward" or tied else ()


def _header(path: Path) -> Mapping[str, Any]:
    """Read the tensors' names, types and shapes; safetensors itself need not be installed."""
    advice = "Download or save the model again."
    with reading(path, because="it is no safetensors file", advice=advice), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= _LONGEST:
            raise ValueError(f"its header would have {length} bytes")
        text = file.read(length)
    content = parse_json(text, path, advice=advice)
    with reading(path, because="it is no safetensors file", advice=advice):
        return {name: dict(entry) for name, entry in content.items() if name != "__metadata__"}


def _bytes(entry: Mapping[str, Any], dtype: str) -> int:
    """Give a tensor's bytes once it is loaded: numbers with a point take the run's dtype."""
    start, end = _pair(entry["data_offsets"])
    if not str(entry["dtype"]).startswith(("F", "BF")):
        return end - start
    return ITEM[dtype] * math.prod(int(n) for n in entry["shape"])


def _pair(offsets: Any) -> Iterator[int]:
    return (int(offset) for offset in offsets)
