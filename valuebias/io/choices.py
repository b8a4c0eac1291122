"""Read choices that others recorded, from long tables: ``valuebias.read_choices(path)``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known
from valuebias._core.foreign import reading
from valuebias._core.frames import as_frame
from valuebias._core.tables import parse_csv, read_text
from valuebias.errors import ValueBiasError, few, shown
from valuebias.schema.choices import HOW, TRIAL_COORDS, build_choices

__all__ = ["CHOICE_COLUMNS", "read_choices"]

CHOICE_COLUMNS = (
    "model", "family", "base", "stage", "style", "task", "trial", *TRIAL_COORDS, "choice",
    "p_first",
)  # fmt: skip
"""The columns of a long table of choices."""


def read_choices(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    columns: Mapping[str, str] | None = None,
    constant: Mapping[str, str] | None = None,
    how: str = "observed",
) -> xr.Dataset:
    """Read choices between two options from a long table: one row per model, task and trial.

    Parameters
    ----------
    source : str, path or DataFrame
        A CSV file (``.csv``, ``.tsv``, also ``.gz``) or a table.
    columns : mapping of str to str, optional
        What the table calls each of our columns: ``{"choice": "response", "task": "run"}``.
        Needed are ``model``, ``task``, ``trial`` (numbers in order), ``first`` and ``second`` (the
        options offered, by any names that are the same throughout a task), ``first_outcome`` and
        ``second_outcome`` (both, or empty in the transfer), and ``choice`` (the name of an option;
        empty where none was chosen) or ``p_first`` (the probability of the first). Optional are
        ``phase`` ("training" or "transfer"; where outcomes are told, training, if not given),
        ``context`` (what options are trained together; the pair, if not given), ``first_value`` and
        ``second_value`` (expected outcomes), ``style`` (the prompt), ``family``, ``base`` and
        ``stage``.
    constant : mapping of str to str, optional
        Columns that the table lacks and that are the same in all rows: ``{"model": "m"}``.
    how : {"observed", "sampled", "expected"}
        What the choices are: with ``p_first``, as a rule ``"expected"``.

    Returns
    -------
    xarray.Dataset
        Choices, as :func:`valuebias.choices` gives them.

    Raises
    ------
    ValueBiasError
        If the file cannot be read, a column is missing, a choice is not one of the options, an
        outcome is not finite, or a history names an option that was not offered.

    Examples
    --------
    >>> table = pd.DataFrame({
    ...     "run": "1", "t": [1, 2], "first": "a", "second": "b", "first_outcome": [10, 0],
    ...     "second_outcome": [0, 10], "response": ["a", "b"],
    ... })
    >>> named = {"task": "run", "trial": "t", "choice": "response"}
    >>> read_choices(table, columns=named, constant={"model": "m"})["chose_first"].shape
    (1, 1, 2)
    """
    check_known(how, HOW, f"how is {shown(how)}.")
    table = as_frame(source)
    name = "the table"
    if isinstance(table, str | os.PathLike):
        name = repr(os.fspath(table))
        with reading(Path(table), advice="Give a CSV file with a row per choice."):
            header, rows = parse_csv(read_text(table), os.fspath(table))
            table = pd.DataFrame(rows, columns=pd.Index(header, dtype=object), dtype=object)
    if not isinstance(table, pd.DataFrame):
        raise ValueBiasError(
            f"The choices are of type {type(source).__name__}; expected a CSV file or a table."
        )
    for ours in (*(columns or {}), *(constant or {})):
        check_known(ours, CHOICE_COLUMNS, f"Choices have no column {shown(ours)}.")
    for ours, theirs in (columns or {}).items():
        if theirs not in table:
            raise ValueBiasError(
                f"{name[0].upper()}{name[1:]} has no column {shown(theirs)}, which was given for "
                f"{ours!r}; found {few(map(str, table))}."
            )
    named = {theirs: ours for ours, theirs in (columns or {}).items()}
    # What is called like one of ours and stands for another would be there twice.
    table = table.drop(columns=[c for c in table if c in (columns or {}) and c not in named])
    table = table.rename(columns=named).assign(**(constant or {}))
    table = table[[column for column in table if column in CHOICE_COLUMNS]]
    return build_choices(table, how=how)
