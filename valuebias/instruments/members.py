"""A lexicon: words, and the categories that they belong to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.notebooks import as_html
from valuebias._core.text import visible
from valuebias.errors import ValueBiasError
from valuebias.instruments.terms import continues, plain

__all__ = ["Lexicon"]

_SUCH_AS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Lexicon:
    """Words and the categories they belong to.

    Attributes
    ----------
    name : str
        Name of the lexicon.
    table : pandas.DataFrame
        One row per term, one column per category: bool, or float where the terms have weights. A
        term that ends in ``*`` stands for every word that starts with the part before it, letter by
        letter: ``cafe*`` does not stand for "café".
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
    >>> import valuebias
    >>> valuebias.lexicon()
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
    def weighted(self) -> bool:
        """Whether words belong to their categories more or less."""
        return bool((self.table.dtypes != np.bool_).any())

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories, in order."""
        return tuple(self.table.columns)

    def __len__(self) -> int:
        """Count the terms."""
        return len(self.table)

    def __repr__(self) -> str:
        """Say how many words each category has."""
        parts = ", ".join(f"{c} {int(self.table[c].astype(bool).sum())}" for c in self.categories)
        weights = " with weights" if self.weighted else ""
        return f"<Lexicon {self.name!r}: {len(self)} words{weights}; {parts}>"

    def _repr_html_(self) -> str:
        """Show how many words each category has, and some of them in a notebook."""
        marks = self.table.astype(bool)
        words = [[str(word) for word in marks.index[marks[c]]] for c in self.categories]
        table = pd.DataFrame(
            {
                "category": [visible(name) for name in self.categories],
                "words": [len(listed) for listed in words],
                "such as": [visible(", ".join(listed[:_SUCH_AS])) for listed in words],
            }
        )
        return as_html(repr(self).strip("<>").partition(";")[0], table, self.citation, most=40)

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
            Bool, shape (word, category); a word outside the lexicon has no True. Of a lexicon with
            weights, floats; where several terms stand for a word, the weight farthest from zero.

        Notes
        -----
        Words and terms are compared in their composed form (Unicode's NFC), in which an accented
        letter is one letter, whether it was typed as one or two characters.

        Examples
        --------
        >>> import valuebias
        >>> valuebias.lexicon().membership(["love", "spoon"])
               agency  communion
        love    False       True
        spoon   False      False
        """
        texts = [plain(word, ignore_case=ignore_case) for word in words]
        marks = self.table.to_numpy(dtype=float if self.weighted else bool)
        member = np.zeros(shape=(len(texts), marks.shape[1]), dtype=marks.dtype)
        exact: dict[str, npt.NDArray[Any]] = {}
        by_word = sorted(range(len(texts)), key=texts.__getitem__)
        in_order = [texts[i] for i in by_word]
        for raw, row in zip(self.words, marks, strict=True):
            term = plain(raw, ignore_case=ignore_case)
            if not term.endswith("*"):
                exact[term] = _either(exact[term], row) if term in exact else row
                continue
            stem = term.rstrip("*")
            position = bisect_left(in_order, stem)
            while position < len(in_order) and in_order[position].startswith(stem):
                if continues(in_order[position], stem):
                    member[by_word[position]] = _either(member[by_word[position]], row)
                position += 1
        for i, word in enumerate(texts):
            if word in exact:
                member[i] = _either(member[i], exact[word])
        index = pd.Index(list(words), dtype=object)
        return pd.DataFrame(member, index=index, columns=self.table.columns)

    def merge(self, groups: Mapping[str, Sequence[str]]) -> Lexicon:
        """Join categories into larger ones.

        Parameters
        ----------
        groups : mapping of str to sequence of str
            Each new category and the old ones it consists of. Old categories that are not named
            stay, after the new ones. Of weights, a word keeps the one farthest from zero.

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
        >>> import valuebias
        >>> valuebias.lexicon().merge({"value": ["agency", "communion"]}).categories
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
        merged = {new: _joined(self.table[list(members)]) for new, members in groups.items()}
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
        >>> import valuebias
        >>> len(valuebias.lexicon().select(["communion"]))
        91
        """
        for category in categories:
            self._check(category)
        if not categories:
            raise ValueBiasError(f"No category was chosen. Known: {', '.join(self.categories)}.")
        kept = self.table[list(categories)]
        return self._with(kept[kept.any(axis=1)])

    def poles(self, category: str, names: tuple[str, str] | None = None) -> Lexicon:
        """Make two categories of one whose weights have signs.

        Parameters
        ----------
        category : str
            A category with positive and negative weights.
        names : tuple of two str, optional
            What the two are called; "… (positive)" and "… (negative)" if not given.

        Returns
        -------
        Lexicon
            With "(changed)" in its name: the words of positive weights in the first, those of
            negative ones, without their sign, in the second. Other categories stay, after these.

        Raises
        ------
        ValueBiasError
            If the category does not exist or has no weights of one of the signs, or a new name is
            one that stays.

        Examples
        --------
        >>> import valuebias
        >>> loadings = {"moral": {"kind": 0.9, "fair": 0.4, "cruel": -0.8}}
        >>> valuebias.lexicon(loadings).poles("moral", ("virtue", "vice"))
        <Lexicon 'lexicon (changed)': 3 words with weights; virtue 2, vice 1>
        """
        self._check(category)
        weights = self.table[category].astype(float)
        if not ((weights > 0).any() and (weights < 0).any()):
            raise ValueBiasError(
                f"The weights of {category!r} in the lexicon {self.name!r} lie between "
                f"{weights.min():g} and {weights.max():g}; expected some above zero and some "
                "below, of which poles could be made."
            )
        first, second = names or (f"{category} (positive)", f"{category} (negative)")
        rest = [other for other in self.categories if other != category]
        if len({first, second, *rest}) < len(rest) + 2:
            raise ValueBiasError(
                f"The poles would be called {first!r} and {second!r} beside {rest}; expected names "
                "that differ."
            )
        poles = {first: weights.clip(lower=0.0), second: (-weights).clip(lower=0.0)}
        return self._with(pd.DataFrame({**poles, **{other: self.table[other] for other in rest}}))

    def about(self) -> dict[str, Any]:
        """Describe the lexicon for a provenance record.

        Returns
        -------
        dict
            Entries name, sha256, citation, licence, n_words and categories; weighted where words
            have weights, and source for words that were found in a package.

        Examples
        --------
        >>> import valuebias
        >>> valuebias.lexicon().about()["n_words"]
        182
        """
        return {
            "name": self.name,
            "sha256": self.sha256,
            "citation": self.citation,
            "licence": self.licence,
            "n_words": len(self),
            "categories": list(self.categories),
            **({"weighted": True} if self.weighted else {}),
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


def _either(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Give of two terms that stand for a word what says most: any mark, or the larger weight."""
    return np.asarray(np.where(np.abs(other) > np.abs(one), other, one))


def _joined(table: pd.DataFrame) -> pd.Series[Any]:
    values = table.to_numpy()
    largest = np.abs(values).argmax(axis=1)
    return pd.Series(values[np.arange(len(values)), largest], index=table.index)
