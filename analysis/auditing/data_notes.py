"""What follows from how the models, prompts and bases at hand are laid out, before any sampling."""

from __future__ import annotations

import pandas as pd

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.grouping import (
    PAIR_COORDS,
    describe_group,
    find_groups,
    known_bases,
    reward_models,
    shared_models,
)
from valuebias.analysis.design.unscored import unscored_notes
from valuebias.analysis.notes import Note
from valuebias.errors import few
from valuebias.schema.contract import NEUTRAL
from valuebias.schema.spelling import alike_text, look_alike

__all__ = ["data_notes", "spelling_notes"]


def data_notes(crossing: Crossing) -> list[Note]:
    """Note what the data at hand cannot tell; empty where there is nothing to note."""
    notes = []
    family = crossing.design.factor("family")
    if family is not None:
        counts = crossing.design.models["family"].value_counts()
        lone = sorted(str(name) for name in counts.index[counts == 1])
        if lone:
            who = f"family {lone[0]} has" if len(lone) == 1 else f"families {', '.join(lone)} have"
            every = len(lone) == len(counts)
            source = "the prior" if every else "the other families"
            text = (
                f"{who} one model only: what is the family's and what is that model's own cannot "
                "be told apart there, so the spread between models of a family is taken from "
                f"{source}."
            )
            if every:
                text += " One model per family cannot carry a claim about families."
            notes.append(Note("one model a family", text))
    notes += unscored_notes(crossing) + _label_notes(crossing) + _sharing_notes(crossing)
    n_models, n_columns = crossing.design.matrix.shape
    if n_models == n_columns:
        notes.append(
            Note(
                "no replication",
                f"The formula has as many columns as there are models, {n_models}, which leaves no "
                "replication: how much models of a kind differ comes from the prior alone, and so "
                "do the widths of all intervals on the formula's terms. Differences on single "
                "words are between these very models and generalise over none.",
                "The formula has as many columns as there are models, so that the prior alone says "
                "how much models of a kind differ, and how wide intervals are.",
                first=True,
            )
        )
    if crossing.items:
        return notes  # nothing is asked after prompts of a framing
    for f, name in enumerate(crossing.framings):
        if len(crossing.prompts_of(f)) == 1:
            notes.append(
                Note(
                    "one prompt",
                    f"one prompt only under {name} framing: prompts' own effects cannot be "
                    "separated from the rest there.",
                )
            )
    if crossing.framings == (NEUTRAL,):
        notes.append(
            Note(
                "one framing",
                "all prompts have neutral framing: they ask for neither good nor bad, so that "
                "scores do not say what is liked; positive and negative prompts would.",
                "All prompts are neutral, so that a high score need not be liking.",
            )
        )
    elif len(crossing.framings) == 1:
        notes.append(
            Note(
                "one framing",
                f"all prompts have {crossing.framings[0]} framing: a liking for certain words "
                "cannot be told from a habit of scoring them so; add prompts of the other framing.",
                f"All prompts are {crossing.framings[0]}, so that a preference cannot be told from "
                "a habit of scoring some words high.",
            )
        )
    return notes


def spelling_notes(models: pd.DataFrame, base: str | None) -> list[Note]:
    """Note bases and reward models that may be one under two names."""
    notes = []
    for coord in dict.fromkeys((base or "", "reward_model")):
        groups = look_alike(models[coord]) if coord in models.columns else []
        if groups:
            listed = few((" and ".join(group) for group in groups), quote=False)
            notes.append(
                Note(
                    "names alike",
                    alike_text(coord, groups),
                    f"{listed} look alike and count as different ones; if they are one, the "
                    "interval is too narrow.",
                )
            )
    return notes


def _label_notes(crossing: Crossing) -> list[Note]:
    """Note what is said of several labels of reward models."""
    models = crossing.design.models
    owners = reward_models(models)
    if owners is None:
        return []
    notes = []
    if len(set(owners)) == 1:
        notes.append(
            Note(
                "one reward model",
                f"all {len(owners)} rows are labels of one reward model, {owners[0]}: what is said "
                "is about this model, and how far others would differ is in no interval. Score "
                "further reward models.",
                "All of it are labels of one reward model, and nothing here reaches to others.",
                first=True,
            )
        )
    several = "label" in models.columns and models["label"].astype(str).nunique() > 1
    if several and crossing.design.factor("label") is None:
        n = models["label"].astype(str).nunique()
        notes.append(
            Note(
                "labels averaged",
                f"{len(set(owners))} reward models were scored by {n} labels, over which results "
                "are averaged: '~ family * label' tells them apart.",
                f"It is an average over {n} labels of reward models.",
            )
        )
    return notes


