"""Read the scores of whole vocabularies."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

import xarray as xr

from valuebias._core.atomic import restore
from valuebias._core.opening.zarr_folders import check_zarr
from valuebias._core.summed_zarr import open_checked
from valuebias._core.sums import DamagedError
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.io.files import shard_in, unescape_texts
from valuebias.scoring.model_scores import ModelScores
from valuebias.scoring.store import LAZY, attrs_of, groups_of

__all__ = ["read_vocabulary"]


def read_vocabulary(path: str | PathLike[str]) -> xr.DataTree:
    """Read the scores of whole vocabularies.

    Parameters
    ----------
    path : str or path-like
        A store that ``valuebias.score(..., lexicon="vocabulary", store=path)`` made.

    Returns
    -------
    xarray.DataTree
        One group per model, named after it with ``--`` for ``/`` (and ``%3A`` for a colon, and so
        on for what not every system allows in the name of a folder); the coord ``model`` has the
        name as it was given. Each is a dataset that follows the contract of
        :mod:`valuebias.schema`, without categories. ``response`` is the token as the tokenizer
        writes it; the coords ``token_id`` and ``decoded`` (the text it stands for within a text,
        with U+2400 for NUL) lie along it. Scores are read from disk when they are used.

    Raises
    ------
    ValueBiasError
        If there is no such store, nothing in it is scored yet, or it is damaged: the message names
        the file. Scores are compared with their checksum when they are used.

    Warns
    -----
    ValueBiasWarning
        If the store is unfinished, or of one shard. Missing scores are NaN; models without any are
        left out.

    Examples
    --------
    >>> read_vocabulary("nowhere.zarr")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: There is no store 'nowhere.zarr'. Check the path.
    """
    source = Path(path)
    if not restore(source):
        raise ValueBiasError(f"There is no store {str(source)!r}. Check the path.")
    check_zarr(source, lazily=LAZY)
    nodes, todo, total = {}, 0, 0
    for name in sorted(groups_of(source)):
        folder = source / name
        if not folder.is_dir():
            raise DamagedError(
                f"{str(folder)!r} is missing, with the scores of one model. Copy the store again, "
                "or run the same valuebias.score(...) again to make it again."
            )
        model_scores = ModelScores(folder, 0)
        marks = len(list((folder / "score").glob(".finished.*")))
        todo, total = todo + len(model_scores.blocks) - marks, total + len(model_scores.blocks)
        if marks:
            nodes[name] = unescape_texts(open_checked(folder).drop_encoding())
    attrs = attrs_of(source)
    shard = shard_in(attrs)
    if not nodes and shard:
        raise ValueBiasError(
            f"{str(source)!r} is {shard} and holds no scores of a vocabulary, or none yet; "
            "valuebias.read reads the scores of lexicons."
        )
    if not nodes:
        raise ValueBiasError(
            f"Nothing in {str(source)!r} is scored yet, or it holds no whole vocabularies; "
            "valuebias.read reads the scores of lexicons."
        )
    if todo:
        what, how = "unfinished", "Run the same valuebias.score(...) again to go on."
        if shard:
            what = f"a part of the scores ({shard})"
            how = "valuebias.merge(stores, out=...) puts all shards together, once they are done."
        warnings.warn(
            f"{str(source)!r} is {what}: {todo} of {total} blocks are missing. {how}",
            ValueBiasWarning,
            stacklevel=2,
        )
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs), **nodes})
