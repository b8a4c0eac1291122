"""Which analysis the scores call for, and how the commands print its result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import typer

from valuebias._core.text import visible
from valuebias.cli.output import print_table

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from valuebias.analysis.estimands.diagnostics import Diagnostics
    from valuebias.fitting.ablation_result import AblationFit
    from valuebias.fitting.fit import Fit

__all__ = ["calls_for_ablation", "print_result", "result_record"]

_COLUMNS = ["name", "framing", "category", "mean", "lower", "upper", "p_direction"]
_RIGHT = ("p_direction",)
_ABLATION_COLUMNS = [
    "estimand", "name", "source", "n_pairs", "support", "mean", "lower", "upper", "p_direction",
]  # fmt: skip


def calls_for_ablation(dataset: xr.Dataset, wanted: bool | None) -> bool:
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
            f"ablation: {error} Fitted as models of their families."
        )
        return False
    _message(
        "The models are of several sources or numbers of pairs: fitted as an ablation. "
        "--no-ablation fits them as models of their families."
    )
    return True


def result_record(result: Fit | AblationFit) -> dict[str, Any]:
    """Collect what ``--json`` writes of a result."""
    from valuebias.analysis.notes import as_records
    from valuebias.fitting.ablation_result import AblationFit

    diagnostics = _diagnostics(result)
    record = {
        "headline": str(result.headline()),
        "converged": diagnostics.converged,
        "messages": list(diagnostics.messages),
        "cautions": list(diagnostics.cautions),
    }
    if not isinstance(result, AblationFit):
        return record | {"contrasts": result.contrasts().to_dict(orient="records")}
    record |= {"notes": as_records(result.notes)}
    tables = {"gaps": result.gaps(), "by_framing": result.by_framing()}
    if result.studied:
        tables |= {"slope": result.slope(), "closing": result.closing_point()}
        tables |= {"departures": result.departures(), "levelling": result.levelling()}
    return record | {name: table.to_dict(orient="records") for name, table in tables.items()}


def print_result(result: Fit | AblationFit) -> None:
    """Print the main table of a result, after any failure to converge."""
    from valuebias.fitting.ablation_result import AblationFit

    diagnostics = _diagnostics(result)
    if not diagnostics.converged:
        typer.secho("NOT CONVERGED: do not use these numbers.", fg=typer.colors.RED, bold=True)
        for message in diagnostics.messages:
            typer.echo(visible(message))
    for caution in diagnostics.cautions:
        typer.echo(visible(f"Caution: {caution}"))
    if isinstance(result, AblationFit):
        table = _with_chances(result.summary(), diagnostics.transitions)[_ABLATION_COLUMNS]
        table["n_pairs"] = [f"{n:,.0f}" if math.isfinite(n) else "–" for n in table["n_pairs"]]
        rows = table.itertuples(index=False)
        title = f"Gaps in {visible(result.curves.category)}, with 90% intervals"
        print_table(_ABLATION_COLUMNS, rows, title=title, right=_RIGHT)
        return
    from valuebias.analysis.estimands.contrasts import DIFFERENCE, SLOPE

    contrasts = result.contrasts()
    kind = contrasts["estimand"]
    compared = contrasts["form"].isin((DIFFERENCE, SLOPE)) & (contrasts["variant"] == "")
    displayed = contrasts[compared] if compared.any() else contrasts[kind == kind.iloc[0]]
    rows = _with_chances(displayed, contrasts.attrs["draws"])[_COLUMNS].itertuples(index=False)
    print_table(_COLUMNS, rows, title="Contrasts, with 90% intervals", right=_RIGHT)


def _with_chances(table: pd.DataFrame, draws: float) -> pd.DataFrame:
    """Write the probabilities of direction, each bounded by its effective draws."""
    from valuebias.posterior.wording import chance, effective_draws

    sizes = effective_draws(table, draws)
    chances = [chance(p, n) for p, n in zip(table["p_direction"], sizes, strict=True)]
    return table.assign(p_direction=chances)


def _diagnostics(result: Fit | AblationFit) -> Diagnostics:
    """Judge the chains; the commands fit no table of medians, which has none."""
    from valuebias.fitting.fit import Fit

    fitted = result if isinstance(result, Fit) else cast("Fit", result.fit)
    return fitted.diagnostics()


def _message(message: str) -> None:
    typer.echo(visible(message), err=True)
