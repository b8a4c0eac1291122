"""``valuebias.check``: everything that is damaged is named, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import xarray as xr
import zarr
from damages import DAMAGES, flip
from naive_backend import NaiveBackend
from stores import unseal
from typer.testing import CliRunner

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.cli.app import app
from valuebias.datasets.simulate import simulate

LACKING = tiny_models.missing()
scoring = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
WORDS = ["love", "power", "trust"]
PROMPTS = {
    "best": {"text": "What is good?", "framing": "positive"},
    "worst": {"text": "What is bad?", "framing": "negative"},
}
FORMATS = ["zarr", "nc", "parquet", "csv"]


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each kind, as they were written."""
    folder = tmp_path_factory.mktemp("source")
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=8, seed=1)
    for suffix in FORMATS:
        valuebias.write(ds, folder / "sets" / f"scores.{suffix}")
    fit = valuebias.fit(ds, draws=20, tune=40, chains=2, seed=1, progress=False)
    for suffix in ("nc", "zarr"):
        fit.save(folder / f"fit.{suffix}")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    folder = tmp_path_factory.mktemp("models")
    return [
        Model(str(tiny_models.tiny("llama", "logprob", folder / name, seed=seed)), name=name,
              family="A", base="b")
        for seed, name in enumerate(("one", "two"))
    ]  # fmt: skip


def score(models: list[Model], store: Path, **more: Any) -> Any:
    given: dict[str, Any] = {"prompts": PROMPTS, "lexicon": WORDS, "kind": "logprob"}
    return valuebias.score(
        models, store=store, backend=NaiveBackend, progress=False, **given | more
    )


