"""The command that reproduces a paper: ``reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from valuebias._core.text import visible
from valuebias.cli.fits import AsJson, Chains, Draws
from valuebias.cli.output import explained_stop, is_terminal, print_json, print_table
from valuebias.cli.sources import check_writable

__all__ = ["reproduce"]


def reproduce(
    paper: Annotated[
        Literal["christian2026"], typer.Argument(metavar="PAPER", help="Only christian2026.")
    ],
    out: Annotated[Path, typer.Option(help="Output folder; created if missing.")],
    logprobs: Annotated[
        str | None,
        typer.Option(
            help="Log-probs of the language models: a folder of CSV files, a .zarr store, or "
            "hf://datasets/<owner>/<name>@<commit>."
        ),
    ] = None,
    draws: Draws = 1000,
    chains: Chains = 4,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws and the permutations.")] = 1,
    permutations: Annotated[
        int, typer.Option(min=1, help="Shuffles of each permutation test.")
    ] = 9999,
    as_json: AsJson = False,
) -> None:
    """Make the figures, tables and statistics of a paper, as far as the available data allow.

    Finished items are kept. The exit status is 0 if something was made and nothing failed, although
    data may be missing for the rest; else 1. The last line is the path of the page that shows
    everything.

    Example: [bold]valuebias reproduce christian2026 --out paper/[/bold]
    """
    import valuebias

    # An existing folder may be complete, which a full or read-only disk does not spoil.
    if not out.exists():
        check_writable(out, folder=True)
    with explained_stop("Nothing was made."):
        result = valuebias.reproduce(
            paper,
            out=out,
            logprobs=logprobs,
            draws=draws,
            chains=chains,
            seed=seed,
            n_permutations=permutations,
            progress=is_terminal(),
        )
    table = result.table
    if as_json:
        print_json({"folder": str(result.folder), "complete": result.complete,
                    "items": table.to_dict(orient="records")})  # fmt: skip
    else:
        rows = table[["item", "state", "title"]].itertuples(index=False)
        print_table(["item", "state", "what"], rows)
        for reason, group in table[table["reason"] != ""].groupby("reason", sort=False):
            typer.echo(f"{', '.join(group['item'])}: {visible(reason)}\n")
        typer.echo(visible(result.folder / "index.html"))
    if not result.complete:
        raise typer.Exit(1)
