"""How choices between two options are laid out: by model, task and trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known
from valuebias._core.opening.limits import check_size
from valuebias.errors import ValueBiasError, did_you_mean, few, shown

__all__ = [
    "CHOICES_SCHEMA",
    "HOW",
    "PHASES",
    "TRIAL_COORDS",
    "build_choices",
    "has_trial",
    "validate_choices",
]

CHOICES_SCHEMA = "valuebias-choices/1"
PHASES = ("training", "transfer")
HOW = ("expected", "sampled", "observed")
"""Whether ``chose_first`` has probabilities, draws from them, or choices that others recorded."""
TRIAL_COORDS = (
    "phase", "context", "first", "second", "first_outcome", "second_outcome", "first_value",
    "second_value",
)  # fmt: skip
"""What is known of a trial, whoever chooses; over (task, trial)."""

_TEXTS = TRIAL_COORDS[:4]
_NEEDED = ("model", "task", "trial", "first", "second", "first_outcome", "second_outcome")
_OF_MODEL, _OF_TASK = ("family", "base", "stage"), ("style",)


def build_choices(table: pd.DataFrame, *, how: str = "observed") -> xr.Dataset:
    """Lay out a long table, one row per choice; see :func:`valuebias.read_choices`.

    Parameters
    ----------
    table : pandas.DataFrame
        The columns of :func:`valuebias.read_choices`.
    how : {"expected", "sampled", "observed"}
        What the choices are.

    Returns
    -------
    xarray.Dataset
        ``chose_first`` over (model, task, trial), with what is known of each trial as coordinates.

    Raises
    ------
    ValueBiasError
        If a column is missing, models disagree on what a trial was, or the result breaks the
        contract.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "model": "m", "task": "1", "trial": [1, 2], "first": "a", "second": "b",
    ...     "first_outcome": [10, 0], "second_outcome": [0, 10], "choice": ["a", "b"],
    ... })
    >>> build_choices(table)["chose_first"].to_numpy().tolist()
    [[[1.0, 0.0]]]
    """
    missing = [name for name in _NEEDED if name not in table]
    if "choice" not in table and "p_first" not in table:
        missing.append("choice")
    if missing:
        raise ValueBiasError(
            f"The table of choices has no column {few(missing)}; found {few(map(str, table))}. "
            "Name each of your own, as in columns={'choice': 'response'}."
        )
    rows = _completed(table)
    keys = ["model", "task", "trial"]
    if (twice := rows.duplicated(keys)).any():
        row = rows[twice].iloc[0]
        raise ValueBiasError(
            f"Trial {row['trial']:g} of the task {row['task']!r} and the model {row['model']!r} "
            "occurs twice. If two prompts or sessions have the same numbers, make them tasks of "
            "their own."
        )
    rows = rows.sort_values(keys, kind="stable")
    # Trials are numbered from 1 in their order, whatever their numbers were.
    trials = rows[["task", "trial"]].drop_duplicates().sort_values(["task", "trial"])
    trials["at"] = trials.groupby("task").cumcount()
    rows = rows.merge(trials, on=["task", "trial"])
    axes = {name: list(dict.fromkeys(rows[name])) for name in ("model", "task")}
    at = [rows[name].map({v: i for i, v in enumerate(axes[name])}).to_numpy() for name in axes]
    place = rows["at"].to_numpy()
    shape = (len(axes["model"]), len(axes["task"]), int(place.max()) + 1)
    # A cube of many models that each have tasks of their own would fill the memory.
    check_size(8 * int(np.prod(shape)), 8 * len(rows), "The table of choices")
    chose = np.full(shape, np.nan)
    chose[at[0], at[1], place] = rows["chose_first"]
    coords: dict[str, Any] = {name: np.array(values, dtype="U") for name, values in axes.items()}
    coords["trial"] = np.arange(1, shape[2] + 1)
    for name in TRIAL_COORDS:
        coords[name] = (("task", "trial"), _of_trial(rows, name, at[1], place, shape[1:]))
    for names, dim in ((_OF_MODEL, "model"), (_OF_TASK, "task")):
        for name in names:
            if name in rows:
                coords[name] = (dim, _of_unit(rows, name, dim, axes[dim]))
    ds = xr.Dataset({"chose_first": (("model", "task", "trial"), chose)}, coords=coords)
    ds.attrs |= {"schema": CHOICES_SCHEMA, "how": how}
    return validate_choices(ds)


def has_trial(ds: xr.Dataset) -> np.ndarray[Any, Any]:
    """Tell which trials there are: tasks may be of unlike length."""
    return np.asarray(ds["phase"].transpose("task", "trial").to_numpy() != "")


def _completed(table: pd.DataFrame) -> pd.DataFrame:
    """Check the cells, and fill in what follows from others."""
    rows = table.copy().reset_index(drop=True)
    for name in ("model", "task", "first", "second", *_OF_MODEL, *_OF_TASK):
        if name in rows:
            rows[name] = [_text(value, name, i) for i, value in enumerate(rows[name])]
    for name in ("trial", "first_outcome", "second_outcome", "first_value", "second_value"):
        if name not in rows:
            rows[name] = np.nan
        rows[name] = _numbers(rows[name], name)
    outcomes = rows[["first_outcome", "second_outcome"]]
    if "phase" not in rows:
        rows["phase"] = np.where(outcomes.notna().any(axis=1), *PHASES)
    if "context" not in rows:
        pairs = zip(rows["first"], rows["second"], strict=True)
        rows["context"] = [" and ".join(sorted(pair)) for pair in pairs]
        rows.loc[rows["phase"] != PHASES[0], "context"] = ""
    rows["context"] = ["" if pd.isna(value) else str(value) for value in rows["context"]]
    rows["chose_first"] = _chosen(rows)
    return rows


def _chosen(rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    if "p_first" in rows:
        return _numbers(rows["p_first"], "p_first")
    chosen = np.empty(len(rows))
    cells = zip(rows["choice"], rows["first"], rows["second"], strict=True)
    for i, (value, first, second) in enumerate(cells):
        text = "" if pd.isna(value) else _plain(value)
        if text and text not in (first, second):
            raise ValueBiasError(
                f"Row {i + 1} has the choice {shown(text)}, and the options are {first!r} and "
                f"{second!r}. Leave the cell empty where no option was chosen."
            )
        chosen[i] = np.nan if not text else float(text == first)
    return chosen


def _plain(value: Any) -> str:
    """Write a cell as text: an option that is called 2 in one column may be 2.0 in another."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip()


