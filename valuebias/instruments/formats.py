"""Parse word lists: CSV in several layouts, JSON, LIWC's .dic and .dicx."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.foreign import parse_json
from valuebias._core.opening.limits import check_size
from valuebias._core.tables import DELIMITERS, parse_csv
from valuebias.errors import ValueBiasError
from valuebias.instruments.dic import Pair, check_term, parse_dic, plain_term

__all__ = ["EMPTY", "LEFT_OUT", "SUFFIXES", "parse", "table_of"]

SUFFIXES = (".csv", ".tsv", ".dic", ".dicx", ".json")
LEFT_OUT = "left out"
"""Under which a table's attrs have the words of the file that are in no category."""
EMPTY = "empty"
"""Under which they have the categories without words, where these may be left out."""

_TERM_COLUMNS = ("word", "term", "dicterm", "entry", "response", "token", "token_decoded", "noun")
_WEIGHTS = ("weight", "weights", "loading", "loadings", "membership")
_SINGULAR = {"categories": "category", "words": "word", "terms": "term", "tokens": "token"}
"""How a head may be written; of a list of words per category none is called so."""
_YES = ("x", "1", "1.0", "true", "t", "yes", "y")
# A list may have these words; a cell of marks that has them stands among others that are marks.
_ALSO_WORDS = ("true", "false", "yes", "no")
_EMPTY = ("", "na", "nan", "null")
_NO = (*_EMPTY, "0", "0.0", "false", "f", "no", "n")
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?%?", re.IGNORECASE)


