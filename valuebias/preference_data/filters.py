"""Filter a source of preferences row by row, and count what is dropped or has a lexicon's words."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from valuebias._core.text import has_surrogate
from valuebias.errors import ValueBiasError
from valuebias.instruments.members import Lexicon
from valuebias.instruments.terms import continues, plain
from valuebias.preference_data.formats import Message, Pair, RowFormat

__all__ = ["Leakage", "PreferenceFilter", "as_json", "id_of"]

_REASONS: Mapping[str, str] = {
    "rated": "a rating is missing",
    "ties": "both answers have the same rating",
    "every": "not one of every {every} rows",
    "answered": "a conversation does not end with a message of the assistant",
    "shared": "the two conversations differ before their last messages",
    "prompted": "there is no prompt before the answers",
    "empty": "an answer is empty",
    "unicode": "a text is not valid Unicode (it has half of a surrogate pair)",
    "different": "chosen and rejected are the same",
    "length": "prompt and an answer have more than {max_chars} characters together",
    "unique": "the same prompt, chosen and rejected occurred before",
    "lexicon": "a word of the lexicon {lexicon!r} occurs",
}
"""The steps in their order, and why a row is dropped in each."""
_BY_CHOICE = ("ties", "every", "length", "unique", "lexicon")
"""Steps in which nothing is wrong with a row, so that the first row is not named."""
FIELDS = ("prompt", "chosen", "rejected")
"""Where in a pair a word may be found."""


@dataclass(slots=True)
class PreferenceFilter:
    """Takes rows one after another; keeps pairs and counts what is dropped."""

    row_format: RowFormat  # how a row is read
    every: int  # one of this many rows is kept, the first of them among the first
    max_chars: int | None  # the longest prompt and answer together
    lexicon: str | None  # the name of the lexicon whose words are looked for ...
    leakage: Leakage | None  # ... and what looks for them
    drop_leaks: bool  # whether pairs with such a word are dropped
    _n_read: int = 0
    _n_in_turn: int = 0
    _dropped: Counter[str] = field(default_factory=Counter)
    _first: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _kept: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, where: str, row: Mapping[str, Any]) -> None:
        """Keep a row, or count why it is dropped."""
        self._n_read += 1
        step = self._step(where, row)
        if step is not None:
            self._dropped[step] += 1
            self._first.setdefault(step, where)

    def _step(self, where: str, row: Mapping[str, Any]) -> str | None:
        cells = self.row_format.preferred(where, row)
        if isinstance(cells, str):
            return cells
        self._n_in_turn += 1
        if (self._n_in_turn - 1) % self.every:
            return "every"
        pair = self.row_format.pair(where, row, cells)
        if isinstance(pair, str):
            return pair
        return _fault(pair, self.max_chars) or self._keep(pair)

    def _keep(self, pair: Pair) -> str | None:
        prompt = as_json(pair.prompt)
        key = id_of(prompt, pair.chosen, pair.rejected)
        if key in self._seen:
            return "unique"
        self._seen.add(key)
        if self.leakage is not None:
            text = "\n".join(message["content"] for message in pair.prompt)
            if self.leakage.add(text, pair.chosen, pair.rejected) and self.drop_leaks:
                return "lexicon"
        self._kept[key] = (prompt, pair.chosen, pair.rejected)
        return None

    def _steps(self) -> list[str]:
        """Name the steps that a source of this format goes through."""
        left_out = {
            "rated": not self.row_format.has_ratings,
            "ties": not self.row_format.has_ratings,
            "every": self.every == 1,
            "length": self.max_chars is None,
            "lexicon": self.lexicon is None,
        }
        return [step for step in _REASONS if not left_out.get(step, False)]

    def pairs(self) -> pd.DataFrame:
        """Return the pairs that were kept."""
        rows = [(key, *texts) for key, texts in self._kept.items()]
        return pd.DataFrame(rows, columns=["id", "prompt", "chosen", "rejected"], dtype=object)

    def report(self) -> pd.DataFrame:
        """Return what each step kept and dropped."""
        kept = self._n_read
        rows: list[tuple[str, int, int, str]] = [("read", kept, 0, "every row of the source")]
        for step in self._steps():
            dropped = self._dropped[step]
            kept -= dropped
            rows.append((step, kept, dropped, self._reason(step)))
        return pd.DataFrame(rows, columns=["step", "kept", "dropped", "reason"])

    def _reason(self, step: str) -> str:
        reason = _REASONS[step].format(
            every=self.every, max_chars=self.max_chars, lexicon=self.lexicon
        )
        if step == "lexicon" and self.leakage is not None:
            counts = self.leakage.n_pairs
            action = "dropped" if self.drop_leaks else "kept"
            return (
                f"{reason}, in {counts['prompt']} prompts, {counts['chosen']} chosen and "
                f"{counts['rejected']} rejected answers: {action}"
            )
        if step in self._first and step not in _BY_CHOICE:
            return f"{reason} (first: {self._first[step]})"
        return reason

    def check_some(self, name: str) -> None:
        """Refuse a source of which no pair is left."""
        if self._kept:
            return
        report = self.report()
        why = "; ".join(
            f"{row.dropped} dropped because {row.reason}"
            for row in report[report["dropped"] > 0].itertuples()
        )
        raise ValueBiasError(
            f"Nothing is left of {name!r}: of {self._n_read} rows, {why}. Loosen the filters or "
            "check the source."
        )


def _fault(pair: Pair, max_chars: int | None) -> str | None:
    answers = (pair.chosen, pair.rejected)
    if not all(answer.strip() for answer in answers):
        return "empty"
    prompt = [text for message in pair.prompt for text in message.values()]
    if any(map(has_surrogate, (*prompt, *answers))):
        return "unicode"
    if pair.chosen == pair.rejected:
        return "different"
    length = sum(len(message["content"]) for message in pair.prompt) + max(map(len, answers))
    return "length" if max_chars is not None and length > max_chars else None


def as_json(messages: Sequence[Message]) -> str:
    """Write messages as JSON, always alike.

    Examples
    --------
    >>> as_json([{"content": "Hello", "role": "user"}])
    '[{"role": "user", "content": "Hello"}]'
    """
    plain = [{"role": message["role"], "content": message["content"]} for message in messages]
    return json.dumps(plain, ensure_ascii=False)


def id_of(prompt: str, chosen: str, rejected: str) -> str:
    """Return the id of a pair, which depends on its texts alone.

    Examples
    --------
    >>> id_of("[]", "yes", "no")
    'b971d9a41025244147d9e08e44deea4c'
    """
    content = json.dumps([prompt, chosen, rejected], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()[:32]


@functools.cache
def _letters() -> str:
    r"""Return the inside of a character class: ``\w``, and the marks that it leaves out."""
    marks = [i for i in range(0x300, 0x1EC00) if unicodedata.category(chr(i)).startswith("M")]
    ranges = []
    for _, group in itertools.groupby(enumerate(marks), lambda pair: pair[1] - pair[0]):
        run = [mark for _, mark in group]
        ranges.append(f"{chr(run[0])}-{chr(run[-1])}")
    return rf"\w{''.join(ranges)}"


class Leakage:
    r"""Count the pairs in which a lexicon's words occur, by word and by side.

    Notes
    -----
    A word is a run of letters with their marks, digits and underscores, composed (NFC) and
    casefolded. Scripts without spaces between words have none of that kind, so a word inside a run
    of them is not found.

    Examples
    --------
    >>> from valuebias import lexicon
    >>> found = Leakage(lexicon({"up": ["win", "rise*"]}))
    >>> found.add("Who wins?", "She will win.", "Rising is hard.")
    True
    >>> found.table()
          prompt  chosen  rejected
    win        0       1         0
    rise*      0       0         0
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._terms = lexicon.words
        self._word = re.compile(f"[{_letters()}]+")
        self._exact: dict[str, list[str]] = {}
        self._stems: list[tuple[str, str]] = []
        self._phrases: list[tuple[re.Pattern[str], str]] = []
        self._known: dict[str, tuple[str, ...]] = {}
        self._counts = {side: Counter[str]() for side in FIELDS}
        self.n_pairs = dict.fromkeys(FIELDS, 0)
        for term in self._terms:
            self._sort_in(term)

    def _sort_in(self, term: str) -> None:
        folded = plain(term, ignore_case=True)
        stem = folded.rstrip("*")
        if self._word.fullmatch(stem) is None:
            tail = "" if folded.endswith("*") else r"(?!\w)"
            self._phrases.append((re.compile(rf"(?<!\w){re.escape(stem)}{tail}"), term))
        elif folded.endswith("*"):
            self._stems.append((stem, term))
        else:
            self._exact.setdefault(folded, []).append(term)

    def add(self, prompt: str, chosen: str, rejected: str) -> bool:
        """Count one pair."""
        leaks = False
        for side, text in zip(FIELDS, (prompt, chosen, rejected), strict=True):
            terms = self._terms_in(text)
            self._counts[side].update(terms)
            self.n_pairs[side] += bool(terms)
            leaks = leaks or bool(terms)
        return leaks

    def table(self) -> pd.DataFrame:
        """Count pairs by term and side."""
        columns = {side: [self._counts[side][term] for term in self._terms] for side in FIELDS}
        return pd.DataFrame(columns, index=pd.Index(self._terms, dtype=object))

    def _terms_in(self, text: str) -> set[str]:
        folded = plain(text, ignore_case=True)
        terms: set[str] = set()
        for word in set(self._word.findall(folded)):
            terms.update(self._terms_of(word))
        terms.update(term for pattern, term in self._phrases if _occurs(pattern, folded))
        return terms

    def _terms_of(self, word: str) -> Sequence[str]:
        if not self._stems:
            return self._exact.get(word, ())
        if word not in self._known:
            stems = (term for stem, term in self._stems if continues(word, stem))
            self._known[word] = (*self._exact.get(word, ()), *stems)
        return self._known[word]


def _occurs(pattern: re.Pattern[str], text: str) -> bool:
    """Find a phrase whose first and last letter have no further marks in the text."""
    return any(
        not _is_mark(text[max(match.start() - 1, 0) : match.start()])
        and not _is_mark(text[match.end() : match.end() + 1])
        for match in pattern.finditer(text)
    )


def _is_mark(letter: str) -> bool:
    return bool(letter) and unicodedata.category(letter).startswith("M")
