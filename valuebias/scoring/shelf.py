"""One model's scores on disk: which blocks are finished, and the writing of further ones.

A block is written in an order that a kill at any instant leaves whole: first each chunk of the Zarr
arrays, then a mark with the chunks' SHA-256; each is written beside its place and moved there in
one step. A chunk without a mark, or with another hash, counts as not there. Marks lie inside the
arrays' own folders under names that start with a dot, where Zarr does not look.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from valuebias.disk import put
from valuebias.scoring.plan import Block, blocks

__all__ = ["TOKENS", "Shelf"]

Floats = npt.NDArray[np.float32]

TOKENS = 8
"""How many of a word's tokens lie in one chunk of ``token_logprob``."""


class Shelf:
    """One model's place in a store.

    Parameters
    ----------
    folder : pathlib.Path
        The Zarr group.
    row : int
        The model's index along the dim model.
    """

    def __init__(self, folder: Path, row: int) -> None:
        self.folder = folder
        self.row = row
        header = json.loads((folder / "score" / ".zarray").read_text(encoding="utf-8"))
        _, self.n_prompts, self.n_responses = header["shape"]
        self.shape: tuple[int, int] = (header["chunks"][1], header["chunks"][2])
        self.blocks: list[Block] = list(blocks(self.n_prompts, self.n_responses, self.shape))

    def missing(self) -> list[Block]:
        """List the blocks that are not finished, in order; clear what unfinished writing left."""
        for leftover in self.folder.glob("*/.*.part*"):
            leftover.unlink(missing_ok=True)
        return [block for block in self.blocks if not self._finished(block)]

    def line(self, prompt: int) -> Floats:
        """Give one prompt's scores; NaN where they are not finished.

        Parameters
        ----------
        prompt : int
            Its index.

        Returns
        -------
        numpy.ndarray of float32, shape (response,)
            As they were computed.
        """
        line = np.full(self.n_responses, np.nan, dtype=np.float32)
        for block in self.blocks:
            if block.prompts.start <= prompt < block.prompts.stop and self._finished(block):
                content = (self.folder / self._key(block)).read_bytes()
                chunk = np.frombuffer(content, dtype="<f4").reshape(self.shape)
                line[block.responses] = chunk[prompt - block.prompts.start, : block.n_responses]
        return line

    def keep(self, block: Block, scores: Floats, tokens: Floats | None = None) -> None:
        """Write a block, so that it is there whatever happens afterwards.

        Parameters
        ----------
        block : Block
            Which.
        scores : numpy.ndarray of float32, shape (prompt, response)
            Finite.
        tokens : numpy.ndarray of float32, shape (prompt, response, token), optional
            The log-prob of each of a word's tokens; NaN after its last.

        Raises
        ------
        ValueBiasError
            If it cannot be written, as when the disk is full.
        """
        digests = {}
        for key, values in self._chunks(block, scores, tokens).items():
            content = values.astype("<f4").tobytes()
            digests[key] = hashlib.sha256(content).hexdigest()
            put(self.folder / key, content)
        put(self._mark(block), json.dumps(digests).encode())

    def _chunks(self, block: Block, scores: Floats, tokens: Floats | None) -> dict[str, Floats]:
        """Cut a block into whole chunks; Zarr fills those at the edges up."""
        chunks = {self._key(block): _filled(scores, self.shape)}
        if tokens is not None:
            self._make_room(tokens.shape[2])
            for part, start in enumerate(range(0, tokens.shape[2], TOKENS)):
                key = f"{self._key(block, 'token_logprob')}.{part}"
                chunks[key] = _filled(tokens[:, :, start : start + TOKENS], (*self.shape, TOKENS))
        return chunks

    def _make_room(self, wanted: int) -> None:
        """Lengthen the dim token. Only ``token_logprob`` has it, so one file says its length."""
        path = self.folder / "token_logprob" / ".zarray"
        header = json.loads(path.read_text(encoding="utf-8"))
        if wanted > header["shape"][3]:
            header["shape"][3] = wanted
            put(path, json.dumps(header, indent=2).encode())

    def _finished(self, block: Block) -> bool:
        try:
            digests: Mapping[str, str] = json.loads(self._mark(block).read_bytes())
            return all(
                hashlib.sha256((self.folder / key).read_bytes()).hexdigest() == digest
                for key, digest in digests.items()
            )
        except (FileNotFoundError, ValueError, AttributeError):
            return False

    def _key(self, block: Block, array: str = "score") -> str:
        return f"{array}/{self.row}.{block.index[0]}.{block.index[1]}"

    def _mark(self, block: Block) -> Path:
        return self.folder / "score" / f".finished.{self.row}.{block.index[0]}.{block.index[1]}"


def _filled(values: Floats, shape: tuple[int, ...]) -> Floats:
    if values.shape == shape:
        return values
    whole = np.full(shape, np.nan, dtype=np.float32)
    whole[tuple(slice(size) for size in values.shape)] = values
    return whole
