"""One model's scores on disk: which blocks are finished, and the writing of further ones.

A block is written in an order that a kill at any instant leaves whole: first each chunk of the Zarr
arrays, then a mark with the chunks' SHA-256; each is written beside its place and moved there in
one step. A chunk without a mark, or with another hash, counts as not there. Marks lie inside the
arrays' own folders under names that start with a dot, where Zarr does not look.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from valuebias._core.arrays import Floats
from valuebias._core.disk import explain_os_errors, write_bytes
from valuebias._core.summed_zarr import note
from valuebias._core.sums import DamagedError, sum_of
from valuebias._core.zarr_records import OWNER, advice, marked, metadata_of, owners
from valuebias.errors import ValueBiasWarning, few
from valuebias.scoring.request import Block, blocks

__all__ = ["TOKENS", "ModelScores"]

TOKENS = 8
"""How many of a word's tokens lie in one chunk of ``token_logprob``."""


class ModelScores:
    """One model's place in a store."""

    lasting = True
    """Whether what is finished is there for a later run."""

    def __init__(self, folder: Path, row: int) -> None:
        self.folder = folder
        self.row = row
        header = metadata_of(folder, "score/.zarray")
        _, self.n_prompts, self.n_responses = header["shape"]
        self.shape: tuple[int, int] = (header["chunks"][1], header["chunks"][2])
        self._owners = owners(folder)
        self.blocks: list[Block] = list(blocks(self.n_prompts, self.n_responses, self.shape))

    def missing(self) -> list[Block]:
        """List the blocks that are not finished, in order; clear what unfinished writing left."""
        for leftover in [*self.folder.glob("*/.*.part*"), *self.folder.glob(".*.part")]:
            if leftover.is_file():
                leftover.unlink(missing_ok=True)
        states = {block.index: self.state(block) for block in self.blocks}
        damaged = [self._key(b) for b in self.blocks if states[b.index] == "damaged"]
        if damaged:
            warnings.warn(
                f"{str(self.folder)!r} is damaged: {len(damaged)} of {len(self.blocks)} blocks of "
                f"scores do not hold what was written ({few(damaged)}). They are computed again.",
                ValueBiasWarning,
                stacklevel=4,
            )
        return [block for block in self.blocks if states[block.index] != "finished"]

    def state(self, block: Block) -> Literal["finished", "missing", "damaged"]:
        """Tell whether a block is there, and still as it was written."""
        try:
            marks = marked(self.folder, self._name(block), self._owners)
        except DamagedError:
            return "damaged"
        if marks is None:
            return "missing"
        whole = all(self._is(key, known) for key, known in marks.items())
        return "finished" if whole else "damaged"

    def _is(self, key: str, known: str) -> bool:
        try:
            return sum_of((self.folder / key).read_bytes()) == known
        except OSError:
            return False

    def line(self, prompt: int) -> Floats:
        """Give one prompt's scores; NaN where they are not finished.

        The result is (response,).
        """
        line = np.full(self.n_responses, np.nan, dtype=np.float32)
        for block in self.blocks:
            within = block.prompts.start <= prompt < block.prompts.stop
            if within and self.state(block) == "finished":
                content = (self.folder / self._key(block)).read_bytes()
                chunk = np.frombuffer(content, dtype="<f4").reshape(self.shape)
                line[block.responses] = chunk[prompt - block.prompts.start, : block.n_responses]
        return line

    def keep(self, block: Block, scores: Floats, tokens: Floats | None = None) -> None:
        """Write a block, so that it is there whatever happens afterwards.

        ``scores`` is (prompt, response); ``tokens`` is (prompt, response, token).
        """
        # Nothing vouches for a block while it is written over.
        with explain_os_errors(self._mark(block)):
            self._mark(block).unlink(missing_ok=True)
        digests = {OWNER: self._owners[self.row]} if self._owners else {}
        for key, values in self._chunks(block, scores, tokens).items():
            content = np.ascontiguousarray(values, dtype="<f4").reshape(-1).view(np.uint8).data
            digests[key] = sum_of(content)
            write_bytes(self.folder / key, content)
        write_bytes(self._mark(block), json.dumps(digests).encode())

    def adopt(self, block: Block, other: ModelScores) -> None:
        """Take a finished block over from another store of the same scores, mark and all."""
        there = other._name(block)
        digests = {OWNER: self._owners[self.row]} if self._owners else {}
        for key, known in (marked(other.folder, there, other._owners) or {}).items():
            if not other._is(key, known):
                raise DamagedError(
                    f"{str(other.folder / key)!r} is damaged or missing: it does not hold what was "
                    f"written. {advice()}"
                )
            array, _, name = key.partition("/")
            own = f"{array}/{self._name(block)}{name.removeprefix(there)}"
            digests[own] = known
            write_bytes(self.folder / own, (other.folder / key).read_bytes())
        write_bytes(self._mark(block), json.dumps(digests).encode())

    def unmarked(self, some: Iterable[Block]) -> list[Block]:
        """List which of some blocks have no mark, and so are not finished."""
        return [b for b in some if marked(self.folder, self._name(b), self._owners) is None]

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
        name = "token_logprob/.zarray"
        header = metadata_of(self.folder, name)
        if wanted > header["shape"][3]:
            header["shape"] = [*header["shape"][:3], wanted]
            note(self.folder, name, header)

    def _key(self, block: Block, array: str = "score") -> str:
        return f"{array}/{self._name(block)}"

    def _name(self, block: Block) -> str:
        return f"{self.row}.{block.index[0]}.{block.index[1]}"

    def _mark(self, block: Block) -> Path:
        return self.folder / "score" / f".finished.{self._name(block)}"


def _filled(values: Floats, shape: tuple[int, ...]) -> Floats:
    if values.shape == shape:
        return values
    whole = np.full(shape, np.nan, dtype=np.float32)
    whole[tuple(slice(size) for size in values.shape)] = values
    return whole
