"""Tell the format of a file by what it holds, where its name says another."""

from __future__ import annotations

from pathlib import Path

from valuebias._core.opening.packed import PACKED
from valuebias.errors import ValueBiasError

__all__ = ["check_format"]

_NOUNS = {
    ".nc": "a netCDF file",
    ".parquet": "a Parquet file",
    ".zarr": "a Zarr folder",
    ".csv": "text, perhaps a table",
    ".tsv": "text, perhaps a table",
    ".xlsx": "an Excel file or another zip",
    ".feather": "a Feather file",
    ".gz": "a packed file",
    ".zst": "a packed file",
}
_BEGINNINGS = {
    b"\x89HDF\r\n\x1a\n": ".nc",
    b"PAR1": ".parquet",
    b"PK\x03\x04": ".xlsx",
    b"ARROW1\0\0": ".feather",
    b"\x1f\x8b": ".gz",
    b"\x28\xb5\x2f\xfd": ".zst",
}
_TEXT = (".csv", ".tsv")
_ZARR = (".zgroup", ".zmetadata", "zarr.json")
_LOOKED_AT = 4096


def check_format(path: Path) -> None:
    """Refuse what its name says to be of one format and its content of another.

    Copied under another name it is as good as before, which "damaged" would not tell.
    """
    named = path.suffix.lower()
    actual = _format_of(path)
    if named not in _NOUNS or actual in (None, named) or (named in _TEXT and actual in _TEXT):
        return
    if named in PACKED and actual in _TEXT:
        # Its name without that is what it was before.
        advice = f"It is not packed: call it {path.stem!r}, or pack it."
        noun = _NOUNS[actual]
    elif actual in _NOUNS:
        packed = actual in PACKED and named in _TEXT
        expected = repr(path.name + actual if packed else path.with_suffix(actual).name)
        advice = f"It was renamed or copied under another name: call it {expected} again."
        noun = _NOUNS[actual]
    else:
        advice = "Give the path of what valuebias.write or a fit's save made."
        noun = f"a {actual}"
    raise ValueBiasError(
        f"The name of {str(path)!r} says {_NOUNS[named]}, but it is {noun}. {advice}"
    )


def _format_of(path: Path) -> str | None:
    """Give the suffix of the format, ``"folder"`` or ``"file"``; None where nothing tells."""
    if path.is_dir():
        # One that is called so may have lost these.
        zarr = path.suffix == ".zarr" or any((path / name).exists() for name in _ZARR)
        return ".zarr" if zarr else "folder"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT)
    for beginning, suffix in _BEGINNINGS.items():
        if start.startswith(beginning):
            return suffix
    line = start.partition(b"\n")[0]
    if b"," in line and _is_text(line):
        return ".csv"
    return "file" if path.suffix.lower() == ".zarr" else None


def _is_text(line: bytes) -> bool:
    try:
        return line.decode("utf-8-sig").strip().isprintable()
    except UnicodeDecodeError:
        return False
