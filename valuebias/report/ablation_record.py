"""The sections of an ablation's report on how far it can be trusted, and how it came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from valuebias.posterior.ablation.framings import SIGNED, rope_of
from valuebias.report.checking import convergence, findings_section
from valuebias.report.content import Section, sentence
from valuebias.report.inputs import AblationReportInputs
from valuebias.report.methods import fit_settings, load_line, methods_text
from valuebias.report.record import listed, prior_table, provenance_table, reproduction

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = [
    "audit_section",
    "convergence_section",
    "limits_section",
    "methods_section",
    "provenance_section",
    "reproduce_section",
]


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
