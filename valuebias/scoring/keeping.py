"""Check scores, and keep them while others are computed: in a store on disk, or in memory.

Where no store is asked for, nobody could go on with one, so that nothing is written. Blocks are the
same in both, and so are the scores, to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.folder_names import check_apart, folder_of
from valuebias.errors import ValueBiasError
from valuebias.io import read
from valuebias.schema.contract import DIMS
from valuebias.schema.contrast_scores import from_contract
from valuebias.schema.validation import validate
from valuebias.scoring import store
from valuebias.scoring.compute import Batch
from valuebias.scoring.model_scores import ModelScores
from valuebias.scoring.prepare import PreparedModel
from valuebias.scoring.references import Against, no_change
from valuebias.scoring.request import Block, ScoringRequest, block_shape, blocks
from valuebias.scoring.store import Entry
from valuebias.scoring.vocabulary import read_vocabulary

__all__ = ["BlockWriter", "Held", "InMemory", "OnDisk"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
_ADVICE = {
    "float16": 'Numbers above 65,504 overflow in float16: give dtype="bfloat16" or "float32".',
    "bfloat16": 'Try dtype="float32"; if that does not help, its weights may be damaged.',
}


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

    def scores_of(self, entry: Entry, vocabulary: pd.DataFrame) -> ModelScores:
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

    def scores_of(self, entry: Entry, vocabulary: pd.DataFrame) -> Held:
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
        details = self._root | {"models": list(self._models.values())}
        # In the order asked for, which need not be that of the work.
        places = [self._held[name] for name in self._models]
        values = np.stack([held.scores for held in places])
        ds = store.laid_out(self._request, details, self._request.words, values)
        if self._request.n_token_scores:
            width = max(1, *(held.tokens.shape[2] for held in places))
            tokens = np.stack([_widened(held.tokens, width) for held in places])
            ds = ds.assign(token_logprob=((*DIMS, "token"), tokens))
        return validate(ds) if self._request.contrasts is None else from_contract(ds)


def _widened(tokens: Floats, width: int) -> Floats:
    """Give room for at least that many tokens a word, with NaN in it."""
    more = max(0, width - tokens.shape[2])
    return np.pad(tokens, ((0, 0), (0, 0), (0, more)), constant_values=np.nan) if more else tokens


class BlockWriter:
    """Finishes the blocks of one model."""

    def __init__(
        self,
        request: ScoringRequest,
        model: PreparedModel,
        model_scores: ModelScores | Held,
        vocabulary: pd.DataFrame,
        against: Against | None = None,
    ) -> None:
        self._request = request
        self._model = model
        self._against = against
        self._model_scores = model_scores
        self._tokens: Integers = vocabulary["token_id"].to_numpy(dtype=np.int64)
        self._answers = (
            tuple(vocabulary["token"].tolist()) if request.words is None else request.words
        )
        # Of the prompt being worked off, where later tokens repeat earlier conversations.
        self._prompt = -1
        self._line: Floats = np.empty(0, dtype=np.float32)

    def __call__(self, batch: Batch, values: Floats) -> None:
        """Check and store a block."""
        block = batch.block
        shape = (block.prompts.stop - block.prompts.start, block.n_responses)
        there = np.True_ if batch.present is None else batch.present
        if self._request.rows:
            # As a rule the responses are the outputs of the model, one by one.
            are_all = np.array_equal(self._tokens, np.arange(values.shape[1]))
            scores = values if are_all else values[:, self._tokens]
            self._check(block, scores)
            # A log-prob of 0 may come out as 1e-8. In place: a block may have millions.
            self._model_scores.keep(block, np.minimum(scores, 0, out=scores))
        elif self._request.judge is not None:
            verdicts = batch.spread(values).reshape(*shape, self._request.judge.width)
            self._check(block, np.where(np.isfinite(verdicts).all(axis=-1), 0, np.nan), there)
            verdicts = np.minimum(verdicts, 0)
            self._model_scores.keep(block, self._request.judge.scores(verdicts), verdicts)
        elif batch.ends is not None:
            self._keep_along(batch, values, there)
        elif batch.first is not None:
            lengths = np.array([len(ids) for ids in batch.sequences], dtype=np.int64)
            own_tokens = np.arange(values.shape[1]) < (lengths - batch.first)[:, None]
            # The padding is NaN as well, but belongs to no word.
            wrong = ~(np.isfinite(values) | ~own_tokens).all(axis=1)
            marked = batch.spread(np.where(wrong, np.nan, np.float32(0)))
            self._check(block, marked.reshape(shape), there)
            values = batch.spread(np.minimum(values, 0))
            if self._against is not None:
                ratios = self._against.ratios(block, values)
                # Not kept, because scores of a store that are all alike cannot be read.
                if block.pairs > 1 and not np.nan_to_num(ratios).any():
                    raise no_change(self._model.name)
                rewards = pooled(ratios, self._request.pooling).reshape(shape)
                self._model_scores.keep(block, np.where(there, rewards, np.float32(np.nan)))
                return
            scores = pooled(values, self._request.pooling).reshape(shape)
            scores = np.where(there, scores, np.float32(np.nan))
            self._model_scores.keep(block, scores, values.reshape(*shape, -1))
        else:
            if batch.source is not None:
                values = self._repeated(block, batch.source, values)
            scores = batch.spread(values).reshape(shape)
            self._check(block, scores, there)
            self._model_scores.keep(block, scores)

    def _keep_along(
        self, batch: Batch, values: Floats, there: npt.NDArray[np.bool_] | np.bool_
    ) -> None:
        """Keep the rewards at each token, with where these end; the last is the answer's."""
        block = batch.block
        shape = (block.prompts.stop - block.prompts.start, block.n_responses)
        own = batch.ends or []
        last = np.array([len(ends) for ends in own], dtype=np.int64) - 1
        ends = np.full(values.shape, np.nan, dtype=np.float32)
        for row, some in zip(ends, own, strict=True):
            row[: len(some)] = some
        wrong = ~(np.isfinite(values) | np.isnan(ends)).all(axis=1)
        scores = np.where(wrong, np.nan, values[np.arange(len(last)), last]).astype(np.float32)
        scores = batch.spread(scores).reshape(shape)
        self._check(block, scores, there)
        both = np.stack([values, ends], axis=-1).reshape(len(values), -1)
        self._model_scores.keep(block, scores, batch.spread(both).reshape(*shape, -1))

    def _repeated(self, block: Block, source: Integers, values: Floats) -> Floats:
        """Give each token the score of its conversation, wherever that occurred first."""
        if block.prompts.start != self._prompt:
            self._prompt = block.prompts.start
            self._line = self._model_scores.line(self._prompt)
        positions = np.arange(block.responses.start, block.responses.stop)
        self._line[positions[source == positions]] = values
        self._line[block.responses] = self._line[source]
        return self._line[block.responses]

    def _check(
        self,
        block: Block,
        scores: npt.NDArray[np.floating],
        there: npt.NDArray[np.bool_] | np.bool_ = np.True_,
    ) -> None:
        wrong = ~np.isfinite(scores) & there
        if not wrong.any():
            return
        row, column = (int(entry) for entry in np.argwhere(wrong)[0])
        prompt = self._request.prompts.table.index[block.prompts.start + row]
        word = self._answers[block.responses.start + column]
        said = f"the word {word!r} after the prompt {str(prompt)!r}"
        if self._request.contrasts is not None:
            said = f"the variant {word!r} of the item {str(prompt)!r}"
        dtype = self._model.resolved.model.dtype
        advice = _ADVICE.get(dtype, "Its weights may be damaged.")
        raise ValueBiasError(
            f"The model {self._model.name!r} in {dtype} gives {scores[row, column]} for "
            f"{said}, and for {wrong.sum():,} of the "
            f"{wrong.size:,} pairs computed with it; expected finite numbers. {advice}"
            + (" What was finished before is kept." if self._model_scores.lasting else "")
        )


def pooled(tokens: Floats, pooling: str) -> Floats:
    """Make one score a word out of its tokens' log-probs.

    ``tokens`` is (word, token); the result is (word,).

    Examples
    --------
    >>> tokens = np.array([[-1.0, -3.0], [-2.0, np.nan]], dtype=np.float32)
    >>> pooled(tokens, "sum").tolist(), pooled(tokens, "mean").tolist()
    ([-4.0, -2.0], [-2.0, -2.0])
    """
    known = ~np.isnan(tokens)
    total = np.where(known, tokens, 0).sum(axis=1, dtype=np.float64)
    if pooling == "mean":
        total /= np.maximum(1, known.sum(axis=1))
    return np.asarray(total, dtype=np.float32)
