"""Scores of contrast sets as tidy rows, one row a score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import xarray as xr

from valuebias.errors import ValueBiasError, few
from valuebias.schema.contract import KINDS
from valuebias.schema.contrast_scores import (
    CONTRAST_DIMS,
    CONTRAST_SCHEMA,
    absent,
    validate_contrasts,
)

__all__ = ["contrast_dataset", "contrast_meta", "contrast_tables", "is_contrast_table"]

_TEXT = "text"
# In the order in which they are tried for the columns of somebody's own table.
_DIMS: tuple[tuple[str, ...], ...] = (
    ("model",),
    ("variant",),
    ("item",),
    ("item", "variant"),
)
_OF_MODELS = ("family", "base", "stage", "n_params")


def is_contrast_table(columns: Any) -> bool:
    """Tell a table of the scores of a contrast set by its columns.

    Examples
    --------
    >>> is_contrast_table(["model", "item", "variant", "score"]), is_contrast_table(["item"])
    (True, False)
    """
    return {*CONTRAST_DIMS, "score"} <= {str(column).strip().lower() for column in columns}


def contrast_meta(ds: xr.Dataset) -> dict[str, Any]:
    """Describe what the columns do not show."""
    others = sorted(str(name) for name in ds.data_vars if name != "score")
    if others:
        raise ValueBiasError(
            f"A tidy table cannot hold the variable {others[0]!r}. Drop it, or write .nc or .zarr."
        )
    coords = {}
    for name, coord in ds.coords.items():
        if coord.dims not in _DIMS or coord.dtype.kind not in "OUTbiuf":
            raise ValueBiasError(
                f"A tidy table cannot hold the coord {name!r} with the dims {coord.dims} and the "
                f"dtype {coord.dtype}. Drop it, or write .nc or .zarr."
            )
        dtype = _TEXT if coord.dtype.kind in "OUT" else str(coord.dtype)
        coords[str(name)] = {"dim": " ".join(map(str, coord.dims)), "dtype": dtype}
    return {
        "attrs": dict(json.loads(json.dumps(ds.attrs))),
        "names": {dim: ds[dim].to_numpy().tolist() for dim in CONTRAST_DIMS},
        "coords": coords,
        "escaped": [],
        "neutralised": False,
    }


def contrast_tables(ds: xr.Dataset, meta: Mapping[str, Any]) -> Iterator[pa.Table]:
    """Give the rows of one model after another; variants that an item lacks have none."""
    kept = np.broadcast_to(~absent(ds), ds["score"].shape[1:])
    at = dict(zip(CONTRAST_DIMS[1:], np.nonzero(kept), strict=True))
    others = [name for name in meta["coords"] if name not in CONTRAST_DIMS]
    columns = {name: ds[name].to_numpy() for name in (*CONTRAST_DIMS, *others)}
    for row in range(ds.sizes["model"]):
        where = {"model": np.full(kept.sum(), row), **at}
        arrays = {}
        for name, values in columns.items():
            dims = meta["coords"][name]["dim"].split()
            arrays[name] = _array(values[tuple(where[dim] for dim in dims)])
            if name == CONTRAST_DIMS[-1]:
                arrays["score"] = _array(ds["score"].to_numpy()[row][kept])
        yield pa.table(arrays)


def _array(values: npt.NDArray[Any]) -> pa.Array:
    if values.dtype.kind in "OUT":
        codes, texts = pd.factorize(values.astype(object))
        return pa.DictionaryArray.from_arrays(
            pa.array(codes.astype(np.int32)), pa.array([str(t) for t in texts], type=pa.string())
        )
    return pa.array(values, mask=np.isnan(values) if values.dtype.kind == "f" else None)


def contrast_dataset(
    table: pa.Table, *, meta: Mapping[str, Any] | None, kind: str | None, name: str
) -> xr.Dataset:
    """Put rows together to a dataset."""
    stored = None if meta is None else meta["attrs"].get("kind")
    if (stored or kind) not in KINDS:
        untold = f"{name!r} does not say what kind of scores it holds."
        kinds = f"one of {list(KINDS)}."
        raise ValueBiasError(
            f"{untold} Give kind=, {kinds}", in_shell=f"{untold} Add --kind, {kinds}"
        )
    frame = table.to_pandas(strings_to_categorical=False)
    for column in frame.columns:
        if isinstance(frame[column].dtype, pd.CategoricalDtype):
            frame[column] = frame[column].astype(object)
    frame.columns = pd.Index([_plain(column) for column in frame.columns])
    cells = _Cells(frame, meta, name)
    score = np.full(cells.shape, np.nan, dtype=np.float32)
    score[cells.index(CONTRAST_DIMS)] = frame["score"].to_numpy(dtype=np.float64)
    coords: dict[str, Any] = {
        column: cells.coord(column)
        for column in frame.columns
        if column not in (*CONTRAST_DIMS, "score")
    }
    coords |= {dim: (dim, np.array(cells.names[dim], dtype="U")) for dim in CONTRAST_DIMS}
    n_models = len(cells.names["model"])
    coords.setdefault("base", ("model", np.full(n_models, "", dtype="U1")))
    coords.setdefault("n_params", ("model", np.full(n_models, np.nan)))
    attrs: dict[str, Any] = {
        "schema": CONTRAST_SCHEMA,
        "kind": kind,
        "units": KINDS.get(kind or "", ""),
        "provenance": "{}",
    }
    attrs = attrs if meta is None else dict(meta["attrs"])
    ds = xr.Dataset({"score": (CONTRAST_DIMS, score)}, coords=coords, attrs=attrs)
    if meta is not None:
        ds = ds[["score", *meta["coords"]]]
        ds = ds.assign_coords({n: ds[n] for n in meta["coords"]})
    return validate_contrasts(ds)


def _plain(column: object) -> str:
    known = (*CONTRAST_DIMS, "score", "prompt", "response", *_OF_MODELS)
    return str(column).strip().lower() if str(column).strip().lower() in known else str(column)


class _Cells:
    """Where each row of a table belongs."""

    def __init__(self, frame: pd.DataFrame, meta: Mapping[str, Any] | None, name: str) -> None:
        self.frame, self.meta, self.name = frame, meta, name
        self.names: dict[str, list[str]] = {}
        self.at: dict[str, npt.NDArray[np.intp]] = {}
        for dim in CONTRAST_DIMS:
            given = [_name(value) for value in frame[dim].tolist()]
            if "" in given:
                raise ValueBiasError(
                    f"The column {dim!r} of {name!r} has empty cells; expected a name in each row."
                )
            known = dict.fromkeys(given if meta is None else meta["names"][dim])
            unknown = [value for value in dict.fromkeys(given) if value not in known]
            if unknown:
                raise ValueBiasError(
                    f"{name!r} has the {dim} {few(unknown)}, of which what it says of itself "
                    "knows nothing. Copy it again, or write it again."
                )
            self.names[dim] = list(known)
            position = {value: i for i, value in enumerate(known)}
            self.at[dim] = np.array([position[value] for value in given], dtype=np.intp)
        self.shape = tuple(len(self.names[dim]) for dim in CONTRAST_DIMS)
        flat = np.ravel_multi_index(self.index(CONTRAST_DIMS), self.shape)
        times = np.bincount(flat)
        if times.max() > 1:
            row = int(np.argmax(times[flat] > 1))
            cell = {dim: self.names[dim][self.at[dim][row]] for dim in CONTRAST_DIMS}
            raise ValueBiasError(f"{name!r} has {times.max()} rows for {cell}; expected one.")

    def index(self, dims: tuple[str, ...]) -> tuple[npt.NDArray[np.intp], ...]:
        """Say of each row where along some dims it is."""
        return tuple(self.at[dim] for dim in dims)

    def coord(self, column: str) -> tuple[tuple[str, ...], npt.NDArray[Any]]:
        """Find the dims that a column describes, and lay it out along them."""
        values = self.frame[column].to_numpy()
        dtype = None
        choices = _DIMS
        if self.meta is not None and column in self.meta["coords"]:
            about = self.meta["coords"][column]
            choices, dtype = (tuple(about["dim"].split()),), about["dtype"]
        elif column in _OF_MODELS:
            choices = (("model",),)
        elif column in ("prompt", "response"):
            choices = (("item", "variant"),)
        codes = pd.factorize(values)[0]
        for dims in choices:
            at = self.index(dims)
            shape = tuple(len(self.names[dim]) for dim in dims)
            first = np.full(shape, -2, dtype=np.intp)
            first[at] = codes
            if not (first[at] != codes).any():
                return dims, _laid_out(values, at, shape, dtype)
        raise ValueBiasError(
            f"The column {column!r} of {self.name!r} differs within one item and variant of one "
            f"model's rows or between models; expected one value for each "
            f"{' or '.join(' × '.join(dims) for dims in choices)}."
        )


def _name(value: object) -> str:
    """Write a name as text: items may be numbered."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole and isinstance(value, float) else str(value)


def _laid_out(
    values: npt.NDArray[Any],
    at: tuple[npt.NDArray[np.intp], ...],
    shape: tuple[int, ...],
    dtype: str | None,
) -> npt.NDArray[Any]:
    if values.dtype == object and dtype != _TEXT and {*map(type, values.tolist())} == {bool}:
        values = values.astype(bool)
    if values.dtype == object or dtype == _TEXT:
        texts = np.full(shape, "", dtype=object)
        texts[at] = ["" if value is None or value != value else str(value) for value in values]
        return texts.astype("U")
    # Where a row is lacking, a whole number cannot say so, and a truth value stays false.
    blank = np.zeros(shape, dtype=values.dtype)
    full = len(np.unique(np.ravel_multi_index(at, shape))) == blank.size
    if values.dtype.kind != "b" and not full:
        blank = np.full(shape, np.nan)
    blank[at] = values
    return blank.astype(dtype) if dtype is not None else blank
