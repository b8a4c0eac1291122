"""Tests of valuebias.instruments.prompts."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml  # noqa: TID251
from hypothesis import given
from hypothesis import strategies as st

import valuebias
from valuebias.errors import ValueBiasError
from valuebias.instruments import Factorial, PromptSet, prompts

TWO = {"up": "What is good?", "down": "What is bad?"}
FRAMING = {"up": "positive", "down": "negative"}


@pytest.mark.released_data
def test_the_54_prompts_are_those_of_the_paper_in_order(released_data: Path) -> None:
    released = yaml.safe_load((released_data / "prompts.yaml").read_text(encoding="utf-8"))
    generated = prompts("superlatives").table["text"]
    assert list(generated.items()) == list(released.items())


def test_half_of_the_54_prompts_are_positive_and_factors_are_kept() -> None:
    table = prompts().table
    assert table["framing"].value_counts().to_dict() == {"positive": 27, "negative": 27}
    assert table.loc[
        "terrible_time_please", ["adjective", "superlative", "concision"]
    ].tolist() == [
        "terrible",
        "time",
        "please",
    ]
    assert set(table.loc[table["framing"] == "negative", "adjective"]) == {
        "worst",
        "bad",
        "terrible",
    }


def test_a_flat_set_comes_from_a_mapping_a_table_or_a_file(tmp_path: Path) -> None:
    expected = prompts(TWO, framing=FRAMING, name="two").table
    frame = pd.DataFrame({"prompt": list(TWO), "text": TWO.values(), "framing": FRAMING.values()})
    frame.to_csv(tmp_path / "two.csv", index=False)
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(TWO, sort_keys=False))
    (tmp_path / "list.yaml").write_text(
        yaml.safe_dump([{"prompt": p, "text": TWO[p], "framing": FRAMING[p]} for p in TWO])
    )
    nested = {p: {"text": TWO[p], "framing": FRAMING[p]} for p in TWO}
    made = [
        prompts(frame),
        prompts(tmp_path / "two.csv"),
        prompts(str(tmp_path / "two.yaml"), framing=FRAMING),
        prompts(tmp_path / "list.yaml"),
        prompts(nested),
    ]
    for found in made:
        pd.testing.assert_frame_equal(
            found.table, expected, check_dtype=False, check_index_type=False
        )
    assert [found.name for found in made] == ["prompts", "two", "two", "list", "prompts"]


def test_a_factorial_definition_may_lie_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "kindness.yaml"
    definition = {
        "factors": {
            "adjective": {"kind": "kindest", "cruel": "cruellest"},
            "noun": ["deed", "act"],
        },
        "template": "What is the {adjective} {noun}?",
        "framing": {"kind": "positive", "cruel": "negative"},
        "framing_by": "adjective",
    }
    path.write_text(yaml.safe_dump(definition, sort_keys=False))
    table = prompts(path).table
    assert list(table.index) == ["kind_deed", "kind_act", "cruel_deed", "cruel_act"]
    assert table["text"]["cruel_act"] == "What is the cruellest act?"
    assert table["noun"].tolist() == ["deed", "act", "deed", "act"]
    definition["frame"] = 1
    with pytest.raises(ValueBiasError, match=r"no entry 'frame'. Did you mean 'framing'"):
        prompts(definition)
    del definition["frame"], definition["framing"]
    with pytest.raises(ValueBiasError, match="lacks 'framing'"):
        prompts(definition)


def test_a_prompt_set_passes_through_and_keeps_its_own_table() -> None:
    made = prompts(TWO, framing=FRAMING)
    assert prompts(made) is made
    assert len(made) == 2
    frame = made.table.copy()
    other = PromptSet("mine", frame)
    frame.loc["up", "text"] = "changed"
    assert other.table["text"]["up"] == "What is good?"


@pytest.mark.parametrize(
    ("source", "framing", "said"),
    [
        (TWO, None, "no column 'framing'.*{'up': {'text': 'What is good\\?', 'framing': 'pos"),
        (TWO, {"up": "positive"}, "No framing is given for the level 'down'"),
        (TWO, "good", "has the framing 'good'"),
        ({"up": "Good?", "also": "Good?"}, "positive", "'up' and 'also' have the same text"),
        ({"up": " "}, "positive", "has the text ' '"),
        ({"up": 3}, "positive", "expected text and framing"),
        ({"": "Good?"}, "positive", "named ''"),
        ({}, "positive", "no column 'text'|no prompts"),
        (pd.DataFrame({"framing": ["positive"]}, index=["a"]), None, "no column 'text'"),
    ],
)
def test_a_bad_set_is_named(source: Any, framing: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        prompts(source, framing=framing)


def test_a_repeated_name_is_an_error() -> None:
    frame = pd.DataFrame({"text": ["a?", "b?"], "framing": "positive"}, index=["x", "x"])
    with pytest.raises(ValueBiasError, match="'x' occurs twice"):
        prompts(frame)


def test_a_misspelt_name_is_corrected() -> None:
    with pytest.raises(ValueBiasError, match="Did you mean 'superlatives'"):
        prompts("superlative")
    with pytest.raises(ValueBiasError, match="cannot be read"):
        prompts("absent.csv")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"framing_by": "adverb"}, "no factor 'adverb'"),
        ({"template": "What is {nouns}?"}, "cannot be filled"),
        ({"template": "What is {0}?"}, "cannot be filled"),
        ({"template": "What is {noun?"}, "cannot be filled"),
        ({"template": "What is {noun:>99999999999}?"}, "followed by a format"),
        ({"template": "What is {noun!r}?"}, "followed by a format"),
        ({"template": "What is {noun.__class__}?"}, "cannot be filled"),
        (
            {
                "factors": {str(i): dict.fromkeys(map(str, range(99)), "x") for i in range(9)},
                "framing_by": "1",
            },
            "prompts; at most 1,000,000",
        ),
        ({"template": {"a": "A {noun}?"}}, "give template_by"),
        ({"template": {"a": "A {noun}?"}, "template_by": "noun"}, "No template .* level 'b'"),
        ({"framing": {"a": "positive"}}, "No framing .* level 'b'"),
    ],
)
def test_a_bad_factorial_is_named(changed: dict[str, Any], said: str) -> None:
    sound: dict[str, Any] = {
        "factors": {"noun": {"a": "apple", "b": "pear"}},
        "template": "What is {noun}?",
        "framing": {"a": "positive", "b": "negative"},
        "framing_by": "noun",
    }
    assert len(prompts(Factorial(**sound))) == 2
    with pytest.raises(ValueBiasError, match=said):
        prompts(Factorial(**{**sound, **changed}))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"factors": {"noun": [1, 2]}}, r"levels \[1, 2\]; expected a list of texts"),
        ({"factors": {"noun": {1: "a"}}}, "holds 1, of type int; expected text"),
        ({"factors": {None: ["a", "b"]}}, "holds None, of type NoneType"),
        ({"factors": {"noun": {"a": None, "b": True}}}, "holds True, of type bool"),
        ({"factors": {"noun": 3}}, "levels 3"),
        ({"template": 3}, "holds 3"),
        ({"framing_by": ["noun"]}, r"holds \['noun'\], of type list"),
        ({"framing": {True: "positive"}}, "holds True"),
        ({"citation": 3}, "holds 3"),
    ],
)
def test_what_is_no_text_in_a_factorial_is_shown(changed: dict[str, Any], said: str) -> None:
    """As YAML gives it for what is not quoted."""
    sound: dict[str, Any] = {
        "factors": {"noun": ["a", "b"]},
        "template": "What is {noun}?",
        "framing": {"a": "positive", "b": "negative"},
        "framing_by": "noun",
    }
    assert len(prompts(sound)) == 2
    with pytest.raises(ValueBiasError, match=said):
        prompts({**sound, **changed})


def test_a_factor_is_called_by_text() -> None:
    with pytest.raises(ValueBiasError, match="a factor called 0; expected text"):
        prompts({"a": {"text": "A?", "framing": "positive", 0: "x"}})


@pytest.mark.parametrize(
    "source",
    [
        ["What is good?", "What is bad?"],
        {"up": "What is good?", "down": "What is bad?"},
        {"up": ["What is good?", "positive"]},
        {"up": {"framing": "positive"}},
        pd.DataFrame({"text": ["What is good?"]}, index=["up"]),
        "What is good?",
    ],
    ids=lambda source: type(source).__name__,
)
def test_the_mapping_that_an_error_shows_works(source: Any) -> None:
    with pytest.raises(ValueBiasError) as caught:
        prompts(source)
    found = re.search(r"\{'.*?\}\}", str(caught.value))
    assert found is not None
    table = prompts(ast.literal_eval(found[0])).table
    assert table["framing"].tolist() == ["positive"]
    assert table["text"].item().startswith("What is ")


@pytest.mark.parametrize("source", [["What is best?"], ("a", "b"), 3, None])
def test_what_has_no_names_is_refused(source: Any) -> None:
    with pytest.raises(ValueBiasError, match="expected a name, a file, a table, or a mapping"):
        prompts(source)


@given(st.dictionaries(st.text(), st.text(), max_size=4))
def test_any_mapping_is_taken_or_refused_clearly(source: dict[str, str]) -> None:
    try:
        made = prompts(source, framing="positive")
    except ValueBiasError:
        return
    assert dict(made.table["text"]) == source


def test_a_wording_that_is_no_text_is_named() -> None:
    made = Factorial(
        template="What is the {adjective} thing?",
        factors={"adjective": {"best": "best", "none": None}},  # type: ignore[dict-item]
        framing={"best": "positive", "none": "negative"},
        framing_by="adjective",
    )
    with pytest.raises(ValueBiasError, match=r"'adjective' has None for the level 'none'"):
        prompts(made)


def test_neutral_prompts_and_sets_with_another_framing() -> None:
    made = prompts(TWO, framing="neutral")
    assert repr(made) == "<PromptSet 'prompts': 2 prompts, 2 neutral>"
    mixed = prompts({**TWO, "any": "Name one."}, framing={**FRAMING, "any": "neutral"})
    assert repr(mixed).endswith("3 prompts, 1 positive, 1 negative, 1 neutral>")
    turned = prompts(prompts(TWO, framing=FRAMING, name="two"), framing="neutral")
    assert turned.name == "two"
    assert turned.table["framing"].tolist() == ["neutral", "neutral"]
    assert prompts(turned, name="other").name == "other"
    # What the error for prompts without framing advises.
    with pytest.raises(ValueBiasError, match=r"prompts=valuebias\.prompts\(\.\.\., framing='neut"):
        prompts(TWO)


def test_a_factorial_may_have_one_framing_for_all(tmp_path: Path) -> None:
    factors = {"noun": {"deed": "deed", "word": "word"}}
    design = Factorial(factors, "Name a {noun}.", framing="neutral")
    table = prompts(design).table
    assert table["framing"].tolist() == ["neutral", "neutral"]
    (tmp_path / "a.yaml").write_text(
        yaml.safe_dump({"factors": factors, "template": "Name a {noun}.", "framing": "neutral"})
    )
    pd.testing.assert_frame_equal(prompts(tmp_path / "a.yaml").table, table)
    with pytest.raises(ValueBiasError, match="no factor that chooses: give framing_by, such as 'n"):
        prompts(Factorial(factors, "Name a {noun}.", framing={"deed": "positive"}))
    with pytest.raises(ValueBiasError, match="has the framing 'good'"):
        prompts(Factorial(factors, "Name a {noun}.", framing="good"))


def test_prompts_may_be_in_any_language(tmp_path: Path) -> None:
    texts = {
        "de": "Was ist das Schönste?",
        "ja": "最も良いものは何ですか。",
        "el": "Τι είναι το καλύτερο;",
    }
    rows = [f"{name},{text},positive,{name}" for name, text in texts.items()]
    (tmp_path / "a.csv").write_text("\n".join(["prompt,text,framing,language", *rows]), "utf-8")
    table = prompts(tmp_path / "a.csv").table
    assert table["text"].to_dict() == texts
    assert table["language"].tolist() == list(texts)
    ds = valuebias.schema.build(
        np.arange(12.0).reshape(2, 3, 2), prompts=prompts(tmp_path / "a.csv"),
        models=pd.DataFrame({"family": ["A", "B"], "stage": "reward"}, index=["a", "b"]),
        responses=["schön", "良い"],
    )  # fmt: skip
    valuebias.write(ds, tmp_path / "a.nc")
    assert valuebias.read(tmp_path / "a.nc")["text"].values.tolist() == list(texts.values())
