"""Make a dataset of a tidy table."""

from __future__ import annotations

import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import xarray as xr

from valuebias._core.foreign import reading
from valuebias._core.text import restore, unescape
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few
from valuebias.io.contrast_rows import contrast_dataset, is_contrast_table
from valuebias.io.numbers import NOT_SCORED
from valuebias.io.own import named
from valuebias.schema import DIMS, KINDS, build
from valuebias.schema.weights import check_weights, marks_or_weights

__all__ = ["CATEGORY", "Meta", "Tables", "check_kind", "dataset"]

CATEGORY = "category."
"""What the column of a category starts with."""

Tables = dict[str, pd.DataFrame]
"""What is known of the names along each dim."""

Meta = dict[str, Any]
"""What a table that valuebias wrote says of itself: attrs, names, coords, escaped, neutralised."""

_OWNER = {
    "family": "model",
    "base": "model",
    "stage": "model",
    "n_params": "model",
    "text": "prompt",
    "framing": "prompt",
}


def dataset(
    table: pa.Table,
    *,
    meta: Meta | None,
    kind: str | None,
    name: str,
    described: Callable[[Tables], Tables] | None = None,
    lexicon: Callable[[list[str]], pd.DataFrame] | None = None,
    provenance: Callable[[], dict[str, Any]] | None = None,
) -> xr.Dataset:
    """Turn rows into a dataset; what they do not say may be added, and other categories given."""
    said = reading(f"What {name!r} says of itself", advice="Write the file again.")
    with nullcontext() if meta is None else said:
        table = named(table, name) if meta is None else table
        if is_contrast_table(table.column_names):
            return contrast_dataset(table, meta=meta, kind=kind, name=name)
        rows = _Rows(table, meta, name)
        attrs = {} if meta is None else meta["attrs"]
        stored = attrs.get("kind")
        if stored is None and kind is None:
            untold = f"{name!r} does not say what kind of scores it holds."
            kinds = f"one of {list(KINDS)}; or, if valuebias"
            raise ValueBiasError(
                f"{untold} Give kind=, {kinds}.write made it, copy what lay beside it, too.",
                in_shell=f"{untold} Add --kind, {kinds} made it, copy what lay beside it, too.",
            )
        if stored is not None:
            check_kind(kind, stored, name)
        tables, member = rows.coords()
        if meta is None:
            tables = described(tables) if described else tables
            _check_described(tables, name)
        if lexicon is not None:
            member = lexicon(rows.names["response"])
        ds = build(
            rows.cube(),
            models=tables["model"],
            prompts=tables["prompt"],
            lexicon=member if member.shape[1] else None,
            responses=rows.names["response"],
            words=tables["response"],
            kind=stored or kind or "",
            provenance=None if provenance is None else provenance(),
        )
        for coord, about in ({} if meta is None else meta["coords"]).items():
            if about["dtype"] != "text" and ds[coord].dtype != about["dtype"]:
                ds[coord] = ds[coord].astype(about["dtype"])
        return ds.assign_attrs(attrs)


def _check_described(tables: Tables, name: str) -> None:
    """Name the columns that a table of somebody's own lacks, and where else they may stand."""
    for dim, columns in (("model", ("family", "stage")), ("prompt", ("text", "framing"))):
        for column in columns:
            if column not in tables[dim]:
                said = (
                    f"The column {column!r} is missing in {name!r}, which has to say family and "
                    "stage of each model, and text and framing of each prompt. Add it, or describe "
                    "them in tables of their own: "
                )
                raise ValueBiasError(
                    f"{said}valuebias.read_scores({name!r}, models='models.csv', "
                    "prompts='prompts.csv', kind='reward').",
                    in_shell=f"{said}valuebias data read {shlex.quote(name)} --models models.csv "
                    "--prompts prompts.csv --kind reward --out scores.nc",
                )


def check_kind(wanted: str | None, stored: object, name: str) -> None:
    """Refuse scores of another kind than was asked for."""
    if wanted is not None and wanted != stored:
        raise ValueBiasError(f"{name!r} holds scores of kind {stored!r}, not {wanted!r}.")


