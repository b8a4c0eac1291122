"""Ablations of trained reward models: which formula they call for, and what is asked of its draws.

An *ablation* trains reward models on several bases, sources of preferences and numbers of pairs,
with one or more seeds, and may keep several checkpoints of a run. What is asked is how the gap
between two families changes with the number of pairs, at the end of training.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.formula import parse_formula
from valuebias.analysis.sides import model_sides, run_labels
from valuebias.errors import ValueBiasError

__all__ = [
    "COORDS",
    "check_models",
    "choose_formula",
    "is_ablation",
    "progress_of",
    "remarks",
    "shared_bases",
]

Array = NDArray[np.float64]

_COURSE = "np.sqrt(progress)"

COORDS = ("family", "base", "source", "n_pairs", "seed", "step")
"""The coordinates on ``model`` that an ablation needs."""


def check_models(models: pd.DataFrame) -> None:
    """Refuse models that are no ablation.

    Parameters
    ----------
    models : DataFrame
        The coordinates of the models.

    Raises
    ------
    ValueBiasError
        If a coordinate of :data:`COORDS` is missing, ``n_pairs`` is no positive number, ``step`` is
        negative or missing, there is one family only, or two models are the same checkpoint.
    """
    for name in COORDS:
        if name not in models.columns:
            raise ValueBiasError(
                f"the models have no coordinate {name!r}; an ablation needs {', '.join(COORDS)}. "
                f"Add it with ds.assign_coords({name}=('model', [...]))."
            )
    for name, what, least in (("n_pairs", "a positive number", 0.0), ("step", "zero or more", -1)):
        values = pd.to_numeric(models[name], errors="coerce").to_numpy(dtype=float)
        wrong = ~(np.isfinite(values) & (values > least))
        if wrong.any():
            place = int(wrong.argmax())
            hint = (
                " A model that was trained on no pairs has no place on their logarithm: leave it "
                "out, and give its gap as share_left(base_gap=...)."
                if name == "n_pairs" and values[place] == 0
                else " Give it the right value or leave the model out."
            )
            raise ValueBiasError(
                f"model {models.index[place]!r} has {name} = {values[place]:g}; "
                f"expected {what}.{hint}"
            )
    unnamed = [str(m) for m, base in models["base"].items() if not str(base).strip()]
    if unnamed:
        raise ValueBiasError(
            f"model {unnamed[0]!r} has no base ({len(unnamed)} of {len(models)} have none); an "
            "ablation needs the checkpoint that each model was trained from. Give it with "
            "ds.assign_coords(base=('model', [...])) or in the models table."
        )
    families = sorted(set(models["family"].astype(str)))
    if len(families) < 2:
        raise ValueBiasError(
            f"all models are of the family {families[0]!r}; a gap is between two families, so add "
            "models of another."
        )
    _refuse_copies(models)


def _refuse_copies(models: pd.DataFrame) -> None:
    key = pd.Series(run_labels(models)) + " | " + models["step"].astype(str).to_numpy()
    again = key.duplicated(keep=False).to_numpy()
    if again.any():
        first = int(again.argmax())
        same = [str(name) for name, k in zip(models.index, key, strict=True) if k == key[first]]
        raise ValueBiasError(
            f"models {same[0]!r} and {same[1]!r} are the same checkpoint: base, source, n_pairs, "
            "seed and step are equal. Leave one out, or correct its coordinates."
        )


def progress_of(models: pd.DataFrame) -> Array:
    """Give the share of its run that every checkpoint has behind it; 1 is the run's last."""
    steps = models["step"].astype(float)
    runs = run_labels(models)
    last = steps.groupby(runs).transform("max") if runs is not None else steps
    return np.asarray(np.where(last > 0, steps / last.where(last > 0, 1.0), 1.0))


def choose_formula(models: pd.DataFrame) -> str:
    """Choose the richest formula of the default kind that the models can tell.

    Parameters
    ----------
    models : DataFrame
        Coordinates with ``progress``.

    Returns
    -------
    str
        ``"~ family * source * log2(n_pairs)"`` as far as these vary; with checkpoints all of it
        times the square root of the share of the run that is done, for most change comes early in
        a run; by objective where there are several. Of these the richest that can be told, and if
        possible one under which checkpoints of a run need not be taken as independent.

    Raises
    ------
    ValueBiasError
        If not even ``"~ family"`` can be told.
    """
    found, refused = None, None
    for formula in _candidates(models):
        try:
            design = parse_formula(formula, models)
        except ValueBiasError as error:
            refused = error
            continue
        if model_sides(models, np.linalg.qr(design.matrix)[0]).status != "unsupported":
            return formula
        found = found or formula
    if found:
        return found
    raise ValueBiasError("no formula fits the models of the ablation.") from refused


