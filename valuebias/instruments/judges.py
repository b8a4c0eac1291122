"""Judges: how a language model is asked to judge an answer, and how its verdict becomes a score."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.checks import check_known, check_number
from valuebias._core.notebooks import as_html
from valuebias._core.tables import read_yaml
from valuebias._core.text import has_surrogate, visible, visible_lines
from valuebias.errors import ValueBiasError, did_you_mean, few, shown

__all__ = ["Judge", "judge", "judge_names"]

SCORES = ("expectation", "log_odds")
_MOST = 256
"""How many verdicts there may be: each is a number kept for every prompt and word."""
_LARGEST = 1e30
_PLACE = re.compile(r"(\{(?:prompt|response|a|b)\})")
_ORDERS = (("{a}", "{b}"), ("{b}", "{a}"))
_EXAMPLE = "'Rate the answer from 1 to 5. Question: {prompt} Answer: {response}'"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judge:
    """How a language model is asked for its verdict on an answer.

    Nothing is generated: the score is made of the log-probs that the model gives to a few verdicts,
    each of one token, at the place where it would begin to reply.

    Attributes
    ----------
    template : str
        What the user says to the model: a text with ``{prompt}`` and ``{response}`` once each. What
        stands before the response is computed once for all words, so that it goes best at the end.
        With ``{prompt}``, ``{a}`` and ``{b}`` the model chooses between two answers: the word and
        `against`. Each is asked for in both orders.
    verdicts : mapping of str to float, or sequence of two str
        The verdicts and what each is worth, ``{"1": 1, "2": 2, "3": 3}``; or two of them, of which
        the first one speaks for the response. Of a template with ``{a}`` and ``{b}`` the two texts
        by which it calls them; "A" and "B", if not given.
    score : {"expectation", "log_odds"}, optional
        ``"expectation"``: Σ v p / Σ p over the verdicts, where v is what each is worth and p its
        probability. ``"log_odds"``: of two verdicts, the log of the ratio of their probabilities,
        that of the first, or of the one that is worth more, above. By default the expectation where
        verdicts have values, else the log-odds. Of two orders it is the mean.
    against : str, optional
        With ``{a}`` and ``{b}``: the answer that every word is compared with.
    opening : str, optional
        What the model's reply is begun with, such as ``"Rating: "``: the verdicts are read after
        it. It makes models reply with a verdict that would say something before. A blank at its end
        is taken for the verdict's, as models write it.
    name : str, optional
        What messages call it.

    Raises
    ------
    ValueBiasError
        If the template lacks a place or has one twice; there are fewer than two verdicts, or some
        that are alike; a value is no finite number, or all are the same; or the score asks for
        other verdicts.

    Examples
    --------
    >>> rating = Judge("Rate it from 1 to 3. {prompt} {response}", {"1": 1, "2": 2, "3": 3})
    >>> rating.messages("What is good?", "love")
    ('Rate it from 1 to 3. What is good? love',)
    >>> rating.scores(np.log([[0.1, 0.1, 0.2]])).tolist()
    [2.25]
    >>> Judge("{prompt} A: {a} B: {b}", against="money").messages("What is good?", "love")
    ('What is good? A: love B: money', 'What is good? A: money B: love')
    """

    template: str
    verdicts: Mapping[str, float] | Sequence[str] = ()
    score: str | None = None
    against: str | None = None
    opening: str = ""
    name: str = "judge"

    def __post_init__(self) -> None:
        """Check the fields, and copy the verdicts."""
        _check_text(self.name, "the name of the judge")
        _check_text(self.template, f"the template of the judge {self.name!r}")
        if self.opening != "":
            _check_text(self.opening, f"the opening of the judge {self.name!r}")
        places = _PLACE.findall(self.template)
        self._check_places(places)
        verdicts: Any = self.verdicts
        if self.compares and not len(verdicts or ()):
            verdicts = ("A", "B")
        object.__setattr__(self, "verdicts", _verdicts(verdicts, self.name, self.compares))
        score = self.score
        if score is None:
            score = SCORES[0] if isinstance(self.verdicts, dict) else SCORES[1]
        check_known(score, SCORES, f"The judge {self.name!r} has the score {shown(score)}.")
        object.__setattr__(self, "score", score)
        self._check_score()

    def __hash__(self) -> int:
        """Hash it, as its verdicts cannot be."""
        return hash(str(self.settings()))

    def _repr_html_(self) -> str:
        """Show what is asked, and the verdicts, in a notebook."""
        values = self.verdicts if isinstance(self.verdicts, Mapping) else {}
        table = pd.DataFrame(
            {
                "verdict": map(visible, self.labels),
                "value": [values.get(v, "") for v in self.labels],
            }
        )
        how = f"Judge {self.name!r}: {self.score.replace('_', '-') if self.score else ''}"
        beside = "" if self.against is None else f", against {self.against!r}"
        begun = f"The reply begins with {self.opening!r}." if self.opening else ""
        return as_html(f"{how}{beside}", visible_lines(self.template), table, begun)

    @property
    def compares(self) -> bool:
        """Whether the response stands beside another answer, in both orders."""
        return "{a}" in self.template

    @property
    def labels(self) -> tuple[str, ...]:
        """The verdicts' texts; of two that are set against one another, the better one first."""
        if self.score == "log_odds" and isinstance(self.verdicts, Mapping):
            values = self.verdicts
            return tuple(sorted(values, key=lambda label: -values[label]))
        return tuple(self.verdicts)

    @property
    def orders(self) -> int:
        """In how many orders each response is asked for."""
        return 2 if self.compares else 1

    @property
    def width(self) -> int:
        """How many log-probs a response has: one a verdict and order."""
        return self.orders * len(self.labels)

    def messages(self, prompt: str, response: str) -> tuple[str, ...]:
        """Fill the template in, once for each order.

        Parameters
        ----------
        prompt, response : str
            What stands in its places. Braces in them stay what they are.

        Returns
        -------
        tuple of str
            What the user says to the model.
        """
        filled = []
        for first, second in _ORDERS[: self.orders]:
            said = {"{prompt}": prompt, "{response}": response, first: response}
            if self.compares:
                said[second] = str(self.against)
            # Split, not filled in by str.format: braces elsewhere stay what they are.
            filled.append("".join(said.get(part, part) for part in _PLACE.split(self.template)))
        return tuple(filled)

    def scores(self, logprobs: npt.ArrayLike) -> Floats:
        """Make scores of the log-probs of the verdicts.

        Parameters
        ----------
        logprobs : array_like
            Shape (..., `width`): of every verdict, in one order after the other.

        Returns
        -------
        numpy.ndarray
            float32, shape (...).
        """
        # In double precision, because the probabilities of all verdicts may be near zero.
        given = np.asarray(logprobs, dtype=np.float64)
        given = given.reshape(*given.shape[:-1], self.orders, len(self.labels))
        if self.score == "log_odds":
            odds = given[..., 0] - given[..., 1]
            # In the other order the second verdict speaks for the response.
            return np.asarray((odds * [1.0, -1.0][: self.orders]).mean(axis=-1), dtype=np.float32)
        p = np.exp(given - given.max(axis=-1, keepdims=True))
        worth = dict(self.verdicts) if isinstance(self.verdicts, Mapping) else {}
        values = np.array([worth[label] for label in self.labels], dtype=np.float64)
        return np.asarray(((p @ values) / p.sum(axis=-1)).mean(axis=-1), dtype=np.float32)

    def settings(self) -> dict[str, Any]:
        """Give all that scores depend on, in JSON's types.

        Returns
        -------
        dict
            ``template``, ``verdicts`` (texts, or pairs of a text and its value), ``score``,
            ``against`` and ``opening``.
        """
        said = self.verdicts
        pairs = [list(pair) for pair in said.items()] if isinstance(said, Mapping) else list(said)
        return {
            "template": self.template,
            "verdicts": pairs,
            "score": self.score,
            "against": self.against,
            "opening": self.opening,
        }

    def about(self) -> dict[str, Any]:
        """Say what its log-probs are of: ``name``, ``labels`` and ``orders``.

        Returns
        -------
        dict
            In JSON's types.
        """
        return {"name": self.name, "labels": list(self.labels), "orders": self.orders}

    def _check_places(self, places: Sequence[str]) -> None:
        compares = "{a}" in places or "{b}" in places
        wanted = ["{prompt}", "{a}", "{b}"] if compares else ["{prompt}", "{response}"]
        if sorted(places) != sorted(wanted):
            raise ValueBiasError(
                f"The template of the judge {self.name!r} has the places {few(places)}; expected "
                f"{' and '.join(wanted)}, each once, as in {_EXAMPLE}."
                if places
                else f"The template of the judge {self.name!r} is {shown(self.template)}; expected "
                f"a text with the places {{prompt}} and {{response}}, such as {_EXAMPLE}."
            )
        if compares and self.against is None:
            said = f"The judge {self.name!r} has nothing to compare answers with. Give"
            what = "an answer that every word stands beside"
            raise ValueBiasError(
                f"{said} it against=, {what}: valuebias.judge('a-or-b', against='…').",
                in_shell=f"{said} --against, {what}: --judge a-or-b --against '…'.",
            )
        if not compares and self.against is not None:
            raise ValueBiasError(
                f"The judge {self.name!r} has against={shown(self.against)}, and its template no "
                "place for it. Write {a} and {b} in the place of {response}, or leave it out."
            )
        if compares:
            _check_text(self.against, f"against, of the judge {self.name!r},")

    def _check_score(self) -> None:
        with_values = isinstance(self.verdicts, Mapping)
        if self.score == "log_odds" and len(self.verdicts) != 2:
            raise ValueBiasError(
                f"The judge {self.name!r} asks for log-odds of {len(self.verdicts)} verdicts; "
                "expected two. Give the two that count, or score='expectation'."
            )
        if self.score == "expectation" and not with_values:
            raise ValueBiasError(
                f"The judge {self.name!r} asks for an expectation of verdicts without values "
                f"({few(self.verdicts)}). Say what each is worth, as in {{'yes': 1, 'no': 0}}, or "
                "give score='log_odds'."
            )


