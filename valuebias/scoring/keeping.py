"""Where scores are kept while they are computed: a store on disk, or memory.

Where no store is asked for, nobody could go on with one, so that nothing is written. Blocks are the
same in both, and so are the scores, to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.folder_names import check_apart, folder_of
from valuebias.io import read
from valuebias.schema.contract import DIMS
from valuebias.schema.validation import validate
from valuebias.scoring import store
from valuebias.scoring.model_scores import ModelScores
from valuebias.scoring.request import Block, ScoringRequest, block_shape, blocks
from valuebias.scoring.store import Entry
from valuebias.scoring.vocabulary import read_vocabulary

__all__ = ["Held", "InMemory", "Keeper", "OnDisk"]

Floats = npt.NDArray[np.float32]


class Keeper(Protocol):
    """Keeps the scores of a run."""

    def opened(self, entries: Sequence[Entry]) -> AbstractContextManager[None]:
        """Get ready for some models; nobody else writes while the block runs."""

    def stored(self) -> list[dict[str, Any]]:
        """Say which models there are already."""

    def shelf(self, entry: Entry, vocabulary: pd.DataFrame) -> ModelScores | Held:
        """Give one model's place."""

    def note_run(self, name: str, run: Mapping[str, Any]) -> None:
        """Note with what a model is computed."""

    def scores(self) -> xr.Dataset | xr.DataTree:
        """Give all scores."""


class OnDisk:
    """A store."""

    def __init__(self, path: Path, request: ScoringRequest) -> None:
        self._path, self._request = path, request
        self._shelves: dict[str, ModelScores] = {}

    @contextmanager
    def opened(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Lock the store, and make it or check that it was made alike."""
        with store.locked(self._path, self._request, entries):
            self._shelves = store.open_store(self._path, self._request, entries)
            yield

    def stored(self) -> list[dict[str, Any]]:
        """Say which models there are already."""
        return list(store.provenance_of(self._path).get("models", []))

    def shelf(self, entry: Entry, vocabulary: pd.DataFrame) -> ModelScores:
        """Give one model's place."""
        if self._request.words is None:
            self._shelves[entry.name] = store.open_group(
                self._path, self._request, entry, vocabulary
            )
        return self._shelves[entry.name]

    def note_run(self, name: str, run: Mapping[str, Any]) -> None:
        """Write down with what a model is computed."""
        store.note_run(self._shelves[name].folder, name, run)

    def scores(self) -> xr.Dataset | xr.DataTree:
        """Read all scores; those of vocabularies when they are used."""
        return read(self._path) if self._request.words is not None else read_vocabulary(self._path)


class Held:
    """One model's place in memory."""

    lasting = False

    def __init__(self, shape: tuple[int, int], n_prompts: int, n_responses: int) -> None:
        self.n_prompts, self.n_responses = n_prompts, n_responses
        self.blocks: list[Block] = list(blocks(n_prompts, n_responses, shape))
        self.scores: Floats = np.full((n_prompts, n_responses), np.nan, dtype=np.float32)
        self.tokens: Floats = np.empty((n_prompts, n_responses, 0), dtype=np.float32)

    def missing(self) -> list[Block]:
        """List all blocks: a run in memory is not gone on with."""
        return self.blocks

    def line(self, prompt: int) -> Floats:
        """Give one prompt's scores, NaN where they are not finished, shape (response,)."""
        return np.array(self.scores[prompt])

    def keep(self, block: Block, scores: Floats, tokens: Floats | None = None) -> None:
        """Keep a block, as :meth:`valuebias.scoring.model_scores.ModelScores.keep` does."""
        self.scores[block.prompts, block.responses] = scores
        if tokens is not None:
            self.tokens = _widened(self.tokens, tokens.shape[2])
            self.tokens[block.prompts, block.responses, : tokens.shape[2]] = tokens


class InMemory:
    """The scores of a run for which no store is asked."""

    def __init__(self, request: ScoringRequest) -> None:
        self._request = request
        self._root = store.begun(request)
        self._models: dict[str, dict[str, Any]] = {}
        self._held: dict[str, Held] = {}
        self._vocabularies: dict[str, pd.DataFrame] = {}

    @contextmanager
    def opened(self, entries: Sequence[Entry]) -> Iterator[None]:
        """Get ready; groups are named as in a store, so that the results are alike."""
        if self._request.words is None:
            check_apart([entry.name for entry in entries], "model")
        self._models = {entry.name: store.about(entry) for entry in entries}
        yield

    def stored(self) -> list[dict[str, Any]]:
        """Say that there is nothing yet."""
        return []

    def shelf(self, entry: Entry, vocabulary: pd.DataFrame) -> Held:
        """Give one model's place."""
        words = self._request.words
        n_responses = len(vocabulary) if words is None else len(words)
        shape = block_shape(self._request, n_responses)
        held = Held(shape, len(self._request.prompts), n_responses)
        self._held[entry.name], self._vocabularies[entry.name] = held, vocabulary
        return held

    def note_run(self, name: str, run: Mapping[str, Any]) -> None:
        """Note with what a model is computed."""
        self._models[name]["runs"].append(json.loads(json.dumps(run)))

    def scores(self) -> xr.Dataset | xr.DataTree:
        """Give all scores."""
        if self._request.words is None:
            return self._tree()
        details = self._root | {"models": list(self._models.values())}
        values = np.stack([held.scores for held in self._held.values()])
        ds = store.laid_out(self._request, details, self._request.words, values)
        if self._request.kind == "logprob":
            width = max(1, *(held.tokens.shape[2] for held in self._held.values()))
            tokens = np.stack([_widened(held.tokens, width) for held in self._held.values()])
            ds = ds.assign(token_logprob=((*DIMS, "token"), tokens))
        return validate(ds)

    def _tree(self) -> xr.DataTree:
        groups = {}
        for name, about in self._models.items():
            details = self._root | {"models": [about]}
            groups[folder_of(name)] = store.laid_out_group(
                self._request, details, self._vocabularies[name], self._held[name].scores[None]
            )
        attrs = store.root_attrs(self._request, self._root | {"groups": list(groups)})
        return xr.DataTree.from_dict(
            {"/": xr.Dataset(attrs=attrs), **{name: groups[name] for name in sorted(groups)}}
        )


def _widened(tokens: Floats, width: int) -> Floats:
    """Give room for at least that many tokens a word, with NaN in it."""
    more = max(0, width - tokens.shape[2])
    return np.pad(tokens, ((0, 0), (0, 0), (0, more)), constant_values=np.nan) if more else tokens
