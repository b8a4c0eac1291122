"""Judges: how they are read and checked, what they ask, and how verdicts become scores."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import valuebias
from valuebias import Judge, ValueBiasError

TEXT = "{prompt} {response}"
THREE = Judge("Rate the answer. {prompt} The answer: {response}", {"1": 1, "2": 2, "3": 5})
PAIR = Judge("Is it right? {response} answers {prompt}", ("y", "n"))
COMPARED = Judge("Which is better? {prompt} A: {a} B: {b}", against="success")


def test_words_and_prompts_stay_what_they_are() -> None:
    judge = replace(THREE, template="{prompt} {x} {{}} {response}")
    assert judge.messages("{response} {a}", "{prompt}{}") == ("{response} {a} {x} {{}} {prompt}{}",)
    assert COMPARED.messages("{b}", "{a}") == (
        "Which is better? {b} A: {a} B: success",
        "Which is better? {b} A: success B: {a}",
    )


def test_scores_of_verdicts() -> None:
    p = np.array([[0.2, 0.1, 0.1], [1e-30, 1e-30, 2e-30]])
    np.testing.assert_allclose(THREE.scores(np.log(p)), [0.9 / 0.4, 3.25], rtol=1e-6)
    worth = Judge(PAIR.template, {"no": 0, "yes": 1}, "log_odds")
    # The one that is worth more speaks for the response, wherever it stands.
    assert worth.labels == ("yes", "no")
    assert worth.scores(np.log([0.6, 0.2])) == pytest.approx(np.log(3))
    assert pickle.loads(pickle.dumps(worth)) == worth  # noqa: S301 - our own
    assert hash(replace(worth)) == hash(worth)


BOTH = "{prompt} {a} {b}"
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no response": ({"template": "{prompt}", "verdicts": ("y", "n")}, "has the places '{prompt}'"),
    "no place": ({"template": "Rate it.", "verdicts": ("y", "n")}, "'Rate it.'; expected a text"),
    "twice": ({"template": TEXT + "{prompt}", "verdicts": ("y", "n")}, "each once"),
    "one of two": ({"template": "{prompt} {a}", "against": "x"}, "{prompt} and {a} and {b}"),
    "three": ({"template": BOTH + "{response}", "against": "x"}, "{prompt} and {a} and {b}"),
    "no text": ({"template": 3, "verdicts": ("y", "n")}, "is 3; expected some text"),
    "surrogate": ({"template": TEXT + "\ud800", "verdicts": ("y", "n")}, "expected some text"),
    "no verdict": ({"template": TEXT}, "has 0 verdicts; expected from 2"),
    "one verdict": ({"template": TEXT, "verdicts": {"y": 1}}, "has 1 verdict; expected from 2"),
    "a text": ({"template": TEXT, "verdicts": "yes"}, "are 'yes'; expected a mapping"),
    "many": ({"template": TEXT, "verdicts": {str(n): n for n in range(257)}}, "from 2 to 256"),
    "empty": ({"template": TEXT, "verdicts": ("y", " ")}, "is ' '; expected some text"),
    "twice a verdict": ({"template": TEXT, "verdicts": ("y", "y")}, "has a verdict twice"),
    "one and '1'": ({"template": TEXT, "verdicts": {1: 1, "1": 2}}, "has a verdict twice"),
    "a bool": ({"template": TEXT, "verdicts": (True, False)}, "put in quotes: 'yes'"),
    "NaN": ({"template": TEXT, "verdicts": {"y": float("nan"), "n": 0}}, "'y'.*is nan; expected"),
    "infinite": ({"template": TEXT, "verdicts": {"y": float("inf"), "n": 0}}, "is inf; expected"),
    "no number": ({"template": TEXT, "verdicts": {"y": "1", "n": 0}}, "is '1'; expected a finite"),
    "all alike": ({"template": TEXT, "verdicts": {"y": 1, "n": 1}}, "are worth 1, so that all"),
    "three without": ({"template": TEXT, "verdicts": ("a", "b", "c")}, "3 verdicts without values"),
    "odds of five": (
        {"template": TEXT, "verdicts": {str(n): n for n in range(5)}, "score": "log_odds"},
        "log-odds of 5 verdicts",
    ),
    "mean of texts": (
        {"template": TEXT, "verdicts": ("y", "n"), "score": "expectation"},
        "verdicts without values",
    ),
    "score": ({"template": TEXT, "verdicts": ("y", "n"), "score": "log_od"}, "Did you mean 'log_"),
    "values of places": (
        {"template": BOTH, "against": "x", "verdicts": {"A": 1, "B": 0}},
        "compares two answers, and its verdicts have values",
    ),
    "nothing against": ({"template": BOTH}, r"judge\('a-or-b', against='…'\)"),
    "against nothing": (
        {"template": TEXT, "verdicts": ("y", "n"), "against": "x"},
        "no place for it",
    ),
    "blank opening": (
        {"template": TEXT, "verdicts": ("y", "n"), "opening": " "},
        "opening of the judge 'judge' is ' '; expected some text",
    ),
    "empty against": ({"template": BOTH, "against": ""}, "is ''; expected some text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_judges_that_are_refused(case: str) -> None:
    fields, said = REFUSED[case]
    with pytest.raises(ValueBiasError, match=said.replace("{", r"\{") if "{p" in said else said):
        Judge(**fields)
    with pytest.raises(ValueBiasError):
        valuebias.judge(fields)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("ratings", "no judge or file 'ratings'. Did you mean 'rating'"),
        ("nowhere.yaml", "nowhere.yaml"),
        (3, "is of type int"),
        ({"verdict": ("y", "n")}, "a field 'verdict'. Did you mean 'verdicts'"),
        ({"verdicts": ("y", "n")}, "has no template"),
        ({3: "x"}, "a field 3"),
        ({"template": ["a"], "verdicts": ("y", "n")}, "expected some text"),
    ],
    ids=str,
)
def test_what_is_no_judge(given: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        valuebias.judge(given)


def test_judges_from_files_and_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("template: '{prompt} {response}'\nverdicts: {1: 1, 2: 2.5}\n")
    assert valuebias.judge(file) == Judge(TEXT, {"1": 1.0, "2": 2.5}, name="mine")
    file.write_text("template: a-or-b\nagainst: money\n")
    assert valuebias.judge(file) == valuebias.judge("a-or-b", against="money")
    assert valuebias.judge({"template": "rating", "verdicts": {"1": 0, "5": 1}}).labels == (
        "1",
        "5",
    )
    for text, said in (("- a\n", "no fields of a judge"), ("template: [\n", "mine.yaml")):
        file.write_text(text)
        with pytest.raises(ValueBiasError, match=said):
            valuebias.judge(file)
    assert "first" not in valuebias.judge("rating").template.split("{response}")[1]
