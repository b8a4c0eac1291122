"""Questions: what is made by rule is right, and what people give is read and checked."""

from __future__ import annotations

import datetime
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import valuebias
from valuebias import QuestionSet, ValueBiasError, questions
from valuebias.instruments import question_names

HOSTILE = "{x} <script>alert(1)</script>\r\n=1+1\t“é” \u202e %s \\n \"quoted\", ''"
LINES: list[dict[str, Any]] = [
    {"item": "a", "question": "2 + 2?", "right": "4", "wrong": ["5", "22"], "topic": "sums"},
    {"item": "b", "question": HOSTILE, "right": HOSTILE, "wrong": ["no"], "topic": None},
]


def as_date(text: str) -> datetime.date:
    return datetime.datetime.strptime(text, "%d %B %Y").date()


def add(question: str) -> Any:
    a, sign, b = re.fullmatch(r"What is (\d+) ([+×-]) (\d+)\?", question).groups()  # type: ignore[union-attr]
    return {"+": int(a) + int(b), "-": int(a) - int(b), "×": int(a) * int(b)}[sign]


def calendar(question: str) -> Any:
    if found := re.fullmatch(r"(.*) was a (\w+)\. .* (\d+) days later\?", question):
        day = as_date(found[1])
        assert f"{day:%A}" == found[2]
        return f"{day + datetime.timedelta(days=int(found[3])):%A}"
    if found := re.fullmatch(r"What date is (\d+) days after (.*)\?", question):
        day = as_date(found[2]) + datetime.timedelta(days=int(found[1]))
        return f"{day.day} {day:%B %Y}"
    found = re.fullmatch(r"How many days after (.*) is (.*)\?", question)
    assert found
    return (as_date(found[2]) - as_date(found[1])).days


def alphabet(question: str) -> Any:
    words = sorted(question.rstrip("?").partition(": ")[2].split(", "))
    return words[0] if "comes first" in question else words[-1]


def count(question: str) -> Any:
    if found := re.fullmatch(r".* the words (\w+) and (\w+) have together\?", question):
        return len(found[1] + found[2])
    return len(question.partition(": ")[2].split(", "))


UNITS = {
    "seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800,
    "millimetres": 1, "centimetres": 10, "metres": 1000, "kilometres": 1_000_000,
    "grams": 1, "kilograms": 1000, "millilitres": 1, "litres": 1000, "months": 1, "years": 12,
}  # fmt: skip


def convert(question: str) -> Any:
    found = re.fullmatch(r"How many (\w+) are there in (\d+) (\w+)\?", question)
    assert found
    return int(found[2]) * UNITS[found[3]] // UNITS[found[1]]


ANSWERED = {
    "arithmetic": add, "dates": calendar, "alphabet": alphabet, "counting": count, "units": convert,
}  # fmt: skip


@pytest.mark.parametrize("kind", question_names())
def test_what_is_made_is_right_and_the_rest_is_wrong(kind: str) -> None:
    made = questions(kind, n=1000, seed=3)
    table = made.table
    assert len(made) == table["question"].nunique() == 1000
    topics = Counter(table["topic"])
    assert max(topics.values()) - min(topics.values()) <= 1
    for row in table.itertuples():
        assert row.right == str(ANSWERED[kind](row.question))
        assert len(set(row.wrong)) == 3
        assert row.right not in row.wrong
    # A wrong answer looks like a right one: none is told by its place among them, or its length.
    if kind in ("arithmetic", "counting"):
        above = np.mean([int(w) > int(r.right) for r in table.itertuples() for w in r.wrong])
        assert 0.4 < above < 0.7
        assert all(int(w) >= 0 for r in table.itertuples() for w in r.wrong)
    assert made.about == {"made": kind, "n": 1000, "seed": 3, "version": 1}


