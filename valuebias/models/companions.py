"""The files beside a model's weights that can change its numbers, and their hash.

Configuration, tokenizer, chat templates and, where it may run, the code that comes with a model.
What is only about the model (its card, how it was trained, how text is generated with it) is not
among them; nor is an adapter beside the weights, because the weights are loaded without it. Code
that comes with a model may read any file, so where it runs nearly all of them count.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from valuebias.models.weights import digest

__all__ = ["code_files", "companions", "digest_files"]

_PATTERNS = (
    "config.json",
    "configuration*.json",
    "modules.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tekken.json",
    "tokenizer*",
    "*tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.model",
    "*.spm",
    "*.bpe",
    "*.tiktoken",
    "*.index.json",
    "chat_template*",
    "additional_chat_templates/*",
)
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx", ".onnx_data", ".data", ".h5")
_INERT = re.compile(
    r"readme\.md|license(\.txt|\.md)?|notice(\.txt|\.md)?|\.git(attributes|ignore)|\.ds_store"
    r"|(optimizer|scheduler|scaler)\.(pt|bin)|rng_state(_\d+)?\.pth|events\.out\.tfevents\..*"
    r"|flax_model\.msgpack|tf_model\.h5|rust_model\.ot",
    re.IGNORECASE,
)
"""Files that no model's code reads: prose, what training goes on from, other libraries' weights."""
_INERT_FOLDERS = frozenset((".git", ".cache", "__pycache__"))


def companions(folder: Path) -> list[Path]:
    """Find the files that a tokenizer and a configuration are loaded from."""
    paths = {path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file()}
    return sorted(path for path in paths if not path.name.lower().endswith(_WEIGHTS))


def code_files(folder: Path, weights: Iterable[Path]) -> dict[str, str]:
    """Hash the files that may be a model's code, or that its code may read.

    That is all but a few files that are known to do nothing: which of the others code reads cannot
    be told from their names.
    """
    loaded = {path.absolute() for path in weights}
    parts: dict[str, list[Path]] = {}
    for path in _below(folder):
        if path.absolute() not in loaded and not _INERT.fullmatch(path.name):
            first, *deeper = path.relative_to(folder).parts
            parts.setdefault(f"{first}/" if deeper else first, []).append(path)
    return {name: digest_files(folder, paths) for name, paths in sorted(parts.items())}


def _below(folder: Path) -> Iterator[Path]:
    """Find a folder's files at any depth, also where links lead, each folder once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name not in _INERT_FOLDERS)
        yield from (path for name in files if (path := Path(root, name)).is_file())


def digest_files(folder: Path, files: Iterable[Path]) -> str:
    """Hash files, with their paths relative to a folder."""
    lines = [f"{path.relative_to(folder).as_posix()} {digest([path])}" for path in files]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
