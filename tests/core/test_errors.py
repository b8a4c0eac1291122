"""Tests of valuebias.errors."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from valuebias._core.foreign import reading
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, shown


def test_errors_can_be_caught_as_the_usual_ones() -> None:
    with pytest.raises(ValueError, match="found"):
        raise ValueBiasError("found")
    assert issubclass(ValueBiasWarning, UserWarning)


def test_a_close_name_is_suggested_whatever_its_case() -> None:
    assert did_you_mean("BIG2-NOUN", ["mfd2", "big2-nouns"]).startswith(
        "Did you mean 'big2-nouns'?"
    )


def test_without_names_it_says_so() -> None:
    assert did_you_mean("x", []) == "None is known."


@example("", ["0" * 81])
@given(st.text(), st.lists(st.text(), max_size=5))
def test_every_known_name_is_listed(name: str, known: list[str]) -> None:
    said = did_you_mean(name, known)
    # Of long ones the beginning is.
    texts = [repr(entry) if len(entry) <= 30 else shown(entry) for entry in known]
    assert all(text in said for text in texts)


def test_what_is_no_text_is_taken_too() -> None:
    assert did_you_mean(None, ["a"]) == "Known: 'a'."
    known: list[Any] = [None, 1, "a"]
    assert did_you_mean("A", known) == "Did you mean 'a'? Known: None, 1, 'a'."


def test_a_package_that_is_missing_is_no_damage() -> None:
    with (
        pytest.raises(ValueBiasError, match=r"cannot be loaded: it needs a package .*'nowhere'"),
        reading("The tokenizer", advice="Install it.", verb="loaded"),
    ):
        importlib.import_module("nowhere")
