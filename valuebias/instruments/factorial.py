"""Prompts generated from factors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.foreign import describe_error
from valuebias._core.tables import as_series
from valuebias.errors import ValueBiasError, few, shown

__all__ = ["FACTORIAL", "Factorial", "level_of", "object_table", "read_factorial"]

_MOST = 1_000_000
FACTORIAL = frozenset({"factors", "template"})
"""What a mapping has that defines a factorial."""


@dataclass(frozen=True, slots=True, eq=False)
class Factorial:
    """A crossing of factors from which prompts are generated.

    Parameters
    ----------
    factors : mapping of str to mapping of str to str
        Each factor's levels, and the wording that each level puts into the template. The first
        factor varies slowest. A level's name must not depend on the order of the factors.
    template : str or mapping of str to str
        A text with ``{factor}`` in place of the wording of a factor. A mapping has one template per
        level of the factor `template_by`.
    framing : str or mapping of str to str
        The framing of each level of the factor `framing_by`, "positive", "negative" or "neutral";
        or that of all prompts.
    framing_by : str, optional
        The factor that decides the framing, where it differs.
    template_by : str, optional
        The factor that chooses the template, where there are several.
    citation : str, optional
        Where the prompts come from.

    See Also
    --------
    valuebias.prompts : Makes the prompts of it.

    Examples
    --------
    >>> design = Factorial(
    ...     factors={"adjective": {"kind": "kindest", "cruel": "cruellest"},
    ...              "noun": {"deed": "deed", "word": "word"}},
    ...     template="What is the {adjective} {noun}?",
    ...     framing={"kind": "positive", "cruel": "negative"},
    ...     framing_by="adjective",
    ... )
    >>> import valuebias
    >>> valuebias.prompts(design, name="kindness").table["text"]["cruel_word"]
    'What is the cruellest word?'
    """

    factors: Mapping[str, Mapping[str, str]]
    template: str | Mapping[str, str]
    framing: str | Mapping[str, str]
    framing_by: str | None = None
    template_by: str | None = None
    citation: str = field(default="", kw_only=True)

    def table(self) -> pd.DataFrame:
        """Generate the prompts.

        Returns
        -------
        pandas.DataFrame
            One row per prompt, named by its levels joined with ``_``; columns ``text``, ``framing``
            and the factors.

        Raises
        ------
        ValueBiasError
            If a factor or level does not exist; if there are framings or templates by level and no
            factor that chooses.

        Examples
        --------
        >>> Factorial({"noun": {"deed": "deed", "word": "word"}}, "Name a {noun}.",
        ...           framing="neutral").table()["text"].tolist()
        ['Name a deed.', 'Name a word.']
        """
        if self.framing_by is None and not isinstance(self.framing, str):
            raise ValueBiasError(
                "There are framings by level but no factor that chooses: give framing_by, such as "
                f"{next(iter(self.factors), 'adjective')!r}, or one framing for all, such as "
                "framing='neutral'."
            )
        for name in (self.framing_by, self.template_by):
            if name is not None:
                check_known(name, self.factors, f"There is no factor {name!r}.")
        n = math.prod(len(levels) for levels in self.factors.values())
        if n > _MOST:
            raise ValueBiasError(
                f"The factors give {n:,} prompts; at most {_MOST:,} can be made. Leave some levels "
                "out."
            )
        names = list(self.factors)
        rows = []
        for levels in itertools.product(*self.factors.values()):
            row = dict(zip(names, levels, strict=True))
            framing = self._framing(row)
            rows.append({"text": self._text(row), "framing": framing, **row})
        index = ["_".join(row[name] for name in names) for row in rows]
        return object_table(rows, index)

    def _framing(self, row: Mapping[str, str]) -> str:
        if isinstance(self.framing, str):
            return self.framing
        return level_of(self.framing, row[str(self.framing_by)], "framing")

    def _text(self, row: Mapping[str, str]) -> str:
        template = self.template
        if not isinstance(template, str):
            if self.template_by is None:
                raise ValueBiasError(
                    "There are several templates but no factor that chooses: give template_by."
                )
            template = level_of(template, row[self.template_by], "template")
        wording = {name: self.factors[name][level] for name, level in row.items()}
        for name, text in wording.items():
            if not isinstance(text, str):
                raise ValueBiasError(
                    f"The factor {shown(name)} has {shown(text)} for the level "
                    f"{shown(row[name])}; expected a text, which may be empty (''). Quote it."
                )
        try:
            return "".join(_filled(template, wording))
        except (KeyError, ValueError) as error:
            raise ValueBiasError(
                f"The template {shown(template)} cannot be filled ({describe_error(error)}). "
                f"It may use {few(('{' + name + '}' for name in wording), quote=False)}."
            ) from error


def _filled(template: str, wording: Mapping[str, str]) -> Iterator[str]:
    """Fill in names only: formats and attributes could run code."""
    for text, name, form, conversion in Formatter().parse(template):
        yield text
        if form or conversion:
            raise ValueError(f"{shown(name)} is followed by a format")
        if name is not None:
            yield wording[name]


def level_of(mapping: Mapping[str, str], level: str, noun: str) -> str:
    """Look up what a mapping says of a level."""
    check_known(level, mapping, f"No {noun} is given for the level {level!r}.")
    return mapping[level]


def object_table(rows: Sequence[Mapping[str, Any]], index: Sequence[str]) -> pd.DataFrame:
    """Make a table of prompts by name, whose texts stay as they are."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return pd.DataFrame({c: as_series([row.get(c) for row in rows]) for c in columns}).set_axis(
        pd.Index(index, dtype=object), axis=0
    )


