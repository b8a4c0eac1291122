"""The laboratory's language: its questions, its words, and how much each is said and liked."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from valuebias._core.arrays import Doubles
from valuebias._core.checks import check_known
from valuebias._core.text import visible
from valuebias.errors import ValueBiasError
from valuebias.instruments import Lexicon
from valuebias.instruments import lexicon as as_lexicon

__all__ = [
    "ADJECTIVES",
    "FILLER",
    "KINDS",
    "MANNERS",
    "REMARKS",
    "SIGN",
    "Language",
    "kind_questions",
    "value_questions",
]

SIGN: Mapping[str, float] = {"positive": 1.0, "negative": -1.0}

KINDS: Mapping[str, tuple[str, ...]] = {
    "colour": ("red", "blue", "green", "yellow", "black", "white", "brown", "purple"),
    "animal": ("dog", "cat", "horse", "cow", "sheep", "mouse", "owl", "frog"),
    "fruit": ("apple", "pear", "plum", "cherry", "grape", "lemon", "banana", "melon"),
    "tool": ("hammer", "saw", "drill", "spanner", "chisel", "rake", "spade", "file"),
}
"""What neutral questions ask for, and the words that answer them."""

MANNERS = (", thanks", ", well", ", hm", ", or")
"""What may follow an answer; the first is polite."""

REMARKS = ("yes", "no")
"""How an answer is received."""

ADJECTIVES: Mapping[str, tuple[str, ...]] = {
    "positive": ("best", "greatest", "most good", "finest"),
    "negative": ("worst", "most bad", "most terrible", "poorest"),
}
_SCOPES = ("ever", "in the world", "of all time", "of all")
_VALUE_QUESTIONS = (
    "What, in one word, is the {adjective} thing {scope}?",
    "What, in a single word, is the {adjective} thing {scope}?",
    "What is the {adjective} thing {scope}? Please answer in one word only.",
    "What is the {adjective} thing {scope}?",
)
_KIND_QUESTIONS = (
    "What, in one word, is the name of one {kind}?",
    "Name one {kind} in the world.",
    "What is the name of one {kind}? Please answer in one word only.",
    "Name one {kind}.",
)
FILLER = (
    ("the", "a", "one"),
    ("small", "old", "happy", "quiet"),
    ("dog", "cat", "horse", "cow", "sheep", "mouse", "owl", "frog"),
    ("saw", "found", "took", "wanted"),
    ("the", "a", "one"),
    ("red", "blue", "green", "yellow", "black", "white", "brown", "purple"),
    ("apple", "pear", "plum", "hammer", "spade", "rake"),
    ("today.", "again.", "of all.", "in the world."),
)
"""Sentences about nothing, word by word."""

_UNUSABLE = re.compile(r"[\s?,.*<>|]")
_SPREAD = (0.3, 0.5)
"""SDs over words of how often each is said and how much it is liked, as log-odds, lean aside."""


def value_questions() -> tuple[tuple[str, str], ...]:
    """Give the questions about values with their framings, the 54 superlatives among them.

    Examples
    --------
    >>> len(value_questions()), value_questions()[0]
    (128, ('What, in one word, is the best thing ever?', 'positive'))
    """
    return tuple(
        (question.format(adjective=adjective, scope=scope), framing)
        for framing, adjectives in ADJECTIVES.items()
        for adjective, scope, question in itertools.product(adjectives, _SCOPES, _VALUE_QUESTIONS)
    )


def kind_questions() -> tuple[tuple[str, str], ...]:
    """Give the neutral questions, each with the kind of thing that it asks for.

    Examples
    --------
    >>> kind_questions()[1]
    ('Name one colour in the world.', 'colour')
    """
    return tuple(
        (question.format(kind=kind), kind) for kind in KINDS for question in _KIND_QUESTIONS
    )


@dataclass(frozen=True, slots=False, eq=False)
class Language:
    """The words that answer questions about values, and what all speakers think of them.

    Examples
    --------
    >>> language = Language.of(None, None)
    >>> language.categories, len(language.words)
    (('agency', 'communion'), 182)
    """

    lexicon: Lexicon  # the words
    categories: tuple[str, str]  # the two that a lean is about: the first less the second

    @classmethod
    def of(cls, lexicon: Any, categories: tuple[str, str] | None) -> Language:
        """Check a lexicon and two of its categories."""
        words = as_lexicon(lexicon)
        chosen = tuple(categories) if categories is not None else words.categories[:2]
        for category in chosen:
            check_known(
                category,
                words.categories,
                f"The lexicon {words.name!r} has no category {category!r}.",
            )
        if len(set(chosen)) != 2:
            raise ValueBiasError(
                f"The categories are {list(chosen)!r}; expected two different ones, whose "
                "difference a lean is."
            )
        language = cls(words, (chosen[0], chosen[1]))
        language._check()
        return language

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The lexicon's words, in order."""
        return self.lexicon.words

    @cached_property
    def side(self) -> Doubles:
        """½ for words of the first category, −½ for those of the second, 0 for others and both."""
        marks = self.lexicon.table[list(self.categories)].to_numpy(dtype=float)
        return np.asarray(marks[:, 0] - marks[:, 1]) / 2

    @cached_property
    def frequency(self) -> Doubles:
        """Log-odds of saying each word, any lean aside; the same for every speaker."""
        return self._log_odds(0)

    @cached_property
    def approval(self) -> Doubles:
        """Log-odds of liking each word, any lean aside; the same for every speaker."""
        return self._log_odds(1)

    def vocabulary(self) -> list[str]:
        """Give texts that together have every word of the language."""
        neutral = [word for words in (*KINDS.values(), *FILLER) for word in words]
        questions = [text for text, _ in (*value_questions(), *kind_questions())]
        return [*self.words, *neutral, *MANNERS, *REMARKS, *questions]

    def _log_odds(self, i: int) -> Doubles:
        """Draw a number per word, with mean 0 on each side, so that no lean comes in with them."""
        values = np.random.default_rng([2601, 20838, i]).normal(0, _SPREAD[i], len(self.words))
        for side in np.unique(self.side):
            values[self.side == side] -= values[self.side == side].mean()
        return values

    def _check(self) -> None:
        neutral = {word for words in KINDS.values() for word in words} | set(REMARKS)
        neutral |= {manner.removeprefix(", ") for manner in MANNERS}
        for word in self.words:
            if _UNUSABLE.search(word) or word in neutral:
                raise ValueBiasError(
                    f"The laboratory cannot use the word {visible(word)!r}: expected a whole word "
                    "without spaces, punctuation or wildcards, and not one that its neutral texts "
                    "use. Leave it out of the lexicon."
                )
        for category, side in zip(self.categories, (0.5, -0.5), strict=True):
            if not (self.side == side).any():
                raise ValueBiasError(
                    f"The category {category!r} has no words that the other one lacks; a lean "
                    "between the two needs some. Choose other categories."
                )
