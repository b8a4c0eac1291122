"""The cells of a study with the objective "head": features once a base, then a head a cell."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.disk import WriteError, written
from valuebias._core.progress import progress_bar
from valuebias.ablation.cells import Cell, Scored, Work
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.preference_data.preferences import Preferences
from valuebias.training.bradley_terry import Head, fit_head
from valuebias.training.features import Base, Conversation, features

__all__ = ["head_cells"]

Floats = npt.NDArray[np.float32]
_VERSION = 1
"""To be raised when the same settings come to make another head."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """A source's features by base: all its pairs, and where each pair's row is."""

    train: Preferences
    held_out: Preferences
    place: dict[str, int] = field(repr=False)
    values: Floats = field(repr=False)

    def of(self, chosen: Preferences) -> tuple[Floats, Floats]:
        """Give the features of chosen and rejected answers."""
        rows = self.values[[self.place[name] for name in chosen.pairs["id"]]]
        return rows[:, 0], rows[:, 1]


def head_cells(work: Work, base: Base) -> Iterator[Scored]:
    """Fit and score the heads of one base."""
    instrument = _features(work, base, work.instrument, "words")
    for source in work.sources:
        pairs = _pairs(work, base, source)
        for seed in work.study.seeds:
            for row, head in _heads(work, base, source, pairs, seed):
                yield Scored(row, head.score(instrument).astype(np.float32))


def _features(work: Work, base: Base, conversations: list[Conversation], what: str) -> Floats:
    folder = work.out / "features"
    with progress_bar(f"{base.name}: {what}", shown=work.progress) as advance, written(folder):
        return features(base, conversations, folder=folder, backend=work.engine, advance=advance)


def _pairs(work: Work, base: Base, source: str) -> _Pairs:
    """Compute the features of those pairs of a source that some cell needs."""
    train, held_out = work.sources[source]
    largest = max(work.study.quantities)
    needed = [held_out.pairs, *(train.subset(largest, seed=s).pairs for s in work.study.seeds)]
    table = pd.concat(needed).drop_duplicates("id").reset_index(drop=True)
    columns = (table[key].tolist() for key in ("prompt", "chosen", "rejected"))
    conversations = [Conversation(p, (c, r)) for p, c, r in zip(*columns, strict=True)]
    values = _features(work, base, conversations, source)
    return _Pairs(train, held_out, {n: i for i, n in enumerate(table["id"])}, values)


def _heads(
    work: Work, base: Base, source: str, pairs: _Pairs, seed: int
) -> Iterator[tuple[dict[str, object], Head]]:
    """Fit a head for every quantity, each starting from the last."""
    before: Head | None = None
    for quantity in sorted(work.study.quantities):
        cell = Cell(base, source, quantity, seed)
        try:
            head = _head(work, base, pairs, pairs.train.subset(quantity, seed=seed), before)
            found = head.evaluate(*pairs.of(pairs.held_out))
        except WriteError:
            raise
        except (ValueBiasError, FloatingPointError) as error:
            work.failures[cell.label] = str(error)
            continue
        before = head
        yield cell.row(objective="head", step=1, measured=found), head


def _head(work: Work, base: Base, pairs: _Pairs, subset: Preferences, before: Head | None) -> Head:
    penalty = work.study.penalty
    about = [_VERSION, base.sha256, work.engine.name, penalty, subset.sha256,
             None if before is None else before.n_pairs]  # fmt: skip
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    path = work.out / "heads" / f"{name}.npz"
    kept = _kept(path)
    if kept is not None:
        return kept
    start = None if before is None else before.weights
    head = fit_head(*pairs.of(subset), penalty=penalty, start=start)
    with written(path):
        head.save(path)
    return head


def _kept(path: Path) -> Head | None:
    """Read a head; None where there is none, or it is damaged and so to be fitted again."""
    if not path.exists():
        return None
    try:
        return Head.load(path)
    except ValueBiasError as error:
        told = f"{str(path)!r} is damaged, and this head is fitted again: {error}"
        warnings.warn(told, ValueBiasWarning, stacklevel=3)
        return None
