"""Tests of valuebias._core.text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuebias._core.text import escape, has_surrogate, neutralise, restore, unescape
from valuebias.errors import ValueBiasError

# Every code point, lone surrogates among them.
any_text = st.text(st.characters(exclude_categories=()))
tricky = any_text | st.text(st.sampled_from("\\'ud8f0=+-@\t\r\n\ud800\udfff"))


@given(tricky)
def test_escape_is_undone_and_can_be_encoded(text: str) -> None:
    escaped = escape(text)
    assert escaped.encode("utf-8").decode("utf-8") == escaped
    assert unescape(escaped) == text


@given(tricky)
def test_neutralise_is_undone_and_leaves_no_formula(text: str) -> None:
    safe = neutralise(text)
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert restore(safe) == text


@given(tricky, tricky)
def test_different_texts_stay_different(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)
    assert (neutralise(one) == neutralise(other)) == (one == other)


def test_a_surrogate_is_seen() -> None:
    assert has_surrogate("a\udc80")
    assert not has_surrogate("a😀")


def test_a_strange_backslash_is_an_error() -> None:
    with pytest.raises(ValueBiasError, match="backslash"):
        unescape(r"a\n")