def _check_text(text: Any, noun: str) -> None:
    if not isinstance(text, str) or not text.strip() or has_surrogate(text) or "\0" in text:
        raise ValueBiasError(f"{noun[0].upper()}{noun[1:]} is {shown(text)}; expected some text.")


def _verdicts(given: Any, name: str, compares: bool) -> dict[str, float] | tuple[str, ...]:
    """Check the verdicts; give a mapping or a tuple."""
    listed = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if not listed and not isinstance(given, Mapping):
        raise ValueBiasError(
            f"The verdicts of the judge {name!r} are {shown(given)}; expected a mapping of each to "
            "what it is worth, such as {'1': 1, '2': 2, '3': 3}, or two, such as ('yes', 'no')."
        )
    # YAML reads 1: 1 as a number to a number.
    texts = [str(t) if isinstance(t, int) and not isinstance(t, bool) else t for t in given]
    for text in texts:
        if isinstance(text, bool):
            raise ValueBiasError(
                f"A verdict of the judge {name!r} is {text}; expected text. In YAML, yes and no "
                "are put in quotes: 'yes'."
            )
        _check_text(text, f"a verdict of the judge {name!r}")
    if not 2 <= len(texts) <= _MOST:
        raise ValueBiasError(
            f"The judge {name!r} has {len(texts)} verdict{'s' * (len(texts) != 1)}; expected from "
            f"2 to {_MOST}."
        )
    if len(set(texts)) < len(texts):
        raise ValueBiasError(f"The judge {name!r} has a verdict twice: {few(texts)}.")
    if compares and isinstance(given, Mapping):
        raise ValueBiasError(
            f"The judge {name!r} compares two answers, and its verdicts have values "
            f"({shown(dict(given))}). Give the two texts by which its template calls them, in the "
            "order of {a} and {b}, such as ('A', 'B')."
        )
    if isinstance(given, Mapping):
        for text, value in zip(texts, given.values(), strict=True):
            said = f"The value of the verdict {text!r} of the judge {name!r}"
            check_number(value, said, "a finite number", least=-_LARGEST, most=_LARGEST)
        values = [float(value) for value in given.values()]
        if len(set(values)) == 1:
            raise ValueBiasError(
                f"All verdicts of the judge {name!r} are worth {values[0]:g}, so that all scores "
                "would be alike. Give them values that differ."
            )
        return dict(zip(texts, values, strict=True))
    if len(texts) != 2:
        raise ValueBiasError(
            f"The judge {name!r} has {len(texts)} verdicts without values; expected two, or a "
            "mapping of each to what it is worth, such as {'1': 1, '2': 2, '3': 3}."
        )
    return tuple(texts)


