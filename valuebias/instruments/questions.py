"""Questions with a right answer and wrong ones, of which batteries of contrasts are made."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from valuebias._core.frames import as_frame
from valuebias._core.notebooks import as_html
from valuebias._core.tables import parse_csv, read_text
from valuebias._core.text import has_surrogate
from valuebias.errors import ValueBiasError, did_you_mean, few, shown
from valuebias.instruments.json_lines import LINES, read_lines
from valuebias.instruments.made_questions import MADE, VERSION, make_questions

__all__ = ["QuestionSet", "Source", "question_names", "questions"]

_KEYS = ("question", "right", "wrong")
_TABLES = (".csv", ".tsv")
_LINE = '{"question": "What is 2 + 2?", "right": "4", "wrong": ["5", "22"]}'
_N = 100


@dataclass(frozen=True, slots=True, eq=False)
class QuestionSet:
    """Questions, each with its right answer and one wrong one or several.

    Attributes
    ----------
    name : str
        Name of the set.
    table : pandas.DataFrame
        One row per question, named by the index ``item``: the texts ``question`` and ``right``, the
        tuple of texts ``wrong``, and a column for whatever else is known of them, such as
        ``topic``.
    about : mapping
        How it was made, as JSON can hold it; may be empty.
    citation : str
        Where the questions come from; may be empty.

    Examples
    --------
    >>> questions("dates", n=30, seed=1)
    <QuestionSet 'dates': 30 questions, each with 3 wrong answers>
    """

    name: str
    table: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)
    citation: str = ""

    def __post_init__(self) -> None:
        """Check the table and keep a copy of it."""
        object.__setattr__(self, "table", _checked(self.table, self.name))

    def __len__(self) -> int:
        """Count the questions."""
        return len(self.table)

    @property
    def items(self) -> tuple[str, ...]:
        """The items' names, in order."""
        return tuple(self.table.index)

    def __repr__(self) -> str:
        """Say how many questions and wrong answers there are."""
        counts = sorted({len(wrong) for wrong in self.table["wrong"]})
        many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        asked = f"{len(self):,} questions, each" if len(self) > 1 else "1 question"
        answers = "answer" if counts[-1] == 1 else "answers"
        return f"<QuestionSet {self.name!r}: {asked} with {many} wrong {answers}>"

    def _repr_html_(self) -> str:
        """Show the first questions in a notebook."""
        table = self.table.reset_index()
        table["wrong"] = [", ".join(wrong) for wrong in table["wrong"]]
        return as_html(repr(self).strip("<>"), table, self.citation, most=6)


Source: TypeAlias = (
    str | os.PathLike[str] | QuestionSet | pd.DataFrame | Mapping[str, Any] | Sequence[Any]
)
"""What :func:`questions` reads."""


def question_names() -> tuple[str, ...]:
    """List the kinds of questions that the package makes.

    Returns
    -------
    tuple of str
        Names that :func:`valuebias.questions` takes.

    Examples
    --------
    >>> question_names()
    ('arithmetic', 'dates', 'alphabet', 'counting', 'units')
    """
    return tuple(MADE)