def _text(value: Any, name: str, row: int) -> str:
    text = "" if pd.isna(value) else _plain(value)
    if not text:
        raise ValueBiasError(f"Row {row + 1} of the choices has no {name}; expected text.")
    return text


def _numbers(column: Any, name: str) -> np.ndarray[Any, Any]:
    """Read numbers; an empty cell is none."""
    out = np.empty(len(column))
    for i, value in enumerate(column):
        try:
            out[i] = np.nan if value is None or str(value).strip() in ("", "NA") else float(value)
        except (TypeError, ValueError) as error:
            raise ValueBiasError(
                f"Row {i + 1} of the choices has the {name} {shown(value)}; expected a number."
            ) from error
        if np.isinf(out[i]):
            raise ValueBiasError(
                f"Row {i + 1} of the choices has the {name} {shown(value)}; expected a finite "
                "number."
            )
    return out


def _of_trial(
    rows: pd.DataFrame, name: str, task: Any, place: Any, shape: tuple[int, ...]
) -> np.ndarray[Any, Any]:
    """Lay out what is known of trials, in which all models must agree."""
    texts = name in _TEXTS
    values = rows[name].to_numpy(dtype=object if texts else float)
    laid = np.full(shape, "" if texts else np.nan, dtype=object if texts else float)
    laid[task, place] = values
    there = laid[task, place]
    same = (there == values) | (~np.array(texts) & pd.isna(there) & pd.isna(values))
    if not same.all():
        row = rows[~same].iloc[0]
        raise ValueBiasError(
            f"Trial {row['trial']:g} of the task {row['task']!r} has the {name} "
            f"{shown(row[name])} for the model {row['model']!r} and another one for a second "
            "model. Give histories that differ tasks of different names."
        )
    return laid.astype("U") if texts else laid


def _of_unit(rows: pd.DataFrame, name: str, dim: str, labels: list[str]) -> np.ndarray[Any, Any]:
    found = rows.groupby(dim, sort=False)[name].unique()
    for label in labels:
        if len(found[label]) > 1:
            raise ValueBiasError(
                f"The {dim} {label!r} has more than one {name}: {few(found[label])}. Name the "
                f"{dim}s apart."
            )
    return np.array([found[label][0] for label in labels], dtype="U")


