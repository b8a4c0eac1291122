"""Parse word lists: CSV in several layouts, JSON, LIWC's .dic and .dicx."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from valuebias._core.foreign import parse_json
from valuebias._core.opening.limits import check_size
from valuebias._core.tables import DELIMITERS, parse_csv
from valuebias.errors import ValueBiasError

__all__ = ["EMPTY", "LEFT_OUT", "SUFFIXES", "parse", "table_of"]

SUFFIXES = (".csv", ".tsv", ".dic", ".dicx", ".json")
LEFT_OUT = "left out"
"""Under which a table's attrs have the words of the file that are in no category."""
EMPTY = "empty"
"""Under which they have the categories without words, where these may be left out."""

_TERM_COLUMNS = ("word", "term", "dicterm", "entry", "response", "token", "token_decoded", "noun")
_SINGULAR = {"categories": "category", "words": "word", "terms": "term", "tokens": "token"}
"""How a head may be written; of a list of words per category none is called so."""
_YES = ("x", "1", "1.0", "true", "t", "yes", "y")
# A list may have these words; a cell of marks that has them stands among others that are marks.
_ALSO_WORDS = ("true", "false", "yes", "no")
_EMPTY = ("", "na", "nan", "null")
_NO = (*_EMPTY, "0", "0.0", "false", "f", "no", "n")
_NUMBER = re.compile(r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:e[+-]?\d+)?%?", re.IGNORECASE)
# "(02 134)125/464" and "<of>131/125": the first category given the context, the second without it.
_CONDITIONAL = re.compile(r"(?:\([^()]*\)|<[^<>]*>)\s*\d+(?:/(\d+))?")

Pair = tuple[str, str]


