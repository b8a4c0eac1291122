"""The sections that answer the question."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.weights import TURNED
from valuebias.analysis.outcome import describe
from valuebias.plots import families, forest, words
from valuebias.posterior.headline import MOST_CELLS, POWER, crossed_cells, detectable
from valuebias.posterior.posterior import CERTAIN, Posterior
from valuebias.posterior.prereg import describe_registration
from valuebias.posterior.wording import false_signs, percent, sampled_units, under
from valuebias.report.cells import cell_tables
from valuebias.report.columns import chance_column, displayed, interval_column
from valuebias.report.content import Column, Section, Table, number, sentence
from valuebias.report.inputs import PROB, ReportInputs
from valuebias.report.item_texts import item_section
from valuebias.schema.contract import NEUTRAL

__all__ = [
    "contrast_section",
    "density_section",
    "forest_section",
    "limits_section",
    "reading",
    "word_section",
]

_FRAMED = {
    "signed": "Signed by framing means that liking counts with its sign turned under negative "
    "prompts (“the worst thing”), where a high reward means disliking: the lean under "
    "positive prompts less the lean under negative ones, halved.",
    "positive": "All prompts here are positive (“the best thing”), so that a preference cannot be "
    "told from a habit of scoring some words high: negative prompts would tell.",
    NEUTRAL: "All prompts here are neutral: they ask for neither good nor bad, so that a high "
    "reward says neither liking nor disliking, and no sign is turned.",
    TURNED: "All prompts here are negative (“the worst thing”), where a high reward means "
    "disliking. “Negative, turned” is the lean under them with its sign turned, so that a positive "
    "number means the more liked category; “negative” is the lean as it was scored. That liking "
    "cannot be told from a habit of scoring some words low: positive prompts would tell.",
}
_ASKED = {
    "positive": "These are the positive prompts (“the best thing”) alone, as was asked: under them "
    "a preference cannot be told from a habit of scoring some words high, which the lean signed by "
    "framing, over all prompts, does.",
    TURNED: "These are the negative prompts (“the worst thing”) alone, as was asked, where a high "
    "reward means disliking. “Negative, turned” is the lean under them with its sign turned, so "
    "that a positive number means the more liked category. Under them a preference cannot be told "
    "from a habit of scoring some words low, which the lean signed by framing, over all prompts, "
    "does.",
}
_SHOWN_WORDS = 20


def reading(inputs: ReportInputs) -> tuple[str, ...]:
    """Explain how to read the answer."""
    row, spec = inputs.headline.row, inputs.fit.settings
    kind = describe(spec["outcome"])
    first, other = row["over"], row["against"] or "the other categories"
    turned = "" if kind.sign > 0 else " Ranks are reversed here: higher means a higher reward."
    framed = _ASKED if inputs.fit.focus.framing else _FRAMED
    lean = (
        f"A model's lean is how much higher it rewards the words of {first} than those of {other}, "
        f"in units of the outcome ({kind.units}). {framed[inputs.framing]}"
    )
    if inputs.fit.of_items:
        other = row["against"] or "the other variants"
        lean = (
            f"A model's lean is how much higher it rewards {first} than {other} as answers to one "
            f"question, averaged over items like these, in units of the outcome ({kind.units})."
        )
    return (
        lean,
        f"One unit: {kind.reading}{turned}",
        f"Given the model and the data, the quantity lies in the interval with a probability of "
        f"{PROB:.0%}. {_too_small(inputs)}",
    )


def _too_small(inputs: ReportInputs) -> str:
    """Say how probably the answer is too small to matter: each difference, where it gives several.

    A number that no longer says whose it is would be taken for all of them.
    """
    row = inputs.headline.row

    def chance_of(p: float) -> str:
        return percent(float(p), inputs.effective)

    where = f"within {inputs.rope} of zero, which is taken as too small to matter,"
    crossed = crossed_cells(inputs.fit, row)
    if crossed is not None:
        table = crossed[0].table(prob=PROB)
        alike = ["framing", "category"]
        table = table[(table[alike] == row[alike].to_numpy()).all(axis=1)]
        cells = [
            f"{chance_of(cell['p_rope'])} with {cell['at']}"
            for cell in table.head(MOST_CELLS).to_dict("records")
        ]
        more = "; the others are among the contrasts" if len(table) > len(cells) else ""
        each = f"{'; '.join(cells)}{more}"
        if inputs.fit.focus.by:
            return f"The difference lies {where} with a probability of {each}."
        mean = chance_of(row["p_rope"])
        return f"The average difference lies {where} with a probability of {mean}; {each}."
    at = f" with {row['at']}" if row["at"] else ""
    return f"It lies {where} with a probability of {chance_of(row['p_rope'])}{at}."


def limits_section(inputs: ReportInputs) -> Section:
    """Say what the data cannot say."""
    fit = inputs.fit
    # What qualifies the whole answer goes first, as in the headline.
    notes = sorted(fit.notes, key=lambda note: (not note.first, not note.headline))
    items = [sentence(note.text) for note in notes]
    if fit.settings["n_missing"]:
        items.append(
            f"{fit.settings['n_missing']:,} cells of the crossing are missing; they are taken to "
            "be missing for reasons that have nothing to do with their scores."
        )
    if fit.settings["dropped_words"]:
        items.append(
            f"{fit.settings['dropped_words']} scored words are outside the lexicon; they are in no "
            "category and were left out."
        )
    counts = Counter(fit.data["family"].to_numpy().tolist())
    listed = ", ".join(f"{n} of {family}" for family, n in counts.items())
    items.append(
        f"The answer rests on {fit.data.sizes['model']} models: {listed}.{_bases(fit)} They were "
        "not drawn at random from all models of their families."
    )
    items.append(
        "What else differs between the groups (size, preference data, training recipe) is "
        f"adjusted for only where the formula names it: {fit.settings['formula']}."
    )
    if fit.settings.get("prereg"):
        items.append(describe_registration(fit))
    needed = _bases_needed(inputs)
    if needed:
        items.append(needed)
    return Section("limits", "What the data cannot say", items=tuple(items))


def _bases_needed(inputs: ReportInputs) -> str:
    """Say how many bases would settle the direction, where these data do not."""
    fit, row = inputs.fit, inputs.headline.row
    if not inputs.bases_needed:
        return ""
    unit = describe(fit.settings["outcome"]).unit
    size = f"{abs(row['mean']):.{inputs.digits}f} {unit}"
    detected = f"{detectable(row['sd']):.{inputs.digits}f} {unit}"
    start = (
        f"These data would leave little doubt about a difference of {detected} with a probability "
        f"of {POWER:.0%}. For one of the estimated size, {size}, "
    )
    n = inputs.bases_needed[0]
    if n is None:
        return (
            f"{start}no number of bases that was tried would do: what is uncertain about words and "
            "prompts does not shrink with models."
        )
    return (
        f"{start}about {n} bases of each of two families would do, one model each, with prompts, "
        "words and variances as here."
    )


def _certain(table: pd.DataFrame) -> str:
    """Count the words whose sign is called certain."""
    n = int(table["certain"].sum())
    who = {0: "No word's sign is", 1: "One word's sign is"}.get(n, f"The signs of {n} words are")
    return f"{who} certain, with a P(direction) of {CERTAIN:.1%} or more."


def _bases(fit: Posterior) -> str:
    """Count the bases of each family, where models share bases."""
    base = fit.problem.crossing.space.group("base")
    if base is None:
        return ""
    pairs = {*zip(fit.data["family"].to_numpy().tolist(), base.labels.tolist(), strict=True)}
    counts = Counter(family for family, _ in sorted(pairs))
    listed = ", ".join(f"{n} of {family}" for family, n in counts.items())
    return f" They stand on {base.n_levels} bases: {listed}."


def contrast_section(inputs: ReportInputs) -> Section:
    """Show the estimands other than single models."""
    table = inputs.estimates
    kind = table["estimand"]
    # Single models and their groups have their own tables; these words, the answer's framing.
    aside = kind.isin(["model lean", *_group_leans(inputs)])
    aside |= kind.str.endswith(", these words") & (table["framing"] != inputs.framing)
    rows = table[~aside]
    several = table["category"].nunique() > 1
    if several:
        rows = rows[rows["framing"] == inputs.framing]
    columns = (
        Column("estimand", "estimand"),
        Column("name", "of"),
        *([Column("at", "with")] if (rows["at"] != "").any() else []),
        *([] if inputs.fit.of_items else [Column("framing", "framing")]),
        *([Column("category", "categories")] if several else []),
        Column("mean", f"mean ({inputs.unit})", number(inputs.digits, signed=True)),
        interval_column(),
        chance_column("p_direction", "P(direction)"),
        chance_column("p_rope", "P(in ROPE)"),
    )
    subject = "all contrasts of categories" if several else str(table["category"].iloc[0])
    caption = (
        f"Posterior of the estimands, {subject}. P(direction): probability of the sign of the "
        f"median; beyond what the draws can tell, a bound. P(in ROPE): probability of lying "
        f"within {inputs.rope} of zero. “These words” holds for the words of this lexicon, the "
        "first rows for words like them."
    )
    rows = displayed(inputs, rows, "p_direction", "p_rope")
    table_shown = Table("contrasts", caption, table, columns, rows)
    return Section("contrasts", "Contrasts", tables=(table_shown, *cell_tables(inputs)))


def forest_section(inputs: ReportInputs) -> Section:
    """Show the models by family."""
    table = inputs.models
    order = ["category", "family", "mean"]
    rows = table[table["framing"] == inputs.framing].sort_values(
        order, ascending=[True, True, False]
    )
    several = table["category"].nunique() > 1
    columns = (
        *([Column("category", "categories")] if several else []),
        Column("family", "family"),
        Column("name", "model"),
        *_lean_columns(inputs),
    )
    picture = inputs.picture(
        "forest",
        lambda: forest.plot_forest(inputs.fit),
        "Forest plot: the lean of every model with its interval, grouped by family, the mean of "
        "each family and the lean predicted for an unseen model of it. The table below has the "
        "numbers.",
        f"Lean of every model, {under(inputs.framing)}, with {PROB:.0%} intervals. Diamonds: means "
        "of the families. Dashed: the prediction for an unseen model of the family.",
    )
    caption = f"Leans of the models, {under(inputs.framing)}."
    rows = displayed(inputs, rows, "p_direction")
    tables = (Table("models", caption, table, columns, rows), *_group_tables(inputs))
    return Section("models", "Models by family", tables=tables, picture=picture)


def _lean_columns(inputs: ReportInputs) -> tuple[Column, ...]:
    form = number(inputs.digits, signed=True)
    mean = Column("mean", f"lean ({inputs.unit})", form)
    return mean, interval_column(), chance_column("p_direction", "P(direction)")


def _group_leans(inputs: ReportInputs) -> list[str]:
    """Name the estimands that are leans of bases or other groups of models."""
    return [f"{group.name} lean" for group in inputs.fit.problem.crossing.space.groups]


def _group_tables(inputs: ReportInputs) -> list[Table]:
    """Show the leans of bases and other groups, in the framing of the answer."""
    table = inputs.estimates
    kinds = _group_leans(inputs)
    rows = table[table["estimand"].isin(kinds) & (table["framing"] == inputs.framing)]
    if rows.empty:
        return []
    several = table["category"].nunique() > 1
    columns = (
        *([Column("category", "categories")] if several else []),
        Column("estimand", "estimand"),
        Column("name", "of"),
        *_lean_columns(inputs),
    )
    caption = f"Leans of what models have in common, {under(inputs.framing)}."
    shown = displayed(inputs, rows, "p_direction")
    return [Table("group_leans", caption, rows, columns, shown)]


def density_section(inputs: ReportInputs) -> Section:
    """Show the posterior densities of family leans and differences."""
    title = "Family densities"
    row = inputs.estimates.iloc[0]
    if row["form"] != DIFFERENCE:
        formula = inputs.fit.settings["formula"]
        missing = f"The formula {formula!r} compares no groups of models."
        return Section("densities", title, missing=missing)
    paragraphs = (
        "The leans of the families share what is uncertain about the words and prompts, so their "
        "difference is better known than the overlap of their densities suggests.",
    )
    picture = inputs.picture(
        "families",
        lambda: families.plot_families(inputs.fit),
        "Posterior densities of the families' leans, and of the differences between families with "
        "the region of practical equivalence. The contrasts table has the numbers.",
        "Posterior densities with medians, 50% (thick) and 90% (thin) intervals. Band: the region "
        f"of practical equivalence, {inputs.rope}.",
    )
    return Section("densities", title, paragraphs, picture=picture)


def word_section(inputs: ReportInputs) -> Section:
    """Show which words drive the difference."""
    title = "Words that drive the difference"
    if inputs.fit.of_items:
        return item_section(inputs)
    if inputs.words is None:
        return Section("words", title, missing=inputs.no_words)
    table = inputs.words
    name = str(table["name"].iloc[0])
    columns = (
        Column("word", "word"),
        Column("categories", "category"),
        Column("mean", f"{name} ({inputs.unit})", number(inputs.digits, signed=True)),
        interval_column(),
        chance_column("p_direction", "P(direction)"),
        Column("expected_false_signs", "false signs so far", number(2)),
    )
    listed = table.head(_SHOWN_WORDS)
    wrong = false_signs(listed, inputs.effective)
    units = sampled_units(inputs.fit.problem.components.names)
    picture = inputs.picture(
        "words",
        lambda: words.plot_words(inputs.fit),
        f"The words with the largest differences {name}, each way, with intervals, coloured by "
        "category. The table below has the numbers.",
        f"The largest differences {name} each way, {under(inputs.framing)}, relative to the "
        f"lexicon's mean, with {PROB:.0%} intervals that generalise over {units}.",
    )
    caption = (
        f"The {len(listed)} words of {len(table)} with the largest differences. An interval is "
        f"for the difference between {name.replace(' − ', ' and ')} in the expected outcome of "
        f"that word, and generalises over {units}. {sentence(wrong)} (the sum of 1 − "
        f"P(direction)); of all {len(table)} words, {table['expected_false_signs'].iloc[-1]:.1f}. "
        f"{_certain(table)} "
        "Partial pooling corrects for picking the largest words only as far as the model of how "
        "words and models differ holds."
    )
    shown = Table("words", caption, table, columns, displayed(inputs, listed, "p_direction"))
    return Section("words", title, tables=(shown,), picture=picture)
