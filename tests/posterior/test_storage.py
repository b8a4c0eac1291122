"""Saved fits: the same answers from both formats, and damage told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias._core.text import unescape
from valuebias.datasets.simulate import simulate
from valuebias.posterior.saved import fit_groups, write_groups


def made(**given: object) -> valuebias.Fit:
    size = {"n_models": {"Gemma": 2, "Llama": 3}, "n_prompts": 6, "n_words": 14, "seed": 1}
    ds = simulate(**{**size, **given})  # type: ignore[arg-type]
    prior = {"sd": {"word": 0.7}, "effect": 0.4}
    return valuebias.fit(
        ds, "~ family", prior=prior, draws=20, tune=20, chains=2, seed=5, progress=False
    )


@pytest.fixture(scope="module")
def fits() -> dict[str, valuebias.Fit]:
    return {"complete": made(), "incomplete": made(missing=0.1)}


@pytest.mark.parametrize("path", ["complete", "incomplete"])
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_saved_fit_gives_the_same_answers(
    fits: dict[str, valuebias.Fit], tmp_path: Path, suffix: str, path: str
) -> None:
    fit = fits[path]
    target = fit.save(tmp_path / f"fit{suffix}")
    assert [entry.name for entry in tmp_path.iterdir()] == [f"fit{suffix}"]
    loaded = valuebias.load(target)
    assert dict(loaded.settings) == json.loads(json.dumps(dict(fit.settings)))
    assert loaded.prior == fit.prior
    assert loaded.provenance == fit.provenance
    xr.testing.assert_identical(loaded.data, fit.data)
    for name in fit.tree.children:
        xr.testing.assert_equal(loaded.tree[name].to_dataset(), fit.tree[name].to_dataset())
    pd.testing.assert_frame_equal(loaded.contrasts(), fit.contrasts())
    pd.testing.assert_frame_equal(loaded.models(), fit.models())
    pd.testing.assert_frame_equal(loaded.words(), fit.words())
    pd.testing.assert_frame_equal(loaded.draws(), fit.draws())
    assert loaded.loo(draws=5).elpd == fit.loo(draws=5).elpd
    assert str(loaded.headline()) == str(fit.headline())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_saving_replaces_and_a_loaded_fit_can_be_saved(
    fits: dict[str, valuebias.Fit], tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"fit{suffix}"
    fits["incomplete"].save(target)
    fits["complete"].save(target)
    loaded = valuebias.load(target)
    loaded.save(target)
    pd.testing.assert_frame_equal(valuebias.load(target).contrasts(), loaded.contrasts())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_others_find_leans_contrasts_and_draws_in_their_units(
    fits: dict[str, valuebias.Fit], tmp_path: Path, suffix: str
) -> None:
    fit = fits["complete"]
    with xr.open_datatree(fit.save(tmp_path / f"fit{suffix}")) as tree:
        group = tree["estimands"].to_dataset().load()
    table = fit.contrasts()
    for name in ("mean", "lower", "upper", "p_direction", "rhat"):
        np.testing.assert_array_equal(group[name], table[name])
    assert group["kind"].values.tolist() == table["estimand"].tolist()
    first = "family difference | Gemma - Llama | signed | agency - communion"
    assert (group["label"].values[0], group["drawn_label"].values[0]) == (first, first)
    assert group["units"].item() == table.attrs["units"] == group["mean"].attrs["units"]
    assert group["rhat"].attrs["units"] == "1"
    drawn = group["drawn_label"].values.tolist()
    assert [label.split(" | ")[1] for label in drawn] == [
        "Gemma - Llama", "Gemma", "Llama", "all models",
    ]  # fmt: skip
    own = fit.draws(format="draws_df")[drawn].to_numpy()
    np.testing.assert_allclose(group["draws"].to_numpy().reshape(own.shape), own, rtol=1e-6)
    np.testing.assert_allclose(own[:, 1] - own[:, 2], own[:, 0])
    assert "estimands" not in valuebias.load(tmp_path / f"fit{suffix}").tree.children


def test_what_others_read_is_under_the_checksum_and_small(tmp_path: Path) -> None:
    fit = valuebias.fit(simulate(seed=1), draws=500, chains=2, seed=1, progress=False)
    groups, attrs = fit_groups(fit)
    without = write_groups(groups, attrs, tmp_path / "without.nc")
    saved = fit.save(tmp_path / "fit.nc")
    assert saved.stat().st_size < 1.1 * without.stat().st_size
    # The file without them, such as an earlier version's, reads as before.
    pd.testing.assert_frame_equal(valuebias.load(without).contrasts(), fit.contrasts())
    with h5py.File(saved, "r+") as file:
        file["estimands/mean"][0] += 0.1
    with pytest.raises(ValueBiasError, match="differ from their SHA-256"):
        valuebias.load(saved)


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_one_framing_and_odd_names_survive(tmp_path: Path, suffix: str) -> None:
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=6, n_words=8, seed=1)
    words = ["<script>", "=cmd()", "\\input{x}", "😀", "שלום", "\ud800", "a,b", " "]
    ds = ds.isel(prompt=[0, 1, 2]).assign_coords(response=words)
    ds = ds.assign_coords(family=ds["family"].str.replace("A", "Zoë"))
    ds = ds.assign_coords(model=["a − \ud800", "\\", "ö", "d"])
    fit = valuebias.fit(ds, draws=10, tune=10, chains=2, seed=1, progress=False)
    loaded = valuebias.load(fit.save(tmp_path / f"fit{suffix}"))
    assert loaded.data["response"].values.tolist() == words
    with xr.open_datatree(tmp_path / f"fit{suffix}") as tree:
        shown = tree["estimands"]["name"].values.tolist()
    names = {name.replace("B − Zoë", "B - Zoë") for name in fit.contrasts()["name"]}
    assert {unescape(name) for name in shown} == names
    assert names < set(fit.draws()["name"])
    pd.testing.assert_frame_equal(loaded.contrasts(), fit.contrasts())


@pytest.fixture
def saved(fits: dict[str, valuebias.Fit], tmp_path: Path) -> Path:
    return fits["incomplete"].save(tmp_path / "fit.nc")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_told(saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueBiasError, match="damaged, truncated"):
        valuebias.load(saved)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"words": ...}, "its setting 'words' is missing"),
        ({"seed": "1"}, "its setting 'seed' is '1'"),
        ({"draws": True}, "its setting 'draws' is True"),
        ({"formula": None}, "its setting 'formula' is None"),
        ({"contrast": ["a", 2]}, r"its setting 'contrast' is \['a', 2\]"),
        ({"notes": [{"code": "x"}]}, "{'code': 'x'} is not a note"),
        ({"notes": [{"code": "x", "text": "x", "first": 3}]}, "is not a note"),
        ({"notes": [7]}, "7 is not a note"),
        ([], "is missing"),
        (3, "is missing"),
    ],
)
def test_settings_that_no_fit_has_are_told(
    fits: dict[str, valuebias.Fit], tmp_path: Path, changed: object, said: str
) -> None:
    """With the right checksum, as who saved the fit could have made it."""
    groups, attrs = fit_groups(fits["complete"])
    spec = changed
    if isinstance(changed, dict):
        spec = {name: value for name, value in {**json.loads(attrs["spec"]), **changed}.items()
                if value is not ...}  # fmt: skip
    path = write_groups(groups, {**attrs, "spec": json.dumps(spec)}, tmp_path / "fit.nc")
    with pytest.raises(ValueBiasError, match=said):
        valuebias.load(path)


def test_a_flipped_byte_changes_no_answer_unnoticed(saved: Path) -> None:
    content = saved.read_bytes()
    right = valuebias.load(saved).tree
    rng = np.random.default_rng(3)
    told = 0
    for _ in range(12):
        damaged = bytearray(content)
        damaged[int(rng.integers(len(content)))] ^= 0xFF
        saved.write_bytes(bytes(damaged))
        try:
            loaded = valuebias.load(saved)
        except ValueBiasError:
            told += 1
        else:
            xr.testing.assert_identical(loaded.tree, right)
    assert told > 3


def test_a_folder_that_lost_a_chunk_is_told(fits: dict[str, valuebias.Fit], tmp_path: Path) -> None:
    whole = fits["complete"].save(tmp_path / "whole.zarr")
    chunks = ["posterior/sd/0.0.0.0", "posterior/coefficient/0.0.0.0.0", "data/score/0.0.0"]
    for chunk in (*chunks, "posterior", "data"):
        copy = shutil.copytree(whole, tmp_path / "copy.zarr")
        lost = copy / chunk
        assert lost.exists()
        if lost.is_dir():
            shutil.rmtree(lost)
        else:
            lost.unlink()
        with pytest.raises(ValueBiasError, match=r"is missing\. Copy it again"):
            valuebias.load(copy)
        shutil.rmtree(copy)


def test_what_is_no_fit_is_refused(tmp_path: Path) -> None:
    ds = simulate(n_prompts=2, n_words=8, seed=1)
    for suffix in (".nc", ".zarr"):
        path = valuebias.write(ds, tmp_path / f"scores{suffix}")
        with pytest.raises(
            ValueBiasError, match=r"not a saved fit .* are fitted first: .*valuebias.read"
        ):
            valuebias.load(path)
    text = tmp_path / "text.nc"
    text.write_text("hello")
    with pytest.raises(ValueBiasError, match="damaged, truncated or not a saved fit"):
        valuebias.load(text)
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(ValueBiasError, match="it is a folder"):
        valuebias.load(tmp_path / "folder.nc")


def test_paths_that_cannot_be_are_refused(fits: dict[str, valuebias.Fit], tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match="does not exist"):
        valuebias.load(tmp_path / "none.nc")
    with pytest.raises(ValueBiasError, match=r"suffix '.ncc'.*Did you mean '.nc'"):
        valuebias.load(tmp_path / "fit.ncc")
    with pytest.raises(ValueBiasError, match=r"suffix '\.txt'"):
        fits["complete"].save(tmp_path / "fit.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueBiasError, match="not a folder"):
        fits["complete"].save(tmp_path / "file" / "fit.nc")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
