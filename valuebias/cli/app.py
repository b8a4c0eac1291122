"""The Typer application: its commands, and how errors and warnings reach the terminal."""

from __future__ import annotations

import warnings
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperGroup

from valuebias import __version__
from valuebias.cli import (
    ablations,
    batteries,
    checks,
    data,
    explaining,
    fit_config,
    fits,
    papers,
    scoring,
)
from valuebias.cli.output import complain
from valuebias.cli.spoken import spoken
from valuebias.errors import ValueBiasError, ValueBiasWarning

__all__ = ["app"]


class _ExplainedErrors(TyperGroup):
    """A group that prints a `ValueBiasError` as a message, not as a traceback."""

    # Any, because the context's class moved from click into typer.
    def invoke(self, ctx: Any) -> Any:
        """Run a command; turn a `ValueBiasError` into a message and exit status 1."""

        def complain_so(kind: str, message: str) -> None:
            name = ctx.invoked_subcommand or ""
            complain(kind, spoken(message, _parameters(self.commands.get(name)), name))

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            """Print valuebias' warnings as a sentence; leave others in Python's form."""
            if issubclass(category, ValueBiasWarning):
                complain_so("Warning", str(message))
            else:
                complain(category.__name__, f"{message} ({filename}:{lineno})")

        with warnings.catch_warnings():
            warnings.showwarning = show
            warnings.simplefilter("always", ValueBiasWarning)
            try:
                return super().invoke(ctx)
            except ValueBiasError as error:
                complain_so("Error", error.in_shell)
                raise typer.Exit(1) from error


def _parameters(command: Any) -> set[str]:
    """Name the parameters of a command, or of all in a group of them."""
    inside = getattr(command, "commands", {}).values()
    own = {str(one.name) for one in getattr(command, "params", ())}
    return own.union(*map(_parameters, inside))


app = typer.Typer(
    cls=_ExplainedErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Do the reward models of one base family value one thing over another more than those of "
        "another family, and how sure are we?\n\n"
        "Start with [bold]valuebias demo[/bold], then "
        "[bold]valuebias fit DATA --report report.html[/bold]."
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


app.command("demo")(fits.demo)
app.command("score")(scoring.score)
app.command("merge")(scoring.merge)
app.command("plan")(scoring.plan)
app.command("backends")(scoring.backends)
app.command("explain")(explaining.explain)
app.command("fit")(fits.fit)
app.command("settings")(fit_config.settings)
app.command("classical")(fits.classical)
app.command("report")(fits.report)
app.command("card")(fits.card)
app.command("reproduce")(papers.reproduce)
app.command("ablate")(ablations.ablate)
app.command("check")(checks.check)
app.command("claims")(checks.claims)
app.add_typer(data.data, name="data")
app.add_typer(data.lexicons, name="lexicons")
app.command("prompts")(data.prompts)
app.command("battery")(batteries.battery)