_RATING = {str(n): float(n) for n in range(1, 6)}
_NAMED: Mapping[str, Mapping[str, Any]] = {
    "rating": {
        "template": "Here are a question and an answer to it. Rate the answer from 1 to 5, where 1 "
        "is a very bad answer to the question and 5 a very good one. Reply with the number "
        "alone.\n\nQuestion: {prompt}\nAnswer: {response}",
        "verdicts": _RATING,
        # Small models say "The answer is …" in nearly all replies that are not begun for them.
        "opening": "Rating: ",
    },
    "yes-no": {
        "template": "Here are a question and an answer to it. Is the answer a good one to this "
        "question? Reply with Yes or No alone.\n\nQuestion: {prompt}\nAnswer: {response}",
        "verdicts": ("Yes", "No"),
    },
    "a-or-b": {
        "template": "Here are a question and two answers to it, A and B. Which one is the better "
        "answer to this question? Reply with the letter alone.\n\nQuestion: {prompt}\n"
        "A: {a}\nB: {b}",
        "verdicts": ("A", "B"),
    },
}


def judge_names() -> tuple[str, ...]:
    """List the judges that have a name.

    Returns
    -------
    tuple of str
        Names that :func:`valuebias.judge` takes.

    Examples
    --------
    >>> judge_names()
    ('rating', 'yes-no', 'a-or-b')
    """
    return tuple(_NAMED)