def read_factorial(source: Mapping[str, Any]) -> Factorial:
    """Read a factorial definition from a mapping, as in a YAML file."""
    known = ("factors", "template", "framing", "framing_by", "template_by", "citation")
    for key in source:
        check_known(key, known, f"A factorial definition has no entry {key!r}.")
    if "framing" not in source:
        raise ValueBiasError("The factorial definition lacks 'framing'.")
    if not isinstance(source["factors"], Mapping) or not isinstance(
        source["framing"], str | Mapping
    ):
        raise ValueBiasError(
            "'factors' must map each factor to its levels, and 'framing' each level to its "
            "framing, or be the framing of all prompts."
        )
    factors = {
        name: levels if isinstance(levels, Mapping) else _levels(name, levels)
        for name, levels in source["factors"].items()
    }
    _check_texts([source.get(key, "") for key in known if key != "factors"])
    _check_texts([factors])
    return Factorial(
        factors=factors,
        template=source["template"],
        framing=source["framing"],
        framing_by=source.get("framing_by"),
        template_by=source.get("template_by"),
        citation=source.get("citation", ""),
    )


def _levels(name: object, levels: object) -> dict[str, str]:
    if isinstance(levels, list | tuple) and all(isinstance(level, str) for level in levels):
        return {level: level for level in levels}
    raise ValueBiasError(
        f"The factor {shown(name)} has the levels {shown(levels)}; expected a list of texts, or a "
        "mapping of level to wording. Quote what is text, such as '1' or 'yes'."
    )


def _check_texts(entries: Iterable[object], *, named: bool = False) -> None:
    """Require text, or mappings of text; YAML reads 1, yes, null and 2020-01-01 as other types.

    Only what is `named` must be there: a wording that lacks is spoken of where it is used.
    """
    for entry in entries:
        if isinstance(entry, Mapping):
            _check_texts(entry, named=True)
            _check_texts(entry.values())
        elif not isinstance(entry, str) and (named or entry is not None):
            raise ValueBiasError(
                f"A factorial definition holds {shown(entry)}, of type {type(entry).__name__}; "
                "expected text. Quote it."
            )
