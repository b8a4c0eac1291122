"""Tests of lexicons whose words have weights."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import valuebias
from valuebias.cli.app import app
from valuebias.errors import ValueBiasError, ValueBiasWarning

WEIGHTS = {"up": {"win": 0.5, "ris*": 0.25}, "down": {"win": 0.125, "lose": 1.0}}
EMFD = "word,care_p,fairness_p,care_sent\nkind,0.24,0.15,-0.53\nfair,0,0.5,0.31\n"
MORAL_STRENGTH = "LEMMA\tEXPRESSED_MORAL\nabuse\t1.5\ncaring\t9\n"
LOUGHRAN = (
    "Word,Seq_num,Negative,Positive,Source\nLOSS,1,2009,0,12of12inf\nGAIN,2,0,2009,12of12inf\n"
    "TABLE,3,0,0,12of12inf\n"
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(WEIGHTS)),
        ("a.csv", "word,up,down\nwin,0.5,.125\nris*,2.5e-1,\nlose,0,1\n"),
        ("a.csv", "word;up;down\nwin;0,5;0,125\nris*;0,25;\nlose;0;1\n"),
        ("a.dicx", "DicTerm,up,down\nwin,0.5,0.125\nris*,0.25,\nlose,,1\n"),
        (
            "a.tsv",
            "category\tterm\tweight\nup\twin\t0.5\nup\tris*\t0.25\ndown\twin\t0.125\ndown\tlose\t1",
        ),
    ],
    ids=["JSON", "marks", "decimal commas", "dicx", "long"],
)
def test_weights_are_read_as_people_publish_them(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    lex = valuebias.lexicon(tmp_path / name)
    pd.testing.assert_frame_equal(lex.table, valuebias.lexicon(WEIGHTS).table)
    assert lex.weighted
    assert lex.about()["weighted"] is True
    assert repr(lex) == "<Lexicon 'a': 3 words with weights; up 2, down 2>"


def test_published_forms_are_read(tmp_path: Path) -> None:
    (tmp_path / "emfd.csv").write_text(EMFD)
    emfd = valuebias.lexicon(tmp_path / "emfd.csv", categories=["care_p", "fairness_p"])
    assert emfd.table.loc["kind"].tolist() == [0.24, 0.15]
    signed = valuebias.lexicon(tmp_path / "emfd.csv")
    assert signed.table.loc["kind", "care_sent"] == -0.53
    (tmp_path / "strength.tsv").write_text(MORAL_STRENGTH)
    with pytest.raises(ValueBiasError, match=r"'abuse' .* has the weight 1.5 .* between 0 and 1"):
        valuebias.lexicon(tmp_path / "strength.tsv")
    ratings = pd.read_csv(tmp_path / "strength.tsv", sep="\t", index_col=0)
    assert valuebias.lexicon((ratings - 5) / 4).table["EXPRESSED_MORAL"].tolist() == [-0.875, 1.0]
    (tmp_path / "loughran.csv").write_text(LOUGHRAN)
    with pytest.raises(ValueBiasError, match=r"or name those that are: categories="):
        valuebias.lexicon(tmp_path / "loughran.csv")
    with pytest.warns(ValueBiasWarning, match="1 of 3 words"):
        lex = valuebias.lexicon(
            tmp_path / "loughran.csv", categories=["Negative", "Positive"], threshold=1
        )
    assert not lex.weighted
    assert lex.table["Negative"].to_dict() == {"LOSS": True, "GAIN": False}
    with pytest.raises(ValueBiasError, match=r"no column 'negative' .* Did you mean 'Negative'"):
        valuebias.lexicon(tmp_path / "loughran.csv", categories=["negative"], threshold=1)


def test_weights_of_0_and_1_are_marks() -> None:
    marks = valuebias.lexicon({"up": ["win"], "down": ["lose"]})
    given = {"up": {"win": 1.0, "lose": 0.0}, "down": {"lose": 1}}
    for source in (given, marks.table.astype(float)):
        lex = valuebias.lexicon(source)
        assert not lex.weighted
        assert "weighted" not in lex.about()
        pd.testing.assert_frame_equal(lex.table, marks.table)


def test_a_threshold_says_from_which_weight_on_a_word_belongs() -> None:
    lex = valuebias.lexicon(WEIGHTS, threshold=0.25)
    assert lex.table.astype(int).to_dict("index") == {
        "win": {"up": 1, "down": 0},
        "ris*": {"up": 1, "down": 0},
        "lose": {"up": 0, "down": 1},
    }
    assert valuebias.lexicon(valuebias.lexicon(WEIGHTS), threshold=0.25).sha256 == lex.sha256
    marks = valuebias.lexicon()
    pd.testing.assert_frame_equal(valuebias.lexicon(threshold=0.5).table, marks.table)
    with pytest.raises(ValueBiasError, match=r"No word of 'up' .* the largest is 0.5"):
        valuebias.lexicon(WEIGHTS, threshold=0.75)
    for wrong in (0, -1, "much"):
        with pytest.raises(ValueBiasError, match=r"threshold .*a number above 0"):
            valuebias.lexicon(WEIGHTS, threshold=wrong)  # type: ignore[arg-type]


def test_of_several_terms_the_weight_farthest_from_zero_counts() -> None:
    lex = valuebias.lexicon({"up": {"ris*": 0.25, "rising": -0.5, "rise": 0.125}})
    found = lex.membership(["rising", "rise", "risen", "fall"])
    assert found["up"].tolist() == [-0.5, 0.25, 0.25, 0.0]
    merged = valuebias.lexicon(WEIGHTS).merge({"all": ["up", "down"]})
    assert merged.table["all"].to_dict() == {"win": 0.5, "ris*": 0.25, "lose": 1.0}
    assert valuebias.lexicon(WEIGHTS).select(["down"]).words == ("win", "lose")


@pytest.mark.parametrize("weight", [1.5, -2.0, float("nan"), float("inf")])
def test_what_is_no_weight_is_named(weight: float) -> None:
    table = pd.DataFrame({"up": [0.5, weight]}, index=["win", "rise"])
    with pytest.raises(
        ValueBiasError,
        match=r"'rise' .* has (the weight .* expected one between|no weight \(NaN\))",
    ):
        valuebias.lexicon(table)


def test_the_commands_show_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(WEIGHTS))

    def shown(option: str) -> Any:
        result = CliRunner().invoke(app, ["lexicons", "show", str(path), option])
        assert result.exit_code == 0
        return result.stdout

    assert json.loads(shown("--json"))["words"] == WEIGHTS
    rows = list(csv.reader(io.StringIO(shown("--csv"))))
    assert rows[:2] == [["word", "category", "weight"], ["win", "up", "0.5"]]
    (tmp_path / "again.csv").write_text(shown("--csv"))
    again = valuebias.lexicon(tmp_path / "again.csv")
    np.testing.assert_array_equal(again.table, valuebias.lexicon(path).table)