def validate_choices(ds: Any) -> xr.Dataset:
    """Check a dataset of choices, and give it back.

    Parameters
    ----------
    ds : xarray.Dataset
        What :func:`valuebias.choices` or :func:`valuebias.read_choices` returned, or a part of it.

    Returns
    -------
    xarray.Dataset
        The same.

    Raises
    ------
    ValueBiasError
        If it is none, an outcome is not finite or missing beside another, an option is paired with
        itself or was never shown before the transfer, or a choice is not between 0 and 1.

    Examples
    --------
    >>> validate_choices("choices.csv")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The choices are of type str; expected the dataset that
    valuebias.choices(scores, task) or valuebias.read_choices(path) gives.
    """
    if not isinstance(ds, xr.Dataset):
        raise ValueBiasError(
            f"The choices are of type {type(ds).__name__}; expected the dataset that "
            "valuebias.choices(scores, task) or valuebias.read_choices(path) gives."
        )
    dims = ("model", "task", "trial")
    lacking = [name for name in ("chose_first", *TRIAL_COORDS) if name not in ds.variables]
    if lacking or set(ds["chose_first"].dims) != set(dims):
        raise ValueBiasError(
            f"The dataset lacks {few(lacking) if lacking else 'a dimension of ' + str(dims)}; "
            "expected choices by model, task and trial, as valuebias.choices(scores, task) or "
            "valuebias.read_choices(path) gives them. Keep all dimensions where you select some: "
            "ds.sel(model=['name'])."
        )
    how = ds.attrs.get("how")
    check_known(how, HOW, f"How the choices came about, the attribute 'how', is {shown(how)}.")
    chose = ds["chose_first"].transpose(*dims).to_numpy()
    there = has_trial(ds)
    _check_trials({name: ds[name].transpose("task", "trial").to_numpy() for name in TRIAL_COORDS},
                  there, ds["task"].to_numpy())  # fmt: skip
    with np.errstate(invalid="ignore"):
        outside = (chose < 0) | (chose > 1)
    if outside.any():
        value = chose[outside][0]
        raise ValueBiasError(
            f"A choice is {value:g}; expected the probability of the first option, from 0 to 1."
        )
    if not (np.isfinite(chose) & there).any():
        raise ValueBiasError("There is no choice in the dataset; expected at least one.")
    return ds


def _check_trials(known: dict[str, Any], there: Any, tasks: Any) -> None:
    for t, i in np.argwhere(there):
        where = f"Trial {i + 1} of the task {str(tasks[t])!r}"
        at = {name: values[t, i] for name, values in known.items()}
        if at["phase"] not in PHASES:
            raise ValueBiasError(
                f"{where} is of the phase {shown(str(at['phase']))}. "
                f"{did_you_mean(str(at['phase']), PHASES)}"
            )
        if at["first"] == at["second"] or not at["first"] or not at["second"]:
            raise ValueBiasError(
                f"{where} offers {str(at['first'])!r} and {str(at['second'])!r}; expected two "
                "different options."
            )
        outcomes = np.array([at["first_outcome"], at["second_outcome"]], dtype=float)
        if np.isinf(outcomes).any() or np.isnan(outcomes).sum() == 1:
            raise ValueBiasError(
                f"{where} has the outcomes {outcomes[0]:g} and {outcomes[1]:g}; expected two "
                "finite numbers (complete feedback), or none in the transfer."
            )
        if at["phase"] == PHASES[0] and np.isnan(outcomes).any():
            raise ValueBiasError(
                f"{where} is of the training and has no outcomes; expected those of both options."
            )
    for t, task in enumerate(tasks):
        training = there[t] & (known["phase"][t] == PHASES[0])
        transfer = there[t] & (known["phase"][t] == PHASES[1])
        options = {str(o) for side in ("first", "second") for o in known[side][t][training]}
        offered = {str(o) for side in ("first", "second") for o in known[side][t][transfer]}
        if unseen := sorted(offered - options):
            raise ValueBiasError(
                f"The transfer of the task {str(task)!r} offers {few(unseen)}, of which its "
                f"training shows no outcome; the options there are {few(sorted(options))}."
            )
