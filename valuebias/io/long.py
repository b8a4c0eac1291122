"""Datasets as tidy tables, one row a score, in Parquet and CSV."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import xarray as xr

from valuebias._core.atomic import atomic_path
from valuebias._core.disk import WriteError
from valuebias._core.foreign import parse_json, read_json, reading
from valuebias._core.provenance import sha256
from valuebias._core.sums import content_sum, json_sum
from valuebias._core.text import escape, has_surrogate, neutralise, restore
from valuebias.errors import ValueBiasError
from valuebias.io.contrast_rows import contrast_meta, contrast_tables
from valuebias.io.long_reading import CATEGORY, Meta, check_kind, dataset
from valuebias.io.own import FALSE, TRUE, own_rows
from valuebias.io.sheets import check_parquet
from valuebias.schema import DIMS
from valuebias.schema.contrast_scores import CONTRAST_DIMS, is_contrasts

__all__ = ["described_by", "read_csv", "read_own", "read_parquet", "write_csv", "write_parquet"]

_KEY = b"valuebias"
_TEXT = "text"
_AGAIN = "Copy it again, or write it again."
_CONTENT = "content"
"""The sum of what a CSV file says: its bytes take a fifth as long to hash as to write."""
_HASH = "sha256"
"""That of its bytes, which descriptions by earlier versions have, and tables without one."""
_BEFORE = "before"
_WHOLE, _BLANK = b"valuebias-sha256", b"0" * 64
"""Where a Parquet file has the sum of all else in it, and what stands there while it is made."""
_SUM_OF_FILE = re.compile(rb"\x18\x10(.{16})\x18\x40([0-9a-f]{64})", re.DOTALL)
"""In the footer, which is all that says where columns are and what they are called."""
_UNDESCRIBED = "Delete it and read the table with kind='reward', 'logprob', 'implicit' or 'judged'."
_SUM = "sum"
"""Under which what a table says of itself has its own checksum; older files lack it."""
_FORMS = {"attrs": dict, "names": dict, "coords": dict, "escaped": list, "neutralised": bool}


def write_parquet(ds: xr.Dataset, path: Path) -> None:
    """Write a dataset as a tidy Parquet file."""
    meta = _meta(ds)
    tables = _tables(ds, meta)
    first = next(tables)
    schema = first.schema.with_metadata({_KEY: json.dumps(_with_sum(meta)).encode()})
    with atomic_path(path) as part:
        with (
            # Else a writer that fails on a full disk keeps the file open, and so the room it takes.
            pa.OSFile(str(part), "wb") as file,
            pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer,
        ):
            writer.write_table(first.cast(schema))
            for table in tables:
                writer.write_table(table.cast(schema))
            writer.add_key_value_metadata({_WHOLE: _BLANK})
        _seal(part)


def read_parquet(path: Path, kind: str | None) -> xr.Dataset:
    """Read a tidy Parquet file."""
    with reading(path, because="it is damaged, truncated or no Parquet", advice=_AGAIN):
        with pq.ParquetFile(path, page_checksum_verification=True) as stored:
            _check_whole(path, stored.metadata.metadata or {})
            if _KEY not in (stored.metadata.metadata or {}):
                check_parquet(stored.metadata, path)
            table = stored.read()
        # Else text that is none, or a number beyond a dictionary's end, is met with later.
        table.validate(full=True)
    return dataset(table, meta=_unpacked(table.schema, path), kind=kind, name=str(path))


def _seal(path: Path) -> None:
    """Write the sum of a Parquet file into it."""
    _, _, at = _sums_in(path)[-1]
    digest = _sum_around(path, at)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(digest)


def _check_whole(path: Path, said: Mapping[bytes, bytes]) -> None:
    """Refuse what is not the file that was written; who writes its rows anew writes no sum."""
    sums = _sums_in(path)
    if not sums and _WHOLE not in said:
        return
    name, digits, at = sums[-1] if sums else (b"", b"", 0)
    if name != _WHOLE or digits != _sum_around(path, at):
        raise ValueError("its checksum is that of another content")


def _sums_in(path: Path) -> list[tuple[bytes, bytes, int]]:
    """Find what may be the sum of a Parquet file: its name, its digits, and where these stand."""
    with path.open("rb") as file:
        end = file.seek(-8, os.SEEK_END)
        start = file.seek(max(0, end - int.from_bytes(file.read(4), "little")))
        matches = _SUM_OF_FILE.finditer(file.read(end - start))
    return [(match[1], match[2], start + match.start(2)) for match in matches]


def _sum_around(path: Path, at: int) -> bytes:
    """Give the sum of a file but for its own digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(min(at - file.tell(), 2**20)):
            digest.update(block)
        file.seek(at + len(_BLANK))
        digest.update(file.read())
    return digest.hexdigest().encode()


