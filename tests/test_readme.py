"""What README shows follows from the lines above it, and its numbers are those of its code."""

from __future__ import annotations

import io
import itertools
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from advice import commands

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
OWN = {"paper.tex", "helpful.jsonl", "models.csv"}
"""What only the reader can have."""
_FILE = re.compile(r"[\w-]+\.(?:nc|zarr|yaml|csv|tex|jsonl)")


def shell_lines() -> list[tuple[int, list[str]]]:
    """Give the commands in indented blocks, with where they stand."""
    found = re.finditer(r"^    (valuebias [^\n]*)$", README, re.MULTILINE)
    return [(m.start(), shlex.split(m[1], comments=True)) for m in found]


def test_commands_and_their_options_exist() -> None:
    known = commands()
    assert len(shell_lines()) > 5
    for _, (_, *words) in shell_lines():
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert {word for word in words if word.startswith("--")} <= known[name], words


def test_every_file_is_made_above() -> None:
    for position, words in shell_lines():
        before = README[:position]
        made = set(re.findall(r"(?:--out|--store) (\S+)", before))
        made |= set(re.findall(r'(?:save|report|store=|write)\(?[^)]*?"([\w.-]+)"', before))
        made |= set(re.findall(r"^# ([\w-]+\.yaml)", before, re.MULTILINE)) | OWN
        reads = [
            word
            for last, word in itertools.pairwise(words)
            if _FILE.fullmatch(word) and last not in ("--out", "--store", "--report")
        ]
        assert set(reads) <= made, words
    # A table of models that Python's lines read is shown, or said to be such a one.
    for name in set(re.findall(r'"([\w-]+\.yaml)"', README)):
        assert f"# {name}" in README


def code(first: str) -> tuple[str, str]:
    """Give a block of Python and the text that follows it."""
    found = re.search(rf"```python\n({re.escape(first)}.*?)```\n\n```text\n(.*?)```", README, re.S)
    assert found is not None
    return found[1], found[2]


@pytest.mark.released_data
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_the_ten_lines_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, shown = code("import valuebias\n")
    told = io.StringIO()
    names: dict[str, Any] = {}
    # The report takes half a minute, and its own tests.
    source = "\n".join(line for line in source.splitlines() if "fit.report" not in line)
    with redirect_stdout(told):
        exec(source, names)  # noqa: S102 - our own page
    headline, table = told.getvalue().split("\n", 1)
    quoted = " ".join(re.findall(r"^> (.*)$", README, re.MULTILINE))
    # Draws differ in the last digits between versions of what is below them, and the probability of
    # direction is at .9, where the verdict turns.
    estimate = r"estimated at (\S+) SD \(90% interval (\S+) to (\S+)\)"
    for pattern, most in ((estimate, 0.02), (r"negative is (\S+)%", 0.6)):
        ours, theirs = (re.search(pattern, text) for text in (headline, quoted))
        assert ours is not None
        assert theirs is not None
        np.testing.assert_allclose(*(numbers(one[0]) for one in (ours, theirs)), atol=most)
    np.testing.assert_allclose(numbers(table)[:16], numbers(shown)[:16], atol=0.02)
    word = re.compile(r"^\d +(\w+) +(?:agency|communion)", re.MULTILINE)
    assert len({*word.findall(table)} & {*word.findall(shown)}) >= 3
    assert Path("fit.nc").exists()


def numbers(text: str) -> list[float]:
    return [float(found.replace("−", "-")) for found in re.findall(r"[−+-]?\d+\.\d+", text)]
