"""Write the content of a report, section by section."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from valuebias._core.provenance import versions
from valuebias.report import checking, record, results
from valuebias.report.content import Content
from valuebias.report.influence import influence_section
from valuebias.report.inputs import Advance, ReportInputs, collect
from valuebias.report.methods import references

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["gather"]

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
    influence_section,
    checking.loo_section,
    checking.audit_section,
    record.methods_section,
    record.provenance_section,
    record.reproduce_section,
)
_PARTS = 8  # of collect()


def gather(fit: Posterior, *, figures: bool, advance: Advance | None = None) -> Content:
    """Compute and word the content of a report."""
    done, total = 0, _PARTS + len(_SECTIONS)

    def step() -> None:
        nonlocal done
        done += 1
        if advance is not None:
            advance(done, total)

    inputs = collect(fit, figures=figures, advance=step)
    sections = []
    for write in _SECTIONS:
        sections.append(write(inputs))
        step()
    sizes = fit.data.sizes
    return Content(
        title=_title(inputs),
        subtitle=(
            f"{sizes['model']} models · {sizes['prompt']} prompts · {sizes['response']} words · "
            f"formula {fit.settings['formula']} · outcome {fit.settings['outcome']}"
        ),
        alarms=tuple(text[:1].upper() + text[1:] for text in inputs.diagnostics.messages),
        answer=inputs.headline.text,
        reading=results.reading(inputs),
        sections=tuple(sections),
        references=references(fit),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=versions().get("valuebias", "unknown version"),
    )


def _title(inputs: ReportInputs) -> str:
    row = inputs.headline.row
    estimand = str(row["estimand"])
    return f"{estimand[0].upper()}{estimand[1:]} in {row['category']}: {row['name']}"
