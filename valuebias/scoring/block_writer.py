"""From what a backend gave for a block to scores that are checked and stored."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias.errors import ValueBiasError
from valuebias.scoring.compute import Batch
from valuebias.scoring.keeping import Held
from valuebias.scoring.model_scores import ModelScores
from valuebias.scoring.prepare import PreparedModel
from valuebias.scoring.request import Block, ScoringRequest

__all__ = ["BlockWriter", "pooled"]

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_ADVICE = {
    "float16": 'Numbers above 65,504 overflow in float16: give dtype="bfloat16" or "float32".',
    "bfloat16": 'Try dtype="float32"; if that does not help, its weights may be damaged.',
}


class BlockWriter:
    """Finishes the blocks of one model."""

    def __init__(
        self,
        request: ScoringRequest,
        model: PreparedModel,
        shelf: ModelScores | Held,
        vocabulary: pd.DataFrame,
    ) -> None:
        self._request = request
        self._model = model
        self._shelf = shelf
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
        if self._request.rows:
            scores = values if self._are_all(values.shape[1]) else values[:, self._tokens]
            self._check(block, scores)
            # A log-prob of 0 may come out as 1e-8. In place: a block may have millions.
            self._shelf.keep(block, np.minimum(scores, 0, out=scores))
        elif batch.first is not None:
            own_tokens = _own_tokens(batch.sequences, batch.first, values.shape[1])
            # The padding is NaN as well, but belongs to no word.
            wrong = ~(np.isfinite(values) | ~own_tokens).all(axis=1)
            self._check(block, np.where(wrong, np.nan, 0).reshape(shape))
            values = np.minimum(values, 0)
            scores = pooled(values, self._request.pooling).reshape(shape)
            self._shelf.keep(block, scores, values.reshape(*shape, -1))
        else:
            if batch.source is not None:
                values = self._repeated(block, batch.source, values)
            self._check(block, values.reshape(shape))
            self._shelf.keep(block, values.reshape(shape))

    def _are_all(self, n_outputs: int) -> bool:
        """Tell whether the responses are the outputs of the model, one by one."""
        return np.array_equal(self._tokens, np.arange(n_outputs))

    def _repeated(self, block: Block, source: Integers, values: Floats) -> Floats:
        """Give each token the score of its conversation, wherever that occurred first."""
        if block.prompts.start != self._prompt:
            self._prompt = block.prompts.start
            self._line = self._shelf.line(self._prompt)
        positions = np.arange(block.responses.start, block.responses.stop)
        self._line[positions[source == positions]] = values
        self._line[block.responses] = self._line[source]
        return self._line[block.responses]

    def _check(self, block: Block, scores: npt.NDArray[np.floating]) -> None:
        wrong = ~np.isfinite(scores)
        if not wrong.any():
            return
        row, column = (int(entry) for entry in np.argwhere(wrong)[0])
        prompt = self._request.prompts.table.index[block.prompts.start + row]
        word = self._answers[block.responses.start + column]
        dtype = self._model.resolved.model.dtype
        advice = _ADVICE.get(dtype, "Its weights may be damaged.")
        raise ValueBiasError(
            f"The model {self._model.name!r} in {dtype} gives {scores[row, column]} for the word "
            f"{word!r} after the prompt {str(prompt)!r}, and for {wrong.sum():,} of the "
            f"{wrong.size:,} pairs computed with it; expected finite numbers. {advice}"
            + (" What was finished before is kept." if self._shelf.lasting else "")
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
        total /= known.sum(axis=1)
    return np.asarray(total, dtype=np.float32)


def _own_tokens(sequences: list[Integers], first: Integers, width: int) -> npt.NDArray[np.bool_]:
    """Tell which of the places for log-probs a word fills."""
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64) - first
    return np.asarray(np.arange(width) < lengths[:, None])