@pytest.fixture(scope="module")
def stores(models: list[Model], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    if LACKING is None:
        score(models, folder / "words.zarr")
        score(models, folder / "tokens.zarr", lexicon="vocabulary")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def named(path: Path) -> list[tuple[str, str]]:
    return [(piece.file, piece.state) for piece in valuebias.check(path).pieces]


def test_what_is_whole_is_said_to_be(source: Path) -> None:
    found = valuebias.check(source)
    assert found.is_whole
    assert not found.unsummed
    assert not found.notes
    assert found.to_frame().empty
    everything = [path for path in source.rglob("*") if path.is_file()]
    assert found.n_files == len(everything)
    assert found.n_bytes == sum(path.stat().st_size for path in everything)
    told = run("check", source)
    assert told.exit_code == 0
    assert "as they were written" in told.output


@pytest.mark.parametrize("name", ["sets/scores.nc", "sets/scores.parquet", "fit.nc"])
def test_a_flipped_bit_is_named_wherever_it_changes_anything(
    source: Path, tmp_path: Path, name: str
) -> None:
    place = tmp_path / Path(name).name
    whole = (source / name).read_bytes()
    read: Callable[[Path], Any] = valuebias.load if name == "fit.nc" else valuebias.read
    good = read(source / name)
    told = 0
    # These formats have bytes that mean nothing.
    for at in np.linspace(0, len(whole) - 1, 15).astype(int):
        content = bytearray(whole)
        content[at] ^= 1
        place.write_bytes(content)
        pieces = valuebias.check(place).pieces
        told += bool(pieces)
        if pieces:
            assert [(piece.file, piece.state) for piece in pieces] == [(place.name, "damaged")]
            with pytest.raises(ValueBiasError):
                read(place)
        elif name == "fit.nc":
            assert read(place).tree.identical(good.tree)
        else:
            xr.testing.assert_identical(read(place), good)
    assert told > 3


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [
        (suffix, damage)
        for suffix in ("nc", "parquet", "csv", "csv.json")
        for damage in DAMAGES
        if damage != "flip" or suffix.startswith("csv")
    ],
)
def test_a_damaged_file_is_named(source: Path, tmp_path: Path, suffix: str, damage: str) -> None:
    folder = Path(shutil.copytree(source / "sets", tmp_path / "x"))
    bad = folder / f"scores.{suffix}"
    DAMAGES[damage](bad)
    found = named(folder)
    if damage == "delete":
        # Of a table that is gone, its description is left; else nobody knows that there was one.
        assert found == ([("scores.csv", "missing")] if suffix == "csv" else [])
        return
    assert found == [(bad.name.removesuffix(".json"), "damaged")]
    (piece,) = valuebias.check(folder / bad.name).pieces
    assert "again" in piece.advice
    with pytest.raises(ValueBiasError):
        valuebias.read(folder / bad.name.removesuffix(".json"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["sets/scores.zarr", "fit.zarr"])
def test_every_file_of_a_folder_is_compared(
    source: Path, tmp_path: Path, what: str, damage: str
) -> None:
    names = [name for name in files(source / what) if name != ".zmetadata"]
    assert len(names) > 10
    # A fit has many, and takes a while to be put together.
    step = 1 if what != "fit.zarr" else 4 if damage == "flip" else len(names) // 10
    names = names[::step]
    for at, name in enumerate(names):
        folder = Path(shutil.copytree(source / what, tmp_path / f"{at}.zarr"))
        DAMAGES[damage](folder / name)
        assert named(folder) == [(name, "missing" if damage == "delete" else "damaged")]
        if what != "fit.zarr" or at % 8 == 0:
            with pytest.raises(ValueBiasError):
                (valuebias.load if what == "fit.zarr" else valuebias.read)(folder)


@pytest.mark.parametrize("what", ["sets/scores.zarr", "fit.zarr"])
def test_a_damaged_record_is_named(source: Path, tmp_path: Path, what: str) -> None:
    folder = Path(shutil.copytree(source / what, tmp_path / "x.zarr"))
    flip(folder / ".zmetadata")
    assert named(folder) == [(".zmetadata", "damaged")]


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("lost", ["deleted", "written anew"])
def test_checksums_that_are_lost_are_missed(source: Path, tmp_path: Path, lost: str) -> None:
    def lose(folder: Path) -> None:
        (folder / ".zmetadata").unlink()
        if lost == "written anew":
            # As other programs do.
            zarr.consolidate_metadata(str(folder))

    folder = Path(shutil.copytree(source / "sets" / "scores.zarr", tmp_path / "x.zarr"))
    lose(folder)
    assert named(folder) == [(".zmetadata", "missing" if lost == "deleted" else "damaged")]
    with pytest.raises(ValueBiasError, match="of all else were, is missing or was written"):
        valuebias.read(folder)
    # As the message says.
    (folder / "score" / ".summed").unlink()
    valuebias.read(folder)
    assert valuebias.check(folder).unsummed
    # A fit has a digest beside.
    folder = Path(shutil.copytree(source / "fit.zarr", tmp_path / "fit.zarr"))
    lose(folder)
    valuebias.load(folder)
    assert valuebias.check(folder).is_whole
    flip(next(iter(sorted(folder.glob("posterior/*/0.0*")))))
    assert not valuebias.check(folder).is_whole
    with pytest.raises(ValueBiasError):
        valuebias.load(folder)


@pytest.mark.parametrize("damage", ["cut", "delete"])
def test_a_damaged_fit_is_named(source: Path, tmp_path: Path, damage: str) -> None:
    place = Path(shutil.copy(source / "fit.nc", tmp_path))
    DAMAGES[damage](place)
    if damage == "delete":
        with pytest.raises(ValueBiasError, match="There is no file or folder"):
            valuebias.check(place)
        return
    assert named(place) == [("fit.nc", "damaged")]
    assert "fit again" in valuebias.check(place).pieces[0].advice


def _mark_of(chunk: str) -> str:
    """Name the mark of a chunk, in which its sum is."""
    group, _, name = chunk.rpartition("/")
    block = ".".join(name.split(".")[:3])
    return f"{group.replace('token_logprob', 'score')}/.finished.{block}"


@scoring
@pytest.mark.filterwarnings("ignore:.*is damaged:valuebias.errors.ValueBiasWarning")
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("store", ["words.zarr", "tokens.zarr"])
def test_every_piece_of_a_store_is_named_and_made_again_alone(
    stores: Path, models: list[Model], tmp_path: Path, store: str, damage: str
) -> None:
    vocabulary = {"lexicon": "vocabulary"} if store == "tokens.zarr" else {}
    names = [
        name
        for name in files(stores / store)
        # Without its mark a block is not there; the lock and the records are tried by themselves.
        if not (damage == "delete" and ".finished." in name)
        and not name.endswith((".zgroup", ".zmetadata"))
        # One of each is enough of many alike.
        and (name.startswith((".", "one")) or store == "words.zarr")
    ]
    assert len(names) > 10
    for at, name in enumerate(names):
        place = Path(shutil.copytree(stores / store, tmp_path / f"{at}.zarr"))
        DAMAGES[damage](place / name)
        found = valuebias.check(place)
        (piece,) = found.pieces
        # Of a sum and what it is the sum of, nobody knows which one is damaged.
        assert piece.file == name or (damage, name) == ("flip", _mark_of(piece.file))
        assert piece.state == ("missing" if damage == "delete" else "damaged")
        assert f"--store {str(place)!r}" in piece.advice
    # Of all these the last: as the advice says.
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    score(models, place, **vocabulary)
    assert valuebias.check(place).is_whole
    after = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed == {place / name}
    assert after[place / name] == (stores / store / name).read_bytes()


@scoring
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["score/0.0.0", "score/.finished.1.0.0", "family/0"])
def test_only_what_is_damaged_is_written_again(
    stores: Path, models: list[Model], tmp_path: Path, name: str, damage: str
) -> None:
    store = Path(shutil.copytree(stores / "words.zarr", tmp_path / "x.zarr"))
    when = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    DAMAGES[damage](store / name)
    if damage == "delete" and ".finished." in name:
        assert "1 of 2 blocks" in valuebias.check(store).notes[0]
        score(models, store)
    else:
        with pytest.warns(ValueBiasWarning, match="is damaged"):
            score(models, store)
    assert valuebias.check(store).is_whole
    now = {path: path.stat().st_mtime_ns for path in store.rglob("*") if path.is_file()}
    written = {path.relative_to(store).as_posix() for path in now if now[path] != when.get(path)}
    block = {"score/0.0.0": "0.0.0", "score/.finished.1.0.0": "1.0.0"}.get(name)
    allowed = {name, ".zmetadata", ".zgroup"}
    if block is not None:
        allowed |= {f"score/{block}", f"score/.finished.{block}", f"token_logprob/{block}.0"}
    assert written <= allowed | {".zattrs"}
    assert name in written
    np.testing.assert_array_equal(
        valuebias.read(store)["score"], valuebias.read(stores / "words.zarr")["score"]
    )


