"""The commands that compare: files with their checksums, texts with fits: ``check``, ``claims``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from valuebias._core.text import visible
from valuebias.cli.output import AsCsv, AsJson, print_csv, print_json, print_table, stage

__all__ = ["check", "claims"]

_SHOWN = ("place", "number", "verdict", "by the fit", "text")


def check(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATHS...",
            help="Stores of scores, datasets and fits; folders of ablations, reproductions and "
            "exported models.",
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Compare every file that valuebias wrote with its checksum; changes nothing.

    Lists damaged and missing files, and the command that recreates just these. The exit status is
    1 if there are any, or if a path cannot be checked.

    Example: [bold]valuebias check scores.zarr fit.nc[/bold]
    """
    import valuebias

    results: list[dict[str, Any]] = []
    for path in paths:
        try:
            with stage(f"Checking {visible(path)}"):
                result = valuebias.check(path)
        except valuebias.ValueBiasError as error:
            if len(paths) == 1:
                raise
            # The others are looked at all the same.
            results.append({"path": str(path), "is_whole": False, "error": str(error)})
            typer.echo(visible(f"{path}: {error}"), err=True)
            continue
        results.append({**asdict(result), "is_whole": result.is_whole})
        if not as_json:
            for line in str(result).splitlines():
                typer.echo(visible(line))
    if as_json:
        print_json(results)
    if not all(one["is_whole"] for one in results):
        raise typer.Exit(1)


def claims(
    text: Annotated[
        Path, typer.Argument(metavar="TEXT", help="A manuscript: Markdown, LaTeX or plain text.")
    ],
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="A saved fit (.nc or .zarr).")],
    every: Annotated[
        bool, typer.Option("--all", help="List every number, also those not checked, and why.")
    ] = False,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
) -> None:
    """Find numbers in a manuscript that do not follow from a saved fit.

    Lists them with the number that the fit has. The exit status is 1 if there are any.

    Example: [bold]valuebias claims paper.tex fit.nc[/bold]
    """
    import valuebias
    from valuebias.analysis.estimands.plain_names import plain_names
    from valuebias.posterior.claims import describe

    with stage(f"Comparing {visible(text)} with {visible(fit)}"):
        result = valuebias.check_claims(text, valuebias.load(fit))
    table = plain_names(result.table) if as_json or as_csv else result.table
    if as_json:
        print_json({"summary": result.summary(), "all_follow": result.all_follow,
                    "claims": table.to_dict(orient="records")})  # fmt: skip
    elif as_csv:
        print_csv(list(table.columns), table.itertuples(index=False))
    else:
        shown = table if every else result.to_mend
        rows = [
            (f"{text}:{row['line']}", row["number"], row["verdict"], describe(row), row["text"])
            for _, row in shown.iterrows()
        ]
        if rows:
            print_table(_SHOWN, rows)
        typer.echo(visible(result.summary()))
    if not result.all_follow:
        raise typer.Exit(1)
