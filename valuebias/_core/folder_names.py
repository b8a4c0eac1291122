"""Folders named after models and families, whatever those are called.

Names come from other people's files. A folder's may not be ``..``, hold a slash, or be longer than
255 bytes; Windows forbids more, and there and on macOS names that differ in case only are one.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from valuebias.errors import ValueBiasError, shown

__all__ = ["check_apart", "check_plain", "check_printable", "folder_of"]

_LONGEST = 200
"""How many bytes a name may have, so that there is room for endings."""
_KEPT = 150
_UNSAFE = re.compile('[\x00-\x1f\x7f-\x9f\ud800-\udfff"*:<>?|\\\\]|%(?=[0-9A-F]{2})')
# What Windows opens as a device, what Zarr takes for its own, and what is hidden or goes up.
_TAKEN = re.compile(r"\.|zarr\.json|(?:aux|con|nul|prn|com[0-9]|lpt[0-9])(?:\.|$)", re.IGNORECASE)
_NO_VARIABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\]|^$|^\.\.?$|^\.z(?:array|attrs|group|metadata)$|^zarr\.json$"
)
_HALF = re.compile("[\ud800-\udfff]")


def folder_of(name: str) -> str:
    """Name the folder of what has some name.

    Examples
    --------
    >>> folder_of("google/gemma-2-2b-it")
    'google--gemma-2-2b-it'
    >>> folder_of(".."), folder_of("a:b"), len(folder_of(1000 * "x"))
    ('%2E%2E', 'a%3Ab', 167)
    """
    folder = _UNSAFE.sub(lambda match: _escaped(match[0]), name.replace("/", "--"))
    if not folder or folder[-1] in ". ":
        folder = folder[:-1] + _escaped(folder[-1:] or "\0")
    if _TAKEN.match(folder):
        folder = _escaped(folder[0]) + folder[1:]
    raw = folder.encode()
    if len(raw) > _LONGEST:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
        folder = f"{raw[:_KEPT].decode(errors='ignore')}~{digest}"
    return folder


def _escaped(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))


def check_apart(names: Iterable[str], noun: str, *, beside: Iterable[str] = ()) -> None:
    """Raise a ValueBiasError if two names have one folder, here or on another system.

    Examples
    --------
    >>> check_apart(["a/b", "a--B"], "model")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The models 'a/b' and 'a--B' would be kept in one folder,
    'a--B': names that differ in case or in '/' and '--' only are the same to some systems. Rename
    one.
    """
    occupied = {folder: folder for folder in beside}
    seen = {_alike(folder): (folder, folder) for folder in occupied}
    for name in names:
        folder = folder_of(name)
        other, taken = seen.get(_alike(folder), (None, None))
        if other is not None and other != name and not (taken == folder and folder in occupied):
            raise ValueBiasError(
                f"The {noun}s {shown(other)} and {shown(name)} would be kept in one folder, "
                f"{shown(folder)}: names that differ in case or in '/' and '--' only are the same "
                "to some systems. Rename one."
            )
        seen.setdefault(_alike(folder), (name, folder))


def check_plain(names: Iterable[object], noun: str) -> None:
    """Raise a ValueBiasError for a name that some format would lose, or take for its own.

    Examples
    --------
    >>> check_plain(["score", "a/b"], "The dataset")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The dataset has a variable or dim called 'a/b', which would be
    lost on the way to a file. Rename it, to a text without slashes and control characters, of at
    most 200 bytes.
    """
    for name in names:
        fits = isinstance(name, str) and not _NO_VARIABLE.search(name)
        if not fits or len(str(name).encode()) > _LONGEST:
            raise ValueBiasError(
                f"{noun} has a variable or dim called {shown(name)}, which would be lost on the "
                "way to a file. Rename it, to a text without slashes and control characters, of "
                f"at most {_LONGEST} bytes."
            )


def _alike(folder: str) -> str:
    """Give what a folder's name shares with those that some system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", folder).casefold())


def check_printable(name: str, noun: str) -> None:
    """Raise a ValueBiasError for a name that no terminal, file or folder can show."""
    control = any(unicodedata.category(character) == "Cc" for character in name)
    if control or _HALF.search(name):
        held = "control characters" if control else "half a character (a lone surrogate)"
        raise ValueBiasError(
            f"The {noun} {shown(name)} holds {held}. Give it a name without, by name=."
        )
