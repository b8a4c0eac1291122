"""The sections of an ablation's report: its answers, and how far to trust them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias.errors import ValueBiasError
from valuebias.plots.gaps import plot_gaps
from valuebias.plots.trajectories import plot_trajectories
from valuebias.plots.word_changes import plot_word_changes
from valuebias.posterior.ablation.framings import SIGNED, lean_name, rope_of
from valuebias.posterior.wording import chance, percent
from valuebias.report.checking import convergence, findings_section
from valuebias.report.columns import interval_column, with_interval
from valuebias.report.content import Column, Section, Table, number, sentence
from valuebias.report.inputs import PROB, AblationReportInputs
from valuebias.report.methods import fit_settings, load_line, methods_text
from valuebias.report.record import listed, prior_table, provenance_table, reproduction

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = [
    "audit_section",
    "closing_section",
    "convergence_section",
    "curve_section",
    "framing_section",
    "gap_section",
    "glance_section",
    "limits_section",
    "methods_section",
    "mover_section",
    "provenance_section",
    "reproduce_section",
    "share_section",
    "slope_section",
    "trajectory_section",
]

_WORDS = 10
_WHERE = (Column("name", "gap"), Column("source", "source"))
_PAIRS = Column("n_pairs", "pairs", lambda n: f"{n:,.0f}")
_SUPPORT = Column("_support", "rests on")
_CHANCE = Column("p_direction", "P(direction)", percent)


def glance_section(inputs: AblationReportInputs) -> Section:
    """Say what was trained, and how well."""
    models, fit = inputs.models, inputs.fit
    last = models[models["progress"] == 1]
    names = ["family", "base", "source"]
    if "objective" in models.columns and models["objective"].nunique() > 1:
        names.append("objective")
    grouped = last.assign(**{name: last[name].astype(str) for name in names}).groupby(
        [*names, "n_pairs"]
    )
    frame = grouped["seed"].nunique().rename("seeds").to_frame()
    measured = [name for name in ("accuracy", "loss") if _is_number(models, name)]
    for name in measured:
        frame[name] = grouped[name].mean()
    table = frame.reset_index()
    # A share that was counted, unlike a probability, can be 100 %.
    forms = {"accuracy": "{:.1%}".format, "loss": number(3)}
    labels = {"accuracy": "accuracy", "loss": "loss (nats)"}
    columns = (
        *(Column(name, name) for name in names),
        _PAIRS,
        Column("seeds", "seeds", number(0)),
        *(Column(name, labels[name], forms[name]) for name in measured),
    )
    source = "; accuracy and loss are on held-out pairs, means over seeds" if measured else ""
    caption = f"Runs by base, source and number of pairs, at their last step{source}."
    steps = models.groupby(["source", "n_pairs"])["step"].nunique().max()
    items = [
        _listed("Bases", models["base"]),
        _listed("Sources", models["source"]),
        "Pairs: " + ", ".join(f"{n:,.0f}" for n in sorted(set(models["n_pairs"].astype(float)))),
        f"Seeds: {models['seed'].nunique()}; checkpoints of a run: up to {steps}",
    ]
    for name, noun in (("tuning", "Tuning"), ("objective", "Objective")):
        if name in models.columns:
            items.append(_listed(noun, models[name]))
    if fit.fit is not None:
        sizes = fit.fit.data.sizes
        items.append(
            f"Scored: {sizes['response']} words after {sizes['prompt']} prompts, by every model"
        )
    return Section("glance", "The study at a glance", items=tuple(items),
                   tables=(Table("cells", caption, table, columns),))  # fmt: skip


def gap_section(inputs: AblationReportInputs) -> Section:
    """Show the gaps at the end of training, with the figure."""
    fit, table = inputs.fit, inputs.estimates
    ends = _with_support(table[np.isclose(table["progress"], 1.0)])
    rows = with_interval(ends, inputs.digits)
    columns = (
        *_WHERE,
        _PAIRS,
        Column("n_models", "runs per family", number(0)),
        _SUPPORT,
        _mean(inputs, "gap"),
        interval_column(),
        _CHANCE,
        Column("p_rope", "P(in ROPE)", percent),
    )
    caption = (
        f"The gap in lean ({_lean(inputs)}) at the end of training, as the curve gives it. P(in "
        f"ROPE): probability of lying within {rope_of(fit)} of zero. Extrapolated: a family has no "
        "runs with so many pairs, and the number is what the curve says of it."
    )
    picture = inputs.picture(
        "ablation",
        lambda: plot_gaps(fit),
        "The gap between every two families against the number of preference pairs, one colour per "
        "source, with intervals, and extrapolated beyond the numbers that both families were "
        "trained on. The table below has the numbers.",
        f"Lines and bands: the curve's gap with {PROB:.0%} intervals, dashed where a family has no "
        "runs. Points: the runs. Grey: the region of practical equivalence.",
    )
    shown = Table("gaps", caption, table, columns, rows)
    return Section("gaps", "Gaps between families", tables=(shown,), picture=picture)


def slope_section(inputs: AblationReportInputs) -> Section:
    """Show the change of the gap per doubling of the pairs."""
    title = "Change per doubling of the pairs"
    try:
        table = inputs.fit.slope(prob=PROB)
    except ValueBiasError as error:
        return Section("slope", title, missing=sentence(error))
    digits = inputs.digits + 1
    columns = (
        *_WHERE,
        Column("smallest", "from", _PAIRS.form),
        Column("largest", "to", _PAIRS.form),
        _SUPPORT,
        _mean(inputs, "change", digits),
        interval_column(),
        Column("p_shrinks", "P(shrinks)", percent),
    )
    caption = (
        "The average change of the gap for every doubling of the pairs. P(shrinks): probability "
        "that the gap is smaller in size at the largest number than at the smallest."
    )
    return Section("slope", title, tables=(
        Table("slope", caption, table, columns, with_interval(_with_support(table), digits)),
    ))  # fmt: skip


def share_section(inputs: AblationReportInputs) -> Section:
    """Show the share of the gap that is left at the largest number of pairs."""
    title = "Share of the gap that is left"
    try:
        table = inputs.fit.share_remaining(prob=PROB)
    except ValueBiasError as error:
        return Section("share", title, missing=sentence(error))
    form = number(2)
    intervals = [
        f"{form(row['lower'])} to {form(row['upper'])}" if np.isfinite(row["median"]) else "–"
        for row in table.to_dict("records")
    ]
    rows = _with_support(table).assign(_interval=intervals)
    columns = (
        *_WHERE,
        Column("largest", "at", _PAIRS.form),
        _SUPPORT,
        Column("median", "share", form),
        interval_column(),
        Column("p_less", "P(less than all)", percent),
        Column("why_not", "remark"),
    )
    caption = (
        "The gap at the largest number of pairs over that at the smallest; medians. P(less than "
        "all): probability that it is the smaller in size of the two, the P(shrinks) above."
    )
    return Section(
        "share", title, tables=(Table("share_remaining", caption, table, columns, rows),)
    )


def closing_section(inputs: AblationReportInputs) -> Section:
    """Show where the gap closes, and which of it is extrapolated."""
    title = "Pairs at which the gap closes"
    if not inputs.fit.studied:
        return Section("closing", title, missing="No source has two numbers of pairs.")
    table = inputs.fit.closing_point(prob=PROB)
    rows = table.to_dict("records")
    far = table["extrapolated"] & np.isfinite(table["median"])
    displayed = _with_support(table).assign(
        _median=table["median"].map(_pairs) + np.where(far, " (extrapolated)", ""),
        _interval=[f"{_pairs(r['lower'])} to {_pairs(r['upper'])}" for r in rows],
    )
    columns = (
        *_WHERE,
        Column("largest", "range up to", _PAIRS.form),
        _SUPPORT,
        Column("p_inside", "P(already)", percent),
        Column("p_within", "P(in the range)", percent),
        Column("p_beyond", "P(later)", percent),
        Column("p_not", "P(not at all)", percent),
        Column("_median", "median", right=True),
        interval_column(),
    )
    half = rope_of(inputs.fit)
    text = (
        f"A gap is closed where it lies within {half}. “Already”: at the smallest number of "
        "pairs. “Later” and every number marked as extrapolated are the curve continued beyond the "
        "largest number of pairs, for which there are no data. “Not at all”: not up to the "
        "horizon, such as where the change has stopped before."
    )
    caption = "The number of pairs at which the gap enters the region of practical equivalence."
    return Section("closing", title, (text,),
                   tables=(Table("closing", caption, table, columns, displayed),))  # fmt: skip


def curve_section(inputs: AblationReportInputs) -> Section:
    """Show whether the line is straight, and where it levels off."""
    title, fit = "The curve through the numbers of pairs", inputs.fit
    departures, levelling = fit.departures(prob=PROB), fit.levelling(prob=PROB)
    if departures.empty and levelling.empty:
        reason = "No source has two numbers of pairs, or the formula draws no curve through them."
        return Section("curve", title, missing=reason)
    tables = [] if departures.empty else [_departures(inputs, departures)]
    if not levelling.empty:
        tables.append(_levelling(levelling))
    return Section("curve", title, tables=tuple(tables))


def _departures(inputs: AblationReportInputs, table: pd.DataFrame) -> Table:
    form = number(inputs.digits, signed=True)
    columns = (
        *_WHERE,
        _PAIRS,
        Column("gap", f"gap, free ({inputs.fit.unit})", form),
        Column("straight", "straight line", form),
        Column("mean", "departure", form),
        interval_column(),
        Column("p_straight", "p, straight", chance),
        Column("p_levelling", "p, levelling off", chance),
    )
    caption = (
        "How far the gap, free at each number of pairs that both families were trained on, departs "
        "from the straight line through all of them. p: tail probability of so large a departure, "
        "over all numbers together, if the line were straight, or levelled off."
    )
    return Table("departures", caption, table, columns, with_interval(table, inputs.digits))


def _levelling(table: pd.DataFrame) -> Table:
    ends = table[["median", "lower", "upper"]].map(lambda n: _pairs(n, "never"))
    rows = table.assign(_median=ends["median"], _interval=ends["lower"] + " to " + ends["upper"])
    columns = (
        *_WHERE,
        Column("largest", "range up to", _PAIRS.form),
        Column("p_within", "P(stops in the range)", percent),
        Column("prior_within", "before the data", percent),
        Column("_median", "median", right=True),
        interval_column(),
    )
    caption = (
        "The number of pairs from which the gap stays as it is. Beyond the range it is the prior's."
    )
    return Table("levelling", caption, table, columns, rows)


def framing_section(inputs: AblationReportInputs) -> Section:
    """Set the framings side by side."""
    title = "By framing"
    table = inputs.fit.by_framing(prob=PROB)
    if table["framing"].nunique() < 3:  # signed, positive, negative
        reason = "The prompts have one framing, or their framings are not distinguished."
        return Section("framings", title, missing=reason)
    columns = (
        Column("framing", "framing"),
        Column("estimand", "estimand"),
        Column("name", "of"),
        Column("source", "source"),
        _PAIRS,
        _mean(inputs, "mean"),
        interval_column(),
        _CHANCE,
    )
    text = (
        "Under positive prompts a high score means liking, under negative ones disliking. What "
        "changes its sign between them is a value, and is in the signed rows; what does not is a "
        "habit of scoring some words high whatever is asked, and is in the other two alone."
    )
    caption = f"Leans and gaps ({inputs.fit.curves.category}) at the largest number of pairs."
    return Section("framings", title, (text,), tables=(
        Table("framings", caption, table, columns, with_interval(table, inputs.digits)),
    ))  # fmt: skip


def trajectory_section(inputs: AblationReportInputs) -> Section:
    """Show the leans over the steps of training."""
    title = "Trajectories"
    table = inputs.fit.trajectories(prob=PROB)
    if not inputs.has_checkpoints:
        return Section("trajectories", title, missing="Every run has one checkpoint, its last.")
    columns = (
        Column("estimand", "estimand"),
        Column("name", "of"),
        Column("source", "source"),
        _PAIRS,
        Column("step", "step", number(0)),
        _mean(inputs, "mean"),
        interval_column(),
    )
    picture = inputs.picture(
        "trajectories",
        lambda: plot_trajectories(inputs.fit),
        "The lean of every family over the steps of training, one panel per source and number of "
        "pairs. The table below has the numbers.",
        f"Means of the checkpoints with {PROB:.0%} intervals.",
    )
    caption = f"Leans and gaps ({_lean(inputs)}) of the checkpoints."
    return Section("trajectories", title, tables=(
        Table("trajectories", caption, table, columns, with_interval(table, inputs.digits)),
    ), picture=picture)  # fmt: skip


def mover_section(inputs: AblationReportInputs) -> Section:
    """Show the words that moved most."""
    title, fit = "Words that moved most", inputs.fit
    try:
        by = "n_pairs" if fit.studied or fit.fit is None or not inputs.has_checkpoints else "step"
        table = fit.word_changes(n=_WORDS, by=by, prob=PROB)
    except ValueBiasError as error:
        return Section("word_changes", title, missing=sentence(error))
    form = number(inputs.digits, signed=True)
    columns = (
        Column("family", "family"),
        Column("word", "word"),
        Column("categories", "category"),
        Column("before", "before", form),
        Column("after", "after", form),
        _mean(inputs, "change"),
        interval_column(),
        _CHANCE,
    )
    first = table.iloc[0]
    ends = f"{first['start']:,.4g} and {first['end']:,.4g}" if by == "step" else (
        f"{first['start']:,.0f} and {first['end']:,.0f}")  # fmt: skip
    training = f"pairs of {first['source']}" if by == "n_pairs" else "of a run's length"
    picture = inputs.picture(
        "word_changes",
        lambda: plot_word_changes(fit, n=_WORDS, by=by),
        "The words whose expected outcome moved most, one panel per family, with intervals, "
        "coloured by category. The table below has the numbers.",
        f"Change of the expected outcome with {PROB:.0%} intervals, the largest first.",
    )
    of_lean = f", {lean_name(fit)}" if lean_name(fit) else ""
    caption = (
        f"The {_WORDS} words of each family that moved most between {ends} {training}; relative to "
        f"the lexicon's mean{of_lean}. Words chosen for their change are partly chosen by chance."
    )
    return Section("word_changes", title, tables=(
        Table("word_changes", caption, table, columns, with_interval(table, inputs.digits)),
    ), picture=picture)  # fmt: skip


def limits_section(inputs: AblationReportInputs) -> Section:
    """Say what the data cannot say."""
    items = [sentence(note.text) for note in inputs.fit.notes]
    if inputs.fit.fit is not None and inputs.fit.fit.settings["n_missing"]:
        items.append(
            f"{inputs.fit.fit.settings['n_missing']:,} cells of the crossing are missing; they are "
            "taken to be missing for reasons that have nothing to do with their scores."
        )
    items.append(
        "Families are represented by the bases at hand, which were not drawn at random from all "
        "bases of their families."
    )
    items.append(
        f"What else differs between runs is adjusted for only where the formula names it: "
        f"{inputs.fit.formula}."
    )
    return Section("limits", "What the data cannot say", items=tuple(items))


def convergence_section(inputs: AblationReportInputs) -> Section:
    """Report whether the chains agree."""
    fit = inputs.fit.fit
    if fit is None:
        return Section(
            "convergence", "Convergence",
            ("The draws are independent, not from chains: there is no convergence to check.",),
        )  # fmt: skip
    return convergence(inputs, fit, fit.diagnostics())


def audit_section(inputs: AblationReportInputs) -> Section:
    """List what the data audit found."""
    from valuebias.analysis.auditing.audit import audit

    if inputs.fit.fit is None:
        return Section("audit", "Data audit", missing="A table of medians has no scores to audit.")
    return findings_section(audit(inputs.fit.fit.data))


def methods_section(inputs: AblationReportInputs) -> Section:
    """Describe what was done, with the priors."""
    ablation = inputs.fit
    curves_text = _curves_text(ablation)
    if ablation.fit is None:
        return Section("methods", "Methods", (_medians_text(ablation), curves_text))
    text = (*methods_text(ablation.fit, prediction=False), curves_text)
    return Section("methods", "Methods", text, tables=(prior_table(ablation.fit),))


def provenance_section(inputs: AblationReportInputs) -> Section:
    """List versions, seed, hashes and settings."""
    fit = inputs.fit.fit
    if fit is not None:
        return Section("provenance", "Provenance", tables=(provenance_table(fit),))
    provenance = inputs.fit.provenance
    rows = [("fit", "formula", inputs.fit.formula)]
    rows += [("fit", key, str(value)) for key, value in provenance.items() if key != "packages"]
    versions = provenance.get("packages", {})
    rows += [("fit", f"{name} version", str(version)) for name, version in versions.items()]
    return Section("provenance", "Provenance", tables=(listed(rows),))


def reproduce_section(inputs: AblationReportInputs) -> Section:
    """Give the code that repeats the fit."""
    ablation = inputs.fit
    under = "" if ablation.framing == SIGNED else f"fit = fit.at_framing({ablation.framing!r})\n"
    straight = ablation.curves.by_pairs == "curve" and ablation.curves.levelled is None
    levelling = "    levelling=False,\n" if ablation.studied and straight else ""
    code = f"{_call(ablation)}    rope={ablation.rope!r},\n{levelling})\n{under}"
    return reproduction(f'import valuebias\n\n{code}fit.report("report.html")\n')


def _lean(inputs: AblationReportInputs) -> str:
    under = lean_name(inputs.fit)
    return f"{inputs.fit.curves.category}{', ' if under else ''}{under}"


def _mean(inputs: AblationReportInputs, label: str, digits: int | None = None) -> Column:
    form = number(inputs.digits if digits is None else digits, signed=True)
    return Column("mean", f"{label} ({inputs.fit.unit})", form)


def _is_number(models: pd.DataFrame, name: str) -> bool:
    return name in models.columns and pd.api.types.is_numeric_dtype(models[name])


def _listed(label: str, values: pd.Series) -> str:
    return f"{label}: " + ", ".join(sorted(set(values.astype(str))))


def _pairs(n: float, without: str = "not at all") -> str:
    return f"{n:,.0f}" if np.isfinite(n) else without


def _with_support(table: pd.DataFrame) -> pd.DataFrame:
    """Say in words what runs each row rests on."""
    supports = [
        f"{support} for {who}" if who else support
        for support, who in zip(table["support"], table["extrapolated_for"], strict=True)
    ]
    return table.assign(_support=supports)


def _call(ablation: AblationPosterior) -> str:
    """Write the call up to its last argument."""
    formula = f"    {ablation.formula!r},\n"
    if ablation.fit is not None:
        head = f"{load_line(ablation.fit)}fit = valuebias.fit_ablation(\n    dataset,\n"
        return head + formula + fit_settings(ablation.fit)
    settings = f"    contrast={tuple(ablation.curves.categories)!r},\n"
    settings += "".join(
        f"    {name}={ablation.provenance[name]!r},\n"
        for name in ("draws", "seed")
        if name in ablation.provenance
    )
    # The fit does not know where the medians came from.
    head = "fit = valuebias.fit_ablation_medians(\n    table,  # of median ranks\n"
    return head + formula + settings


def _medians_text(ablation: AblationPosterior) -> str:
    return (
        f"{len(ablation.curves.models)} checkpoints are known by the median ranks of their "
        "categories. The lean of a checkpoint, the median rank of the second category less that of "
        f"the first, was modelled by a linear mixed model with the formula {ablation.formula}, a "
        "deviation of the run and one of the checkpoint."
    )


def _curves_text(ablation: AblationPosterior) -> str:
    levelling = (
        "A gap may level off: from some number of pairs on, which differs by source and pair of "
        "families, it stays as it is. Whether that is in the range studied was judged by the leans "
        "of the models, given the variances of the fit, with the SD of runs drawn again; beyond "
        "the range, with its width in doublings as the unit, the change stops after t with "
        "probability t / (1 + t). "
        if ablation.curves.levelled is not None
        else ""
    )
    return (
        "“Progress” is the share of its run that a checkpoint has behind it. Gaps are those of the "
        "curve at the end of training (progress 1), and other variables keep their distribution "
        f"over the models of the study. {levelling}The change per doubling is from the smallest to "
        "the largest number of pairs of a source that both families were trained on. The gap "
        f"closes at the first number of pairs at which it lies within {rope_of(ablation)} of zero, "
        "by draw; it was searched for up to 1,024 times the largest number, where a draw that has "
        "not closed counts as not closing at all. Departures from the straight line are those of a "
        "gap with a separate effect at every number of pairs. "
        "Extends Christian et al. (2026), section 4, which shows medians without intervals."
    )
