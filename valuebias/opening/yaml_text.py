"""Read YAML: plain data only, and no more of them than the text can mean.

A few lines of YAML that refer to one another stand for billions of entries, and brackets within
brackets end the process. So a text is gone through piece by piece before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

from valuebias.errors import ValueBiasError, shown

__all__ = ["parse_yaml"]

_LONGEST = 8 * 1024**2
_DEPTH = 50
_ENTRIES = 400_000
_NUMBER = 400
_SAID = 300

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Starts = (yaml.SequenceStartEvent, yaml.MappingStartEvent)
_Ends = (yaml.SequenceEndEvent, yaml.MappingEndEvent)


class _Loader(_Base):  # type: ignore[misc]
    """Makes plain data: no key twice, and no number that takes hours to work out."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {shown(key.value)} stands there twice",
                        problem_mark=key.start_mark,
                    )
                seen.add((key.tag, key.value))
        made: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return made

    def number(self, node: Any) -> Any:
        if len(node.value) > _NUMBER:
            raise yaml.MarkedYAMLError(
                problem=f"a number of {len(node.value):,} digits", problem_mark=node.start_mark
            )
        whole = node.tag.endswith("int")
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.number)


def parse_yaml(text: str, name: str) -> Any:
    """Read one YAML document.

    Parameters
    ----------
    text : str
        The whole file.
    name : str
        What to call it in errors.

    Returns
    -------
    object
        Mappings, lists, texts, numbers, dates, true, false and nothing.

    Raises
    ------
    ValueBiasError
        If it is no YAML, names a type of Python's, has a key twice, is longer than 8 MB, nested
        more than 50 deep, or stands for more than 400,000 entries.

    Examples
    --------
    >>> parse_yaml("a: [1, two]", "x.yaml")
    {'a': [1, 'two']}
    """
    if len(text) > _LONGEST:
        raise ValueBiasError(
            f"{name!r} is {len(text):,} characters long, where YAML may have {_LONGEST:,}. Give a "
            "CSV file instead."
        )
    try:
        _check(text, name)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, with fewer types
    except yaml.YAMLError as error:
        raise ValueBiasError(
            f"{name!r} is no valid YAML: {_said(error)}. Correct it."
        ) from error
    except ValueBiasError:
        raise
    except (ValueError, RecursionError, OverflowError, TypeError, KeyError) as error:
        raise ValueBiasError(
            f"{name!r} has a value that cannot be read ({_said(error)}). Quote it if it is "
            "text."
        ) from error


def _said(error: Exception) -> str:
    """Give the first part of a message."""
    text = str(error)
    return text if len(text) <= _SAID else f"{text[:_SAID]}…"


def _check(text: str, name: str) -> None:
    """Count what a text stands for, each reference with all that it refers to."""
    counts = [0]
    anchors: list[str | None] = []
    sizes: dict[str, int | None] = {}
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, _Starts):
            anchors.append(event.anchor)
            counts.append(1)
            if event.anchor is not None:
                sizes[event.anchor] = None
            if len(anchors) > _DEPTH:
                raise ValueBiasError(
                    f"{name!r} is nested more than {_DEPTH} deep. Lay it out with fewer levels."
                )
        elif isinstance(event, _Ends):
            anchor, size = anchors.pop(), counts.pop()
            counts[-1] += size
            if anchor is not None:
                sizes[anchor] = size
        elif isinstance(event, yaml.ScalarEvent):
            counts[-1] += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(event.anchor, 1)  # type: ignore[assignment]
            if size is None:
                raise ValueBiasError(
                    f"{name!r} has an entry, {shown(event.anchor)}, that contains itself. Write "
                    "it out."
                )
            counts[-1] += size
        if counts[-1] > _ENTRIES:
            raise ValueBiasError(
                f"{name!r} stands for more than {_ENTRIES:,} entries. Give a CSV file instead, or "
                "write out what refers to other entries."
            )
