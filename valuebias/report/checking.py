"""The sections that ask whether the answer can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.classical.classical import AVERAGES
from valuebias.analysis.outcome import describe
from valuebias.plots import influence, ppc, sensitivity, specs, trace
from valuebias.posterior.headline import ALL, prior_flips, scale_name
from valuebias.posterior.influence import most_influential, other_verdicts
from valuebias.posterior.sensitivity import by_influence
from valuebias.posterior.wording import sampled_units, under
from valuebias.report.columns import chance_column, displayed, interval_column, with_interval
from valuebias.report.content import Column, Section, Table, number, sentence
from valuebias.report.inputs import PROB, Inputs, ReportInputs

if TYPE_CHECKING:
    from valuebias.analysis.auditing.audit import Audit
    from valuebias.analysis.classical.classical import Classical
    from valuebias.analysis.estimands.diagnostics import Diagnostics
    from valuebias.posterior.posterior import Posterior

__all__ = [
    "audit_section",
    "convergence",
    "convergence_section",
    "findings_section",
    "influence_section",
    "loo_section",
    "predictive_section",
    "sensitivity_section",
    "specs_section",
]

_MOST_PAIRS = 10
_SPECS = {
    "hierarchical": "this model, on ranks",
    "random slopes": "paper's, with random slopes",
    "random intercept": "paper's (random intercept)",
}


def _p_value(value: float) -> str:
    if value == 0:  # too small for a computer's number
        return "< 1e-300"
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}".replace("e-0", "e-")


def _share(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 else "< 0.01"


def specs_section(inputs: ReportInputs) -> Section:
    """Set the paper's specification beside this one."""
    title, comparison = "The paper's specification beside this one", inputs.comparison
    if comparison is None:
        return Section("specs", title, missing="The paper has no contrast sets.")
    if comparison.reason:
        return Section("specs", title, missing=comparison.reason)
    table = comparison.headline()
    rows = with_interval(table.assign(spec=table["spec"].map(_SPECS)), 1)
    columns = (
        Column("spec", "specification"),
        Column("category", "categories"),
        Column("estimate", "difference (ranks)", number(1, signed=True)),
        interval_column(),
        Column("t", "t", number(2, signed=True)),
        Column("df", "df", number(0)),
        Column("p", "p", _p_value),
    )
    name = str(table["name"].iloc[0])
    picture = inputs.picture(
        "specs",
        lambda: specs.plot_specs(inputs.fit, comparison),
        f"The difference in lean {name} as estimated by this model, by the paper's mixed model "
        "with random slopes, and by the paper's mixed model. The table below has the numbers.",
        f"Difference in lean, {name}, {under(inputs.framing)}, in ranks, with "
        f"{comparison.interval} intervals. They differ because the paper's model takes the "
        "prompts, paraphrases of a few questions, as independent replicates.",
    )
    caption = (
        f"Difference in lean, {name}, {under(inputs.framing)}; positive towards the first category."
    )
    return Section(
        "specs",
        title,
        _why(inputs, table),
        items=tuple(str(message) for message in comparison.messages),
        tables=(Table("specs", caption, comparison.table, columns, rows), *_paper_tables(inputs)),
        picture=picture,
    )


def _why(inputs: ReportInputs, table: pd.DataFrame) -> tuple[str, ...]:
    n_prompts, n_models = inputs.fit.data.sizes["prompt"], inputs.fit.data.sizes["model"]
    paragraphs = [
        f"The paper's mixed model gives every model a random intercept and nothing else. The "
        f"{n_prompts} prompts are paraphrases of a few questions, and each of them then counts as "
        "an independent replicate of a model's lean: the interval would shrink with every "
        f"paraphrase added, although there are no more than {n_models} models to learn from. With "
        "random slopes, the category × framing effects of the models may differ within a family, "
        "and the models become the replicates.",
        f"This model does the same for {sampled_units(inputs.fit.problem.components.names)}, and "
        "also takes the words and prompts as samples. It estimates "
        "mean ranks of words, the paper's models the median rank of a category's words, so that "
        "the estimates themselves need not coincide.",
    ]
    by_spec = table.drop_duplicates("spec").set_index("spec")
    both = ("random intercept", "random slopes")
    if set(both) <= set(by_spec.index):
        narrow, wide = (by_spec.loc[name] for name in both)
        widened = (wide["upper"] - wide["lower"]) / (narrow["upper"] - narrow["lower"])
        same = abs(wide["estimate"] - narrow["estimate"]) < 1e-6 * abs(narrow["estimate"])
        unchanged = ", with the estimate unchanged" if same else ""
        paragraphs.insert(
            1,
            f"Here t falls from {number(2)(abs(narrow['t']))} on {narrow['df']:.0f} degrees of "
            f"freedom to {number(2)(abs(wide['t']))} on {wide['df']:.0f}, and the interval becomes "
            f"{widened:.1f} times as wide{unchanged}.",
        )
    return tuple(paragraphs)


