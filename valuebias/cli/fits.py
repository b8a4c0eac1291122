"""The commands that fit and report: ``demo``, ``fit``, ``classical`` and ``report``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from valuebias._core.disk import WriteError
from valuebias._core.text import as_number, visible
from valuebias.cli.completing import data_names
from valuebias.cli.fit_config import merged, read_config, read_prior
from valuebias.cli.output import is_terminal, print_json, print_table, stage
from valuebias.cli.sources import (
    KindOfTable,
    SheetOfBook,
    Threshold,
    check_writable,
    load_data,
    of_framing,
    with_marks,
)
from valuebias.cli.spoken import spoken

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from valuebias.analysis.estimands.diagnostics import Diagnostics
    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.analysis.headline import Headline
    from valuebias.fitting.ablation_result import AblationFit
    from valuebias.fitting.result import Fit

__all__ = ["card", "classical", "demo", "fit", "print_result", "report"]

Outcome = Literal["normal", "rank", "z", "scaled", "raw"]
Draws = Annotated[int, typer.Option(min=4, help="Draws to keep, per chain.")]
Tune = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Tuning steps per chain, before the draws that are kept.",
        show_default="600; 200 where cells are missing",
    ),
]
Chains = Annotated[int, typer.Option(min=1, help="Independent chains.")]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A file (.nc, .zarr, .parquet, .csv, .xlsx, …) or the name of a data set "
        "(see [bold]valuebias data list[/bold]).",
        autocompletion=data_names,
    ),
]
Pair = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="A B", help="The two families, or other levels, to compare first."),
]
By = Annotated[
    list[str] | None,
    typer.Option(help="Compare them within the levels of this variable; may be repeated."),
]
At = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Set a variable of the formula, n_params=8e9; may be repeated, for one variable too.",
    ),
]
Categories = Annotated[
    tuple[str, str] | None,
    typer.Option(metavar="A B", help="Compare category A with category B."),
]
Weight = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=WEIGHT",
        help="Instead of --contrast: the weight of a category, other=-0.5; repeated for each that "
        "takes part, with a sum of zero.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON, for scripts.")]

_FORMS = ".html, .md, .tex, .nc; without a suffix: a folder of CSV files"
_COLUMNS = ["name", "framing", "category", "mean", "lower", "upper", "p_direction"]
_RIGHT = ("p_direction",)
_SIGN = "p_direction: probability of the median's sign"
_ABLATION_COLUMNS = [
    "estimand", "name", "source", "n_pairs", "support", "mean", "lower", "upper", "p_direction",
]  # fmt: skip


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the fit and the report; created if missing.")
    ] = Path("valuebias-demo"),
    draws: Draws = 1000,
    chains: Chains = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other draws.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Fit the bundled study of 48 reward models and write a report.

    Needs no network. The last two lines are the path of the report and its headline.
    """
    import valuebias

    files: dict[str, Path | None] = {"fit": out / "fit.nc", "report": out / "report.html"}
    _check_files(files)
    dataset = valuebias.datasets.load("demo")
    result = valuebias.fit_ablation(
        dataset, draws=draws, chains=chains, seed=seed, progress=is_terminal()
    )
    _write(result, files)
    if as_json:
        print_json(_record(result, files))
        return
    print_result(result, demo)
    typer.echo(visible(out / "report.html"))
    typer.echo(_said(str(_answer(result, files)), demo))