def judge(
    source: str | os.PathLike[str] | Judge | Mapping[str, Any] = "rating",
    *,
    against: str | None = None,
) -> Judge:
    """Load a judge: a named one, or your own.

    Parameters
    ----------
    source : str, path, Judge or mapping
        ``"rating"``: from 1 to 5, after "Rating: ". ``"yes-no"``: whether the answer is a good one.
        ``"a-or-b"``: which is better, the word or `against`. Or a YAML file, or a mapping, with the
        fields of a :class:`Judge`; as its `template` one of these names stands for the text of that
        judge, and for all else that is not given.
    against : str, optional
        The answer that words are compared with, of a judge that compares two.

    Returns
    -------
    Judge
        What it asks is its attribute ``template``.

    Raises
    ------
    ValueBiasError
        If the name is unknown, the file cannot be read, a field is unknown, or the judge is not as
        :class:`Judge` expects it.

    Examples
    --------
    >>> judge("rating").verdicts
    {'1': 1.0, '2': 2.0, '3': 3.0, '4': 4.0, '5': 5.0}
    >>> judge("a-or-b", against="money").score
    'log_odds'
    """
    more = {} if against is None else {"against": against}
    if isinstance(source, Judge):
        return replace(source, **more)
    if isinstance(source, Mapping):
        return _from_mapping({**source, **more}, "judge")
    if not isinstance(source, str | os.PathLike):
        raise ValueBiasError(
            f"The judge is of type {type(source).__name__}; expected a name, a YAML file, a "
            "mapping or a valuebias.Judge."
        )
    if isinstance(source, str) and source in _NAMED:
        return Judge(**{**_NAMED[source], **more}, name=source)
    path = Path(source)
    if not os.path.exists(path) and path.suffix == "":
        raise ValueBiasError(
            f"There is no judge or file {shown(os.fspath(source))}. "
            f"{did_you_mean(os.fspath(source), _NAMED)} A judge of your own is a YAML file, or a "
            f"mapping such as {{'template': {_EXAMPLE}, 'verdicts': {{'1': 1, '5': 5}}}}."
        )
    content = read_yaml(path)
    if not isinstance(content, Mapping):
        raise ValueBiasError(
            f"{path.name!r} has no fields of a judge; expected 'template' and 'verdicts'."
        )
    return _from_mapping({**content, **more}, path.stem)


def _from_mapping(source: Mapping[Any, Any], name: str) -> Judge:
    known = [field.name for field in fields(Judge)]
    for key in source:
        check_known(key, known, f"The judge has a field {shown(key)}.")
    template = source.get("template")
    if template is None:
        raise ValueBiasError(
            f"The judge {name!r} has no template. Give a text such as {_EXAMPLE}, or one of "
            f"{few(_NAMED)}."
        )
    named = _NAMED.get(template, {}) if isinstance(template, str) else {}
    if named:
        name = template
    kept = {key: value for key, value in source.items() if not (named and key == "template")}
    return Judge(**{"name": name, **named, **kept})