def test_the_same_seed_makes_the_same_questions() -> None:
    one, again, other = (questions("dates", n=20, seed=seed).table for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not set(one["question"]) & set(other["question"])
    # Fewer are the first of more.
    pd.testing.assert_frame_equal(questions("dates", n=5, seed=1).table, one.iloc[:5])
    assert len(questions("units")) == 100
    # Of another kind, other draws: a change here is a new version.
    assert questions("arithmetic", n=2).table["question"].tolist() == [
        "What is 27 + 11?", "What is 96 - 80?",
    ]  # fmt: skip


def test_questions_come_in_every_form(tmp_path: Path) -> None:
    made = questions(LINES, name="x")
    assert made.items == ("a", "b")
    assert made.table["wrong"].tolist() == [("5", "22"), ("no",)]
    assert made.table.loc["b", ["question", "right"]].tolist() == [HOSTILE, HOSTILE]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8-sig")
    named = {line["item"]: {k: v for k, v in line.items() if k != "item"} for line in LINES}
    frame = made.table.reset_index()
    wide = frame.drop(columns="wrong").assign(wrong=["5", "no"], **{"wrong 2": ["22", ""]})
    wide.to_csv(tmp_path / "x.csv", index=False, lineterminator="\n")
    wide.to_csv(tmp_path / "x.tsv", index=False, sep="\t", lineterminator="\n")
    columns = ["question", "right", "wrong"]
    for source in (
        path, str(path), named, frame, made.table, made, wide, pa.table(wide.to_dict("list")),
        pa.table({**frame.to_dict("list"), "wrong": [["5", "22"], ["no"]]}),
        tmp_path / "x.csv", tmp_path / "x.tsv",
    ):  # fmt: skip
        read = questions(source, name="x")
        pd.testing.assert_frame_equal(read.table[columns], made.table[columns])
        assert read.table["topic"].iloc[0] == "sums"
    assert questions(path).name == "x"
    assert questions(made) is made
    assert questions(made, name="y").name == "y"


def test_options_may_stand_in_place_of_wrong_answers() -> None:
    line = {"question": "2 + 2?", "right": "4", "options": ["5", "4", "22"]}
    made = questions([line, {**line, "question": "4?"}])
    assert made.table["wrong"].tolist() == [("5", "22")] * 2
    assert made.items == ("question 1", "question 2")
    assert list(made.table.columns) == ["question", "right", "wrong"]
    one = questions([{"question": "2 + 2?", "right": "4", "wrong": "5"}])
    assert one.table["wrong"].tolist() == [("5",)]


def one(**changed: Any) -> list[dict[str, Any]]:
    entry = {"question": "2 + 2?", "right": "4", "wrong": ["5", "22"]} | changed
    return [{key: value for key, value in entry.items() if value is not ...}]


REFUSED: dict[str, tuple[Any, str]] = {
    "a number": (3, "are of type int; expected one of 'arithmetic', .*, a file, a table"),
    "a name": ("arithmetics", r"no questions and no file 'arithmetics'. Did you mean 'arithmetic'"),
    "no items": ([], "has no questions"),
    "an empty table": (pd.DataFrame({"question": [], "right": [], "wrong": []}), "no questions"),
    "no mapping": (["text"], r"Entry 0 of the questions is 'text'; expected \{"),
    "no mapping by name": ({"a": "text"}, "The item 'a' is 'text'; expected"),
    "no question": (one(question=...), "has no 'question'; found 'right' and 'wrong'. Write it as"),
    "no right": (one(right=...), "has no 'right'"),
    "no wrong": (one(wrong=...), "has no 'wrong'"),
    "no wrong column": (pd.DataFrame({"question": ["?"], "right": ["4"]}), "Row 1 .* no 'wrong'"),
    "an empty right": (one(right=" "), "right answer of the item 'question 1' is ' '; expected"),
    "no right given": (one(right=None), "The right answer of the item 'question 1' is None"),
    "a number as right": (one(right=4), "is 4; expected text that is not blank. Put numbers in qu"),
    "a number as wrong": (one(wrong=[5]), "Wrong answer 1 of the item 'question 1' is 5; expected"),
    "an empty list": (one(wrong=[]), "'question 1' has no wrong answer, so that the right one is"),
    "nothing wrong": (one(wrong=None), "has no wrong answer"),
    "an empty wrong": (one(wrong=["5", ""]), "Wrong answer 2 of the item 'question 1' is ''; exp"),
    "an empty question": (one(question=""), "The question of the item 'question 1' is ''"),
    "half a letter": (one(right="\ud83d"), "expected text that is not blank"),
    "NUL": (one(question="a\0"), "expected text that is not blank"),
    "right is wrong": (
        one(right="The  Sun", wrong=["the moon", " the sun\n"]),
        "The right answer and wrong answer 2 of the item 'question 1' are the same: ' the sun",
    ),
    "wrong twice": (one(wrong=["5", "5 "]), "Wrong answer 1 and wrong answer 2 of .* are the same"),
    "options without": (
        one(wrong=..., options=["5", "6"]), "of which none is the right answer, '4'. Add it to them"
    ),
    "item twice": ([*one(item="a"), *one(item="a", question="?")], "The item 'a' occurs twice"),
    "question twice": (one() + one(), "'question 1' and 'question 2' ask the same question"),
    "item is no text": (one(item=3), "A question is named 3; expected text"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_questions_that_are_refused(case: str) -> None:
    source, said = REFUSED[case]
    with pytest.raises(ValueBiasError, match=said):
        questions(source)


def test_a_table_of_your_own_is_checked_as_any() -> None:
    table = questions(LINES).table
    made = QuestionSet("x", table)
    table.loc["a", "right"] = "changed"
    assert made.table.loc["a", "right"] == "4"
    with pytest.raises(ValueBiasError, match="no column 'right'; found 'question', 'wrong'"):
        QuestionSet("x", made.table.drop(columns="right"))
    with pytest.raises(ValueBiasError, match="'x' has no questions"):
        QuestionSet("x", made.table.iloc[:0])


@pytest.mark.parametrize(
    ("source", "asked", "said"),
    [
        (LINES, {"n": 3}, "n is of questions that are made, which .* is not. Leave it out, or"),
        (LINES, {"seed": 3}, "seed is of questions that are made"),
        ("dates", {"n": 1}, "n is 1; expected a whole number from 2 to 1,000"),
        ("dates", {"n": 1001}, "n is 1001; expected"),
        ("dates", {"n": 2.5}, "n is 2.5; expected"),
        ("dates", {"seed": -1}, "seed is -1; expected a whole number of at least 0"),
    ],
    ids=str,
)
def test_what_cannot_be_made(source: Any, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        questions(source, **asked)


def test_files_that_are_refused(tmp_path: Path) -> None:
    for name, text, said in (
        ("x.json", "{}", "has the suffix '.json'; expected .jsonl with lines such as"),
        ("x.jsonl", '{"question": 1,', "Line 1 of 'x.jsonl' cannot be read: it is damaged"),
        ("x.jsonl", "", "has no questions"),
        ("x.csv", "question,right\n?,a\n", "Row 1 of the questions has no 'wrong'"),
        ("x.csv", "question,right,wrong\n?,a,\n", "'question 1' has no wrong answer"),
        ("x.csv", "question,right,wrong\n", "no rows below its header"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueBiasError, match=said):
            questions(tmp_path / name)
    with pytest.raises(ValueBiasError, match=r"no file '.*nowhere.jsonl'. Check the path"):
        questions(tmp_path / "nowhere.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueBiasError, match="has the suffix ''"):
        questions(tmp_path / "folder")


def test_what_is_printed_and_shown() -> None:
    made = questions(LINES, name="x")
    assert repr(made) == "<QuestionSet 'x': 2 questions, each with 1 to 2 wrong answers>"
    assert repr(questions(LINES[1:])) == (
        "<QuestionSet 'questions': 1 question with 1 wrong answer>"
    )
    html = made._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "5, 22" in html
    assert valuebias.questions is questions
