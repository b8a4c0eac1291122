"""The command ``battery``: contrast sets made of questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from valuebias._core.text import visible
from valuebias.cli.completing import battery_names, lexicon_names, question_names
from valuebias.cli.output import print_table
from valuebias.cli.sources import check_writable

__all__ = ["battery"]


def battery(
    name: Annotated[
        str,
        typer.Argument(
            help="answers, length, hedging, position, sycophancy, refusal, politeness or words.",
            autocompletion=battery_names,
        ),
    ],
    questions: Annotated[
        str | None,
        typer.Option(
            help="A file of questions with right and wrong answers (.jsonl, .csv, .tsv), or what "
            "is made: arithmetic, dates, alphabet, counting or units.",
            autocompletion=question_names,
        ),
    ] = None,
    n: Annotated[
        int | None, typer.Option(help="How many questions are made.", show_default="100")
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(help="Take this level; may be repeated.", show_default="all levels"),
    ] = None,
    n_options: Annotated[
        int | None,
        typer.Option(help="Of position: how many options.", show_default="all there are"),
    ] = None,
    lexicon: Annotated[
        str | None,
        typer.Option(
            help="Of words: a named lexicon, or a file.",
            show_default="agency-communion",
            autocompletion=lexicon_names,
        ),
    ] = None,
    n_pairs: Annotated[
        int, typer.Option(help="Of words: how many words of each category at most.")
    ] = 24,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="SCORES",
            help="Scores of the battery 'answers' of the same questions: keep those whose right "
            "answer every model scored above all wrong ones.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of what is made and drawn.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Output file: .jsonl.", show_default="show an item"),
    ] = None,
) -> None:
    """Make a contrast set of questions: answers that differ in one respect.

    Example: [bold]valuebias battery length --questions mine.jsonl --out length.jsonl[/bold], then
    [bold]valuebias score models.yaml --contrasts length.jsonl --store length.zarr[/bold] and
    [bold]valuebias fit length.zarr --variants-by verbosity[/bold].
    """
    import valuebias
    from valuebias.instruments import question_names as made
    from valuebias.instruments.json_lines import LINES

    check_writable(out, suffixes=LINES)
    asked = (
        valuebias.questions(questions, n=n, seed=seed if questions in made() else None)
        if questions is not None
        else None
    )
    contrasts = valuebias.battery(
        name,
        asked,
        levels=level or None,
        n_options=n_options,
        lexicon=lexicon,
        n_pairs=n_pairs,
        baseline=None if baseline is None else valuebias.read(baseline),
        seed=seed,
    )
    if out is not None:
        typer.echo(visible(contrasts.to_jsonl(out)))
        return
    first = contrasts.select(items=contrasts.items[:1]).to_frame()
    title = repr(contrasts).strip("<>")
    columns = ["variant", "prompt", "response"]
    print_table(columns, first[columns].itertuples(index=False), title=title)
