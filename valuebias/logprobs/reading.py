"""Read log-probs as the paper's authors release them: one CSV per model, one row per token."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.folder_names import check_apart, folder_of
from valuebias._core.foreign import reading
from valuebias._core.provenance import record
from valuebias._core.text import without_nul
from valuebias.errors import ValueBiasError
from valuebias.instruments.prompts import PromptSet
from valuebias.instruments.prompts import prompts as as_prompts
from valuebias.logprobs.vocabularies import with_own_spaces
from valuebias.models.bases import local_base, warn
from valuebias.models.hub_files import FileRef, HubFile, fetched, file_refs
from valuebias.models.spec import Model, read_models
from valuebias.schema import build
from valuebias.schema.contract import SCHEMA, check_unique

__all__ = ["read_logprobs"]

_Path = str | os.PathLike[str]

_COLUMNS = ("token_id", "token_name", "token_decoded")
_NOT_SCORED = ["", "NA", "NaN", "nan", "null", "None"]
_ROWS = 2**14
"""Rows read at a time: about a megabyte for each prompt column's text."""


def read_logprobs(
    paths: _Path | Sequence[_Path] | Mapping[str, _Path],
    *,
    models: Any = "christian2026-lms",
    prompts: str | os.PathLike[str] | PromptSet | pd.DataFrame = "superlatives",
    download: bool = True,
) -> xr.DataTree:
    r"""Read log-probs of whole vocabularies from CSV files, one per model.

    Parameters
    ----------
    paths : path, sequence of paths, or mapping of str to path
        A folder (all its ``.csv`` files, by name), a file, several files, or a mapping of model to
        file. ``"hf://datasets/<owner>/<name>@<revision>"`` names a dataset on the Hugging Face hub,
        and with ``/<file>.csv`` after it one of its files; the revision is a commit. The columns
        are ``token_id``, ``token_name`` (raw), ``token_decoded`` (the text), then one per prompt,
        with log-probs in nats. A text without the space of its SentencePiece token ("love" for
        "▁love"), as decoding it alone gives, is read with it; the provenance says how many.
        Without a mapping the model is the one whose name is in the file's name, with any signs in
        the place of ``/`` and ``.``.
    models : Model, str, path, mapping, DataFrame, or sequence of these
        What the models are, as :func:`valuebias.read_models` takes it; the family is needed. The
        base is what is given, or else what files on this machine say, as in
        :func:`valuebias.read_scores`. By default the twelve language models of the paper.
    prompts : str, path, PromptSet or DataFrame, default "superlatives"
        The prompt set that the columns belong to, as in :func:`valuebias.prompts`. Columns of other
        prompts are not read.
    download : bool, default True
        Whether files on the hub may be downloaded that its local cache lacks.

    Returns
    -------
    xarray.DataTree
        One group per model, as :func:`valuebias.read_vocabulary` gives; for
        :func:`valuebias.align`.

    Raises
    ------
    ValueBiasError
        If a file cannot be read, lacks a column, has a cell that is not a number, the same token
        twice or no prompt of the set; if a model is unknown, or not fully described; or if a
        dataset on the hub is given without a commit, is not there, or cannot be downloaded.

    Warns
    -----
    ValueBiasWarning
        If the base of some of several models is not known.

    Notes
    -----
    Layout of the dataset Oxford-HIPlab/iclr2026-lm-logprobs on the Hugging Face hub, of about 2 GB.
    Its commits stand at https://huggingface.co/datasets/<owner>/<name>/commits/main. The hub is
    read with ``pip install "valuebias[hub]"``; files are fetched one after another, once, into its
    own cache. Tokens such as "NaN" and "null" are read as the text they are. Rows are read some at
    a time, so that memory holds the numbers and little else.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "google_gemma-2-2b_logprobs.csv"
    >>> _ = path.write_text(
    ...     "token_id,token_name,token_decoded,best_ever_one\n0,NaN,NaN,-0.5\n1,_a, a,-1\n"
    ... )
    >>> ds = read_logprobs(path)["google--gemma-2-2b"]
    >>> ds["decoded"].values.tolist(), ds["score"].values.tolist()
    (['NaN', ' a'], [[[-0.5, -1.0]]])
    """
    known = {model.name: model for model in read_models(models)}
    prompt_set = as_prompts(prompts)
    groups = {}
    files_by_model = file_refs(paths, known, download=download)
    check_apart(files_by_model, "model")
    for name, file in files_by_model.items():
        groups[folder_of(name)] = _read(file, known[name], prompt_set, download=download)
    bases = {str(ds["model"].item()): str(ds["base"].item()) for ds in groups.values()}
    warn(bases, stacklevel=2)
    root = xr.Dataset(attrs={"schema": SCHEMA, "kind": "logprob", "units": "nat"})
    return xr.DataTree.from_dict({"/": root, **groups})


