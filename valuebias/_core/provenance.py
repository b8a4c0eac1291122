"""The one place where provenance records are made."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from valuebias._core.foreign import check_file
from valuebias.errors import ValueBiasError

__all__ = ["PACKAGES", "record", "sha256", "versions"]

PACKAGES = (
    "valuebias",
    "arviz",
    "datasets",
    "formulaic",
    "numba",
    "numpy",
    "nutpie",
    "onnxruntime",
    "onnxruntime-gpu",
    "optimum-onnx",
    "pandas",
    "peft",
    "pyarrow",
    "pymc",
    "pytensor",
    "safetensors",
    "scipy",
    "statsmodels",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "xarray",
    "zarr",
)
"""The distributions whose versions a record names, where they are installed."""


@functools.lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name in PACKAGES:
        try:
            pairs.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(pairs)


def versions() -> dict[str, str]:
    """Name the installed version of each package the numbers depend on.

    Examples
    --------
    >>> "numpy" in versions()
    True
    """
    return dict(_versions())


def sha256(path: str | os.PathLike[str]) -> str:
    """Give the SHA-256 of a file in hexadecimal.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "empty"
    >>> path.touch()
    >>> sha256(path)[:8]
    'e3b0c442'
    """
    check_file(path)
    try:
        with Path(path).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise ValueBiasError(
            f"{os.fspath(path)!r} cannot be read ({error.strerror}). Check the path."
        ) from error


def record(
    *,
    files: Iterable[str | os.PathLike[str]] = (),
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make a provenance record: when, with what, on what, from which files.

    Examples
    --------
    >>> made = record(details={"note": "by hand"})
    >>> made["note"], made["date"].endswith("+00:00")
    ('by hand', True)
    """
    content: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(),
    }
    hashes = [{"name": Path(path).name, "sha256": sha256(path)} for path in files]
    if hashes:
        content["files"] = hashes
    extra = dict(details or {})
    taken = sorted(content.keys() & extra.keys())
    if taken:
        raise ValueBiasError(
            f"details has the entries {taken}, which the record fills itself. Rename them."
        )
    return content | extra
