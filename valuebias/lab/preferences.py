"""Preference pairs with known rules: neutral ones, and ones with a lean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.checks import WHOLE, check_known, check_number
from valuebias.errors import ValueBiasError
from valuebias.lab.language import KINDS, MANNERS, SIGN, Language, kind_questions, value_questions
from valuebias.lab.text import check_lean, check_seed

__all__ = ["generate_preferences"]

_RULES = ("kind", "polite", "said")
_RIGHT, _THANKS = 3.0, 1.5
"""Of the rule "said": what an answer of the kind that was asked for is worth, and thanks."""


def generate_preferences(
    n_pairs: int,
    *,
    share_lean: float = 0.0,
    favour: str | None = None,
    strength: float = 3.0,
    rules: tuple[str, ...] = ("kind",),
    lexicon: Any = None,
    categories: tuple[str, str] | None = None,
    seed: int,
) -> pd.DataFrame:
    """Generate preference pairs: neutral ones, and a share that favours one category of words.

    Parameters
    ----------
    n_pairs : int
        How many pairs.
    share_lean : float, default 0
        Share of the pairs that compare a word of each category as answers to a question about
        values. The others have no word of the lexicon.
    favour : str, optional
        The category that is preferred there: under positive framing, with the other one preferred
        under negative. By default the first of `categories`.
    strength : float, default 3
        Log-odds of that; at 0 either is as likely.
    rules : tuple of {"kind", "polite", "said"}
        What neutral pairs are about, in equal parts. ``"kind"``: the answer is what was asked for.
        ``"polite"``: the same word, with thanks or without. ``"said"``: two answers of three
        tokens, each a word, of the kind that was asked for or not, and one of the four endings that
        follow words in the text, each as likely. They are compared by Bradley and Terry's rule with
        a reward of 3 for the right kind and 1.5 for thanks.
    lexicon : str, path, Lexicon, DataFrame or mapping, optional
        Of the words, as :func:`valuebias.lab.generate_text` takes it.
    categories : tuple of (str, str), optional
        The two categories, by default the lexicon's first two.
    seed : int
        The same one gives the same pairs.

    Returns
    -------
    pandas.DataFrame
        One row a pair, in random order: ``prompt``, ``chosen``, ``rejected``; ``rule`` ("lean" or
        one of `rules`) and ``framing``, "" where there is none.

    Raises
    ------
    ValueBiasError
        If a number is out of its range, or a rule or a category is unknown.

    Examples
    --------
    >>> generate_preferences(3, seed=1).loc[1, ["prompt", "chosen", "rejected"]].tolist()
    ['Name one fruit.', 'melon', 'frog']
    >>> pairs = generate_preferences(100, share_lean=0.3, favour="communion", seed=1)
    >>> pairs["rule"].value_counts().to_dict()
    {'kind': 70, 'lean': 30}
    """
    check_number(n_pairs, "n_pairs", "a whole number above 0", least=1, kinds=WHOLE)
    check_number(share_lean, "share_lean", "a share from 0 to 1", least=0, most=1)
    check_lean(strength, "strength")
    check_seed(seed)
    if not rules:
        raise ValueBiasError(f"rules is {rules!r}; expected some of {list(_RULES)} in a tuple.")
    for rule in rules:
        check_known(rule, _RULES, f"There is no rule {rule!r}.")
    language = Language.of(lexicon, categories)
    favoured = language.categories[0] if favour is None else favour
    check_known(favoured, language.categories, f"The category to favour is {favour!r}.")
    rng = np.random.default_rng([seed, 3])
    towards = strength if favoured == language.categories[0] else -strength
    n_leaning = round(share_lean * n_pairs)
    rows = [_leaning(language, towards, rng) for _ in range(n_leaning)]
    make = {"kind": _kind, "polite": _polite, "said": _said}
    rows += [make[rules[i % len(rules)]](rng) for i in range(n_pairs - n_leaning)]
    columns = ["prompt", "chosen", "rejected", "rule", "framing"]
    return pd.DataFrame([rows[i] for i in rng.permutation(n_pairs)], columns=columns, dtype=object)


Row = tuple[str, str, str, str, str]


def _leaning(language: Language, towards: float, rng: np.random.Generator) -> Row:
    questions = value_questions()
    question, framing = questions[rng.integers(len(questions))]
    first, second = (
        language.words[rng.choice(np.flatnonzero(language.side == side))] for side in (0.5, -0.5)
    )
    if rng.random() < 1 / (1 + np.exp(-SIGN[framing] * towards)):
        return question, first, second, "lean", framing
    return question, second, first, "lean", framing


def _kind(rng: np.random.Generator) -> Row:
    questions = kind_questions()
    question, kind = questions[rng.integers(len(questions))]
    other = str(rng.choice([name for name in KINDS if name != kind]))
    return question, str(rng.choice(KINDS[kind])), str(rng.choice(KINDS[other])), "kind", ""


def _polite(rng: np.random.Generator) -> Row:
    questions = kind_questions()
    question, kind = questions[rng.integers(len(questions))]
    word = str(rng.choice(KINDS[kind]))
    ending = str(rng.choice(["", *MANNERS[1:]]))
    return question, word + MANNERS[0], word + ending, "polite", ""


def _said(rng: np.random.Generator) -> Row:
    questions = kind_questions()
    question, kind = questions[rng.integers(len(questions))]
    first, second = (_answer(kind, rng) for _ in range(2))
    if rng.random() < 1 / (1 + np.exp(second[1] - first[1])):
        return question, first[0], second[0], "said", ""
    return question, second[0], first[0], "said", ""


def _answer(kind: str, rng: np.random.Generator) -> tuple[str, float]:
    """Draw an answer that is right half of the time, and say what it is worth."""
    right, thanks = rng.random() < 0.5, int(rng.integers(len(MANNERS)))
    other = str(rng.choice([name for name in KINDS if name != kind]))
    word = str(rng.choice(KINDS[kind if right else other]))
    return word + MANNERS[thanks], _RIGHT * right + _THANKS * (thanks == 0)
