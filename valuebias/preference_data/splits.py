"""Draw pairs by hash, so that a draw does not depend on what else is in the source."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias.errors import ValueBiasError

__all__ = ["hash_order", "held_out_rows", "prompt_keys"]


def hash_order(keys: Iterable[str], seed: int) -> npt.NDArray[np.uint64]:
    """Hash keys to numbers in whose order they are drawn.

    Examples
    --------
    >>> bool(hash_order(["a", "b"], 1)[0] == hash_order(["a"], 1)[0] != hash_order(["a"], 2)[0])
    True
    """
    digests = (hashlib.sha256(f"{seed}:{key}".encode()).digest()[:8] for key in keys)
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def prompt_keys(prompts: Iterable[str]) -> list[str]:
    """Return the identity of a prompt: its text without regard to blanks and case.

    Examples
    --------
    >>> prompt_keys(['[{"role": "user", "content": " Hello  You"}]'])
    ['[["user", "hello you"]]']
    """

    def plain(text: str) -> str:
        return " ".join(text.split()).casefold()

    return [
        json.dumps(
            [[message["role"], plain(message["content"])] for message in json.loads(prompt)],
            ensure_ascii=False,
        )
        for prompt in prompts
    ]


def held_out_rows(prompts: pd.Series, held_out: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose whole prompts to hold out."""
    if isinstance(held_out, bool) or not isinstance(held_out, int | float | np.number):
        raise ValueBiasError(f"held_out is {held_out!r}; expected a number of pairs or a share.")
    keys = np.array(prompt_keys(prompts), dtype=object)
    if 0 < held_out < 1:
        held = hash_order(keys, seed) / 2.0**64 < held_out
    else:
        if not np.isfinite(held_out) or held_out != int(held_out) or held_out < 1:
            raise ValueBiasError(
                f"held_out is {held_out!r}; expected a whole number of pairs, or a share between 0 "
                "and 1."
            )
        held = _by_number(keys, int(held_out), seed)
    if held.all() or not held.any():
        side = "train on" if held.all() else "hold out"
        raise ValueBiasError(
            f"held_out={held_out!r} of {len(keys)} pairs leaves none to {side}. Choose another "
            "number."
        )
    return np.asarray(held, dtype=bool)


def _by_number(keys: npt.NDArray[np.object_], n_pairs: int, seed: int) -> npt.NDArray[np.bool_]:
    if n_pairs >= len(keys):
        return np.ones(len(keys), dtype=bool)
    drawn = hash_order(keys, seed)
    order = np.argsort(drawn, kind="stable")
    last = drawn[order[n_pairs - 1]]
    return np.asarray(drawn <= last, dtype=bool)
