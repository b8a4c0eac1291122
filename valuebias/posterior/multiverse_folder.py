"""What a multiverse keeps in its folder, so that another run goes on with it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valuebias._core.atomic import atomic_path
from valuebias._core.sums import SUM, read_json, sealed
from valuebias.errors import ValueBiasError, shown
from valuebias.posterior.multiverse_choices import is_whole

__all__ = ["keep", "prepare", "read_seed", "stored"]

_RECORD = "multiverse.json"


def keep(folder: Path | None, spec: Mapping[str, str], row: Mapping[str, Any]) -> None:
    """Write a result where a later run finds it."""
    if folder is not None:
        with atomic_path(_file(folder, spec)) as part:
            part.write_text(json.dumps(sealed(row)), encoding="utf-8")


def prepare(
    folder: Path | None, about: Mapping[str, Any], estimand: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Make the folder, or check what its results are about; return what they estimate."""
    if folder is None:
        return estimand
    known = _record(folder) or about
    other = [name for name in about if known.get(name) != about[name]]
    if other:
        raise ValueBiasError(
            f"{str(folder)!r} holds a multiverse with other {' and '.join(other)}; name "
            "another folder, or leave seed= out to go on with its own."
        )
    estimand = known.get("estimand") or estimand
    if known is about or known.get("estimand") != estimand:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / _RECORD) as file:
            content = sealed({**about, "estimand": estimand})
            file.write_text(json.dumps(content), encoding="utf-8")
    return estimand


def _record(folder: Path) -> dict[str, Any]:
    """Read what a folder says its results are of; empty where it is new."""
    path = folder / _RECORD
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except ValueBiasError as error:
        raise ValueBiasError(
            f"{str(path)!r}, which says what the results in its folder are of, is damaged. Delete "
            "the folder, or name another one: all is estimated anew then."
        ) from error


def _file(folder: Path, spec: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:20]
    return folder / f"{digest}.json"


def stored(folder: Path | None, spec: Mapping[str, str]) -> dict[str, Any] | None:
    """Read a result that is there; a damaged one is made again."""
    if folder is None or not _file(folder, spec).exists():
        return None
    try:
        row = read_json(_file(folder, spec))
    except ValueBiasError:
        return None
    row.pop(SUM, None)
    same = all(row.get(name) == label for name, label in spec.items())
    return row if same else None


def read_seed(seed: int | None, folder: Path | None) -> int:
    """Give the seed asked for, else that of the folder, else any."""
    if seed is not None:
        if not is_whole(seed, 0) or seed >= 2**32:
            raise ValueBiasError(
                f"seed must be a whole number from 0 to 2**32 − 1, found {shown(seed)}."
            )
        return int(seed)
    known = {} if folder is None else _record(folder)
    if isinstance(known.get("seed"), int):
        return int(known["seed"])
    return secrets.randbits(32)