def parse(
    text: str,
    *,
    suffix: str,
    name: str,
    published: bool = False,
    chosen: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Parse the text of a word list.

    Notes
    -----
    Of a `published` file, which its reader cannot correct, categories without words are left out.
    Of a table, columns that are not `chosen` are not looked at.

    In a ``.dic`` file, a category that depends on neighbouring words, as in ``(02 134)125/464``,
    counts as the one without them (464): a response is a single word.

    Examples
    --------
    >>> text = chr(10).join(["category,word", "agency,win", "communion,love"])
    >>> parse(text, suffix=".csv", name="x.csv")
          agency  communion
    win     True      False
    love   False       True
    """
    if suffix not in SUFFIXES:
        raise ValueBiasError(
            f"{name!r} has the suffix {suffix!r}; expected one of {', '.join(SUFFIXES)}."
        )
    if suffix == ".dic":
        categories, listed = parse_dic(text, name)
        return table_of(listed, categories, name)
    if suffix == ".json":
        nothing: list[str] = []
        table = table_of(_mapped(text, name, nothing), (), name)
        table.attrs[LEFT_OUT] = nothing
        return table
    if suffix != ".dicx" and (lines := _lines(text)):
        return table_of([(plain_term(word, name), line[0]) for line in lines for word in line[1:]],
                        [line[0] for line in lines], name)  # fmt: skip
    header, rows = _header_and_rows(text, name, ragged=suffix != ".dicx")
    lowered = [_SINGULAR.get(column.lower(), column.lower()) for column in header]
    if suffix != ".dicx" and "category" in lowered:
        return table_of(list(_long(lowered, rows, name)), (), name)
    # R writes the row numbers as a first column without a name.
    start = 1 if header[0] == "" and len(header) > 2 else 0
    if chosen is not None:
        header, rows = _columns(header, rows, start, chosen, name)
    categories = header[start + 1 :]
    if not categories or "" in categories:
        raise ValueBiasError(
            f"{name!r} has the columns {header}; expected a column 'category' beside the words, "
            "or one named column per category after the words."
        )
    if suffix != ".dicx" and _are_lists(header[start], categories, rows, start):
        columns = header[start:]
        return table_of(list(_listed(columns, rows, start, name)), columns, name)
    uncoded: list[str] = []
    weighted = _have_weights(rows, start)
    pairs: list[Pair] = list(
        _weighed(categories, rows, start, name, uncoded)
        if weighted
        else _marked(categories, rows, start, name, uncoded)
    )
    if not pairs:
        raise ValueBiasError(
            f"The word {rows[0][start]!r} of {name!r} is in no category, nor is any other."
        )
    used = {pair[1] for pair in pairs}
    empty = [category for category in categories if category not in used] if published else []
    table = table_of(pairs, [c for c in categories if c not in empty], name)
    table.attrs.update({LEFT_OUT: uncoded, EMPTY: empty})
    return table


def _mapped(text: str, name: str, nothing: list[str]) -> list[Pair]:
    """Read JSON: the words of each category; an empty text is none."""
    content = parse_json(text, repr(name), advice="Correct the file.")
    kinds = set(map(type, content.values())) if isinstance(content, dict) else {str}
    if kinds not in ({list}, {dict}, set()):
        raise ValueBiasError(
            f"{name!r} is JSON of another form than "
            '{"category": ["word", …], …}, or {"category": {"word": weight, …}, …}. Write the '
            "words of each category so."
        )
    if kinds == {dict}:
        return [
            (plain_term(word, name), _category(category, word, name), _weight(weight, word, name))
            for category, words in content.items()
            for word, weight in words.items()
        ]
    nothing += [word for words in content.values() for word in words if word == ""]
    return [
        (plain_term(word, name), _category(category, str(word), name))
        for category, words in content.items()
        for word in words
        if word != ""
    ]


def _lines(text: str) -> list[list[str]]:
    """Split text that has a category and its words in each line; give nothing where it has not.

    Such a file has no header, so that some line is longer than the first.
    """
    lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()]
    delimiter = "\t" if lines and "\t" in lines[0] else ","
    rows = [[cell.strip() for cell in line.split(delimiter)] for line in lines]
    rows = [[cell for cell in row if cell] for row in rows]
    alike = len({len(row) for row in rows}) == 1
    if alike or '"' in text or min(map(len, rows), default=0) < 2:
        return []
    names = [row[0].lower() for row in rows]
    longer = max(map(len, rows)) > len(rows[0])
    named = names[0] in (*_TERM_COLUMNS, *_SINGULAR, "category")
    return rows if longer and not named and len(set(names)) == len(names) else []


def _header_and_rows(text: str, name: str, *, ragged: bool) -> tuple[list[str], list[list[str]]]:
    """Split CSV text; columns of words may end earlier than others, and an empty one follow."""
    try:
        header, rows = parse_csv(text, name)
    except ValueBiasError:
        first, *lines = [line.rstrip("\r") for line in text.split("\n") if line.strip()] or [""]
        delimiter = max(DELIMITERS, key=first.count)
        missing = [first.count(delimiter) - line.count(delimiter) for line in lines]
        if not ragged or '"' in text or not missing or min(missing) < 0 or not max(missing):
            raise
        filled = [line + delimiter * n for line, n in zip(lines, missing, strict=True)]
        header, rows = parse_csv("\n".join([first, *filled]), name)
        # A table of marks is truncated where a line is short.
        if not _are_lists(header[0], header[1:], rows, 0):
            raise
    if len(header) > 2 and not header[-1] and not any(row[-1].strip() for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return header, rows


def table_of(pairs: Sequence[Pair], categories: Sequence[str], name: str) -> pd.DataFrame:
    """Spread words with their categories into a table: bool, or float where they have weights."""
    if not pairs:
        raise ValueBiasError(f"{name!r} has no words.")
    for pair in pairs:
        check_term(pair[0], name)
    columns = {c: i for i, c in enumerate(dict.fromkeys([*categories, *(p[1] for p in pairs)]))}
    terms = {t: i for i, t in enumerate(dict.fromkeys(p[0] for p in pairs))}
    # As many categories as words would be a square of them.
    check_size(len(terms) * len(columns), len(pairs), f"The table of {name!r}")
    weighted = any(len(pair) == 3 for pair in pairs)
    marks = np.zeros((len(terms), len(columns)), dtype=float if weighted else bool)
    for term, category, *weight in pairs:
        place = terms[term], columns[category]
        if weight and marks[place] not in (0, weight[0]):
            raise ValueBiasError(
                f"The word {term!r} of {name!r} has the weights {marks[place]:g} and "
                f"{weight[0]:g} in the category {category!r}. Leave one out."
            )
        marks[place] = weight[0] if weight else True
    for category, i in columns.items():
        if not marks[:, i].any():
            raise ValueBiasError(f"The category {category!r} of {name!r} has no words.")
    return pd.DataFrame(
        marks, index=pd.Index(terms, dtype=object), columns=pd.Index(columns, dtype=object)
    )


def _long(header: list[str], rows: list[list[str]], name: str) -> Iterator[Pair]:
    others = [column for column in header if column not in ("category", "")]
    weights = [column for column in others if column in _WEIGHTS]
    others = [column for column in others if column not in weights[:1]]
    named = [column for column in others if column in _TERM_COLUMNS]
    if len(named or others) != 1:
        raise ValueBiasError(
            f"{name!r} has a column 'category' and the columns {others}; expected exactly one with "
            "the words. Call it 'word'; their weights, if they have any, 'weight'."
        )
    of_term, of_category = header.index((named or others)[0]), header.index("category")
    of_weight = header.index(weights[0]) if weights else 0
    for row in rows:
        term = plain_term(row[of_term], name)
        category = _category(row[of_category], row[of_term], name)
        if weights:
            yield term, category, _weight(row[of_weight], term, name)
        else:
            yield term, category


def _are_lists(first: str, categories: list[str], rows: list[list[str]], start: int) -> bool:
    """Whether columns hold words rather than marks: none is a mark or a number."""
    if not first or first.lower() in _TERM_COLUMNS:
        return False
    cells = [cell.strip().lower() for row in rows for cell in row[start + 1 :]]
    words = [cell for cell in cells if cell not in _EMPTY]
    if 2 * sum(cell in _ALSO_WORDS for cell in words) >= len(words):
        return False
    return not any(
        (cell in _YES or cell in _NO or _NUMBER.fullmatch(cell)) and cell not in _ALSO_WORDS
        for cell in words
    )


def _listed(columns: list[str], rows: list[list[str]], start: int, name: str) -> Iterator[Pair]:
    for i, category in enumerate(columns, start=start):
        for row in rows:
            if row[i].strip().lower() not in _EMPTY:
                yield plain_term(row[i], name), category


def _marked(
    categories: list[str], rows: list[list[str]], start: int, name: str, uncoded: list[str]
) -> Iterator[Pair]:
    for row in rows:
        term = plain_term(row[start], name)
        cells = zip(categories, row[start + 1 :], strict=True)
        marked = [category for category, cell in cells if _mark(cell, category, term, name)]
        if not marked:
            uncoded.append(term)
        for category in marked:
            yield term, category


def _columns(
    header: list[str], rows: list[list[str]], start: int, chosen: Sequence[str], name: str
) -> tuple[list[str], list[list[str]]]:
    """Keep the words and the chosen columns."""
    for category in chosen:
        said = f"{name!r} has no column {category!r} with words of a category."
        check_known(category, header[start + 1 :], said)
    at = [*range(start + 1), *(header.index(category, start + 1) for category in chosen)]
    return [header[i] for i in at], [[row[i] for i in at] for row in rows]


def _have_weights(rows: list[list[str]], start: int) -> bool:
    """Whether the columns of categories hold numbers that are no marks."""
    cells = {cell.strip().lower() for row in rows for cell in row[start + 1 :]}
    others = cells - {*_YES, *_NO}
    return bool(others) and all(_NUMBER.fullmatch(cell) for cell in others)


def _weighed(
    categories: list[str], rows: list[list[str]], start: int, name: str, uncoded: list[str]
) -> Iterator[Pair]:
    for row in rows:
        term = plain_term(row[start], name)
        cells = zip(categories, row[start + 1 :], strict=True)
        weights = [(category, _weight(cell, term, name)) for category, cell in cells]
        if not any(weight for _, weight in weights):
            uncoded.append(term)
        for category, weight in weights:
            if weight:
                yield term, category, weight


def _weight(cell: object, term: str, name: str) -> float:
    """Read a weight; an empty cell is none."""
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        return float(cell)
    text = str(cell).strip().lower()
    if text in _EMPTY:
        return 0.0
    try:
        return float(text.replace(",", "."))
    except ValueError as error:
        raise ValueBiasError(
            f"The word {term!r} of {name!r} has the weight {cell!r}; expected a number, such as "
            "0.5, or nothing."
        ) from error


def _mark(cell: str, category: str, term: str, name: str) -> bool:
    mark = cell.strip().lower()
    # The General Inquirer marks by the category's name.
    if mark in _YES or (mark and mark == category.strip().lower()):
        return True
    if mark in _NO:
        return False
    raise ValueBiasError(
        f"The word {term!r} of {name!r} is marked {cell!r}; expected X, 1 or true, or nothing, in "
        f"the column {category!r}; or numbers in all of them, which are weights. If that is no "
        "category, leave the column out, or name those that are: categories=[...]. If the columns "
        "hold the words of their categories, write them below each other instead: 'category' and "
        "'word'."
    )


def _category(cell: str, term: str, name: str) -> str:
    category = cell.strip()
    if not category or category.lower() == "na":
        raise ValueBiasError(f"The word {term!r} of {name!r} has no category.")
    return category
