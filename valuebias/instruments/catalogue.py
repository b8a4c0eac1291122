"""What lexicons there are by name, and what could be."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from valuebias._core.fetch import registry
from valuebias._core.foreign import parse_json, reading
from valuebias.instruments.installed import citation, packages, present
from valuebias.instruments.lexicons import lexicon

__all__ = ["lexicons"]

_HEAD = 2**16
"""Bytes of a list that are looked at for its categories."""
_COLUMNS = ("name", "state", "title", "categories", "source", "licence", "citation", "install")


def lexicons() -> pd.DataFrame:
    """List the lexicons that have a name: those at hand, and those that could be.

    Returns
    -------
    pandas.DataFrame
        One row per lexicon: ``name``, as :func:`valuebias.lexicon` takes it; ``state``, "bundled",
        "fetched when used", "installed" (in a package) or "to be installed"; ``title``;
        ``categories``, a tuple, empty where the list is not at hand; ``source``, the package with
        its version or the address; ``licence``; ``citation``; and ``install``, the command
        that brings it.

    Notes
    -----
    Packages are looked up among what is installed and their files are read; none is imported, and
    nothing of theirs is part of valuebias.

    Examples
    --------
    >>> import valuebias
    >>> known = valuebias.lexicons().set_index("name")
    >>> known["state"]["agency-communion"]
    'bundled'
    >>> known["citation"]["taters:Personal Values"].partition(" (")[0]
    'Ponizovskiy, Ardag, Grigoryan, Boyd, Dobewall and Holtz'
    """
    rows = [_released(name, entry) for name, entry in registry()["lexicons"].items()]
    for package, entry in packages().items():
        version, files = present(package)
        # A later version may have others, an earlier one lack some.
        names = dict.fromkeys([*entry["lexicons"], *files])
        rows.extend(_of_package(package, name, version, files.get(name)) for name in names)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _released(name: str, entry: dict[str, Any]) -> tuple[object, ...]:
    bundled = "bundled" in entry
    return (
        name,
        "bundled" if bundled else "fetched when used",
        entry["title"],
        lexicon(name).categories if bundled else tuple(entry["categories"]),
        "valuebias" if bundled else registry()["address"],
        entry["licence"],
        entry["citation"],
        "",
    )


def _of_package(
    package: str, name: str, version: str | None, path: Path | None
) -> tuple[object, ...]:
    entry = packages()[package]
    return (
        f"{package}:{name}",
        "to be installed" if path is None else "installed",
        name,
        () if path is None else _categories(path),
        package if version is None else f"{package} {version}",
        entry["licence"],
        citation(package, name),
        entry["install"],
    )


def _categories(path: Path) -> tuple[str, ...]:
    """Read the head of a list alone: one of them takes 8 MB."""
    advice = "Install the package again."
    if path.suffix == ".json":
        with reading(path, advice=advice), path.open("rb") as stream:
            text = stream.read(16 * _HEAD)
        content = parse_json(text, repr(str(path)), advice=advice)
        return tuple(map(str, content)) if isinstance(content, dict) else ()
    with reading(path, advice=advice), path.open("rb") as stream:
        line = stream.read(_HEAD).decode("utf-8-sig", errors="replace").partition("\n")[0]
        header = next(csv.reader([line.rstrip("\r")]), [])
    return tuple(cell.strip() for cell in header[1:])
