"""The command that trains reward models for a study: ``ablate``."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from valuebias.cli.output import explained_stop, is_terminal
from valuebias.cli.scoring import Backend, Scheduler, Trust

__all__ = ["ablate"]


def ablate(
    study: Annotated[Path, typer.Argument(help="A study as YAML: bases, sources, n_pairs.")],
    out: Annotated[Path, typer.Option(help="Output folder; created if missing.")],
    backend: Backend = "torch",
    plan: Annotated[bool, typer.Option("--plan", help="Show the cost of the study only.")] = False,
    scheduler: Scheduler = None,
    trust_remote_code: Trust = False,
) -> None:
    """Train reward models of several bases on the same preferences, and score words with them.

    Finished runs are kept. The last line is the path of the scores. Workers of one
    [bold]--scheduler[/bold], of one thread each, share the runs; they write into the same folder.

    Example: [bold]valuebias ablate study.yaml --out ablation/[/bold]
    """
    from valuebias.ablation import Study
    from valuebias.scoring.cluster_client import connected

    design = Study.read(study, trust_remote_code=trust_remote_code)
    if plan:
        typer.echo(str(design.plan()))
        return
    with (
        explained_stop("Finished runs are kept; the same command continues."),
        nullcontext() if scheduler is None else connected(scheduler) as client,
    ):
        design.run(out, backend=backend, client=client, progress=is_terminal())
    typer.echo(out / "scores.nc")