def fit(
    context: typer.Context,
    data: Data,
    formula: Annotated[
        str | None,
        typer.Option(
            help="An R formula over the coordinates of the models; ~ family if not given, and with "
            "--ablation also source and pairs.",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(
            help="An R formula over covariates of the words, to adjust for, such as '~ length'.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Coordinate of the checkpoint each model was trained from.", show_default="base"
        ),
    ] = None,
    no_base: Annotated[
        bool, typer.Option("--no-base", help="Take models of one base as independent.")
    ] = False,
    spread: Annotated[
        bool | None,
        typer.Option(
            "--spread/--no-spread",
            help="Whether families may differ in how much their models vary.",
            show_default="where two families have several models",
        ),
    ] = None,
    family: Annotated[
        Literal["gaussian", "student"],
        typer.Option(
            help="How a score scatters about what is expected of it; student: heavy tails."
        ),
    ] = "gaussian",
    residual: Annotated[
        Literal["model"] | None,
        typer.Option(help="Give each model a residual SD of its own.", show_default="one of all"),
    ] = None,
    heavy_tails: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[words|models|bases]",
            help="Whose effects have heavy tails, so that outlying ones count for little; may be "
            "repeated.",
            show_default="all are normal",
        ),
    ] = None,
    ablation: Annotated[
        bool | None,
        typer.Option(
            "--ablation/--no-ablation",
            help="Whether to follow the gap between families over the pairs that the models were "
            "trained on.",
            show_default="where the models are of several sources or numbers of pairs",
        ),
    ] = None,
    rope: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Half-width of the region of no gap, in units of the outcome; with --ablation.",
            show_default="0.05 of its SD",
        ),
    ] = None,
    outcome: Annotated[
        Outcome | None,
        typer.Option(help="How scores are transformed.", show_default="normal scores"),
    ] = None,
    framing: Annotated[
        Literal["signed", "positive", "negative", "neutral"] | None,
        typer.Option(
            help="Keep the prompts of this framing; signed: positive and negative ones.",
            show_default="all prompts",
        ),
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SCALE",
            help="Scale of a prior in SDs of the outcome: mean, effect, correlation or spread, or "
            "of a component's SD, sd.word=0.5; may be repeated.",
        ),
    ] = None,
    contrast: Categories = None,
    weight: Weight = None,
    variants_by: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of a contrast set: compare variants by this coordinate, such as correct.",
            show_default="variant by variant",
        ),
    ] = None,
    pair: Pair = None,
    by: By = None,
    at: At = None,
    sampler: Annotated[
        Literal["hmc", "nutpie", "pymc"],
        typer.Option(help="Who samples, where no cell is missing; the posterior is the same."),
    ] = "hmc",
    draws: Draws = 1000,
    tune: Tune = None,
    chains: Chains = 4,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Makes the draws repeatable; kept with the fit.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings as YAML, as [bold]valuebias settings[/bold] writes them; options given "
            "beside it count.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Save the fit here (.nc or .zarr), to report on later.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help=f"Write a report here ({_FORMS}).")] = None,
    kind: KindOfTable = None,
    sheet: SheetOfBook = None,
    as_json: AsJson = False,
) -> None:
    """Fit scores and say how the families differ, with the uncertainty.

    Scores of an ablation are fitted as one: how the gap changes with the pairs of preferences.

    Example: [bold]valuebias fit scores.nc --out fit.nc --report report.html[/bold]
    """
    import valuebias

    files = {"fit": out, "report": report}
    _check_files(files, data)
    if base is not None and no_base:
        raise typer.BadParameter("--base and --no-base contradict one another; leave one out.")
    options: dict[str, Any] = {
        "formula": formula, "words": words, "base": None if no_base else base or "base",
        "spread": spread, "family": family, "residual": residual,
        "heavy_tails": heavy_tails or None, "outcome": outcome,
        "prior": read_prior(_split_entries("--prior", prior, "effect=0.25")),
        "contrast": _contrast(contrast, weight), "draws": draws, "tune": tune, "chains": chains,
        "seed": seed, "sampler": sampler, "pair": pair, "by": by, "variants_by": variants_by,
        "at": _split_entries("--at", at, "n_params=8e9"), "framing": framing,
        "ablation": ablation, "rope": rope,
    }  # fmt: skip
    asked = merged({} if config is None else read_config(config), options, context)
    question = {name: asked.pop(name) for name in ("pair", "by", "at")}
    dataset = of_framing(load_data(data, kind, sheet), asked.pop("framing"))
    rope = asked.pop("rope")
    variants_by = asked.pop("variants_by")
    result: Fit | AblationFit
    if _calls_for_ablation(dataset, asked.pop("ablation")):
        usual = {"words": None, "base": "base", "spread": None, "family": "gaussian",
                 "residual": None, "heavy_tails": None, "sampler": "hmc"}  # fmt: skip
        if {name: asked.pop(name) for name in usual} != usual:
            raise typer.BadParameter(
                "--words, --base, --no-base, --spread, --family, --residual, --heavy-tails and "
                "--sampler do not apply to an ablation, whose design says what its runs share; add "
                "--no-ablation."
            )
        if variants_by is not None:
            raise typer.BadParameter("--variants-by is of a contrast set, not of an ablation.")
        if any(question.values()) or isinstance(asked["contrast"], Mapping):
            raise typer.BadParameter("--pair, --by, --at and --weight do not apply to an ablation.")
        result = valuebias.fit_ablation(dataset, rope=rope, progress=is_terminal(), **asked)
    elif rope is not None:
        raise typer.BadParameter("--rope is for an ablation; these scores are not fitted as one.")
    else:
        asked["by"] = variants_by
        _check_by(dataset, question["by"])
        result = _focused(valuebias.fit(dataset, progress=is_terminal(), **asked), **question)
    try:
        _write(result, files)
    except WriteError:
        # Show the answer all the same: computing it again takes time.
        print_result(result, fit)
        typer.echo(_said(str(result.headline()), fit))
        raise
    if as_json:
        print_json(_record(result, files))
        return
    print_result(result, fit)
    for path in files.values():
        if path is not None:
            typer.echo(visible(path))
    typer.echo(_said(str(_answer(result, files)), fit))


