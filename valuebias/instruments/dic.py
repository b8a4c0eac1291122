"""LIWC's ``.dic``, and what is a word in any list."""

from __future__ import annotations

import re

from valuebias.errors import ValueBiasError

__all__ = ["Pair", "check_term", "parse_dic", "plain_term"]

# "(02 134)125/464" and "<of>131/125": the first category given the context, the second without it.
_CONDITIONAL = re.compile(r"(?:\([^()]*\)|<[^<>]*>)\s*\d+(?:/(\d+))?")

Pair = tuple[str, str] | tuple[str, str, float]
"""A word, its category, and where it has one its weight there."""


def plain_term(cell: object, name: str) -> str:
    """Give a word as the file has it, without blanks around it."""
    check_term(cell, name)
    return str(cell).strip()


def check_term(term: object, name: str) -> None:
    """Refuse what is no word, such as a star alone."""
    if not isinstance(term, str):
        raise ValueBiasError(f"{name!r} has the word {term!r:.80}; expected a text. Quote it.")
    if term.strip("* \uff0a"):
        return
    every = " before the star, which alone stands for every word" if term.strip() else ""
    raise ValueBiasError(
        f"{name!r} has the word {term!r:.80}; expected at least one letter{every}."
    )


def parse_dic(text: str, name: str) -> tuple[list[str], list[Pair]]:
    """Give the categories of a ``.dic`` file, and its words with them."""
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
    pairs: list[Pair] = []
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
    return plain_term(term, name), [int(cell) for cell in cells]
