"""Damage files, the same way for the same seed: as disks, downloads, editors and foes do."""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["LOSSES", "WAYS", "damage", "flip"]

_HEAD = 4096
"""Where most formats say what the rest is, at the beginning or the end: half of all flips go there.
"""
_NUMBERS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1, 2**33, 2**40, 2**63 - 1, -1)
"""What lengths and counts are replaced by."""
_JSON = (".json", ".zarray", ".zattrs", ".zgroup", ".jsonl", ".ndjson")
_TEXT = (".csv", ".tsv", ".yaml", ".yml", ".dic", ".dicx", ".md", ".txt", ".jinja")
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
    place = _place(content, rng)
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def _place(content: bytes, rng: random.Random) -> int:
    """Choose a place: anywhere, near the beginning, or near the end."""
    near = rng.randrange(min(len(content), _HEAD))
    where = rng.random()
    if where < 0.5:
        return rng.randrange(len(content))
    return near if where < 0.8 else len(content) - 1 - near


def _number(content: bytes, rng: random.Random) -> bytes:
    """Have another number of 1, 2, 4 or 8 bytes, which may be a length or a count."""
    if not content:
        return b"\x01"
    width = rng.choice((1, 2, 4, 4, 8, 8))
    place = _place(content, rng) // width * width
    value = rng.choice(_NUMBERS) % 256**width
    return content[:place] + value.to_bytes(width, "little") + content[place + width :]


def _header(content: bytes, rng: random.Random) -> bytes:
    """Change a field of the JSON in the head of a safetensors file, and its length with it."""
    length = int.from_bytes(content[:8], "little")
    made = _field(content[8 : 8 + length], rng)
    return len(made).to_bytes(8, "little") + made + content[8 + length :]


def _member(content: bytes, rng: random.Random) -> bytes:
    """Damage one file in an archive, which is packed again with the right checksum."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
        said = archive.comment
    name = rng.choice(sorted(files))
    files[name] = rng.choice((_flip, _cut, _number, _insert, _blank))(files[name], rng)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, inside in files.items():
            archive.writestr(name, inside)
        archive.comment = said
    return packed.getvalue()


def _bomb(content: bytes, rng: random.Random) -> bytes:
    """Have what grows or nests without end where text is expected; in a small file."""
    laughs = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    bombs = (
        "\n".join(laughs) + "\n",
        ",".join(f"c{i}" for i in range(20_000)) + "\n",
        "a" * 2_000_000,
        "\n" * 500_000,
        '"' + "a,b\n" * 50_000,
        "{" * 30_000,
        "[" * 30_000,
        "- " * 30_000,
        "&a [*a]\n",
        "? " * 20_000,
        "%" * 100_000,
        "1" * 50_000,
    )
    bomb = rng.choice(bombs).encode()
    return rng.choice((bomb, content + b"\n" + bomb, bomb + content))


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
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return _flip(content, rng)
    lines = text.splitlines(keepends=True) if not _is_json(text) else [text]
    place = rng.randrange(len(lines) or 1)
    if not lines or not _is_json(lines[place]):
        return _flip(content, rng)
    lines[place] = _with_other_field(json.loads(lines[place]), rng)
    return "".join(lines).encode("utf-8", "surrogatepass")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
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
    if not isinstance(tree, dict | list):
        return
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
    "a number changed": _number,
    "a field of the head changed": _header,
    "a file of the archive damaged": _member,
    "a bomb": _bomb,
}


def _become_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


LOSSES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "a folder in its place": _become_a_folder,
    "empty": lambda file: file.write_bytes(b""),
}


def damage(file: Path, rng: random.Random) -> str:
    """Change one file in place, once or a few times; say how.

    Of a folder's files one that says what the others are is as likely to be hit as one of numbers.
    """
    said = _damage(file, rng)
    while file.is_file() and rng.random() < 0.15:
        said += f", {_damage(file, rng)}"
    return said


def _damage(file: Path, rng: random.Random) -> str:
    if rng.random() < 0.02:
        way = rng.choice(("gone", "a folder in its place"))
        LOSSES[way](file)
        return way
    before = file.read_bytes()
    way = rng.choice(_ways(file, before))
    after = before
    for _ in range(20):
        try:
            after = WAYS[way](before, rng)
        except Exception:  # noqa: BLE001 - what is damaged already may take no further damage
            after = _flip(before, rng)
        if after != before:
            break
    file.write_bytes(after)
    return way


def _ways(file: Path, content: bytes) -> list[str]:
    """List the ways to damage a file, those more often that get past the first look at it."""
    ways = ["a bit flipped", "cut", "a stretch doubled", "bytes inserted", "bytes lost"]
    ways.append("a stretch blanked")
    if file.name.endswith(_JSON):
        return [*ways, *["a field changed"] * 9, "a bomb"]
    if file.suffix in _TEXT:
        return [*ways, *["a word changed"] * 6, *["a bomb"] * 2] if _is_text(content) else ways
    ways += ["a number changed"] * 3
    if file.suffix == ".safetensors" and len(content) > 8:
        if _is_json_bytes(content[8 : 8 + int.from_bytes(content[:8], "little")]):
            ways += ["a field of the head changed"] * 6
    elif zipfile.is_zipfile(file):
        ways += ["a file of the archive damaged"] * 6
    return ways


def _is_text(content: bytes) -> bool:
    try:
        return bool(re.search(r"\w", content.decode("utf-8", "surrogatepass")))
    except UnicodeDecodeError:
        return False


def _is_json_bytes(content: bytes) -> bool:
    try:
        return _is_json(content.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def flip(files: Sequence[Path], bit: int) -> Path:
    """Turn one bit round, counted over all files together; give the file."""
    for file in files:
        size = 8 * file.stat().st_size
        if bit < size:
            with file.open("r+b") as handle:
                handle.seek(bit // 8)
                (byte,) = handle.read(1)
                handle.seek(bit // 8)
                handle.write(bytes([byte ^ 1 << bit % 8]))
            return file
        bit -= size
    raise IndexError("no such bit")
