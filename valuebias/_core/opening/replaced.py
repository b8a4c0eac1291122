"""Read what another process may put something else in the place of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from valuebias.errors import ValueBiasError

__all__ = ["read_steadily"]

_TRIES = 10

_T = TypeVar("_T")


def read_steadily(read: Callable[[], _T], paths: Sequence[Path]) -> _T:
    """Read what another process may replace meanwhile; if it did and reading fails, read anew."""
    for _ in range(_TRIES):
        before = _stamps(paths)
        try:
            return read()
        except ValueBiasError:
            if _stamps(paths) == before:
                raise
    return read()


def _stamps(paths: Sequence[Path]) -> list[tuple[int, int] | None]:
    stamps: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            state = path.stat()
            stamps.append((state.st_ino, state.st_mtime_ns))
        except OSError:
            stamps.append(None)
    return stamps