def described_by(path: Path) -> Meta | None:
    """Give what a Parquet file says of itself; None where it is a table of somebody's own."""
    return _unpacked(pq.read_metadata(path), path)


def _unpacked(stored: pa.Schema | pq.FileMetaData, path: Path) -> Meta | None:
    packed = (stored.metadata or {}).get(_KEY)
    said = f"What {str(path)!r} says of itself"
    return None if packed is None else _about(parse_json(packed, said, advice=_AGAIN), said)


def write_csv(ds: xr.Dataset, path: Path) -> None:
    """Write a dataset as a tidy CSV file, with ``<name>.csv.json`` beside it.

    A kill leaves both old or both new: until the new table is in its place, the new description
    keeps that of the old one.
    """
    meta = _meta(ds)
    # This ties the two files together: one of them alone, or edited, is noticed.
    new = {**meta, _CONTENT: _content(ds)}
    with atomic_path(path) as part:
        _write_rows(ds, meta, part)
        before = _before(path)
        _write_sidecar(path, {**new, **before})
    if before:
        # What it says of the old table does no harm.
        with suppress(WriteError):
            _write_sidecar(path, new)


def _content(ds: xr.Dataset) -> str:
    """Give the sum of all that the rows say; the description has one of its own."""
    said = {}
    for name, variable in ds.variables.items():
        values = variable.to_numpy()
        if values.dtype.kind == "f":
            # There are many ways not to be a number, and an empty cell does not say which.
            values = np.where(np.isnan(values), np.nan, values)
        said[name] = (variable.dims, values)
    return content_sum(xr.Dataset(said))


def _write_sidecar(path: Path, content: Meta) -> None:
    with atomic_path(_sidecar(path)) as side:
        side.write_text(json.dumps(_with_sum(content)), encoding="ascii")


def _before(path: Path) -> Meta:
    """Give what belongs to the table that is about to be replaced."""
    if not path.is_file():
        return {}
    try:
        meta = _described(path)
        if meta is not None and _BEFORE in meta:
            meta = _read(path, meta)[1]
        hashed = sha256(path) if meta is None else None
    except ValueBiasError:
        return {}
    if meta is not None:
        meta = {name: value for name, value in meta.items() if name != _SUM}
    return {_BEFORE: {"meta": meta, _HASH: hashed}}


def read_csv(path: Path, kind: str | None) -> xr.Dataset:
    """Read a tidy CSV file, and the file beside it where there is one."""
    meta = _described(path)
    if meta is None:
        return dataset(own_rows(path), meta=None, kind=kind, name=str(path))
    ds, about = _read(path, meta, kind)
    if about is not None:
        check_kind(kind, about["attrs"].get("kind"), str(path))
    return ds


def read_own(path: Path, kind: str | None, sheet: str | None = None) -> xr.Dataset:
    """Read a long table that valuebias did not write."""
    return dataset(own_rows(path, sheet), meta=None, kind=kind, name=str(path))


def _read(path: Path, meta: Meta, kind: str | None = None) -> tuple[xr.Dataset, Meta | None]:
    """Read a table by what lies beside it; give what describes it, too: this, or that of before."""
    side = _sidecar(path)
    said = _said(side, path)
    new = {name: value for name, value in meta.items() if name != _BEFORE}
    ds = _read_described(path, new)
    if ds is not None:
        return ds, new
    if _BEFORE in meta:
        # A kill came before the table itself was replaced.
        with reading(said, advice=_UNDESCRIBED):
            old, of_old = meta[_BEFORE]["meta"], meta[_BEFORE][_HASH]
        if old is None and sha256(path) == of_old:
            return read_own(path, kind), None
        ds = None if old is None else _read_described(path, _about(old, said, _UNDESCRIBED))
        if ds is not None:
            return ds, old
    other = (
        f"{str(path)!r} is not the file that {side.name!r} was written for: it was changed or "
        f"truncated. If the change was meant, delete {side.name!r} and read the table with "
    )
    raise ValueBiasError(
        f"{other}kind='reward', 'logprob', 'implicit' or 'judged'.",
        in_shell=f"{other}--kind reward, logprob, implicit or judged.",
    )


