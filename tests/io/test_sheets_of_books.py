"""Workbooks with several sheets: which is read is said, from Python and the command line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from peoples_files import MODELS, about, excel, long, wide, with_categories
from typer.testing import CliRunner

import valuebias
from valuebias.cli.app import app
from valuebias.errors import ValueBiasError

pytest.importorskip("openpyxl")
NOTES = [["made", "by hand"], ["on", "Monday"]]


def rows(table: pd.DataFrame) -> list[list[Any]]:
    filled = table.astype(object).where(table.notna(), None)
    return [list(table.columns), *filled.to_numpy().tolist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "scores").mkdir()
    for i, name in enumerate("ab"):
        sheets = {"notes": NOTES, "run 1": rows(wide(i)), "empty": []}
        excel(sheets, tmp_path / "scores" / f"org_{name}.xlsx")
    return tmp_path / "scores"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    sheets = {"notes": NOTES, "scores": rows(with_categories(long()))}
    return excel(sheets, tmp_path / "long.xlsx")


def run(*arguments: object) -> tuple[int, str]:
    with warnings.catch_warnings():
        result = CliRunner().invoke(app, [str(each) for each in arguments], prog_name="valuebias")
    return result.exit_code, " ".join(f"{result.stdout} {result.stderr}".split())


def test_a_sheet_of_each_workbook_is_read(folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for i, name in enumerate("ab"):
        wide(i).to_csv(plain / f"org_{name}.csv", index=False)
    expected = valuebias.read_scores(plain, models=about())
    with pytest.raises(ValueBiasError, match=r"2 sheets: 'notes' and 'run 1'.* sheet='notes'"):
        valuebias.read_scores(folder, models=about())
    found = valuebias.read_scores(folder, models=about(), sheet="run 1")
    assert found["model"].values.tolist() == MODELS
    assert found["score"].equals(expected["score"])


def test_a_long_table_is_in_the_sheet_that_is_named(table: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"2 sheets: 'notes' and 'scores'"):
        valuebias.read(table, kind="reward")
    read = valuebias.read(table, kind="reward", sheet="scores")
    assert read.sizes["category"] == 2
    assert valuebias.read_scores(table, models=about(), sheet="scores")["score"].equals(
        read["score"]
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "Run 1",
            r"no sheet 'Run 1'\. Did you mean 'run 1'\? Known: 'notes', 'run 1', 'empty'",
        ),
        ("empty", "has no cells with content in its sheet 'empty'"),
    ],
)
def test_a_sheet_that_is_not_there_is_named(folder: Path, name: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        valuebias.read_scores(folder, models=about(), sheet=name)


def test_a_formula_is_looked_for_in_the_sheet_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "org_a.xlsx"
    head = ["response", "best_ever_one"]
    excel({"old": [head, ["win", "=1+1"]], "new": [head, ["win", 1], ["love", 2]]}, path)
    assert valuebias.read_scores(path, models=about(), sheet="new").sizes["response"] == 2
    with pytest.raises(ValueBiasError, match="a formula in row 2"):
        valuebias.read_scores(path, models=about(), sheet="old")


def test_what_has_no_sheets_is_named(tmp_path: Path) -> None:
    wide(0).to_csv(tmp_path / "org_a.csv", index=False)
    with pytest.raises(ValueBiasError, match=r"no \.xlsx file, and has no sheet 'x'\. Leave"):
        valuebias.read_scores(tmp_path / "org_a.csv", models=about(), sheet="x")
    path = valuebias.write(valuebias.datasets.load("simulated"), tmp_path / "scores.nc")
    with pytest.raises(ValueBiasError, match="Leave sheet= out"):
        valuebias.read(path, sheet="x")


def test_the_commands_read_a_sheet(folder: Path, table: Path, tmp_path: Path) -> None:
    about().to_csv(tmp_path / "models.csv", index=False)
    command = ["data", "read", folder, "--models", tmp_path / "models.csv", "--out"]
    status, said = run(*command, tmp_path / "a.nc")
    assert status == 1
    assert "give its name, such as --sheet notes" in said
    assert "sheet=" not in said
    assert run(*command, tmp_path / "a.nc", "--sheet", "run 1")[0] == 0
    assert valuebias.read(tmp_path / "a.nc")["model"].values.tolist() == MODELS
    assert run("data", "audit", table, "--kind", "reward", "--sheet", "scores")[0] == 0
    status, said = run("data", "audit", table, "--kind", "reward", "--sheet", "score")
    assert status == 1
    assert "Did you mean 'scores'?" in said


def test_a_table_of_models_has_one_sheet(folder: Path, tmp_path: Path) -> None:
    models = excel({"a": rows(about()), "b": NOTES}, tmp_path / "models.xlsx")
    with pytest.raises(ValueBiasError, match="2 sheets: 'a' and 'b'") as caught:
        valuebias.read_scores(folder, models=models, sheet="run 1")
    assert "sheet=" not in str(caught.value)
    assert "save each as a file of its own" in str(caught.value)
