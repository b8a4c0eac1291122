"""The card of one model: a page for people who choose one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from valuebias._core.atomic import atomic_path
from valuebias._core.provenance import versions
from valuebias.analysis.outcome import describe
from valuebias.plots.one_model import plot_one_model
from valuebias.plots.theme import house_style
from valuebias.posterior.headline import OPEN, verdict_of
from valuebias.posterior.one_model import OneModel
from valuebias.posterior.posterior import Posterior
from valuebias.posterior.wording import effective_draws, percent, under
from valuebias.report.columns import chance_column, interval_column, with_chance, with_interval
from valuebias.report.content import Column, Content, Picture, Section, Table, number
from valuebias.report.inputs import PROB
from valuebias.report.methods import references
from valuebias.report.render import write_html, write_markdown

__all__ = ["SUFFIXES", "card_answer", "write_card"]

SUFFIXES = (".html", ".md")
_SHOWN = 10
# Beyond it a lean is called unusual: fewer than one new model in twenty leans so far, either way.
_UNUSUAL = 0.025


def write_card(fit: Posterior, card: OneModel, path: Path) -> None:
    """Write the card, whole or not at all."""
    writer = write_html if path.suffix.lower() == ".html" else write_markdown
    with atomic_path(path) as part:
        writer(_content(fit, card, figures=path.suffix.lower() == ".html"), part)


def card_answer(fit: Posterior, card: OneModel) -> str:
    """Say in a few sentences how the model leans, and how unusual that is."""
    unit = describe(fit.settings["outcome"]).unit
    over, against = card.category[0], card.category[1] or "the other categories"
    positive = float((card.lean > 0).mean())
    sure, draws = max(positive, 1 - positive), _effective(fit)
    doubtful = verdict_of(sure) == OPEN
    # Towards what the model leans to, or to the first category where that is open.
    turn = -1.0 if positive < 0.5 and not doubtful else 1.0
    lean = turn * card.lean
    low, high = np.quantile(lean, [0.5 - PROB / 2, 0.5 + PROB / 2])
    form = number(2, signed=doubtful or low < 0)
    size = (
        f"{form(lean.mean())} {unit} ({PROB:.0%} interval {form(low)} to {form(high)}), "
        f"{under(card.framing)}"
    )
    towards = over if turn > 0 else against
    parts = [
        f"Whether {card.name} leans towards {over} or {against} is open: {size}."
        if doubtful
        else f"{card.name} leans towards {towards} by {size}; the probability of that direction is "
        f"{percent(sure, draws)}."
    ]
    if card.of_family is None:
        parts.append(f"It is the only model of {card.family} here, so its family says nothing.")
    beyonds = ((f"of {card.family}", card.beyond_family), ("of any family", card.beyond_all))
    for who, beyond in beyonds:
        if beyond is None:
            continue
        further = min(beyond, 1 - beyond)
        side = over if beyond < 0.5 else against
        judged = "unusual" if further < _UNUSUAL else "not unusual"
        parts.append(
            f"For a model {who} that is {judged}: {percent(further, draws)} of new ones are "
            f"expected to lean further towards {side} on the same words and prompts."
        )
    return " ".join(parts)


def _effective(fit: Posterior) -> float:
    table = fit.contrasts()
    return effective_draws(table, table.attrs["draws"])[0]


def _content(fit: Posterior, card: OneModel, *, figures: bool) -> Content:
    sizes = fit.data.sizes
    unit = describe(fit.settings["outcome"]).unit
    diagnostics = fit.diagnostics()
    kind = describe(fit.settings["outcome"])
    source = "the other models alone" if card.without_it else "all models, this one among them"
    return Content(
        title=card.name,
        subtitle=(
            f"{card.family} · beside {sizes['model'] - 1} other models · {sizes['prompt']} prompts "
            f"· {sizes['response']} words"
        ),
        alarms=tuple(text[:1].upper() + text[1:] for text in diagnostics.messages),
        answer=card_answer(fit, card),
        reading=(
            f"A lean is how much higher the words of {card.category[0]} are rewarded than those of "
            f"{card.category[1] or 'the other categories'}, in units of the outcome "
            f"({kind.units}). It is of these prompts and of words like these; another set of "
            "either may show another lean.",
            f"What a new model would do is predicted from {source}: the density holds what is not "
            "known of the family, of further words, and how much models differ. How unusual this "
            "model is does not rest on further words: it is judged on the same words and prompts.",
        ),
        sections=(
            _lean_section(fit, card, unit, figures=figures),
            _word_section(fit, card, unit),
        ),
        references=references(fit),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=versions().get("valuebias", "unknown version"),
    )


def _lean_section(fit: Posterior, card: OneModel, unit: str, *, figures: bool) -> Section:
    rows = [("this model", card.lean), (f"a new model of {card.family}", card.of_family)]
    rows.append(("a new model of any family", card.of_all))
    tail = 0.5 - PROB / 2
    table = pd.DataFrame(
        [
            {
                "name": name,
                "mean": draws.mean(),
                "lower": np.quantile(draws, tail),
                "upper": np.quantile(draws, 1 - tail),
            }
            for name, draws in rows
            if draws is not None
        ]
    )
    columns = (
        Column("name", "of"),
        Column("mean", f"lean ({unit})", number(2, signed=True)),
        interval_column(),
    )
    picture = None
    if figures:
        families = [str(name) for name in fit.data["family"].to_numpy()]
        with house_style():
            figure = plot_one_model(card, families, unit)
        picture = Picture(
            "one_model",
            figure,
            "Densities of the model's lean, of that of a new model of its family and of a new "
            "model of any family. The table below has the numbers.",
            "The lean of this model (dashed: its median) on those predicted for new models.",
        )
    caption = f"Leans, {under(card.framing)}, with {PROB:.0%} intervals."
    return Section(
        "lean", "How it leans, and how unusual that is", picture=picture,
        tables=(Table("lean", caption, table, columns, with_interval(table, 2)),),
    )  # fmt: skip


def _word_section(fit: Posterior, card: OneModel, unit: str) -> Section:
    table = card.words
    shown = pd.concat(
        [
            table[table["mean"] > 0].head(_SHOWN),
            table[table["mean"] < 0].head(_SHOWN).iloc[::-1],
        ]
    )
    draws = float(table.attrs["draws"])
    columns = (
        Column("word", "word"),
        Column("categories", "category"),
        Column("mean", f"difference ({unit})", number(2, signed=True)),
        interval_column(),
        chance_column("p_direction", "P(direction)"),
    )
    caption = (
        f"The {_SHOWN} words that it values more than {card.beside} and the {_SHOWN} that it "
        f"values less, {under(card.framing)}, relative to the lexicon's mean. For these very "
        "models: of other models trained in the same way nothing is said."
    )
    displayed = with_chance(with_interval(shown, 2), draws, "p_direction")
    return Section(
        "words", "Which words it values otherwise",
        tables=(Table("words", caption, table, columns, displayed),),
    )  # fmt: skip
