"""Preferences made by rule, for trying out a study without real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.checks import check_known, check_whole
from valuebias._core.tables import read_yaml
from valuebias.errors import ValueBiasError
from valuebias.preference_data.preferences import Preferences, preferences

__all__ = ["KINDS", "synthetic_preferences"]

KINDS = ("correct", "courteous")
"""What is preferred: the right answer to the wrong one, or the polite to the rude one."""


@dataclass(frozen=True, slots=True)
class _Fact:
    """A question with its true statement, and others that are false."""

    question: str
    true: str
    false: tuple[str, ...]


def synthetic_preferences(kind: str, n_pairs: int, *, seed: int = 0) -> Preferences:
    """Make preference pairs by rule from plain facts.

    Parameters
    ----------
    kind : {"correct", "courteous"}
        ``"correct"``: a true statement is preferred to a false one. ``"courteous"``: both answers
        are true, and the polite one is preferred to the rude one.
    n_pairs : int
        How many, each with a prompt of its own.
    seed : int, default 0
        Draws the prompts and the wording.

    Returns
    -------
    Preferences
        Named after the kind. No answer holds a word of the lexicon "agency-communion".

    Raises
    ------
    ValueBiasError
        If there is no such kind, or there are fewer prompts than `n_pairs`.

    Notes
    -----
    These are synthetic: questions and answers are put together from a table of facts (capitals,
    plurals, sums, …) and a few phrases. They teach a reward model something that is known exactly,
    and little else; people's preferences are richer. Give your own to draw conclusions about them.

    Examples
    --------
    >>> made = synthetic_preferences("correct", 100)
    >>> made
    <Preferences 'correct': 100 pairs, 100 prompts>
    >>> made.pairs.loc[0, ["chosen", "rejected"]].tolist()
    ['2 times 19 is 38.', '2 times 19 is 39.']
    """
    check_known(kind, KINDS, f"kind is {kind!r}.")
    check_whole(n_pairs, "n_pairs", least=1)
    check_whole(seed, "seed", least=0)
    facts = _facts()
    if n_pairs > len(facts):
        raise ValueBiasError(
            f"n_pairs is {n_pairs}, and there are {len(facts)} prompts. Ask for that many or fewer."
        )
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    wording = _table()
    rows = []
    for number in rng.permutation(len(facts))[:n_pairs]:
        fact = facts[number]
        if kind == "correct":
            chosen, rejected = fact.true, str(rng.choice(fact.false))
        else:
            chosen, rejected = (
                str(rng.choice(wording[manner])).format(statement=fact.true)
                for manner in ("courteous", "curt")
            )
        rows.append({"prompt": fact.question, "chosen": chosen, "rejected": rejected})
    return preferences(pd.DataFrame(rows), name=kind, progress=False)


@cache
def _table() -> Mapping[str, Any]:
    with resources.as_file(resources.files("valuebias") / "data" / "synthetic.yaml") as path:
        table: Mapping[str, Any] = read_yaml(path)
    return table


@cache
def _facts() -> tuple[_Fact, ...]:
    table = _table()
    return (*_looked_up(table["relations"]), *_reckoned(table["arithmetic"]))


def _looked_up(relations: Mapping[str, Any]) -> Iterator[_Fact]:
    """Return facts of the table; the false statements have the answers of other subjects."""
    for relation in relations.values():
        answers = sorted({str(answer) for answer in relation["facts"].values()})
        for subject, answer in relation["facts"].items():
            true, *false = (
                _sentence(relation["statement"].format(subject=subject, answer=one))
                for one in (answer, *(other for other in answers if other != answer))
            )
            for question in relation["questions"]:
                yield _Fact(_sentence(question.format(subject=subject)), true, tuple(false))


def _reckoned(arithmetic: Mapping[str, Any]) -> Iterator[_Fact]:
    """Return sums and products; the false statements are a little off."""
    numbers = range(arithmetic["smallest"], arithmetic["largest"] + 1)
    reckon = {"plus": int.__add__, "times": int.__mul__}
    for name, operation in arithmetic["operations"].items():
        for a in numbers:
            for b in numbers:
                answer = reckon[name](a, b)
                true, *false = (
                    operation["statement"].format(a=a, b=b, answer=answer + off)
                    for off in (0, *arithmetic["wrong"])
                    if answer + off > 0
                )
                for question in operation["questions"]:
                    yield _Fact(question.format(a=a, b=b), true, tuple(false))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