def _read_described(path: Path, meta: Meta) -> xr.Dataset | None:
    """Read a table by what is said of it; None where that is said of another."""
    if _CONTENT not in meta and sha256(path) != meta.get(_HASH):
        return None
    try:
        ds = dataset(_read_rows(path, meta), meta=meta, kind=None, name=str(path))
    except ValueBiasError:
        if _CONTENT not in meta:
            raise
        return None
    return ds if _CONTENT not in meta or _content(ds) == meta[_CONTENT] else None


# --- writing ---------------------------------------------------------------------------------


def _meta(ds: xr.Dataset) -> Meta:
    """Describe what the columns do not show."""
    if is_contrasts(ds):
        return contrast_meta(ds)
    coords: dict[str, dict[str, str]] = {}
    escaped = []
    for name, coord in ds.coords.items():
        if name != "category" and (coord.ndim != 1 or coord.dims[0] not in DIMS):
            raise ValueBiasError(
                f"A tidy table cannot hold the coord {name!r} with the dims {coord.dims}. "
                "Drop it, or write .nc or .zarr."
            )
        texts = coord.dtype.kind in "OUT"
        if not texts and coord.dtype.kind not in "biuf":
            raise ValueBiasError(
                f"A tidy table cannot hold the coord {name!r} of dtype {coord.dtype}. "
                "Turn it into text or numbers, or write .nc or .zarr."
            )
        coords[str(name)] = {
            "dim": str(coord.dims[0]),
            "dtype": _TEXT if texts else str(coord.dtype),
        }
        if texts and any(has_surrogate(str(value)) for value in coord.to_numpy()):
            escaped.append(str(name))
    others = sorted(str(name) for name in ds.data_vars if name not in ("score", "membership"))
    if others:
        raise ValueBiasError(
            f"A tidy table cannot hold the variable {others[0]!r}. Drop it, or write .nc or .zarr."
        )
    return {
        "attrs": _json_attrs(ds),
        "names": {dim: ds[dim].to_numpy().tolist() for dim in (*DIMS, "category")},
        "coords": coords,
        "escaped": escaped,
        # Earlier versions put an apostrophe before what a spreadsheet would run.
        "neutralised": False,
    }


def _with_sum(meta: Meta) -> Meta:
    return {**meta, _SUM: _own_sum(meta)}


def _own_sum(meta: Meta) -> str:
    return json_sum({name: value for name, value in meta.items() if name != _SUM})


def _json_attrs(ds: xr.Dataset) -> dict[str, Any]:
    try:
        return dict(json.loads(json.dumps(ds.attrs)))
    except (TypeError, ValueError) as error:
        raise ValueBiasError(
            f"A tidy table keeps attributes as JSON, and one of these is none: {error}."
        ) from error


def _tables(ds: xr.Dataset, meta: Meta) -> Iterator[pa.Table]:
    """Give the rows of one model after another."""
    if is_contrasts(ds):
        yield from contrast_tables(ds, meta)
        return
    n_prompts, n_words = ds.sizes["prompt"], ds.sizes["response"]
    at = {
        "prompt": np.repeat(np.arange(n_prompts), n_words),
        "response": np.tile(np.arange(n_words), n_prompts),
    }
    columns = {name: _values(ds, name, meta) for name in meta["coords"] if name != "category"}
    member = ds["membership"].to_numpy()
    categories = _values(ds, "category", meta)
    names = [*DIMS, "score", *(name for name in columns if name not in DIMS)]
    for row in range(ds.sizes["model"]):
        at["model"] = np.full(n_prompts * n_words, row)
        arrays = {
            name: _spread(values, at[meta["coords"][name]["dim"]])
            for name, values in columns.items()
        }
        score = ds["score"].to_numpy()[row].ravel()
        arrays["score"] = pa.array(score, mask=np.isnan(score))
        table = {name: arrays[name] for name in names}
        for i, category in enumerate(categories):
            table[f"{CATEGORY}{category}"] = pa.array(member[at["response"], i])
        if len(table) != len(names) + len(categories):
            raise ValueBiasError(f"A coord may not be called {CATEGORY!r} and a category's name.")
        try:
            yield pa.table(table)
        except UnicodeEncodeError as error:
            raise ValueBiasError(
                f"A coord's name has a lone surrogate: {error}. Rename it."
            ) from error