def _paper_tables(inputs: ReportInputs) -> tuple[Table, ...]:
    paper = None if inputs.comparison is None else inputs.comparison.classical
    if paper is None:
        return ()
    medians = Table(
        "paper_medians",
        "The paper's average median ranks by framing, category and family; 1 = highest reward. "
        f"{AVERAGES}",
        paper.table,
        (
            Column("framing", "framing"),
            Column("category", "category"),
            Column("family", "family"),
            Column("rank", "median rank", number(1)),
            Column("models", "models", number(0)),
        ),
    )
    tests = Table(
        "paper_permutation",
        f"The paper's permutation tests of Welch's t ({paper.n_permutations:,} shuffles), which "
        "also take the prompts as replicates.",
        paper.permutation,
        (
            Column("category", "category"),
            Column("framing", "framing"),
            Column("family1", "family"),
            Column("family2", "against"),
            Column("t", "t", number(2, signed=True)),
            Column("p.plus1", "p", _p_value),
            Column("p.bonferroni", "p (Bonferroni)", _p_value),
        ),
    )
    return (medians, tests, _family_permutation(paper, under(inputs.framing)))


def _family_permutation(paper: Classical, framed: str) -> Table:
    table = paper.family_permutation
    rows = table[table["framing"] == (table["framing"].iloc[0] if len(table) else "signed")]
    # As in the table of specifications, not every pair of many categories.
    if rows["category"].nunique() > _MOST_PAIRS:
        first = f"{paper.ranks.categories[0]} − "
        rows = rows[rows["category"].str.startswith(first)]
    return Table(
        "family_permutation",
        "Family labels permuted over the models and, where models share them, over the bases: the "
        f"difference in mean lean, {framed}, against that of other ways to give the labels. Models "
        "of one base are alike, which makes the p over models too small. Least p: the smallest "
        "p of any of these labellings.",
        table,
        (
            Column("unit", "over"),
            Column("family1", "family"),
            Column("family2", "against"),
            Column("category", "categories"),
            Column("n1", "n", number(0)),
            Column("n2", "n", number(0)),
            Column("difference", "difference (ranks)", number(1, signed=True)),
            Column("assignments", "labellings", number(0)),
            Column("p", "p", _p_value),
            Column("p.min", "least p", _p_value),
            Column("remark", "remark"),
        ),
        rows,
    )


def predictive_section(inputs: ReportInputs) -> Section:
    """Compare the data with replicates."""
    check = inputs.check
    replicated = check["replicated"]
    table = pd.DataFrame(
        {
            "statistic": check["statistic"].to_numpy().astype(str),
            "description": check["description"].to_numpy().astype(str),
            "observed": check["observed"].to_numpy(),
            "replicated": replicated.mean("sample").to_numpy(),
            "lower": replicated.quantile((1 - PROB) / 2, "sample").to_numpy(),
            "upper": replicated.quantile((1 + PROB) / 2, "sample").to_numpy(),
            "p": check["p"].to_numpy(),
        }
    )
    columns = (
        Column("statistic", "statistic"),
        Column("description", "what it is"),
        Column("observed", "observed", number(3)),
        Column("replicated", "replicated", number(3)),
        Column("_interval", f"{PROB:.0%} of replicates", right=True),
        Column("p", "p", _share),
    )
    picture = inputs.picture(
        "ppc",
        lambda: ppc.plot_ppc(inputs.fit, check),
        "Histograms of statistics of crossings simulated from the posterior, with the observed "
        "statistic. The table below has the numbers.",
        f"{check.sizes['sample']} crossings with new models, prompts and words, simulated from the "
        "posterior, against the data.",
    )
    rows = with_interval(table, 3, signed=False)
    caption = "Posterior predictive check; p is two-sided, small where the model misses the data."
    return Section(
        "ppc",
        "Posterior predictive check",
        (_misfit(inputs, table),),
        tables=(Table("ppc", caption, table, columns, rows),),
        picture=picture,
    )


