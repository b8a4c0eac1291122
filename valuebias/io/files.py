"""Read and write datasets.

suffix     what is written
.zarr      a folder in Zarr format 2, one chunk per model
.nc        netCDF-4 (HDF5), compressed
.parquet   a tidy table, one row a score; attributes and types in the schema's metadata
.csv       the same table as text, with the attributes and types beside it in ``<name>.csv.json``

All four give back the same dataset, attributes included. The columns of the tidy table are
``model``, ``prompt``, ``response``, ``score``, then the coords, then a bool column
``category.<name>`` a category (R's ``as.logical`` takes its ``true`` and ``false``).

Text in a file is changed in one way, which reading undoes. Where a text has a lone surrogate, all
texts under that name are written with :func:`valuebias._core.text.escape` (in .nc and .zarr the
variable then has an attribute ``valuebias_escape``). A .csv has each text as it is, for R and
pandas: in a spreadsheet a word that begins with ``=`` would be a formula. A report's tables are
for these.

What is written has checksums, which reading compares.
"""

from __future__ import annotations

import functools
import io
import json
import os
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import xarray as xr

from valuebias._core.atomic import atomic_path, restore
from valuebias._core.clusters import by_ourselves
from valuebias._core.folder_names import check_apart, check_plain
from valuebias._core.foreign import check_file, reading
from valuebias._core.frames import refuse_table
from valuebias._core.opening.formats import check_format
from valuebias._core.opening.numpy_files import is_text
from valuebias._core.opening.replaced import read_steadily
from valuebias._core.opening.zarr_folders import check_zarr
from valuebias._core.sums import content_sum, file_bytes
from valuebias._core.text import escape, has_surrogate, unescape
from valuebias._core.zarr_records import read_record
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few, shown
from valuebias.io.long import read_csv, read_own, read_parquet, write_csv, write_parquet
from valuebias.io.long_reading import check_kind
from valuebias.io.sheets import SUFFIXES, check_has_sheets, suffix_of
from valuebias.io.wide import read_scores
from valuebias.schema import validate
from valuebias.schema.contrast_scores import (
    absent,
    from_contract,
    is_contrasts,
    is_marked,
    validate_contrasts,
)
from valuebias.schema.validation import join_advice

__all__ = [
    "SUM_OF_CONTENT",
    "check_replaceable",
    "escape_texts",
    "read",
    "read_scores",
    "shard_in",
    "unescape_texts",
    "write",
]

_Handler = TypeVar("_Handler")
_ESCAPE = "valuebias_escape"
SUM_OF_CONTENT = "valuebias_sha256"
"""The attribute in which netCDF has the sum of all else."""


def read(
    path: str | os.PathLike[str], *, kind: str | None = None, sheet: str | None = None
) -> xr.Dataset:
    """Read a dataset.

    Parameters
    ----------
    path : str or path-like
        A file or folder that :func:`write` made, or a tidy table of your own, one row a score:
        .csv or .tsv (also .gz and .zst; UTF-8, or UTF-16 with a byte-order mark), .parquet,
        .feather or .xlsx. Its columns, in any order, are ``model``, ``prompt``, ``response`` (or
        ``word``, ``token``) and ``score``; ``family``, ``stage`` and, if known, ``base`` of the
        models; ``text`` and ``framing`` of the prompts. Categories are columns ``category.<name>``,
        or one column ``category``, empty for words in none. Where what models and prompts are
        stands in tables of its own, :func:`read_scores` reads it all.
    kind : {"reward", "logprob", "implicit", "judged"}, optional
        The kind of scores in a table that does not say so itself, as those not made by
        :func:`write`.
    sheet : str, optional
        The sheet to read of an .xlsx file, where several have cells.

    Returns
    -------
    xarray.Dataset
        A dataset that passes :func:`valuebias.schema.validate`, in memory.

    Raises
    ------
    ValueBiasError
        If there is no such file, its suffix is unknown, it is empty, damaged or truncated, or what
        it holds does not follow the contract.

    Warns
    -----
    ValueBiasWarning
        If it is a store that :func:`valuebias.score` has not finished, or of one shard. Missing
        scores are NaN;
        models without any are left out. If columns of 0 and 1 are taken for categories: two or
        more, of which no word has more than one.

    Examples
    --------
    >>> import tempfile
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=4, seed=1)
    >>> path = write(ds, Path(tempfile.mkdtemp()) / "scores.parquet")
    >>> read(path).identical(ds)
    True
    """
    refuse_table(path)
    source = Path(path)
    reader = _by_suffix(source, _READERS)
    if not restore(source):
        raise ValueBiasError(f"There is no file {os.fspath(path)!r}. Check the path.")
    check_file(source)
    if os.path.isfile(source) and source.stat().st_size == 0:
        raise ValueBiasError(f"{os.fspath(path)!r} is empty.")
    check_format(source)
    check_has_sheets(source, sheet)
    side = source.with_name(f"{source.name}.json")
    named = reader if sheet is None else functools.partial(read_own, sheet=sheet)
    ds = read_steadily(lambda: named(source, kind), [source, side, source / ".zmetadata"])
    if str(ds.attrs.get("format")).startswith(("valuebias-fit/", "valuebias-ablation/")):
        raise ValueBiasError(
            f"{str(source)!r} is a saved fit, not scores. Read it with valuebias.load(path); in a "
            f"shell, valuebias report {shlex.quote(str(source))} --out report.html writes its "
            "report."
        )
    if is_contrasts(ds):
        return validate_contrasts(ds)
    return from_contract(ds) if is_marked(ds) else validate(ds)


