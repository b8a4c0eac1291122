"""Look at stores as files: what must be the same, and what was finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["contents", "finished", "unseal", "without_shards"]


def contents(store: Path) -> dict[str, bytes]:
    """Give every file of a store but for the date in its provenance, which no two runs share."""
    found = {}
    for path in sorted(store.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if path.name == ".zattrs" and b"provenance" in content:
                content = json.dumps(_undated(json.loads(content))).encode()
            if path.name == ".zmetadata":
                record = json.loads(content)
                record["metadata"][".zattrs"] = _undated(record["metadata"][".zattrs"])
                del record["valuebias"]["sha256"]
                content = json.dumps(record).encode()
            found[str(path.relative_to(store))] = content
    return found


def without_shards(store: Path) -> dict[str, bytes]:
    """Give the files of a store without what it says of shards."""
    found = contents(store)
    for name, content in found.items():
        if name.endswith(".zattrs") and b"provenance" in content:
            found[name] = json.dumps(_without(json.loads(content))).encode()
        if name.endswith(".zmetadata"):
            record = json.loads(content)
            record["metadata"][".zattrs"] = _without(record["metadata"][".zattrs"])
            found[name] = json.dumps(record).encode()
    return found


def _without(attrs: dict[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in attrs["provenance"].items() if name != "shards"}
    return {**attrs, "provenance": said}


def unseal(store: Path) -> None:
    """Make a store one of an earlier version, which had no checksums but those of scores."""
    for name in (".zmetadata", ".summed"):
        for file in store.rglob(name):
            file.unlink()
    for file in store.rglob(".zattrs"):
        attrs = json.loads(file.read_bytes())
        if attrs.pop("sha256", None) is not None:
            file.write_text(json.dumps(attrs))


def _undated(attrs: dict[str, Any]) -> dict[str, Any]:
    provenance = json.loads(attrs["provenance"])
    del provenance["date"]
    return {**attrs, "provenance": provenance, "sha256": None}


def finished(store: Path) -> dict[str, int]:
    """Give the files that finished blocks lie in, and their inodes: another inode, another file."""
    marks = list(store.rglob(".finished.*"))
    chunks = [mark.parents[1] / key for mark in marks for key in _chunks(mark)]
    return {str(path.relative_to(store)): path.stat().st_ino for path in [*marks, *chunks]}


def _chunks(mark: Path) -> list[str]:
    return [key for key in json.loads(mark.read_bytes()) if key != "of"]
