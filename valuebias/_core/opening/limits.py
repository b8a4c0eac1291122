"""How much memory a file may ask for."""

from __future__ import annotations

from valuebias.errors import ValueBiasError

__all__ = ["MOST", "MOST_TEXT", "RefusedFileError", "check_size"]

_FREE = 256 * 1024**2
MOST = 1032
"""How many times longer than a file what it unpacks to may be.

Deflate cannot do better, and what valuebias stores shrinks by a tenth to a tenfold; but a store
that is laid out and hardly scored has no files for most of its models.
"""
MOST_TEXT = 200
"""The same for text: long tables repeat themselves, and shrink by a tenth to a hundredfold."""


class RefusedFileError(ValueBiasError):
    """A file holds what valuebias never opens, or asks for more memory than it can have need of.

    Examples
    --------
    >>> issubclass(RefusedFileError, ValueBiasError)
    True
    """


def check_size(declared: int, stored: int, noun: str, *, most: int = MOST) -> None:
    """Refuse what declares far more bytes of memory than it has on disk, above 256 MB."""
    if declared > _FREE + most * stored:
        raise RefusedFileError(
            f"{noun} declares {_size(declared)} and holds {_size(stored)}: it is damaged, or made "
            "to exhaust memory, and is not opened. Get it again from where it was made."
        )


def _size(n: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if n < 1000:
            return f"{n} {unit}"
        n //= 1000
    return "more than 1,000 TB"
