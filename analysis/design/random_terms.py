"""Random effects that a formula names: ``(1 | base)`` and ``(log2(n_pairs) | base)``.

They are written as in lme4. Intercepts and slopes are independent of one another, so that ``|`` and
``||`` mean the same here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from valuebias.analysis.design.formula import learn_factor
from valuebias.analysis.design.grouping import Group, find_groups, known_bases
from valuebias.errors import ValueBiasError, did_you_mean, shown
from valuebias.schema.spelling import check_spelling

__all__ = ["RandomTerm", "groups_of", "split_random"]


_BUILT_IN = ("model", "prompt", "response", "word")


@dataclass(frozen=True)
class RandomTerm:
    """A random term: what varies by a group of models."""

    group: str  # a coordinate on ``model``, or several joined by colons
    intercept: bool  # whether the group's levels have effects of their own
    slopes: tuple[str, ...]  # expressions whose slopes vary by level


def split_random(formula: str) -> tuple[str, tuple[RandomTerm, ...]]:
    """Split a formula into its fixed part and its random terms.

    Examples
    --------
    >>> split_random("~ family + (1 | base)")
    ('~ family', (RandomTerm(group='base', intercept=True, slopes=()),))
    """
    if not isinstance(formula, str) or "|" not in formula:
        return formula, ()
    head, tilde, body = formula.rpartition("~")
    fixed, random = [], []
    for piece in _sum_of(body):
        inner = _bracketed(piece)
        if inner is not None and "|" in inner:
            random.append(_read(inner, formula))
        elif "|" in piece:
            raise ValueBiasError(
                f"formula {formula!r} has a bar outside parentheses of its own; write random "
                "effects as terms like '(1 | base)', joined by '+'."
            )
        elif piece:
            fixed.append(piece)
    return f"{head}{tilde or '~'} {' + '.join(fixed) or '1'}".strip(), tuple(random)


def groups_of(
    terms: tuple[RandomTerm, ...], models: pd.DataFrame, base: str | None
) -> tuple[Group, ...]:
    """Make the groups of a fit: those that the formula names, else those that the models share."""
    named = isinstance(base, str) and (base == "base" or base in models.columns)
    if base is not None and not named:
        raise ValueBiasError(
            f"base={shown(base)} is not a coordinate on 'model'. "
            f"{did_you_mean(base, map(str, models.columns))} base=None leaves bases out."
        )
    if base in models.columns and pd.api.types.is_numeric_dtype(models[base].dtype):
        raise ValueBiasError(
            f"The coordinate {base!r} holds numbers, where base= takes one of names. Write the "
            f"numbers as text where they are names: "
            f"dataset.assign_coords({base}=dataset[{base!r}].astype(str))."
        )
    named_by = [name.strip() for term in terms for name in term.group.split(":")]
    for name in {base or "": None} if not terms else dict.fromkeys(named_by):
        if name in models.columns:
            check_spelling(name, models[name])
    if not terms:
        return find_groups(models, base)
    groups = {group.name: group for group in find_groups(models, None)}
    for term in terms:
        labels = _labels(term.group, models)
        if term.intercept:
            groups[term.group] = Group(term.group, labels, np.ones((len(models), 1)))
        for slope in term.slopes:
            name = f"{term.group}:{slope}"
            groups[name] = Group(name, labels, learn_factor(slope, models).code(models))
    return tuple(groups.values())


def _sum_of(body: str) -> list[str]:
    """Split at the plus signs that stand in no parentheses."""
    pieces, depth, start = [], 0, 0
    for i, letter in enumerate(body):
        depth += (letter == "(") - (letter == ")")
        if letter == "+" and not depth:
            pieces.append(body[start:i].strip())
            start = i + 1
    return [*pieces, body[start:].strip()]


def _bracketed(piece: str) -> str | None:
    """Return the inside of parentheses around a whole piece."""
    if not (piece.startswith("(") and piece.endswith(")")):
        return None
    depth = 0
    for i, letter in enumerate(piece):
        depth += (letter == "(") - (letter == ")")
        if not depth and i < len(piece) - 1:
            return None
    return piece[1:-1]


def _read(inner: str, formula: str) -> RandomTerm:
    left, _, right = re.sub(r"\|\|", "|", inner).partition("|")
    parts, group = _sum_of(left), right.strip()
    if "|" in right or not group or not all(parts) or "/" in group:
        raise ValueBiasError(
            f"formula {formula!r} has the term '({inner})', which cannot be read; write what "
            "varies, a bar and a coordinate of the models, such as '(1 | base)' or "
            "'(log2(n_pairs) | base)'. Write '(1 | a) + (1 | a:b)' for '(1 | a/b)'."
        )
    slopes = tuple(part for part in parts if part not in ("0", "1"))
    return RandomTerm(group, "0" not in parts, slopes)


def _labels(group: str, models: pd.DataFrame) -> np.ndarray:
    names = [name.strip() for name in group.split(":")]
    for name in names:
        if name in _BUILT_IN:
            raise ValueBiasError(
                f"the random effect '(… | {group})' is in the model anyway, as are those of "
                "prompts and words and of their pairs; leave it out of the formula."
            )
        if name not in models.columns:
            raise ValueBiasError(
                f"the random effect '(… | {group})' names {name!r}, which is not a coordinate on "
                f"'model'. {did_you_mean(name, map(str, models.columns))}"
            )
    # A model whose level is missing has one of its own.
    columns = [known_bases(models, name) or list(map(str, models.index)) for name in names]
    labels = np.array([" | ".join(row) for row in zip(*columns, strict=True)], dtype=np.str_)
    n = len(set(labels.tolist()))
    if n == 1:
        raise ValueBiasError(
            f"all models at hand have the same {group}, so that effects of it cannot be told from "
            f"the mean; leave '(… | {group})' out of the formula."
        )
    if n == len(labels):
        raise ValueBiasError(
            f"every model at hand has a {group} of its own, so that effects of it are the models' "
            f"own, which are in the model anyway; leave '(… | {group})' out of the formula."
        )
    return labels