def _check_by(dataset: xr.Dataset, by: Sequence[str] | None) -> None:
    """Refuse, before the fit, what variants are like among what models are like."""
    for name in by or ():
        if "variant" in dataset.dims and "variant" in getattr(dataset.get(name), "dims", ()):
            raise typer.BadParameter(
                f"--by names variables of models, and {name!r} is one of variants: give "
                f"--variants-by {name}."
            )


def classical(
    data: Data,
    contrast: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="Compare category A with category B alone."),
    ] = None,
    n_permutations: Annotated[
        int, typer.Option(min=1, help="Shuffles of each permutation test.")
    ] = 9999,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffles.")] = 0,
    threshold: Threshold = None,
    kind: KindOfTable = None,
    sheet: SheetOfBook = None,
    as_json: AsJson = False,
) -> None:
    """Analyse scores as Christian et al. 2026 did, with prompts as replicates.

    The report of a fit shows this beside the hierarchical answer, with models as replicates.

    Example: [bold]valuebias classical scores.nc[/bold]
    """
    import valuebias

    result = valuebias.classical(
        with_marks(load_data(data, kind, sheet), threshold),
        contrast=contrast,
        n_permutations=n_permutations,
        seed=seed,
        progress=is_terminal(),
    )
    if as_json:
        print_json({"headline": result.headline().text, **result.to_dict()})
        return
    for line in str(result).splitlines():
        typer.echo(visible(line))


def report(
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="A saved fit (.nc or .zarr).")],
    out: Annotated[Path, typer.Option(help=f"Output path: {_FORMS}.")],
    pair: Pair = None,
    by: By = None,
    at: At = None,
    contrast: Categories = None,
    weight: Weight = None,
    framing: Annotated[
        Literal["signed", "positive", "negative"] | None,
        typer.Option(
            help="Speak of the prompts of this framing, of negative ones with the sign turned; "
            "nothing is fitted again. Of an ablation too.",
            show_default="that of the fit",
        ),
    ] = None,
    along: Annotated[
        Path | None,
        typer.Option(
            metavar="SCORES",
            help="Scores of a contrast set with rewards at every token, those that were fitted "
            "(valuebias score --contrasts ... --read all): show an answer token by token.",
        ),
    ] = None,
) -> None:
    """Write a report from a saved fit.

    Example: [bold]valuebias report fit.nc --out report.html --pair Gemma Llama[/bold]
    """
    import valuebias

    files = {"fit": None, "report": out}
    _check_files(files, fit)
    values, compared = _split_entries("--at", at, "n_params=8e9"), _contrast(contrast, weight)
    read = None if along is None else valuebias.read(along)
    _write(_focused(valuebias.load(fit), pair, by, values, compared, framing), files, along=read)
    typer.echo(visible(out))


def card(
    fit: Annotated[Path, typer.Argument(metavar="FIT", help="A saved fit (.nc or .zarr).")],
    model: Annotated[str, typer.Option(help="The model's name.")],
    out: Annotated[Path, typer.Option(help="Output path: .html or .md.")],
) -> None:
    """Write one page on one model: how it leans, which words, and how unusual that is.

    Example: [bold]valuebias card fit.nc --model my-rm --out card.html[/bold]
    """
    import valuebias
    from valuebias.report.card import SUFFIXES

    check_writable(out, suffixes=SUFFIXES, folder=False)
    loaded = valuebias.load(fit)
    if isinstance(loaded, valuebias.AblationFit):
        raise typer.BadParameter("a card is made of a fit of scores, not of an ablation's.")
    result = valuebias.card(loaded, model, progress=is_terminal())
    result.write(out)
    typer.echo(visible(out))
    typer.echo(visible(str(result)))


def _split_entries(option: str, entries: list[str] | None, example: str) -> list[tuple[str, str]]:
    """Split NAME=VALUE, before a fit that takes a while."""
    split = [entry.partition("=") for entry in entries or ()]
    for entry, (name, equals, value) in zip(entries or (), split, strict=True):
        if not (name and equals and value):
            raise typer.BadParameter(
                f"{option} takes NAME=VALUE, such as {example}; found {entry!r}."
            )
    return [(name, value) for name, _, value in split]


