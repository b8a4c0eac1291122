"""Lexicons in packages that the user installed: found by the record of their files, never imported.

What such a package holds is text to be read, as in any file of others; none of its code runs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path, PurePosixPath
from typing import Any

from valuebias._core.checks import check_known
from valuebias._core.foreign import reading
from valuebias.errors import ValueBiasError, did_you_mean

__all__ = ["Installed", "elsewhere", "find", "is_named", "packages", "present"]

_MOST = 64 * 2**20
"""Bytes of a file; the longest list of the packages that are known takes 8 MB."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A lexicon's file, and what its package and the literature say of it."""

    path: Path
    source: str
    citation: str
    licence: str


@functools.lru_cache(maxsize=1)
def packages() -> dict[str, dict[str, Any]]:
    """Give the packages that are known to hold lexicons, and what is known of these."""
    file = resources.files("valuebias") / "data" / "lexicon_packages.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def is_named(source: str) -> bool:
    """Whether a text is meant as a lexicon of a package, and not as a path with a drive.

    Examples
    --------
    >>> is_named("taters:Personal Values"), is_named("C:/words.csv")
    (True, False)
    """
    package, colon, name = source.partition(":")
    return bool(colon) and len(package) > 1 and not name.startswith(("/", "\\"))


def elsewhere(asked: str) -> str:
    """Say where a lexicon is to be had that has a name in the literature and none here.

    Examples
    --------
    >>> elsewhere("J-MFD")[:53]
    'The Japanese Moral Foundations Dictionary is J-MFD_20'
    >>> elsewhere("mine")
    ''
    """
    file = resources.files("valuebias") / "data" / "lexicons_elsewhere.json"
    known: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    plain = "".join(filter(str.isalnum, asked.partition(":")[0].casefold()))
    return known.get(plain, "")


def find(source: str) -> Installed:
    """Find a lexicon by ``package:name``; say what lacks where it is not there."""
    package, _, name = source.partition(":")
    said = f"No package {package!r} is known to hold lexicons."
    if known_elsewhere := elsewhere(package):
        raise ValueBiasError(f"{said} {known_elsewhere}")
    check_known(package, packages(), said)
    entry = packages()[package]
    version, files = present(package)
    if version is None:
        _check_name(name, package, entry["lexicons"])
        raise ValueBiasError(
            f"The lexicon {source!r} is part of the package {package!r}, which is not installed. "
            f"Install it: {entry['install']}"
        )
    if not files:
        raise ValueBiasError(
            f"The package {package} {version} is installed, but its record names no lexicons; "
            f"expected files such as {entry['files']}, as in version {entry['version']}. Install "
            f"it again: {entry['install']}"
        )
    _check_name(name, package, files, f" ({version})")
    path = files[name]
    with reading(path, advice=f"Install the package {package} again."):
        size = path.stat().st_size
    if size > _MOST:
        raise ValueBiasError(
            f"{str(path)!r} takes {size / 2**20:,.0f} MB; expected a list of words, of at most "
            f"{_MOST // 2**20} MB. Install the package {package} again."
        )
    return Installed(
        path=path,
        source=f"{package} {version}",
        citation=citation(package, name),
        licence=str(entry["licence"]),
    )


def citation(package: str, name: str) -> str:
    """Say whom to cite for a lexicon of a package."""
    entry = packages()[package]
    known = entry["lexicons"].get(name)
    return str(entry["cited"].format(citation=known) if known else entry["uncited"])


def present(package: str) -> tuple[str | None, dict[str, Path]]:
    """Give the version of a package and its lexicons' files; none where it is not installed."""
    entry = packages()[package]
    pattern = PurePosixPath(entry["files"])
    paths: dict[str, Path] = {}
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None, paths
    noun = f"The record of the installed package {package!r}"
    with reading(noun, advice=f"Install it again: {entry['install']}"):
        version = str(distribution.version)
        for file in sorted(distribution.files or (), key=str):
            place = PurePosixPath(file.as_posix())
            path = Path(str(file.locate()))
            same = len(place.parts) == len(pattern.parts) and place.match(str(pattern))
            if same and path.is_file():
                paths[entry["prefix"] + place.stem] = path
    return version, paths


def _check_name(name: str, package: str, known: Collection[str], version: str = "") -> None:
    if name not in known:
        full = [f"{package}:{one}" for one in known]
        raise ValueBiasError(
            f"The package {package!r}{version} has no lexicon {name!r}. "
            f"{did_you_mean(f'{package}:{name}', full)}"
        )