@scoring
@pytest.mark.parametrize("what", ["a model", "the prompts", "the words"])
def test_a_block_of_another_store_is_not_taken_for_one_of_this(
    stores: Path, models: list[Model], tmp_path: Path, what: str
) -> None:
    """Of the same shape, at the same place, with the mark that vouches for it."""
    others: dict[str, Any] = {
        "the prompts": {"prompts": {**PROMPTS, "worst": {**PROMPTS["worst"], "text": "Worst?"}}},
        "the words": {"lexicon": ["love", "power", "truth"]},
    }
    other = tmp_path / "other.zarr"
    score(models[::-1] if what == "a model" else models, other, **others.get(what, {}))
    store = Path(shutil.copytree(stores / "words.zarr", tmp_path / "x.zarr"))
    pieces = ("score/0.0.0", "token_logprob/0.0.0.0", "score/.finished.0.0.0")
    for name in pieces:
        shutil.copy(other / name, store / name)

    assert named(store) == [("score/.finished.0.0.0", "damaged")]
    with pytest.raises(ValueBiasError, match="copied from another store"):
        valuebias.read(store)
    with pytest.warns(ValueBiasWarning, match="is damaged: 1 of 1 blocks"):
        score(models, store)
    for name in pieces:
        assert (store / name).read_bytes() == (stores / "words.zarr" / name).read_bytes()

    shutil.copy(other / ".zmetadata", store / ".zmetadata")
    note = "seems to be the record of another store"
    assert note in " ".join(valuebias.check(store).notes)


