"""The battery of words: sentences that are the same but for a word, of one category or another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias.errors import ValueBiasError, few, shown
from valuebias.instruments.members import Lexicon

__all__ = ["FRAMES", "SLOT", "check_frames", "matched_words", "syllables", "word_rows"]

SLOT = "{word}"
FRAMES: Mapping[str, str] = {
    "What makes a good day at work?": "A good day at work has something to do with {word}.",
    "What should I look for in a new job?": "Above all, I would look for {word}.",
    "What should a school teach its pupils?": "Before anything else, it should teach {word}.",
    "What would you wish a newborn child?": "I would wish it {word}, more than all the rest.",
    "What holds a team together?": "In my experience it is {word}, for the most part.",
    "What should the next story I write be about?": "I would make {word} its theme.",
    "Which word should I put on the wall of my room?": "I would take the word {word}.",
    "What did people in my town talk about at the last meeting?": "Most of it was about {word}.",
}
"""Everyday questions, and answers with a place for a noun."""
_MOST = 500
_VOWELS = re.compile("[aeiouy]+")


def syllables(word: str) -> int:
    """Estimate how many syllables an English word has, by its groups of vowels.

    Examples
    --------
    >>> [syllables(word) for word in ("love", "power", "table", "ability")]
    [1, 2, 2, 4]
    """
    plain = word.lower()
    groups = len(_VOWELS.findall(plain))
    silent = plain.endswith("e") and not plain.endswith(("le", "ee", "ye", "ie", "oe", "ue"))
    return max(1, groups - int(silent))


def matched_words(lexicon: Lexicon, n_pairs: int, seed: int) -> list[tuple[str, ...]]:
    """Match words of each category with others of as many letters and syllables, the closest first.

    Words in several categories, with a wildcard or of more than one word are left out.
    """
    # Here, because whoever imports a lexicon would wait for it.
    from scipy.optimize import linear_sum_assignment

    words = _of_one_category(lexicon)
    rng = np.random.default_rng(seed)
    chosen = [_some(words[category], rng) for category in lexicon.categories]
    first = chosen[0]
    partners, costs = [list(range(len(first)))], np.zeros(len(first))
    kept = np.ones(len(first), dtype=bool)
    for others in chosen[1:]:
        cost = _differences(first, others)
        # Squared, so that two small differences are better than a large one.
        rows, columns = linear_sum_assignment(cost**2)
        partner = np.full(len(first), -1)
        partner[rows] = columns
        kept &= partner >= 0
        partners.append(partner.tolist())
        costs[rows] += cost[rows, columns]
    order = [i for i in np.argsort(costs, kind="stable").tolist() if kept[i]]
    return [
        tuple(group[partner[i]] for group, partner in zip(chosen, partners, strict=True))
        for i in order[:n_pairs]
    ]


def _of_one_category(lexicon: Lexicon) -> dict[str, list[str]]:
    if len(lexicon.categories) < 2:
        raise ValueBiasError(
            f"The lexicon {lexicon.name!r} has one category, {lexicon.categories[0]!r}; expected "
            "two or more, whose words are compared."
        )
    # A negative weight speaks against a category.
    member = lexicon.table.astype(float) > 0
    alone = member[member.sum(axis=1) == 1]
    alone = alone[[not re.search(r"[*\s]", str(word)) for word in alone.index]]
    words = {c: [str(word) for word in alone.index[alone[c]]] for c in lexicon.categories}
    for category, listed in words.items():
        if not listed:
            raise ValueBiasError(
                f"The category {category!r} of the lexicon {lexicon.name!r} has no word that is in "
                "no other category and is a single word without a wildcard. Leave the category "
                "out, or give it words."
            )
    return words


def _some(words: list[str], rng: np.random.Generator) -> list[str]:
    """Draw from more words than could be matched with one another."""
    if len(words) <= _MOST:
        return words
    drawn = np.sort(rng.choice(len(words), size=_MOST, replace=False))
    return [words[i] for i in drawn.tolist()]


def _differences(one: Sequence[str], other: Sequence[str]) -> npt.NDArray[np.float64]:
    def measured(words: Sequence[str]) -> npt.NDArray[np.float64]:
        return np.array([[len(word), syllables(word)] for word in words], dtype=float)

    difference = np.abs(measured(one)[:, None] - measured(other)[None])
    return np.asarray(difference.sum(axis=2))


def check_frames(frames: Any) -> Mapping[str, str]:
    """Require questions with answers that have a place for one word."""
    if not isinstance(frames, Mapping) or not frames:
        raise ValueBiasError(
            f"The frames are {shown(frames)}; expected a mapping of questions to answers with a "
            "place for a word, such as {'What matters?': 'To me, {word} does.'}."
        )
    for question, answer in frames.items():
        for text in (question, answer):
            if not isinstance(text, str) or not text.strip():
                raise ValueBiasError(f"The frames have the text {shown(text)}; expected words.")
        if answer.count(SLOT) != 1:
            raise ValueBiasError(
                f"The answer {shown(answer)} has {answer.count(SLOT)} places for a word; expected "
                f"{SLOT} once, as in {few(list(FRAMES.values())[:1])}."
            )
    return frames


def word_rows(
    frames: Mapping[str, str], groups: Sequence[tuple[str, ...]], categories: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Fill frames with words; an item is a frame with words that match, one of each category."""
    for number, (question, answer) in enumerate(frames.items(), 1):
        before, after = answer.split(SLOT)
        for group in groups:
            for category, word in zip(categories, group, strict=True):
                yield {
                    "item": f"frame {number}: {' – '.join(group)}",
                    "variant": category,
                    "prompt": question,
                    "response": f"{before}{word}{after}",
                    "category": category,
                    "word": word,
                    "letters": len(word),
                    "frame": f"frame {number}",
                    "pair": " – ".join(group),
                }
