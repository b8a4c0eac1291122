"""Find the words of a lexicon in texts."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from valuebias.instruments.lexicons import Lexicon
from valuebias.instruments.terms import continues, plain

__all__ = ["FIELDS", "Leakage"]

FIELDS = ("prompt", "chosen", "rejected")
"""Where in a pair a word may be found."""


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

    Parameters
    ----------
    lexicon : Lexicon
        Its terms are looked for as whole words, whatever their case; one that ends in ``*`` stands
        for every word that begins so. Terms of several words, or with a hyphen, are looked for as
        they are.

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