def _contrast(pair: tuple[str, str] | None, weight: list[str] | None) -> Contrast | None:
    """Read what is compared: two categories, or the weights of several."""
    entries = _split_entries("--weight", weight, "other=-0.5")
    if pair is not None and entries:
        raise typer.BadParameter("--contrast and --weight contradict one another; leave one out.")
    weights: dict[str, float] = {}
    for name, value in entries:
        number = as_number(value)
        if number is None:
            raise typer.BadParameter(f"--weight {name}={value}: {value!r} is not a number.")
        if name in weights:
            raise typer.BadParameter(f"--weight names {name!r} twice; give it one weight.")
        weights[name] = number
    return weights or pair


def _focused(
    result: Fit | AblationFit,
    pair: tuple[str, str] | None,
    by: list[str] | None,
    at: list[tuple[str, str]] | Mapping[str, Any] | None,
    contrast: Contrast | None = None,
    framing: str | None = None,
) -> Fit | AblationFit:
    """Put the question of the options in front."""
    from valuebias.fitting.result import Fit

    if not isinstance(result, Fit):
        if pair or by or at or contrast:
            raise typer.BadParameter(
                "--pair, --by, --at, --contrast and --weight do not apply to an ablation."
            )
        return result if framing is None else result.at_framing(framing)
    if not (pair or by or at or contrast or framing):
        return result
    values: dict[str, Any] = dict(at) if isinstance(at, Mapping) else {}
    for name, text in at if isinstance(at, list) else ():
        values.setdefault(name, []).append(_value(result, name, text))
    return result.focused(pair=pair, by=by, at=values or None, contrast=contrast, framing=framing)


def _value(fit: Fit, name: str, text: str) -> str | float:
    """Read a value of a variable: a level as it is written, although it may look like a number."""
    number = as_number(text)
    for factor in fit.problem.crossing.design.variables:
        if factor.categorical and name in (factor.expression, *factor.names):
            alike = [
                one for one in factor.levels if number is not None and as_number(one) == number
            ]
            return text if text in factor.levels or not alike else alike[0]
    return text if number is None else number


def _check_files(files: Mapping[str, Path | None], source: str | Path = "") -> None:
    """Check, before a fit that takes a while, that its files can be written, and not over it."""
    from valuebias.errors import ValueBiasError
    from valuebias.io.files import check_replaceable
    from valuebias.report import SUFFIXES, check_report_folder

    fit_path, report_path = files["fit"], files["report"]
    for path in (fit_path, report_path):
        if (
            path is not None
            and source
            and path.exists()
            and path.resolve() == Path(source).resolve()
        ):
            raise ValueBiasError(
                f"{str(path)!r} is what is read, and would be replaced by what is made of it; give "
                "another path."
            )
    if fit_path is not None:
        suffix = fit_path.suffix.lower()
        check_writable(fit_path, suffixes=(".nc", ".zarr"), folder=suffix == ".zarr")
        check_replaceable(fit_path)
    if report_path is not None:
        folder = report_path.suffix.lower() in ("", ".csv")
        if folder:
            check_report_folder(report_path)
        check_writable(report_path, suffixes=(*SUFFIXES, ""), folder=folder)


def _write(
    result: Fit | AblationFit,
    files: Mapping[str, Path | None],
    *,
    along: xr.Dataset | None = None,
) -> None:
    from valuebias.report import write_report

    fit_path, report_path = files["fit"], files["report"]
    if fit_path is not None:
        with stage(f"Saving {visible(fit_path)}"):
            result.save(fit_path)
    if report_path is not None:
        write_report(result, report_path, along=along, progress=is_terminal())


def _calls_for_ablation(dataset: xr.Dataset, wanted: bool | None) -> bool:
    """Decide whether scores are fitted as an ablation, with a message on standard error."""
    from valuebias.analysis.ablation.layout import check_models, is_ablation
    from valuebias.errors import ValueBiasError
    from valuebias.schema import model_table

    if wanted is not None:
        return wanted
    models = model_table(dataset)
    if not is_ablation(models):
        return False
    try:
        check_models(models)
    except ValueBiasError as error:
        _message(
            "The models are of several sources or numbers of pairs, but cannot be fitted as an "
            f"ablation: {error.in_shell} Fitted as models of their families."
        )
        return False
    _message(
        "The models are of several sources or numbers of pairs: fitted as an ablation. "
        "--no-ablation fits them as models of their families."
    )
    return True