def _read(file: FileRef, model: Model, prompts: PromptSet, *, download: bool) -> xr.Dataset:
    path = fetched(file, download=download)
    names = _prompts_of(path, prompts)
    ids, scores = [], []
    tokens: list[str] = []
    texts: list[str] = []
    mended = 0
    with (
        reading(
            path,
            verb="read as log-probs",
            because="a cell is not of its column's kind, or it is damaged",
            advice="Expected whole numbers in token_id and a number, or nothing, in each prompt's "
            "column.",
        ),
        pd.read_csv(
            path,
            usecols=[*_COLUMNS, *names],
            dtype={"token_id": np.int64, "token_name": object, "token_decoded": object}
            | dict.fromkeys(names, np.float32),
            keep_default_na=False,
            na_values=dict.fromkeys(names, _NOT_SCORED),
            chunksize=_ROWS,
            encoding_errors="surrogatepass",
        ) as chunks,
    ):
        for chunk in chunks:
            ids.append(chunk["token_id"].to_numpy())
            names_ = [without_nul(token) for token in chunk["token_name"]]
            spaced, lacking = with_own_spaces(names_, chunk["token_decoded"].tolist())
            tokens += names_
            texts += map(without_nul, spaced)
            mended += lacking
            scores.append(chunk[names].to_numpy(dtype=np.float32).T)
    token_ids = np.concatenate(ids) if ids else np.empty(0, dtype=np.int64)
    check_unique([str(token) for token in token_ids.tolist()], f"token id of {path.name!r}")
    details: dict[str, Any] = {"spaces_put_back": mended} if mended else {}
    if isinstance(file, HubFile):
        about = {"dataset": file.repository, "revision": file.commit, "file": file.name}
        details["hub"] = about
    ds = build(
        np.concatenate(scores, axis=1)[None] if scores else np.empty((1, len(names), 0)),
        models=pd.DataFrame([_about(model)], index=[model.name]),
        prompts=prompts.table.loc[names],
        responses=_unique(tokens, token_ids),
        kind="logprob",
        provenance=record(files=[path], details=details),
    )
    return ds.assign_coords(
        token_id=("response", token_ids), decoded=("response", np.array(texts, dtype="U"))
    )


def _prompts_of(path: Path, prompts: PromptSet) -> list[str]:
    with reading(path, because="it is not CSV", advice="Check the path."):
        columns = [str(name) for name in pd.read_csv(path, nrows=0).columns]
    for name in _COLUMNS:
        if name not in columns:
            raise ValueBiasError(
                f"{str(path)!r} has no column {name!r}; found {columns[:5]}. Expected "
                f"{', '.join(_COLUMNS)} and one column per prompt."
            )
    known = set(columns)
    names = [str(name) for name in prompts.table.index if str(name) in known]
    if not names:
        raise ValueBiasError(
            f"{str(path)!r} has no column of the prompt set {prompts.name!r}; found "
            f"{columns[3:8]}. Give the right set as prompts=."
        )
    return names


def _about(model: Model) -> dict[str, Any]:
    coords = dict(model.coords())
    if "family" not in coords:
        raise ValueBiasError(
            f"The model {model.name!r} has no family; it is not guessed here, because no "
            "configuration is read. Give family= in models=."
        )
    coords.setdefault("stage", "pretrained" if model.template == "plain" else "instruct")
    if "base" not in coords:
        stated = local_base(model.location).base or local_base(model.name).base
        coords["base"] = stated or (model.name if coords["stage"] == "pretrained" else "")
    return coords


def _unique(tokens: Sequence[str], ids: np.ndarray) -> list[str]:
    """Make tokens' names distinct by their ids; a nameless token gets its id alone."""
    seen: dict[str, int] = {}
    for token in tokens:
        seen[token] = seen.get(token, 0) + 1
    return [
        token if token and seen[token] == 1 else f"{token} (id {number})"
        for token, number in zip(tokens, ids.tolist(), strict=True)
    ]
