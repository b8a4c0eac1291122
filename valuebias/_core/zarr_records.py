"""What a Zarr folder is to hold: a sum for every file, beside Zarr's own metadata.

The sums lie in Zarr's consolidated metadata (``.zmetadata``), under a key that only this package
looks at. That file is also what a folder *is*: it is replaced in one step, and where others have to
follow it, it says until then what they are to hold (``pending``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from valuebias._core.sums import SUM, DamagedError, json_sum, sum_of

__all__ = [
    "MARK",
    "OURS",
    "OWNER",
    "RECORD",
    "OtherStoreError",
    "Record",
    "advice",
    "content_of",
    "marked",
    "marks_for",
    "metadata_of",
    "owners",
    "read_record",
    "same_as_recorded",
]

RECORD = ".zmetadata"
MARK = "score/.summed"
"""Says that there are sums, to whoever finds scores that have lost them; fits have a digest, too.

It lies where the marks of blocks do: of a file beside the arrays, Zarr says that it knows it not.
"""
OURS = "valuebias"
"""The key of consolidated metadata under which this package keeps the sums."""
OWNER = "of"
"""Under which the mark of a block says whose scores it is of."""
_MARKS = {MARK: b'{"sums": ".zmetadata"}'}
_FORMAT = "valuebias-sums/1"


class OtherStoreError(DamagedError):
    """A block and the record of its folder are of different stores."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a folder holds."""

    metadata: dict[str, Any]  # what each of Zarr's metadata files says
    # The SHA-256 of every other file, by its place in the folder; scores that are written block by
    # block are not among them: their marks vouch for them.
    sums: dict[str, str] = field(default_factory=dict)
    blocks: bool = False  # whether there are such scores
    # What files are to hold that may not hold it yet.
    pending: dict[str, bytes] = field(default_factory=dict)

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of the folder."""
        return dict(self.metadata.get(".zattrs", {}))

    def to_bytes(self) -> bytes:
        """Give the content of ``.zmetadata``."""
        ours: dict[str, Any] = {"format": _FORMAT, "blocks": self.blocks, "sums": self.sums}
        if self.pending:
            ours["pending"] = {
                key: base64.b64encode(content).decode() for key, content in self.pending.items()
            }
        whole = {"metadata": self.metadata, "zarr_consolidated_format": 1, OURS: ours}
        whole = json.loads(json.dumps(whole))
        whole[OURS][SUM] = _own_sum(whole)
        return json.dumps(whole, indent=1).encode()


def read_record(folder: Path) -> Record | None:
    """Read what a folder is to hold; None where nothing says so, as in earlier versions."""
    path = folder / RECORD
    try:
        whole = json.loads(path.read_bytes())
        if not isinstance(whole, dict) or OURS not in whole:
            if isinstance(whole, dict) and isinstance(whole.get("metadata"), dict):
                _check_never_summed(folder)
                return None
            raise ValueError("no metadata")
        ours = whole[OURS]
        if ours[SUM] != _own_sum(whole):
            raise ValueError("another sum")
        pending = {key: base64.b64decode(text) for key, text in ours.get("pending", {}).items()}
        return Record(whole["metadata"], ours["sums"], ours["blocks"], pending)
    except (FileNotFoundError, NotADirectoryError):
        _check_never_summed(folder)
        return None
    except DamagedError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(
            f"{str(path)!r} is damaged ({type(error).__name__}: {str(error)[:100]}). {advice()}"
        ) from error


def marks_for(files: Iterable[str]) -> dict[str, bytes]:
    return _MARKS if "score/.zarray" in set(files) else {}


def _check_never_summed(folder: Path) -> None:
    """Refuse what had sums and has lost them."""
    if (folder / MARK).exists():
        blocks = any(folder.glob("score/.finished.*"))
        raise DamagedError(
            f"{str(folder / RECORD)!r}, in which the checksums of all else were, is missing or was "
            f"written anew without them. {advice(blocks)} If {str(folder)!r} was changed on "
            f"purpose, delete {MARK!r} in it: it is read without checksums then."
        )


def metadata_of(folder: Path, name: str) -> dict[str, Any]:
    """Give what one of Zarr's metadata files says, by the record or else by the file itself."""
    try:
        record = read_record(folder)
    except DamagedError:
        record = None
    if record is not None and name in record.metadata:
        return dict(record.metadata[name])
    try:
        return dict(json.loads((folder / name).read_text(encoding="utf-8")))
    except RecursionError as error:
        raise DamagedError(
            f"{str(folder / name)!r} is damaged: it is nested too deeply. {advice()}"
        ) from error


def owners(folder: Path, record: Record | None = None) -> list[str]:
    """Give for each model the sum of all that its scores depend on, which its marks have, too.

    So a block of another store, mark and all, is not taken for one of this. None where the record
    does not say it, or is lost.
    """
    try:
        attrs = record.attrs if record is not None else metadata_of(folder, ".zattrs")
        said = json.loads(attrs["provenance"])
        common = said["scoring"]["settings"]
        return [json_sum({OWNER: [common, entry["settings"]]}) for entry in said["models"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def marked(folder: Path, block: str, owners: Sequence[str]) -> dict[str, str] | None:
    """Read the mark of a block: the sum of each of its chunks; None where it is not finished.

    ``owners`` are those of the models; marks of earlier versions do not say theirs.
    """
    path = folder / "score" / f".finished.{block}"
    try:
        content = json.loads(path.read_bytes())
        owner, row = content.pop(OWNER, None), int(block.partition(".")[0])
        if owner is not None and row < len(owners) and owner != owners[row]:
            raise OtherStoreError(
                f"{str(path)!r}, the mark of a block, is of other scores than {RECORD!r} "
                f"describes: one of the two was copied from another store. {advice()}"
            )
        parts = [f"token_logprob/{block}.{part}" for part in range(len(content) - 1)]
        if sorted(content) != sorted([f"score/{block}", *parts]):
            raise ValueError("other chunks")
        return {str(key): str(known) for key, known in content.items()}
    except FileNotFoundError:
        return None
    except DamagedError:
        raise
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError(f"{str(path)!r}, the mark of a block, is damaged. {advice()}") from error


def _own_sum(whole: Mapping[str, Any]) -> str:
    ours = {name: value for name, value in whole[OURS].items() if name != SUM}
    return json_sum({**whole, OURS: ours})


def same_as_recorded(record: Record, key: str, content: bytes | None) -> bool:
    """Tell whether a file holds what the record says; what it does not name is as it may be."""
    if key in record.sums:
        return content is not None and sum_of(content) == record.sums[key]
    if key not in record.metadata:
        return True
    try:
        return content is not None and json.loads(content) == record.metadata[key]
    except (ValueError, RecursionError):
        return False


def content_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def advice(resumed: bool = True) -> str:
    if resumed:
        return (
            "Run the same valuebias.score(...) again: what is damaged is made again, and nothing "
            "else. `valuebias check` lists all that is damaged."
        )
    return "Copy it again, or make it again. `valuebias check` lists all that is damaged."
