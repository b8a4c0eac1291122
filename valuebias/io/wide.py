"""Read scores as the paper's authors release them: one CSV per model, one column per prompt."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.provenance import record
from valuebias._core.tables import parse_csv, read_table, read_text
from valuebias._core.text import as_number
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.instruments.lexicons import Lexicon
from valuebias.instruments.lexicons import lexicon as as_lexicon
from valuebias.instruments.prompts import PromptSet
from valuebias.instruments.prompts import prompts as as_prompts
from valuebias.models.bases import Origin, followed, local_base, warn
from valuebias.schema import build

__all__ = ["read_scores"]

_MARK = "_rewards_"
_NOT_SCORED = ("", "na", "nan", "null", "none")
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
) -> xr.Dataset:
    r"""Read wide CSVs, one file per model.

    Parameters
    ----------
    paths : path, sequence of paths, or mapping of str to path
        A folder (all its ``.csv`` files, by name), a file, several files, or a mapping of model to
        file. The first column of a file, ``response``, has the words; each further column, named
        as a prompt, the scores. An empty cell, NA or NaN = not scored. Without a mapping the model
        is found from the file's name: ``<anything>_rewards_<org>_<name>.csv`` is ``<org>/<name>``.
    models : DataFrame or path, optional
        What the models are: a table, or a CSV or YAML file, with a column (or index) ``model`` and
        the columns ``family``, ``stage`` and, if known, ``base``, ``n_params`` and further coords.
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

    Returns
    -------
    xarray.Dataset
        A dataset that follows the contract (:mod:`valuebias.schema`); models in the order of the
        files, words in that of the first file, prompts in that of the prompt set.

    Raises
    ------
    ValueBiasError
        If a file cannot be read, is empty, truncated, or has a cell that is no number; if files
        differ in their words or prompts; if a model, prompt or lexicon is unknown.

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
    known = _known_models(models)
    files = _by_model(paths, known)
    prompt_set = as_prompts(prompts)
    sheets = {model: _Sheet(path) for model, path in files.items()}
    first = next(iter(sheets.values()))
    for sheet in sheets.values():
        sheet.check_alike(first)
    prompts_of_first = set(first.columns)
    names = [str(name) for name in prompt_set.table.index if str(name) in prompts_of_first]
    known_prompts = set(names)
    for column in first.columns:
        if column not in known_prompts:
            raise ValueBiasError(
                f"{first.name!r} has a column {column!r}, which is no prompt of the set "
                f"{prompt_set.name!r}. Give the right set as prompts=. "
                f"{did_you_mean(column, [str(p) for p in prompt_set.table.index][:60])}"
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
        lexicon=words,
        responses=first.words,
        kind=kind,
        provenance=record(files=files.values(), details=details),
    )


def _known_models(models: _Path | pd.DataFrame | None) -> pd.DataFrame:
    """Join the user's table of models with the bundled one; the user's goes first."""
    with resources.as_file(resources.files("valuebias") / "data" / "reward_models.csv") as path:
        bundled = read_table(path, key="model")
    if models is None:
        return bundled
    if isinstance(models, pd.DataFrame):
        table = models.set_index("model") if "model" in models.columns else models
    else:
        table = _typed(read_table(models, key="model"))
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
    return pd.concat([table, others])


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


def _by_model(
    paths: _Path | Sequence[_Path] | Mapping[str, _Path], known: pd.DataFrame
) -> dict[str, Path]:
    if isinstance(paths, Mapping):
        for model in paths:
            if model not in known.index:
                raise _unknown(f"The model {model!r}", known)
        files = {str(model): Path(path) for model, path in paths.items()}
    else:
        files = {}
        for path in _listed(paths):
            model = _model_of(path, known)
            if model in files:
                raise ValueBiasError(
                    f"{files[model].name!r} and {path.name!r} are both of the model {model!r}. "
                    "Leave one out, or give a mapping of model to file."
                )
            files[model] = path
    if not files:
        raise ValueBiasError("No files were given; expected at least one CSV.")
    return files


def _listed(paths: _Path | Sequence[_Path]) -> list[Path]:
    if not isinstance(paths, str | os.PathLike):
        return [Path(path) for path in paths]
    path = Path(paths)
    if not os.path.isdir(path):
        return [path]
    files = sorted(path.glob("*.csv"))
    if not files:
        raise ValueBiasError(f"The folder {str(path)!r} has no .csv files.")
    return files


def _model_of(path: Path, known: pd.DataFrame) -> str:
    # Either half may have underscores, so every split is tried against the table.
    slug = path.stem.partition(_MARK)[2] or path.stem
    parts = slug.split("_")
    tried = [slug, *("_".join(parts[:i]) + "/" + "_".join(parts[i:]) for i in range(1, len(parts)))]
    for model in tried:
        if model in known.index:
            return model
    raise _unknown(f"The model {tried[1 % len(tried)]!r} (of the file {path.name!r})", known)


def _unknown(noun: str, known: pd.DataFrame) -> ValueBiasError:
    return ValueBiasError(
        f"{noun} is unknown. Describe it: models=pandas.DataFrame({{'family': ['Gemma'], "
        "'base': ['google/gemma-2-2b-it'], 'stage': ['reward'], 'n_params': [2.6e9]}, "
        "index=['<org>/<name>']), "
        "or a CSV or YAML file with the columns model, family, base, stage and n_params. "
        f"Known: {', '.join(map(str, known.index))}."
    )


class _Sheet:
    """One wide CSV."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        header, self.rows = parse_csv(read_text(path), str(path))
        if header[0] != "response":
            raise ValueBiasError(
                f"The first column of {str(path)!r} is {header[0]!r}; expected 'response'."
            )
        self.columns = header[1:]
        if not self.columns:
            raise ValueBiasError(f"{str(path)!r} has no column of scores.")
        self.words = [row[0] for row in self.rows]
        self.place = {word: i for i, word in enumerate(self.words)}
        if len(self.place) < len(self.words):
            twice = next(w for i, w in enumerate(self.words) if self.place[w] != i)
            raise ValueBiasError(f"{str(path)!r} has the word {twice!r} more than once.")

    def check_alike(self, first: _Sheet) -> None:
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
                raise ValueBiasError(
                    f"{has!r} has the {noun} {differing[0]!r}, which {lacks!r} lacks "
                    f"({len(differing)} such). Read the files one by one and join them with "
                    "valuebias.schema.concat(..., join='outer')."
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
        with suppress(ValueError):
            # It takes what Python does, too, such as 1_000 and other scripts' digits.
            if "_" not in (joined := "".join(cells)) and joined.isascii():
                return np.array(cells, dtype=np.float32)
        return [self._number(cell, row, j) for j, cell in enumerate(cells)]

    def _number(self, cell: str, row: int, column: int) -> float:
        if cell.strip().lower() in _NOT_SCORED:
            return np.nan
        number = as_number(cell)
        if number is None:
            raise ValueBiasError(
                f"{self.name!r} has {cell!r} for the word {self.words[row]!r} and the prompt "
                f"{self.columns[column]!r}; expected a number, or nothing where there is none."
            )
        return number