@scoring
def test_marks_of_earlier_versions_which_name_no_owner_are_read(
    stores: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copytree(stores / "words.zarr", tmp_path / "x.zarr"))
    for mark in store.glob("score/.finished.*"):
        content = json.loads(mark.read_bytes())
        assert len(content.pop("of")) == 64
        mark.write_text(json.dumps(content))
    assert valuebias.check(store).is_whole
    xr.testing.assert_identical(valuebias.read(store), valuebias.read(stores / "words.zarr"))


@scoring
def test_the_scores_of_a_model_that_are_gone_are_named(stores: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(stores / "tokens.zarr", tmp_path / "x.zarr"))
    shutil.rmtree(store / "two")
    assert named(store) == [("two", "missing")]
    flip(store / ".zattrs")
    assert (".zattrs", "damaged") in named(store)


@scoring
def test_of_a_block_it_says_of_which_model(stores: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(stores / "words.zarr", tmp_path / "x.zarr"))
    flip(store / "score" / "1.0.0")
    (piece,) = valuebias.check(store).pieces
    assert piece.reason == "scores of 'two'"
    told = run("check", store)
    assert told.exit_code == 1
    assert "damaged: score/1.0.0 (scores of 'two')" in told.output
    assert "What to do: Run the same `valuebias score" in told.output
    told = run("check", tmp_path / "nowhere.nc", store)
    assert told.exit_code == 1
    assert "no file or folder" in told.stderr
    assert "damaged: score/1.0.0" in told.stdout, "what follows is looked at, too"
    told = run("check", store, "--json")
    assert told.exit_code == 1
    (found,) = json.loads(told.output)
    assert not found["is_whole"]
    assert found["pieces"][0]["file"] == "score/1.0.0"


@scoring
@pytest.mark.parametrize("store", ["words.zarr", "tokens.zarr"])
def test_stores_of_an_earlier_version_say_what_nothing_vouches_for(
    stores: Path, tmp_path: Path, store: str
) -> None:
    place = Path(shutil.copytree(stores / store, tmp_path / "x.zarr"))
    unseal(place)
    found = valuebias.check(place)
    assert found.is_whole
    assert found.unsummed
    assert all("earlier version" in why for _, why in found.unsummed)
    assert "no checksums" in str(found)
    chunk = next(iter(sorted(place.rglob("score/0.0.0"))))
    flip(chunk)
    assert named(place) == [(chunk.relative_to(place).as_posix(), "damaged")]


def _plain_zarr(folder: Path) -> Path:
    place = folder / "x.zarr"
    simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=4, seed=1).to_zarr(
        place, zarr_format=2
    )
    return place


def _plain_table(folder: Path) -> Path:
    place = folder / "x.csv"
    place.write_text("model,prompt,response,score\na,b,c,1\n")
    return place


def _plain_netcdf(folder: Path) -> Path:
    place = folder / "x.nc"
    simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=4, seed=1).to_netcdf(
        place, engine="h5netcdf"
    )
    return place


def _plain_parquet(folder: Path) -> Path:
    import pandas as pd

    pd.DataFrame({"model": ["a"], "score": [1.0]}).to_parquet(folder / "x.parquet")
    return folder / "x.parquet"


@pytest.mark.parametrize("make", [_plain_zarr, _plain_table, _plain_netcdf, _plain_parquet])
def test_what_has_no_checksums_is_said(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    place = make(tmp_path)
    found = valuebias.check(place)
    assert found.is_whole
    assert [file for file, _ in found.unsummed] == [place.name]
    assert "no checksums" in str(found)
    assert run("check", place).exit_code == 0


@pytest.mark.parametrize("name", ["nowhere", "there.txt", "empty", "pipe.zarr"])
def test_what_is_not_ours_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "there.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pipe.zarr").mkdir()
    os.mkfifo(tmp_path / "pipe.zarr" / ".zattrs")
    if name == "pipe.zarr":
        assert not valuebias.check(tmp_path / name).is_whole
        return
    with pytest.raises(ValueBiasError, match=r"There is no|expected|does not check"):
        valuebias.check(tmp_path / name)
    assert run("check", tmp_path / name).exit_code == 1
