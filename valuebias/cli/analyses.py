"""Which analysis the scores call for, and what the commands print of its result."""

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
    from valuebias.fitting.fit import Fit
    from valuebias.fitting.result import AblationFit

__all__ = ["calls_for_ablation", "print_result", "result_record"]

_SHOWN = ["name", "framing", "category", "mean", "lower", "upper", "p_direction"]
_CHANCES = ("p_direction",)
_OF_ABLATIONS = [
    "estimand", "name", "source", "n_pairs", "support", "mean", "lower", "upper", "p_direction",
]  # fmt: skip


def calls_for_ablation(dataset: xr.Dataset, wanted: bool | None) -> bool:
    """Decide whether scores are fitted as an ablation, and say so on standard error."""
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
        _tell(
            "The models are of several sources or numbers of pairs, but cannot be fitted as an "
            f"ablation: {error} Fitted as models of their families."
        )
        return False
    _tell(
        "The models are of several sources or numbers of pairs: fitted as an ablation. "
        "--no-ablation fits them as models of their families."
    )
    return True


def result_record(result: Fit | AblationFit) -> dict[str, Any]:
    """Give what ``--json`` writes of a result."""
    from valuebias.analysis.notes import as_records
    from valuebias.fitting.result import AblationFit

    diagnostics = _diagnostics(result)
    made = {
        "headline": str(result.headline()),
        "converged": diagnostics.converged,
        "messages": list(diagnostics.messages),
        "cautions": list(diagnostics.cautions),
    }
    if not isinstance(result, AblationFit):
        return made | {"contrasts": result.contrasts().to_dict(orient="records")}
    made |= {"notes": as_records(result.notes)}
    tables = {"gaps": result.gaps(), "by_framing": result.by_framing()}
    if result.studied:
        tables |= {"slope": result.slope(), "closing": result.closing_point()}
        tables |= {"departures": result.departures(), "levelling": result.levelling()}
    return made | {name: table.to_dict(orient="records") for name, table in tables.items()}


def print_result(result: Fit | AblationFit) -> None:
    """Show the main table of a result, and first what the sampler got wrong."""
    from valuebias.fitting.result import AblationFit

    diagnostics = _diagnostics(result)
    if not diagnostics.converged:
        typer.secho("NOT CONVERGED: do not use these numbers.", fg=typer.colors.RED, bold=True)
        for message in diagnostics.messages:
            typer.echo(visible(message))
    for caution in diagnostics.cautions:
        typer.echo(visible(f"Caution: {caution}"))
    if isinstance(result, AblationFit):
        table = _with_chances(result.summary(), diagnostics.transitions)[_OF_ABLATIONS]
        table["n_pairs"] = [f"{n:,.0f}" if math.isfinite(n) else "–" for n in table["n_pairs"]]
        rows = table.itertuples(index=False)
        title = f"Gaps in {visible(result.curves.category)}, with 90% intervals"
        print_table(_OF_ABLATIONS, rows, title=title, right=_CHANCES)
        return
    from valuebias.analysis.estimands.contrasts import DIFFERENCE, SLOPE

    contrasts = result.contrasts()
    kind = contrasts["estimand"]
    compared = contrasts["form"].isin((DIFFERENCE, SLOPE)) & (contrasts["variant"] == "")
    shown = contrasts[compared] if compared.any() else contrasts[kind == kind.iloc[0]]
    rows = _with_chances(shown, contrasts.attrs["draws"])[_SHOWN].itertuples(index=False)
    print_table(_SHOWN, rows, title="Contrasts, with 90% intervals", right=_CHANCES)


def _with_chances(table: pd.DataFrame, draws: float) -> pd.DataFrame:
    """Write the probabilities of direction, each no surer than its effective draws."""
    from valuebias.posterior.wording import chance, effective_draws

    sizes = effective_draws(table, draws)
    said = [chance(p, n) for p, n in zip(table["p_direction"], sizes, strict=True)]
    return table.assign(p_direction=said)


def _diagnostics(result: Fit | AblationFit) -> Diagnostics:
    """Judge the chains; a table of medians, which has none, is not fitted from here."""
    from valuebias.fitting.fit import Fit

    fitted = result if isinstance(result, Fit) else cast("Fit", result.fit)
    return fitted.diagnostics()


def _tell(message: str) -> None:
    typer.echo(visible(message), err=True)
