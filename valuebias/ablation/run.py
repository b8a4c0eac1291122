"""Run a study: features once a base, then a head and its scores for every cell."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias.ablation.bradley_terry import Head, fit_head
from valuebias.ablation.features import Base, Conversation, features, find_base
from valuebias.ablation.preferences import Preferences
from valuebias.backends.base import Backend
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.io import write
from valuebias.progress import progress_bar
from valuebias.provenance import record
from valuebias.schema import build

if TYPE_CHECKING:
    from valuebias.ablation.study import Study

__all__ = ["run"]

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


def run(study: Study, out: Path, *, backend: Any, progress: bool) -> xr.Dataset:
    """Train and score what is missing; see :meth:`valuebias.ablation.Study.run`.

    Parameters
    ----------
    study : Study
        What is asked.
    out : pathlib.Path
        Folder for everything.
    backend : str, type of Backend or Backend
        What computes hidden states.
    progress : bool
        Whether to show progress.

    Returns
    -------
    xarray.Dataset
        Rewards of all cells that could be trained.

    Raises
    ------
    ValueBiasError
        If a base or a source cannot be had, or no cell could be trained.
    """
    engine = get_backend(backend)
    sources = study.preferences()
    prompts, lexicon = as_prompts(study.prompts), as_lexicon(study.lexicon)
    bases = [find_base(model) for model in study.models()]
    texts = [str(text) for text in prompts.table["text"]]
    asked = [Conversation.after(text, lexicon.words) for text in texts]
    rows: list[dict[str, Any]] = []
    scores: list[Floats] = []
    failures: dict[str, str] = {}
    for base in bases:
        made = _Maker(study, base, out, engine, progress)
        instrument = made.features(asked, f"{base.name}: words")
        for name, source in sources.items():
            pairs = made.pairs(name, source)
            for seed in study.seeds:
                for row, head in made.heads(name, pairs, seed, failures):
                    rows.append(row)
                    scores.append(head.score(instrument).astype(np.float32))
    if not rows:
        raise ValueBiasError(f"No cell could be trained. The first: {next(iter(failures.items()))}")
    for cell, reason in failures.items():
        warnings.warn(f"The cell {cell} failed: {reason}", ValueBiasWarning, stacklevel=3)
    dataset = build(
        np.stack(scores),
        models=pd.DataFrame(rows).set_index("model"),
        prompts=prompts,
        lexicon=lexicon,
        responses=lexicon.words,
        provenance=record(details={"by": "valuebias.ablation", **_about(study, sources, bases),
                                   "failures": failures}),
    )  # fmt: skip
    write(dataset, out / "scores.nc")
    return dataset


class _Maker:
    """Makes the cells of one base."""

    def __init__(
        self, study: Study, base: Base, out: Path, engine: Backend, progress: bool
    ) -> None:
        self._study, self._base, self._out = study, base, out
        self._engine, self._progress = engine, progress

    def features(self, conversations: list[Conversation], what: str) -> Floats:
        """Compute or read features."""
        with progress_bar(what, shown=self._progress) as advance:
            return features(
                self._base, conversations, folder=self._out / "features", backend=self._engine,
                advance=advance,
            )  # fmt: skip

    def pairs(self, name: str, source: Preferences) -> _Pairs:
        """Compute the features of those pairs of a source that some cell needs."""
        train, held_out = source.split(held_out=self._study.held_out)
        largest = max(self._study.quantities)
        needed = [held_out.pairs, *(train.subset(largest, seed=s).pairs for s in self._study.seeds)]
        table = pd.concat(needed).drop_duplicates("id").reset_index(drop=True)
        columns = (table[key].tolist() for key in ("prompt", "chosen", "rejected"))
        conversations = [Conversation(p, (c, r)) for p, c, r in zip(*columns, strict=True)]
        values = self.features(conversations, f"{self._base.name}: {name}")
        return _Pairs(train, held_out, {n: i for i, n in enumerate(table["id"])}, values)

    def heads(
        self, source: str, pairs: _Pairs, seed: int, failures: dict[str, str]
    ) -> list[tuple[dict[str, Any], Head]]:
        """Fit a head for every quantity, each starting from the last."""
        made = []
        before: Head | None = None
        for quantity in sorted(self._study.quantities):
            label = f"{self._base.name} · {source} · {quantity} · seed {seed}"
            try:
                head = self._head(pairs, pairs.train.subset(quantity, seed=seed), before)
                found = head.evaluate(*pairs.of(pairs.held_out))
            except (ValueBiasError, FloatingPointError) as error:
                failures[label] = str(error)
                continue
            before = head
            made.append((self._row(label, source, quantity, seed, found), head))
        return made

    def _head(self, pairs: _Pairs, subset: Preferences, before: Head | None) -> Head:
        penalty = self._study.penalty
        about = [_VERSION, self._base.sha256, self._engine.name, penalty, subset.sha256,
                 None if before is None else before.n_pairs]  # fmt: skip
        name = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
        path = self._out / "heads" / f"{name}.npz"
        if path.exists():
            return Head.load(path)
        start = None if before is None else before.weights
        head = fit_head(*pairs.of(subset), penalty=penalty, start=start)
        head.save(path)
        return head

    def _row(
        self, label: str, source: str, quantity: int, seed: int, found: dict[str, float]
    ) -> dict[str, Any]:
        model = self._base.resolved.model
        return {
            "model": label,
            "family": model.family,
            "base": model.base,
            "stage": "reward",
            "n_params": self._base.resolved.facts.n_params,
            "source": source,
            "n_pairs": quantity,
            "seed": seed,
            "step": 1,
            "objective": self._study.objective,
            "loss": found["loss"],
            "accuracy": found["accuracy"],
        }


def _about(study: Study, sources: dict[str, Preferences], bases: list[Base]) -> dict[str, Any]:
    return {
        "objective": study.objective,
        "penalty": study.penalty,
        "held_out": study.held_out,
        "sources": {name: {"sha256": s.sha256, "pairs": len(s)} for name, s in sources.items()},
        "bases": {
            base.name: {
                "weights": base.resolved.source.weights_sha256,
                "tokenizer": base.tokeniser.sha256,
                "template": base.tokeniser.template_sha256,
                "commit": base.resolved.commit,
            }
            for base in bases
        },
    }
