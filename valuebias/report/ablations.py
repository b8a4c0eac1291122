"""The report of an ablation: what it is written from, and its sections in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from valuebias._core.provenance import versions
from valuebias.posterior.ablation.framings import SIGNED, lean_name, rope_of
from valuebias.report.content import Content, Section
from valuebias.report.inputs import PROB, Advance
from valuebias.report.methods import references

if TYPE_CHECKING:
    import pandas as pd

    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = ["AblationReportInputs", "gather_ablation"]


@dataclass(frozen=True)
class AblationReportInputs:
    """What the sections are written from."""

    fit: AblationPosterior
    figures: bool  # whether to draw
    digits: int  # decimals that give the SD of the first gap two figures

    @property
    def models(self) -> pd.DataFrame:
        """The coordinates of the models."""
        return self.fit.curves.models

    @property
    def has_checkpoints(self) -> bool:
        """Whether there are steps before the last of a run."""
        return bool((self.models["progress"] < 1).any())


def gather_ablation(
    fit: AblationPosterior, *, figures: bool, advance: Advance | None = None
) -> Content:
    """Compute and word the content of an ablation's report."""
    gaps = fit.gaps(prob=PROB)
    inputs = AblationReportInputs(fit, figures, _digits(float(gaps["sd"].iloc[0])))
    writers = _writers()
    sections = []
    for done, write in enumerate(writers, 1):
        sections.append(write(inputs))
        if advance is not None:
            advance(done, len(writers))
    lean = lean_name(fit)
    framing = lean if lean.startswith(SIGNED) else f"under {lean}"
    return Content(
        title=_title(fit, gaps["name"].iloc[0]),
        subtitle=" · ".join(
            (
                f"{len(inputs.models)} checkpoints of {len(fit.curves.families)} families",
                f"formula {fit.formula}",
                *([f"leans {framing}"] if lean else []),
            )
        ),
        alarms=_alarms(fit),
        answer=str(fit.headline()),
        reading=_reading(inputs),
        sections=tuple(sections),
        references=references(fit.fit, prediction=False),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=versions().get("valuebias", "unknown version"),
    )


def _writers() -> tuple[Callable[[AblationReportInputs], Section], ...]:
    """List the sections in the order of the report; imported late, as they import this module."""
    from valuebias.report import ablation_record as record
    from valuebias.report import ablation_results as results

    return (
        results.glance_section,
        record.limits_section,
        results.gap_section,
        results.slope_section,
        results.share_section,
        results.closing_section,
        results.curve_section,
        results.framing_section,
        results.trajectory_section,
        results.mover_section,
        record.convergence_section,
        record.audit_section,
        record.methods_section,
        record.provenance_section,
        record.reproduce_section,
    )


def _digits(sd: float) -> int:
    return int(np.clip(np.ceil(-np.log10(sd)) + 1, 0, 6)) if sd > 0 else 3


def _title(fit: AblationPosterior, name: str) -> str:
    framed = lean_name(fit)
    under = f" under {framed}" if framed and not framed.startswith(SIGNED) else ""
    return f"Gap in {fit.curves.category}{under} by preference pairs: {name}"


def _alarms(fit: AblationPosterior) -> tuple[str, ...]:
    if fit.fit is None:
        return ()
    return tuple(text[:1].upper() + text[1:] for text in fit.fit.diagnostics().messages)


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
        "negative prompts, sign turned": " All prompts are negative, where a high score means "
        "disliking, so the sign is turned: positive where the words of the second are scored "
        "higher as answers to what is worst.",
    }
    return (
        f"A model's lean is how much higher it rewards the words of {first} than those of {other} "
        f"({fit.unit}); a gap is the lean of one family less that of another."
        f"{names.get(lean_name(fit), '')}",
        "A gap at a number of pairs is that at the end of training on so many. A gap that goes to "
        "zero means that the families come to agree, not that either loses its lean.",
        f"Given the model and the data, a quantity lies in its interval with a probability of "
        f"{PROB:.0%}. Gaps within {rope_of(fit)} of zero are taken as too small to matter.",
    )
