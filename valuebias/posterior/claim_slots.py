"""Which of several names in a sentence each of its numbers is of.

"Gemma leans by 0.1, Llama by −0.2" has names before their numbers, "0.1 (Gemma) and −0.2 (Llama)"
after them, "Gemma and Llama … 0.1 and −0.2, respectively" in a row. Where a sentence is none of
these, nothing is decided: a number may then be of any name in it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from valuebias._core.manuscripts import Passage, WrittenNumber

__all__ = ["owners"]

Mention = tuple[int, int, str]  # start, end, name
_RESPECTIVELY = re.compile(r"\brespectively\b|\bin (?:this|that) order\b", re.IGNORECASE)


def owners(passage: Passage, mentions: Sequence[Mention]) -> dict[int, frozenset[str]]:
    """Give the names that each number is of, by where it starts; none where that is open.

    ``mentions`` are those of the levels of one variable.
    """
    numbers = [n for n in passage.numbers if not n.left_out and not _is_level(passage, n)]
    if len({name for *_, name in mentions}) < 2 or len(numbers) < 2:
        return {}
    if _RESPECTIVELY.search(passage.text):
        return _in_a_row(numbers, mentions)
    edges = [0, *(n.end for n in numbers), len(passage.text)]
    gaps = [
        frozenset(name for start, _, name in mentions if edges[i] <= start < edges[i + 1])
        for i in range(len(edges) - 1)
    ]
    if gaps[0] and gaps[-1]:
        return {}
    # From the left where names come first, else from the right.
    order = list(range(len(numbers)))
    before, order = (gaps[:-1], order) if gaps[0] else (gaps[1:], order[::-1])
    if any(len(gap) > 1 for gap in before) or sum(map(bool, before)) < 2:
        return {}
    found: dict[int, frozenset[str]] = {}
    current: frozenset[str] = frozenset()
    for i in order:
        current = before[i] or current
        found[numbers[i].start] = current
    return {start: names for start, names in found.items() if names}


def _in_a_row(
    numbers: Sequence[WrittenNumber], mentions: Sequence[Mention]
) -> dict[int, frozenset[str]]:
    main = [n for n in numbers if not n.side]
    names = list(dict.fromkeys(name for *_, name in sorted(mentions)))
    if len(main) != len(names):
        return {}
    return {n.start: frozenset({name}) for n, name in zip(main, names, strict=True)}


def _is_level(passage: Passage, number: WrittenNumber) -> bool:
    """Whether a number is the probability of an interval or a tolerance, and is of no name."""
    after = passage.text[number.end : number.end + 20].lower()
    return number.text[0] == "±" or (number.percent and "interval" in after)
