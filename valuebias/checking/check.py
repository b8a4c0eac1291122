"""Find damaged files: ``valuebias.check``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from valuebias._core.atomic import restore
from valuebias._core.foreign import check_file
from valuebias._core.notebooks import as_html
from valuebias._core.opening.formats import check_format
from valuebias._core.text import visible
from valuebias.checking.pieces import LEAVES, Findings, is_zarr, look_at_folder, look_at_zarr
from valuebias.errors import ValueBiasError, did_you_mean, few

__all__ = ["Check", "Piece", "check"]

_DEPTH = 8
_ABLATION = ("features", "heads", "runs")
_UNKNOWN = (
    "a store of scores, a dataset or a fit (.zarr, .nc, .parquet, .csv), the folder of an "
    "ablation, of valuebias.inject_words or of a reproduction, or an exported ONNX model"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A damaged or missing file."""

    file: str  # its path, relative to the checked path
    state: str  # what is wrong with it
    reason: str  # how it is damaged, or its contents; may be empty
    advice: str  # how to recreate it


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check.

    Attributes
    ----------
    path : str
        The checked path.
    n_files, n_bytes : int
        How many files are intact, and their bytes.
    pieces : tuple of Piece
        The files that are damaged or missing.
    unsummed : tuple of (str, str)
        Files, relative to the path, without checksums, and why.
    notes : tuple of str
        Further remarks, such as on an unfinished store.

    Examples
    --------
    >>> Check("scores.nc", 1, 2_400_000, (), (), ()).is_whole
    True
    >>> print(Check("scores.nc", 1, 2_400_000, (), (), ()))
    scores.nc: 1 file (2.4 MB) is as it was written.
    """

    path: str
    n_files: int
    n_bytes: int
    pieces: tuple[Piece, ...]
    unsummed: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        """Show the answer in a notebook."""
        return as_html(str(self))

    @property
    def is_whole(self) -> bool:
        """Whether nothing is damaged or missing, among files with checksums."""
        return not self.pieces

    def to_frame(self) -> pd.DataFrame:
        """List what is damaged or missing.

        Returns
        -------
        DataFrame
            Columns ``file``, ``state``, ``reason``, ``advice``; one row per piece.
        """
        names = list(Piece.__dataclass_fields__)
        return pd.DataFrame([[getattr(p, n) for n in names] for p in self.pieces], columns=names)

    def __str__(self) -> str:
        """Write the result in some lines."""
        lines = []
        for piece in self.pieces:
            reason = f" ({piece.reason})" if piece.reason else ""
            lines.append(f"{piece.state}: {visible(piece.file)}{reason}")
        lines += [
            f"What to do: {advice}" for advice in dict.fromkeys(p.advice for p in self.pieces)
        ]
        whys = dict.fromkeys(why for _, why in self.unsummed)
        for why in whys:
            files = [visible(file) for file, because in self.unsummed if because == why]
            lines.append(f"no checksums: {few(files, quote=False)}: {why}.")
        lines += self.notes
        some_ = self.n_files != 1
        lines.append(
            f"{visible(self.path)}: {self.n_files:,} file{'s' * some_} "
            f"({self.n_bytes / 1e6:,.1f} MB) {'are as they were' if some_ else 'is as it was'} "
            "written" + (f", {len(self.pieces):,} damaged or missing." if self.pieces else ".")
        )
        return "\n".join(lines)


def check(path: str | os.PathLike[str]) -> Check:
    """Compare every file of what valuebias wrote with its checksum.

    Parameters
    ----------
    path : str or path-like
        A store of scores (of a lexicon or of whole vocabularies), a dataset or a fit in any format,
        or the folder of an ablation, of :func:`valuebias.inject_words`, of a reproduction or of an
        exported ONNX model. Other folders are searched for files that valuebias wrote. Nothing is
        changed.

    Returns
    -------
    Check
        What is damaged or missing, and how to recreate it; what has no checksums; how much is
        intact.

    Raises
    ------
    ValueBiasError
        If there is no such file or folder, or it holds nothing that valuebias wrote.

    Notes
    -----
    Checksums are SHA-256. An unfinished block of scores is not damage: it is in the notes.

    Examples
    --------
    >>> import tempfile
    >>> import valuebias
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=4, seed=1)
    >>> store = valuebias.write(ds, Path(tempfile.mkdtemp()) / "scores.zarr")
    >>> valuebias.check(store).is_whole
    True
    >>> (store / "score" / "1.0.0").unlink()
    >>> [(piece.file, piece.state) for piece in valuebias.check(store).pieces]
    [('score/1.0.0', 'missing')]
    """
    root = Path(path)
    if not restore(root):
        raise ValueBiasError(f"There is no file or folder {os.fspath(path)!r}. Check the path.")
    check_file(root)
    check_format(root)
    findings = Findings()
    if os.path.isdir(root):
        _look_in(root, findings, depth=0)
    elif root.suffix.lower() in LEAVES:
        LEAVES[root.suffix.lower()](root, findings, explicit=True)
    else:
        raise ValueBiasError(
            f"{str(root)!r} ends in {root.suffix!r}, which valuebias does not check. "
            f"{did_you_mean(root.suffix, LEAVES)}"
        )
    if not (findings.n_files or findings.bad or findings.unsummed):
        raise ValueBiasError(
            f"There is nothing in {str(root)!r} that valuebias wrote with checksums; expected "
            f"{_UNKNOWN}."
        )
    context = _context(root)
    return Check(
        path=str(root),
        n_files=findings.n_files,
        n_bytes=findings.n_bytes,
        pieces=tuple(
            Piece(_from(file, root), state, reason, _advice(file, root, context, findings))
            for file, state, reason in findings.bad
        ),
        unsummed=tuple((_from(file, root), why) for file, why in findings.unsummed),
        notes=tuple(findings.notes),
    )


def _look_in(folder: Path, findings: Findings, *, depth: int) -> None:
    if is_zarr(folder):
        look_at_zarr(folder, findings)
    elif not look_at_folder(folder, findings):
        # Hidden are the parts that a killed process leaves, which nothing reads.
        for entry in sorted(one for one in folder.iterdir() if not one.name.startswith(".")):
            if entry.is_dir() and not entry.is_symlink() and depth < _DEPTH:
                _look_in(entry, findings, depth=depth + 1)
            elif entry.is_file() and entry.suffix.lower() in LEAVES:
                LEAVES[entry.suffix.lower()](entry, findings, explicit=False)


def _from(file: Path, root: Path) -> str:
    within = file != root and file.is_relative_to(root)
    return file.relative_to(root).as_posix() if within else file.name


def _context(root: Path) -> str:
    """Class a folder, or the folder of a file."""
    if root.is_dir():
        if any((root / name).is_dir() for name in _ABLATION):
            return "ablation"
        if any(root.glob("untouched-*.zarr")):
            return "injection"
    elif root.parent.name in _ABLATION or root.parent.parent.name == "runs":
        return "ablation"
    return ""


def _advice(file: Path, root: Path, context: str, findings: Findings) -> str:
    """Advise how to recreate a file, and nothing else."""
    alone = "again: what is damaged is made again, and nothing else."
    if context == "ablation":
        folder = repr(str(root)) if root.is_dir() else "…"
        return f"Run the same `valuebias ablate STUDY --out {folder}` {alone}"
    if context == "injection":
        return f"Run the same valuebias.inject_words(..., store={str(root)!r}) {alone}"
    if "reproduction" in findings.kinds:
        return f"Run the same `valuebias reproduce … --out {str(root)!r}` {alone}"
    store = next((p for p in (file, *file.parents) if p.suffix == ".zarr"), None)
    if store is not None and "store" in findings.kinds:
        return f"Run the same `valuebias score … --store {str(store)!r}` {alone}"
    if "export" in findings.kinds:
        return "Copy the folder again, or delete it and export the model again."
    if "fit" in findings.kinds:
        return "Copy it again, or fit again and save that."
    if not findings.kinds:
        return "Copy it again, or write it again; if it was a fit, fit again."
    return "Copy it again, or write it again."
