"""Read YAML: plain data only, and no more of them than the text can mean.

A few lines of YAML that refer to one another stand for billions of entries, and brackets within
brackets end the process. So a text is gone through piece by piece before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml  # noqa: TID251 - the one place that reads YAML

from valuebias._core.foreign import describe_error, reading
from valuebias.errors import ValueBiasError, shown

__all__ = ["LONGEST", "check_length", "parse_yaml"]

LONGEST = 8 * 1024**2
"""How many bytes or characters of YAML are read."""
_DEPTH = 50
_ENTRIES = 200_000
_NUMBER = 400
_SAID = 200
_MERGE = "tag:yaml.org,2002:merge"

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Starts = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_Ends = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class _Loader(_Base):  # type: ignore[misc]
    """Makes plain data: no key twice, and no number that takes hours to work out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.looked_at: dict[int, yaml.MappingNode] = {}

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Say where a value stands that cannot be made, such as the 32nd of a month."""
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, LookupError, AttributeError) as error:
            value = shown(getattr(node, "value", ""))
            raise yaml.MarkedYAMLError(
                problem=f"{value} cannot be read ({describe_error(error)})",
                problem_mark=node.start_mark,
            ) from error

    def flatten_mapping(self, node: Any) -> None:
        """Look for a key that stands twice before keys of other mappings are merged in."""
        if id(node) not in self.looked_at:
            self.looked_at[id(node)] = node
            self._check_once(node)
        super().flatten_mapping(node)

    def _check_once(self, node: Any) -> None:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue
            if key in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {shown(key)} stands there a second time",
                    problem_mark=key_node.start_mark,
                )
            seen.add(key)

    def number(self, node: Any) -> Any:
        if len(node.value) > _NUMBER:
            raise yaml.MarkedYAMLError(
                problem=f"a number of {len(node.value):,} digits", problem_mark=node.start_mark
            )
        whole = node.tag.endswith("int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)

    def other(self, node: Any) -> Any:
        raise yaml.MarkedYAMLError(
            problem=f"the tag {shown(node.tag)} names a type of its own, where only plain texts, "
            "numbers, lists and mappings are read",
            problem_mark=node.start_mark,
        )


_Loader.add_constructor(None, _Loader.other)
for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.number)


def parse_yaml(text: str, name: str) -> Any:
    r"""Read one YAML document.

    Examples
    --------
    >>> parse_yaml("a: [1, two]", "x.yaml")
    {'a': [1, 'two']}
    >>> parse_yaml("a: 1\na: 2", "x.yaml")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: Line 2 of 'x.yaml' is no valid YAML: the key 'a' stands there a
    second time. Correct it; what is text may be quoted.
    """
    check_length(len(text), name)
    advice = "Correct it; what is text may be quoted."
    with reading(repr(name), because="it is no valid YAML", advice=advice):
        try:
            _check(text, name)
            return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, with fewer types
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"Line {mark.line + 1} of {name!r}" if mark is not None else repr(name)
            said = str(error.problem or error.context or "it cannot be understood")[:_SAID]
            raise ValueBiasError(f"{where} is no valid YAML: {said}. {advice}") from error


def check_length(length: int, name: str) -> None:
    """Refuse a file that is longer than YAML may be."""
    if length > LONGEST:
        raise ValueBiasError(
            f"{name!r} is {length:,} characters long, where YAML may have {LONGEST:,}. Give a "
            "CSV file instead."
        )


def _check(text: str, name: str) -> None:
    """Count what a text stands for and how deep it goes, each reference with what it refers to."""
    opened: list[tuple[str | None, int, int]] = []  # anchor, entries, levels below
    entries = below = 0
    known: dict[str, tuple[int, int] | None] = {}
    events: Any = yaml.parse(text, Loader=_Base)
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, _Starts):
            opened.append((event.anchor, entries, below))
            entries, below = 1, 0
            if event.anchor is not None:
                known[event.anchor] = None
        elif isinstance(event, _Ends):
            anchor, above, deepest = opened.pop()
            if anchor is not None:
                known[anchor] = (entries, below + 1)
            entries, below = above + entries, max(deepest, below + 1)
        elif isinstance(event, yaml.ScalarEvent):
            entries += 1
            if event.anchor is not None:
                known[event.anchor] = (1, 0)
        elif isinstance(event, yaml.AliasEvent):
            size = known.get(str(event.anchor), (1, 0))
            if size is None:
                raise ValueBiasError(
                    f"Line {line} of {name!r} refers to "
                    f"{shown(event.anchor)}, of which it is a part. Write it out."
                )
            entries, below = entries + size[0], max(below, size[1])
        _check_bounded(entries, len(opened) + below, name, line)


def _check_bounded(entries: int, depth: int, name: str, line: int) -> None:
    if depth > _DEPTH:
        raise ValueBiasError(
            f"Line {line} of {name!r} is nested more than {_DEPTH} deep. Lay it out with fewer "
            "levels."
        )
    if entries > _ENTRIES:
        raise ValueBiasError(
            f"{name!r} stands for more than {_ENTRIES:,} entries (line {line}). Give a CSV file "
            "instead, or write out what refers to other entries."
        )
