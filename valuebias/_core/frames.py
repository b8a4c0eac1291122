"""Tables of other libraries, taken as pandas'."""

from __future__ import annotations

from typing import Any

import pandas as pd

from valuebias._core.foreign import reading
from valuebias.errors import ValueBiasError

__all__ = ["as_frame", "refuse_table"]


def as_frame(given: Any) -> Any:
    """Give a table of polars, pyarrow or the like as pandas', and anything else as it is.

    Examples
    --------
    >>> import pyarrow as pa
    >>> as_frame(pa.table({"model": ["org/a"], "family": ["Gemma"]}))
       model family
    0  org/a  Gemma
    >>> as_frame("models.csv")
    'models.csv'
    """
    kind = type(given)
    if isinstance(given, pd.DataFrame | str | bytes):
        return given
    if kind.__name__ == "LazyFrame" and hasattr(kind, "collect"):
        raise ValueBiasError(
            f"A {kind.__module__.partition('.')[0]} LazyFrame was given, which holds no rows yet. "
            "Give the rows: table.collect()."
        )
    # A column has the first as well; only a table has names of columns.
    if not (hasattr(kind, "__arrow_c_stream__") and _has_columns(given)):
        return given
    import pyarrow as pa

    with reading("The table", advice="Give it as a pandas.DataFrame: table.to_pandas()."):
        table: pd.DataFrame = pa.table(given).to_pandas()
    return table


def _has_columns(given: Any) -> bool:
    return hasattr(given, "columns") and hasattr(given, "schema")


def refuse_table(given: object) -> None:
    """Refuse a table where a file is expected, and say how it becomes one.

    Examples
    --------
    >>> refuse_table("scores.csv")
    >>> refuse_table(pd.DataFrame())
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: The scores are given as a pandas DataFrame; expected a path.
    Write the table: table.to_parquet('scores.parquet'), and give that.
    """
    if not isinstance(given, pd.DataFrame) and not (
        _has_columns(given) and hasattr(given, "__arrow_c_stream__")
    ):
        return
    library = type(given).__module__.partition(".")[0]
    call = "table.write_parquet" if hasattr(given, "write_parquet") else "table.to_parquet"
    if library == "pyarrow":
        call = "table.to_pandas().to_parquet"
    raise ValueBiasError(
        f"The scores are given as a {library} {type(given).__name__}; expected a path. Write the "
        f"table: {call}('scores.parquet'), and give that."
    )
