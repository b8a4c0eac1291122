"""Reading the inputs of the commands, and checking their output paths."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from valuebias._core.atomic import probe
from valuebias.errors import ValueBiasError, few

if TYPE_CHECKING:
    import xarray as xr

    from valuebias.instruments import Lexicon

__all__ = [
    "CategoryOf",
    "Kind",
    "KindOfTable",
    "SheetOfBook",
    "Threshold",
    "check_writable",
    "load_data",
    "of_framing",
    "restricted",
    "with_marks",
]


Kind = Literal["reward", "logprob", "implicit", "judged"]
KindOfTable = Annotated[
    Kind | None,
    typer.Option("--kind", help="What the scores of a table of your own are, if it says nothing."),
]
SheetOfBook = Annotated[
    str | None,
    typer.Option("--sheet", help="The sheet to read of an .xlsx file that has several."),
]


Threshold = Annotated[
    float | None,
    typer.Option(
        help="Of a lexicon with weights: from which weight on a word belongs.",
        show_default="words belong by their weights",
    ),
]
CategoryOf = Annotated[
    list[str] | None,
    typer.Option(
        "--category",
        help="Take this category of the lexicon; may be repeated.",
        show_default="all categories",
    ),
]


def restricted(
    lexicon: str | None, threshold: float | None, category: list[str] | None
) -> str | Lexicon | None:
    """Read a lexicon of which a part is asked for; a name or path alone stays as it is."""
    import valuebias

    if threshold is None and not category:
        return lexicon
    if lexicon in (None, "vocabulary"):
        raise typer.BadParameter("--threshold and --category are of a lexicon: give --lexicon.")
    return valuebias.lexicon(lexicon, threshold=threshold, categories=category or None)


def load_data(data: str, kind: Kind | None = None, sheet: str | None = None) -> xr.Dataset:
    """Read a data file, or load a named data set."""
    import xarray as xr

    import valuebias
    from valuebias import datasets
    from valuebias.io.long_reading import check_kind

    path = Path(data)
    _check_scores(path)
    if os.path.exists(path) or path.suffix or path.name != data:
        return valuebias.read(data, kind=kind, sheet=sheet)
    loaded = datasets.load(data)
    if not isinstance(loaded, xr.Dataset):
        raise ValueBiasError(
            f"The data set {data!r} is a table, not scores that can be fitted. "
            f"Write it out with: valuebias data load {data} --out {data}.csv"
        )
    check_kind(kind, loaded.attrs["kind"], data)
    return loaded


def with_marks(dataset: xr.Dataset, threshold: float | None) -> xr.Dataset:
    """Let words belong whose weight is large enough, where that is asked."""
    from valuebias._core.checks import check_number

    if threshold is None:
        return dataset
    check_number(threshold, "threshold", "a number above 0", least=0, above=True)
    return dataset.assign(membership=dataset["membership"] >= threshold)


def of_framing(dataset: xr.Dataset, framing: str | None) -> xr.Dataset:
    """Keep the prompts of a framing, or those that are signed."""
    if framing is None:
        return dataset
    import numpy as np

    if "framing" not in dataset.coords:
        raise ValueBiasError(
            f"--framing is {framing}, and these are scores of a contrast set, whose items have no "
            "framing. Leave --framing out."
        )
    wanted = ("positive", "negative") if framing == "signed" else (framing,)
    given = dataset["framing"].to_numpy().astype(str)
    kept = np.flatnonzero(np.isin(given, wanted))
    if not kept.size:
        raise ValueBiasError(
            f"There is no {' or '.join(wanted)} prompt; the framings are "
            f"{few(dict.fromkeys(given.tolist()))}. Give --framing one of these, or leave it out."
        )
    return dataset.isel(prompt=kept)


def _check_scores(path: Path) -> None:
    """Name the command that makes scores from a path that holds none yet."""
    typed = shlex.quote(str(path))
    if path.suffix.lower() in (".yaml", ".yml"):
        raise ValueBiasError(
            f"{str(path)!r} is a description, not scores. Score the models of a table with: "
            f"valuebias score {typed} --store scores.zarr. Train those of a study with: valuebias "
            f"ablate {typed} --out ablation"
        )
    if os.path.isdir(path) and not path.suffix:
        inside = sorted(one for one in path.iterdir() if one.suffix in (".zarr", ".nc", ".parquet"))
        raise ValueBiasError(
            f"{str(path)!r} is a folder. "
            + (
                f"Give a file of scores in it, such as {shlex.quote(str(inside[0]))}"
                if inside
                else "Make one file of its tables, one per model, with: valuebias data read "
                f"{typed} --out scores.nc"
            )
        )


def check_writable(
    path: Path | None, *, suffixes: Collection[str] | None = None, folder: bool | None = None
) -> None:
    """Check that a path can be written to, before the work whose result goes there."""
    if path is None:
        return
    if suffixes is not None and path.suffix.lower() not in suffixes:
        raise ValueBiasError(
            f"{str(path)!r} ends in {path.suffix!r}, which is not a known format. Known: "
            f"{', '.join(repr(suffix) for suffix in suffixes if suffix)}"
            f"{' and a folder, without suffix' if '' in suffixes else ''}."
        )
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise ValueBiasError(f"{str(above)!r} is a file, so {str(path)!r} cannot be in it.")
    probe(path, folder=folder)
