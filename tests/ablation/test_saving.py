"""A saved ablation gives the same answers, and what is none is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import AblationFit, ValueBiasError
from valuebias.fitting.result import Fit
from valuebias.posterior.saved import write_groups

Ask = Callable[[AblationFit], pd.DataFrame]

QUESTIONS: tuple[Ask, ...] = (
    lambda fit: fit.gaps(),
    lambda fit: fit.slope(),
    lambda fit: fit.closing_point(),
    lambda fit: fit.share_remaining(),
    lambda fit: fit.trajectories(),
    lambda fit: fit.by_framing(),
    lambda fit: fit.summary(),
)


def assert_same(loaded: object, fit: AblationFit) -> None:
    assert isinstance(loaded, AblationFit)
    for ask in QUESTIONS:
        pd.testing.assert_frame_equal(ask(loaded), ask(fit), check_exact=True)
    assert str(loaded.headline()) == str(fit.headline())
    for name in ("rope", "unit", "formula", "notes", "framing", "provenance"):
        assert getattr(loaded, name) == getattr(fit, name), name


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_saved_ablation_gives_the_same_answers(
    hostile_fit: AblationFit, tmp_path: Path, suffix: str
) -> None:
    path = hostile_fit.save(tmp_path / f"fit{suffix}")
    loaded = valuebias.load(path)
    assert_same(loaded, hostile_fit)
    assert isinstance(loaded, AblationFit)
    pd.testing.assert_frame_equal(
        loaded.word_changes(n=4), hostile_fit.word_changes(n=4), check_exact=True
    )
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_the_framing_is_saved(hostile_fit: AblationFit, tmp_path: Path) -> None:
    fit = hostile_fit.at_framing("negative")
    assert_same(valuebias.load(fit.save(tmp_path / "fit.nc")), fit)


def test_medians_are_saved_with_their_draws(medians_fit: AblationFit, tmp_path: Path) -> None:
    loaded = valuebias.load(medians_fit.save(tmp_path / "fit.nc"))
    assert_same(loaded, medians_fit)
    assert loaded.provenance["seed"] == 7
    with pytest.raises(ValueBiasError, match="has no words"):
        loaded.word_changes()


def test_medians_keep_their_design(medians_fit: AblationFit, tmp_path: Path) -> None:
    """Of a file whose formula means nothing, the answers are the same; an old one is read by it."""
    path = medians_fit.save(tmp_path / "fit.nc")
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        groups = {str(name): node.to_dataset().load() for name, node in tree.children.items()}
        attrs = {str(name): str(value) for name, value in tree.attrs.items()}
    attrs.pop("sha256")
    older = {name: group for name, group in groups.items() if name != "design"}
    assert_same(valuebias.load(write_groups(older, attrs, tmp_path / "old.nc")), medians_fit)
    about = json.loads(groups["design"]["about"].item()) | {"formula": "~ ((", "fixed": "~ (("}
    groups["design"] = groups["design"].assign(about=json.dumps(about))
    attrs["ablation"] = json.dumps(json.loads(attrs["ablation"]) | {"formula": "~ (("})
    loaded = valuebias.load(write_groups(groups, attrs, path))
    assert isinstance(loaded, AblationFit)
    pd.testing.assert_frame_equal(loaded.gaps(), medians_fit.gaps(), check_exact=True)
    pd.testing.assert_frame_equal(
        loaded.closing_point(), medians_fit.closing_point(), check_exact=True
    )


def test_what_is_no_saved_ablation_is_refused(hostile_fit: AblationFit, tmp_path: Path) -> None:
    path = hostile_fit.save(tmp_path / "fit.nc")
    with pytest.raises(ValueBiasError, match=r"read it with valuebias\.load"):
        Fit.load(path)
    with pytest.raises(ValueBiasError, match=r"saved as \.nc or \.zarr"):
        hostile_fit.save(tmp_path / "fit.pickle")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueBiasError, match="cannot be read"):
        valuebias.load(path)


def test_a_changed_setting_is_noticed(hostile_fit: AblationFit, tmp_path: Path) -> None:
    import h5py

    path = hostile_fit.save(tmp_path / "fit.nc")
    with h5py.File(path, "r+") as file:
        file.attrs["ablation"] = file.attrs["ablation"].replace('"signed"', '"positive"')
    with pytest.raises(ValueBiasError, match="differ from their SHA-256"):
        valuebias.load(path)


def test_plain_fits_within_are_saved_as_such(hostile_fit: AblationFit, tmp_path: Path) -> None:
    assert hostile_fit.fit is not None
    loaded = Fit.load(hostile_fit.fit.save(tmp_path / "fit.nc"))
    np.testing.assert_array_equal(
        loaded.tree["posterior"]["sd"], hostile_fit.fit.tree["posterior"]["sd"]
    )
