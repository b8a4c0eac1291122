"""Choices in long tables of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import valuebias
from valuebias import ValueBiasError


@pytest.fixture
def long() -> pd.DataFrame:
    """Lay out simulated choices as others might."""
    task = valuebias.bandit_task(trials=3, tasks=2, seed=1)
    made = valuebias.simulate_choices(task, n_models={"A": 1, "B": 1}, seed=1)
    rows = []
    for m, model in enumerate(made["model"].to_numpy()):
        for _, row in task.trials.iterrows():
            t = made.get_index("task").get_loc(row["task"])
            chose = float(made["chose_first"][m, t, row["trial"] - 1])
            rows.append(
                {"engine": model, "family": model[0], "run": row["task"], "t": row["trial"],
                 "left": row["first"], "right": row["second"], "left_points": row["first_outcome"],
                 "right_points": row["second_outcome"], "note": "x",
                 "response": row["first"] if chose else row["second"]}
            )  # fmt: skip
    return pd.DataFrame(rows)


COLUMNS = {
    "model": "engine", "task": "run", "trial": "t", "first": "left", "second": "right",
    "first_outcome": "left_points", "second_outcome": "right_points", "choice": "response",
}  # fmt: skip


def test_a_file_gives_what_it_holds(long: pd.DataFrame, tmp_path: Path) -> None:
    task = valuebias.bandit_task(trials=3, tasks=2, seed=1)
    made = valuebias.simulate_choices(task, n_models={"A": 1, "B": 1}, seed=1)
    # In any order of rows, with decimals that are none.
    shuffled = long.sample(frac=1, random_state=1)
    for path in (tmp_path / "choices.csv", tmp_path / "choices.tsv"):
        shuffled.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
        read = valuebias.read_choices(path, columns=COLUMNS, constant={"style": "standard"})
        both = read.sel(model=made["model"], task=made["task"])
        np.testing.assert_array_equal(both["chose_first"], made["chose_first"])
        for name in ("phase", "first", "second", "first_outcome", "second_outcome"):
            np.testing.assert_array_equal(both[name], made[name])
        assert read.attrs["how"] == "observed"
        assert read["family"].to_numpy().tolist() == [str(m)[0] for m in read["model"].to_numpy()]
    fit, same = (
        valuebias.fit_choices(each).summary()["estimate"].to_numpy()
        for each in (made, read.sel(model=made["model"]))
    )
    np.testing.assert_allclose(fit, same, rtol=1e-4)


def test_options_named_by_numbers() -> None:
    table = pd.DataFrame({
        "model": "m", "task": 1, "trial": [1, 2, 3], "first": [1, 2, 1], "second": [2, 1, 2],
        "first_outcome": [3.0, 1.0, None], "second_outcome": [1, 3, None],
        "choice": [1.0, None, 2.0],
    })  # fmt: skip
    read = valuebias.read_choices(table)
    np.testing.assert_array_equal(read["chose_first"].to_numpy()[0, 0], [1, np.nan, 0])
    assert read["phase"].to_numpy()[0].tolist() == ["training", "training", "transfer"]


def test_tasks_of_unlike_length(long: pd.DataFrame) -> None:
    short = long[~((long["run"] == "bandit 2") & (long["t"] > 8))]
    read = valuebias.read_choices(short, columns=COLUMNS)
    assert np.isfinite(read["chose_first"]).sum() == len(short)
    assert (read["phase"].sel(task="bandit 2") == "").sum() == 6
    assert valuebias.fit_choices(read).fit_statistics()["n"].tolist() == [22, 22]


def changed(table: pd.DataFrame, row: int, **cells: Any) -> pd.DataFrame:
    table = table.astype(object)
    for name, value in cells.items():
        table.loc[row, name] = value
    return table


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"response": "large 9"}, "Row 1 has the choice 'large 9', and the options are"),
        ({"left_points": "many"}, "Row 1 of the choices has the first_outcome 'many'"),
        ({"left_points": float("inf")}, "expected a finite number"),
        ({"left_points": None}, "expected two finite numbers (complete feedback)"),
        ({"left": None}, "has no first; expected text"),
        ({"t": 2}, "occurs twice"),
        ({"left_points": 7.5}, "and another one for a second model"),
        ({"family": "C"}, "has more than one family"),
    ],
)
def test_cells_that_are_refused(long: pd.DataFrame, cells: dict[str, Any], said: str) -> None:
    if "response" not in cells and cells.get("left_points") != 7.5:
        long = long[long["engine"] == long["engine"].iloc[0]]
    with pytest.raises(ValueBiasError) as raised:
        valuebias.read_choices(changed(long, 0, **cells), columns=COLUMNS)
    assert said in str(raised.value)


def test_tables_that_are_refused(long: pd.DataFrame, tmp_path: Path) -> None:
    known = {"columns": COLUMNS}
    same = long.assign(left=long["right"], response=long["right"])
    unseen = long.copy()
    last = unseen.index[unseen["left_points"].isna()]
    unseen.loc[last, ["left", "response"]] = "huge 1"
    for table, given, said in (
        (long, {}, "has no column 'model', 'task'"),
        (long, {"columns": {"choices": "response"}}, "Choices have no column 'choices'"),
        (long, {"columns": {**COLUMNS, "choice": "answer"}}, "no column 'answer', which was given"),
        (same, known, "expected two different options"),
        (unseen, known, "offers 'huge 1', of which its training shows no outcome"),
        (long.assign(phase="test"), known, "is of the phase 'test'"),
        (long, {**known, "how": "drawn"}, "how is 'drawn'"),
        (3, {}, "of type int; expected a CSV file or a table"),
        (tmp_path / "nowhere.csv", {}, "nowhere.csv"),
        (long.assign(p_first=2.0), known, "A choice is 2; expected the probability"),
        (long.assign(response=None), known, "There is no choice in the dataset"),
    ):
        with pytest.raises(ValueBiasError) as raised:
            valuebias.read_choices(table, **given)  # type: ignore[arg-type]
        assert said in str(raised.value), said


def test_a_cube_that_would_fill_the_memory_is_refused() -> None:
    names = [f"{i}" for i in range(7000)]
    table = pd.DataFrame({
        "model": names, "task": names, "trial": 1, "first": "a", "second": "b",
        "first_outcome": 1, "second_outcome": 0, "choice": "a",
    })  # fmt: skip
    with pytest.raises(ValueBiasError, match="declares 392 MB"):
        valuebias.read_choices(table)
    assert valuebias.read_choices(table[:100]).sizes == {"model": 100, "task": 100, "trial": 1}


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "choices.csv"
    path.write_bytes(b"model,task\n\xff\xfe,1\n")
    with pytest.raises(ValueBiasError, match="UTF-8"):
        valuebias.read_choices(path)
