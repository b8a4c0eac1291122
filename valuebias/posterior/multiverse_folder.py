"""What a multiverse keeps in its folder, so that another run goes on with it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from valuebias._core.atomic import atomic_path, probe
from valuebias._core.disk import explain_os_errors
from valuebias._core.locks import only_one
from valuebias._core.sums import SUM, DamagedError, read_json, sealed
from valuebias.errors import ValueBiasError, shown
from valuebias.posterior.multiverse_choices import is_whole
from valuebias.posterior.multiverse_fits import NUMBERS, PARTS, TEXTS

__all__ = [
    "check_alike",
    "check_writable",
    "create",
    "keep",
    "read_folder",
    "read_record",
    "read_seed",
    "stored",
]

_RECORD = "multiverse.json"
_LOCK = ".lock"
_WAIT = 60.0
"""A record is written in far less."""
_ABOUT = {"scores", "data", "contrast", "pair", "seed", "estimand", SUM}


def read_folder(out: Any) -> Path | None:
    """Read the path of a folder; nothing is made."""
    if out is None:
        return None
    try:
        text = os.fspath(out)
        right = isinstance(text, str) and text != "" and b"\0" not in os.fsencode(text)
    except (TypeError, UnicodeError):
        right = False
    if not right:
        raise ValueBiasError(
            f"out must be the path of a folder such as 'multiverse', found {shown(out)}."
        )
    return Path(text)


def check_writable(folder: Path | None) -> None:
    """Find out before the work whether a folder can be made and written to, without making it."""
    if folder is None:
        return
    with explain_os_errors(folder, kept=False):
        existing = folder.absolute()
        while not os.path.lexists(existing):
            existing = existing.parent
        if not existing.is_dir():
            raise ValueBiasError(
                f"{str(existing)!r} is not a folder, so that no results can be kept in "
                f"{str(folder)!r}. Give out= the path of a folder, or of one to be made."
            )
        missing = folder.absolute().relative_to(existing).parts
        for path in (folder, *(existing / name for name in missing)):
            # What is not there yet may have a name that is too long.
            with suppress(FileNotFoundError):
                os.stat(path)
        probe(existing / (missing[0] if missing else _RECORD))


def create(
    folder: Path | None, about: Mapping[str, Any], estimand: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Record what the results are of, unless another process was first; return what is recorded."""
    content = {**about, "estimand": estimand}
    if folder is None:
        return content
    with only_one(folder / _LOCK, noun=repr(str(folder)), instead="another folder", wait=_WAIT):
        known = read_record(folder)
        if known is None:
            known = sealed(content)
            with atomic_path(folder / _RECORD) as file:
                file.write_text(json.dumps(known), encoding="utf-8")
    return known


def read_record(folder: Path | None) -> dict[str, Any] | None:
    """Read what a folder says its results are of; None where it is new."""
    if folder is None or not os.path.exists(folder / _RECORD):
        return None
    path = folder / _RECORD
    try:
        record = read_json(path)
        if not _is_record(record):
            raise DamagedError("it does not say what a record says")
    except ValueBiasError as error:
        raise ValueBiasError(
            f"{str(path)!r}, which says what the results in its folder are of, is damaged. Delete "
            "the folder, or name another one: all is estimated anew then."
        ) from error
    return record


def _is_record(record: Mapping[str, Any]) -> bool:
    if set(record) != _ABOUT or not is_whole(record["seed"], 0) or record["seed"] >= 2**32:
        return False
    estimand = record["estimand"]
    if not isinstance(estimand, dict) or set(estimand) != {*PARTS, "weights"}:
        return False
    texts = [record["scores"], record["data"], *(estimand[name] for name in PARTS)]
    weights = estimand["weights"]
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(weights, dict)
        and all(isinstance(weight, float) for weight in weights.values())
    )


def check_alike(folder: Path | None, known: Mapping[str, Any], about: Mapping[str, Any]) -> None:
    """Refuse to mix results of different data or questions."""
    other = [name for name in about if known[name] != about[name]]
    if other:
        advice = ", or leave seed= out to go on with its own" if other == ["seed"] else ""
        raise ValueBiasError(
            f"{str(folder)!r} holds a multiverse with other {' and '.join(other)}; name "
            f"another folder{advice}."
        )


def _file(folder: Path, spec: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:20]
    return folder / f"{digest}.json"


def keep(
    folder: Path | None, spec: Mapping[str, str], row: Mapping[str, Any], marks: Mapping[str, Any]
) -> None:
    """Write a result, and of what it is, where a later run finds it."""
    if folder is not None:
        with atomic_path(_file(folder, spec)) as part:
            part.write_text(json.dumps(sealed({**row, **marks})), encoding="utf-8")


def stored(
    folder: Path | None, spec: Mapping[str, str], marks: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Read a result that is there; one that is damaged, or of something else, is made again."""
    if folder is None or not os.path.exists(_file(folder, spec)):
        return None
    try:
        row = read_json(_file(folder, spec))
    except ValueBiasError:
        return None
    same = SUM in row and all(row.get(n) == value for n, value in {**spec, **marks}.items())
    if not (same and _is_result(row)):
        return None
    return {name: row[name] for name in (*spec, *TEXTS, *NUMBERS, "converged")}


def _is_result(row: Mapping[str, Any]) -> bool:
    """Tell whether a result has all that results have, of the right types."""
    texts: list[Any] = [row.get(name) for name in TEXTS]
    numbers: list[Any] = [row.get(name) for name in NUMBERS]
    return (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, float) for number in numbers)
        and (row["error"] != "" or all(map(math.isfinite, numbers)))
        and isinstance(row.get("converged"), bool)
    )


def read_seed(seed: int | None, known: Mapping[str, Any] | None) -> int:
    """Give the seed asked for, else that of the folder, else any."""
    if seed is not None:
        if not is_whole(seed, 0) or seed >= 2**32:
            raise ValueBiasError(
                f"seed must be a whole number from 0 to 2**32 − 1, found {shown(seed)}."
            )
        return int(seed)
    return secrets.randbits(32) if known is None else int(known["seed"])
