"""One model's vocabulary as texts: check its log-probs, and join tokens whose texts are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.arrays import Floats, Integers
from valuebias.errors import ValueBiasError

__all__ = ["COMBINE", "MERGE", "Combine", "Vocabulary", "check_logprobs", "with_own_spaces"]

Combine = Literal["max", "mean", "logsumexp"]

COMBINE = ("max", "mean", "logsumexp")
"""How the log-probs of variants of a text become one."""
MERGE = ("space", "case")
"""Which variants of a text may count as the same."""

_TOO_MUCH = 1.01
"""Probabilities of distinct tokens sum to one at most; rounding does not exceed this."""
_TOO_LITTLE = 0.5
"""A whole vocabulary has at least this much, although a tokenizer may lack some rows."""
_SPACE = "\u2581"
"""What SentencePiece writes for a space in the names of its tokens."""
_BYTE = "<0x20>"
"""The name of a space as a single byte."""


class Vocabulary:
    """The texts of one model's tokens, and which tokens stand for each.

    Attributes
    ----------
    name : str
        The model.
    texts : pandas.Index
        Distinct texts, in the order in which the tokens come. Empty texts are left out.
    n_tokens, n_empty, n_alike, n_variants : int
        How many tokens there are, have no text, have the same text as an earlier one, and become
        the same text by `merge`.
    n_mended : int
        How many texts lacked the space that their token begins with.
    """

    def __init__(self, ds: xr.Dataset, merge: Sequence[str]) -> None:
        self.name = str(ds["model"].to_numpy()[0])
        tokens = ds["response"].to_numpy().astype(object)
        raw, self.n_mended = tokens, 0
        if "decoded" in ds.coords:
            texts, self.n_mended = with_own_spaces(
                tokens.tolist(), ds["decoded"].to_numpy().tolist()
            )
            raw = np.array(texts, dtype=object)
        # First join tokens of one text, then texts that are variants of one another.
        self._token_text, distinct = pd.factorize(raw, use_na_sentinel=False)
        merged = np.array([_merged(text, merge) for text in distinct.tolist()], dtype=object)
        kept = np.array([bool(text) for text in merged.tolist()], dtype=bool)
        codes, texts = pd.factorize(merged[kept])
        self._text_key = np.full(len(distinct), -1, dtype=np.int64)
        self._text_key[kept] = codes
        self.texts = pd.Index(texts, dtype=object)
        self.n_tokens = len(raw)
        self.n_empty = int((self._text_key[self._token_text] < 0).sum())
        self.n_alike = self.n_tokens - len(distinct)
        self.n_variants = int(kept.sum()) - len(texts)

    def of_texts(self, values: Floats, positions: Integers, *, combine: Combine) -> Floats:
        """Turn log-probs of tokens into those of texts.

        ``values`` is (prompt, token); ``positions`` is (n,); the result is (prompt, n).
        """
        wanted = np.full(len(self.texts), -1, dtype=np.int64)
        wanted[positions] = np.arange(len(positions))
        key = np.where(self._text_key >= 0, wanted[self._text_key], -1)
        tokens = np.flatnonzero(key[self._token_text] >= 0)
        texts, text_of = np.unique(self._token_text[tokens], return_inverse=True)
        by_text = _reduced(values, tokens, text_of, len(texts), "max")
        return _reduced(by_text, np.arange(len(texts)), key[texts], len(positions), combine)

    def of_words(self, table: pd.DataFrame) -> pd.DataFrame:
        """Turn a table of tokens into one of texts: of each text the first value that is not empty.

        Ids and decoded texts belong to tokens, and are left out.
        """
        table = table.drop(columns=["token_id", "decoded"], errors="ignore")
        if table.empty:
            return pd.DataFrame(index=self.texts)
        key = self._text_key[self._token_text]
        known = table.replace("", None)[key >= 0].groupby(key[key >= 0]).first()
        texts = [name for name in table.columns if table[name].dtype == object]
        return known.set_axis(self.texts, axis=0).fillna(dict.fromkeys(texts, ""))


def check_logprobs(ds: xr.Dataset, who: str) -> None:
    """Raise a ValueBiasError unless scores are log-probs of a distribution over tokens."""
    kind = ds.attrs.get("kind")
    if kind != "logprob":
        raise ValueBiasError(
            f"{who} holds scores of kind {kind!r}; expected log-probs. Score language models with "
            'valuebias.score(..., kind="logprob").'
        )
    score = ds["score"].to_numpy()
    if (score > 0).any():
        raise ValueBiasError(
            f"{who} has scores up to {np.nanmax(score):.3g}; expected log-probs in nats, which "
            "are at most 0. If these are probabilities, take their logarithm."
        )
    if "token_id" not in ds.coords:
        return
    with np.errstate(under="ignore"):
        mass = np.nansum(np.exp(score, dtype=np.float64), axis=2)
    complete = ~np.isnan(score).any(axis=2)
    wrong = (mass > _TOO_MUCH) | ((mass < _TOO_LITTLE) & complete)
    if wrong.any():
        model, prompt = (int(index) for index in np.argwhere(wrong)[0])
        raise ValueBiasError(
            f"{who}: the probabilities of all tokens after the prompt "
            f"{str(ds['prompt'].to_numpy()[prompt])!r} sum to {mass[model, prompt]:.3g}; expected "
            "1. The scores may be logits, log-probs to another base than e, or of a part."
        )


def _merged(text: Any, merge: Sequence[str]) -> str:
    if not isinstance(text, str):
        return ""
    trimmed = text.strip() if "space" in merge else text
    return trimmed.lower() if "case" in merge else trimmed


def _reduced(
    values: Floats, columns: Integers, group: Integers, count: int, combine: Combine
) -> Floats:
    """Reduce columns by group; most groups have one column, which is only copied."""
    size = np.bincount(group, minlength=count)
    out = np.full((values.shape[0], count), np.nan, dtype=np.float32)
    alone = size[group] == 1
    out[:, group[alone]] = values[:, columns[alone]]
    if alone.all():
        return out
    rest = np.flatnonzero(~alone)
    order = rest[np.argsort(group[rest], kind="stable")]
    start = np.flatnonzero(np.diff(group[order], prepend=-1))
    part = values[:, columns[order]]
    # NaN means "not scored" here, and is left out.
    known = ~np.isnan(part)
    n = np.add.reduceat(known, start, axis=1, dtype=np.int64)
    highest = np.maximum.reduceat(np.where(known, part, -np.inf), start, axis=1)
    if combine == "max":
        reduced = highest
    elif combine == "mean":
        total = np.add.reduceat(np.where(known, part, 0), start, axis=1, dtype=np.float64)
        reduced = total / np.maximum(n, 1)
    else:
        level = np.repeat(highest, np.diff(np.append(start, len(order))), axis=1)
        share = np.where(known, np.exp(part.astype(np.float64) - np.where(known, level, 0)), 0)
        with np.errstate(divide="ignore"):
            reduced = highest + np.log(np.add.reduceat(share, start, axis=1))
    out[:, group[order][start]] = np.where(n > 0, reduced, np.nan)
    return out


def with_own_spaces(tokens: Sequence[str], texts: Sequence[str]) -> tuple[list[str], int]:
    """Restore the space that tokens begin with, where decoding them alone has dropped it.

    Examples
    --------
    >>> with_own_spaces(["▁love", "love", "▁", "Ġlove"], ["love", "love", "", " love"])
    ([' love', 'love', ' ', ' love'], 2)
    """
    spaced = list(texts)
    changed = 0
    for i, (token, text) in enumerate(zip(tokens, texts, strict=True)):
        if not token.startswith((_SPACE, _BYTE)):
            continue
        piece = " " if token == _BYTE else token.replace(_SPACE, " ")
        if len(text) < len(piece) and piece.lstrip(" ") == text.lstrip(" "):
            spaced[i] = piece
            changed += 1
    return spaced, changed