# What is wrong where the model misses a statistic of its own assumptions.
_TAKEN = {
    "closest models": "Some models are more alike than independent ones: where they share a base, "
    "they count for less than the model assumes, and intervals are too narrow.",
    "unequal words": "The words of one family's models differ more than those of another's, and "
    "one spread is assumed for both.",
    "unequal leans": "The leans of one family's models differ more than those of another's, and "
    "one spread is assumed for both.",
    "word covariate": "The estimate depends on a property of the words besides their category; "
    "where the categories differ in it as well, adjust for it.",
}


def _misfit(inputs: ReportInputs, table: pd.DataFrame) -> str:
    bad = table.loc[table["p"] < 0.05, "statistic"].tolist()
    if not bad:
        return "The model reproduces all statistics looked at."
    named = ", ".join(f"“{name}”" for name in bad)
    text = f"The model does not reproduce {named}."
    fixed = {"largest", "skewness", "excess kurtosis"} & set(bad)
    if fixed and inputs.fit.settings["outcome"] not in ("raw", "scaled"):
        text += (
            " That is in the nature of the outcome: within a model and prompt its spread and its "
            "shape are the same by construction, and a Gaussian model cannot know it. Means, "
            "on which the contrasts rest, are little affected."
        )
    taken = {inputs.fit.said(name): text_of for name, text_of in _TAKEN.items()}
    explanations = [text_of for name, text_of in taken.items() if name in bad]
    if explanations:
        text += f" {' '.join(explanations)} Where that matters, the notes on the answer say so."
    if set(bad) - fixed - set(taken):
        text += (
            " Where a statistic of leans or of spreads is missed, the random effects do not "
            "describe the data well; read the contrasts that rest on them with care."
        )
    return text


def convergence_section(inputs: ReportInputs) -> Section:
    """Report whether the chains agree."""
    return convergence(inputs, inputs.fit, inputs.diagnostics)


def convergence(inputs: Inputs, fit: Posterior, diagnostics: Diagnostics) -> Section:
    """Report whether the chains of a fit agree."""
    verdict = (
        "What the answer rests on has converged."
        if diagnostics.converged
        else "What the answer rests on has not converged, see the top of this report."
    )
    numbers = (
        f"{verdict} Over all contrasts: largest R-hat {diagnostics.max_rhat:.3f} (at most 1.01 "
        f"wanted); smallest effective sample size {diagnostics.min_ess_bulk:,.0f} in the bulk and "
        f"{diagnostics.min_ess_tail:,.0f} in the tails (at least 400 wanted). "
        f"{diagnostics.divergences} of {diagnostics.transitions:,} transitions diverged (none "
        "wanted; more than one in a thousand condemn the fit)."
    )
    paragraphs = [numbers]
    if diagnostics.cautions:
        paragraphs.append("Not what the answer rests on, but less well known than it should be:")
    unit = describe(fit.settings["outcome"]).unit
    summary = fit.summary(prob=PROB).rename_axis("parameter").reset_index()
    columns = (
        Column("parameter", "parameter"),
        Column("mean", f"mean ({unit})", number(inputs.digits)),
        interval_column(),
        Column("rhat", "R-hat", number(3)),
        Column("ess_bulk", "ESS bulk", number(0)),
        Column("ess_tail", "ESS tail", number(0)),
    )
    rows = with_interval(summary, inputs.digits, signed=False)
    picture = inputs.picture(
        "trace",
        lambda: trace.plot_trace(fit),
        "Trace plots and rank plots of the headline and all standard deviations, one colour per "
        "chain. The table below has R-hat and effective sample sizes.",
        "Draws by iteration (left) and how evenly each chain's draws are ranked among all (right; "
        "1, dashed, is even).",
    )
    caption = "Standard deviations, correlations and means."
    diagnostics_table = diagnostics.table.rename_axis("parameter").reset_index()
    return Section(
        "convergence",
        "Convergence",
        tuple(paragraphs),
        items=tuple(map(sentence, diagnostics.cautions)),
        tables=(
            Table("summary", caption, summary, columns, rows),
            Table("diagnostics", "", diagnostics_table, (), diagnostics_table.head(0)),
        ),
        picture=picture,
    )


