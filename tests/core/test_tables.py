"""Tests of valuebias._core.tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuebias._core.tables import parse_csv, read_table, read_text
from valuebias.errors import ValueBiasError

cells = st.text(st.characters(exclude_characters="\0", exclude_categories=()))


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(st.lists(cells, min_size=n, max_size=n), min_size=1, max_size=6)
    )
)
def test_what_python_writes_is_read_back(rows: list[list[str]]) -> None:
    header = [f"column {i}" for i in range(len(rows[0]))]
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    if not kept:
        with pytest.raises(ValueBiasError, match="no rows"):
            parse_csv(stream.getvalue(), "x.csv")
    else:
        assert parse_csv(stream.getvalue(), "x.csv") == (header, kept)


@given(st.text())
def test_any_text_is_parsed_or_refused_clearly(text: str) -> None:
    try:
        header, rows = parse_csv(text, "x.csv")
    except ValueBiasError:
        return
    assert all(len(row) == len(header) for row in rows)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n3", "Line 3 .* has 1 cells, the header 2"),
        ("a,b\n1,2,3\n", "Line 2 .* has 3 cells"),
        ('a,b\n1,"2\n', "damaged or truncated"),
        ("a,a\n1,2\n", "two columns called 'a'"),
        ("a,b\n", "no rows below its header"),
        ("a,b\n1,\0\n", "NUL"),
    ],
)
def test_a_damaged_csv_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        parse_csv(text, "x.csv")


def test_semicolons_and_tabs_separate_too() -> None:
    assert parse_csv("a;b\n1,5;2\n", "x") == (["a", "b"], [["1,5", "2"]])
    assert parse_csv("a\tb\n1\t2\n", "x") == (["a", "b"], [["1", "2"]])


@pytest.mark.parametrize("text", ["prompt,text\nbest,a\ud83d\n", "prompt,t\ud83dt\nbest,a\n"])
def test_half_a_surrogate_in_a_table_is_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prompts.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    table = read_table(path, key="prompt")
    assert "\ud83d" in table.columns[0] + table.iloc[0, 0]


def test_a_byte_order_mark_is_dropped_and_a_surrogate_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffa\ud800".encode("utf-8", "surrogatepass"))
    assert read_text(path) == "a\ud800"


@pytest.mark.parametrize(("raw", "said"), [(b" \n", "is empty"), (b"caf\xe9", "not UTF-8")])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(raw)
    with pytest.raises(ValueBiasError, match=said):
        read_text(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueBiasError, match="cannot be read"):
            read_text(path)


def test_yaml_lists_and_mappings_name_their_rows(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("- {model: a, n: 1}\n- {model: b, n: 2, note: x}\n")
    table = read_table(path, key="model")
    assert table["n"].to_dict() == {"a": 1, "b": 2}
    path.write_text("a: {n: 1}\nb: {n: 2}\n")
    assert read_table(path, key="model")["n"].to_dict() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("m.yaml", "just text", "list of entries"),
        ("m.yaml", "[{model: a}, {model: a}]", "same model twice"),
        ("m.yaml", "1: {n: 2}", "no text: quote it"),
        ("m.yaml", "a: {1: 2}", "no text: quote it"),
        ("m.yaml", "a: [", "no valid YAML"),
        ("m.csv", "n,k\n1,2\n", "no column 'model'"),
        ("m.xlsx", "n,k\n1,2\n", "suffix '.xlsx'"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueBiasError, match=said):
        read_table(path, key="model")
