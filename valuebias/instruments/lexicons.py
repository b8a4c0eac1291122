"""Lexicons: words by category."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.fetch import fetch, registry, released
from valuebias._core.tables import read_text
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few
from valuebias.instruments.formats import EMPTY, LEFT_OUT, parse, table_of
from valuebias.instruments.installed import find, is_named, packages
from valuebias.instruments.terms import continues, plain, warn_unmatchable

__all__ = ["Lexicon", "lexicon", "lexicon_names"]

_DEFAULT = "agency-communion"


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Words and the categories they belong to.

    Attributes
    ----------
    name : str
        Name of the lexicon.
    table : pandas.DataFrame
        Bool; one row per term, one column per category. A term that ends in ``*`` stands for every
        word that starts with the part before it, letter by letter: ``cafe*`` does not stand for
        "café".
    citation : str
        Where the words come from; may be empty.
    licence : str
        Their licence; may be empty.
    sha256 : str
        Hash of the file, or of the table if there is no file.
    left_out : int
        How many words of the file are in no category; the table lacks them.
    source : str
        The package, with its version, that the words were found in; may be empty.

    Examples
    --------
    >>> lexicon()
    <Lexicon 'agency-communion': 182 words; agency 91, communion 91>
    """

    name: str
    table: pd.DataFrame
    citation: str = ""
    licence: str = ""
    sha256: str = ""
    left_out: int = 0
    source: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The terms, in order; some may end in ``*``."""
        return tuple(self.table.index)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories, in order."""
        return tuple(self.table.columns)

    def __len__(self) -> int:
        """Count the terms."""
        return len(self.table)

    def __repr__(self) -> str:
        """Say how many words each category has."""
        parts = ", ".join(f"{c} {int(self.table[c].sum())}" for c in self.categories)
        return f"<Lexicon {self.name!r}: {len(self)} words; {parts}>"

    def membership(self, words: Sequence[str], *, ignore_case: bool = False) -> pd.DataFrame:
        """Look up the categories of each word.

        Parameters
        ----------
        words : sequence of str
            Words, such as the responses of a dataset.
        ignore_case : bool, default False
            Whether "Love" counts as "love".

        Returns
        -------
        pandas.DataFrame
            Bool, shape (word, category); a word outside the lexicon has no True.

        Notes
        -----
        Words and terms are compared in their composed form (Unicode's NFC), in which an accented
        letter is one letter, whether it was typed as one or two characters.

        Examples
        --------
        >>> lexicon().membership(["love", "spoon"])
               agency  communion
        love    False       True
        spoon   False      False
        """
        texts = [plain(word, ignore_case=ignore_case) for word in words]
        marks = self.table.to_numpy(dtype=bool)
        member = np.zeros((len(texts), marks.shape[1]), dtype=bool)
        exact: dict[str, npt.NDArray[np.bool_]] = {}
        by_word = sorted(range(len(texts)), key=texts.__getitem__)
        in_order = [texts[i] for i in by_word]
        for raw, row in zip(self.words, marks, strict=True):
            term = plain(raw, ignore_case=ignore_case)
            if not term.endswith("*"):
                exact[term] = exact[term] | row if term in exact else row
                continue
            stem = term.rstrip("*")
            position = bisect_left(in_order, stem)
            while position < len(in_order) and in_order[position].startswith(stem):
                if continues(in_order[position], stem):
                    member[by_word[position]] |= row
                position += 1
        for i, word in enumerate(texts):
            if word in exact:
                member[i] |= exact[word]
        index = pd.Index(list(words), dtype=object)
        return pd.DataFrame(member, index=index, columns=self.table.columns)

    def merge(self, groups: Mapping[str, Sequence[str]]) -> Lexicon:
        """Join categories into larger ones.

        Parameters
        ----------
        groups : mapping of str to sequence of str
            Each new category and the old ones it consists of. Old categories that are not named
            stay, after the new ones.

        Returns
        -------
        Lexicon
            With "(changed)" in its name.

        Raises
        ------
        ValueBiasError
            If a category does not exist, or a new name is one that stays.

        Examples
        --------
        >>> lexicon().merge({"value": ["agency", "communion"]}).categories
        ('value',)
        """
        used = [old for members in groups.values() for old in members]
        for old in used:
            self._check(old)
        rest = [category for category in self.categories if category not in used]
        for new, members in groups.items():
            if new in rest:
                raise ValueBiasError(
                    f"There is already a category {new!r}, which stays. Choose another name."
                )
            if not members:
                raise ValueBiasError(f"The new category {new!r} has no old categories.")
        merged = {new: self.table[list(members)].any(axis=1) for new, members in groups.items()}
        return self._with(pd.DataFrame({**merged, **{c: self.table[c] for c in rest}}))

    def select(self, categories: Sequence[str]) -> Lexicon:
        """Keep some categories, and the words that are in one of them.

        Parameters
        ----------
        categories : sequence of str
            Their names, in the new order.

        Returns
        -------
        Lexicon
            With "(changed)" in its name.

        Raises
        ------
        ValueBiasError
            If a category does not exist, or there is none.

        Examples
        --------
        >>> len(lexicon().select(["communion"]))
        91
        """
        for category in categories:
            self._check(category)
        if not categories:
            raise ValueBiasError(f"No category was chosen. Known: {', '.join(self.categories)}.")
        kept = self.table[list(categories)]
        return self._with(kept[kept.any(axis=1)])

    def about(self) -> dict[str, Any]:
        """Describe the lexicon for a provenance record.

        Returns
        -------
        dict
            Entries name, sha256, citation, licence, n_words and categories; source for words
            that were found in a package.

        Examples
        --------
        >>> lexicon().about()["n_words"]
        182
        """
        return {
            "name": self.name,
            "sha256": self.sha256,
            "citation": self.citation,
            "licence": self.licence,
            "n_words": len(self),
            "categories": list(self.categories),
            **({"source": self.source} if self.source else {}),
        }

    def _check(self, category: str) -> None:
        check_known(
            category, self.categories, f"The lexicon {self.name!r} has no category {category!r}."
        )

    def _with(self, table: pd.DataFrame) -> Lexicon:
        name = self.name if self.name.endswith(" (changed)") else f"{self.name} (changed)"
        columns = pd.Index(list(table.columns), dtype=object)
        return replace(self, name=name, table=table.set_axis(columns, axis=1))


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
    | None = None,
    *,
    name: str | None = None,
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
        words as its index. A mapping: each category's words.
    name : str, optional
        Its name.

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
    if isinstance(source, Lexicon):
        return source if name is None else replace(source, name=name)
    result = _read(_DEFAULT if source is None else source, name)
    if result.left_out:
        warnings.warn(
            f"{result.left_out:,} of {result.left_out + len(result):,} words in the file of the "
            f"lexicon {result.name!r} are in no category, and left out.",
            ValueBiasWarning,
            stacklevel=2,
        )
    warn_unmatchable(result.words, result.name, stacklevel=2)
    return result


