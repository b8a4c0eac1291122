"""The command line: ``valuebias demo | score | fit | report | …``; ``--help`` lists them all."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit.

    Results go to standard output, progress and messages to standard error. The exit status is 0 on
    success, 1 for an error that valuebias explains, 2 for a wrong call.
    """
    # Not at the top: importing valuebias.cli from Python should not load the command line's tools.
    from valuebias.cli.app import app

    app(prog_name="valuebias")
