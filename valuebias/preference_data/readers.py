"""The rows of a source of preferences: JSON lines, Parquet, a DataFrame or a datasets.Dataset."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.foreign import check_file, reading
from valuebias._core.frames import as_frame
from valuebias._core.text import visible
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.models.hub_files import FileRef, HubFile, fetched, hub_files, is_reference

__all__ = ["Row", "Rows", "rows_of"]

Row = tuple[str, Mapping[str, Any]]
"""The position of a row, in words, and its cells by column."""

_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet",)
_SPLITS = frozenset({"train", "test", "val", "valid", "validation", "dev", "eval"})
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Rows:
    """A source whose rows can be read one after another, more than once."""

    name: str  # what the source is called, unless it is given a name
    n: int  # how many rows, or more where a file has blank lines
    columns: tuple[str, ...]  # their columns
    # Takes the columns wanted; gives an iterator of rows.
    read: Callable[[Sequence[str]], Iterator[Row]]
    files: tuple[Path, ...] = ()  # the files, on this machine, that they are read from
    # Where they come from, for a provenance record.
    details: dict[str, Any] = field(default_factory=dict)


def rows_of(source: Any, *, split: str, download: bool) -> Rows:
    """Open a source of preferences of any kind."""
    source = as_frame(source)
    if isinstance(source, pd.DataFrame):
        rows = _of_frame(source)
    elif isinstance(source, str | os.PathLike):
        rows = _of_files(source, split=split, download=download)
    else:
        rows = _of_dataset(source)
    if not rows.n or not rows.columns:
        raise ValueBiasError(f"{rows.name!r} has no rows. Give a source that has preferences.")
    return rows


def _of_frame(frame: pd.DataFrame) -> Rows:
    columns = tuple(str(column) for column in frame.columns)
    for column, count in Counter(columns).items():
        if count > 1:
            raise ValueBiasError(f"The DataFrame has two columns {column!r}. Rename one.")

    def read(wanted: Sequence[str]) -> Iterator[Row]:
        positions = [columns.index(column) for column in wanted]
        cells = zip(*(frame.iloc[:, i] for i in positions), strict=True)
        for number, values in enumerate(cells):
            yield f"row {number} of the DataFrame", dict(zip(wanted, values, strict=True))

    return Rows("preferences", len(frame), columns, read)


def _of_dataset(source: Any) -> Rows:
    """Read a datasets.Dataset; where there is one, its package is loaded."""
    package = sys.modules.get("datasets")
    if package is not None and isinstance(source, package.DatasetDict):
        raise ValueBiasError(
            f"A dataset with the splits {sorted(source)} was given; expected one of them. "
            f"Give dataset[{min(source, default='train')!r}]."
        )
    if package is None or not isinstance(source, package.Dataset):
        raise ValueBiasError(
            f"A source of preferences is a path, a DataFrame, a datasets.Dataset or "
            f"'hf://datasets/<owner>/<name>@<revision>'; found {type(source).__name__}."
        )
    plain = source.with_format(None)

    def read(wanted: Sequence[str]) -> Iterator[Row]:
        chosen = plain.select_columns(list(wanted))
        for start in range(0, len(chosen), _AT_ONCE):
            block = chosen[start : start + _AT_ONCE]
            cells = zip(*(block[column] for column in wanted), strict=True)
            for number, values in enumerate(cells, start):
                yield f"row {number} of the Dataset", dict(zip(wanted, values, strict=True))

    name = str(source.info.dataset_name or "preferences")
    # The fingerprint covers the data and all that was done to them.
    details = {"dataset": {"name": name, "fingerprint": str(source._fingerprint)}}
    return Rows(name, len(source), tuple(source.column_names), read, details=details)


def _of_files(source: str | os.PathLike[str], *, split: str, download: bool) -> Rows:
    refs = _files(source, split=split, download=download)
    paths = tuple(fetched(ref, download=download) for ref in refs)
    details: dict[str, Any] = {}
    name = Path(source).stem
    if isinstance(refs[0], HubFile):
        first = refs[0]
        name = first.repository.rpartition("/")[2]
        files = [ref.name for ref in refs if isinstance(ref, HubFile)]
        details = {"hub": {"dataset": first.repository, "revision": first.commit, "files": files}}
    is_parquet = refs[0].name.lower().endswith(_PARQUET)
    head, each = (_parquet_head, _read_parquet) if is_parquet else (_lines_head, _read_lines)
    heads = [head(path) for path in paths]

    def read(wanted: Sequence[str]) -> Iterator[Row]:
        for path in paths:
            yield from each(path, wanted)

    return Rows(name, sum(n for n, _ in heads), heads[0][1], read, paths, details)


def _files(source: str | os.PathLike[str], *, split: str, download: bool) -> list[FileRef]:
    text = os.fspath(source)
    if is_reference(source):
        refs = hub_files(source, suffixes=_LINES + _PARQUET, download=download)
        by_name: dict[str, FileRef] = {ref.name: ref for ref in refs}
    elif os.path.isdir(source):
        paths = sorted(path for path in Path(source).rglob("*") if path.is_file())
        by_name = {
            path.relative_to(source).as_posix(): path
            for path in paths
            if path.name.lower().endswith(_LINES + _PARQUET) and not path.name.startswith(".")
        }
        if not by_name:
            raise ValueBiasError(f"The folder {text!r} has no .jsonl and no .parquet file.")
    else:
        return [_file(source)]
    if len(by_name) == 1:
        return list(by_name.values())
    return [by_name[name] for name in _one_table(list(by_name), split, text)]


def _file(source: str | os.PathLike[str]) -> Path:
    path, text = Path(source), os.fspath(source)
    check_file(path)
    if not os.path.isfile(path):
        hint = (
            f" For a dataset on the hub give 'hf://datasets/{text}@<revision>', the revision being "
            "a commit of 40 hexadecimal digits."
            if re.fullmatch(r"[\w.-]+/[\w.-]+", text)
            else " Check the path."
        )
        raise ValueBiasError(f"There is no file or folder {text!r}.{hint}")
    if not path.name.lower().endswith(_LINES + _PARQUET):
        raise ValueBiasError(
            f"{text!r} is not a preference file; expected {', '.join(_LINES + _PARQUET)}. Read it "
            "yourself and give a DataFrame."
        )
    return path


def _one_table(names: list[str], split: str, where: str) -> list[str]:
    """Choose the files that make one table: of one split, in one folder, of one format."""

    def splits(name: str) -> set[str]:
        return set(_SPLITS) & set(re.split("[^a-z0-9]+", name.lower()))

    named = sorted(set().union(*map(splits, names)))
    wanted = re.split("[^a-z0-9]+", split.lower())
    if named:
        kept = [name for name in names if set(wanted) <= set(re.split("[^a-z0-9]+", name.lower()))]
        if not kept:
            raise ValueBiasError(
                f"{where!r} has no files of the split {split!r}. {did_you_mean(split, named)}"
            )
    else:
        kept = names
    tables = {(str(PurePosixPath(name).parent), PurePosixPath(name).suffix) for name in kept}
    if len(tables) > 1:
        known = ", ".join(sorted({f"{folder} ({suffix})" for folder, suffix in tables}))
        raise ValueBiasError(
            f"{where!r} has several tables: {known}. Name one folder or one file, for example "
            f"'{where.rstrip('/')}/{min(tables)[0]}'."
        )
    return kept


def _lines_head(path: Path) -> tuple[int, tuple[str, ...]]:
    """Count the lines of a file, and name the columns of the first."""
    count, last = 0, b"\n"
    with _opened(path) as handle:
        while block := handle.read(2**20):
            count += block.count(b"\n")
            last = block
    first = next((tuple(row) for _, row in _lines(path)), ())
    return count + (not last.endswith(b"\n")), first


def _read_lines(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    for where, row in _lines(path):
        for column in wanted:
            if column not in row:
                raise ValueBiasError(
                    f"{_start(where)} has no {column!r}, which the first line has. "
                    f"{did_you_mean(column, map(visible, row))}"
                )
        yield where, row


def _lines(path: Path) -> Iterator[Row]:
    with _opened(path) as handle:
        for number, raw in enumerate(handle, 1):
            where = f"line {number} of {path.name!r}"
            if number == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if not raw.strip():
                continue
            try:
                row = json.loads(raw.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ValueBiasError(
                    f"{_start(where)} is not UTF-8 text (byte {error.start} of the line). Save the "
                    "file as UTF-8."
                ) from error
            except (ValueError, RecursionError) as error:
                raise ValueBiasError(
                    f"{_start(where)} is not JSON ({visible(error)}). Expected one object per "
                    "line; the file may be truncated."
                ) from error
            if not isinstance(row, dict):
                raise ValueBiasError(
                    f"{_start(where)} is a JSON {type(row).__name__}; expected one object per "
                    'line, such as {"prompt": ..., "chosen": ..., "rejected": ...}.'
                )
            yield where, row


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise ValueBiasError(f"{str(path)!r} cannot be read ({error.strerror}).") from error


def _parquet(path: Path) -> Any:
    import pyarrow.parquet as pq

    with _damage_told(path):
        return pq.ParquetFile(path)


def _damage_told(path: Path) -> AbstractContextManager[None]:
    because = "it is damaged or truncated"
    return reading(path, verb="read as Parquet", because=because, advice="Get it again.")


def _parquet_head(path: Path) -> tuple[int, tuple[str, ...]]:
    """Count the rows of a file, and name its columns."""
    with _parquet(path) as file, _damage_told(path):
        return int(file.metadata.num_rows), tuple(file.schema_arrow.names)


def _read_parquet(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    with _parquet(path) as file:
        for column in wanted:
            check_known(column, file.schema_arrow.names, f"{str(path)!r} has no column {column!r}.")
        number = 0
        batches = file.iter_batches(batch_size=_AT_ONCE, columns=list(wanted))
        while True:
            with _damage_told(path):
                batch = next(batches, None)
                rows = [] if batch is None else batch.to_pylist()
            if batch is None:
                return
            for row in rows:
                yield f"row {number} of {path.name!r}", row
                number += 1


def _start(where: str) -> str:
    return where[0].upper() + where[1:]
