"""Read scores as the paper's authors release them: one table per model, one column per prompt."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.opening.formats import check_format
from valuebias._core.provenance import record
from valuebias._core.tables import read_table
from valuebias._core.text import as_number
from valuebias.errors import ValueBiasError, did_you_mean, few, shown
from valuebias.instruments.lexicons import Lexicon
from valuebias.instruments.lexicons import lexicon as as_lexicon
from valuebias.instruments.prompts import PromptSet
from valuebias.instruments.prompts import prompts as as_prompts
from valuebias.io.naming import files_by_model
from valuebias.io.numbers import NOT_SCORED, check_decimal, found_decimal, with_point
from valuebias.io.sheets import Sheet, read_frame, read_sheet
from valuebias.models.bases import Origin, followed, local_base, warn
from valuebias.schema import build

__all__ = ["read_scores"]

_WORDS = ("response", "word", "token")
_NO_NAME = ("", "index")
_PATHS = (str, os.PathLike)
_COLUMNS = ("family", "stage")
_TEXTS = (*_COLUMNS, "base")

_Path = str | os.PathLike[str]


def read_scores(
    paths: _Path | Sequence[_Path] | Mapping[str, _Path],
    *,
    models: _Path | pd.DataFrame | None = None,
    prompts: str | os.PathLike[str] | PromptSet | pd.DataFrame = "superlatives",
    lexicon: str | os.PathLike[str] | Lexicon | pd.DataFrame | None = None,
    kind: str = "reward",
    partial: bool = False,
    decimal: str | None = None,
    ignore_case: bool = False,
) -> xr.Dataset:
    r"""Read wide tables, one file per model.

    Parameters
    ----------
    paths : path, sequence of paths, or mapping of str to path
        A folder (all its tables, by name), a file, several files, or a mapping of model to file:
        ``.csv`` and ``.tsv`` (also ``.gz`` and ``.zst``; UTF-8, or UTF-16 with a byte-order mark),
        ``.parquet``, ``.feather`` or ``.xlsx``. The words are in the column ``response``, ``word``
        or ``token``, or in the first where that has no name; each further column, called by a
        prompt's name or text, has its scores. An empty cell, NA or NaN = not scored. Without a
        mapping the model is found from the file's name: ``<org>_<name>.csv`` and
        ``<anything>_rewards_<org>_<name>.csv`` are ``<org>/<name>``.
    models : DataFrame or path, optional
        What the models are: a table, or a file of one (YAML, too), with a column (or index)
        ``model`` and the columns ``family``, ``stage`` and, if known, ``base``, ``n_params`` and
        further coords.
        ``base`` is the very checkpoint that a model was trained from, size and version included:
        models of one base are not independent. Where it is left out it is what the model's files
        say, should they lie on this machine (a folder of the model's name, here or beside the
        table, or the hub's cache); of pretrained models it is the model itself; else it stays
        empty. The ten reward models of the paper are known already.
    prompts : str, path, PromptSet or DataFrame, default "superlatives"
        The prompt set that the columns belong to, as in :func:`valuebias.prompts`.
    lexicon : str, path, Lexicon or DataFrame, optional
        The word categories, as in :func:`valuebias.lexicon`. Left out, there are none.
    kind : {"reward", "logprob", "implicit"}
        What was measured.
    partial : bool, default False
        Whether to read what there is where a folder has files of other kinds, or lacks files of
        models that `models` names; otherwise either is an error.
    decimal : {".", ","}, optional
        The decimal mark. Left out, a comma is one where no score of the file could be meant
        otherwise, as in ``1,5``; where all could (``1,234``), that is an error.
    ignore_case : bool, default False
        Whether "Love" is the "love" of the lexicon.

    Returns
    -------
    xarray.Dataset
        A dataset that follows the contract (:mod:`valuebias.schema`); models in the order of the
        files, words in that of the first file, prompts in that of the prompt set.

    Raises
    ------
    ValueBiasError
        If a file cannot be read, is empty, truncated, or has a cell that is no number; if files
        differ in their words or prompts; if a model, prompt or lexicon is unknown; if a file or a
        model of a folder would be left out.

    Warns
    -----
    ValueBiasWarning
        If no base is known of some of several models.

    Notes
    -----
    Layout of https://github.com/brchristian/reward_models_inherit_value_biases_from_pretraining,
    folder ``data/reward_model_scores``.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "mine_rewards_org_tiny.csv"
    >>> _ = path.write_text("response,best_ever_one,bad_ever_one\nwin,1.5,-1\nlove,2,0.25\n")
    >>> about = pd.DataFrame({"family": ["Gemma"], "base": ["google/gemma-2-2b-it"],
    ...                       "stage": ["reward"]}, index=["org/tiny"])
    >>> ds = read_scores(path, models=about)
    >>> ds["model"].values.tolist(), ds["score"].sel(prompt="bad_ever_one").values.tolist()
    (['org/tiny'], [[-1.0, 0.25]])
    """
    check_decimal(decimal)
    known, named = _known_models(models)
    files = files_by_model(
        paths,
        list(map(str, known.index)),
        expected=named,
        apart=[Path(one) for one in (models, prompts, lexicon) if isinstance(one, _PATHS)],
        partial=partial,
    )
    prompt_set = as_prompts(prompts)
    sheets = {model: _Wide(path, decimal) for model, path in files.items()}
    first = next(iter(sheets.values()))
    for sheet in sheets.values():
        sheet.name_prompts(prompt_set.table)
        sheet.check_alike(first)
    prompts_of_first = set(first.columns)
    names = [str(name) for name in prompt_set.table.index if str(name) in prompts_of_first]
    known_prompts = set(names)
    for column in first.columns:
        if column not in known_prompts:
            said = (
                f"{first.name!r} has a column {column!r}, which is no prompt of the set "
                f"{prompt_set.name!r}, nor a prompt's text."
            )
            known_to_set = [str(p) for p in prompt_set.table.index][:60]
            raise ValueBiasError(
                f"{said} Give the right set as prompts=. {did_you_mean(column, known_to_set)}",
                in_shell=f"{said} Give the right set as --prompts. "
                f"{did_you_mean(column, known_to_set)}",
            )
    words = as_lexicon(lexicon) if lexicon is not None else None
    details = {"prompts": {"name": prompt_set.name, "citation": prompt_set.citation}}
    if words is not None:
        details["lexicon"] = words.about()
    beside = None if models is None or isinstance(models, pd.DataFrame) else Path(models).parent
    about, bases = _with_bases(known, list(sheets), beside)
    if bases:
        details["bases"] = bases
    warn(dict(zip(sheets, about["base"], strict=True)), stacklevel=2)
    return build(
        np.stack([sheet.scores(first.words, names) for sheet in sheets.values()]),
        models=about.dropna(axis="columns", how="all"),
        prompts=prompt_set.table.loc[names],
        lexicon=words.membership(first.words, ignore_case=True) if words and ignore_case else words,
        responses=first.words,
        kind=kind,
        provenance=record(files=files.values(), details=details),
    )


def _known_models(models: _Path | pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Join the user's table of models with the bundled one, and name those of the user's."""
    with resources.as_file(resources.files("valuebias") / "data" / "reward_models.csv") as path:
        bundled = read_table(path, key="model")
    if models is None:
        return bundled, []
    if isinstance(models, pd.DataFrame):
        table = models.set_index("model") if "model" in models.columns else models
    elif Path(models).suffix.lower() in (".yaml", ".yml"):
        table = _typed(read_table(models, key="model"))
    else:
        table = _typed(read_frame(Path(models), key="model"))
    for column in _COLUMNS:
        if column not in table.columns:
            raise ValueBiasError(
                f"The table of models has no column {column!r}; found {list(table.columns)}. "
                "It needs family and stage, and may have base, n_params and more."
            )
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise ValueBiasError(f"The table of models has {twice[0]!r} more than once.")
    base = table["base"] if "base" in table.columns else pd.Series("", index=table.index)
    base = base.where(base.notna() & (base != ""), bundled["base"].reindex(table.index))
    table = table.assign(base=base.fillna(""))
    others = bundled.loc[[model for model in bundled.index if model not in set(table.index)]]
    return pd.concat([table, others]), list(map(str, table.index))


def _with_bases(
    known: pd.DataFrame, names: list[str], beside: Path | None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Fill in what models were trained from: give their rows, and what names each base."""
    bases = {str(name): str(base) for name, base in known["base"].items()}
    base_of = {}
    for name in (name for name in names if not bases[name]):
        origin = local_base(name, beside)
        if not origin.base and known.loc[name, "stage"] == "pretrained":
            origin = Origin(name, "its stage")
        if origin.base:
            bases[name], base_of[name] = origin.base, origin.said_by
    bases |= {name: followed(bases[name], bases) for name in base_of}
    return known.loc[names].assign(base=[bases[name] for name in names]), base_of


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the further columns that hold nothing but numbers into numbers."""
    typed: dict[str, Any] = {}
    for column in table.columns:
        # Not put into the table one by one, each of which would copy all others.
        typed[column] = cells = table[column].to_numpy()
        if column not in _TEXTS:
            given = [None if isinstance(cell, str) and not cell else cell for cell in cells]
            with suppress(TypeError, ValueError):
                typed[column] = pd.to_numeric(np.array(given, dtype=object))
    return pd.DataFrame(typed, index=table.index)


class _Wide:
    """One table of words and prompts."""

    def __init__(self, path: Path, decimal: str | None) -> None:
        check_format(path)
        sheet = read_sheet(path)
        self.name, self.decimal = path.name, decimal
        at = _place_of_words(sheet)
        # Row numbers stand before the words, and behind all else an empty column may.
        kept = [
            j
            for j, column in enumerate(sheet.header)
            if j != at
            and (column or any(row[j].strip() for row in sheet.rows))
            and (column or j > at or not _are_row_numbers(sheet, j))
        ]
        self.columns = [sheet.header[j] for j in kept]
        self.rows = sheet.rows
        if kept != list(range(1, len(sheet.header))):
            self.rows = [[row[at], *(row[j] for j in kept)] for row in sheet.rows]
        if not self.columns:
            raise ValueBiasError(f"{str(path)!r} has no column of scores.")
        self.words = [row[0] for row in self.rows]
        self.place = {word: i for i, word in enumerate(self.words)}
        if len(self.place) < len(self.words):
            twice = next(w for i, w in enumerate(self.words) if self.place[w] != i)
            raise ValueBiasError(f"{str(path)!r} has the word {twice!r} more than once.")

    def name_prompts(self, table: pd.DataFrame) -> None:
        """Take a column that is called by a prompt's text as that prompt's."""
        names = set(map(str, table.index))
        if names.issuperset(self.columns):
            return
        by_text: dict[str, list[str]] = {}
        for name, text in zip(table.index, table["text"], strict=True):
            by_text.setdefault(" ".join(str(text).split()), []).append(str(name))
        called: dict[str, str] = {}
        for i, column in enumerate(self.columns):
            meant = [column] if column in names else by_text.get(" ".join(column.split()), [column])
            if len(meant) > 1:
                raise ValueBiasError(
                    f"{self.name!r} has a column {shown(column)}, which is the text of several "
                    f"prompts: {few(meant)}. Call it by the prompt's name."
                )
            if meant[0] in called:
                raise ValueBiasError(
                    f"{self.name!r} has two columns of the prompt {meant[0]!r}: "
                    f"{shown(called[meant[0]])} and {shown(column)}. Leave one out."
                )
            called[meant[0]] = column
            self.columns[i] = meant[0]

    def check_alike(self, first: _Wide) -> None:
        """Demand the words and prompts of the first file."""
        for noun, mine, theirs in (
            ("word", self.words, first.words),
            ("prompt", self.columns, first.columns),
        ):
            differing = sorted(set(mine) ^ set(theirs))
            if differing:
                has, lacks = self.name, first.name
                if differing[0] in set(theirs):
                    has, lacks = lacks, has
                said = (
                    f"{has!r} has the {noun} {differing[0]!r}, which {lacks!r} lacks "
                    f"({len(differing)} such)."
                )
                raise ValueBiasError(
                    f"{said} Read the files one by one and join them with "
                    "valuebias.schema.concat(..., join='outer').",
                    in_shell=f"{said} Give all files the same {noun}s; leave cells without a score "
                    "empty.",
                )

    def scores(self, words: Sequence[str], prompts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Give the scores as (prompt, response)."""
        values = np.empty((len(self.rows), len(self.columns)), dtype=np.float32)
        for i, row in enumerate(self.rows):
            with np.errstate(over="ignore"):  # an overflow becomes infinite, named by validate()
                values[i] = self._numbers(i, row[1:])
        rows = [self.place[word] for word in words]
        place = {prompt: j for j, prompt in enumerate(self.columns)}
        columns = [place[prompt] for prompt in prompts]
        return values[np.ix_(rows, columns)].T

    def _numbers(self, row: int, cells: list[str]) -> npt.NDArray[np.float32] | list[float]:
        """Leave numbers to NumPy, which is fast, where all cells seem to be numbers."""
        given, joined = cells, "".join(cells)
        if self.decimal is None and "," in joined:
            self.decimal = found_decimal((c for r in self.rows for c in r[1:]), self.name)
        if self.decimal == ",":
            cells = [with_point(cell) for cell in cells]
        with suppress(ValueError):
            # It takes what Python does, too, such as 1_000 and other scripts' digits.
            if "_" not in joined and joined.isascii():
                return np.array(cells, dtype=np.float32)
        return [self._number(cell, given[j], row, j) for j, cell in enumerate(cells)]

    def _number(self, cell: str, given: str, row: int, column: int) -> float:
        if given.strip().lower() in NOT_SCORED:
            return np.nan
        number = as_number(cell)
        if number is None:
            mark = " with a decimal comma" if self.decimal == "," else ""
            raise ValueBiasError(
                f"{self.name!r} has {given!r} for the word {self.words[row]!r} and the prompt "
                f"{self.columns[column]!r}; expected a number{mark}, or nothing where there is "
                "none."
            )
        return number


def _place_of_words(sheet: Sheet) -> int:
    """Find the column of the words: by its name, or the first where that has none."""
    lowered = [column.lower() for column in sheet.header]
    if {"model", "prompt", "score"} <= set(lowered):
        raise ValueBiasError(
            f"{sheet.name!r} is a long table, a row a score, not one model's words and prompts. "
            f"Read it with valuebias.read({sheet.name!r}, kind='reward').",
            in_shell=f"{sheet.name!r} is a long table, a row a score, not one model's words and "
            f"prompts. Fit it as it is: valuebias fit {shlex.quote(sheet.name)} --kind reward",
        )
    named = [j for j, column in enumerate(lowered) if column in _WORDS]
    if "response" in sheet.header or len(named) == 1:
        return sheet.header.index("response") if "response" in sheet.header else named[0]
    if named:
        raise ValueBiasError(
            f"{sheet.name!r} has the columns {few(sheet.header[j] for j in named)}, each of which "
            "may be the words. Call the right one 'response', and leave the others out."
        )
    if lowered[0] not in _NO_NAME:
        raise ValueBiasError(
            f"The first column of {sheet.name!r} is {sheet.header[0]!r}; expected 'response', "
            "'word' or 'token', or no name, over the words."
        )
    if len(sheet.rows) > 1 and _are_row_numbers(sheet, 0):
        raise ValueBiasError(
            f"The first column of {sheet.name!r} has the numbers of the rows, and none has the "
            "words. Write the table with its words, under 'response'."
        )
    return 0


def _are_row_numbers(sheet: Sheet, column: int) -> bool:
    cells = [row[column].strip() for row in sheet.rows]
    return cells in ([str(i + start) for i in range(len(cells))] for start in (0, 1))
