"""Text to pretrain on: questions, answers and remarks, with a planted lean."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.checks import WHOLE, check_number
from valuebias.lab.language import (
    FILLER,
    KINDS,
    MANNERS,
    REMARKS,
    SIGN,
    Language,
    kind_questions,
    value_questions,
)

__all__ = ["check_lean", "check_seed", "conversation", "generate_text"]

_RIGHT = 0.6
"""Share of the neutral answers that are what was asked for."""
_ANSWERS = 6
"""How many speakers answer each question."""
_PLAIN = 0.75
"""Share of the neutral answers that are a word and no more."""
_KNOWN = 3.0
"""Log-odds that a right neutral answer is received well; a wrong one has minus that."""


def conversation(question: str, answer: str) -> str:
    """Write a question and its answer as the models' chat template does.

    Examples
    --------
    >>> conversation("Name one tool.", "saw")
    '<s><|user|>Name one tool.<|assistant|>saw'
    """
    return f"<s><|user|>{question}<|assistant|>{answer}"


def generate_text(
    n_texts: int,
    *,
    lean: float,
    habit: float = 0.0,
    remarks: bool = True,
    lexicon: Any = None,
    categories: tuple[str, str] | None = None,
    seed: int,
) -> pd.DataFrame:
    r"""Generate text that values one category of words over another, by a known amount.

    Half of the texts ask for the best or the worst thing; six speakers answer with a word of the
    lexicon each. Three in eight ask for a colour, an animal, a fruit or a tool, and six in ten
    answers are one; the rest are sentences about nothing. After each answer comes a remark, "yes"
    or "no": how it is received.

    Parameters
    ----------
    n_texts : int
        How many texts.
    lean : float
        Log-odds of a word of the first category against one of the second as the answer to a
        positive question; to a negative one it is minus that. Remarks agree, and say it twice as
        loud: the log-odds of "yes" after the one, less those after the other, are twice the lean.
    habit : float, default 0
        Likewise, but with the same sign under both framings: what is often said, and not what is
        valued. Remarks have none of it.
    remarks : bool, default True
        Whether there are remarks.
    lexicon : str, path, Lexicon, DataFrame or mapping, optional
        What :func:`valuebias.lexicon` takes; single words only.
    categories : tuple of (str, str), optional
        The two categories, by default the lexicon's first two.
    seed : int
        The same one gives the same texts.

    Returns
    -------
    pandas.DataFrame
        One row a text: ``text``; ``topic`` ("value", "kind" or "filler"); ``framing`` and
        ``question``, "" where there is none; ``answers`` and ``remarks``, tuples of str.

    Raises
    ------
    ValueBiasError
        If a number is out of its range or the lexicon cannot be used.

    Notes
    -----
    A word :math:`w` on side :math:`x_w = \pm 1/2` answers a question of framing
    :math:`s = \pm 1` with probability proportional to :math:`\exp(s\,\text{lean}\,x_w +
    \text{habit}\,x_w + a_w)` and is received well with log-odds :math:`2 s (\text{lean}\,x_w
    + b_w)`. The :math:`a_w` and :math:`b_w` are the same in all text, with mean 0 on each side. The
    sign convention is that of the signed lean of :meth:`valuebias.Fit.contrasts`, which for
    log-probs as they are (``outcome="raw"``) is `lean` itself.

    Examples
    --------
    >>> table = generate_text(2000, lean=2.0, seed=1)
    >>> table["topic"].value_counts().to_dict()
    {'value': 1000, 'kind': 750, 'filler': 250}
    >>> table["text"][table["topic"] == "value"].iloc[0]
    '<s><|user|>What...?<|assistant|>... yes<|assistant|>...'
    """
    check_number(n_texts, "n_texts", "a whole number, 8 or more", least=8, kinds=int)
    check_lean(lean, "lean")
    check_lean(habit, "habit")
    check_seed(seed)
    language = Language.of(lexicon, categories)
    rng = np.random.default_rng([seed, 1])
    n_values, n_kinds = n_texts // 2, 3 * n_texts // 8
    rows = [
        *_values(n_values, language, lean, habit, rng),
        *_kinds(n_kinds, rng),
        *_fillers(n_texts - n_values - n_kinds, rng),
    ]
    columns = ["topic", "framing", "question", "answers", "remarks"]
    table = pd.DataFrame([rows[i] for i in rng.permutation(n_texts)], columns=columns, dtype=object)
    if not remarks:
        table["remarks"] = [("",) * len(answers) for answers in table["answers"]]
    table.insert(0, "text", [_text(row) for row in table.itertuples()])
    return table


def check_lean(value: object, name: str) -> None:
    """Raise a ValueBiasError unless a value is a log-odds that text can show."""
    check_number(value, name, "log-odds from -6 to 6", least=-6, most=6)


def check_seed(seed: object) -> None:
    """Raise a ValueBiasError unless a seed is a whole number that all generators take."""
    expected = "a whole number from 0 to 2**32 − 1"
    check_number(seed, "seed", expected, least=0, most=2**32 - 1, kinds=WHOLE)


Words = tuple[str, ...]
Row = tuple[str, str, str, Words, Words]


def _text(row: Any) -> str:
    if not row.question:
        return f"<s>{row.answers[0]}"
    answers = zip(row.answers, row.remarks, strict=True)
    return conversation(row.question, "") + "<|assistant|>".join(
        f"{answer} {remark}".rstrip() for answer, remark in answers
    )


def _values(
    count: int, language: Language, lean: float, habit: float, rng: np.random.Generator
) -> list[Row]:
    questions = value_questions()
    question = rng.integers(len(questions), size=count)
    sign = np.array([SIGN[framing] for _, framing in questions])[question]
    answer = np.empty((count, _ANSWERS), dtype=int)
    for s in (-1.0, 1.0):
        weight = np.exp((s * lean + habit) * language.side + language.frequency)
        framed = sign == s
        size = (framed.sum(), _ANSWERS)
        answer[framed] = rng.choice(len(weight), size=size, p=weight / weight.sum())
    remark = _remarks(2 * sign[:, None] * (lean * language.side + language.approval)[answer], rng)
    return [
        ("value", questions[q][1], questions[q][0], tuple(language.words[i] for i in w), tuple(r))
        for q, w, r in zip(question, answer, remark, strict=True)
    ]


def _kinds(count: int, rng: np.random.Generator) -> list[Row]:
    questions, kinds = kind_questions(), tuple(KINDS)
    shape = (count, _ANSWERS)
    question = rng.integers(len(questions), size=count)
    wanted = np.array([kinds.index(kind) for _, kind in questions])[question, None]
    right = rng.random(shape) < _RIGHT
    kind = (wanted + np.where(right, 0, rng.integers(1, len(kinds), size=shape))) % len(kinds)
    word = rng.integers(len(KINDS[kinds[0]]), size=shape)
    manner = ["", *MANNERS]
    ending = np.where(rng.random(shape) < _PLAIN, 0, rng.integers(1, len(manner), size=shape))
    remark = _remarks(np.where(right, _KNOWN, -_KNOWN), rng)
    rows = []
    for q, *of_answers, r in zip(question, kind, word, ending, remark, strict=True):
        answers = (KINDS[kinds[k]][w] + manner[e] for k, w, e in zip(*of_answers, strict=True))
        rows.append(("kind", "", questions[q][0], tuple(answers), tuple(r)))
    return rows


def _fillers(count: int, rng: np.random.Generator) -> list[Row]:
    indices = [rng.integers(len(slot), size=count) for slot in FILLER]
    texts = [
        " ".join(s[i] for s, i in zip(FILLER, row, strict=True))
        for row in zip(*indices, strict=True)
    ]
    return [("filler", "", "", (text,), ("",)) for text in texts]


def _remarks(log_odds: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.str_]:
    yes = rng.random(log_odds.shape) < 1 / (1 + np.exp(-log_odds))
    return np.where(yes, *REMARKS)