def _sharing_notes(crossing: Crossing) -> list[Note]:
    """Note what follows from bases, from pairs that share models, and from checkpoints of a run."""
    models, space = crossing.design.models, crossing.space
    notes = [_dropped(name) for name in space.dropped]
    if set(PAIR_COORDS) <= set(models.columns):
        both = set(models[PAIR_COORDS[0]].astype(str)) & set(models[PAIR_COORDS[1]].astype(str))
        if both:
            shared = shared_models(*(models[coord].astype(str).tolist() for coord in PAIR_COORDS))
            notes.append(
                Note(
                    "model on both sides",
                    f"{shared}, and {sorted(both)[0]!r} is a numerator and a denominator. Taken as "
                    "independent, they make all intervals too narrow; have no model on both sides.",
                    "Some models are on both sides of pairs, so that intervals are too narrow.",
                    first=True,
                )
            )
    notes += _bases_left_out(crossing) + _one_base(models)
    lone = _lone_bases(crossing)
    if lone:
        return [*notes, lone]
    unknown = [g for g in space.groups if not g.reaches_beyond(crossing.design.matrix)]
    for group in unknown:
        if group.name in PAIR_COORDS:
            text = (
                f"too few models are a pair's {group.name} to tell what is such a model's own from "
                f"what is its family's: how much {group.name}s of a family differ comes from the "
                "prior alone."
            )
            headline = ""
        else:
            who = describe_group(group.name)
            text = (
                f"{who}, {group.n_levels} in number, cannot be told apart from what the formula "
                "names: how much they differ comes from the prior alone."
            )
            headline = (
                f"How much {who} differ, and with it how wide the interval is, the prior alone "
                "says."
            )
        notes.append(Note(f"spread of {group.name}s unknown", text, headline))
    return notes


def _dropped(name: str) -> Note:
    return Note(
        "uneven groups",
        f"the models are too uneven over {describe_group(name)} for an exact model of what these "
        "share, which is left out. Taken as independent, models that share it make all intervals "
        "too narrow; keep as many models of each, or one.",
        f"What is shared by {describe_group(name)} is left out, so that intervals are too narrow.",
        first=True,
    )


def _bases_left_out(crossing: Crossing) -> list[Note]:
    """Note bases that models share and neither `base` nor the formula names."""
    space = crossing.space
    shared = {group.name: group for group in find_groups(crossing.design.models)}
    if "base" in (*space.sizes, *space.dropped) or "base" not in shared:
        return []
    # Bases may go by another name, such as family:base.
    if any(shared["base"].same_as(group) for group in space.groups):
        return []
    n = shared["base"].n_levels
    return [
        Note(
            "bases left out",
            f"the {crossing.shape[0]} models have {n} bases, which were left out: models of "
            "one base count as independent, so that results hold for these bases, and no "
            "interval reaches to others. Add '(1 | base)' to the formula, or take out "
            "base=None where the formula has no random effects.",
            f"Models share {n} bases, which were left out here: the interval holds for these bases "
            "and does not reach to others of a family.",
        )
    ]


def _one_base(models: pd.DataFrame) -> list[Note]:
    """Note where all models have one base."""
    bases = known_bases(models) or []
    if len(bases) < 2 or len(set(bases)) > 1 or set(PAIR_COORDS) <= set(models.columns):
        return []
    return [
        Note(
            "one base",
            f"all {len(bases)} models have one base, {bases[0]}: what is said is about models "
            "of this base, and how far those of others would differ is in no interval. Score "
            "models of further bases.",
            "All models have one base, and nothing here reaches to models of others.",
        )
    ]


def _lone_bases(crossing: Crossing) -> Note | None:
    """Note families that have a single base."""
    base, family = crossing.space.group("base"), crossing.design.factor("family")
    if base is None or family is None:
        return None
    kinds = crossing.design.models["family"].astype(str)
    bases = pd.Series(base.labels.tolist(), kinds.index).groupby(kinds)
    count = bases.nunique()
    lone = bases.first()[count == 1]
    if lone.empty or base.n_levels != count.sum():
        return None
    named = few([f"{family} ({base})" for family, base in lone.items()], quote=False)
    if len(lone) == len(count):
        return Note(
            "one base a family",
            f"every family has one base: {named}. What is a family's and what is its base's cannot "
            "be told apart, and how much bases of a family differ is taken from the prior alone: "
            "so are the widths of all intervals on families. Score models of further bases, or ask "
            "for base=None and speak of these bases.",
            "Each family has one base here, so that family and base cannot be told apart, and the "
            "intervals are as wide as the prior on bases makes them.",
            first=True,
        )
    return Note(
        "one base of a family",
        f"there is one base only of {named}: what is the family's and what is its base's cannot be "
        "told apart there, and how much its bases differ is taken from the other families.",
        f"There is one base only of {few(list(map(str, lone.index)), quote=False)}: how far "
        "others would differ is taken from the other families.",
    )
