"""Lexicons: words by category."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.checks import check_number
from valuebias._core.fetch import fetch, registry, released
from valuebias._core.frames import as_frame
from valuebias._core.tables import read_text
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few
from valuebias.instruments.formats import EMPTY, LEFT_OUT, parse, table_of
from valuebias.instruments.installed import elsewhere, find, is_named, packages
from valuebias.instruments.members import Lexicon
from valuebias.instruments.terms import warn_unmatchable
from valuebias.schema.weights import check_weights, marks_or_weights

__all__ = ["lexicon", "lexicon_names"]

_DEFAULT = "agency-communion"


def lexicon_names() -> tuple[str, ...]:
    """Give the names of the known lexicons, the default one first.

    Returns
    -------
    tuple of str
        Names that :func:`lexicon` takes.

    Examples
    --------
    >>> lexicon_names()
    ('agency-communion', 'big2-nouns', 'big2-expanded', 'mfd2', 'mfd2-virtue-vice')
    """
    return tuple(registry()["lexicons"])


def lexicon(
    source: str
    | os.PathLike[str]
    | Lexicon
    | pd.DataFrame
    | Mapping[str, Sequence[str]]
    | Mapping[str, Mapping[str, float]]
    | None = None,
    *,
    name: str | None = None,
    categories: Sequence[str] | None = None,
    threshold: float | None = None,
) -> Lexicon:
    """Load a lexicon: a named one, a file, or your own lists.

    Parameters
    ----------
    source : str, path, Lexicon, DataFrame or mapping, optional
        None: the bundled "agency-communion". A name: see :func:`lexicon_names`; lexicons by others
        are looked up in the folder VALUEBIAS_DATA or else downloaded, and their hash is checked
        each time; ``"package:name"``, as in ``"taters:Personal Values"``, is a list in a package
        that you have installed, see :func:`valuebias.lexicons`. A path: a ``.csv`` with a column
        ``category`` beside the words, with one column per category beside the words (marked X, 1
        or true), or with the words of each category in its column, or with a category and its
        words a line; a ``.json``, ``{category: [words]}``;
        or a LIWC ``.dic`` or ``.dicx``, wildcards included. A DataFrame: bool, with
        words as its index or in a column ``word``; or with columns ``word`` and ``category``. A
        table of polars or pyarrow is taken as well, here and elsewhere. A mapping: each category's
        words. Numbers between 0 and 1 in place of marks, in a column ``weight``, in a DataFrame of
        floats, or in ``{category: {word: weight}}`` say how far a word belongs; between −1 and 1,
        that it may speak against a category.
    name : str, optional
        Its name.
    categories : sequence of str, optional
        Which categories to take, where others or columns that are none stand beside them.
    threshold : float, optional
        From which weight on a word belongs, above 0. Words then belong or do not.

    Returns
    -------
    Lexicon
        The words with their categories; a word may be in several.

    Raises
    ------
    ValueBiasError
        If the name or the format is unknown, its package is not installed, the file cannot be
        read, has another hash than the released one, or is not available without a network; if a
        word has no letter, such as ``*``, which would stand for every word.

    Warns
    -----
    ValueBiasWarning
        If words can hardly match any text: with a character that is invisible, was lost or is not
        a letter, superfluous spaces, a wildcard anywhere but at the end, or the signs of a regular
        expression. If a table of marks has words in no category, which are left out. If a list in a
        package has a category without words, which is left out.

    Examples
    --------
    >>> lexicon({"up": ["win", "rise*"], "down": ["lose"]}).membership(["rises"])["up"].tolist()
    [True]
    """
    if threshold is not None:
        check_number(threshold, "threshold", "a number above 0", least=0, above=True)
    if isinstance(source, Lexicon):
        result = source if name is None else replace(source, name=name)
        return _restricted(result, categories, threshold)
    result = _read(_DEFAULT if source is None else source, name, categories)
    result = _restricted(result, categories, threshold)
    if result.left_out:
        warnings.warn(
            f"{result.left_out:,} of {result.left_out + len(result):,} words in the file of the "
            f"lexicon {result.name!r} are in no category, and left out.",
            ValueBiasWarning,
            stacklevel=2,
        )
    warn_unmatchable(result.words, result.name, stacklevel=2)
    return result


def _restricted(
    given: Lexicon, categories: Sequence[str] | None, threshold: float | None
) -> Lexicon:
    """Keep some categories, and turn weights into marks where that is asked."""
    if categories is not None and tuple(categories) != given.categories:
        given = given.select(categories)
    if threshold is not None:
        belongs = given.table.astype(float) >= threshold
        for category in given.categories:
            if not belongs[category].any():
                raise ValueBiasError(
                    f"No word of {category!r} in the lexicon {given.name!r} has a weight of "
                    f"{threshold:g} or more; the largest is {given.table[category].max():g}. Give "
                    "a lower threshold, or leave the category out: categories=[...]."
                )
        kept = belongs[belongs.any(axis=1)]
        return replace(given, table=kept, sha256=_digest(kept) if given.weighted else given.sha256)
    check_weights(given.table, f"the lexicon {given.name!r}")
    table = marks_or_weights(given.table)
    return given if table.dtypes.equals(given.table.dtypes) else replace(given, table=table)


def _read(source: Any, name: str | None, categories: Sequence[str] | None = None) -> Lexicon:
    source = as_frame(source)
    if isinstance(source, pd.DataFrame):
        return _from_table(_from_frame(source, categories), name or "lexicon")
    if isinstance(source, Mapping):
        pairs: list[Any] = [
            (term, category, float(terms[term])) if isinstance(terms, Mapping) else (term, category)
            for category, terms in source.items()
            for term in terms
        ]
        return _from_table(table_of(pairs, list(source), name or "lexicon"), name or "lexicon")
    if isinstance(source, str) and source in lexicon_names():
        return _named(source, name or source)
    path = Path(source)
    if isinstance(source, str) and is_named(source) and not os.path.exists(path):
        return _installed(source, name or source, categories)
    if not os.path.exists(path) and not path.suffix:
        raise _unknown(os.fspath(source))
    return _from_file(path, name or path.stem, chosen=categories)


def _unknown(asked: str) -> ValueBiasError:
    if known_elsewhere := elsewhere(asked):
        return ValueBiasError(f"There is no lexicon or file {asked!r}. {known_elsewhere}")
    within = [f"{package}:{n}" for package, entry in packages().items() for n in entry["lexicons"]]
    meant = did_you_mean(asked, within).partition("Known: ")[0].strip()
    said = (
        f"There is no lexicon or file {asked!r}. {meant or did_you_mean(asked, lexicon_names())} "
    )
    return ValueBiasError(
        f"{said}All are listed by valuebias.lexicons(), those of packages as 'package:name'.",
        in_shell=f"{said}All are listed by 'valuebias lexicons list'.",
    )


def _installed(source: str, name: str, categories: Sequence[str] | None) -> Lexicon:
    entry = find(source)
    try:
        stored = _from_file(entry.path, name, published=True, chosen=categories)
    except ValueBiasError as error:
        raise ValueBiasError(
            f"The lexicon {source!r} of {entry.source} cannot be used: {error} To correct it, copy "
            "the file, correct the copy, and give that."
        ) from error
    return replace(stored, citation=entry.citation, licence=entry.licence, source=entry.source)


def _named(known: str, name: str) -> Lexicon:
    entry = registry()["lexicons"][known]
    if "bundled" in entry:
        folder = resources.files("valuebias.instruments")
        with resources.as_file(folder / entry["bundled"]) as path:
            stored = _from_file(path, name)
    else:
        stored = _from_file(fetch(released(entry["file"])), name)
    categories: dict[str, list[str]] = entry["categories"]
    merged = stored.merge(categories) if categories else stored
    return replace(
        merged, name=name, citation=str(entry["citation"]), licence=str(entry["licence"])
    )


def _from_file(
    path: Path, name: str, *, published: bool = False, chosen: Sequence[str] | None = None
) -> Lexicon:
    text = read_text(path)
    suffix = path.suffix.lower()
    table = parse(text, suffix=suffix, name=str(path), published=published, chosen=chosen)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    left_out = len(table.attrs.pop(LEFT_OUT, ()))
    if empty := table.attrs.pop(EMPTY, ()):
        warnings.warn(
            f"{len(empty)} of {len(empty) + table.shape[1]} categories in the file of the lexicon "
            f"{name!r} have no words, and are left out: {few(empty)}.",
            ValueBiasWarning,
            stacklevel=5,
        )
    return Lexicon(name=name, table=table, sha256=digest, left_out=left_out)


def _from_frame(table: pd.DataFrame, chosen: Sequence[str] | None) -> pd.DataFrame:
    if {"word", "category"} <= set(table.columns):
        return parse(table.to_csv(index=False), suffix=".csv", name="lexicon")
    # Tables of other libraries have no index.
    if "word" in table.columns and table["word"].dtype.kind not in "bf":
        table = table.set_index("word")
    if chosen is not None:
        table = table[[category for category in table.columns if category in set(chosen)]]
    for category in table.columns:
        if table[category].dtype != np.bool_ and table[category].dtype.kind != "f":
            raise ValueBiasError(
                f"The column {category!r} has dtype {table[category].dtype}; expected bool, or "
                "floats for weights."
            )
    marks = table.to_numpy(dtype=float)
    if np.isnan(marks).any():
        check_weights(table, "the lexicon")
    plain_marks = all(dtype == np.bool_ for dtype in table.dtypes)
    pairs: list[Any] = [
        (str(term), str(table.columns[i]), *([] if plain_marks else [float(row[i])]))
        for term, row in zip(table.index, marks, strict=True)
        for i in np.flatnonzero(row).tolist()
    ]
    return table_of(pairs, [str(category) for category in table.columns], "lexicon")


def _from_table(table: pd.DataFrame, name: str) -> Lexicon:
    return Lexicon(name=name, table=table, sha256=_digest(table))


def _digest(table: pd.DataFrame) -> str:
    whole = all(dtype == np.bool_ for dtype in table.dtypes)
    values = table.to_numpy(dtype=int if whole else float).tolist()
    content = [list(table.columns), list(table.index), values]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
