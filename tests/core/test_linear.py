"""Readers of people's files: four times the columns or entries take about four times as long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import valuebias

pytestmark = pytest.mark.once
FEW, MANY = 2_000, 8_000
MOST = 9.0
"""Four times is linear; what looks through all columns for each of them takes sixteen."""

ROWS = [["a", prompt, word] for prompt in ("p", "q") for word in ("x", "y")]
TIDY = pd.DataFrame(ROWS, columns=["model", "prompt", "response"]).assign(
    score=[1.0, 2.0, 3.0, 4.0], family="F", base="b", stage="reward",
    text=["P", "P", "Q", "Q"], framing=["positive", "positive", "negative", "negative"],
)  # fmt: skip
ABOUT = pd.DataFrame({"family": ["F"], "base": ["b"], "stage": ["reward"]}, index=["org/one"])


def lines(path: Path, rows: Iterable[Iterable[object]], separator: str = ",") -> Path:
    path.write_text("".join(f"{separator.join(map(str, row))}\n" for row in rows))
    return path


def numbered(n: int, letter: str = "c") -> list[str]:
    return [f"{letter}{i}" for i in range(n)]


def prompts(folder: Path, n: int) -> Path:
    framing = ("positive", "negative")
    rows = [[name, f"What is {name}?", framing[i % 2]] for i, name in enumerate(numbered(n, "p"))]
    return lines(folder / "prompts.csv", [["prompt", "text", "framing"], *rows])


def sheet(folder: Path, columns: list[str]) -> Path:
    rows = [["love", *[1] * len(columns)], ["win", *[2] * len(columns)]]
    return lines(folder / "x_rewards_org_one.csv", [["response", *columns], *rows])


def sheet_of_prompts(folder: Path, n: int) -> Callable[[], Any]:
    path, of = sheet(folder, numbered(n, "p")), prompts(folder, n)
    return lambda: valuebias.read_scores(path, models=ABOUT, prompts=of)


def table_of_models(folder: Path, n: int) -> Callable[[], Any]:
    path = sheet(folder, ["best_ever_one", "bad_ever_one"])
    n //= 4
    head = ["model", *ABOUT.columns, *numbered(n)]
    about = lines(folder / "models.csv", [head, ["org/one", *ABOUT.iloc[0], *[1] * n]])
    return lambda: valuebias.read_scores(path, models=about)


def tidy(suffix: str, column: str, value: Callable[[int], Any]) -> Any:
    def made(folder: Path, n: int) -> Callable[[], Any]:
        more = pd.DataFrame({f"{column}{i}": [value(0), value(1)] * 2 for i in range(n // 8)})
        path, table = folder / f"scores{suffix}", pd.concat([TIDY, more], axis=1)
        if suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_parquet(path)
        return lambda: valuebias.read(path, kind="reward")

    return made


def dic(folder: Path, n: int) -> Callable[[], Any]:
    head = [["%"], *([i, f"c{i}"] for i in range(n)), ["%"]]
    words = [["love", *range(0, n, 2)], ["win", *range(1, n, 2)]]
    path = lines(folder / "words.dic", [*head, *words], "\t")
    return lambda: valuebias.lexicon(path)


def dicx(folder: Path, n: int) -> Callable[[], Any]:
    rows = [["DicTerm", *numbered(n)], ["love", *["X"] * n], ["win", *["X"] * n]]
    path = lines(folder / "words.dicx", rows)
    return lambda: valuebias.lexicon(path)


def words(folder: Path, n: int) -> Callable[[], Any]:
    rows = [["ab"[i % 2], f"w{i}x*"] for i in range(n)]
    path = lines(folder / "words.csv", [["category", "word"], *rows])
    return lambda: valuebias.lexicon(path).membership(numbered(n, "w"))


def models(folder: Path, n: int) -> Callable[[], Any]:
    rows = [[name, f"org/{name}", "F"] for name in numbered(n, "m")]
    path = lines(folder / "models.csv", [["name", "location", "family"], *rows])
    return lambda: valuebias.read_models(path)


def prompts_in_rows(folder: Path, n: int) -> Callable[[], Any]:
    path = prompts(folder, n)
    return lambda: valuebias.prompts(path)


def prompts_with_factors(folder: Path, n: int) -> Callable[[], Any]:
    head = ["prompt", "text", "framing", *numbered(n)]
    rows = [[name, f"{name}?", name, *[1] * n] for name in ("positive", "negative")]
    path = lines(folder / "prompts.csv", [head, *rows])
    return lambda: valuebias.prompts(path)


def logprobs(folder: Path, n: int) -> Callable[[], Any]:
    head = ["token_id", "token_name", "token_decoded", *numbered(n, "p")]
    rows = [[i, word, word, *[-1 - i] * n] for i, word in enumerate(("love", "win"))]
    path = lines(folder / "google_gemma-2-2b_logprobs.csv", [head, *rows])
    of = prompts(folder, n)
    return lambda: valuebias.read_logprobs(path, prompts=of)


READERS: dict[str, Callable[[Path, int], Callable[[], Any]]] = {
    "a wide CSV": sheet_of_prompts,
    "a table of models beside it": table_of_models,
    "a tidy CSV": tidy(".csv", "c", int),
    "a tidy CSV of categories": tidy(".csv", "category.c", bool),
    "a tidy Parquet": tidy(".parquet", "c", int),
    "a .dic": dic,
    "a .dicx": dicx,
    "a lexicon": words,
    "models": models,
    "prompts": prompts_in_rows,
    "prompts with factors": prompts_with_factors,
    "log-probs": logprobs,
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_takes_time_in_proportion(name: str, tmp_path: Path) -> None:
    calls = []
    for n in (FEW, MANY):
        folder = tmp_path / str(n)
        folder.mkdir()
        calls.append(READERS[name](folder, n))
    calls[0]()  # loads what it needs
    found = []
    for _ in range(3):  # whatever else the machine does may come in between
        few, many = map(seconds, calls)
        found.append(many / few)
        if found[-1] < MOST:
            return
    raise AssertionError(f"{MANY / FEW:g} times as many take {found} times as long")


def seconds(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began