def questions(
    source: Source,
    *,
    n: int | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> QuestionSet:
    """Read questions of your own, or have some made.

    Parameters
    ----------
    source : str, path, QuestionSet, DataFrame, mapping or sequence of mappings
        What the package makes by rule, with three wrong answers each: ``"arithmetic"``, sums,
        differences and products; ``"dates"``, weekdays, dates and days between them;
        ``"alphabet"``, the first or last of four words; ``"counting"``, words and letters;
        ``"units"``, of time and measure. Or a JSON-lines file (.jsonl), each line an item::

            {"question": "What is 2 + 2?", "right": "4", "wrong": ["5", "22"]}

        ``wrong`` may be one text. In its place there may be ``options``, a list in which the right
        answer stands too. ``item`` names the question; without it, they are numbered. Whatever else
        there is, such as a topic, is kept. The same as a sequence of mappings, or as a mapping from
        the items' names. A DataFrame or a .csv or .tsv file has one row a question, with the
        columns question, right and wrong; further wrong answers stand in columns whose names begin
        with "wrong", such as "wrong 2".
    n : int, optional
        How many are made, from 2 to 1,000; 100 if not given.
    seed : int, optional
        Of what is made; 0 if not given. The same seed makes the same questions.
    name : str, optional
        Name of the set.

    Returns
    -------
    QuestionSet
        The questions in the order given.

    Raises
    ------
    ValueBiasError
        If the file cannot be read; a text is missing or empty; a question has no wrong answer, or
        one that is the right one or another wrong one but for capitals and spaces; a name or
        question occurs twice; or `n` or `seed` is given for questions that are not made.

    Examples
    --------
    >>> questions("arithmetic", n=3, seed=1).table["question"].tolist()
    ['What is 59 + 32?', 'What is 97 - 86?', 'What is 22 × 19?']
    >>> mine = questions([{"question": "What is 2 + 2?", "right": "4", "wrong": ["5", "22"]}])
    >>> mine.table["wrong"]["question 1"]
    ('5', '22')
    """
    if isinstance(source, str) and source in MADE:
        n, seed = _N if n is None else n, 0 if seed is None else seed
        made = _table(make_questions(source, n, seed))
        about = {"made": source, "n": int(n), "seed": int(seed), "version": VERSION}
        return QuestionSet(name or source, made, about)
    if n is not None or seed is not None:
        raise ValueBiasError(
            f"{'n' if seed is None else 'seed'} is of questions that are made, which "
            f"{shown(source)} is not. Leave it out, or have some made: {few(MADE, limit=9)}."
        )
    if isinstance(source, QuestionSet):
        if name is None:
            return source
        return QuestionSet(name, source.table, source.about, source.citation)
    source = as_frame(source)
    if isinstance(source, pd.DataFrame):
        return QuestionSet(name or "questions", _of_frame(source))
    if isinstance(source, Mapping):
        rows = [(f"the item {shown(key)}", _named(key, entry)) for key, entry in source.items()]
        return QuestionSet(name or "questions", _of_entries(rows))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return QuestionSet(name or path.stem, _of_file(path))
    if isinstance(source, Sequence):
        rows = [(f"entry {i} of the questions", entry) for i, entry in enumerate(source)]
        return QuestionSet(name or "questions", _of_entries(rows))
    raise ValueBiasError(
        f"The questions are of type {type(source).__name__}; expected one of {few(MADE, limit=9)}, "
        f"a file, a table, or items such as {_LINE}."
    )


def _named(key: Any, entry: Any) -> Any:
    return {"item": key, **entry} if isinstance(entry, Mapping) else entry


def _of_file(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if not suffix and not path.exists():
        raise ValueBiasError(
            f"There are no questions and no file {shown(os.fspath(path))}. "
            f"{did_you_mean(os.fspath(path), MADE)} Questions of your own stand in a file with "
            f"lines such as {_LINE}."
        )
    if suffix not in (*LINES, *_TABLES):
        raise ValueBiasError(
            f"{os.fspath(path)!r} has the suffix {suffix!r}; expected .jsonl with lines such as "
            f"{_LINE}, or a table: {', '.join(_TABLES)}."
        )
    if not path.is_file():
        raise ValueBiasError(f"There is no file {os.fspath(path)!r}. Check the path.")
    if suffix in LINES:
        return _of_entries(list(read_lines(path, _LINE)))
    header, rows = parse_csv(read_text(path), os.fspath(path))
    cells = {column: [row[i] for row in rows] for i, column in enumerate(header) if column}
    return _of_frame(pd.DataFrame(cells, dtype=object))


def _of_frame(frame: pd.DataFrame) -> pd.DataFrame:
    if frame.index.name == "item":
        frame = frame.reset_index()
    more = [column for column in frame.columns if str(column).lower().startswith("wrong")]
    entries: list[tuple[str, dict[Any, Any]]] = []
    for number, row in enumerate(frame.to_dict("records"), 1):
        wrong = [text for column in more for text in _listed(row.pop(column))]
        known = {**row, "wrong": wrong} if more else row
        entries.append((f"row {number} of the questions", known))
    return _of_entries(entries)


def _listed(cell: Any) -> Iterator[Any]:
    """Give the wrong answers in a cell; an empty one has none."""
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        yield from cell
    elif isinstance(cell, np.ndarray):
        yield from cell.tolist()
    elif not (cell is None or cell == "" or cell is pd.NA or cell != cell):
        yield cell


def _of_entries(entries: Sequence[tuple[str, Any]]) -> pd.DataFrame:
    rows = []
    for number, (where, entry) in enumerate(entries, 1):
        start = _begin(where)
        if not isinstance(entry, Mapping):
            raise ValueBiasError(f"{start} is {shown(entry)}; expected {_LINE}.")
        row = dict(entry)
        if "options" in row and "wrong" not in row:
            row["wrong"] = _without(row.get("right"), row.pop("options"), start)
        for key in _KEYS:
            if key not in row:
                raise ValueBiasError(
                    f"{start} has no {key!r}; found {few(map(str, entry))}. Write it as {_LINE}."
                )
        if row.get("item") is None:
            row["item"] = f"question {number}"
        rows.append(row)
    return _table(rows)


def _without(right: Any, options: Any, start: str) -> list[Any]:
    given = list(_listed(options))
    if right not in given:
        raise ValueBiasError(
            f"{start} has the options {shown(options)}, of which none is the right answer, "
            f"{shown(right)}. Add it to them."
        )
    given.remove(right)
    return given


def _table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    columns = dict.fromkeys(["item", *_KEYS, *(str(key) for row in rows for key in row)])
    cells = {column: [row.get(column) for row in rows] for column in columns}
    return pd.DataFrame(cells, dtype=object).set_index("item")


def _checked(table: pd.DataFrame, name: str) -> pd.DataFrame:
    if "item" in table.columns:
        table = table.set_index("item")
    if not len(table):
        raise ValueBiasError(f"The question set {name!r} has no questions.")
    for column in _KEYS:
        if column not in table.columns:
            raise ValueBiasError(
                f"The question set {name!r} has no column {column!r}; found "
                f"{few(map(str, table.columns))}. Give each question a text, its right answer and "
                "the wrong ones."
            )
    asked: dict[str, str] = {}
    names: set[str] = set()
    wrongs = []
    for item, question, right, wrong in zip(
        table.index, table["question"], table["right"], table["wrong"], strict=True
    ):
        if not _is_text(item):
            raise ValueBiasError(f"A question is named {item!r}; expected text.")
        if item in names:
            raise ValueBiasError(f"The item {item!r} occurs twice. Rename one of the two.")
        names.add(item)
        wrongs.append(tuple(_listed(wrong)))
        _check_question(item, question, right, wrongs[-1])
        if question in asked:
            raise ValueBiasError(
                f"The items {asked[question]!r} and {item!r} ask the same question. Remove one, or "
                "join their wrong answers."
            )
        asked[question] = item
    further = [column for column in table.columns if column not in _KEYS]
    kept = table[[*_KEYS, *further]].astype(dict.fromkeys(_KEYS, object))
    index = pd.Index(list(table.index), dtype=object, name="item")
    kept = kept.set_axis(index, axis=0)
    return kept.assign(wrong=pd.Series(wrongs, index=index, dtype=object))


def _check_question(item: str, question: Any, right: Any, wrong: Sequence[Any]) -> None:
    if not wrong:
        raise ValueBiasError(
            f"The item {item!r} has no wrong answer, so that the right one is in contrast to "
            "nothing. Give one or more."
        )
    texts = {"the question": question, "the right answer": right}
    texts |= {f"wrong answer {i}": text for i, text in enumerate(wrong, 1)}
    seen: dict[str, str] = {}
    for noun, text in texts.items():
        if not _is_text(text):
            raise ValueBiasError(
                f"{_begin(noun)} of the item {item!r} is {shown(text)}; expected text "
                "that is not blank. Put numbers in quotes."
            )
        if noun == "the question":
            continue
        alike = " ".join(text.split()).casefold()
        if alike in seen:
            raise ValueBiasError(
                f"{_begin(seen[alike])} and {noun} of the item {item!r} are the same: "
                f"{shown(text)}. Change one, or leave a wrong one out."
            )
        seen[alike] = noun


def _begin(text: str) -> str:
    return text[0].upper() + text[1:]


def _is_text(value: Any) -> bool:
    return (
        isinstance(value, str)
        and bool(value.strip())
        and "\0" not in value
        and not has_surrogate(value)
    )
