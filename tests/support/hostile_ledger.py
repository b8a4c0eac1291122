"""Counts of what became of cases, kept piece by piece, for runs that are stopped and resumed."""

from __future__ import annotations

import collections
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile_children import LIMIT, MEMORY

__all__ = ["BAD", "Ledger", "Piece", "table"]

Counts = collections.Counter[str]
BAD = frozenset(("unseen", "raised", "crashed", "slow", "memory", "refused after a kill"))
HEADS = {
    "same": "same numbers", "refused": "`ValueBiasError`", "other content": "other, valid content",
    "unseen": "other, unseen", "raised": "other exception", "crashed": "crash or hang",
    "slow": f"over {LIMIT:.0f} s", "memory": f"over {MEMORY >> 20} MB", "old": "as before",
    "new": "as after", "done": "done", "refused after a kill": "`ValueBiasError`",
}  # fmt: skip


@dataclass
class Piece:
    """What became of some cases in a row of a table; `of` is how many the row has in all."""

    part: str
    row: str
    first: int
    of: int
    counts: Counts = field(default_factory=collections.Counter)
    bad: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, said: str = "") -> None:
        """Count a case; print what should not be."""
        self.counts[what] += 1
        if what in BAD and not self.row.startswith("plain"):
            key = f"{self.row} | {what} | {said[:300]}"
            self.bad[key] = self.bad.get(key, 0) + 1
            sys.stdout.write(f"   ! {key}\n")


class Ledger:
    """Pieces that are done, in a file of lines of JSON or only in memory.

    Several processes may add to one file: a piece is one line, written at once. `asked` says of
    each part what it was asked for: counts of something else are not gone on with.
    """

    def __init__(self, path: Path | None, asked: Mapping[str, Mapping[str, Any]]) -> None:
        self._path, self._asked = path, {part: dict(what) for part, what in asked.items()}
        self._done: dict[tuple[str, str, int], Piece] = {}
        for line in path.read_text().splitlines() if path is not None and path.exists() else ():
            found = json.loads(line)
            if found.pop("asked") != self._asked[found["part"]]:
                raise SystemExit(f"{path} holds counts of another run. Give another file.")
            piece = Piece(**{**found, "counts": collections.Counter(found["counts"])})
            self._done[piece.part, piece.row, piece.first] = piece

    def add(self, piece: Piece) -> None:
        """Keep a piece."""
        self._done[piece.part, piece.row, piece.first] = piece
        if self._path is not None:
            line = json.dumps({"asked": self._asked[piece.part], **vars(piece)}) + "\n"
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, line.encode())
            os.close(handle)

    def has(self, part: str, row: str, first: int) -> bool:
        """Tell whether a piece is done."""
        return (part, row, first) in self._done

    def size(self, part: str, row: str) -> int | None:
        """Say how many cases a row has, if any of it is done."""
        return next((p.of for p in self.pieces(part) if p.row == row), None)

    def pieces(self, part: str) -> Iterator[Piece]:
        """Go through the pieces of a part."""
        return (piece for piece in self._done.values() if piece.part == part)


def table(
    ledger: Ledger, part: str, title: str, rows: Sequence[str], columns: Sequence[str]
) -> str:
    """Write the table of a part, in the order of `rows`, and below it what should not be."""
    counts: dict[str, Counts] = {}
    bad: Counts = collections.Counter()
    for piece in ledger.pieces(part):
        counts.setdefault(piece.row, collections.Counter()).update(piece.counts)
        bad.update(piece.bad)
    ours = [row for row in rows if row in counts and not row.startswith("plain")]
    plain = [row for row in rows if row in counts and row.startswith("plain")]
    total: Counts = collections.Counter()
    for row in ours:
        total.update(counts[row])
    head = ["", "cases", *(HEADS[column] for column in columns)]
    asked = sum({piece.row: piece.of for piece in ledger.pieces(part)}.values())
    asked += sum(row not in counts for row in rows)
    # On disks, each case has an outcome and something that lies there afterwards.
    n = sum(map(Counts.total, counts.values())) // (2 if "done" in columns else 1)
    stopped = [f"Stopped after {n:,} of at least {asked:,} cases.", ""] if n < asked else []
    lines = [f"## {title}", "", *stopped, f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [_line(row, counts[row], columns) for row in ours]
    lines.append(_line("**all of valuebias**", total, columns))
    lines += [_line(row, counts[row], columns) for row in plain]
    if bad:
        lines += ["", "What should not be:", ""]
        lines += [f"- {count} ×: {said}" for said, count in sorted(bad.items())]
    return "\n".join([*lines, ""])


def _line(row: str, counts: Counts, columns: Sequence[str]) -> str:
    cells = [f"{counts.get(column, 0):,}" if counts.get(column) else "·" for column in columns]
    n = sum(counts.values()) // (2 if "done" in columns else 1)
    return f"| {row} | {n:,} | {' | '.join(cells)} |"
