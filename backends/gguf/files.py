"""Read what a GGUF file says of itself, and put a file that was split together again."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.fetch import cache_folder
from valuebias._core.foreign import reading
from valuebias.backends.gguf.sizes import check_sizes
from valuebias.errors import ValueBiasError

__all__ = ["Contents", "first_part", "parts", "read_gguf", "split_names", "whole"]

_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
# Small tensors whose values matter before a model is loaded.
_SMALL = re.compile(r"rope_(?:freqs|factors_long|factors_short)\.weight|cls\..*")
# Long arrays that only a tokenizer needs; taking them apart takes longer than all else.
_VOCABULARY = re.compile(
    r"tokenizer\.ggml\.(?:tokens|scores|token_type|merges|precompiled_charsmap)"
)


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a GGUF file says of its model, without the weights.

    Attributes
    ----------
    path : pathlib.Path
        The file, or the first of its parts.
    fields : mapping of str to Any
        Its metadata, without the vocabulary.
    shapes : mapping of str to tuple of int
        Tensor to shape, in the order of PyTorch.
    small : mapping of str to numpy.ndarray of float32
        The values of those tensors that say how to compute: frequencies, and a classification head.
    """

    path: Path
    fields: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
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
        with _damage_told(path):
            for tensor in reader.tensors:
                if tensor.name in shapes:
                    raise ValueError(f"the tensor {tensor.name[:60]!r} stands in two parts")
                shapes[tensor.name] = tuple(int(n) for n in reversed(tensor.shape))
                if _SMALL.fullmatch(tensor.name):
                    small[tensor.name] = _values(tensor)
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
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ValueBiasError(
            "The package gguf is not installed, and a GGUF file needs it. Run: "
            'pip install "valuebias[torch]".'
        ) from error
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


def _values(tensor: Any) -> npt.NDArray[np.float32]:
    from gguf import dequantize

    return np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)


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