def _read(
    source: str | os.PathLike[str] | pd.DataFrame | Mapping[str, Sequence[str]], name: str | None
) -> Lexicon:
    if isinstance(source, pd.DataFrame):
        return _from_table(_from_frame(source), name or "lexicon")
    if isinstance(source, Mapping):
        pairs = [(term, category) for category, terms in source.items() for term in terms]
        return _from_table(table_of(pairs, list(source), name or "lexicon"), name or "lexicon")
    if isinstance(source, str) and source in lexicon_names():
        return _named(source, name or source)
    path = Path(source)
    if isinstance(source, str) and is_named(source) and not os.path.exists(path):
        return _installed(source, name or source)
    if not os.path.exists(path) and not path.suffix:
        raise _unknown(os.fspath(source))
    return _from_file(path, name or path.stem)


def _unknown(asked: str) -> ValueBiasError:
    within = [f"{package}:{n}" for package, entry in packages().items() for n in entry["lexicons"]]
    meant = did_you_mean(asked, within).partition("Known: ")[0].strip()
    said = (
        f"There is no lexicon or file {asked!r}. {meant or did_you_mean(asked, lexicon_names())} "
    )
    return ValueBiasError(
        f"{said}All are listed by valuebias.lexicons(), those of packages as 'package:name'.",
        in_shell=f"{said}All are listed by 'valuebias lexicons list'.",
    )


def _installed(source: str, name: str) -> Lexicon:
    found = find(source)
    try:
        stored = _from_file(found.path, name, published=True)
    except ValueBiasError as error:
        raise ValueBiasError(
            f"The lexicon {source!r} of {found.source} cannot be used: {error} To correct it, copy "
            "the file, correct the copy, and give that."
        ) from error
    return replace(stored, citation=found.citation, licence=found.licence, source=found.source)


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


def _from_file(path: Path, name: str, *, published: bool = False) -> Lexicon:
    text = read_text(path)
    table = parse(text, suffix=path.suffix.lower(), name=str(path), published=published)
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


def _from_frame(table: pd.DataFrame) -> pd.DataFrame:
    for category in table.columns:
        if table[category].dtype != np.bool_:
            raise ValueBiasError(
                f"The column {category!r} has dtype {table[category].dtype}; expected bool."
            )
    marks = table.to_numpy(dtype=bool)
    pairs = [
        (str(term), str(table.columns[i]))
        for term, row in zip(table.index, marks, strict=True)
        for i in np.flatnonzero(row).tolist()
    ]
    return table_of(pairs, [str(category) for category in table.columns], "lexicon")


def _from_table(table: pd.DataFrame, name: str) -> Lexicon:
    content = [list(table.columns), list(table.index), table.to_numpy(dtype=int).tolist()]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return Lexicon(name=name, table=table, sha256=digest)
