"""Numbers that claim nothing about a result: settings, advice, and what a fit itself says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from valuebias._core.manuscripts import Passage, read_passages
from valuebias.posterior.headline import make_headline
from valuebias.posterior.posterior import Posterior

__all__ = ["OwnWords", "no_claims"]

_Sentence = tuple[str, tuple[tuple[float, str], ...]]
# A setting as code has it, such as prior={'sd': {'word': 0.5}}, whose braces are gone by then.
_ARGUMENT = re.compile(r"\b\w+=\s?(?:['\"][\w ]+['\"]\s?:\s?)+$")


def no_claims(numbers: Iterable[str]) -> dict[str, re.Pattern[str]]:
    """Say why a number after certain words claims nothing, with the numbers of the formula."""
    out = {"an argument": _ARGUMENT}
    named = "|".join(re.escape(name) for name in sorted(numbers))
    if named:
        out["a value of a variable"] = re.compile(rf"(?<!\w)(?:{named})\s?=\s?$")
    return out


class OwnWords:
    """What a fit says in its headline, notes and diagnostics, which cannot contradict it."""

    def __init__(self, fit: Posterior) -> None:
        self.fit = fit

    @cached_property
    def sentences(self) -> set[_Sentence]:
        """Each sentence; looked up only for what was not found elsewhere, as it takes a while."""
        fit = self.fit
        texts = [make_headline(fit).text, *fit.diagnostics().messages, *fit.diagnostics().cautions]
        texts += [text for note in fit.notes for text in (note.text, note.headline)]
        return {
            _sentence(passage)
            for text in texts
            for passage in read_passages(text, latex=False)
            if passage.numbers
        }

    def hold(self, passage: Passage) -> bool:
        """Tell whether a passage is one of the fit's own sentences, word for word."""
        return not passage.header and _sentence(passage) in self.sentences


def _sentence(passage: Passage) -> _Sentence:
    said = tuple((number.value, number.relation) for number in passage.numbers)
    return " ".join(passage.text.split()), said