def _values(ds: xr.Dataset, name: str, meta: Meta) -> npt.NDArray[Any]:
    values = ds[name].to_numpy()
    if meta["coords"][name]["dtype"] != _TEXT:
        return values
    texts = [str(value) for value in values]
    if name in meta["escaped"]:
        texts = [escape(text) for text in texts]
    return np.array(texts, dtype=object)


def _spread(values: npt.NDArray[Any], at: npt.NDArray[np.intp]) -> pa.Array:
    """Give each row its value; text as a dictionary, so that it is stored once."""
    if values.dtype != object:
        spread = values[at]
        return pa.array(spread, mask=np.isnan(spread) if spread.dtype.kind == "f" else None)
    listed = values.tolist()
    distinct = {text: code for code, text in enumerate(dict.fromkeys(listed))}
    codes = np.array([distinct[text] for text in listed], dtype=np.int32)
    return pa.DictionaryArray.from_arrays(
        pa.array(codes[at]), pa.array(list(distinct), type=pa.string())
    )


def _write_rows(ds: xr.Dataset, meta: Meta, path: Path) -> None:
    with ExitStack() as stack:
        file = stack.enter_context(pa.OSFile(str(path), "wb"))
        writer: pa_csv.CSVWriter | None = None
        for table in _tables(ds, meta):
            columns = [
                column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
                for column in table.columns
            ]
            plain = pa.table(columns, names=table.column_names)
            if writer is None:
                writer = stack.enter_context(pa_csv.CSVWriter(file, plain.schema))
            writer.write_table(plain)


# --- reading ---------------------------------------------------------------------------------


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _described(path: Path) -> Meta | None:
    """Read what lies beside a table, whatever table it was written for."""
    side = _sidecar(path)
    if not side.exists():
        return None
    said, advice = _said(side, path), _UNDESCRIBED
    return _about(read_json(side, said, advice=advice), said, advice)


def _said(side: Path, path: Path) -> str:
    return f"{str(side)!r}, which describes {path.name!r},"


def _about(content: Any, said: str, advice: str = _AGAIN) -> Meta:
    """Check that all is there that a table is put together by, and of what form it is."""
    with reading(said, advice=advice):
        for entry, kind in _FORMS.items():
            if not isinstance(content[entry], kind):
                raise TypeError(f"{entry} is no {kind.__name__}")
        if content.get(_SUM, _own_sum(content)) != _own_sum(content):
            raise ValueError("it does not say what was written")
        for names in content["names"].values():
            if len(set(names)) != len(names) or not all(isinstance(name, str) for name in names):
                raise ValueError("a name is no text, or stands twice")
        for coord in content["coords"].values():
            known = set(coord["dim"].split()) <= {*DIMS, *CONTRAST_DIMS, "category"}
            if not known or (
                coord["dtype"] != _TEXT and np.dtype(coord["dtype"]).kind not in "biuf"
            ):
                raise ValueError("a coord has a dim or a dtype that no table has")
    return dict(content)


def _read_rows(path: Path, meta: Meta) -> pa.Table:
    with reading(path, because="it is damaged, truncated or no CSV", advice=_AGAIN):
        table = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=_column_types(meta),
                true_values=TRUE,
                false_values=FALSE,
            ),
        )
        if meta["neutralised"]:
            table = table.rename_columns([restore(name) for name in table.column_names])
        # R writes the row numbers as a column without a name.
        return table.drop_columns([""]) if "" in table.column_names else table


def _column_types(meta: Meta) -> dict[str, pa.DataType]:
    shared = pa.dictionary(pa.int32(), pa.string())
    texts = [*DIMS, *CONTRAST_DIMS, "family", "base", "stage", "text", "framing"]
    types: dict[str, pa.DataType] = dict.fromkeys(texts, shared)
    types |= {"score": pa.float32(), "n_params": pa.float64()}
    for name, coord in meta["coords"].items():
        dtype = coord["dtype"]
        types[neutralise(name) if meta["neutralised"] else name] = (
            shared if dtype == _TEXT else pa.from_numpy_dtype(np.dtype(dtype))
        )
    return types
