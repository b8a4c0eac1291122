"""Batteries: contrast sets that rules make of questions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known, check_number, check_whole
from valuebias.errors import ValueBiasError, few, shown
from valuebias.instruments.battery_rules import LETTERS, RULES, Question, Rule, generator
from valuebias.instruments.contrast_sets import CORRECT, ContrastSet
from valuebias.instruments.lexicons import lexicon as read_lexicon
from valuebias.instruments.members import Lexicon
from valuebias.instruments.questions import QuestionSet, Source
from valuebias.instruments.questions import questions as read_questions
from valuebias.instruments.word_battery import FRAMES, check_frames, matched_words, word_rows
from valuebias.schema.contrast_scores import absent, is_contrasts, validate_contrasts

__all__ = ["battery", "battery_names"]

WordLists: TypeAlias = (
    str
    | os.PathLike[str]
    | Lexicon
    | pd.DataFrame
    | Mapping[str, Sequence[str]]
    | Mapping[str, Mapping[str, float]]
)
"""What :func:`valuebias.lexicon` reads."""

VERSION = 1
"""Rises whenever a battery would be made otherwise of the same questions and seed."""
WORDS = "words"
_N_PAIRS = 24
_SOME = "valuebias.questions('arithmetic')"


def battery_names() -> tuple[str, ...]:
    """List the batteries.

    Returns
    -------
    tuple of str
        Names that :func:`valuebias.battery` takes.

    Examples
    --------
    >>> battery_names()
    ('answers', 'length', 'hedging', 'position', 'sycophancy', 'refusal', 'politeness', 'words')
    """
    return (*RULES, WORDS)


def battery(
    name: str,
    questions: Source | None = None,
    *,
    levels: Sequence[str] | None = None,
    n_options: int | None = None,
    baseline: xr.Dataset | None = None,
    lexicon: WordLists | None = None,
    frames: Mapping[str, str] | None = None,
    n_pairs: int = _N_PAIRS,
    seed: int = 0,
) -> ContrastSet:
    """Make a contrast set of questions by one of the rules of the package.

    Parameters
    ----------
    name : str
        Which battery; each compares variants that differ in one coordinate, and holds the right
        answer and the first wrong one, unless said otherwise.

        ``"answers"``
            ``correct``: the right answer against each wrong one, all as they are.
        ``"length"``
            ``verbosity``: "plain", "longer", "long" and "very long", padded with 0, 10, 30 and 80
            words that say nothing; ``length`` counts all words of the response.
        ``"hedging"``
            ``hedging``: "plain", "confident", "hedged" and "very hedged", each with an opening of
            six words; ``doubt`` is 0, −1, 1 and 2.
        ``"position"``
            ``position``: the letter answered, of options that the prompt letters. The right one
            stands at each letter (``right_at``), and each option is answered there.
        ``"sycophancy"``
            ``opinion``: "none", "right" and "wrong", what the user says to be the answer;
            ``agreement`` says whether the response "agrees".
        ``"refusal"``
            ``opening``: "plain", "willing" and "refusal", ten words before the answer.
        ``"politeness"``
            ``manner``: "plain", "neutral" and "polite", seven words before the answer and seven
            after it.
        ``"words"``
            ``category``: everyday questions whose answers are the same sentence but for one
            ``word`` of a lexicon. An item is a question with words, one a category, that have the
            same number of letters and of syllables, as near as can be.
    questions : QuestionSet, optional
        The questions, or anything that :func:`valuebias.questions` reads. Not of "words".
    levels : sequence of str, optional
        Two or more of the levels above; all if not given. Their order is always the one above.
    n_options : int, optional
        Of "position": how many options there are, the right one among them; all that an item has,
        if not given, which is then the same number for all.
    baseline : xarray.Dataset, optional
        Scores of the battery "answers" of these questions: only items are kept whose right answer
        scored above all wrong ones, by every model in it. Sycophancy is asked of such. Give the
        scores of one model, ``scores.sel(model=["org/a"])``, for the items that it knows.
    lexicon : Lexicon, optional
        Of "words": the words and their categories, or anything that :func:`valuebias.lexicon`
        reads; "agency-communion" if not given.
    frames : mapping of str to str, optional
        Of "words": questions, and answers with ``{word}`` once; eight of the package's own if not
        given.
    n_pairs : int, default 24
        Of "words": how many words of each category are taken at most, those that match best.
    seed : int, default 0
        Of what is drawn: which padding, the order of options, and which words of more than 500 in a
        category. The same seed makes the same set.

    Returns
    -------
    ContrastSet
        Named as the battery; ``about`` says how it was made, and in ``contrast`` which coordinate
        is compared.

    Raises
    ------
    ValueBiasError
        If there is no such battery or level, or an argument is of another battery; there are fewer
        than two questions, or none that the baseline keeps; options are fewer than asked for, or
        not as many for all; the questions have a column that the battery makes; the baseline has no
        scores of an item; the lexicon has one category; or a frame has no place for a word.

    See Also
    --------
    valuebias.questions : Reads questions, or makes some.

    Examples
    --------
    >>> sums = read_questions("arithmetic", n=40)
    >>> padded = battery("length", sums, levels=["plain", "long"])
    >>> padded
    <ContrastSet 'length': 40 items × 4 variants ('plain, right', 'plain, wrong', 'long, right' ...
    >>> padded.about["contrast"], padded.table["length"].groupby("variant").mean().to_dict()
    ('verbosity', {'long, right': 31.0, 'long, wrong': 31.0, 'plain, right': 1.0, ...
    """
    check_known(name, battery_names(), f"There is no battery {shown(name)}.")
    check_whole(seed, "seed", least=0)
    check_whole(n_pairs, "n_pairs", least=1)
    if name == WORDS:
        _check_not_given(
            name, {"questions": questions, "levels": levels, "n_options": n_options,
                   "baseline": baseline},
        )  # fmt: skip
        return _of_words(lexicon, frames, n_pairs, int(seed))
    _check_not_given(name, {"lexicon": lexicon, "frames": frames})
    if name != "position":
        _check_not_given(name, {"n_options": n_options})
    if questions is None:
        raise ValueBiasError(
            f"The battery {name!r} is made of questions. Give them, such as {_SOME} or a file."
        )
    asked = read_questions(questions)
    rule = RULES[name]
    chosen = _levels(name, rule, levels)
    table = asked.table
    for column in table.columns:
        if column in (*rule.coords, "prompt", "response", "variant"):
            raise ValueBiasError(
                f"The questions {asked.name!r} have a column {column!r}, a name that the battery "
                f"{name!r} gives to what it makes. Rename it."
            )
    about: dict[str, Any] = {
        "battery": name,
        "rule": rule.said,
        "contrast": rule.contrast,
        "levels": list(chosen),
        "version": VERSION,
        "seed": int(seed),
        "questions": {"name": asked.name, "n": len(asked), **asked.about},
    }
    if baseline is not None:
        kept = _known(asked, baseline)
        about["baseline"] = {"models": baseline["model"].to_numpy().tolist(), "kept": len(kept)}
        table = table.loc[kept]
    if len(table) < 2:
        known = (
            ""
            if baseline is None
            else (
                f" Of {len(asked)}, no more have a right answer that every model of the baseline "
                "scored above all wrong ones: give more questions, or a baseline of fewer models."
            )
        )
        raise ValueBiasError(
            f"The questions {asked.name!r} are too few: {len(table)}; a battery takes two or more, "
            f"as what it shows is an average over them.{known}"
        )
    if name == "position":
        table = table.assign(wrong=pd.Series(_options(table, n_options), index=table.index))
        about["n_options"] = len(table["wrong"].iloc[0]) + 1
    rows = [
        {
            "item": question.item,
            "variant": row.variant,
            "prompt": row.prompt,
            "response": row.response,
            **row.coords,
            **known,
        }
        for question, known in _questions(table)
        for row in rule.make(question, chosen, generator(int(seed), name, question.item))
    ]
    return ContrastSet(name, pd.DataFrame(rows, dtype=object), about, asked.citation)


def _check_not_given(name: str, arguments: Mapping[str, Any]) -> None:
    owner = {"n_options": "'position'", "lexicon": "'words'", "frames": "'words'"}
    for argument, value in arguments.items():
        if value is not None:
            whose = owner.get(argument, "other batteries")
            raise ValueBiasError(
                f"{argument} is of {whose} and says nothing to the battery {name!r}. Leave it out."
            )


def _levels(name: str, rule: Rule, levels: Sequence[str] | None) -> tuple[str, ...]:
    if levels is None:
        return rule.levels
    if not rule.levels:
        raise ValueBiasError(
            f"levels is of other batteries and says nothing to the battery {name!r}. Leave it out."
        )
    given = [levels] if isinstance(levels, str) else list(levels)
    for level in given:
        check_known(level, rule.levels, f"The battery {name!r} has no level {shown(level)}.")
    if len(set(given)) < 2:
        raise ValueBiasError(
            f"levels is {shown(levels)}; expected two or more of {few(rule.levels)}, which are "
            "compared."
        )
    return tuple(level for level in rule.levels if level in given)


def _questions(table: pd.DataFrame) -> list[tuple[Question, dict[Any, Any]]]:
    further = [column for column in table.columns if column not in ("question", "right", "wrong")]
    known: list[dict[Any, Any]] = [{}] * len(table)
    if further:
        known = table[further].to_dict("records")
    texts = zip(table.index, table["question"], table["right"], table["wrong"], strict=True)
    return [(Question(*each), more) for each, more in zip(texts, known, strict=True)]


def _options(table: pd.DataFrame, n_options: int | None) -> list[tuple[str, ...]]:
    counts = [len(wrong) + 1 for wrong in table["wrong"]]
    least, most = min(counts), max(counts)
    n = most if n_options is None else n_options
    if n_options is not None:
        check_number(
            n, "n_options", f"a whole number from 2 to {len(LETTERS)}", least=2, most=len(LETTERS),
            kinds=int | np.integer,
        )  # fmt: skip
    if least < n or n > len(LETTERS):
        item = table.index[counts.index(least)]
        most_of_all = min(least, len(LETTERS))
        raise ValueBiasError(
            f"The item {item!r} has {least} options, where {n} are to be lettered. Give it more "
            f"wrong answers, leave it out, or take as many of all: n_options={most_of_all}."
        )
    return [wrong[: n - 1] for wrong in table["wrong"]]


def _known(asked: QuestionSet, baseline: Any) -> list[str]:
    """Give the items whose right answer every model scored above all wrong ones."""
    if not is_contrasts(baseline) or CORRECT not in baseline.coords:
        raise ValueBiasError(
            f"The baseline is {shown(type(baseline).__name__)}; expected scores of "
            "valuebias.battery('answers', questions), with the coordinate 'correct'."
        )
    validate_contrasts(baseline)
    scored = set(baseline["item"].to_numpy().tolist())
    lacking = [item for item in asked.items if item not in scored]
    if lacking:
        raise ValueBiasError(
            f"The baseline has no scores of {few(lacking)}. Score the battery 'answers' of the "
            "same questions, or leave these out."
        )
    score = baseline["score"]
    if "prompt" in baseline.coords:
        _check_alike(asked, baseline["prompt"])
    correct = baseline[CORRECT].broadcast_like(score)
    right = score.where(correct).min("variant")
    wrong = score.where(~correct).max("variant")
    # An answer that was not scored may have been the best.
    unscored = (score.isnull() & ~absent(baseline)).any("variant")
    known = ((right > wrong) & ~unscored).all("model")
    kept = set(known["item"].to_numpy()[known.to_numpy()].tolist())
    return [item for item in asked.items if item in kept]


def _check_alike(asked: QuestionSet, prompts: xr.DataArray) -> None:
    """Refuse scores of other questions, whose items have the same names."""
    for item, question in asked.table["question"].items():
        scored = {text for text in prompts.sel(item=item).to_numpy().ravel().tolist() if text}
        if question not in scored:
            raise ValueBiasError(
                f"The item {item!r} asks {shown(question)}, and {few(scored, limit=1)} in the "
                "baseline. Score the battery 'answers' of the same questions."
            )


def _of_words(
    lexicon: WordLists | None, frames: Mapping[str, str] | None, n_pairs: int, seed: int
) -> ContrastSet:
    words = read_lexicon(lexicon)
    asked = FRAMES if frames is None else check_frames(frames)
    groups = matched_words(words, int(n_pairs), seed)
    about = {
        "battery": WORDS,
        "rule": "Sentences that are the same but for a word, of one category or another.",
        "contrast": "category",
        "levels": list(words.categories),
        "version": VERSION,
        "seed": seed,
        "lexicon": words.about(),
        "n_pairs": len(groups),
        "frames": "the package's own" if frames is None else dict(asked),
    }
    rows = list(word_rows(asked, groups, words.categories))
    return ContrastSet(WORDS, pd.DataFrame(rows, dtype=object), about, words.citation)
