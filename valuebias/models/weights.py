"""A model's files: which there are, what is in them, and their hashes, without loading any."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from valuebias._core.atomic import atomic_path
from valuebias._core.fetch import cache_folder
from valuebias._core.foreign import read_json, reading
from valuebias._core.provenance import sha256
from valuebias.errors import ValueBiasError, few, shown
from valuebias.models.config import read_raw

__all__ = [
    "INDEX",
    "SINGLE",
    "check_has",
    "code_files",
    "companions",
    "digest",
    "digest_files",
    "listed",
    "tensors",
    "weight_files",
]

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SMALL = 1 << 23
_AGAIN = "Download or save the model again."
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


def listed(folder: Path, name: str) -> list[str]:
    """Name the safetensors files that transformers loads: the only one, or those of the index.

    A single file goes before an index, as in transformers; and what ``transformers_weights`` in
    the configuration names goes before both.
    """
    named = _named(folder, name)
    index = folder / (named or INDEX)
    if named is not None and not named.endswith(".index.json"):
        return [named]
    if not index.is_file() or (named is None and (folder / SINGLE).is_file()):
        return [SINGLE]
    said, advice = f"The index of the weights of {name!r}, {index.name},", _AGAIN
    content = read_json(index, said, advice=advice)
    with reading(said, advice=advice):
        named_files = set(content["weight_map"].values())
        if not all(isinstance(file, str) for file in named_files):
            raise TypeError("a file's name is no text")
    files = sorted(named_files)
    if not files or any(Path(file).name != file or "\0" in file for file in files):
        raise ValueBiasError(
            f"The index of the weights of {name!r} names no proper file: {few(files)}. {advice}"
        )
    return files


def _named(folder: Path, name: str) -> str | None:
    """Give the file with the weights that a configuration names, where it names one."""
    named = read_raw(folder, name).get("transformers_weights")
    if named is None:
        return None
    proper = isinstance(named, str) and Path(named).name == named
    if not proper or not str(named).endswith((".safetensors", ".safetensors.index.json")):
        raise ValueBiasError(
            f"The config.json of {name!r} names the weights transformers_weights={named!r}; "
            "expected the name of a safetensors file beside it. Correct it, or leave it out."
        )
    return str(named)


def weight_files(folder: Path, name: str) -> list[Path]:
    """Find the safetensors files of a folder."""
    paths = [folder / file for file in listed(folder, name)]
    # pathlib would raise where a name is longer than a file's may be.
    missing = [path.name for path in paths if not os.path.isfile(path)]
    if not missing:
        return paths
    if len(missing) < len(paths):
        raise ValueBiasError(
            f"The folder {os.fspath(folder)!r} of {name!r} lacks {shown(missing[0])} and "
            f"{len(missing) - 1} more of {len(paths)} files with weights. Complete the download."
        )
    check_has(sorted(path.name for path in folder.iterdir()), folder, name)
    return paths


def check_has(names: Sequence[str], where: str | Path, name: str) -> None:
    """Raise a ValueBiasError that says why files of these names are no weights to be used."""
    if any(file.lower().endswith(_PICKLES) for file in names):
        raise ValueBiasError(
            f"The model {name!r} has pickled weights only, which can run any code when they are "
            "loaded, so valuebias never does. Save them as safetensors: "
            "save_pretrained(folder) of transformers 5 does."
        )
    if "adapter_config.json" in names:
        raise ValueBiasError(
            f"The model {name!r} is an adapter without its base model, although it has a "
            "config.json. Give the base as location= and this as adapter=: "
            "Model('the base', adapter='the adapter')."
        )
    single = [file for file in names if file.lower().endswith((".gguf", ".onnx"))]
    if single:
        raise ValueBiasError(
            f"The model {name!r} has {single[:4]} and no safetensors. Say which file is meant: "
            f"give it as the source, as in '.../{single[0]}'."
        )
    raise ValueBiasError(
        f"There are no weights of {name!r} in {os.fspath(where)!r}; found "
        f"{list(names)[:8]}, expected {SINGLE!r}, or {INDEX!r} with its files."
    )


def tensors(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the tensors in a safetensors file, without loading any."""
    from safetensors import safe_open

    with (
        reading(path, because="it is truncated or no safetensors file", advice=_AGAIN),
        safe_open(path, framework="np") as file,
    ):
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118


def digest(paths: Sequence[Path]) -> str:
    """Hash files together: their names and what is in them.

    Notes
    -----
    Hashing a large model takes a minute, so each large file's hash is kept in the cache folder for
    as long as its path, size and times stay the same.
    """
    lines = sorted(f"{path.name} {_one(path)}" for path in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _one(path: Path) -> str:
    real = path.resolve()
    # The hub's cache names large files by their SHA-256 and checks it when it downloads them.
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return real.name
    try:
        state = real.stat()
    except OSError:
        return sha256(path)
    if state.st_size < _SMALL:
        return sha256(real)
    known = (os.fspath(real), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    key = hashlib.sha256(repr(known).encode()).hexdigest()
    kept = cache_folder() / "digests" / key
    try:
        text = kept.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        text = ""
    if _SHA256.fullmatch(text):
        return text
    digest = sha256(real)
    with atomic_path(kept) as part:
        part.write_text(digest, encoding="ascii")
    return digest


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
