"""The words at both ends, shown as they are and never run."""

from __future__ import annotations

import html
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias.plots.tokens import shown_token
from valuebias.schema import build

PROMPTS = pd.DataFrame(
    {"text": ["a", "b", "c"], "framing": ["positive", "negative", "positive"]}, index=[*"abc"]
)
HOSTILE = ["<script>alert(1)</script>", " love", "\n", r"\input{x}", "a & b_%", "\ud800", "=cmd()",
           "\u202eevil", "plain", "-1"]  # fmt: skip


def scores(words: list[str], values: Any = None) -> xr.Dataset:
    models = pd.DataFrame({"family": ["F"], "base": ["B"], "stage": ["reward"]}, index=["m"])
    made = np.random.default_rng(0).normal(size=(1, 3, len(words))) if values is None else values
    return build(made, models=models, prompts=PROMPTS, responses=words)


def test_words_are_ordered_by_their_mean() -> None:
    ds = scores([f"w{i}" for i in range(12)])
    table = valuebias.plots.token_table(ds, n=3).table
    values = ds["score"].to_numpy()[0].astype(float)
    for framing, rows in (("positive", [0, 2]), ("negative", [1])):
        mean = values[rows].mean(axis=0)
        order = np.argsort(-mean)
        part = table[table["framing"] == framing]
        top, bottom = (part[part["end"] == end] for end in ("top", "bottom"))
        assert top["word"].tolist() == [f"w{i}" for i in order[:3]]
        assert bottom["word"].tolist() == [f"w{i}" for i in order[::-1][:3]]
        np.testing.assert_allclose(top["score"], mean[order[:3]], rtol=1e-6)


def test_hostile_words_are_shown_and_not_run() -> None:
    made = valuebias.plots.token_table(scores(HOSTILE), n=5)
    page = made.to_html()
    assert "<script>" not in page
    cells = {html.unescape(cell) for cell in re.findall(r"<bdi>(.*?)</bdi>", page)}
    assert cells == {shown_token(word) for word in HOSTILE}
    latex = made.to_latex()
    assert r"\input{" not in latex
    assert r"\textvisiblespace{}love" in latex
    assert latex.count(r"\\" + "\n") == 1 + 5
    assert latex.isascii()
    text = str(made)
    assert r"\u202eevil" in text
    assert "\u202e" not in text
    assert len(text.splitlines()) == 1 + 5


@pytest.mark.parametrize(
    ("word", "shown"),
    [(" love", "␣love"), ("love  ", "love␣␣"), (" ", "␣"), ("a b", "a b"), ("\t", r"\t")],
)
def test_what_cannot_be_seen_is_written_out(word: str, shown: str) -> None:
    assert shown_token(word) == shown


def test_words_without_all_scores_are_left_out() -> None:
    values = np.arange(15, dtype=float).reshape(1, 3, 5)
    values[0, 0, 4] = np.nan
    ds = scores([*"vwxyz"], values)
    table = valuebias.plots.token_table(ds, n=2).table
    top = table[(table["framing"] == "positive") & (table["end"] == "top")]
    assert top["word"].tolist() == ["y", "x"]


@pytest.mark.parametrize(
    ("n", "message"),
    [(0, "n is 0"), (6, "10 words are scored .* 12 are needed"), ("3", "n is '3'")],
)
def test_bad_input(n: Any, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.plots.token_table(scores(HOSTILE), n=n)
