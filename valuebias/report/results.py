"""The sections that answer the question."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from valuebias.analysis.outcome import describe
from valuebias.plots import families, forest, words
from valuebias.report.content import Column, Picture, Section, Table, number
from valuebias.report.material import PROB, Material

__all__ = [
    "contrast_section",
    "density_section",
    "forest_section",
    "interval_column",
    "limits_section",
    "percent",
    "reading",
    "with_interval",
    "word_section",
]

_SHOWN_WORDS = 20
_INTERVAL = "_interval"


def percent(value: float) -> str:
    """Write a probability; never as 0% or 100%, which no sample can show."""
    rounded = f"{100 * value:.1f}%"
    return {"0.0%": "< 0.1%", "100.0%": "> 99.9%"}.get(rounded, rounded)


def with_interval(frame: pd.DataFrame, digits: int, *, signed: bool = True) -> pd.DataFrame:
    """Add the interval as one column of text."""
    form = number(digits, signed=signed)
    ends = zip(frame["lower"], frame["upper"], strict=True)
    return frame.assign(**{_INTERVAL: [f"{form(low)} to {form(high)}" for low, high in ends]})


def interval_column() -> Column:
    """Give the column that :func:`with_interval` adds."""
    return Column(_INTERVAL, f"{PROB:.0%} interval", right=True)


def reading(made: Material) -> tuple[str, ...]:
    """Say how the answer is to be read."""
    row, spec = made.headline.row, made.fit.spec
    kind, unit = describe(spec["outcome"]), describe(spec["outcome"]).unit
    first, _, second = str(row["category"]).partition(" − ")
    other = second if second != "others" else "the other categories"
    framings = made.fit.problem.crossing.framings
    signed = (
        "Signed by framing means that liking counts with its sign turned under negative prompts "
        "(“the worst thing”), where a high reward means disliking: half the lean under positive "
        "prompts less the lean under negative ones."
        if len(framings) == 2
        else f"All prompts here are of {framings[0]} framing, so the sign of liking cannot be "
        "checked against the other framing."
    )
    rope = float(made.contrasts.attrs["rope"])
    turned = "" if kind.sign > 0 else " Ranks are turned round here: higher means a higher reward."
    return (
        f"A model's lean is how much higher it rewards the words of {first} than those of {other}, "
        f"in units of the outcome ({kind.units}). {signed}",
        f"One unit: {kind.reading}{turned}",
        f"Given the model and the data, the quantity lies in the interval with a probability of "
        f"{PROB:.0%}. It lies within ±{rope:.2g} {unit} of zero, which is taken as too small to "
        f"matter, with a probability of {percent(float(row['p_rope']))}.",
    )


def limits_section(made: Material) -> Section:
    """Say what the data cannot say."""
    fit = made.fit
    items = [note.text for note in fit.notes]
    if fit.spec["n_missing"]:
        items.append(
            f"{fit.spec['n_missing']:,} cells of the crossing are missing; they are taken to be "
            "missing for reasons that have nothing to do with their scores."
        )
    if fit.spec["dropped_words"]:
        items.append(
            f"{fit.spec['dropped_words']} scored words are outside the lexicon; they are in no "
            "category and were left out."
        )
    counts = Counter(fit.data["family"].to_numpy().tolist())
    listed = ", ".join(f"{n} of {family}" for family, n in counts.items())
    items.append(
        f"The answer rests on {fit.data.sizes['model']} models: {listed}. They were not drawn at "
        "random from all models of their families."
    )
    items.append(
        "What else differs between the groups (size, preference data, training recipe) is "
        f"adjusted for only where the formula names it: {fit.spec['formula']}."
    )
    return Section("limits", "What the data cannot say", items=tuple(items))


def contrast_section(made: Material) -> Section:
    """Show the estimands other than single models."""
    table = made.contrasts
    shown = table[table["estimand"] != "model lean"]
    several = table["category"].nunique() > 1
    if several:
        shown = shown[shown["framing"] == "signed"]
    digits, unit = made.digits, describe(made.fit.spec["outcome"]).unit
    category = [Column("category", "categories")] if several else []
    columns = (
        Column("estimand", "estimand"),
        Column("name", "of"),
        Column("framing", "framing"),
        *category,
        Column("mean", f"mean ({unit})", number(digits, signed=True)),
        interval_column(),
        Column("p_direction", "P(direction)", percent),
        Column("p_rope", "P(in ROPE)", percent),
    )
    what = "all contrasts of categories" if several else str(table["category"].iloc[0])
    caption = (
        f"Posterior of the estimands, {what}. P(direction): probability of the sign of the "
        f"estimate. P(in ROPE): probability of lying within ±{table.attrs['rope']:.2g} {unit} of "
        "zero. “These words” holds for the words of this lexicon, the first rows for words like "
        "them."
    )
    return Section(
        "contrasts",
        "Contrasts",
        tables=(Table("contrasts", caption, table, columns, with_interval(shown, digits)),),
    )


def forest_section(made: Material) -> Section:
    """Show the models by family."""
    digits, unit = made.digits, describe(made.fit.spec["outcome"]).unit
    table = made.models
    order = ["category", "family", "mean"]
    shown = table[table["framing"] == "signed"].sort_values(order, ascending=[True, True, False])
    several = table["category"].nunique() > 1
    columns = (
        *([Column("category", "categories")] if several else []),
        Column("family", "family"),
        Column("name", "model"),
        Column("mean", f"lean ({unit})", number(digits, signed=True)),
        interval_column(),
        Column("p_direction", "P(direction)", percent),
    )
    picture = None
    if made.figures:
        picture = Picture(
            "forest",
            forest.draw(made.fit),
            "Forest plot: the lean of every model with its interval, grouped by family, the mean "
            "of each family and the lean predicted for an unseen model of it. The table below has "
            "the numbers.",
            f"Lean of every model, signed by framing, with {PROB:.0%} intervals. Diamonds: means "
            "of the families. Dashed: what to expect of a model of the family that was not seen.",
        )
    return Section(
        "models",
        "Models by family",
        tables=(Table("models", "Leans of the models, signed by framing.", table, columns,
                      with_interval(shown, digits)),),
        picture=picture,
    )  # fmt: skip


def density_section(made: Material) -> Section:
    """Show the posterior densities of family leans and differences."""
    title = "Family densities"
    row = made.contrasts.iloc[0]
    if not str(row["estimand"]).endswith("difference"):
        formula = made.fit.spec["formula"]
        missing = f"The formula {formula!r} compares no groups of models."
        return Section("densities", title, missing=missing)
    paragraphs = (
        "The leans of the families share what is uncertain about the words and prompts, so their "
        "difference is better known than the overlap of their densities suggests.",
    )
    picture = None
    if made.figures:
        picture = Picture(
            "families",
            families.draw(made.fit),
            "Posterior densities of the families' leans, and of the differences between families "
            "with the region of practical equivalence. The contrasts table has the numbers.",
            "Posterior densities with medians, 50% (thick) and 90% (thin) intervals. Band: the "
            "region of practical equivalence.",
        )
    return Section("densities", title, paragraphs, picture=picture)


def word_section(made: Material) -> Section:
    """Show which words drive the difference."""
    title = "Words that drive the difference"
    if made.words is None:
        return Section("words", title, missing=made.no_words)
    table, digits = made.words, made.digits
    name = str(table["name"].iloc[0])
    unit = describe(made.fit.spec["outcome"]).unit
    columns = (
        Column("word", "word"),
        Column("categories", "category"),
        Column("mean", f"{name} ({unit})", number(digits, signed=True)),
        interval_column(),
        Column("p_direction", "P(direction)", percent),
    )
    shown = with_interval(table.head(_SHOWN_WORDS), digits)
    picture = None
    if made.figures:
        picture = Picture(
            "words",
            words.draw(made.fit),
            f"The words with the largest differences {name}, each way, with intervals, coloured by "
            "category. The table below has the numbers.",
            f"Expected difference {name} by word, signed by framing and relative to the lexicon's "
            f"mean, with {PROB:.0%} intervals: the largest each way.",
        )
    caption = (
        f"The {len(shown)} words with the largest differences of {len(table)}; partially pooled, "
        "so that picking the largest does not by itself exaggerate them."
    )
    return Section("words", title, tables=(Table("words", caption, table, columns, shown),),
                   picture=picture)  # fmt: skip