def _candidates(models: pd.DataFrame) -> Iterator[str]:
    """Give formulas from the richest on."""
    source, pairs = (models[name].nunique() > 1 for name in ("source", "n_pairs"))
    cells = []
    if source and pairs:
        cells += ["family * source * log2(n_pairs)", "family * source + family * log2(n_pairs)"]
    if source:
        cells += ["family * source"]
    if pairs:
        cells += ["family * log2(n_pairs)"]
    objectives = [""]
    if "objective" in models.columns and models["objective"].nunique() > 1:
        objectives.insert(0, " + family * objective")
    for cell in [*cells, "family"]:
        courses = [cell]
        if models["progress"].nunique() > 1:
            # All runs of a base start alike, so that what sources and pairs do comes with progress.
            whole = f"({cell})" if "+" in cell else cell
            courses = [f"{whole} * {_COURSE}", f"{cell} + family * {_COURSE}"]
            courses += [f"{cell} + {_COURSE}", cell]
        yield from (f"~ {course}{objective}" for objective in objectives for course in courses)


def remarks(models: pd.DataFrame, formula: str) -> list[str]:
    """Say in sentences what an ablation of this layout cannot tell."""
    notes = []
    cell = [name for name in ("base", "source", "n_pairs", "objective") if name in models.columns]
    seeds = models.groupby(cell)["seed"].nunique()
    single = int((seeds == 1).sum())
    if single:
        who = "every cell was" if single == len(seeds) else f"{single} of {len(seeds)} cells were"
        notes.append(
            f"{who} trained with a single seed: how much a run would differ if it were repeated is "
            "judged only by how far runs depart from the formula, where there are more runs than "
            "columns. Train with more seeds to tell chance from curvature."
        )
    lone = models.groupby("family")["base"].nunique()
    names = ", ".join(map(str, lone.index[lone == 1]))
    if (lone == 1).any():
        notes.append(
            f"one base model only of {names}: what is the family's and what is that base's cannot "
            "be told apart. Its gaps are between these bases, and how far other bases of the "
            "families would differ is not in the intervals."
        )
    if models["n_pairs"].nunique() == 1:
        notes.append("all runs have the same number of pairs: nothing is said about quantity.")
    elif "n_pairs" not in formula:
        notes.append(
            f"the formula {formula!r} leaves the number of pairs out; where every source has one "
            "number of pairs, the two cannot be told apart."
        )
    return notes


def is_ablation(models: pd.DataFrame) -> bool:
    """Tell whether models were trained to be compared by the pairs they were trained on.

    Parameters
    ----------
    models : DataFrame
        The coordinates of the models.

    Returns
    -------
    bool
        True where they have all of :data:`COORDS`, more than one family, and several numbers of
        pairs or several sources.
    """
    if not set(COORDS) <= set(models.columns) or models["family"].nunique() < 2:
        return False
    return bool(models["n_pairs"].nunique() > 1 or models["source"].nunique() > 1)


def shared_bases(models: pd.DataFrame) -> str:
    """Say that reward models of one base are no independent models; empty where none share one.

    Parameters
    ----------
    models : DataFrame
        The coordinates of the models. Those with a number of pairs or a source were trained from
        their base; others say nothing of how they came about.

    Returns
    -------
    str
        A sentence, or nothing.
    """
    if not {"base", "family"} <= set(models.columns):
        return ""
    trained = np.zeros(len(models), dtype=bool)
    if "n_pairs" in models.columns:
        trained |= (pd.to_numeric(models["n_pairs"], errors="coerce") > 0).to_numpy()
    if "source" in models.columns:
        trained |= _named(models["source"])
    known = _named(models["base"])
    bases = models.loc[trained & known, ["family", "base"]].astype(str)
    shared = bases[bases.duplicated(keep=False)]
    if shared.empty:
        return ""
    n = len(shared.drop_duplicates())
    return (
        f"{len(shared)} of {len(models)} models were trained from {n} "
        f"base model{'s' if n > 1 else ''}: those of one base are not independent models of their "
        "family, and a plain fit says nothing of the pairs they were trained on. Ask "
        "valuebias.fit_ablation(dataset), which knows what they share."
    )


def _named(values: pd.Series) -> NDArray[np.bool_]:
    """Tell which values are texts that say something."""
    return np.array([str(value).strip() not in ("", "nan", "None") for value in values])
