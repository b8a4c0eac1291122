"""The section on which models and bases the answer depends."""

from __future__ import annotations

import pandas as pd

from valuebias.analysis.outcome import describe
from valuebias.plots import influence
from valuebias.posterior.influence import most_influential, other_verdicts
from valuebias.report.columns import chance_column, interval_column, with_chance, with_interval
from valuebias.report.content import Column, Picture, Section, Table, number
from valuebias.report.inputs import PROB, ReportInputs

__all__ = ["influence_section"]

_TITLE = "Influence of models and bases"


def influence_section(inputs: ReportInputs) -> Section:
    """Show the headline without each model and each base."""
    table = inputs.influence
    if table is None:
        return Section("influence", _TITLE, missing=inputs.no_influence)
    unit = describe(inputs.fit.settings["outcome"]).unit
    columns = (
        Column("unit", "without"),
        Column("name", "name"),
        Column("mean", f"mean ({unit})", number(inputs.digits, signed=True)),
        interval_column(),
        chance_column("p_direction", "P(direction)"),
        Column("shift", "shift (SDs)", number(2, signed=True)),
        Column("remark", "remark"),
    )
    picture = None
    if inputs.figures:
        picture = Picture(
            "influence",
            influence.plot_influence(inputs.fit, table),
            "The headline estimate with its interval, of all data and without each base and each "
            "model, those that move it most first. The table below has the numbers.",
            f"The headline without each base and each model, with {PROB:.0%} intervals.",
        )
    caption = (
        "The headline without each model and each base that models share; shift: by how many "
        "posterior SDs of the fit the mean moves."
    )
    rows = with_chance(with_interval(table, inputs.digits), inputs.effective, "p_direction")
    texts = ["_interval", "_p_direction"]
    rows[texts] = rows[texts].where(table["mean"].notna(), "–")
    return Section(
        "influence",
        _TITLE,
        (_text(inputs, table),),
        tables=(Table("influence", caption, table, columns, rows),),
        picture=picture,
    )


def _text(inputs: ReportInputs, table: pd.DataFrame) -> str:
    form = number(inputs.digits, signed=True)
    estimate = form(table["mean"].iloc[0])
    parts = [
        "Each model, and each base that several models share, was left out and the model fitted "
        "again without it, with the same outcomes, priors and question."
    ]
    parts += [
        f"Of the {row['unit']}s, {row['name']} moves the estimate most: from {estimate} "
        f"to {form(row['mean'])} without it, by {number(1)(abs(row['shift']))} of its posterior "
        "SD."
        for _, row in most_influential(table).iterrows()
    ]
    others, tried = other_verdicts(table), int(table["mean"].notna().sum()) - 1
    parts.append(_on_the_verdict(others, tried))
    lost = table.loc[table["mean"].isna(), "name"]
    if len(lost):
        named = ", ".join(map(str, lost))
        parts.append(f"Without {named} there would be nothing to compare.")
    return " ".join(part for part in parts if part)


def _on_the_verdict(others: pd.DataFrame, tried: int) -> str:
    if not tried:
        return ""
    if others.empty:
        return (
            "Whichever is left out, the verdict on the direction stays, within a hundredth of its "
            "probability."
        )
    named = [f"{row['unit']} {row['name']}" for _, row in others.iterrows()]
    if len(named) > 3:
        return f"Without {len(named)} of these {tried} the verdict on the direction would differ."
    return f"Without {' or without '.join(named)} the verdict on the direction would differ."
