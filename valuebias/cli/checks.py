"""The command that compares files with their checksums: ``check``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from valuebias._core.text import visible
from valuebias.cli.output import AsJson, print_json, stage

__all__ = ["check"]


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
    1 if there are any.

    Example: [bold]valuebias check scores.zarr fit.nc[/bold]
    """
    import valuebias

    results = []
    for path in paths:
        with stage(f"Checking {visible(path)}"):
            results.append(valuebias.check(path))
        if not as_json:
            for line in str(results[-1]).splitlines():
                typer.echo(visible(line))
    if as_json:
        print_json([{**asdict(result), "is_whole": result.is_whole} for result in results])
    if not all(result.is_whole for result in results):
        raise typer.Exit(1)