def parse(text: str, *, suffix: str, name: str, published: bool = False) -> pd.DataFrame:
    """Parse the text of a word list.

    Notes
    -----
    Of a `published` file, which its reader cannot correct, categories without words are left out.

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
        categories, pairs = _dic(text, name)
        return table_of(pairs, categories, name)
    if suffix == ".json":
        nothing: list[str] = []
        table = table_of(_mapped(text, name, nothing), (), name)
        table.attrs[LEFT_OUT] = nothing
        return table
    if suffix != ".dicx" and (lines := _lines(text)):
        return table_of([(_term(word, name), line[0]) for line in lines for word in line[1:]],
                        [line[0] for line in lines], name)  # fmt: skip
    header, rows = _header_and_rows(text, name, ragged=suffix != ".dicx")
    lowered = [_SINGULAR.get(column.lower(), column.lower()) for column in header]
    if suffix != ".dicx" and "category" in lowered:
        return table_of(list(_long(lowered, rows, name)), (), name)
    # R writes the row numbers as a first column without a name.
    start = 1 if header[0] == "" and len(header) > 2 else 0
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
    pairs = list(_marked(categories, rows, start, name, uncoded))
    if not pairs:
        raise ValueBiasError(
            f"The word {rows[0][start]!r} of {name!r} is in no category, nor is any other."
        )
    used = {category for _, category in pairs}
    empty = [category for category in categories if category not in used] if published else []
    table = table_of(pairs, [c for c in categories if c not in empty], name)
    table.attrs.update({LEFT_OUT: uncoded, EMPTY: empty})
    return table


def _mapped(text: str, name: str, nothing: list[str]) -> list[Pair]:
    """Read JSON: the words of each category; an empty text is none."""
    content = parse_json(text, repr(name), advice="Correct the file.")
    if not isinstance(content, dict) or not all(isinstance(v, list) for v in content.values()):
        raise ValueBiasError(
            f"{name!r} is JSON of another form than "
            '{"category": ["word", …], …}. Write the words of each category so.'
        )
    nothing += [word for words in content.values() for word in words if word == ""]
    return [
        (_term(word, name), _category(category, str(word), name))
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
    """Spread (term, category) pairs into a bool table."""
    if not pairs:
        raise ValueBiasError(f"{name!r} has no words.")
    for term, _ in pairs:
        _check_term(term, name)
    columns = {c: i for i, c in enumerate(dict.fromkeys([*categories, *(c for _, c in pairs)]))}
    terms = {t: i for i, t in enumerate(dict.fromkeys(t for t, _ in pairs))}
    # As many categories as words would be a square of them.
    check_size(len(terms) * len(columns), len(pairs), f"The table of {name!r}")
    marks = np.zeros((len(terms), len(columns)), dtype=bool)
    for term, category in pairs:
        marks[terms[term], columns[category]] = True
    for category, i in columns.items():
        if not marks[:, i].any():
            raise ValueBiasError(f"The category {category!r} of {name!r} has no words.")
    return pd.DataFrame(
        marks, index=pd.Index(terms, dtype=object), columns=pd.Index(columns, dtype=object)
    )


def _long(header: list[str], rows: list[list[str]], name: str) -> Iterator[Pair]:
    others = [column for column in header if column not in ("category", "")]
    named = [column for column in others if column in _TERM_COLUMNS]
    if len(named or others) != 1:
        raise ValueBiasError(
            f"{name!r} has a column 'category' and the columns {others}; expected exactly one with "
            "the words. Call it 'word'."
        )
    of_term, of_category = header.index((named or others)[0]), header.index("category")
    for row in rows:
        yield _term(row[of_term], name), _category(row[of_category], row[of_term], name)


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
                yield _term(row[i], name), category


def _marked(
    categories: list[str], rows: list[list[str]], start: int, name: str, uncoded: list[str]
) -> Iterator[Pair]:
    for row in rows:
        term = _term(row[start], name)
        cells = zip(categories, row[start + 1 :], strict=True)
        marked = [category for category, cell in cells if _mark(cell, category, term, name)]
        if not marked:
            uncoded.append(term)
        for category in marked:
            yield term, category


def _mark(cell: str, category: str, term: str, name: str) -> bool:
    mark = cell.strip().lower()
    # The General Inquirer marks by the category's name.
    if mark in _YES or (mark and mark == category.strip().lower()):
        return True
    if mark in _NO:
        return False
    raise ValueBiasError(
        f"The word {term!r} of {name!r} is marked {cell!r}; expected X, 1 or true, or nothing, in "
        f"the column {category!r}. If that is no category, leave the column out. "
        "Weighted word lists are not supported: decide which words belong. If the columns hold the "
        "words of their categories, write them below each other instead: 'category' and 'word'."
    )


def _term(cell: object, name: str) -> str:
    _check_term(cell, name)
    return str(cell).strip()


def _check_term(term: object, name: str) -> None:
    if not isinstance(term, str):
        raise ValueBiasError(f"{name!r} has the word {term!r:.80}; expected a text. Quote it.")
    if term.strip("* \uff0a"):
        return
    every = " before the star, which alone stands for every word" if term.strip() else ""
    raise ValueBiasError(
        f"{name!r} has the word {term!r:.80}; expected at least one letter{every}."
    )


def _category(cell: str, term: str, name: str) -> str:
    category = cell.strip()
    if not category or category.lower() == "na":
        raise ValueBiasError(f"The word {term!r} of {name!r} has no category.")
    return category


def _dic(text: str, name: str) -> tuple[list[str], list[Pair]]:
    lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), start=1)]
    marks = [position for position, (_, line) in enumerate(lines) if line == "%"]
    if len(marks) < 2:
        raise ValueBiasError(
            f"{name!r} has {len(marks)} lines '%'; expected two, with the categories between them."
        )
    numbered: dict[int, str] = {}
    named: set[str] = set()
    for i, line in lines[marks[0] + 1 : marks[1]]:
        if line:
            number, category = _numbered(i, line, name)
            if number in numbered or category in named:
                raise ValueBiasError(f"Line {i} of {name!r} repeats a category: {line!r}.")
            numbered[number] = category
            named.add(category)
    pairs = []
    for i, line in lines[marks[1] + 1 :]:
        if line:
            term, numbers = _entry(i, line, name)
            for number in numbers:
                if number not in numbered:
                    raise ValueBiasError(
                        f"Line {i} of {name!r} names the category {number}, which the head of the "
                        f"file does not define: {line!r}."
                    )
                pairs.append((term, numbered[number]))
    return list(numbered.values()), pairs


def _numbered(i: int, line: str, name: str) -> tuple[int, str]:
    number, _, category = line.replace("\t", " ").partition(" ")
    if not (number.isascii() and number.isdigit() and category.strip()):
        raise ValueBiasError(
            f"Line {i} of {name!r} is {line!r}; expected a number and the category's name."
        )
    return int(number), category.strip()


def _entry(i: int, line: str, name: str) -> tuple[str, list[int]]:
    """Split a line into the term and its category numbers."""
    if "\t" in line:
        term, _, rest = line.partition("\t")
        cells = _CONDITIONAL.sub(lambda match: match[1] or "", rest).split()
    else:
        # Without a tab, the trailing numbers are the categories; a term may contain blanks.
        words = line.split()
        split = len(words)
        while split > 1 and words[split - 1].isascii() and words[split - 1].isdigit():
            split -= 1
        term, cells = " ".join(words[:split]), words[split:]
    if not cells or not all(cell.isascii() and cell.isdigit() for cell in cells):
        raise ValueBiasError(
            f"Line {i} of {name!r} is {line!r}; expected a word, then the numbers of its "
            "categories, separated by tabs."
        )
    return _term(term, name), [int(cell) for cell in cells]
