"""Runs of a study with the tuning "head": features once per base, then one head per run."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from valuebias._core.arrays import Floats
from valuebias._core.disk import WriteError, explain_os_errors, write_bytes
from valuebias._core.progress import progress_bar
from valuebias._core.sums import archive_bytes
from valuebias.ablation.design import Design, Run, RunScores
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.preference_data.preferences import Preferences
from valuebias.training.bradley_terry import Head, fit_head
from valuebias.training.features import Base, Conversation, features

__all__ = ["train_heads"]

_VERSION = 1
"""Increase when the same settings give another head."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """A source's features for one base, with the row of each pair."""

    train: Preferences
    held_out: Preferences
    row_of: dict[str, int] = field(repr=False)
    values: Floats = field(repr=False)

    def of(self, chosen: Preferences) -> tuple[Floats, Floats]:
        """Select the features of chosen and rejected answers."""
        rows = self.values[[self.row_of[name] for name in chosen.pairs["id"]]]
        return rows[:, 0], rows[:, 1]


def train_heads(design: Design, base: Base) -> Iterator[RunScores]:
    """Fit and score the heads of one base."""
    instrument = _features(design, base, design.instrument, "words")
    for source in design.sources:
        pairs = _pairs(design, base, source)
        for seed in design.study.seeds:
            for row, head in _heads(design, base, source, pairs, seed):
                yield row, head.score(instrument).astype(np.float32)


def _features(design: Design, base: Base, conversations: list[Conversation], label: str) -> Floats:
    folder = design.out / "features"
    with (
        progress_bar(f"{base.name}: {label}", shown=design.progress) as advance,
        explain_os_errors(folder),
    ):
        return features(
            base,
            conversations,
            folder=folder,
            backend=design.engine,
            advance=design.stepping(advance),
        )


def _pairs(design: Design, base: Base, source: str) -> _Pairs:
    """Compute the features of the pairs of a source that any run needs."""
    train, held_out = design.sources[source]
    largest = max(design.study.n_pairs)
    needed = [held_out.pairs, *(train.subset(largest, seed=s).pairs for s in design.study.seeds)]
    table = pd.concat(needed).drop_duplicates("id").reset_index(drop=True)
    values = _features(design, base, Conversation.of_pairs(table), source)
    return _Pairs(train, held_out, {n: i for i, n in enumerate(table["id"])}, values)


def _heads(
    design: Design, base: Base, source: str, pairs: _Pairs, seed: int
) -> Iterator[tuple[dict[str, object], Head]]:
    """Fit a head for every number of pairs, each starting from the last."""
    before: Head | None = None
    for n_pairs in sorted(design.study.n_pairs):
        design.go_on()
        run = Run(base, source, n_pairs, seed, *design.study.objective)
        if run.label in design.failures:
            continue
        try:
            head = _head(design, base, pairs, pairs.train.subset(n_pairs, seed=seed), before)
            figures = head.evaluate(*pairs.of(pairs.held_out))
        except WriteError:
            raise
        except (ValueBiasError, FloatingPointError) as error:
            design.failures[run.label] = str(error)
            continue
        before = head
        yield run.row(tuning="head", step=1, measured=figures), head


def _head(
    design: Design, base: Base, pairs: _Pairs, subset: Preferences, before: Head | None
) -> Head:
    penalty = design.study.penalty
    about = [_VERSION, base.sha256, design.engine.name, penalty, subset.sha256,
             None if before is None else before.n_pairs]  # fmt: skip
    name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
    path = design.out / "heads" / f"{name}.npz"
    loaded = _load_head(path)
    if loaded is not None:
        return loaded
    start = None if before is None else before.weights
    head = fit_head(*pairs.of(subset), penalty=penalty, start=start)
    with explain_os_errors(path):
        write_bytes(path, archive_bytes(asdict(head), path))
    return head


def _load_head(path: Path) -> Head | None:
    """Read a head; None if it is missing, or damaged and to be fitted again."""
    if not path.exists():
        return None
    try:
        return Head.load(path)
    except ValueBiasError as error:
        message = (
            f"{str(path)!r} is damaged, or of an earlier version: the head is fitted again: {error}"
        )
        warnings.warn(message, ValueBiasWarning, stacklevel=3)
        return None