def write(ds: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write a dataset, whole or not at all.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.
    path : str or path-like
        Where to; the suffix (.zarr, .nc, .parquet or .csv) chooses the format. A file there is
        replaced.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    ValueBiasError
        If `ds` does not follow the contract, the suffix is unknown, or the format cannot hold what
        the dataset has beyond the contract, such as a variable named ``..``.

    Examples
    --------
    >>> import tempfile
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=4, seed=1)
    >>> write(ds, Path(tempfile.mkdtemp()) / "scores.nc").name
    'scores.nc'
    """
    target = Path(path)
    writer = _by_suffix(target, _WRITERS)
    checked = validate_contrasts(ds) if is_contrasts(ds) else validate(ds)
    check_plain([*checked.variables, *checked.dims], "The dataset")
    writer(checked, target)
    return target


def _by_suffix(path: Path, table: Mapping[str, _Handler]) -> _Handler:
    suffix = suffix_of(path)
    if suffix not in table:
        raise ValueBiasError(
            f"{str(path)!r} has the suffix {suffix!r}, which names no format. "
            f"{did_you_mean(suffix, table)}"
        )
    return table[suffix]


def _read_netcdf(path: Path, kind: str | None) -> xr.Dataset:
    # Here, because it takes memory that scoring into zarr can do without.
    import h5py

    from valuebias._core.opening.hdf5_bytes import check_bytes
    from valuebias._core.opening.hdf5_files import check_hdf5

    with _damage_told(path):
        check_bytes(path)
        # By a handle, because HDF5 takes a path that an earlier failure left open for the old file.
        with path.open("rb") as handle:
            # Where this fails, h5netcdf would fail too, and complain again from its __del__.
            with h5py.File(handle) as file:
                check_hdf5(file, path)
                for name in file:
                    dict(file[name].attrs)
            # Times would be guessed from attributes named 'units'; the contract has none.
            with xr.open_dataset(handle, engine="h5netcdf", decode_times=False) as stored:
                ds = stored.load()
        expected = ds.attrs.pop(SUM_OF_CONTENT, None)
        if expected is not None and expected != content_sum(ds):
            raise ValueError(
                "its contents differ from its checksum; if they were changed on purpose, delete "
                f"the attribute {SUM_OF_CONTENT!r}"
            )
        ds = unescape_texts(ds.drop_encoding())
    check_kind(kind, ds.attrs.get("kind"), str(path))
    return ds


def _read_zarr(path: Path, kind: str | None) -> xr.Dataset:
    # Here, because importing zarr takes longer than reading a small file of another format.
    from valuebias._core.summed_zarr import open_checked

    with _damage_told(path):
        empty = check_zarr(path)
        with open_checked(path) as stored:
            ds = unescape_texts(stored.load().drop_encoding())
        if empty and read_record(path) is None:
            _warn_of_empty(path, empty)
    ds = _begun(ds, path) if _is_scored(ds) else ds
    check_kind(kind, ds.attrs.get("kind"), str(path))
    return ds


def _warn_of_empty(path: Path, arrays: Sequence[str]) -> None:
    """Name what Zarr reads as empty or missing because no file of values is there."""
    warnings.warn(
        f"{str(path)!r} has no file with the values of {few(arrays)}, which are read as empty or "
        "missing: right if all were, else the folder is damaged, and nothing in it can tell. Get "
        "it again if in doubt; what valuebias.write makes has checksums.",
        ValueBiasWarning,
        stacklevel=4,
    )


def _is_scored(ds: xr.Dataset) -> bool:
    """Tell whether valuebias.score made a store, which may be unfinished then."""
    try:
        return bool(json.loads(ds.attrs["provenance"])["by"] == "valuebias.score")
    except (KeyError, ValueError, TypeError, RecursionError):
        return False


def shard_in(attrs: Mapping[Any, Any]) -> str:
    """Name the shard whose scores a store holds, such as "shard 3 of 8"; empty where all are."""
    try:
        shard = json.loads(attrs["provenance"])["shard"]
        return f"shard {int(shard['index'])} of {int(shard['n'])}"
    except (KeyError, ValueError, TypeError, RecursionError, OverflowError):
        return ""


def _begun(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """Leave out the models that an unfinished store has no scores of, and say so."""
    shard = shard_in(ds.attrs)
    if shard and "score" not in ds and "groups" not in json.loads(ds.attrs["provenance"]):
        raise ValueBiasError(
            f"{str(path)!r} is {shard}, to which no scores fall. Once all are finished, "
            "valuebias.merge(stores, out=...) puts the shards together."
        )
    if "score" not in ds:
        raise ValueBiasError(
            f"{str(path)!r} holds the scores of whole vocabularies, which differ from model to "
            f"model; valuebias.read_vocabulary({str(path)!r}) reads them. "
            f"{join_advice(ds, f'valuebias.read_vocabulary({str(path)!r})')}"
        )
    missing = np.isnan(ds["score"].to_numpy())
    begun = ~missing.all(axis=(1, 2))
    missing &= ~absent(ds)
    if not begun.any():
        raise ValueBiasError(
            f"Nothing in {str(path)!r} is scored yet. Run valuebias.score(...) with this store "
            "again to go on.",
            in_shell=f"Nothing in {str(path)!r} is scored yet. Run the same 'valuebias score' with "
            "this store again to go on.",
        )
    if missing.any():
        left_out = ds["model"].to_numpy()[~begun].tolist()
        what, how = "unfinished", "Run valuebias.score(...) with this store again to go on."
        if shard:
            what = f"a part of the scores ({shard})"
            how = "valuebias.merge(stores, out=...) puts all shards together, once they are done."
        warnings.warn(
            f"{str(path)!r} is {what}: {missing.sum():,} of {missing.size:,} scores are "
            "missing (NaN)"
            + (f"; left out, as they have none: {', '.join(left_out)}" if left_out else "")
            + f". {how}",
            ValueBiasWarning,
            stacklevel=4,
        )
    return ds.isel(model=begun)


def _damage_told(path: Path) -> AbstractContextManager[None]:
    because = f"it is damaged, truncated or no {path.suffix} file"
    return reading(path, because=because, advice="Copy it again, or write it again.")


def _write_netcdf(ds: xr.Dataset, path: Path) -> None:
    # fletcher32 is a checksum: a damaged score is an error on reading, not another score.
    compressed = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    # Into memory first: where the disk fills up, the HDF5 library ends the whole process.
    content = io.BytesIO()
    try:
        escaped = escape_texts(ds)
        escaped = escaped.assign_attrs({SUM_OF_CONTENT: content_sum(escaped)})
        with by_ourselves():
            escaped.to_netcdf(content, engine="h5netcdf", encoding={"score": compressed})
    except (ValueError, TypeError) as error:
        raise ValueBiasError(f"netCDF cannot hold this dataset: {error}") from error
    with atomic_path(path) as part, part.open("wb") as file:
        file.writelines(file_bytes(content.getbuffer()))


def _write_zarr(ds: xr.Dataset, path: Path) -> None:
    from valuebias._core.summed_zarr import SummedFolder

    check_replaceable(path)
    check_apart(map(str, ds.variables), "variable")
    chunks = (1, *ds["score"].shape[1:])
    with atomic_path(path) as part:
        store = SummedFolder(part)
        try:
            # Format 3 has no stable form for fixed-width text yet, and zarr warns about it.
            escape_texts(ds).to_zarr(
                store, zarr_format=2, consolidated=True, encoding={"score": {"chunks": chunks}}
            )
        except (ValueError, TypeError) as error:
            raise ValueBiasError(f"Zarr cannot hold this dataset: {error}") from error
        store.seal()


def check_replaceable(path: Path) -> None:
    """Refuse to replace a folder that Zarr did not make, and scores that took hours.

    Examples
    --------
    >>> check_replaceable(Path("nowhere.zarr"))
    """
    if any(path.glob("score/.finished.*")) or any(path.glob("*/score/.finished.*")):
        raise ValueBiasError(
            f"{str(path)!r} is a store of valuebias.score, whose scores took their time; it is "
            "left as it is. Choose another path, or remove it first."
        )
    if path.is_dir() and not ((path / ".zgroup").exists() or (path / "zarr.json").exists()):
        raise ValueBiasError(
            f"{str(path)!r} is a folder that Zarr did not make; it is left as it is. "
            "Choose another path."
        )


def escape_texts(ds: xr.Dataset) -> xr.Dataset:
    r"""Escape the text of each coord that has a lone surrogate, and mark the coord.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"response": np.array([chr(0xD83D)])})
    >>> print(escape_texts(ds)["response"].item())
    \ud83d
    """
    ds = ds.drop_encoding()
    for name, values in _texts(ds).items():
        if _any_surrogate(values):
            ds = _with_text(ds, name, [escape(value) for value in values.tolist()])
            ds[name].attrs[_ESCAPE] = "backslash"
    return ds


def unescape_texts(ds: xr.Dataset) -> xr.Dataset:
    """Undo :func:`escape_texts`, and give all text its fixed-width form.

    Examples
    --------
    >>> ds = xr.Dataset(coords={"response": np.array([chr(0xD83D)])})
    >>> unescape_texts(escape_texts(ds)).identical(ds)
    True
    """
    for name, variable in ds.variables.items():
        if variable.dtype.kind == "U" and not is_text(variable.to_numpy()):
            raise ValueBiasError(
                f"{shown(name)} is damaged: it holds text that is no Unicode. Copy the file again, "
                "or make it again."
            )
    for name, values in _texts(ds).items():
        attrs = dict(ds[name].attrs)
        escaped = attrs.pop(_ESCAPE, None) is not None
        if not escaped and values.dtype.kind == "U":
            continue
        listed = values.tolist()
        ds = _with_text(ds, name, [unescape(value) for value in listed] if escaped else listed)
        ds[name].attrs = attrs
    return ds


def _texts(ds: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    """Give the one-dimensional coords that hold nothing but text."""
    texts = {}
    for name, coord in ds.coords.items():
        if coord.ndim == 1 and coord.dtype.kind in "OUT":
            values = coord.to_numpy()
            if values.dtype.kind == "U" or all(isinstance(v, str) for v in values.tolist()):
                texts[str(name)] = values
    return texts


def _any_surrogate(values: npt.NDArray[Any]) -> bool:
    """Tell whether any text has half a pair; vocabularies are long, so all at once."""
    if values.dtype.kind != "U":
        # Joined by what is half of no pair.
        return has_surrogate("\n".join(values.tolist()))
    # Fixed-width text is code points as they are; surrogates share their upper bits.
    points = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("="), copy=False)
    return bool(((points.view(np.uint32) >> 11) == 0xD800 >> 11).any())


def _with_text(ds: xr.Dataset, name: str, values: list[str]) -> xr.Dataset:
    array = np.array(values, dtype="U") if values else np.empty(0, dtype="U1")
    return ds.assign_coords({name: (ds[name].dims, array, dict(ds[name].attrs))})


_READERS: Mapping[str, Callable[[Path, str | None], xr.Dataset]] = MappingProxyType(
    {
        ".zarr": _read_zarr,
        ".nc": _read_netcdf,
        **dict.fromkeys(SUFFIXES, read_own),
        ".parquet": read_parquet,
        ".csv": read_csv,
    }
)
_WRITERS: Mapping[str, Callable[[xr.Dataset, Path], None]] = MappingProxyType(
    {".zarr": _write_zarr, ".nc": _write_netcdf, ".parquet": write_parquet, ".csv": write_csv}
)
