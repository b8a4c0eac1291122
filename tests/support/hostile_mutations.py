"""Damage files, the same way for the same seed: as disks, downloads, editors and foes do."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["WAYS", "damage", "flip"]

_HEAD = 4096
"""Where most formats say what the rest is: half of all flips go there."""
_JSON = (".json", ".zarray", ".zattrs", ".zgroup", ".jsonl", ".ndjson")
_TEXT = (".csv", ".tsv", ".yaml", ".yml", ".dic", ".dicx", ".md")
_DEEP = 20_000
_MARK = "\ufdd0here\ufdd1"
# What stands in the place of a value in JSON. Text, so that it may be what JSON does not know.
_VALUES = ("null", "true", "false", "0", "-1", "1", "3", "0.5", "1e308", "-0.0", "NaN", "Infinity",
           "1" + "0" * 400, "9223372036854775808", '""', '"x"', '"\\u0000"', '"\\ud83d"',
           '"../../x"',           "[]", "{}", "[null]", '{"x": 1}', '"' + "x" * 5000 + '"',
           "[" * _DEEP + "]" * _DEEP, '{"a":' * _DEEP + "1" + "}" * _DEEP)  # fmt: skip
_WORDS = ("", "NaN", "nan", "1e999", "-1", "0", "null", "true", "~", "é", "\x00", "\ud83d", "a,b",
          '"', "'", "\n", "\t", "%", "*", "[", "{", "&a", "*a", "!!python/none", "x" * 5000,
          "1" * 400, "=1+1", "\u202e", "- " * 3000, "[" * 5000)  # fmt: skip


def _flip(content: bytes, rng: random.Random) -> bytes:
    """Turn one bit round."""
    if not content:
        return b"\x01"
    end = min(len(content), _HEAD) if rng.random() < 0.5 else len(content)
    place = rng.randrange(end)
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _cut(content: bytes, rng: random.Random) -> bytes:
    """End early."""
    return content[: rng.choice((0, rng.randrange(len(content) or 1), len(content) - 1))]


def _double(content: bytes, rng: random.Random) -> bytes:
    """Have a stretch twice, or all of it."""
    if rng.random() < 0.2:
        return content + content
    start = rng.randrange(len(content) or 1)
    stop = start + rng.choice((1, 8, 100, 4096))
    return content[:stop] + content[start:stop] + content[stop:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    """Have bytes more, anywhere."""
    place = rng.randrange(min(len(content), _HEAD) + 1)
    more = rng.randbytes(rng.choice((1, 4, 300)))
    return content[:place] + more + content[place:]


def _lose(content: bytes, rng: random.Random) -> bytes:
    """Lack a stretch."""
    start = rng.randrange(len(content) or 1)
    return content[:start] + content[start + rng.choice((1, 8, 512)) :]


def _blank(content: bytes, rng: random.Random) -> bytes:
    """Have a block of zeros, or of ones, as disks do after a power cut; both lengths are kept."""
    start = rng.randrange(min(len(content), _HEAD) or 1)
    size = min(rng.choice((4, 8, 64, 512)), len(content) - start)
    return content[:start] + rng.choice((b"\0", b"\xff")) * size + content[start + size :]


def _field(content: bytes, rng: random.Random) -> bytes:
    """Change one value, key or entry of a JSON file, or the lines of one."""
    text = content.decode("utf-8")
    lines = text.splitlines(keepends=True) if not _is_json(text) else [text]
    place = rng.randrange(len(lines) or 1)
    if not lines or not _is_json(lines[place]):
        return _flip(content, rng)
    lines[place] = _with_other_field(json.loads(lines[place]), rng)
    return "".join(lines).encode("utf-8", "surrogatepass")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _with_other_field(tree: Any, rng: random.Random) -> str:
    places = list(_places(tree))
    holder, key = rng.choice(places) if places else (None, None)
    way = rng.choice(("value",) * 6 + ("gone", "twice", "called"))
    if holder is None:
        return rng.choice(_VALUES)
    value = rng.choice(_VALUES)
    if way == "gone":
        del holder[key]
    elif way == "called" and isinstance(holder, dict):
        holder["x" if rng.random() < 0.5 else key + "_"] = holder.pop(key)
    elif way == "twice" and isinstance(holder, dict):
        # Both entries, the second one with another value.
        whole = json.dumps(holder[key])
        holder[key] = _MARK
        return _filled(tree, f"{whole}, {json.dumps(key)}: {value}")
    elif way == "twice":
        holder.append(holder[key])
    else:
        holder[key] = _MARK
    return _filled(tree, value)


def _filled(tree: Any, value: str) -> str:
    return json.dumps(tree).replace(json.dumps(_MARK), value)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Go through all values but long lists, of which a few stand for the rest."""
    keys = list(tree) if isinstance(tree, dict) else list(range(min(len(tree), 3)))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


def _word(content: bytes, rng: random.Random) -> bytes:
    """Change a word, a cell or a line of a text file."""
    text = content.decode("utf-8", "surrogatepass")
    if rng.random() < 0.2:
        lines = text.splitlines(keepends=True)
        place = rng.randrange(len(lines) or 1)
        lines[place : place + 1] = rng.choice(([], lines[place : place + 1] * 2, ["\n"]))
        return "".join(lines).encode("utf-8", "surrogatepass")
    found = list(re.finditer(r"[\w.'/-]+|[,:;\t{}\[\]\"]", text))
    match = rng.choice(found)
    text = text[: match.start()] + rng.choice(_WORDS) + text[match.end() :]
    return text.encode("utf-8", "surrogatepass")


Way = Callable[[bytes, random.Random], bytes]
WAYS: dict[str, Way] = {
    "a bit flipped": _flip,
    "cut": _cut,
    "a stretch doubled": _double,
    "bytes inserted": _insert,
    "bytes lost": _lose,
    "a stretch blanked": _blank,
    "a field changed": _field,
    "a word changed": _word,
}


def damage(file: Path, rng: random.Random) -> str:
    """Change one file in place; say how.

    Of a folder's files one that says what the others are is as likely to be hit as one of numbers.
    """
    ways = ["a bit flipped", "cut", "a stretch doubled", "bytes inserted", "bytes lost"]
    ways.append("a stretch blanked")
    if file.name.endswith(_JSON):
        ways += ["a field changed"] * 8
    elif file.suffix in _TEXT:
        ways += ["a word changed"] * 6
    way = rng.choice(ways)
    before = file.read_bytes()
    after = before
    for _ in range(20):
        after = WAYS[way](before, rng)
        if after != before:
            break
    file.write_bytes(after)
    if rng.random() < 0.02 and file.parent.is_dir():
        file.unlink()
        if rng.random() < 0.5:
            file.mkdir()
            return "a folder in its place"
        return "gone"
    return way


def flip(files: Sequence[Path], bit: int) -> Path:
    """Turn one bit round, counted over all files together; give the file."""
    for file in files:
        size = 8 * file.stat().st_size
        if bit < size:
            content = bytearray(file.read_bytes())
            content[bit // 8] ^= 1 << bit % 8
            file.write_bytes(content)
            return file
        bit -= size
    raise IndexError("no such bit")
