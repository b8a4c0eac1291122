"""A file under another format's name is named as what it is; one that is replaced is read anew."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

import valuebias
from valuebias import ValueBiasError
from valuebias.datasets.simulate import simulate

FORMS = ("nc", "zarr", "parquet", "csv")


@pytest.mark.once
@pytest.mark.parametrize("held", FORMS)
@pytest.mark.parametrize("named", FORMS)
def test_what_is_named_after_another_format_is_said_to_be_what_it_is(
    tmp_path: Path, held: str, named: str
) -> None:
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=4, seed=1)
    path = valuebias.write(ds, tmp_path / f"x.{held}")
    if held == named:
        assert valuebias.read(path).identical(ds)
        return
    copy = tmp_path / f"y.{named}"
    (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
    for read in (valuebias.read, valuebias.check):
        with pytest.raises(ValueBiasError, match=rf"call it 'y\.{held}' again"):
            read(copy)
    advised = copy.rename(tmp_path / f"y.{held}")
    if held == "csv":
        assert valuebias.read(advised, kind=ds.attrs["kind"]).sizes == ds.sizes
    else:
        assert valuebias.read(advised).identical(ds)


def test_a_folder_that_is_no_zarr_is_called_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x.nc").mkdir()
    with pytest.raises(ValueBiasError, match="it is a folder"):
        valuebias.read(tmp_path / "x.nc")


@pytest.mark.once
@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_replaced_while_it_is_read_is_the_old_or_the_new(
    tmp_path: Path, form: str
) -> None:
    short = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=4, seed=1)
    long = simulate(n_models={"A": 2, "B": 3}, n_prompts=4, n_words=40, seed=2)
    path = valuebias.write(short, tmp_path / f"x.{form}")
    done = threading.Event()

    def replace() -> None:
        for i in range(10):
            valuebias.write((long, short)[i % 2], path)
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    n_read = 0
    while not done.is_set():
        ds = valuebias.read(path)
        assert ds.identical(short) or ds.identical(long)
        n_read += 1
    writer.join()
    assert n_read
