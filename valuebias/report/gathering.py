"""Write the content of a report, section by section: of a fit, or of an ablation's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from valuebias.analysis.outcome import describe
from valuebias.posterior.ablation.framings import SIGNED, lean_name, rope_of
from valuebias.report import ablation_results, checking, record, results
from valuebias.report.along_texts import along_section
from valuebias.report.content import Content, Section, sentence
from valuebias.report.inputs import (
    PARTS,
    PROB,
    AblationReportInputs,
    Advance,
    ReportInputs,
    collect,
)
from valuebias.report.item_texts import of_items
from valuebias.report.methods import references

if TYPE_CHECKING:
    import xarray as xr

    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.posterior.posterior import Posterior

__all__ = ["gather", "gather_ablation"]

_Inputs = TypeVar("_Inputs", ReportInputs, AblationReportInputs)

# In the order of the report.
_SECTIONS = (
    results.limits_section,
    results.contrast_section,
    results.forest_section,
    results.density_section,
    results.word_section,
    checking.specs_section,
    checking.predictive_section,
    checking.convergence_section,
    checking.sensitivity_section,
    checking.influence_section,
    checking.loo_section,
    checking.audit_section,
    record.methods_section,
    record.provenance_section,
    record.reproduce_section,
)
# The paper's specification, single scores and the audit are about words.
_ABOUT_WORDS = (checking.specs_section, checking.loo_section, checking.audit_section)
_ITEM_SECTIONS = tuple(section for section in _SECTIONS if section not in _ABOUT_WORDS)
_ABLATION_SECTIONS = (
    ablation_results.glance_section,
    ablation_results.limits_section,
    ablation_results.gap_section,
    ablation_results.slope_section,
    ablation_results.share_section,
    ablation_results.closing_section,
    ablation_results.curve_section,
    ablation_results.framing_section,
    ablation_results.trajectory_section,
    ablation_results.mover_section,
    ablation_results.convergence_section,
    ablation_results.audit_section,
    ablation_results.methods_section,
    ablation_results.provenance_section,
    ablation_results.reproduce_section,
)


def gather(
    fit: Posterior,
    *,
    figures: bool,
    along: xr.Dataset | None = None,
    advance: Advance | None = None,
) -> Content:
    """Compute and word the content of a report."""
    step = _stepper(advance, PARTS + len(_SECTIONS))
    inputs = collect(fit, figures=figures, advance=step)
    written = _ITEM_SECTIONS if fit.of_items else _SECTIONS
    sections = _written(written, inputs, step)
    if along is not None:
        after = [section.key for section in sections].index("items") + 1
        sections = (*sections[:after], along_section(inputs, along), *sections[after:])
    row, sizes = inputs.headline.row, fit.data.sizes
    content = Content(
        title=f"{sentence(row['estimand'])} in {row['category']}: {row['name']}",
        subtitle=(
            f"{sizes['model']} models · {_units(fit)} · "
            f"formula {fit.settings['formula']} · outcome {fit.settings['outcome']}"
        ),
        alarms=tuple(map(sentence, inputs.diagnostics.messages)),
        answer=inputs.headline.text,
        reading=results.reading(inputs),
        sections=sections,
        references=references(fit),
    )
    return of_items(content, fit) if fit.of_items else content


def _units(fit: Posterior) -> str:
    """Count what was scored."""
    sizes = fit.data.sizes
    if fit.of_items:
        return f"{sizes['prompt']} items · {sizes['response']} variants"
    return f"{sizes['prompt']} prompts · {sizes['response']} words"


def gather_ablation(
    fit: AblationPosterior, *, figures: bool, advance: Advance | None = None
) -> Content:
    """Compute and word the content of an ablation's report."""
    gaps = fit.gaps(prob=PROB)
    inputs = AblationReportInputs(fit=fit, estimates=gaps, figures=figures)
    lean = lean_name(fit)
    framing = lean if lean.startswith(SIGNED) else f"under {lean}"
    under = f" {framing}" if lean and not lean.startswith(SIGNED) else ""
    subtitle = [
        f"{len(inputs.models)} checkpoints of {len(fit.curves.families)} families",
        f"formula {fit.formula}",
        *([f"leans {framing}"] if lean else []),
    ]
    return Content(
        title=f"Gap in {fit.curves.category}{under} by preference pairs: {gaps['name'].iloc[0]}",
        subtitle=" · ".join(subtitle),
        alarms=tuple(map(sentence, fit.fit.diagnostics().messages if fit.fit is not None else ())),
        answer=str(fit.headline()),
        reading=_reading(inputs),
        sections=_written(_ABLATION_SECTIONS, inputs, _stepper(advance, len(_ABLATION_SECTIONS))),
        references=references(fit.fit, prediction=False),
    )


def _stepper(advance: Advance | None, total: int) -> Callable[[], None]:
    """Make what is called after each part."""
    done = count(1)
    return lambda: advance(next(done), total) if advance is not None else None


def _written(
    writers: Sequence[Callable[[_Inputs], Section]], inputs: _Inputs, step: Callable[[], None]
) -> tuple[Section, ...]:
    """Write the sections one after the other, calling ``step`` after each."""
    sections = []
    for write in writers:
        sections.append(write(inputs))
        step()
    return tuple(sections)


def _reading(inputs: AblationReportInputs) -> tuple[str, ...]:
    """Explain how to read the answer."""
    fit = inputs.fit
    first, second = fit.curves.categories
    other = second or "the other categories"
    names = {
        "signed by framing": " Signed by framing means the lean under positive prompts less the "
        "lean under negative ones, where a high score means disliking, halved.",
        "positive prompts": " Here it is the lean under positive prompts alone, which a habit of "
        "scoring some words high is part of.",
        "negative prompts": " Here it is the lean under negative prompts alone: positive where the "
        f"words of {first} are scored higher as answers to what is worst.",
        "neutral prompts": " Here it is the lean under prompts that ask for neither good nor bad.",
        "negative prompts, sign turned": " All prompts are negative, where a high score means "
        "disliking, so the sign is turned: positive where the words of the second are scored "
        "higher as answers to what is worst.",
    }
    unit = f"One unit: {describe(fit.fit.settings['outcome']).reading} " if fit.fit else ""
    return (
        f"A model's lean is how much higher it rewards the words of {first} than those of {other} "
        f"({fit.unit}); a gap is the lean of one family less that of another."
        f"{names.get(lean_name(fit), '')}",
        "A gap at a number of pairs is that at the end of training on so many. A gap that goes to "
        "zero means that the families come to agree, not that either loses its lean.",
        f"Given the model and the data, a quantity lies in its interval with a probability of "
        f"{PROB:.0%}. {unit}Gaps within {rope_of(fit)} of zero are taken as too small to matter.",
    )
