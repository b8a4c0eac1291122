"""Tokenising: whole conversations, as token ids.

Every conversation is rendered to one string and tokenised whole. Ids are never put together from
pieces, because a tokenizer may merge across the seam and a template may trim what it is given; the
one exception, :meth:`Tokeniser.rewards_by_id`, says so.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias.errors import ValueBiasError
from valuebias.scoring.decoding import decode_each
from valuebias.scoring.resolve import Resolved
from valuebias.scoring.templates import Said, template_of

__all__ = ["Tokeniser"]

Integers = npt.NDArray[np.int64]

# Answers that share no token with one another, to see what stands before and after any answer.
_ANSWERS = ("a", "7", "Z", "u")
_SHOWN = 60
# What a tokenizer gives before it is made into ids is a hundred times as large as they are.
_AT_ONCE = 256


class Tokeniser:
    """The tokenizer of a model together with its template.

    Parameters
    ----------
    where : Resolved or path
        A resolved model; or a folder with a tokenizer, or a GGUF file.
    template : str, optional
        As in :class:`valuebias.scoring.models.Model`; by default the resolved model's, or "chat".
    read : {"last", "last-non-pad"}, optional
        Where the reward is read; by default as the resolved model says, or "last".

    Attributes
    ----------
    sha256 : str
        Of the tokenizer as it was loaded, so that equal hashes mean equal ids.
    template_sha256 : str
        Of the template's text.

    Raises
    ------
    ValueBiasError
        If there is no tokenizer, it cannot be loaded, it has no chat template where one is asked
        for, or it lacks a token that is needed.
    """

    def __init__(
        self,
        where: Resolved | str | os.PathLike[str],
        *,
        template: str | None = None,
        read: str | None = None,
    ) -> None:
        resolved = where if isinstance(where, Resolved) else None
        if resolved is not None:
            self._name = resolved.model.name
            # Code is trusted at the model's pinned revision, not wherever a tokenizer comes from.
            is_own = resolved.tokenizer == resolved.source.folder
            trust = is_own and resolved.source.trust_remote_code
            self._tokenizer = _load(resolved.tokenizer, self._name, trust=trust)
            template = template or resolved.model.template
            read = read or resolved.model.read
        else:
            path = Path(str(where)).expanduser()
            self._name = path.name
            self._tokenizer = _load(path, self._name, trust=False)
        self._facts = resolved.facts if resolved is not None else None
        self._template = template_of(self._tokenizer, template or "chat", self._name)
        self._pad = self._pad_id() if read == "last-non-pad" else None
        self._bos = self._own_bos() if self._template.bos else []
        self.template_sha256 = hashlib.sha256(self._template.text.encode()).hexdigest()

    @functools.cached_property
    def sha256(self) -> str:
        """Hash the tokenizer."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is not None:
            # Truncation and padding are settings of a call, and no one asks for them here.
            backend.no_truncation()
            backend.no_padding()
            text = backend.to_str()
        else:
            text = json.dumps([type(self._tokenizer).__name__, self._tokenizer.get_vocab()])
        return hashlib.sha256(text.encode()).hexdigest()

    def __repr__(self) -> str:
        """Name the model."""
        return f"<Tokeniser of {self._name!r}: {len(self._tokenizer)} tokens>"

    def tokenizer(self) -> Any:
        """Give a copy of the tokenizer itself, for those who change its settings."""
        return copy.deepcopy(self._tokenizer)

    def rewards(
        self, prompt: Said, words: Sequence[str], *, any_length: bool = False
    ) -> list[Integers]:
        """Tokenise the conversations in which each word answers the prompt.

        Parameters
        ----------
        prompt : str or sequence of mapping
            What the user says; or the messages of several turns, each with ``role`` and
            ``content``.
        words : sequence of str
            What the assistant says; may be empty strings.
        any_length : bool, default False
            Give conversations that are too long for the model, too, for the caller to leave out.

        Returns
        -------
        list of numpy.ndarray of int64
            One a word. The reward is read at the last token.

        Raises
        ------
        ValueBiasError
            If a conversation cannot be rendered or tokenised, is empty, or is too long.
        """
        texts = self._template.conversations(prompt, words)
        return [self._cut(ids) for ids in self._encode(texts, words, any_length=any_length)]

    def rewards_by_id(self, prompt: str, token_ids: Iterable[int]) -> list[Integers]:
        """Put single tokens where the answer stands, without going through text.

        A conversation made this way may be one that no text gives: the tokenizer might have merged
        the token with its neighbours, and the template might have trimmed it.

        Parameters
        ----------
        prompt : str
            What the user says.
        token_ids : iterable of int
            The tokens.

        Returns
        -------
        list of numpy.ndarray of int64
            One a token. The reward is read at the last token.

        Raises
        ------
        ValueBiasError
            If the conversation cannot be rendered or tokenised, or the template leaves the answer
            out.
        """
        tokens = [int(token) for token in token_ids]
        before, after = self._around(prompt)
        ids = [np.concatenate([before, [token], after]).astype(np.int64) for token in tokens]
        self._check_ids(ids, [f"token {token}" for token in tokens])
        return [self._cut(conversation) for conversation in ids]

    def n_tokens(self, prompt: str, words: Sequence[str]) -> list[int]:
        """Count the tokens of each word as an answer: those that are not there after any answer.

        Parameters
        ----------
        prompt : str
            What the user says.
        words : sequence of str
            What the assistant says.

        Returns
        -------
        list of int
            One a word.

        Raises
        ------
        ValueBiasError
            As :meth:`rewards` does, or if the template leaves the answer out.
        """
        before, after = self._around(prompt)
        ids = self._encode(self._template.conversations(prompt, words), words)
        return [max(0, len(found) - len(before) - len(after)) for found in ids]

    def targets(self, prompt: str, words: Sequence[str]) -> tuple[list[Integers], Integers]:
        """Tokenise the prompt with each word after it, and say where the word's tokens begin.

        Parameters
        ----------
        prompt : str
            What the user says.
        words : sequence of str
            What log-probs are wanted of.

        Returns
        -------
        sequences : list of numpy.ndarray of int64
            One a word: the prefix and the word, tokenised as one text.
        first : numpy.ndarray of int64, shape (word,)
            The first token that is not the prefix's own: the word's tokens are
            ``sequences[i][first[i]:]``. Where the word merges with the end of the prefix, the
            merged token is the word's.

        Raises
        ------
        ValueBiasError
            If a word is empty or leaves no token, nothing stands before it, or the text cannot be
            tokenised or is too long.
        """
        prefix = self._template.prefix(prompt)
        if not prefix and not self._bos:
            raise self._nothing_before(words[0] if words else "")
        ids = self._encode([prefix, *(prefix + word for word in words)], ["", *words])
        own, sequences = ids[0], ids[1:]
        first = np.array([_shared(own, sequence) for sequence in sequences], dtype=np.int64)
        for word, sequence, start in zip(words, sequences, first, strict=True):
            if start >= len(sequence):
                raise ValueBiasError(
                    f"The word {word!r} adds no token to the prompt of {self._name!r}, so it has "
                    "no log-prob. Leave it out."
                )
            if start == 0:
                raise self._nothing_before(word)
        return sequences, first

    def prefixes(self, prompts: Sequence[str]) -> list[Integers]:
        """Tokenise what stands before the answer, to read out the whole vocabulary there.

        Parameters
        ----------
        prompts : sequence of str
            What the user says.

        Returns
        -------
        list of numpy.ndarray of int64
            One a prompt. The first token of the answer is predicted at the last token.

        Raises
        ------
        ValueBiasError
            If the text cannot be rendered or tokenised, is empty, or is too long.
        """
        return self._encode([self._template.prefix(prompt) for prompt in prompts], prompts)

    def vocabulary(self) -> pd.DataFrame:
        """List the tokens.

        Returns
        -------
        pandas.DataFrame
            ``token_id``, ascending; ``token``, its raw name, which is unique; ``text``, what it
            decodes to alone, which need not be: tokens that are no valid UTF-8 give U+FFFD. Added
            tokens are in it; ids that the model has and the tokenizer does not are not.
        """
        size = self._facts.vocab_size if self._facts is not None else None
        names = {i: t for t, i in self._tokenizer.get_vocab().items() if size is None or i < size}
        ids = sorted(names)
        texts = decode_each(self._tokenizer, [[i] for i in ids])
        columns = {"token": [names[i] for i in ids], "text": texts}
        # Object columns, because pandas' own text refuses a lone surrogate.
        made = {key: pd.Series(values, dtype=object) for key, values in columns.items()}
        return pd.DataFrame({"token_id": np.array(ids, dtype=np.int64), **made})

    def _encode(
        self, texts: Sequence[str], said: Sequence[str], *, any_length: bool = False
    ) -> list[Integers]:
        """Tokenise texts whole; `said` is what to call each of them in errors."""
        slices = (slice(start, start + _AT_ONCE) for start in range(0, len(texts), _AT_ONCE))
        return [
            ids
            for part in slices
            for ids in self._encode_slice(texts[part], said[part], any_length)
        ]

    def _encode_slice(
        self, texts: Sequence[str], said: Sequence[str], any_length: bool
    ) -> list[Integers]:
        try:
            lists = self._tokenizer(
                list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
            )["input_ids"]
        except (TypeError, UnicodeEncodeError) as error:
            broken = next((w for t, w in zip(texts, said, strict=True) if not _is_text(t)), None)
            raise ValueBiasError(
                f"{broken!r} cannot be tokenised: it is no text that UTF-8 can write, such as half "
                "of a surrogate pair. Leave it out."
            ) from error
        ids = [np.array([*self._bos, *found], dtype=np.int64) for found in lists]
        self._check_ids(ids, said, any_length=any_length)
        self._check_unknown(ids, texts, said)
        return ids

    def _check_ids(
        self, ids: Sequence[Integers], said: Sequence[str], *, any_length: bool = False
    ) -> None:
        size = self._facts.vocab_size if self._facts is not None else None
        window = None if any_length or self._facts is None else self._facts.max_length
        for conversation, word in zip(ids, said, strict=True):
            if not len(conversation):
                raise ValueBiasError(
                    f"The conversation of {self._name!r} with {_short(word)} has no token. Give "
                    "text, or another template."
                )
            if window is not None and len(conversation) > window:
                raise ValueBiasError(
                    f"The conversation with {_short(word)} has {len(conversation)} tokens, but "
                    f"{self._name!r} takes {window} at most. Shorten it."
                )
            if size is not None and conversation.max() >= size:
                raise ValueBiasError(
                    f"The tokenizer of {self._name!r} gives the token {conversation.max()} for "
                    f"{_short(word)}, but the model has {size} tokens only. The tokenizer belongs "
                    "to another model: give the right one by tokenizer=."
                )

    def _nothing_before(self, word: str) -> ValueBiasError:
        return ValueBiasError(
            f"Nothing stands before the word {_short(word)} in the conversation of "
            f"{self._name!r}, so its first token has no log-prob. Give a template with some text "
            "before {response}, or a tokenizer that begins with a token of its own."
        )

    def _check_unknown(
        self, ids: Sequence[Integers], texts: Sequence[str], said: Sequence[str]
    ) -> None:
        """Refuse text that the tokenizer has no tokens for: all such words would score the same."""
        unknown = self._tokenizer.unk_token_id
        if unknown is None:
            return
        for conversation, text, word in zip(ids, texts, said, strict=True):
            # The token's own name in a text gives it rightly, and U+FFFD stands for no character.
            allowed = text.count(self._tokenizer.unk_token) + word.count("\ufffd")
            if np.count_nonzero(conversation == unknown) > allowed:
                raise ValueBiasError(
                    f"The tokenizer of {self._name!r} has no token for some of {_short(word)} or "
                    "of the conversation around it. Leave the word out, or give the model's own "
                    "tokenizer by tokenizer=."
                )

    def _cut(self, conversation: Integers) -> Integers:
        """Cut a conversation off after the token that the reward is read at."""
        if self._pad is None:
            return conversation
        kept = np.flatnonzero(conversation != self._pad)
        return conversation[: kept[-1] + 1 if len(kept) else 1]

    def _around(self, prompt: str) -> tuple[Integers, Integers]:
        """Find the ids before and after any answer."""
        texts = self._template.conversations(prompt, _ANSWERS)
        ids = self._encode(texts, _ANSWERS)
        before = min(_shared(ids[0], other) for other in ids[1:])
        rest = [conversation[before:][::-1] for conversation in ids]
        after = min(_shared(rest[0], other) for other in rest[1:])
        if any(len(conversation) <= after for conversation in rest):
            raise ValueBiasError(
                f"The template of {self._name!r} leaves the assistant's answer out, so there is "
                "nothing to score. Give another one by template=."
            )
        return ids[0][:before], rest[0][:after][::-1]

    def _own_bos(self) -> list[int]:
        """Give the token that the tokenizer begins every text with, where it does so by itself."""
        bos = self._tokenizer.bos_token_id
        ids = self._tokenizer("a", return_attention_mask=False)["input_ids"]
        return [bos] if bos is not None and len(ids) > 1 and ids[0] == bos else []

    def _pad_id(self) -> int:
        # transformers' classifiers go by the configuration, not by the tokenizer.
        facts = self._facts
        pad = self._tokenizer.pad_token_id if facts is None else facts.pad_token_id
        if pad is None:
            raise ValueBiasError(
                f"The model {self._name!r} has no padding token, so read='last-non-pad' means "
                "nothing. Give read='last'."
            )
        return int(pad)


def _load(path: Path, name: str, *, trust: bool) -> Any:
    """Load a tokenizer from a folder or out of a GGUF file."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ValueBiasError(
            "transformers is not installed, and tokenising needs it. Run: "
            'pip install "valuebias[torch]" (or "valuebias[onnx]").'
        ) from error
    folder, file = (path, None) if path.is_dir() else (path.parent, path.name)
    gguf = file if file is not None and file.lower().endswith(".gguf") else None
    options: dict[str, Any] = {} if gguf is None else {"gguf_file": gguf}
    try:
        return AutoTokenizer.from_pretrained(
            os.fspath(folder), trust_remote_code=trust, local_files_only=True, **options
        )
    # The tokenizers library raises a plain Exception for a damaged file.
    except Exception as error:
        raise ValueBiasError(
            f"The tokenizer of {name!r} cannot be loaded from {os.fspath(path)!r} "
            f"({type(error).__name__}: {_short(str(error))}). Expected tokenizer.json and its "
            "companions, or a GGUF file; give another tokenizer by tokenizer=."
        ) from error


def _shared(a: Integers, b: Integers) -> int:
    """Count the tokens that two sequences share from the left."""
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
