"""Questions that rules make, whose right answers Python's own arithmetic and calendar give."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np

from valuebias._core.checks import WHOLE, check_number

__all__ = ["MADE", "VERSION", "make_questions"]

VERSION = 1
"""Rises whenever a rule would make other questions of the same seed."""
MOST = 1_000
"""Of each topic there are more than its share of that, so that another is soon drawn."""
_N_WRONG = 3


class Asked(NamedTuple):
    """A question, its right answer, and wrong ones of which some are chosen."""

    question: str
    right: str
    candidates: Sequence[str]


def make_questions(kind: str, n: int, seed: int) -> list[dict[str, Any]]:
    """Make `n` different questions, each with three wrong answers, the same for the same seed.

    Examples
    --------
    >>> make_questions("arithmetic", 2, seed=0)[0]["question"]
    'What is 27 + 11?'
    """
    check_number(n, "n", f"a whole number from 2 to {MOST:,}", least=2, most=MOST, kinds=WHOLE)
    check_number(seed, "seed", "a whole number of at least 0", least=0, kinds=WHOLE)
    topics = MADE[kind]
    # Of another kind the same seed draws other numbers.
    rng = np.random.default_rng([int(seed), zlib.crc32(kind.encode())])
    made: dict[str, dict[str, Any]] = {}
    for topic in itertools.islice(itertools.cycle(topics), int(n)):
        asked = topics[topic](rng)
        while asked.question in made:
            asked = topics[topic](rng)
        wrong = _drawn(rng, list(dict.fromkeys(asked.candidates)), asked.right)
        made[asked.question] = {
            "item": f"{kind} {len(made) + 1}",
            "question": asked.question,
            "right": asked.right,
            "wrong": wrong,
            "topic": topic,
        }
    return list(made.values())


def _drawn(rng: np.random.Generator, candidates: list[str], right: str) -> tuple[str, ...]:
    others = [text for text in candidates if text != right]
    chosen = rng.choice(len(others), size=_N_WRONG, replace=False)
    return tuple(others[i] for i in chosen.tolist())


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _near(right: int, *more: int, far: int = 10) -> list[str]:
    """Give numbers that a slip in counting or in a digit would give, none below zero."""
    numbers = [right + step for step in (-far, -2, -1, 1, 2, far)]
    return [str(number) for number in (*numbers, *more) if number >= 0]


def _sum(rng: np.random.Generator) -> Asked:
    a, b = _between(rng, 11, 99), _between(rng, 11, 99)
    return Asked(f"What is {a} + {b}?", str(a + b), _near(a + b))


def _difference(rng: np.random.Generator) -> Asked:
    a, b = _between(rng, 11, 99), _between(rng, 11, 99)
    a, b = max(a, b) + 1, min(a, b)
    return Asked(f"What is {a} - {b}?", str(a - b), _near(a - b))


def _product(rng: np.random.Generator) -> Asked:
    a, b = _between(rng, 3, 29), _between(rng, 3, 29)
    slips = ((a - 1) * b, (a + 1) * b, a * (b - 1), a * (b + 1))
    return Asked(f"What is {a} × {b}?", str(a * b), _near(a * b, *slips))


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def _written(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _any_day(rng: np.random.Generator) -> date:
    return date(1980, 1, 1) + timedelta(days=_between(rng, 0, 18_000))


def _weekday(rng: np.random.Generator) -> Asked:
    first, days = _any_day(rng), _between(rng, 2, 60)
    begun, ended = (_DAYS[day.weekday()] for day in (first, first + timedelta(days=days)))
    question = f"{_written(first)} was a {begun}. What day of the week was it {days} days later?"
    return Asked(question, ended, _DAYS)


def _later(rng: np.random.Generator) -> Asked:
    first, days = _any_day(rng), _between(rng, 2, 40)
    right = first + timedelta(days=days)
    others = [_written(right + timedelta(days=step)) for step in (-2, -1, 1, 2)]
    question = f"What date is {days} days after {_written(first)}?"
    return Asked(question, _written(right), others)


def _days_between(rng: np.random.Generator) -> Asked:
    first, days = _any_day(rng), _between(rng, 5, 90)
    last = first + timedelta(days=days)
    question = f"How many days after {_written(first)} is {_written(last)}?"
    return Asked(question, str((last - first).days), _near(days, days + 30))


_THINGS = (
    "anchor", "apple", "basket", "bottle", "branch", "bread", "bridge", "bucket", "button",
    "candle", "carpet", "castle", "chair", "cheese", "circle", "clock", "cloud", "coffee",
    "corner", "curtain", "dinner", "doctor", "engine", "farmer", "feather", "finger", "flower",
    "forest", "garden", "glove", "hammer", "harbour", "hotel", "island", "jacket", "kettle",
    "ladder", "lemon", "letter", "market", "mirror", "mountain", "needle", "number", "orange",
    "oven", "paper", "pencil", "pillow", "pocket", "river", "school", "shoulder", "silver",
    "spoon", "station", "summer", "table", "ticket", "tower", "train", "umbrella", "valley",
    "village", "window", "winter",
)  # fmt: skip


def _things(rng: np.random.Generator, n: int) -> list[str]:
    return [_THINGS[i] for i in rng.choice(len(_THINGS), size=n, replace=False).tolist()]


def _first_word(rng: np.random.Generator) -> Asked:
    words = _things(rng, 4)
    question = f"Which of these words comes first in the alphabet: {', '.join(words)}?"
    return Asked(question, min(words), words)


def _last_word(rng: np.random.Generator) -> Asked:
    words = _things(rng, 4)
    question = f"Which of these words comes last in the alphabet: {', '.join(words)}?"
    return Asked(question, max(words), words)


def _words_listed(rng: np.random.Generator) -> Asked:
    words = _things(rng, _between(rng, 3, 9))
    question = f"How many words are in this list: {', '.join(words)}?"
    return Asked(question, str(len(words)), _near(len(words), far=3))


def _letters(rng: np.random.Generator) -> Asked:
    # Two words, so that there are enough of them.
    words = _things(rng, 2)
    n = sum(map(len, words))
    question = f"How many letters do the words {words[0]} and {words[1]} have together?"
    return Asked(question, str(n), _near(n, far=3))


_UNITS = {
    "time": (
        ("minutes", "hours", 60), ("seconds", "minutes", 60), ("hours", "days", 24),
        ("days", "weeks", 7), ("months", "years", 12),
    ),
    "measure": (
        ("centimetres", "metres", 100), ("metres", "kilometres", 1000),
        ("grams", "kilograms", 1000), ("millilitres", "litres", 1000),
        ("millimetres", "centimetres", 10),
    ),
}  # fmt: skip


def _units(topic: str) -> Callable[[np.random.Generator], Asked]:
    def ask(rng: np.random.Generator) -> Asked:
        small, large, each = _UNITS[topic][_between(rng, 0, len(_UNITS[topic]) - 1)]
        n = _between(rng, 2, 250)
        slips = [n * each * 10, (n + 1) * each, (n - 1) * each, n * each + each // 2]
        if each > 10:
            slips.append(n * (each - 2))
        question = f"How many {small} are there in {n} {large}?"
        return Asked(question, str(n * each), [str(slip) for slip in slips])

    return ask


MADE: Mapping[str, Mapping[str, Callable[[np.random.Generator], Asked]]] = {
    "arithmetic": {"addition": _sum, "subtraction": _difference, "multiplication": _product},
    "dates": {"weekday": _weekday, "later date": _later, "days between": _days_between},
    "alphabet": {"first": _first_word, "last": _last_word},
    "counting": {"words": _words_listed, "letters": _letters},
    "units": {"time": _units("time"), "measure": _units("measure")},
}
"""The kinds of questions that are made, each with its topics, which take turns."""
