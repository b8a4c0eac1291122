"""What a report says of a fit whose units are items of a contrast set."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from valuebias.analysis.outcome import describe
from valuebias.posterior.wording import false_signs
from valuebias.report.columns import chance_column, displayed, interval_column
from valuebias.report.content import Column, Content, Picture, Section, Table, number, sentence
from valuebias.report.inputs import ReportInputs

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["item_data", "item_model", "item_section", "of_items"]

_SHOWN_ITEMS = 20


def of_items(content: Content, fit: Posterior) -> Content:
    """Say the texts of a report on words as they are said of items."""
    return replace(
        content,
        reading=tuple(map(fit.said, content.reading)),
        sections=tuple(_section(section, fit) for section in content.sections),
    )


def _section(section: Section, fit: Posterior) -> Section:
    picture = section.picture
    if picture is not None:
        texts = {"alt": fit.said(picture.alt), "caption": fit.said(picture.caption)}
        picture = Picture(picture.name, picture.figure, **texts)
    return replace(
        section,
        title=fit.said(section.title),
        paragraphs=tuple(map(fit.said, section.paragraphs)),
        items=tuple(map(fit.said, section.items)),
        tables=tuple(_table(table, fit) for table in section.tables),
        picture=picture,
        missing=fit.said(section.missing),
    )


def _table(table: Table, fit: Posterior) -> Table:
    columns = tuple(replace(one, label=fit.said(one.label)) for one in table.columns)
    return replace(table, caption=fit.said(table.caption), columns=columns)


def item_section(inputs: ReportInputs) -> Section:
    """Show which items drive the difference."""
    title = "Items that drive the answer"
    if inputs.words is None:
        return Section("items", title, missing=inputs.no_words)
    table = inputs.words
    name = str(table["name"].iloc[0])
    columns = (
        Column("item", "item"),
        Column("mean", f"{name} ({inputs.unit})", number(inputs.digits, signed=True)),
        interval_column(),
        chance_column("p_direction", "P(direction)"),
        Column("expected_false_signs", "false signs so far", number(2)),
    )
    listed = table.head(_SHOWN_ITEMS)
    wrong = false_signs(listed, inputs.effective)
    caption = (
        f"The {len(listed)} items of {len(table)} that are furthest from zero: "
        f"{inputs.headline.row['category']} on that item, for models like these. "
        f"{sentence(wrong)} (the sum of 1 − P(direction))."
    )
    shown = Table("items", caption, table, columns, displayed(inputs, listed, "p_direction"))
    return Section("items", title, tables=(shown,))


def item_data(fit: Posterior) -> str:
    """Say what was scored."""
    sizes, spec = fit.data.sizes, fit.settings
    kind = describe(spec["outcome"])
    families = Counter(fit.data["family"].to_numpy().tolist())
    counted = ", ".join(f"{count} of {name}" for name, count in families.items())
    groups = ", ".join(fit.problem.crossing.categories)
    grouped = (
        f"the variants {groups}"
        if spec["by"] == "variant"
        else f"variants, averaged by {spec['by']}: {groups}"
    )
    left = spec.get("dropped_items", 0)
    without = f" {left} items that lack a score of some model were left out." if left else ""
    turned = " Ranks were turned round: higher means a higher reward." if kind.sign < 0 else ""
    return (
        f"{sizes['model']} models ({counted}) scored {sizes['prompt']} items in {grouped}."
        f"{without} The outcome is the {kind.name} (unit: {kind.units}); the mean over the "
        f"variants of an item was taken off.{turned}"
    )


def item_model(fit: Posterior, besides: str) -> str:
    """Say how it was modelled."""
    components = ", ".join(fit.component_names)
    return (
        "Differences between the variants of an item were modelled by a Gaussian hierarchy with "
        f"the formula {fit.settings['formula']} acting on every variant, and random effects of "
        f"{components}, each with its own standard deviation. Models and items are the sampling "
        "units: models of a family and items differ at random, and items differ between the terms "
        "of the formula as well (Barr et al. 2013). The variants are these very ones. "
        f"{besides}A lean is the mean over items of the outcome of one variant less that of "
        "another. Factors are in zero-sum coding."
    )
