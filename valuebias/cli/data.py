"""The commands that show the available inputs: ``data``, ``lexicons`` and ``prompts``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from valuebias._core.text import visible
from valuebias.cli.completing import data_names, lexicon_names, named_data, prompt_names
from valuebias.cli.output import (
    AsCsv,
    AsJson,
    complain,
    print_csv,
    print_fields,
    print_json,
    print_table,
    stage,
)
from valuebias.cli.sources import (
    CategoryOf,
    Kind,
    KindOfTable,
    SheetOfBook,
    Threshold,
    check_writable,
    load_data,
    restricted,
)
from valuebias.cli.spoken import spoken
from valuebias.errors import ValueBiasError, few

if TYPE_CHECKING:
    import pandas as pd

    from valuebias.instruments import Lexicon

__all__ = ["data", "lexicons", "prompts"]

Out = Annotated[Path, typer.Option(help="Output file: .nc, .zarr, .parquet or .csv.")]

data = typer.Typer(
    no_args_is_help=True, help="Data sets: list and fetch named ones, read your own, check them."
)
lexicons = typer.Typer(no_args_is_help=True, help="Lexicons: list the named ones, show the words.")


@data.command("list")
def list_data(as_json: AsJson = False) -> None:
    """List the named data sets."""
    from valuebias import datasets

    known = [datasets.info(name) for name in datasets.names()]
    if as_json:
        print_json([{"name": info.name, "title": info.title, "size": info.size} for info in known])
        return
    rows = [(info.name, _megabytes(info.size, info.url), info.title) for info in known]
    print_table(["name", "fetched", "what"], rows)


@data.command("info")
def describe_data(
    name: Annotated[str, typer.Argument(help="A name from the list.", autocompletion=named_data)],
    as_json: AsJson = False,
) -> None:
    """Describe a named data set: citation, licence, files, caveats."""
    from valuebias import datasets

    info = datasets.info(name)
    fields = {
        "name": info.name,
        "title": info.title,
        "citation": info.citation,
        "licence": info.licence,
        "from": info.url,
        "size": info.size,
        "files": info.files,
        "beware": info.notes,
    }
    if as_json:
        print_json(fields)
    else:
        print_fields({**fields, "size": _megabytes(info.size, info.url)})


@data.command("load")
def load_named(
    name: Annotated[str, typer.Argument(help="A name from the list.", autocompletion=named_data)],
    out: Out,
) -> None:
    """Fetch a named data set and write it to a file.

    Files are fetched once and checked against their hash on every use. The environment variable
    VALUEBIAS_DATA may name a folder that already has them.
    """
    import xarray as xr

    import valuebias
    from valuebias import datasets

    check_writable(out)
    with stage(f"Loading {name}"):
        loaded = datasets.load(name)
    if isinstance(loaded, xr.Dataset):
        valuebias.write(loaded, out)
    else:
        _write_table(loaded, out)
    typer.echo(visible(out))


@data.command("read")
def read_wide(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH...",
            help="A folder of tables, or files, one per model: .csv, .tsv, .csv.gz, .csv.zst, "
            ".parquet, .feather or .xlsx.",
        ),
    ],
    out: Out,
    models: Annotated[
        Path | None,
        typer.Option(help="A table of the models: model, family, base, stage, n_params, …"),
    ] = None,
    prompts: Annotated[
        str, typer.Option(help="A named prompt set, or a file.", autocompletion=prompt_names)
    ] = "superlatives",
    lexicon: Annotated[
        str | None,
        typer.Option(
            help="A named lexicon, or a file: which word is in which category.",
            show_default="the categories that a long table has",
            autocompletion=lexicon_names,
        ),
    ] = None,
    threshold: Threshold = None,
    category: CategoryOf = None,
    kind: Annotated[Kind, typer.Option(help="What the scores are.")] = "reward",
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Leave out files of other kinds, and models that have no file."
        ),
    ] = False,
    decimal: Annotated[
        Literal[".", ","] | None,
        typer.Option(help="The decimal mark.", show_default="found by the scores"),
    ] = None,
    ignore_case: Annotated[
        bool, typer.Option("--ignore-case", help="Take 'Love' for the 'love' of the lexicon.")
    ] = False,
    sheet: SheetOfBook = None,
) -> None:
    """Read your own scores, one table per model and one column per prompt, into one data file.

    Example: [bold]valuebias data read scores/ --models models.csv --lexicon agency-communion
    --out scores.nc[/bold]
    """
    import valuebias

    check_writable(out)
    for path in paths:
        if path.suffix.lower() in (".nc", ".zarr"):
            raise ValueBiasError(
                f"{str(path)!r} is not a table of one model. If it holds scores, fit it: "
                f"valuebias fit {shlex.quote(str(path))}"
            )
    chosen = restricted(lexicon, threshold, category)
    with stage(f"Reading {len(paths)} path(s)"):
        scores = valuebias.read_scores(
            paths[0] if len(paths) == 1 else paths,
            models=models,
            prompts=prompts,
            lexicon=chosen,
            kind=kind,
            partial=partial,
            decimal=decimal,
            ignore_case=ignore_case,
            sheet=sheet,
        )
        valuebias.write(scores, out)
    if not scores.sizes["category"]:
        complain(
            "Warning",
            "The words are in no category, so that a fit has nothing to compare. Say which lexicon "
            "they are from: --lexicon agency-communion, or another of 'valuebias lexicons list', "
            "or a file.",
        )
    typer.echo(visible(out))


@data.command("audit")
def audit_data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A data file, or the name of a data set.",
            autocompletion=data_names,
        ),
    ],
    kind: KindOfTable = None,
    sheet: SheetOfBook = None,
    as_json: AsJson = False,
) -> None:
    """Check a data set for problems that would mislead an analysis without breaking it."""
    import valuebias

    findings = valuebias.audit(load_data(source, kind, sheet)).findings
    if as_json:
        print_json(findings.to_dict(orient="records"))
    elif len(findings):
        said = findings.assign(detail=[spoken(str(text), ()) for text in findings["detail"]])
        print_table(list(said.columns), said.itertuples(index=False))
    else:
        typer.echo("Nothing found.")


@lexicons.command("list")
def list_lexicons(as_json: AsJson = False) -> None:
    """List the lexicons that have a name, those in installed packages among them."""
    import valuebias

    known = valuebias.lexicons()
    if as_json:
        print_json(known.to_dict(orient="records"))
        return
    available = known[known["state"] != "to be installed"]
    rows = [(row.name, row.state, few(row.categories, quote=False)) for row in _rows(available)]
    print_table(["name", "state", "categories"], rows)
    lacking = known[known["state"] == "to be installed"]
    for (source, install), group in lacking.groupby(["source", "install"], sort=False):
        typer.echo(visible(f"{len(group)} more in {source}, by {install}:"))
        typer.echo(visible(f"    {', '.join(group['name'])}"))


@lexicons.command("show")
def show_lexicon(
    name: Annotated[
        str, typer.Argument(help="A name from the list, or a file.", autocompletion=lexicon_names)
    ],
    threshold: Threshold = None,
    category: CategoryOf = None,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Show a lexicon's words by category, its citation and its licence."""
    import valuebias

    with stage(f"Loading {name}"):
        lexicon = valuebias.lexicon(name, threshold=threshold, categories=category or None)
    words = _by_category(lexicon)
    weights = lexicon.table if lexicon.weighted else None
    if as_csv and weights is not None:
        rows = ((w, c, weights[c][w]) for c, listed in words.items() for w in listed)
        print_csv(["word", "category", "weight"], rows)
    elif as_csv:
        print_csv(["word", "category"], ((w, c) for c, listed in words.items() for w in listed))
    elif as_json and weights is not None:
        weighed = {c: {w: weights[c][w] for w in listed} for c, listed in words.items()}
        print_json({**lexicon.about(), "words": weighed})
    elif as_json:
        print_json({**lexicon.about(), "words": words})
    else:
        print_fields(
            {
                "name": lexicon.name,
                "citation": lexicon.citation,
                "licence": lexicon.licence,
                "source": lexicon.source,
                **{f"{c} ({len(listed)})": " ".join(listed) for c, listed in words.items()},
            }
        )


