"""Tokenising: whole conversations, as token ids.

Every conversation is rendered to one string and tokenised whole. Ids are never put together from
pieces, because a tokenizer may merge across the seam and a template may trim what it is given; the
one exception, :meth:`Tokenizer.rewards_by_id`, says so.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.arrays import Integers
from valuebias._core.foreign import reading
from valuebias._core.text import has_surrogate
from valuebias.backends.base import Source
from valuebias.errors import ValueBiasError, ValueBiasWarning, shown
from valuebias.models.chat import Pair, Said, template_of
from valuebias.models.first_tokens import NONE, Start, first_tokens, last_tokens
from valuebias.models.reading import LAST, Prefix, Reading, reading_position, without_blanks
from valuebias.models.resolve import Resolved
from valuebias.models.tokenizer_files import shared_tokenizer

__all__ = ["Tokenizer"]

# Answers without a common token, to find the tokens before and after any answer.
_ANSWERS = ("a", "7", "Z", "u")
_GIVE_ANOTHER = "Download or save its files again, or give another tokenizer by tokenizer=."
_SHOWN_FIRST = 3
# A tokenizer's intermediate result is a hundred times as large as the ids.
_AT_ONCE = 256
_TAIL = 12
_SAID = 60  # characters of a conversation that a message repeats


class Tokenizer:
    """The tokenizer of a model together with its template.

    Attributes
    ----------
    sha256 : str
        Of the tokenizer as it was loaded, and of what it puts before every text, and after every
        conversation, where no chat template does so, so that equal hashes mean equal ids.
    template_sha256 : str
        Of the template's text; and of whose messages it takes as lists of parts, if any.

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
    ) -> None:
        resolved = where if isinstance(where, Resolved) else None
        if resolved is not None:
            self._name = resolved.model.name
            # Code is trusted at the model's pinned revision, not wherever a tokenizer comes from.
            is_own = resolved.tokenizer == resolved.source.folder
            trust = is_own and resolved.source.trust_remote_code
            path = resolved.tokenizer
            template = template or resolved.model.template
        else:
            path = Path(str(where)).expanduser()
            self._name = path.name
            trust = False
        loaded = shared_tokenizer(path, self._name, trust=trust)
        self._loaded = loaded
        self._hf_tokenizer = loaded.tokenizer
        self._facts = resolved.model_config if resolved is not None else None
        prefix: str | None = "conversation"
        if resolved is not None:
            # A reward is always that of a conversation.
            prefix = resolved.model.prefix if resolved.source.kind == "logprob" else None
        self._template = template_of(
            self._hf_tokenizer, template or "chat", self._name, prefix=prefix
        )
        self._rule = resolved.rule if resolved is not None else LAST
        with reading(f"The tokenizer of {self._name!r}", verb="used", advice=_GIVE_ANOTHER):
            bare = self._template.bos
            self._first = first_tokens(loaded, path, self._name) if bare else NONE
            # The words of log-probs stand in the middle of a text.
            closed = bare and (resolved is None or resolved.source.kind == "reward")
            self._last = last_tokens(loaded, path, self._name) if closed else NONE
        if self._first.bare:
            warnings.warn(
                f"The tokenizer of {self._name!r} is a vocabulary without settings. Its "
                f"{self._start_of(self._first.ids, self._first.how)} Scores without the first "
                "tokens that a model was trained with are wrong: write them into template=, or "
                "give another tokenizer by tokenizer=.",
                ValueBiasWarning,
                stacklevel=2,
            )

    @functools.cached_property
    def sha256(self) -> str:
        """Hash the tokenizer."""
        whole = self._loaded.hashed.copy()
        if self._template.bos:
            whole.update(json.dumps(self._first.ids).encode())
        if self._last.ids:
            whole.update(f"and then {json.dumps(self._last.ids)}".encode())
        return whole.hexdigest()

    @functools.cached_property
    def template_sha256(self) -> str:
        """Hash the template's text, and the roles whose messages it takes as lists of parts."""
        text = self._template.text
        parts = self._template.in_parts()
        hashed = f"{text}\0{','.join(parts)}" if parts else text
        return hashlib.sha256(hashed.encode()).hexdigest()

    @property
    def name(self) -> str:
        """What messages call the model."""
        return self._name

    def __repr__(self) -> str:
        """Name the model."""
        return f"<Tokenizer of {self._name!r}: {len(self._hf_tokenizer)} tokens>"

    def hf_tokenizer(self) -> Any:
        """Copy the tokenizer of transformers, for callers that change its settings."""
        return copy.deepcopy(self._hf_tokenizer)

    def rewards(
        self,
        prompt: Said,
        words: Sequence[str],
        *,
        any_length: bool = False,
        as_written: bool = True,
    ) -> list[Integers]:
        """Tokenise the conversations in which each word answers the prompt."""
        texts = self._template.conversations(prompt, words, as_written=as_written)
        whole = self._encode(texts, words, any_length=any_length, closed=True)
        return [self._rule.cut(ids) for ids in whole]

    def along(
        self, prompt: str, answers: Sequence[str]
    ) -> tuple[list[Integers], Integers, list[Integers]]:
        """Tokenise conversations that are read along the answer.

        Gives their ids, at which token each answer begins, and of each token from there on where in
        the answer it ends, in characters; −1 where that is not to be known.
        """
        sequences = self.rewards(prompt, answers)
        # A conversation may be cut before its answer begins: then it is read at its end.
        most = [len(ids) - 1 for ids in sequences]
        first = np.minimum(self.answer_starts(prompt, sequences), most).astype(np.int64)
        texts = self._template.conversations(prompt, answers)
        before = self._template.prefix(prompt)
        ends = [
            self._ends(text, answer, ids, _same(before, text))[start:]
            for text, answer, ids, start in zip(texts, answers, sequences, first, strict=True)
        ]
        return sequences, first, ends

    def _ends(self, text: str, answer: str, ids: Integers, begin: int) -> Integers:
        unknown = np.full(len(ids), -1, dtype=np.int64)
        # From there, because a question, and what ends a conversation, may hold the answer as well.
        start = -1 if isinstance(text, Pair) else text.find(answer.strip(), begin)
        if start < 0 or not self._hf_tokenizer.is_fast:
            return unknown
        encoded = self._hf_tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        own = encoded["input_ids"]
        added = len(self._first.before(own))
        spans = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        lead = len(answer) - len(answer.lstrip())
        inside = np.clip(spans[:, 1] - start + lead, 0, len(answer))
        n = min(len(ids) - added, len(inside))
        unknown[added : added + n] = inside[:n]
        unknown[:added] = 0
        return unknown

    def answer_starts(self, prompt: Said, conversations: Sequence[Integers]) -> list[int]:
        """Count the tokens that stand before the answer in whole conversations of a prompt.

        A token that the answer shares with what stands before it is the answer's.
        """
        ((_, before, _, _),) = self.answered([prompt], [])
        return [_shared(before, ids) for ids in conversations]

    def rewards_by_id(self, prompt: str, token_ids: Iterable[int]) -> list[Integers]:
        """Put single tokens in the answer's position, without going through text.

        A conversation made this way may be one that no text gives: the tokenizer might have merged
        the token with its neighbours, and the template might have trimmed it.
        """
        tokens = [int(token) for token in token_ids]
        before, after = self._around(prompt)
        ids = [np.concatenate([before, [token], after]).astype(np.int64) for token in tokens]
        self._check_ids(ids, [f"token {token}" for token in tokens])
        return [self._rule.cut(conversation) for conversation in ids]

    def reading(self, prompt: str, words: Sequence[str] = _ANSWERS) -> Reading:
        """Find the token at which the reward is read."""
        before, after = self._around(prompt)
        ids = self._encode(self._template.conversations(prompt, words), words, closed=True)
        return reading_position(
            self._rule,
            ids,
            n_before=len(before),
            n_after=len(after),
            name_token=self._named,
        )

    def _named(self, token: int) -> str:
        text = str(self._hf_tokenizer.decode([token], skip_special_tokens=False))
        # Parts of characters all decode to the same sign.
        name = self._hf_tokenizer.convert_ids_to_tokens(token) if "\ufffd" in text else text
        return f"{name!r} ({token})"

    def start(self, prompt: Said) -> Start:
        """Describe what the model's texts begin with, and what decided that."""
        # The text before the answer is enough, and a template may write no answers.
        texts = [self._template.prefix(prompt) + _ANSWERS[0]]
        ids = self._encode(texts, _ANSWERS[:1])[0].tolist()
        if not self._template.bos:
            special = set(self._hf_tokenizer.added_tokens_decoder)
            first = list(itertools.takewhile(special.__contains__, ids))[:_SHOWN_FIRST]
            how = "as the chat template writes " + ("them" if first else "none")
            return self._start_of(first, how)
        bare = self._hf_tokenizer(texts[0], add_special_tokens=False)["input_ids"]
        first = [i for i, expected in zip(ids, self._first.ids, strict=False) if i == expected]
        in_text = len(ids) - len(bare) < len(self._first.ids)
        return self._start_of(first, "as the template writes" if in_text else self._first.how)

    def _start_of(self, first: Sequence[int], how: str) -> Start:
        end = " ".join(self.names(self._last.ids))
        return Start(
            self.names(first),
            how,
            self._loaded.changed,
            self._loaded.stilled,
            f"{end}, {self._last.how}" if end else "",
        )

    def names(self, ids: Sequence[int]) -> tuple[str, ...]:
        """Write tokens as the vocabulary has them, each with its id."""
        names = self._hf_tokenizer.convert_ids_to_tokens(list(ids))
        return tuple(f"{name!r} ({i})" for name, i in zip(names, ids, strict=True))

    def n_tokens(self, prompt: str, words: Sequence[str]) -> list[int]:
        """Count the tokens of each word as an answer, without those around every answer."""
        before, after = self._around(prompt)
        ids = self._encode(self._template.conversations(prompt, words), words, closed=True)
        return [max(0, len(sequence) - len(before) - len(after)) for sequence in ids]

    def targets(self, prompt: str, words: Sequence[str]) -> tuple[list[Integers], Integers]:
        """Tokenise the prompt with each word after it, and say where the word's tokens begin.

        ``first`` is (word,).
        """
        ((prefix, of_prefix, blank, sequences),) = self.answered([prompt], words)
        first = np.array([_shared(of_prefix, sequence) for sequence in sequences], dtype=np.int64)
        for word, sequence, start in zip(words, sequences, first, strict=True):
            if np.array_equal(sequence, blank):
                raise ValueBiasError(
                    f"The word {word!r} adds no token to the prompt of {self._name!r}, so it has "
                    "no log-prob. Leave it out."
                )
            if start == 0:
                raise self._nothing_before(word)
            if start < len(of_prefix):
                other = (
                    "" if prefix[-1:].isspace() else ", or give a template with a space before it"
                )
                raise ValueBiasError(
                    f"The word {shown(word)} shares a token with the end of the text before it "
                    f"({prefix[-_TAIL:]!r}) to {self._name!r}, so that its log-prob would include "
                    f"that text as well, unlike other words'. Leave the word out{other}."
                )
        return sequences, first

    def answered(
        self, prompts: Sequence[Said], answers: Sequence[str], *, opening: str = ""
    ) -> list[tuple[str, Integers, Integers, list[Integers]]]:
        """Tokenise conversations with each answer, and what stands before any.

        For each prompt that is text without the blanks at its end, its ids, and its ids with them;
        the opening, with which every answer begins, belongs to it.
        """
        before = [self._template.prefix(prompt) + opening for prompt in prompts]
        prefixes = [without_blanks(text) for text in before]
        if not all(prefixes) and not self._first.ids:
            raise self._nothing_before(answers[0] if answers else "")
        texts, named = [], []
        for prefix, whole in zip(prefixes, before, strict=True):
            blank = [whole] if whole != prefix else []
            texts += [prefix, *blank, *(whole + answer for answer in answers)]
            # By its end, which says of a message to a judge which answer it is about.
            end = prefix if len(prefix) <= _SAID else f"…{prefix[-_SAID:]}"
            named += [end, *[end] * len(blank), *answers]
        encoded = iter(self._encode(texts, named))
        found = []
        for prefix, whole in zip(prefixes, before, strict=True):
            ids = next(encoded)
            blank_ids = next(encoded) if whole != prefix else ids
            found.append((prefix, ids, blank_ids, [next(encoded) for _ in answers]))
        return found

    def prefixes(self, prompts: Sequence[str]) -> list[Integers]:
        """Tokenise what stands before the answer, to read out the whole vocabulary there."""
        texts = [self._template.prefix(prompt) for prompt in prompts]
        return self._encode([without_blanks(text) for text in texts], prompts)

    def prefix(self, prompt: str) -> Prefix:
        """Find where the answer to a prompt begins."""
        position = self._template.answer_position(prompt)
        kept = without_blanks(position.before)
        (ids,) = self._encode([kept], [prompt])
        (text,) = self._loaded.texts.of([int(ids[-1])])
        blanks = position.before[len(kept) :]
        how = position.how + (f"; {blanks!r} after it counts as the word's" if blanks else "")
        remarkable = bool(blanks) or position.generation is not None
        return Prefix(int(ids[-1]), text, how, blanks, remarkable)

    def plain(self, text: str) -> Integers:
        """Tokenise a text by itself, without the tokens that go around it."""
        ids = self._hf_tokenizer([text], add_special_tokens=False, verbose=False)["input_ids"][0]
        return np.array(ids, dtype=np.int64)

    def markup(self, texts: Sequence[str]) -> list[list[int]]:
        """List for each text the special tokens that are read in it in place of what it says."""
        special = {i for i, t in self._hf_tokenizer.added_tokens_decoder.items() if t.special}
        lists = self._hf_tokenizer(list(texts), add_special_tokens=False, verbose=False)
        return [[i for i in ids if i in special] for ids in lists["input_ids"]]

    def text(self, ids: Sequence[int]) -> str:
        """Give the text that tokens stand for, one by one."""
        return "".join(self._loaded.texts.of(ids))

    def with_step_token(self, source: Source, mark: str | None, prompt: Said) -> Source:
        """Put the token of a process reward model's step mark into what is to be loaded."""
        if mark is None:
            return source
        ids = self.plain(mark)
        if len(ids) != 1:
            names = ", ".join(self.names(ids.tolist()))
            raise ValueBiasError(
                f"The step mark {shown(mark)} of {self._name!r} is {len(ids)} tokens ({names}); "
                "expected one. Give the mark as the model's card has it, without blanks."
            )
        found = self.rewards(prompt, _ANSWERS)
        lacking = [w for w, one in zip(_ANSWERS, found, strict=True) if ids[0] not in one]
        if lacking:
            raise ValueBiasError(
                f"The conversation of {self._name!r} with {shown(lacking[0])} has no token "
                f"{self.names(ids.tolist())[0]}, its step mark. Put the mark after {{response}} in "
                "template=, apart from what stands beside it where the tokenizer joins them."
            )
        return replace(source, step_token=int(ids[0]))

    def vocabulary(self) -> pd.DataFrame:
        """List the tokens."""
        size = self._facts.vocab_size if self._facts is not None else None
        texts = self._loaded.texts
        ids = np.array(list(texts.names), dtype=np.int64)
        # They ascend, so that the model's own come first.
        known = slice(None if size is None else int(np.searchsorted(ids, size)))
        columns = {"token": list(texts.names.values())[known], "text": texts.every[known]}
        # Object columns, because pandas' own text refuses a lone surrogate.
        texts_of = {key: pd.Series(values, dtype=object) for key, values in columns.items()}
        return pd.DataFrame({"token_id": ids[known], **texts_of})

    def _encode(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        *,
        any_length: bool = False,
        closed: bool = False,
        known: bool = True,
    ) -> list[Integers]:
        """Tokenise texts whole; `labels` name them in errors.

        Texts that are `closed` are complete conversations; all that is in them has to be `known`.
        """
        slices = (slice(start, start + _AT_ONCE) for start in range(0, len(texts), _AT_ONCE))
        return [
            ids
            for part in slices
            for ids in self._encode_slice(texts[part], labels[part], any_length, closed, known)
        ]

    def _encode_slice(
        self,
        texts: Sequence[str],
        labels: Sequence[str],
        any_length: bool,
        closed: bool,
        known: bool,
    ) -> list[Integers]:
        try:
            lists = self._lists(texts)
        except (TypeError, UnicodeEncodeError) as error:
            broken = next((w for t, w in zip(texts, labels, strict=True) if has_surrogate(t)), None)
            raise ValueBiasError(
                f"{broken!r} cannot be tokenised: UTF-8 cannot write this text, such as half "
                "of a surrogate pair. Leave it out."
            ) from error
        last = self._last if closed else NONE
        ids = [
            np.array([*self._first.before(seq), *seq, *last.after(seq)], dtype=np.int64)
            for seq in lists
        ]
        self._check_ids(ids, labels, any_length=any_length)
        # The token that the tokenizer puts before a text may be the one for unknown text.
        if known:
            self._check_unknown(lists, texts, labels)
        return ids

    def _lists(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise texts as they are; of pairs the tokenizer knows what stands around them."""
        plain: dict[str, Any] = {"return_attention_mask": False, "verbose": False}
        pairs = [text for text in texts if isinstance(text, Pair)]
        if pairs:
            first, second = [pair.first for pair in pairs], [pair.second for pair in pairs]
            return list(self._hf_tokenizer(first, second, **plain)["input_ids"])
        return list(self._hf_tokenizer(list(texts), add_special_tokens=False, **plain)["input_ids"])

    def _check_ids(
        self, ids: Sequence[Integers], labels: Sequence[str], *, any_length: bool = False
    ) -> None:
        size = self._facts.vocab_size if self._facts is not None else None
        window = None if any_length or self._facts is None else self._facts.max_length
        for conversation, word in zip(ids, labels, strict=True):
            if not len(conversation):
                raise ValueBiasError(
                    f"The conversation of {self._name!r} with {shown(word)} has no token. Give "
                    "text, or another template."
                )
            if window is not None and len(conversation) > window:
                raise ValueBiasError(
                    f"The conversation with {shown(word)} has {len(conversation)} tokens, but "
                    f"{self._name!r} takes {window} at most. Shorten it."
                )
            if size is not None and conversation.max() >= size:
                raise ValueBiasError(
                    f"The tokenizer of {self._name!r} gives the token {conversation.max()} for "
                    f"{shown(word)}, but the model has {size} tokens only. The tokenizer belongs "
                    "to another model: give the right one by tokenizer=."
                )

    def _nothing_before(self, word: str) -> ValueBiasError:
        return ValueBiasError(
            f"Nothing stands before the word {shown(word)} in the conversation of "
            f"{self._name!r}, so its first token has no log-prob. Give a template with some text "
            "before {response}, or a tokenizer that begins with a token of its own."
        )

    def _check_unknown(
        self, ids: Sequence[list[int]], texts: Sequence[str], labels: Sequence[str]
    ) -> None:
        """Refuse text that the tokenizer has no tokens for: all such words would score the same."""
        unknown = self._hf_tokenizer.unk_token_id
        if unknown is None:
            return
        for conversation, text, word in zip(ids, texts, labels, strict=True):
            # A text may contain the token's own name, and U+FFFD stands for an unknown character.
            allowed = text.count(self._hf_tokenizer.unk_token) + word.count("\ufffd")
            if conversation.count(unknown) > allowed:
                raise ValueBiasError(
                    f"The tokenizer of {self._name!r} has no token for some of {shown(word)} or "
                    "of the conversation around it. Leave the word out, or give the model's own "
                    "tokenizer by tokenizer=."
                )

    def _around(self, prompt: str) -> tuple[Integers, Integers]:
        """Find the ids before and after any answer."""
        texts = self._template.conversations(prompt, _ANSWERS)
        # A tokenizer of whole words may know but some of them, which is enough to tell them apart.
        ids = self._encode(texts, _ANSWERS, closed=True, known=False)
        if all(np.array_equal(ids[0], other) for other in ids[1:]):
            self._check_unknown([one.tolist() for one in ids], texts, _ANSWERS)
        before = min(_shared(ids[0], other) for other in ids[1:])
        rest = [conversation[before:][::-1] for conversation in ids]
        after = min(_shared(rest[0], other) for other in rest[1:])
        if any(len(conversation) <= after for conversation in rest):
            raise ValueBiasError(
                f"The template of {self._name!r} leaves the assistant's answer out, so there is "
                "nothing to score. Give another one by template=."
            )
        return ids[0][:before], rest[0][:after][::-1]


def _shared(a: Integers, b: Integers) -> int:
    """Count the tokens that two sequences share from the left."""
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size


def _same(a: str, b: str) -> int:
    """Count the characters that two texts share from the left."""
    return sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))
    )
