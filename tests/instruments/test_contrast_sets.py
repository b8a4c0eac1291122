"""Contrast sets: how they are read, checked, selected from and written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import valuebias
from valuebias import ContrastSet, ValueBiasError, contrast_set

HOSTILE = "{item} <script>alert(1)</script>\r\n=1+1\t“é” \u202e %s \\n \"quoted\", ''"
TWO = {"plain": "Yes.", "long": "Yes, it is."}
LINES: list[dict[str, Any]] = [
    {
        "item": "q1", "prompt": "Is it?", "answers": TWO, "length": [1, 3],
        "correct": [True, False], "topic": "sky",
    },
    {
        "item": "q2", "prompt": ["Is it?", HOSTILE], "answers": {"long": HOSTILE, "hedged": "If."},
        "length": [None, 0.5], "correct": True, "topic": "",
    },
]  # fmt: skip


def same(one: ContrastSet, other: ContrastSet) -> None:
    pd.testing.assert_frame_equal(one.table, other.table)
    assert (one.name, one.about, one.citation) == (other.name, other.about, other.citation)


def test_items_come_in_every_form_and_are_the_same(tmp_path: Path) -> None:
    made = contrast_set(LINES, name="x")
    assert made.items == ("q1", "q2")
    assert made.variants == ("plain", "long", "hedged")
    assert made.table["length"].isna().tolist() == [False, False, True, False]
    assert made.table["correct"].dtype == bool
    assert made.table.loc[("q2", "long"), ["prompt", "response"]].tolist() == ["Is it?", HOSTILE]
    assert made.table.loc[("q2", "hedged"), "prompt"] == HOSTILE
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)) + "\n\n", encoding="utf-8-sig")
    frame = made.to_frame()
    assert list(frame.columns[:4]) == ["item", "variant", "prompt", "response"]
    frame.to_csv(tmp_path / "x.csv", index=False, lineterminator="\n")
    frame.to_csv(tmp_path / "x.tsv", index=False, sep="\t", lineterminator="\n")
    named = {line["item"]: {k: v for k, v in line.items() if k != "item"} for line in LINES}
    for source in (
        path, str(path), named, frame, made.table, made, tmp_path / "x.csv", tmp_path / "x.tsv",
    ):  # fmt: skip
        same(contrast_set(source, name="x"), made)
    assert contrast_set(path).name == "x"
    assert contrast_set(made) is made
    assert contrast_set(frame).name == "contrast set"


def test_a_table_of_arrow_is_taken() -> None:
    frame = contrast_set(LINES).to_frame()
    same(contrast_set(pa.table(frame.to_dict("list"))), contrast_set(frame))


def test_names_are_given_where_there_are_none() -> None:
    made = contrast_set([{"prompt": "2 + 2?", "answers": ["4", "5"]} for _ in range(2)])
    assert made.items == ("item 1", "item 2")
    assert made.variants == ("answer 1", "answer 2")
    labelled = contrast_set([{"prompt": "?", "answers": ["4", "5"], "labels": ["a", "b"]}])
    assert labelled.variants == ("a", "b")


def test_coords_know_along_which_dims_they_vary() -> None:
    made = contrast_set(
        [
            {"prompt": f"{i}?", "answers": ["a", "b"], "style": ["x", "y"], "topic": f"t{i}",
             "both": [i, 2 * i], "one": "same"}
            for i in (1, 2)
        ]
    )  # fmt: skip
    assert made.coords == {
        "style": ("variant",), "topic": ("item",), "both": ("item", "variant"),
        "one": ("variant",),
    }  # fmt: skip
    assert contrast_set(LINES).coords["topic"] == ("item",)
    assert contrast_set(LINES).coords["correct"] == ("item", "variant")


def test_columns_have_a_type_each(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "item,variant,prompt,response,correct,n,polite,tone,\n"
        "1,a,2,4,yes,1e3,true,warm,x\n1,b,2,5,0,,False,,x\n"
    )
    table = contrast_set(path).table
    assert list(table.columns) == ["prompt", "response", "correct", "n", "polite", "tone"]
    assert table["n"].tolist()[0] == 1000.0
    assert np.isnan(table["n"].tolist()[1])
    assert table["polite"].tolist() == [True, False]
    assert table["polite"].dtype == table["correct"].dtype == bool
    assert table["tone"].tolist() == ["warm", ""]
    assert table["response"].tolist() == ["4", "5"]


def test_rows_of_an_item_are_put_together() -> None:
    frame = contrast_set(LINES).to_frame()
    mixed = contrast_set(frame.iloc[[0, 2, 1, 3]])
    same(mixed, contrast_set(frame))


def test_a_set_keeps_its_own_table() -> None:
    frame = contrast_set(LINES).to_frame()
    made = contrast_set(frame)
    for copy in (frame, made.to_frame()):
        copy.loc[:, "response"] = "changed"
    assert "changed" not in made.table["response"].tolist()


def test_selecting_items_and_variants() -> None:
    made = ContrastSet("x", contrast_set(LINES).table, {"seed": 1}, "Someone (2026)")
    some = made.select(items=["q1"], variants=["long", "plain"])
    assert (some.items, some.variants) == (("q1",), ("plain", "long"))
    assert (some.name, some.about, some.citation) == ("x", {"seed": 1}, "Someone (2026)")
    assert len(made.select()) == 2
    for wanted, said in (
        ({"items": ["q"]}, r"no item 'q'. Did you mean 'q[12]'\?"),
        ({"variants": ["long", "plane"]}, r"no variant 'plane'. Did you mean 'plain'\?"),
        ({"variants": ["plain", "long"]}, "The item 'q2' has one variant only"),
        ({"items": []}, "has no items"),
    ):
        with pytest.raises(ValueBiasError, match=said):
            made.select(**wanted)


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson"])
def test_what_is_written_is_read_as_it_was(tmp_path: Path, suffix: str) -> None:
    about = {"battery": "length", "seed": 3, "levels": ["a", "b"], "deep": {"x": [1.5, None, True]}}
    made = ContrastSet("a name", contrast_set(LINES).table, about, "Someone (2026)")
    path = made.to_jsonl(tmp_path / f"other{suffix}")
    same(contrast_set(path), made)
    assert contrast_set(path, name="mine").name == "mine"
    assert contrast_set(path, name="mine").about == about
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    # As people would write it: the first line may be left out, and what is the same said once.
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1])["topic"] == "sky"
    assert json.loads(lines[2])["length"] == [None, 0.5]
    path.write_text("\n".join(lines[1:]), encoding="utf-8")
    pd.testing.assert_frame_equal(contrast_set(path).table, made.table)
    assert contrast_set(path).about == {}


def test_what_json_has_no_word_for_is_written_as_it_can(tmp_path: Path) -> None:
    about = {"n": np.int64(3), "levels": np.array([1, 2]), "path": Path("a")}
    made = ContrastSet("x", contrast_set(LINES).table, about)
    read = contrast_set(made.to_jsonl(tmp_path / "x.jsonl"))
    assert read.about == {"n": 3, "levels": [1, 2], "path": "a"}


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(
    st.lists(
        st.tuples(TEXT, st.lists(TEXT.filter(str.strip), min_size=2, max_size=3, unique=True)),
        min_size=1, max_size=3, unique_by=lambda entry: entry[0],
    ),
    st.sampled_from([st.booleans(), st.floats(allow_infinity=True), TEXT]).flatmap(
        lambda kind: st.lists(kind, min_size=9, max_size=9)
    ),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_text_and_number_comes_back(
    tmp_path_factory: pytest.TempPathFactory, items: Any, values: list[Any]
) -> None:
    rows = [
        {"item": item, "variant": f"v{j}", "prompt": item + "?", "response": answer}
        for item, answers in items
        for j, answer in enumerate(answers)
    ]
    made = contrast_set(pd.DataFrame(rows, dtype=object).assign(coord=values[: len(rows)]))
    path = made.to_jsonl(tmp_path_factory.mktemp("any") / "x.jsonl")
    same(contrast_set(path), made)


def test_a_file_is_not_written_where_it_cannot_be(tmp_path: Path) -> None:
    made = contrast_set(LINES)
    with pytest.raises(ValueBiasError, match=r"x.csv'; expected a path that ends in .jsonl"):
        made.to_jsonl(tmp_path / "x.csv")
    (tmp_path / "file").touch()
    with pytest.raises(ValueBiasError, match="is not a folder"):
        made.to_jsonl(tmp_path / "file" / "x.jsonl")
    kept = made.to_jsonl(tmp_path / "x.jsonl").read_text(encoding="utf-8")
    broken = ContrastSet("x", made.table, {("no", "text"): 1})
    with pytest.raises(ValueBiasError, match=r"'x' was made cannot be written as JSON \(TypeError"):
        broken.to_jsonl(tmp_path / "x.jsonl")
    assert (tmp_path / "x.jsonl").read_text(encoding="utf-8") == kept


def one(**changed: Any) -> list[dict[str, Any]]:
    entry = {"item": "q", "prompt": "?", "answers": {"a": "4", "b": "5"}} | changed
    return [{key: value for key, value in entry.items() if value is not ...}]


FRAME = contrast_set(one()).to_frame()
REFUSED: dict[str, tuple[Any, str]] = {
    "a number": (3, "is of type int; expected a file, a table, or items such as"),
    "no items": ([], "no column 'item'|has no items"),
    "no mapping": (["text"], r"Entry 0 of the items is 'text'; expected \{\"item\""),
    "no mapping by name": ({"q": "text"}, "The item 'q' is 'text'; expected"),
    "no prompt": (one(prompt=...), "Entry 0 of the items has no 'prompt'; found 'item' and 'ans"),
    "no answers": (one(answers=...), "has no 'answers'; found 'item' and 'prompt'"),
    "one text": (one(answers="4"), "has the answers '4'; expected"),
    "one answer": (one(answers=["4"]), "The item 'q' has one variant only, which is in contrast"),
    "no answer": (one(answers=[]), "has no items|no column"),
    "too many labels": (one(answers=["4", "5"], labels=["a"]), "2 answers and 1 entries of 'vari"),
    "too few values": (one(length=[1]), "has 2 answers and 1 entries of 'length'; expected as m"),
    "label twice": (one(answers=["4", "5"], labels=["a", "a"]), "the variant 'a' more than once"),
    "item twice": (one() + one(), "The item 'q' has the variant 'a' more than once"),
    "item is no text": (one(item=1), "An item of the contrast set 'contrast set' is named 1"),
    "item is empty": (one(item=""), "is named ''; expected text"),
    "item with NUL": (one(item="\0"), "expected text"),
    "variant is no text": (one(answers=["4", "5"], labels=["a", 2]), "A variant of the .* named 2"),
    "variant of half a letter": (one(answers={"a": "4", "\ud800": "5"}), "expected text"),
    "an empty text": (one(prompt=" "), "'a' of the item 'q' has the prompt ' '; expected text"),
    "a number as text": (one(answers={"a": "4", "b": 5}), "has the response 5; expected text"),
    "half a letter": (one(answers={"a": "4", "b": "\ud83d"}), "has a character that no text has"),
    "NUL": (one(prompt="a\0"), "The prompt of the variant 'a' .* has a character that no text"),
    "the same": (one(answers={"a": "4", "b": "4"}), "'a' and 'b' of the item 'q' are the same pr"),
    "none right": (one(correct=False), "The item 'q' has no right answer: correct is false for"),
    "no truth": (one(correct=["yes", "maybe"]), "has correct 'maybe'; expected true or false"),
    "mixed": (one(tone=["warm", 2]), "The column 'tone' holds 2 at the variant 'b' of the item"),
    "NUL in a column": (one(tone=["warm", "\0"]), "column 'tone' holds"),
    "a list in a column": (one(tone=[["a"], "b"]), "expected texts, numbers, or true and false"),
    **{
        f"taken: {name}": (one(**{name: ["x", "y"]}), f"a column called '{name}', a name that is t")
        for name in ("model", "score", "family", "base", "stage", "n_params", "token")
    },
    "taken: answers": (FRAME.assign(answers=1), "a column called 'answers'"),
    "taken: labels": (FRAME.assign(labels=1), "a column called 'labels'"),
    "a column without a name": (FRAME.assign(**{"x": 1}).rename(columns={"x": 3}), "called 3"),
    "no column item": (FRAME.drop(columns="item"), "no column 'item'; found 'variant', 'prompt'"),
    "no column variant": (FRAME.drop(columns="variant"), "no column 'variant'"),
    "no column response": (FRAME.drop(columns="response"), "no column 'response'; found 'prompt'"),
    "no rows": (FRAME.iloc[:0], "has no items"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_sets_that_are_refused(case: str) -> None:
    source, said = REFUSED[case]
    with pytest.raises(ValueBiasError, match=said):
        contrast_set(source)


LINE = json.dumps(one()[0])
FILES: dict[str, tuple[str, str, str]] = {
    "suffix": ("x.json", LINE, r"has the suffix '.json'; expected .jsonl with lines such as \{"),
    "empty": ("x.jsonl", "\n", "has no items|no column"),
    "no json": ("x.jsonl", f"{LINE}\n{{", "Line 2 of 'x.jsonl' cannot be read: it is damaged"),
    "twice": ("x.jsonl", '{"item": "a", "item": "b"}', "the key 'item' stands twice"),
    "a list": ("x.jsonl", f"{LINE}\n\n[1]", r"Line 3 of 'x.jsonl' is \[1\]; expected"),
    "a name": ("x.jsonl", f'{{"contrast_set": 3}}\n{LINE}', "has the contrast_set 3; expected te"),
    "about": ("x.jsonl", f'{{"contrast_set": "x", "about": 3}}\n{LINE}', r"about 3; expected {…}"),
    "cited": ("x.jsonl", f'{{"contrast_set": "x", "citation": 3}}\n{LINE}', "citation 3; expec"),
    "head alone": ("x.jsonl", '{"contrast_set": "x"}', "has no items|no column"),
    "deep": ("x.jsonl", "[" * 100_000, "nested too deeply|is damaged"),
    "no rows": ("x.csv", "item,variant,prompt,response\n", "has no rows below its header"),
    "cells": ("x.csv", "item,variant,prompt,response\nq,a,?\n", "Line 2 of '.*x.csv' has 3 cells"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_refused(case: str, tmp_path: Path) -> None:
    name, text, said = FILES[case]
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueBiasError, match=said):
        contrast_set(tmp_path / name)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"no file '.*nowhere.jsonl'. Check the path"):
        contrast_set(tmp_path / "nowhere.jsonl")
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueBiasError, match=r"cannot be read.*Write it again, as UTF-8"):
        contrast_set(tmp_path / "x.jsonl")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jsonl")
        with pytest.raises(ValueBiasError, match=r"no file|a pipe"):
            contrast_set(tmp_path / "pipe.jsonl")


def test_what_is_printed_and_shown() -> None:
    made = contrast_set(LINES, name="x")
    assert repr(made) == ("<ContrastSet 'x': 2 items × 3 variants ('plain', 'long' and 'hedged')>")
    html = made._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert valuebias.ContrastSet is ContrastSet


def test_codes_with_leading_zeros_stay_texts(tmp_path: Path) -> None:
    answers = {"prompt": "2 + 2?", "answers": ["4", "5"], "code": ["007", "12"], "size": [0.5, 0]}
    made = valuebias.contrast_set([answers])
    made.table.to_csv(tmp_path / "set.csv")
    again = valuebias.contrast_set(tmp_path / "set.csv")
    assert again.table["code"].tolist() == ["007", "12"]
    assert again.table["size"].tolist() == [0.5, 0.0]
