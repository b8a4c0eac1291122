"""What files of others do to the libraries that read them: one error, whatever they raise.

A damaged file makes a parser raise anything: its own exceptions, those of Python's built-in types,
RecursionError, MemoryError, SystemError, a panic of Rust code that is not even an Exception. Every
reader puts the part that parses and checks, and nothing else, into :func:`reading`.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valuebias._core.text import visible
from valuebias.errors import ValueBiasError

__all__ = ["check_file", "describe_error", "parse_json", "read_json", "reading"]

_LONGEST = 300
_PANIC = "PanicException"
"""What code in Rust raises where it is at a loss; a BaseException, so that few catch it."""


def check_file(
    path: str | os.PathLike[str], *, kind: type[ValueBiasError] = ValueBiasError
) -> None:
    """Refuse to open a pipe, a socket or a device: to read one may wait for ever, or never end.

    Examples
    --------
    >>> check_file("nowhere.csv")
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        names = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        raise kind(
            f"{os.fspath(path)!r} is {names.get(stat.S_IFMT(mode), 'a device')}, where a file is "
            "expected. Write what comes from it to a file, and give that."
        )


@contextmanager
def reading(
    noun: object,
    *,
    advice: str,
    because: str = "it is damaged",
    verb: str = "read",
    kind: type[ValueBiasError] = ValueBiasError,
) -> Iterator[None]:
    """Raise a ValueBiasError for whatever goes wrong while something of others is read.

    Examples
    --------
    >>> with reading("The table of 'm'", advice="Write it again."):
    ...     [][1]
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The table of 'm' cannot be read: it is damaged (IndexError:
    list index out of range). Write it again.
    """
    if isinstance(noun, os.PathLike):
        check_file(noun, kind=kind)
    try:
        yield
    except ValueBiasError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        name = repr(os.fspath(noun)) if isinstance(noun, os.PathLike) else str(noun)
        raise kind(
            f"{name} cannot be {verb}: {_reason(error) or because} ({describe_error(error)}). "
            f"{advice}"
        ) from error


def _reason(error: BaseException) -> str:
    """Say what is wrong where the exception tells better than the reader can."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    if isinstance(error, ImportError):
        return "it needs a package that is missing or does not fit"
    if isinstance(error, OSError) and error.strerror:
        return "the system refuses"
    return ""


def describe_error(error: BaseException) -> str:
    r"""Give the type of an exception and the beginning of what it says, on one line.

    Examples
    --------
    >>> describe_error(KeyError("a" + chr(10)))
    "KeyError: 'a\\n'"
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    try:
        text = str(error)[: 2 * _LONGEST]
    # An exception of others may hold anything, such as a number of too many digits to be shown.
    except Exception:  # noqa: BLE001
        text = ""
    text = visible(" ".join(text.split()))
    short = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {short}" if short else type(error).__name__


def parse_json(
    text: str | bytes, noun: object, *, advice: str, because: str = "it is damaged"
) -> Any:
    """Parse JSON in which no key stands twice: of two, libraries take one or the other.

    Examples
    --------
    >>> parse_json('{"a": 1, "a": 2}', "The record", advice="Make it again.")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The record cannot be read: it is damaged (ValueError: the key
    'a' stands twice). Make it again.
    """
    with reading(noun, advice=advice, because=because):
        whole = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return json.loads(whole, object_pairs_hook=_once)


def read_json(
    path: Path, noun: object = None, *, advice: str, because: str = "it is damaged"
) -> Any:
    """Read a JSON file as :func:`parse_json` does."""
    check_file(path)
    noun = path if noun is None else noun
    with reading(noun, advice=advice):
        content = path.read_bytes()
    return parse_json(content, noun, advice=advice, because=because)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {twice[:60]!r} stands twice")
    return entries
