"""Names that people take for one and a fit for two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from valuebias.errors import ValueBiasError, few

__all__ = ["alike_text", "check_spelling", "look_alike", "respelled", "spelled_twice"]

_UNNAMED = ("", "nan", "None")
_NOUNS = {"family": "families", "base": "bases", "reward_model": "reward models"}


def check_spelling(coord: str, names: Iterable[object]) -> None:
    """Refuse names of a coordinate of models that differ in capitals or spaces only."""
    groups = spelled_twice(names)
    if not groups:
        return
    first, second, *_ = groups[0]
    said = (
        f"The {_NOUNS.get(coord, f'levels of {coord!r}')} {first!r} and {second!r} differ in "
        "capitals or spaces only, and would be taken for two. Write them alike"
    )
    raise ValueBiasError(
        f"{said} where the models are described, or here: {respelled(coord, groups)}.",
        in_shell=f"{said} in the column {coord!r} of the table of models.",
    )


def spelled_twice(names: Iterable[object]) -> list[list[str]]:
    """Group names that differ in capitals or spaces only, in order of appearance."""
    return _grouped([str(name) for name in names], _plainly)


def look_alike(names: Iterable[object]) -> list[list[str]]:
    """Group names that may be one: alike but for punctuation, or for an owner before a slash.

    Numbers stay apart: "llama-3.1" is not "llama-31".
    """
    groups = []
    for alike in _grouped([str(name) for name in names], _last_part):
        owners = {_letters(name.rpartition("/")[0]) for name in alike} - {""}
        # Of two owners each may have its own.
        groups += [alike] if len(owners) < 2 else _grouped(alike, _letters)
    return groups


def respelled(coord: str, groups: Iterable[list[str]]) -> str:
    """Write the line that gives each group of names its first."""
    new = {name: group[0] for group in groups for name in group[1:]}
    return (
        f"dataset = dataset.assign_coords({coord}=('model', [{new!r}.get(name, name) for name in "
        f"dataset[{coord!r}].values.tolist()]))"
    )


def alike_text(coord: str, groups: list[list[str]]) -> str:
    """Say which names look alike, and what to do where they are one."""
    said = "; ".join(f"{few(group)} {_differ(group)}" for group in groups)
    return (
        f"the {_NOUNS.get(coord, f'levels of {coord!r}')} {said}. Taken as they are written, they "
        "are different ones: models of one under two names count as independent, which makes all "
        f"intervals too narrow. If they are one, write them alike: {respelled(coord, groups)}."
    )


def _differ(group: list[str]) -> str:
    if len({_letters(name) for name in group}) == 1:
        return "differ in capitals, spaces or punctuation only"
    return "differ in what stands before a slash only"


def _grouped(names: list[str], form: Callable[[str], str]) -> list[list[str]]:
    """Group distinct names of one form, in order of appearance."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if name.strip() not in _UNNAMED:
            groups.setdefault(form(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _plainly(name: str) -> str:
    return " ".join(name.split()).casefold()


def _last_part(name: str) -> str:
    return _letters(name.rpartition("/")[2])


def _letters(name: str) -> str:
    joined = re.sub(r"[\W_]+", "-", name.casefold())
    # Between two numbers it stays.
    return re.sub(r"(?<!\d)-|-(?!\d)", "", joined)