def _answer(result: Fit | AblationFit, files: Mapping[str, Path | None]) -> Headline:
    """Give the headline: the report's own where one was written, so that the two say the same."""
    from valuebias.fitting.result import Fit
    from valuebias.report.inputs import collect

    path = files["report"]
    if path is None or path.suffix.lower() == ".nc" or not isinstance(result, Fit):
        return result.headline()
    # What the report has computed is not computed again.
    return collect(result, figures=False, advance=lambda: None).headline


def _record(result: Fit | AblationFit, files: Mapping[str, Path | None]) -> dict[str, Any]:
    """Collect what ``--json`` writes of a result."""
    from valuebias.analysis.estimands.plain_names import plain_names
    from valuebias.analysis.notes import as_records
    from valuebias.fitting.ablation_result import AblationFit

    diagnostics = _diagnostics(result)
    record: dict[str, Any] = {
        "headline": str(_answer(result, files)),
        "converged": diagnostics.converged,
        "messages": list(diagnostics.messages),
        "cautions": list(diagnostics.cautions),
    }
    tables = {}
    if not isinstance(result, AblationFit):
        tables["contrasts"] = result.contrasts()
    else:
        record["notes"] = as_records(result.notes)
        tables |= {"gaps": result.gaps(), "by_framing": result.by_framing()}
        if result.studied:
            tables |= {"slope": result.slope(), "closing": result.closing_point()}
            tables |= {"departures": result.departures(), "levelling": result.levelling()}
    record |= {name: plain_names(table).to_dict(orient="records") for name, table in tables.items()}
    return record | {"files": {name: str(path) for name, path in files.items() if path}}


def print_result(result: Fit | AblationFit, command: Callable[..., None]) -> None:
    """Print the main table of a result, after any failure to converge."""
    from valuebias.fitting.ablation_result import AblationFit

    diagnostics = _diagnostics(result)
    if not diagnostics.converged:
        typer.secho("NOT CONVERGED: do not use these numbers.", fg=typer.colors.RED, bold=True)
        for message in diagnostics.messages:
            typer.echo(_said(message, command))
    for caution in diagnostics.cautions:
        typer.echo(_said(f"Caution: {caution}", command))
    if isinstance(result, AblationFit):
        table = _with_chances(result.summary(), diagnostics.transitions)[_ABLATION_COLUMNS]
        table["n_pairs"] = [f"{n:,.0f}" if math.isfinite(n) else "–" for n in table["n_pairs"]]
        rows = table.itertuples(index=False)
        unit = visible(result.unit)
        title = f"Gaps in {visible(result.curves.category)} ({unit}), with 90% intervals; {_SIGN}"
        print_table(_ABLATION_COLUMNS, rows, title=title, right=_RIGHT)
        return
    from valuebias.analysis.estimands.estimand import DIFFERENCE, SLOPE
    from valuebias.analysis.outcome import describe

    contrasts = result.contrasts()
    kind = contrasts["estimand"]
    compared = contrasts["form"].isin((DIFFERENCE, SLOPE)) & (contrasts["variant"] == "")
    displayed = contrasts[compared] if compared.any() else contrasts[kind == kind.iloc[0]]
    rows = _with_chances(displayed, contrasts.attrs["draws"])[_COLUMNS].itertuples(index=False)
    unit = describe(result.settings["outcome"]).unit
    title = f"Contrasts ({unit}), with 90% intervals; {_SIGN}"
    print_table(_COLUMNS, rows, title=title, right=_RIGHT)


def _said(text: str, command: Callable[..., None]) -> str:
    """Write what a fit says with the options of a command."""
    return visible(spoken(text, inspect.signature(command).parameters))


def _with_chances(table: pd.DataFrame, draws: float) -> pd.DataFrame:
    """Write the probabilities of direction, each bounded by its effective draws."""
    from valuebias.posterior.wording import chance, effective_draws

    sizes = effective_draws(table, draws)
    chances = [chance(p, n) for p, n in zip(table["p_direction"], sizes, strict=True)]
    return table.assign(p_direction=chances)


def _diagnostics(result: Fit | AblationFit) -> Diagnostics:
    """Judge the chains; the commands fit no table of medians, which has none."""
    from valuebias.fitting.result import Fit

    fitted = result if isinstance(result, Fit) else cast("Fit", result.fit)
    return fitted.diagnostics()


def _message(message: str) -> None:
    typer.echo(visible(message), err=True)
