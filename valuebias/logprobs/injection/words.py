"""Choose the words that a language model is trained to answer with, and the prompts for it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError
from valuebias.instruments import Lexicon
from valuebias.models.tokenizer import Tokenizer

__all__ = ["Candidates", "train_on"]

_WORD = re.compile(r"[^\W\d_]{3,}")
"""Three letters or more, and nothing else."""


class Candidates:
    """The words that could be raised.

    Parameters
    ----------
    logprobs : xarray.Dataset
        The untouched model's, of its whole vocabulary, with ``token_id`` and ``decoded``.
    tokenizer : Tokenizer
        The model's, with its template.
    prompts : sequence of str
        Their texts.
    name : str
        What to call the model in errors.
    """

    def __init__(
        self, logprobs: xr.Dataset, tokenizer: Tokenizer, prompts: Sequence[str], name: str
    ) -> None:
        score = logprobs["score"].to_numpy()[0].astype(np.float64)
        self._table = pd.DataFrame(
            {
                "text": pd.Series(logprobs["decoded"].to_numpy().astype(object), dtype=object),
                "logprob": np.logaddexp.reduce(score, axis=0) - np.log(len(score)),
            },
            index=logprobs["token_id"].to_numpy(),
        )
        self._tokenizer, self._prompts, self._name = tokenizer, list(prompts), name

    def of_words(self, words: Sequence[str]) -> dict[int, str]:
        """Find the tokens of words that the user gives."""
        if isinstance(words, str) or not words or not all(isinstance(w, str) for w in words):
            raise ValueBiasError(f"words is {words!r}; expected a list of words, such as ['love'].")
        tokens: dict[int, str] = {}
        for word, token in zip(words, self._tokens(words, self._prompts), strict=True):
            if token < 0:
                raise ValueBiasError(
                    f"The word {word!r} is not one token to {self._name!r} after every prompt, so "
                    "no single log-prob stands for it. Leave it out, or write it as the model "
                    "would (in capitals, or with a space before it)."
                )
            text = str(self._table["text"].get(token, ""))
            if token in tokens or text in tokens.values():
                raise ValueBiasError(f"The word {word!r} is given twice; expected each once.")
            tokens[int(token)] = text
        return tokens

    def drawn(
        self, rng: np.random.Generator, *, n_words: int, likeliest: float, exclude: Lexicon | None
    ) -> dict[int, str]:
        """Draw words among those that the model is likeliest to answer with."""
        words = self._single(exclude)
        share = words.head(round(likeliest * len(words)))
        if len(share) < n_words:
            raise ValueBiasError(
                f"n_words is {n_words}, but {self._name!r} has {len(words)} words of one "
                f"token, and likeliest={likeliest} of these are {len(share)}. Ask for fewer, or "
                "for a larger share."
            )
        chosen = share.iloc[np.sort(rng.choice(len(share), size=n_words, replace=False))]
        return self.of_words(chosen["word"].tolist())

    def _single(self, exclude: Lexicon | None) -> pd.DataFrame:
        """List the words that are one token as an answer, the likeliest first."""
        prefix = self._tokenizer.prefix(self._prompts[0])
        # Where no white space stands before the answer, it belongs to the word.
        lead = "" if prefix.token[-1:].isspace() else " "
        texts = set(self._table["text"].tolist())

        def whole(text: str) -> bool:
            word = text[len(lead) :]
            # A piece that never follows a space, such as "tion", does not begin a word.
            return (
                text.startswith(lead) and _WORD.fullmatch(word) is not None and f" {word}" in texts
            )

        table = self._table.loc[self._table["text"].map(whole)].drop_duplicates("text")
        # The template's space before the answer is part of the token, not of the word.
        table = table.assign(word=table["text"].map(lambda text: text.removeprefix(prefix.blanks)))
        if exclude is not None:
            stripped = [text.strip() for text in table["text"]]
            member = exclude.membership(stripped, ignore_case=True).to_numpy(dtype=bool)
            table = table.iloc[np.flatnonzero(~member.any(axis=1))]
        tokens = self._tokens(table["word"].tolist(), self._prompts[:1])
        alone: pd.DataFrame = table.loc[np.asarray(table.index) == tokens]
        return alone.sort_values("logprob", ascending=False, kind="stable")

    def _tokens(self, words: Sequence[str], prompts: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the single token that each word is after all prompts; −1 where it is not one."""
        tokens: npt.NDArray[np.int64] | None = None
        for prompt, prefix in zip(prompts, self._tokenizer.prefixes(prompts), strict=True):
            sequences, first = self._tokenizer.targets(prompt, words)
            single = np.array(
                [
                    sequence[-1] if start == len(prefix) == len(sequence) - 1 else -1
                    for sequence, start in zip(sequences, first, strict=True)
                ],
                dtype=np.int64,
            )
            tokens = single if tokens is None else np.where(tokens == single, tokens, -1)
        return np.full(len(words), -1, dtype=np.int64) if tokens is None else tokens


def train_on(framing: Sequence[str], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Choose a random half of the prompts to train on, and of each framing as many.

    The result is (prompt,).

    Examples
    --------
    >>> train_on(["positive", "negative"] * 4, np.random.default_rng(0)).sum()
    np.int64(4)
    """
    shuffled = rng.permutation(len(framing))
    order = shuffled[np.argsort(np.asarray(framing)[shuffled], kind="stable")]
    chosen = np.zeros(len(framing), dtype=bool)
    chosen[order[rng.integers(2) :: 2]] = True
    return chosen
