"""YAML of others: plain data only, bounded, and each fault named with its line."""

from __future__ import annotations

import string
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import valuebias
from valuebias import ValueBiasError
from valuebias._core.opening.yaml_text import parse_yaml
from valuebias._core.tables import read_table
from valuebias.ablation import Study

Reader = Callable[[Path], Any]
READERS: dict[str, Reader] = {
    "models": lambda path: valuebias.plan(path),
    "prompts": lambda path: valuebias.prompts(path),
    "study": Study.read,
    "table": lambda path: read_table(path, key="model"),
}
LAUGHS = "".join(
    f"{name}: &{name} [{', '.join(10 * [f'*{before}'])}]\n"
    for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &a [x]\n" + LAUGHS, "stands for more than 200,000 entries"),
        ("a: 1\n" + "[" * 100_000, "Line 2 of .* is no valid YAML"),
        ("- " * 100_000, "Line 1 of .* is nested more than 50 deep"),
        ("a: &a\n  b: *a\n", "Line 2 of .* refers to 'a', of which it is a part"),
        ("a: 1\nb: 2\na: 3\n", "Line 3 of .* the key 'a' stands there a second time"),
        ("a: {b: 1,\n  'b': 2}\n", "Line 2 of .* the key 'b' stands there a second time"),
        ("a: !!python/object/apply:os.getcwd []\n", "names a type of its own"),
        ("a: !mine x\n", "'!mine' names a type of its own"),
        ("a: b\n--- \nc: d", "no valid YAML"),
        ("a: [1", "no valid YAML"),
        ("\na: 2001-02-31", "Line 2 of .* '2001-02-31' cannot be read"),
        ("a: " + 10_000 * "9", "a number of 10,000 digits"),
        ("a: !!float ''", "'' cannot be read"),
        ("a: \x01", "no valid YAML"),
        ("? [a]\n: b", "no valid YAML"),
        ("#" + 9_000_000 * "x", "characters long, where YAML may have"),
    ],
)
def test_what_is_refused(reader: str, text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    tracemalloc.start()
    with pytest.raises(ValueBiasError, match=said) as error:
        READERS[reader](path)
    assert tracemalloc.get_traced_memory()[1] < 5 * len(text) + 5e6
    tracemalloc.stop()
    assert "x.yaml" in str(error.value)
    assert len(str(error.value)) < 700


@pytest.mark.parametrize("text", ['a: "\\ud800"', "'\ud800': 1"])
def test_half_a_character(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(text.encode("utf-8", errors="surrogatepass"))
    with pytest.raises(ValueBiasError, match="no valid YAML"):
        valuebias.plan(path)


def test_references_that_mean_what_they_say() -> None:
    text = (
        "plain: &plain {dtype: bfloat16, seed: 1}\n"
        "deep: {one: &one {<<: *plain, seed: 2}}\n"
        "two: {<<: *one, seed: 3}\n"
        "three: {<<: [*one, *plain]}\n"
        "list: [*plain, *plain]\n"
    )
    plain, one = {"dtype": "bfloat16", "seed": 1}, {"dtype": "bfloat16", "seed": 2}
    assert parse_yaml(text, "x.yaml") == {
        "plain": plain,
        "deep": {"one": one},
        "two": one | {"seed": 3},
        "three": one,
        "list": [plain, plain],
    }


@pytest.mark.parametrize(
    "twice", ["1: a\n0x1: b", "yes: a\ntrue: b", "1: a\n1.0: b", "a: 1\n'a': 2"]
)
def test_keys_that_are_one_key(twice: str) -> None:
    with pytest.raises(ValueBiasError, match=r"Line 2 of 'x.yaml' .* a second time"):
        parse_yaml(twice, "x.yaml")


def test_as_deep_as_may_be() -> None:
    text = 49 * "{a: " + "{}" + 49 * "}"
    for _ in range(49):
        text_value = parse_yaml(text, "x.yaml")
        assert list(text_value) == ["a"]
        text = text.removeprefix("{a: ").removesuffix("}")
    chain = "".join(
        f"{b}: &{b} [*{a}]\n"
        for a, b in zip(string.ascii_letters, string.ascii_letters[1:], strict=False)
    )
    with pytest.raises(ValueBiasError, match="nested more than 50 deep"):
        parse_yaml("a: &a [1]\n" + chain, "x.yaml")
