"""Find the released files: in VALUEBIAS_DATA, else in the cache, else on the network."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from valuebias._core.atomic import atomic_path
from valuebias._core.provenance import sha256
from valuebias._core.telemetry import OFFLINE, offline
from valuebias.errors import ValueBiasError

__all__ = ["Source", "cache_folder", "fetch", "registry", "released"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file at a fixed address.

    Attributes
    ----------
    local : str
        Where it lies under the folder that VALUEBIAS_DATA names, and in the cache.
    url : str
        Its address, fixed to a commit.
    sha256 : str or None
        Its hash. None = not known beforehand: it is recorded at the first download and checked
        from then on.
    size : int or None
        Bytes.
    """

    local: str
    url: str
    sha256: str | None
    size: int | None


@functools.lru_cache(maxsize=1)
def registry() -> dict[str, Any]:
    """Give the manifest of released files, lexicons and datasets."""
    text = (resources.files("valuebias") / "data" / "registry.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def released(local: str) -> Source:
    """Look a released file up.

    Examples
    --------
    >>> released("corpora/dict_big2_nouns.csv").size
    5853
    """
    entry = registry()["files"][local]
    url = f"{entry.get('address', registry()['address'])}/{quote(entry['path'])}"
    return Source(local, url, entry.get("sha256"), entry.get("size"))


def cache_folder() -> Path:
    """Give the folder that downloads go to."""
    import pooch  # slow to import, and only needed here

    return Path(os.environ.get("VALUEBIAS_CACHE") or pooch.os_cache("valuebias"))


def fetch(file: Source) -> Path:
    """Give the path of a released file, its hash checked.

    Notes
    -----
    The folder that the environment variable VALUEBIAS_DATA names is looked in first, and nothing is
    written there: for the file where it belongs (``elo/prefer.csv``), else, where its hash is
    known, for a file of that hash in the folder itself or where it would belong beside the folder,
    under its own name or that of its address. The hash is checked on every call, wherever the file
    lies.
    """
    given = os.environ.get("VALUEBIAS_DATA")
    if given:
        if not Path(given).is_dir():
            raise ValueBiasError(
                f"The environment variable VALUEBIAS_DATA is {given!r}, which is no folder. "
                "Correct it, or unset it to download the files."
            )
        path = Path(given) / file.local
        if path.is_file():
            return _checked(path, file.sha256)
        for path in _elsewhere(Path(given), file):
            if path.is_file() and sha256(path) == file.sha256:
                return path
    path = cache_folder() / file.local
    if not path.is_file():
        _download(file, path)
    return _checked(path, _expected(file, path))


def _elsewhere(folder: Path, file: Source) -> list[Path]:
    """Name the further places in a folder and beside it where a file may lie."""
    local, published = Path(file.local), unquote(file.url.rpartition("/")[2])
    places = (folder / local.parent, folder, folder.resolve().parent / local.parent)
    return [place / name for place in places for name in (local.name, published)]


def _checked(path: Path, expected: str | None) -> Path:
    if expected is not None:
        digest = sha256(path)
        if digest != expected:
            raise ValueBiasError(
                f"{str(path)!r} is not the released file: its SHA-256 is {digest}, expected "
                f"{expected}. It was changed or truncated; delete it or replace it by the original."
            )
    return path


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _expected(file: Source, path: Path) -> str | None:
    if file.sha256 is not None:
        return file.sha256
    try:
        return _record(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueBiasError(
            f"The hash recorded when {str(path)!r} was downloaded is gone or unreadable. "
            "Delete the file so that it is downloaded again."
        ) from error


def _download(file: Source, path: Path) -> None:
    if offline():
        raise ValueBiasError(
            f"{file.url} would have to be downloaded, and the environment variable {OFFLINE} "
            f"forbids it. Unset it, or set VALUEBIAS_DATA to a folder that has {file.local!r}."
        )
    import pooch
    import requests

    with atomic_path(path) as part:
        try:
            pooch.retrieve(file.url, known_hash=None, fname=part.name, path=part.parent)
        except (OSError, requests.RequestException) as error:
            raise ValueBiasError(
                f"{file.url} cannot be downloaded ({type(error).__name__}). Without a network, set "
                f"the environment variable VALUEBIAS_DATA to a folder that has {file.local!r}."
            ) from error
        _checked(part, file.sha256)
        if file.sha256 is None:
            with atomic_path(_record(path)) as record:
                record.write_text(sha256(part), encoding="ascii")
