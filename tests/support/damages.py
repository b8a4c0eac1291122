"""Damage as disks and copies do it: a bit, an end that is missing, a file that is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["DAMAGES", "cut", "flip"]


def flip(file: Path) -> None:
    """Turn one bit round in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Leave out the second half."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


DAMAGES: dict[str, Callable[[Path], object]] = {"flip": flip, "cut": cut, "delete": Path.unlink}