def sensitivity_section(inputs: ReportInputs) -> Section:
    """Show the headline under other prior scales."""
    whole = inputs.sensitivity
    order = by_influence(whole)
    table = pd.concat([whole.loc[[name]] for name in (ALL, *order)])
    form = number(inputs.digits, signed=True)
    text = (
        "Each prior scale was halved and doubled by itself, and all together: the draws were "
        "reweighted to the other prior, or the model fitted again where Pareto's k says that "
        f"weights are not to be trusted. The estimate of the headline runs from "
        f"{form(table['mean'].min())} to {form(table['mean'].max())}; by itself, the scale of "
        f"{order[0]} moves its interval most: {_on_the_prior(inputs, whole)}"
    )
    columns = (
        Column("_scale", "prior"),
        Column("mean", f"mean ({inputs.unit})", form),
        interval_column(),
        chance_column("p_direction", "P(direction)"),
        Column("pareto_k", "Pareto k", number(2)),
        Column("refitted", "fitted again", lambda again: "yes" if again else ""),
    )
    picture = inputs.picture(
        "sensitivity",
        lambda: sensitivity.plot_sensitivity(inputs.fit, inputs.sensitivity),
        "The headline estimate with its interval under halved and doubled prior scales: all of "
        "them together, then those that move it most by themselves. The table has all.",
        f"The headline under other prior scales, with {PROB:.0%} intervals.",
    )
    caption = (
        f"The headline{_at(inputs)} under other prior scales, those that move it most first. "
        f"{_meanings(inputs.fit, order)}"
    )
    rows = displayed(inputs, table, "p_direction").assign(_scale=list(map(scale_name, table.index)))
    shown = Table("prior_sensitivity", caption, table.reset_index(), columns, rows)
    return Section("sensitivity", "Prior sensitivity", (text,), tables=(shown,), picture=picture)


# What the scales of the fixed effects' priors are of; the other scales are those of SDs.
_FIXED = {
    "effect": "what the formula adds, such as the difference between families",
    "mean": "what all models share in each category and framing",
    "spread": "how unequally the models of different families may vary",
}


def _meanings(fit: Posterior, scales: Sequence[str]) -> str:
    """Say what the scales are of on which leans rest, in the order of the table."""
    meaning = fit.priors()["meaning"]
    known = {str(name)[3:-1]: str(text) for name, text in meaning.items()} | _FIXED  # of "sd[…]"
    said = [f"{name}, {known[name]}" for name in scales
            if name in _FIXED or name.endswith("_category")]  # fmt: skip
    return (
        "A prior scale says how large something may be before the data speak: "
        f"{'; '.join(said)}. The table of priors, under Methods, has them all."
    )


def _at(inputs: ReportInputs) -> str:
    """Name the cell that the headline's estimate is of, where it is of one."""
    at = inputs.headline.row["at"]
    return f" with {at}" if at else ""


def _on_the_prior(inputs: ReportInputs, table: pd.DataFrame) -> str:
    """Say whether the prior matters, by the verdict and by the estimate."""
    if prior_flips(table, turned_only=inputs.fit.focus.largest):
        return "the verdict depends on the prior, see the answer."
    headline = table.iloc[0]
    parts = ["mean", "lower", "upper"]
    moved = (table[parts] - headline[parts].astype(float)).abs().max(axis=1)
    if moved.max() < 0.1 * (headline["upper"] - headline["lower"]):
        return "the prior hardly matters."
    most = moved.index.tolist()[int(moved.argmax())]
    return f"the prior matters, {scale_name(most)} most; say which was used."