class _Rows:
    """The rows of a tidy table, with each model, prompt and word numbered."""

    def __init__(self, table: pa.Table, meta: Meta | None, name: str) -> None:
        self.table, self.meta, self.name = table, meta, name
        for column, count in Counter(table.column_names).items():
            if count > 1:
                raise ValueBiasError(f"{name!r} has two columns called {column!r}. Rename one.")
        for column in (*DIMS, "score"):
            if column not in table.column_names:
                said = (
                    f"{name!r} has no column {column!r}. A tidy table has model, prompt, response "
                    f"(or word) and score. {did_you_mean(column, table.column_names)} A file a "
                    "model, with a column a prompt, is read with valuebias"
                )
                raise ValueBiasError(f"{said}.read_scores.", in_shell=f"{said} data read.")
        if not table.num_rows:
            raise ValueBiasError(f"{name!r} has no rows.")
        self.names: dict[str, list[str]] = {}
        self.at: dict[str, npt.NDArray[np.intp]] = {}
        for dim in DIMS:
            self.names[dim], self.at[dim] = self._numbered(dim)

    def _numbered(self, dim: str) -> tuple[list[str], npt.NDArray[np.intp]]:
        values, codes = self._coded(dim)
        if None in values or not all(isinstance(value, str) for value in values):
            raise ValueBiasError(
                f"The column {dim!r} of {self.name!r} has cells that are empty or no text."
            )
        kept = [] if self.meta is None else self.meta["names"][dim]
        order = kept if set(kept) == set(values) else values
        position = {value: i for i, value in enumerate(order)}
        return list(order), np.array([position[value] for value in values], dtype=np.intp)[codes]

    def _coded(self, column: str) -> tuple[list[Any], npt.NDArray[np.intp]]:
        """Give the distinct values of a column, in order of appearance, and each row's number."""
        array = self.table[column].combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode(null_encoding="encode")
        raw, codes = array.dictionary.to_pylist(), array.indices
        if codes.null_count:
            codes, raw = codes.fill_null(len(raw)), [*raw, None]
        values = [self._plain(column, value) for value in raw]
        # Two dictionary entries may be equal, and some unused (rows were filtered out).
        numbers = codes.to_numpy(zero_copy_only=False)
        distinct: dict[Any, int] = {}
        merged = np.zeros(len(values), dtype=np.intp)
        for i in np.flatnonzero(np.bincount(numbers, minlength=len(values))).tolist():
            merged[i] = distinct.setdefault(values[i], len(distinct))
        return list(distinct), merged[numbers]

    def _plain(self, column: str, value: Any) -> Any:
        if self.meta is None or not isinstance(value, str):
            return value
        if self.meta["neutralised"]:
            value = restore(value)
        return unescape(value) if column in self.meta["escaped"] else value

    def cube(self) -> npt.NDArray[Any]:
        """Give the scores as (model, prompt, response)."""
        column = self.table["score"]
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            raise ValueBiasError(
                f"The column 'score' of {self.name!r} holds {column.type}; expected numbers."
            )
        score = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        shape = tuple(len(self.names[dim]) for dim in DIMS)
        flat = np.ravel_multi_index([self.at[dim] for dim in DIMS], shape)
        times = np.bincount(flat, minlength=int(np.prod(shape)))
        if times.max() > 1:
            where = np.unravel_index(int(times.argmax()), shape)
            cell = {dim: self.names[dim][i] for dim, i in zip(DIMS, where, strict=True)}
            raise ValueBiasError(f"{self.name!r} has {times.max()} rows for {cell}; expected one.")
        narrow = column.type in (pa.float16(), pa.float32())
        values = np.full(times.size, np.nan, dtype=np.float32 if narrow else np.float64)
        values[flat] = score
        return values.reshape(shape)

    def coords(self) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
        """Give the coords as one table a dim, and the memberships."""
        of_dims: dict[str, dict[str, pd.Series[Any]]] = {dim: {} for dim in DIMS}
        member: dict[str, npt.NDArray[Any]] = {}
        for column in self.table.column_names:
            if column in (*DIMS, "score"):
                continue
            if self.meta is None and column == "category":
                member |= self._named_categories()
                continue
            dim, values = self._owned(column)
            if column.startswith(CATEGORY):
                if set(map(type, values)) - {bool, int, float}:
                    raise ValueBiasError(
                        f"The column {column!r} of {self.name!r} must hold true and false only, or "
                        "numbers that are weights."
                    )
                category = self._plain("category", column.removeprefix(CATEGORY))
                member[category] = np.array(values, dtype=float)
            else:
                of_dims[dim][column] = _series(values)
        if self.meta is None and not member:
            member = _indicators(of_dims["response"], self.name)
        tables = {
            dim: pd.DataFrame(columns, index=range(len(self.names[dim]))).set_axis(
                pd.Index(self.names[dim], dtype=object), axis=0
            )
            for dim, columns in of_dims.items()
        }
        words = pd.Index(self.names["response"], dtype=object)
        inside = np.array([*member.values()], dtype=float).reshape(len(member), len(words)).T
        weights = pd.DataFrame(inside, words, pd.Index(list(member), dtype=object))
        check_weights(weights, repr(self.name))
        return tables, marks_or_weights(weights)

    def _named_categories(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Read a column that says of each word in which category it is, if in any."""
        if any(column.startswith(CATEGORY) for column in self.table.column_names):
            raise ValueBiasError(
                f"{self.name!r} has a column 'category', and others that begin with {CATEGORY!r}. "
                "Leave one kind out."
            )
        _, values = self._owned("category")
        texts = ["" if value is None else str(value).strip() for value in values]
        given = dict.fromkeys(text for text in texts if text.lower() not in NOT_SCORED)
        if not given:
            raise ValueBiasError(f"The column 'category' of {self.name!r} is empty. Leave it out.")
        return {category: np.array([text == category for text in texts]) for category in given}

    def _owned(self, column: str) -> tuple[str, list[Any]]:
        """Find the dim that a column describes, and its value for each entry there."""
        values, codes = self._coded(column)
        if column.startswith(CATEGORY) or (self.meta is None and column == "category"):
            dims: Sequence[str] = ("response",)
        elif self.meta is not None and column in self.meta["coords"]:
            dims = (self.meta["coords"][column]["dim"],)
        else:
            dims = (_OWNER[column],) if column in _OWNER else DIMS
        for dim in dims:
            first = np.zeros(len(self.names[dim]), dtype=np.intp)
            first[self.at[dim]] = codes
            differing = first[self.at[dim]] != codes
            if not differing.any():
                return dim, [values[code] for code in first]
        row = int(differing.argmax())
        dim = dims[-1]
        raise ValueBiasError(
            f"The column {column!r} of {self.name!r} gives the {dim} "
            f"{self.names[dim][self.at[dim][row]]!r} both {values[codes[row]]!r} and "
            f"{values[first[self.at[dim][row]]]!r}; expected one value for each "
            f"{' or '.join(dims)}."
        )


def _indicators(columns: dict[str, pd.Series[Any]], name: str) -> dict[str, npt.NDArray[np.bool_]]:
    """Take columns of 0 and 1 that part the words, no word being in two, out of those of words."""
    indicators = {}
    for column, values in columns.items():
        if values.dtype.kind in "bi" and set(values.unique()) == {0, 1}:
            indicators[column] = values.to_numpy(dtype=bool)
    if len(indicators) < 2 or np.sum(list(indicators.values()), axis=0).max() > 1:
        return {}
    warnings.warn(
        f"The columns {few(indicators)} of {name!r} have 0 and 1 for each word, and no word is in "
        "two: they are read as categories. Call them "
        f"{few(CATEGORY + column for column in indicators)} "
        "to say so, or take them out and join them to the words later, if they are none.",
        ValueBiasWarning,
        stacklevel=8,
    )
    for column in indicators:
        del columns[column]
    return indicators


def _series(values: list[Any]) -> pd.Series[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {bool} and None not in values:
        return pd.Series(values, dtype=bool)
    if kinds <= {int} and None not in values:
        return pd.Series(values, dtype=np.int64)
    if kinds <= {int, float}:
        return pd.Series([np.nan if v is None else float(v) for v in values], dtype=np.float64)
    return pd.Series(["" if v is None else str(v) for v in values], dtype=object)
