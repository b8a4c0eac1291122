"""Bases that are missing, or that can hardly be checkpoints."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from valuebias.errors import some

__all__ = ["doubtful_bases"]

_SIZES = 1.5
"""Models of one checkpoint differ in size by their heads only; checkpoints by more."""


def doubtful_bases(models: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """List missing and doubtful bases: severity, where, and what is wrong."""
    if len(models) < 2 or not {"base", "family"} <= set(models.columns):
        return
    bases = models["base"].astype(str).str.strip()
    lacking = [str(name) for name in models.index[bases == ""]]
    if lacking:
        yield (
            "warning",
            "model",
            f"{len(lacking)} of {len(models)} models have no base: {some(lacking)}. Models that "
            "were trained from one checkpoint are not independent, and without it each counts as "
            "standing on its own. Give the checkpoints: "
            "dataset.assign_coords(base=('model', [...])), or the column 'base' of the models "
            "table.",
        )
    yield from _spelled_alike(bases[bases != ""])
    sizes = pd.to_numeric(models.get("n_params", pd.Series(np.nan, models.index)), errors="coerce")
    for base, rows in models[bases != ""].groupby(bases[bases != ""], sort=True):
        names = [str(name) for name in rows.index]
        known = sizes.loc[rows.index].dropna()
        if len(known) > 1 and known.max() > _SIZES * known.min():
            problem = f"has models from {known.min():.2g} to {known.max():.2g} parameters"
        elif len(rows) > 1 and str(base).casefold() in rows["family"].str.casefold().tolist():
            problem = "has the name of a family"
        else:
            continue
        yield (
            "warning",
            f"base {str(base)!r}",
            f"It {problem}: {some(names)}. A base is one checkpoint, size and version included, as "
            "in 'google/gemma-2-2b-it'; models that merely share a family would be taken for "
            "models of one checkpoint.",
        )


def _spelled_alike(bases: pd.Series) -> Iterator[tuple[str, str, str]]:
    """List names that may be one base written in several ways."""
    names = sorted(set(bases))
    for _, alike in pd.Series(names).groupby([_letters(name) for name in names]):
        if len(alike) > 1:
            yield (
                "warning",
                f"base {alike.iloc[0]!r}",
                f"{some(alike)} differ in capitals, spaces or punctuation only. Taken as they are "
                "written, they are different bases; write one base in one way.",
            )


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
