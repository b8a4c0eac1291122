"""Reproduce a paper: ``valuebias.reproduce("christian2026", out="folder")``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from valuebias._core.atomic import atomic_path, probe
from valuebias._core.disk import WriteError
from valuebias._core.notebooks import as_html
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import sha256, versions
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean
from valuebias.reproduction.items import ITEMS, Item
from valuebias.reproduction.pages import write_pages
from valuebias.reproduction.record import RECORD, Entry, fingerprint, read_record, write_record
from valuebias.reproduction.sources import LogProbs, Missing, Settings, Sources

__all__ = ["PAPERS", "Reproduction", "reproduce"]

PAPERS = ("christian2026",)
"""The papers that can be reproduced."""


@dataclass(frozen=True, slots=True, eq=False)
class Reproduction:
    """The result of a reproduction.

    Attributes
    ----------
    folder : pathlib.Path
        Its folder; ``index.html`` shows everything.
    table : pandas.DataFrame
        One row per item: ``item``, ``title``, ``state`` ("made"; "kept" from an earlier run;
        "missing", if data are not available; "failed"), ``files`` (a list of paths in the folder)
        and ``reason`` (why there are none).

    Examples
    --------
    >>> table = pd.DataFrame({"item": ["a"], "state": ["failed"], "reason": ["It broke."]})
    >>> Reproduction(Path("here"), table).complete
    False
    """

    folder: Path
    table: pd.DataFrame = field(repr=False)

    def _repr_html_(self) -> str:
        """Show what was made in a notebook."""
        return as_html(str(self.folder), self.table.drop(columns="files", errors="ignore"), most=40)

    @property
    def complete(self) -> bool:
        """Whether some items exist, and none failed; data may be missing."""
        states = set(self.table["state"])
        return bool(states & {"made", "kept"}) and "failed" not in states


def reproduce(
    paper: str = "christian2026",
    *,
    out: str | os.PathLike[str],
    logprobs: str | os.PathLike[str] | None = None,
    draws: int = 1000,
    chains: int = 4,
    seed: int = 1,
    n_permutations: int = 9999,
    progress: bool = True,
) -> Reproduction:
    """Make the figures, tables and statistics of a paper, as far as the available data allow.

    Parameters
    ----------
    paper : {"christian2026"}
        Christian et al. (2026), Reward Models Inherit Value Biases from Pretraining.
    out : path
        Output folder, created if missing: a folder for each item, ``index.html``,
        ``reproduction.md`` and ``reproduction.json``.
    logprobs : path, optional
        Log-probs of the paper's language models, for Figures 2 and 3 and Table 1: a folder of the
        authors' CSV files, ``"hf://datasets/<owner>/<name>@<commit>"``, or a ``.zarr`` store of
        whole vocabularies.
    draws, chains : int, default 1000 and 4
        Posterior draws per chain, and chains, of the fit.
    seed : int, default 1
        Of the draws and the permutation tests.
    n_permutations : int, default 9999
        Shuffles of each permutation test.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    Reproduction
        What was made, kept, missing and failed, and why.

    Raises
    ------
    ValueBiasError
        If there is no such paper, a setting is out of range, `out` cannot be written to or holds
        something else, or there are no log-probs at the given path. An error in one item does not
        stop the others: it is in the table.

    Notes
    -----
    An item whose inputs, settings and version of valuebias have not changed is kept, so an
    interrupted run continues where it stopped. Released files are looked up in the folder that the
    environment variable VALUEBIAS_DATA names, then in the cache, then on the network.

    Source: Christian et al. (2026), arXiv:2601.20838, and its authors' scripts.

    Examples
    --------
    >>> reproduce("christian2062", out="nowhere")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: There is no reproduction of 'christian2062'. Did you mean...
    """
    if paper not in PAPERS:
        raise ValueBiasError(
            f"There is no reproduction of {paper!r}. {did_you_mean(paper, PAPERS)}"
        )
    settings = Settings(draws=draws, chains=chains, seed=seed, n_permutations=n_permutations)
    folder = Path(out)
    entries = read_record(folder, paper)
    sources = Sources(None if logprobs is None else LogProbs(logprobs))
    if not entries:
        probe(folder / RECORD, folder=False)
    states: dict[str, str] = {}
    with progress_bar("reproduce", shown=progress) as advance, _explain_stop(folder, states):
        for done, item in enumerate(ITEMS):
            if advance is not None:
                advance(done, len(ITEMS))
            before = entries.get(item.name)
            entries[item.name] = now = _entry(item, before, sources, settings, folder)
            states[item.name] = "kept" if now is before and now.state == "made" else now.state
            write_record(folder, paper, entries)
    ordered = [entries[item.name] for item in ITEMS]
    write_pages(folder, ordered)
    return Reproduction(folder, _table(ordered, states))


@contextmanager
def _explain_stop(folder: Path, states: dict[str, str]) -> Iterator[None]:
    """Add to an interrupt what the run has finished."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note(
            f"{len(states)} of {len(ITEMS)} items are done, in {str(folder)!r}. The same call "
            "continues from there."
        )
        raise


def _entry(
    item: Item, before: Entry | None, sources: Sources, settings: Settings, folder: Path
) -> Entry:
    """Make an item, unless it exists or cannot be made; record which."""
    wanted = settings.subset(*item.settings)
    blank = Entry(item.name, item.title, "failed", settings=wanted)
    try:
        inputs = item.inputs(sources)
        mark = fingerprint(item.name, inputs, wanted)
        if before is not None and before.fingerprint == mark and before.is_intact(folder):
            return before
        notes = _make(item, sources, settings, folder / item.name)
    except Missing as error:
        return _missing(blank, before, str(error), folder)
    except WriteError:
        raise
    # Any error of one item is recorded as its reason; the others are still made.
    except Exception as error:  # noqa: BLE001
        kind = "" if isinstance(error, ValueBiasError) else f"{type(error).__name__}: "
        return replace(blank, reason=f"{kind}{error}")
    files = sorted(path for path in (folder / item.name).rglob("*") if path.is_file())
    return replace(
        blank,
        state="made",
        notes=notes,
        files={path.relative_to(folder).as_posix(): sha256(path) for path in files},
        inputs=inputs,
        packages=versions(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        fingerprint=mark,
    )


def _make(item: Item, sources: Sources, settings: Settings, folder: Path) -> list[str]:
    """Make an item's folder, whole or not at all; return its notes, with warnings."""
    from valuebias.plots.theme import house_style

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ValueBiasWarning)
        with atomic_path(folder) as part, house_style():
            part.mkdir()
            notes = item.make(sources, settings, part)
    ours = [w for w in caught if issubclass(w.category, ValueBiasWarning)]
    for other in (w for w in caught if w not in ours):
        warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return [*notes, *(str(warning.message) for warning in ours)]


def _missing(blank: Entry, before: Entry | None, reason: str, folder: Path) -> Entry:
    """Keep what an earlier run made with the same settings from data that are now missing."""
    if before is None or not before.fingerprint or not before.is_intact(folder):
        return replace(blank, state="missing", reason=reason)
    if before.fingerprint == fingerprint(before.name, before.inputs, blank.settings):
        return before
    return replace(
        blank,
        state="missing",
        reason=f"{reason} What an earlier run made with other settings, or another version, is "
        f"still in {before.name}/.",
    )


def _table(entries: list[Entry], states: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item": [entry.name for entry in entries],
            "title": [entry.title for entry in entries],
            "state": [states[entry.name] for entry in entries],
            "files": [list(entry.files) for entry in entries],
            "reason": [entry.reason for entry in entries],
        }
    )
