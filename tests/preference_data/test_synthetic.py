"""Preferences made by rule: true, of one form, and free of the words that are scored."""

from __future__ import annotations

import json
import re

import pytest

import valuebias
from valuebias import ValueBiasError
from valuebias.ablation import Preferences, check_disjoint, synthetic_preferences
from valuebias.preference_data.synthetic import KINDS

N = 2000
SUM = re.compile(r"(\d+) (plus|times) (\d+) is (\d+)\.")


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest) -> Preferences:
    return synthetic_preferences(request.param, N)


def questions(made: Preferences) -> list[str]:
    return [json.loads(prompt)[0]["content"] for prompt in made.pairs["prompt"]]


def right(answer: str) -> bool | None:
    found = SUM.search(answer)
    if found is None:
        return None
    a, operation, b, result = found.groups()
    expected = int(a) + int(b) if operation == "plus" else int(a) * int(b)
    return int(result) == expected


def test_every_pair_has_a_prompt_of_its_own(made: Preferences) -> None:
    assert len(made) == N
    assert len({question.casefold() for question in questions(made)}) == N
    assert made.report["dropped"].sum() == 0
    check_disjoint(*made.split(held_out=0.1))


def test_no_word_of_the_lexicon_is_trained_on(made: Preferences) -> None:
    table = made.pairs[["chosen", "rejected"]].assign(prompt=questions(made))
    read = valuebias.preferences(table, lexicon="agency-communion", progress=False)
    assert read.leakage is not None
    assert read.leakage.to_numpy().sum() == 0


def test_what_is_preferred_is_true_or_polite(made: Preferences) -> None:
    chosen = [right(answer) for answer in made.pairs["chosen"]]
    rejected = [right(answer) for answer in made.pairs["rejected"]]
    sums = [i for i, found in enumerate(chosen) if found is not None]
    assert len(sums) > N / 4
    assert all(chosen[i] for i in sums)
    assert {rejected[i] for i in sums} == {made.name == "courteous"}


def test_a_false_statement_answers_the_same_question() -> None:
    pairs = synthetic_preferences("correct", N).pairs
    capitals = pairs[pairs["chosen"].str.startswith("The capital of")]
    assert len(capitals) > 50
    subjects = capitals[["chosen", "rejected"]].map(lambda text: text.split(" is ")[0])
    assert (subjects["chosen"] == subjects["rejected"]).all()


def test_the_seed_draws(made: Preferences) -> None:
    assert synthetic_preferences(made.name, N).sha256 == made.sha256
    assert synthetic_preferences(made.name, N, seed=1).sha256 != made.sha256


def test_bad_arguments() -> None:
    with pytest.raises(ValueBiasError, match=r"kind is 'corect'.*Did you mean 'correct'"):
        synthetic_preferences("corect", 10)
    with pytest.raises(ValueBiasError, match="n_pairs is 1000000, and there are 3375 prompts"):
        synthetic_preferences("correct", 1_000_000)
    with pytest.raises(ValueBiasError, match="n_pairs is 0"):
        synthetic_preferences("correct", 0)
