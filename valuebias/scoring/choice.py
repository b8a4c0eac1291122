"""Which backend scores which model: the table that ``valuebias.explain`` gives."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines

__all__ = ["BackendChoice", "gigabytes"]

_SHOWN = ("model", "backend", "scores", "ready here", "memory", "fits here")


def gigabytes(size: float) -> str:
    """Write a size as people do.

    Examples
    --------
    >>> gigabytes(2.69e8), gigabytes(1.6e10), gigabytes(900)
    ('269 MB', '16 GB', '0.0009 MB')
    """
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


@dataclass(frozen=True, slots=True, eq=False)
class BackendChoice:
    """Which backend can score which model, what it takes, and which one to use.

    Attributes
    ----------
    headline : str
        What is to be scored, and what this machine has.
    table : pandas.DataFrame
        One row per model and backend. ``scores``: "yes"; "no", for the ``reason``; "likely" where
        nothing known speaks against it, and ``reason`` says what is not known; or "not known".
        ``ready`` is whether all is here that it takes, and ``lacks`` what is not; ``install`` is
        the command that brings it. ``disk`` and ``memory`` are bytes that the weights take, in
        memory at least, and NaN where that is not known; ``memory_from`` is "weights", or
        "configuration" where only that is here. ``fits`` is whether the weights fit into this
        machine's memory or onto a card of it; None where they need not, or that is not known.
        ``takes`` is what else it takes, a line each, and ``recommended`` one backend for each
        model, with the reason in ``why``.
    notes : tuple of str
        When to choose which backend, and what shares the work among machines.

    Examples
    --------
    >>> row = {"model": "my-rm", "backend": "torch", "scores": "yes", "reason": "", "ready": True,
    ...     "lacks": "", "install": "", "disk": 5.4e8, "memory": 5.4e8, "memory_from": "weights",
    ...     "fits": True, "takes": "A CPU is enough.", "recommended": True,
    ...     "why": "it is installed here"}
    >>> print(BackendChoice("reward scores; 16 GB of memory", pd.DataFrame([row])))
    reward scores; 16 GB of memory
    <BLANKLINE>
    model  backend  scores  ready here           memory  fits here
    my-rm  torch    yes     yes         at least 540 MB        yes
    <BLANKLINE>
    my-rm: use 'torch': it is installed here.
      torch: A CPU is enough.
    """

    headline: str
    table: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return the table.

        Returns
        -------
        pandas.DataFrame
            A copy.
        """
        return self.table.copy()

    def rows(self) -> list[tuple[str, ...]]:
        """Return the short columns of the table as text.

        Returns
        -------
        list of tuple of str
            The headings, then a row per model and backend.
        """
        lines: list[tuple[str, ...]] = [_SHOWN]
        for row in self.table.to_dict(orient="records"):
            ready = "yes" if row["ready"] else "no"
            memory, fits = "", ""
            if row["scores"] != "no":
                memory, fits = _memory(row), _YES_NO[row["fits"]]
            lines.append(
                (str(row["model"]), str(row["backend"]), str(row["scores"]), ready, memory, fits)
            )
        return lines

    def sentences(self) -> list[str]:
        """Return the advice on each model and what each backend takes for it, as text.

        Returns
        -------
        list of str
            Lines; those on a backend are indented.
        """
        lines: list[str] = []
        for model, rows in self.table.groupby("model", sort=False):
            chosen = rows[rows["recommended"]]
            if len(set(rows["reason"])) == 1 and set(rows["scores"]) <= {"no", "not known"}:
                lines.append(f"{model}: {_ALIKE[rows['scores'].iloc[0]]} {rows['reason'].iloc[0]}")
                continue
            if len(chosen):
                name, why = chosen["backend"].iloc[0], chosen["why"].iloc[0]
                lines.append(f"{model}: use {name!r}: {why}.")
            else:
                lines.append(f"{model}: none of these backends scores it, as far as is known.")
            for row in rows.to_dict(orient="records"):
                parts = [row["reason"]]
                if row["scores"] != "no":
                    install = f"Install it: {row['install']}" if row["install"] else ""
                    parts += [_sentence(row["lacks"]), install, *row["takes"].split("\n")]
                first, *rest = [part for part in parts if part] or [""]
                lines += [f"  {row['backend']}: {first}", *(f"    {part}" for part in rest)]
        return lines

    def __str__(self) -> str:
        """Show everything as text."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            cells[4:] = [cell.rjust(width) for cell, width in zip(row[4:], widths[4:], strict=True)]
            lines.append("  ".join(cells).rstrip())
        notes = ["", *self.notes] if self.notes else []
        whole = [self.headline, "", *lines, "", *self.sentences(), *notes]
        return visible_lines("\n".join(whole))

    def _repr_html_(self) -> str:
        """Show everything in a notebook."""
        head, *body = self.rows()
        return as_html(
            self.headline,
            pd.DataFrame(body, columns=list(head)),
            "\n".join([*self.sentences(), *self.notes]),
            most=60,
        )


_ALIKE = {"no": "none of these backends scores it.", "not known": "not known."}
_YES_NO = {True: "yes", False: "no", None: ""}


def _memory(row: Mapping[Hashable, Any]) -> str:
    size = row["memory"]
    if not isinstance(size, float) or size != size:
        return "not known"
    how = "at least" if row["memory_from"] == "weights" else "about"
    return f"{how} {gigabytes(size)}"


def _sentence(text: object) -> str:
    said = str(text)
    said = said[:1].upper() + said[1:] if said.startswith("no ") else said
    return said if not said or said.endswith(".") else f"{said}."
