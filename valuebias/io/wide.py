"""Read scores as the paper's authors release them: one table per model, one column per prompt."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.frames import as_frame, refuse_table
from valuebias._core.provenance import record
from valuebias._core.tables import read_table
from valuebias._core.text import has_surrogate
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean
from valuebias.instruments.lexicons import lexicon as as_lexicon
from valuebias.instruments.members import Lexicon
from valuebias.instruments.prompts import PromptSet
from valuebias.instruments.prompts import prompts as as_prompts
from valuebias.io.long_reading import Tables, dataset
from valuebias.io.naming import check_expected, files_by_model, only_table, unknown_model
from valuebias.io.numbers import check_decimal
from valuebias.io.own import is_long_table, own_rows
from valuebias.io.sheets import read_frame
from valuebias.io.wide_sheets import WideSheet, called_prompt, prompts_by_text
from valuebias.models.bases import Origin, followed, local_base, warn
from valuebias.schema import build
from valuebias.schema.narrowing import narrowed
from valuebias.schema.uncovered import uncovered

__all__ = ["bundled_models", "read_scores"]

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
    sheet: str | None = None,
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
        ``<anything>_rewards_<org>_<name>.csv`` are ``<org>/<name>``. A single file, also in a
        folder, may be a long table instead, as :func:`read` takes, that needs to say less of its
        models and prompts.
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
    kind : {"reward", "logprob", "implicit", "judged"}
        What was measured.
    partial : bool, default False
        Whether to read what there is where a folder has files of other kinds, or a folder, list
        or long table has no scores of models that `models` names; otherwise either is an error.
    decimal : {".", ","}, optional
        The decimal mark. Left out, a comma is one where no score of the file could be meant
        otherwise, as in ``1,5``; where all could (``1,234``), that is an error.
    ignore_case : bool, default False
        Whether "Love" is the "love" of the lexicon.
    sheet : str, optional
        The sheet to read of each .xlsx file. Left out, it is the only one that has any cells.

    Returns
    -------
    xarray.Dataset
        A dataset that follows the contract (:mod:`valuebias.schema`); models in the order of the
        files, words in that of the first file, prompts in that of the prompt set.

    Raises
    ------
    ValueBiasError
        If a file cannot be read, is empty, truncated, or has a cell that is no number; if files
        differ in their words or prompts; if a model, prompt or lexicon is unknown; if a file of a
        folder, or a model of the table, would be left out.

    Warns
    -----
    ValueBiasWarning
        If no base is known of some of several models, or more than a tenth of the words (and ten
        or more, of fewer than 5,000) are in no category of the lexicon.

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
    refuse_table(paths)
    models = as_frame(models)
    known, named = _known_models(models)
    words = as_lexicon(lexicon) if lexicon is not None else None
    beside = None if models is None or isinstance(models, pd.DataFrame) else Path(models).parent
    apart = [Path(one) for one in (models, prompts, lexicon) if isinstance(one, _PATHS)]
    path = _long_table(paths, sheet, apart, partial)
    if path is not None:
        description = _Described(path, known, beside, as_prompts(prompts))
        ds = dataset(
            own_rows(path, sheet),
            meta=None,
            kind=kind,
            name=str(path),
            described=description.described,
            lexicon=None
            if words is None
            else lambda responses: words.membership(responses, ignore_case=ignore_case),
            provenance=lambda: record(files=[path], details=description.details(words)),
        )
        if not partial:
            where = f"of which the table of scores {str(path)!r} has none"
            check_expected(named, ds["model"].values.tolist(), where)
        warn(dict(zip(ds["model"].values.tolist(), ds["base"].values.tolist(), strict=True)),
             stacklevel=2)  # fmt: skip
        return _covered(ds)
    files = files_by_model(
        paths,
        list(map(str, known.index)),
        expected=named,
        apart=apart,
        partial=partial,
    )
    prompt_set = as_prompts(prompts)
    sheets = {model: WideSheet(path, decimal, sheet) for model, path in files.items()}
    first = next(iter(sheets.values()))
    for one in sheets.values():
        one.name_prompts(prompt_set.table)
        one.check_alike(first)
    prompts_of_first = set(first.columns)
    names = [str(name) for name in prompt_set.table.index if str(name) in prompts_of_first]
    known_prompts = set(names)
    for column in first.columns:
        if column not in known_prompts:
            raise _no_prompt(first.name, f"column {column!r}", column, prompt_set)
    details: dict[str, Any] = {
        "prompts": {"name": prompt_set.name, "citation": prompt_set.citation}
    }
    if words is not None:
        details["lexicon"] = words.about()
    about, bases = _with_bases(known, list(sheets), beside)
    if bases:
        details["bases"] = bases
    warn(dict(zip(sheets, about["base"], strict=True)), stacklevel=2)
    ds = build(
        np.stack(
            [
                narrowed(one.scores(first.words, names)[None], [model])[0]
                for model, one in sheets.items()
            ]
        ),
        models=about.dropna(axis="columns", how="all"),
        prompts=prompt_set.table.loc[names],
        lexicon=words.membership(first.words, ignore_case=True) if words and ignore_case else words,
        responses=first.words,
        kind=kind,
        provenance=record(files=files.values(), details=details),
    )
    return _covered(ds)


def _covered(ds: xr.Dataset) -> xr.Dataset:
    """Warn of words that are in no category."""
    said = uncovered(ds)
    if said:
        warnings.warn(said, ValueBiasWarning, stacklevel=3)
    return ds


def bundled_models() -> pd.DataFrame:
    """Give the table of the ten reward models of the paper."""
    with resources.as_file(resources.files("valuebias") / "data" / "reward_models.csv") as path:
        return read_table(path, key="model")


def _known_models(models: _Path | pd.DataFrame | None) -> tuple[pd.DataFrame, list[str]]:
    """Join the user's table of models with the bundled one, and name those of the user's."""
    bundled = bundled_models()
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
    for column in table.columns:
        if has_surrogate(str(column)):
            raise ValueBiasError(
                f"The table of models has a column {column!r}, whose name is damaged text. Rename "
                "it."
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
    typed: dict[int, Any] = {}
    for i, column in enumerate(table.columns):
        # Not put into the table one by one, each of which would copy all others.
        typed[i] = cells = table[column].to_numpy()
        if column not in _TEXTS:
            given = [None if isinstance(cell, str) and not cell else cell for cell in cells]
            with suppress(TypeError, ValueError):
                typed[i] = pd.to_numeric(np.array(given, dtype=object))
    columns = pd.Index(list(table.columns), dtype=object)
    return pd.DataFrame(typed, index=table.index).set_axis(columns, axis=1)


def _long_table(
    paths: _Path | Sequence[_Path] | Mapping[str, _Path],
    sheet: str | None,
    apart: list[Path],
    partial: bool,
) -> Path | None:
    """Give the file, where it is one, or alone in a folder, and has a row a score."""
    if isinstance(paths, Mapping):
        return None
    listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if len(listed) == 1 and Path(listed[0]).is_dir():
        one = only_table(Path(listed[0]), apart, partial)
        listed = [] if one is None else [one]
    return Path(listed[0]) if len(listed) == 1 and is_long_table(Path(listed[0]), sheet) else None


class _Described:
    """What is told of a long table's models and prompts beside it."""

    def __init__(
        self, path: Path, known: pd.DataFrame, beside: Path | None, prompts: PromptSet
    ) -> None:
        self.path, self.known, self.beside, self.prompts = path, known, beside, prompts
        self._said: dict[str, Any] = {}

    def described(self, tables: Tables) -> Tables:
        """Add what the table does not say itself."""
        models = [str(name) for name in tables["model"].index]
        unknown = [model for model in models if model not in self.known.index]
        if not unknown:
            table, bases = _with_bases(self.known, models, self.beside)
            table = table.dropna(axis="columns", how="all")
            if bases:
                self._said["bases"] = bases
            more = [column for column in tables["model"] if column not in table]
            tables["model"] = pd.concat([table, tables["model"][more]], axis=1)
        elif not set(_COLUMNS) <= set(tables["model"]):
            raise unknown_model(f"The model {unknown[0]!r} of {self.path.name!r}", self.known.index)
        prompt_table = tables["prompt"]
        if not {"text", "framing"} <= set(prompt_table):
            by_text = prompts_by_text(self.prompts.table)
            called = [
                called_prompt(name, by_text, self.path.name)
                for name in map(str, prompt_table.index)
            ]
            for name, prompt in zip(prompt_table.index, called, strict=True):
                if prompt not in self.prompts.table.index:
                    raise _no_prompt(self.path.name, f"prompt {name!r}", str(name), self.prompts)
            self._said["prompts"] = {"name": self.prompts.name, "citation": self.prompts.citation}
            more = [column for column in prompt_table if column not in self.prompts.table]
            table = self.prompts.table.loc[called]
            tables["prompt"] = pd.concat(
                [table, prompt_table[more].set_axis(called, axis=0)], axis=1
            )
        return tables

    def details(self, words: Lexicon | None) -> dict[str, Any]:
        """Give what the provenance has to say."""
        return self._said if words is None else {**self._said, "lexicon": words.about()}


def _no_prompt(file: str, noun: str, name: str, prompts: PromptSet) -> ValueBiasError:
    said = (
        f"{file!r} has a {noun}, which is no prompt of the set {prompts.name!r}, nor a prompt's "
        "text. Give the right set as"
    )
    known = did_you_mean(name, [str(prompt) for prompt in prompts.table.index][:60])
    return ValueBiasError(f"{said} prompts=. {known}", in_shell=f"{said} --prompts. {known}")
