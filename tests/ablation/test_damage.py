"""Studies whose files were damaged: each is named, and made again alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_models
import xarray as xr
from damages import DAMAGES, cut
from tiny_studies import bases, files, pairs, study

import valuebias
from valuebias import ValueBiasWarning
from valuebias.ablation import Study

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bases(tmp_path_factory.mktemp("bases"))


def heads(folder: Path) -> Study:
    return study(
        folder, tuning="head", training=None, n_pairs=[8, 16], sources={"plain": pairs(40)}
    )


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    out = tmp_path_factory.mktemp("heads") / "out"
    return out, heads(folder).run(out, progress=False)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["features/*.npy", "heads/*.npz"])
def test_what_is_damaged_is_made_again_alone(
    folder: Path, made: tuple[Path, xr.Dataset], tmp_path: Path, what: str, damage: str
) -> None:
    out = Path(shutil.copytree(made[0], tmp_path / "out"))
    assert valuebias.check(out).is_whole
    bad = sorted(out.glob(what))[0]
    DAMAGES[damage](bad)
    before = files(out)
    if damage == "delete":
        again = heads(folder).run(out, progress=False)
    else:
        found = valuebias.check(out)
        assert [(piece.file, piece.state) for piece in found.pieces] == [
            (str(bad.relative_to(out)), "damaged")
        ]
        assert "valuebias ablate" in found.pieces[0].advice
        with pytest.warns(ValueBiasWarning, match=f"{bad.name}.*again"):
            again = heads(folder).run(out, progress=False)
    after = files(out)
    assert {path for path in after if after[path] != before.get(path)} == {bad}
    xr.testing.assert_identical(again.drop_attrs(), made[1].drop_attrs())
    assert valuebias.check(out).is_whole


@pytest.mark.parametrize("what", ["features/*.npy", "heads/*.npz"])
def test_what_lies_in_another_place_is_made_again(
    folder: Path, made: tuple[Path, xr.Dataset], tmp_path: Path, what: str
) -> None:
    """A whole file of another run, head or base is not this one's."""
    out = Path(shutil.copytree(made[0], tmp_path / "out"))
    one, other = sorted(out.glob(what))[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    found = valuebias.check(out)
    assert {(piece.file, piece.state) for piece in found.pieces} == {
        (str(path.relative_to(out)), "damaged") for path in (one, other)
    }
    with pytest.warns(ValueBiasWarning, match="again"):
        again = heads(folder).run(out, progress=False)
    xr.testing.assert_identical(again.drop_attrs(), made[1].drop_attrs())
    assert valuebias.check(out).is_whole


def test_features_of_an_earlier_version_are_read_and_said_to_have_no_sums(
    folder: Path, made: tuple[Path, xr.Dataset], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(made[0], tmp_path / "out"))
    for file in out.glob("features/*.npy"):
        # A plain file of numpy's.
        file.write_bytes(file.read_bytes()[: -len(b"valuebias-sha256") - 32])
    before = files(out)
    again = heads(folder).run(out, progress=False)
    assert files(out) == before
    xr.testing.assert_identical(again.drop_attrs(), made[1].drop_attrs())
    found = valuebias.check(out)
    assert found.is_whole
    assert {file for file, _ in found.unsummed} == {
        str(path.relative_to(out)) for path in out.glob("features/*.npy")
    }
    cut(sorted(out.glob("features/*.npy"))[0])
    with pytest.warns(ValueBiasWarning, match="computed again"):
        again = heads(folder).run(out, progress=False)
    xr.testing.assert_identical(again.drop_attrs(), made[1].drop_attrs())


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    pytest.importorskip("trl", reason="trl is not installed")
    pytest.importorskip("peft", reason="peft is not installed")
    out = tmp_path_factory.mktemp("trained") / "out"
    return out, study(folder, n_pairs=[24]).run(out, progress=False)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["step-*.npz", "done.json"])
def test_of_a_trained_cell_only_what_is_damaged_is_made_again(
    folder: Path, trained: tuple[Path, xr.Dataset], tmp_path: Path, what: str, damage: str
) -> None:
    out = Path(shutil.copytree(trained[0], tmp_path / "out"))
    bad = sorted(out.glob(f"runs/*/{what}"))[0]
    DAMAGES[damage](bad)
    before = files(out)
    if damage == "delete":
        again = study(folder, n_pairs=[24]).run(out, progress=False)
    else:
        found = valuebias.check(out)
        assert [(piece.file, piece.state) for piece in found.pieces] == [
            (str(bad.relative_to(out)), "damaged")
        ]
        with pytest.warns(ValueBiasWarning, match=bad.name):
            again = study(folder, n_pairs=[24]).run(out, progress=False)
    after = files(out)
    # That training is over is said anew each time that there was training.
    assert {path.name for path in after if after[path] != before.get(path)} == {
        bad.name, "done.json",
    }  # fmt: skip
    xr.testing.assert_identical(again.drop_attrs(), trained[1].drop_attrs())
    assert valuebias.check(out).is_whole