def prompts(
    name: Annotated[
        str,
        typer.Argument(
            help="A named prompt set, or a file with texts and framings.",
            autocompletion=prompt_names,
        ),
    ] = "superlatives",
    as_list: Annotated[
        bool, typer.Option("--list", help="Write the texts only, one per line.")
    ] = False,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Show the prompts of a set, with their framing."""
    import valuebias

    table = valuebias.prompts(name).table
    columns = ["prompt", *table.columns]
    rows = [(str(index), *row) for index, row in zip(table.index, table.to_numpy(), strict=True)]
    if as_csv:
        print_csv(columns, rows)
    elif as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    elif as_list:
        for text in table["text"]:
            typer.echo(visible(text))
    else:
        print_table(["prompt", "framing", "text"], table[["framing", "text"]].itertuples())


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    """Give the rows of a table with their columns as attributes."""
    return iter(table.itertuples(index=False, name="Row"))


def _by_category(lexicon: Lexicon) -> dict[str, list[str]]:
    table = lexicon.table
    return {
        str(c): [str(w) for w in table.index[table[c].astype(bool)]] for c in lexicon.categories
    }


def _megabytes(size: int | None, url: str) -> str:
    if not url:
        return "bundled"
    return "size not known" if size is None else f"{size / 1e6:.1f} MB"


def _write_table(table: pd.DataFrame, out: Path) -> None:
    from valuebias._core.atomic import atomic_path

    if out.suffix not in (".csv", ".parquet"):
        raise ValueBiasError(
            f"This data set is a table, which {out.suffix!r} cannot hold. Write .csv or .parquet."
        )
    with atomic_path(out) as part:
        if out.suffix == ".csv":
            table.to_csv(part, index=False)
        else:
            table.to_parquet(part, index=False)
