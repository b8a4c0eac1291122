"""Loading a fit reads its design from the file; no formula is worked out again, and nothing run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias.datasets.simulate import simulate
from valuebias.posterior.saved import fit_groups, write_groups

FORMULA = "~ family * scale(log10(n_params)) + (1 | recipe) + (poly(n_params, 2) | recipe)"
WORDS = "~ log(frequency) + center(length)"


@pytest.fixture(scope="module")
def fit() -> valuebias.Fit:
    ds = simulate(n_models={"Gemma": 5, "Llama": 5}, n_prompts=4, n_words=24, seed=1)
    rng = np.random.default_rng(2)
    ds = ds.assign_coords(
        recipe=("model", list("aabbccaabb")),
        n_params=("model", rng.uniform(1e9, 9e9, 10)),
        frequency=("response", rng.uniform(1, 900, 24)),
        length=("response", rng.integers(2, 9, 24)),
    )
    return valuebias.fit(
        ds, FORMULA, words=WORDS, draws=20, tune=20, chains=2, seed=5, progress=False
    )


Change = Callable[[dict[str, xr.Dataset], dict[str, Any]], None]


def changed(fit: valuebias.Fit, path: Path, change: Change) -> Path:
    """Save a fit with something else in it, under the right checksum."""
    groups, attrs = fit_groups(fit)
    contents = {name: json.loads(attrs[name]) for name in ("spec", "prior", "provenance")}
    change(groups, contents)
    return write_groups(
        groups, attrs | {k: json.dumps(v) for k, v in contents.items()}, path / "fit.nc"
    )


def with_formulas(formula: str, words: str) -> Change:
    def change(groups: dict[str, xr.Dataset], contents: dict[str, Any]) -> None:
        contents["spec"] |= {"formula": formula, "words": words}
        about = json.loads(groups["design"]["about"].item())
        about |= {"formula": formula, "fixed": formula, "words": words}
        groups["design"] = groups["design"].assign(about=json.dumps(about))

    return change


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_the_design_comes_back_as_it_was(fit: valuebias.Fit, tmp_path: Path, suffix: str) -> None:
    loaded = valuebias.load(fit.save(tmp_path / f"fit{suffix}"))
    one, other = (each.problem.crossing for each in (fit, loaded))  # type: ignore[union-attr]
    np.testing.assert_array_equal(one.design.matrix, other.design.matrix)
    np.testing.assert_array_equal(one.word_basis, other.word_basis)
    assert one.covariate_names == other.covariate_names
    assert one.design.column_names == other.design.column_names
    new = fit.data.isel(model=[2, 0])["n_params"].to_numpy() * 1.7
    models = one.design.models.iloc[[2, 0]].assign(n_params=new)
    np.testing.assert_array_equal(one.design.rows(models), other.design.rows(models))
    assert [group.name for group in one.space.groups] == [g.name for g in other.space.groups]
    pd.testing.assert_frame_equal(loaded.contrasts(), fit.contrasts(), check_exact=True)
    pd.testing.assert_frame_equal(loaded.summary(), fit.summary(), check_exact=True)


def test_no_formula_of_a_file_is_read(fit: valuebias.Fit, tmp_path: Path) -> None:
    """A formula that no version of the package could work out is text like any other."""
    trap = tmp_path / "ran"
    formula = f"~ {{__import__('pathlib').Path({str(trap)!r}).touch()}} + ((("
    path = changed(fit, tmp_path, with_formulas(formula, formula))
    loaded = valuebias.load(path)
    assert loaded.settings["formula"] == formula  # type: ignore[union-attr]
    pd.testing.assert_frame_equal(loaded.contrasts(), fit.contrasts(), check_exact=True)
    pd.testing.assert_frame_equal(loaded.models(), fit.models(), check_exact=True)  # type: ignore[union-attr]
    with pytest.raises(ValueBiasError, match=r"cannot be read|nested|may hold"):
        valuebias.fit(loaded.data, loaded.settings["formula"], progress=False)  # type: ignore[union-attr]
    assert not trap.exists()


def test_an_earlier_versions_fit_is_read_by_its_formula(fit: valuebias.Fit, tmp_path: Path) -> None:
    path = changed(fit, tmp_path, lambda groups, contents: groups.pop("design"))
    pd.testing.assert_frame_equal(valuebias.load(path).contrasts(), fit.contrasts())
    trap = tmp_path / "ran"

    def hostile(groups: dict[str, xr.Dataset], contents: dict[str, Any]) -> None:
        del groups["design"]
        code = f"__import__('pathlib').Path({str(trap)!r}).touch()"
        contents["spec"]["formula"] = f"~ family + {{{code}}}"

    path = changed(fit, tmp_path, hostile)
    with pytest.raises(ValueBiasError, match="a formula may hold names"):
        valuebias.load(path).contrasts()
    assert not trap.exists()


def _without(name: str) -> Change:
    def change(groups: dict[str, xr.Dataset], contents: dict[str, Any]) -> None:
        groups["design"] = groups["design"].drop_vars(name)

    return change


def _about(**new: Any) -> Change:
    def change(groups: dict[str, xr.Dataset], contents: dict[str, Any]) -> None:
        about = json.loads(groups["design"]["about"].item()) | new
        groups["design"] = groups["design"].assign(about=json.dumps(about))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_about(formula="~ family"), "belongs to another formula"),
        (_about(words=None), "belongs to another formula"),
        (_about(factors=[]), "is damaged"),
        (_about(terms=[{"name": "x", "factors": [99]}]), "is damaged"),
        (_about(groups=[{"name": "x", "labels": []}]), "is damaged"),
        (_about(covariates=7), "is damaged"),
        (_without("covariates"), "is damaged"),
        (_without("columns_1"), "is damaged"),
    ],
)
def test_a_design_that_does_not_fit_is_told(
    fit: valuebias.Fit, tmp_path: Path, change: Change, said: str
) -> None:
    loaded = valuebias.load(changed(fit, tmp_path, change))
    with pytest.raises(ValueBiasError, match=said):
        loaded.contrasts()
