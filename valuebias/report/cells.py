"""Tables of a report that single out cells of the formula and pairs of several families."""

from __future__ import annotations

import pandas as pd

from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.rows import headline_factor
from valuebias.analysis.outcome import describe
from valuebias.posterior.headline import crossed_cells
from valuebias.posterior.wording import under
from valuebias.report.columns import chance_column, interval_column, with_chance, with_interval
from valuebias.report.content import Column, Table, number
from valuebias.report.inputs import PROB, ReportInputs

__all__ = ["cell_tables"]


def cell_tables(inputs: ReportInputs) -> list[Table]:
    """Show what one difference cannot: cells that the formula crosses, and all pairs of several."""
    fit, row = inputs.fit, inputs.headline.row
    if row["form"] != DIFFERENCE:
        return []
    tables = []
    crossed = crossed_cells(fit, row)
    if crossed is not None:
        cells, names = crossed
        tables.append(
            _differences(
                inputs, "cells", cells.table(prob=PROB),
                f"The difference within the levels of {' and '.join(names)}, "
                f"{under(inputs.framing)}. {cells.averaging}",
            )
        )  # fmt: skip
    factor = headline_factor(fit.problem.crossing.design, fit.focus.pair)
    if factor is not None and len(factor.levels) > 2:
        at = fit.focus.at
        pairs = fit.comparisons(factor.expression, at=at)
        tables.append(
            _differences(
                inputs, "pairs", pairs.table(prob=PROB),
                f"All pairs of {factor.expression}, {under(inputs.framing)}. {pairs.averaging}",
            )
        )  # fmt: skip
        ranks = fit.means(factor.expression, at=at).ranks()
        tables.append(_ranks(inputs, ranks[ranks["framing"] == inputs.framing]))
    return tables


def _differences(inputs: ReportInputs, name: str, table: pd.DataFrame, caption: str) -> Table:
    digits, unit = inputs.digits, describe(inputs.fit.settings["outcome"]).unit
    rows = table[table["framing"] == inputs.framing]
    form = number(digits, signed=True)
    joint = [
        f"{form(low)} to {form(high)}"
        for low, high in zip(rows["lower_joint"], rows["upper_joint"], strict=True)
    ]
    rows = with_chance(with_interval(rows, digits), inputs.effective, "p_direction")
    columns = (
        Column("name", "of"),
        *([Column("at", "with")] if (rows["at"] != "").any() else []),
        *([Column("category", "categories")] if rows["category"].nunique() > 1 else []),
        Column("mean", f"mean ({unit})", form),
        interval_column(),
        Column("_joint", f"{PROB:.0%} joint interval", right=True),
        chance_column("p_direction", "P(direction)"),
    )
    caption += (
        f" All lie in their joint intervals at once with a probability of {PROB:.0%}, each in its "
        "own with that probability."
    )
    return Table(name, caption, table, columns, rows.assign(_joint=joint))


def _ranks(inputs: ReportInputs, ranks: pd.DataFrame) -> Table:
    rank_columns = [name for name in ranks.columns if name.startswith("rank_")]
    columns = (
        Column("name", "level"),
        *([Column("category", "categories")] if ranks["category"].nunique() > 1 else []),
        Column("mean_rank", "mean rank", number(2)),
        *(chance_column(name, f"P({name.replace('_', ' ')})") for name in rank_columns),
    )
    caption = (
        f"Ranks of the levels by their lean, {under(inputs.framing)}: the probability that each is "
        "first (leans furthest), second, and so on."
    )
    shown = with_chance(ranks, inputs.effective, *rank_columns)
    return Table("ranks", caption, ranks, columns, shown)