def influence_section(inputs: ReportInputs) -> Section:
    """Show the headline without each model and each base."""
    title, table = "Influence of models and bases", inputs.influence
    if table is None:
        return Section("influence", title, missing=inputs.no_influence)
    columns = (
        Column("unit", "without"),
        Column("name", "name"),
        Column("mean", f"mean ({inputs.unit})", number(inputs.digits, signed=True)),
        interval_column(),
        chance_column("p_direction", "P(direction)"),
        Column("shift", "shift (SDs)", number(2, signed=True)),
        Column("remark", "remark"),
    )
    picture = inputs.picture(
        "influence",
        lambda: influence.plot_influence(inputs.fit, table),
        "The headline estimate with its interval, of all data and without each base and each "
        "model, those that move it most first. The table below has the numbers.",
        f"The headline without each base and each model, with {PROB:.0%} intervals.",
    )
    caption = (
        f"The headline{_at(inputs)} without each model and each base that models share; shift: by "
        "how many posterior SDs of the fit the mean moves."
    )
    rows = displayed(inputs, table, "p_direction")
    texts = ["_interval", "_p_direction"]
    rows[texts] = rows[texts].where(table["mean"].notna(), "–")
    shown = Table("influence", caption, table, columns, rows)
    return Section("influence", title, (_shifts(inputs, table),), tables=(shown,), picture=picture)


def _shifts(inputs: ReportInputs, table: pd.DataFrame) -> str:
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


def loo_section(inputs: ReportInputs) -> Section:
    """Report how well single scores are predicted."""
    loo, title = inputs.loo, "Leave-one-out prediction"
    if loo is None:
        return Section("loo", title, missing=inputs.fit.why_not("Leaving out scores"))
    text = (
        f"Leaving out each of the {loo.n:,} scores in turn, the expected log predictive density "
        f"is {number(0)(loo.elpd)} nats (SE {number(0)(loo.se)}), that is "
        f"{number(3, signed=True)(loo.elpd / loo.n)} per score, with {number(0)(loo.p_loo)} "
        f"effective parameters. The smallest relative effective size of the importance weights is "
        f"{loo.min_weight_ess:.2f} (near 1 is good). Compare it only with other models of the "
        "same outcome. It is about one more score of these models and words; for further "
        "models, bases or words see fit.loo(by='base') and valuebias.compare."
    )
    by_model = loo.pointwise.mean(("prompt", "response")).to_series()
    counts = loo.pointwise.notnull().sum(("prompt", "response")).to_series()
    table = pd.DataFrame({"model": by_model.index.astype(object), "elpd": by_model.to_numpy(),
                          "n": counts.to_numpy()})  # fmt: skip
    columns = (
        Column("model", "model"),
        Column("elpd", "nats per score", number(3, signed=True)),
        Column("n", "scores", number(0)),
    )
    total = pd.DataFrame([{"elpd": loo.elpd, "se": loo.se, "p_loo": loo.p_loo, "n": loo.n,
                           "min_weight_ess": loo.min_weight_ess}])  # fmt: skip
    caption = "Expected log predictive density by model; low: hard to predict."
    return Section("loo", title, (text,),
                   tables=(Table("loo_models", caption, table, columns),
                           Table("loo", "", total, (), total.head(0))))  # fmt: skip


def audit_section(inputs: ReportInputs) -> Section:
    """List what the data audit found."""
    if inputs.audit is None:
        return Section("audit", "Data audit", missing="The audit is of scores of words.")
    return findings_section(inputs.audit)


def findings_section(audit: Audit) -> Section:
    """List what an audit found."""
    findings = audit.findings
    counts = ", ".join(
        f"{audit.count(name)} {name}{'s' if audit.count(name) != 1 else ''}"
        for name in ("problem", "warning", "note")
    )
    columns = (
        Column("severity", "severity"),
        Column("check", "check"),
        Column("where", "where"),
        Column("detail", "detail"),
    )
    text = (
        f"{counts}. Looked for: identical models and files, words that differ in case only, "
        "prompts with one text or one column of scores, constant scores, missing cells, words "
        "outside the lexicon or in several categories, small categories, ties, extreme scores, "
        "rewards read at different places, models that look like one base, unequal spread, and "
        "words that differ between the categories in length or another number."
    )
    tables = (Table("audit", "Findings, the worst first.", findings, columns),)
    return Section("audit", "Data audit", (text,), tables=tables)
