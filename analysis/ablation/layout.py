"""Ablations of trained reward models: which formula they call for, and what its draws answer.

An *ablation* trains reward models on several bases, sources of preferences and numbers of pairs,
with one or more seeds, and may keep several checkpoints of a run. The question is how the gap
between two families changes with the number of pairs, at the end of training.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.design.formula import parse_formula
from valuebias.analysis.design.grouping import make_space, run_labels
from valuebias.analysis.design.random_terms import groups_of, split_random
from valuebias.errors import ValueBiasError, few

__all__ = [
    "COORDS",
    "base_of",
    "check_models",
    "choose_formula",
    "has_base_slopes",
    "is_ablation",
    "progress_of",
]

Array = NDArray[np.float64]

_COURSE = "np.sqrt(progress)"
_DOUBLINGS = "log2(n_pairs)"
_ARMS = ("tuning", "objective")
"""How models are trained, on whatever pairs."""
_BASE_COURSE = "center(log2(n_pairs)) * np.sqrt(progress)"

COORDS = ("family", "base", "source", "n_pairs", "seed", "step")
"""The coordinates on ``model`` that an ablation needs."""


def check_models(models: pd.DataFrame) -> None:
    """Refuse models that are not an ablation."""
    lacking = [name for name in COORDS if name not in models.columns]
    if lacking:
        said = (
            f"the models have no coordinate {few(lacking)}; an ablation needs {', '.join(COORDS)}: "
            "what each model was trained from and on."
        )
        given = ", ".join(f"{name}=('model', [...])" for name in lacking)
        raise ValueBiasError(
            f"{said} Add with ds.assign_coords({given}) what is known; models that were not "
            "trained to be compared so are fitted by valuebias.fit(ds).",
            in_shell=f"{said} Name them in columns of the models table; models that were not "
            "trained to be compared so are fitted with --no-ablation.",
        )
    for name, need, least in (("n_pairs", "a positive number", 0.0), ("step", "zero or more", -1)):
        values = pd.to_numeric(models[name], errors="coerce").to_numpy(dtype=float)
        wrong = ~(np.isfinite(values) & (values > least))
        if wrong.any():
            worst = int(wrong.argmax())
            hint = (
                " A model that was trained on no pairs has no logarithm of their number: leave it "
                "out, and give its gap as share_remaining(base_gap=...)."
                if name == "n_pairs" and values[worst] == 0
                else " Give it the right value or leave the model out."
            )
            raise ValueBiasError(
                f"model {models.index[worst]!r} has {name} = {values[worst]:g}; "
                f"expected {need}.{hint}"
            )
    unnamed = [str(m) for m, base in models["base"].items() if not str(base).strip()]
    if unnamed:
        raise ValueBiasError(
            f"model {unnamed[0]!r} has no base ({len(unnamed)} of {len(models)} have none); an "
            "ablation needs the checkpoint that each model was trained from. Give it with "
            "ds.assign_coords(base=('model', [...])) or in the models table.",
            in_shell=f"model {unnamed[0]!r} has no base ({len(unnamed)} of {len(models)} have "
            "none); an ablation needs the checkpoint that each model was trained from. Give it in "
            "a column 'base' of the models table.",
        )
    families = sorted(set(models["family"].astype(str)))
    if len(families) < 2:
        raise ValueBiasError(
            f"all models are of the family {families[0]!r}; a gap is between two families, so add "
            "models of another."
        )
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
    """Return how far along its run every checkpoint is, as a share; the run's last is at 1."""
    steps = models["step"].astype(float)
    runs = run_labels(models)
    last = steps.groupby(runs).transform("max") if runs is not None else steps
    return np.asarray(np.where(last > 0, steps / last.where(last > 0, 1.0), 1.0))


def choose_formula(models: pd.DataFrame, *, random: bool = True) -> str:
    """Choose the richest formula of the default kind that the models can identify."""
    fallback, refused = None, None
    terms = base_terms(models) if random else [""]
    for formula in _candidates(models):
        try:
            design = parse_formula(formula, models)
        except ValueBiasError as error:
            refused = error
            continue
        for term in terms if "n_pairs" in formula else terms[-1:]:
            groups = groups_of(split_random(f"~ 1{term}")[1], models, base_of(models))
            if not make_space(design.matrix, groups).dropped:
                return formula + term
        fallback = fallback or formula
    if fallback:
        return fallback
    raise ValueBiasError("no formula fits the models of the ablation.") from refused


def base_terms(models: pd.DataFrame) -> list[str]:
    """Return random terms of bases, from the richest on; the last is none.

    Bases of a family respond differently to more pairs, so that with one slope per family instead
    of one per base its change would look surer than it is.
    """
    if not has_base_slopes(models):
        return [""]
    plain = f"({_DOUBLINGS} | base)"
    if models["progress"].nunique() == 1:
        return [f" + {plain}", ""]
    # Effects of pairs grow with progress, and so do their deviations by base.
    whole = f"({_COURSE} + {_BASE_COURSE} | base)"
    return [f" + {whole}", f" + {plain}", ""]


def has_base_slopes(models: pd.DataFrame) -> bool:
    """Whether some family has several bases that were trained with several numbers of pairs."""
    labels = models.assign(base=models["base"].astype(str), family=models["family"].astype(str))
    several = labels.groupby(["family", "base"])["n_pairs"].nunique() > 1
    return bool((several.groupby("family").sum() > 1).any())


def base_of(models: pd.DataFrame) -> str | None:
    """Name the coordinate of bases where some family has several; None where bases are families.

    With one base per family, a gap is one between these bases; how much bases of a family differ
    would depend on the prior alone, and is left out.
    """
    bases = models.assign(base=models["base"].astype(str)).groupby("family")["base"].nunique()
    return "base" if (bases > 1).any() else None


def _candidates(models: pd.DataFrame) -> Iterator[str]:
    """Return formulas from the richest on."""
    source, pairs = (models[name].nunique() > 1 for name in ("source", "n_pairs"))
    cells = []
    if source and pairs:
        cells += [f"family * source * {_DOUBLINGS}", f"family * source + family * {_DOUBLINGS}"]
    if source:
        cells += ["family * source"]
    if pairs:
        cells += [f"family * {_DOUBLINGS}"]
    arms = [name for name in _ARMS if name in models.columns and models[name].nunique() > 1]
    # All of them, then fewer.
    each = ["".join(f" + family * {name}" for name in arms[i:]) for i in range(len(arms))]
    tunings = [*each, ""]
    for cell in [*cells, "family"]:
        courses = [cell]
        if models["progress"].nunique() > 1:
            # All runs of a base start alike, so that effects of sources and pairs grow with
            # progress.
            whole = f"({cell})" if "+" in cell else cell
            courses = [f"{whole} * {_COURSE}", f"{cell} + family * {_COURSE}"]
            courses += [f"{cell} + {_COURSE}", cell]
        yield from (f"~ {course}{tuning}" for tuning in tunings for course in courses)


def is_ablation(models: pd.DataFrame) -> bool:
    """Whether models were trained to be compared by the pairs they were trained on."""
    if not set(COORDS) <= set(models.columns) or models["family"].nunique() < 2:
        return False
    return bool(models["n_pairs"].nunique() > 1 or models["source"].nunique() > 1)
