"""The command that trains reward models for a study: ``ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from valuebias.cli.output import explained_stop, is_terminal
from valuebias.cli.scoring import Backend, Trust

__all__ = ["ablate"]


def ablate(
    study: Annotated[Path, typer.Argument(help="A study as YAML: bases, sources, n_pairs.")],
    out: Annotated[Path, typer.Option(help="Output folder; created if missing.")],
    backend: Backend = "torch",
    plan: Annotated[bool, typer.Option("--plan", help="Show the cost of the study only.")] = False,
    trust_remote_code: Trust = False,
) -> None:
    """Train reward models of several bases on the same preferences, and score words with them.

    Finished runs are kept. The last line is the path of the scores.

    Example: [bold]valuebias ablate study.yaml --out ablation/[/bold]
    """
    from valuebias.ablation import Study

    design = Study.read(study, trust_remote_code=trust_remote_code)
    if plan:
        typer.echo(str(design.plan()))
        return
    with explained_stop("Finished runs are kept; the same command continues."):
        design.run(out, backend=backend, progress=is_terminal())
    typer.echo(out / "scores.nc")
