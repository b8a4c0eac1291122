"""What is looked through before files are opened: codecs, types, links and sizes."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning
from valuebias._core.opening.limits import RefusedFileError
from valuebias._core.opening.numpy_files import load_array, load_arrays
from valuebias._core.opening.zarr_folders import check_zarr
from valuebias.datasets.simulate import simulate

REFUSED = RefusedFileError


class Trap:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def scores() -> xr.Dataset:
    return simulate(n_models={"A": 1, "B": 1}, n_prompts=4, n_words=6, seed=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return valuebias.write(scores(), tmp_path / "scores.zarr")


def edited(folder: Path, array: str, **new: Any) -> None:
    path = folder / array / ".zarray"
    path.write_text(json.dumps(json.loads(path.read_text()) | new))


# --- Zarr --------------------------------------------------------------------------------------


def test_a_pickled_chunk_is_never_read(folder: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    objects = {"dtype": "|O", "compressor": None, "fill_value": None}
    edited(folder, "family", **objects, filters=[{"id": "pickle", "protocol": 5}])
    (folder / "family" / "0").write_bytes(pickle.dumps([Trap(trap)]))
    for read in (valuebias.read, valuebias.load):
        with pytest.raises(REFUSED, match="the filter 'pickle'; valuebias opens no others"):
            read(folder)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"filters": [{"id": "json2"}], "dtype": "|O"}, "filter 'json2'"),
        ({"filters": [{"id": "msgpack2"}], "dtype": "|O"}, "filter 'msgpack2'"),
        ({"filters": [{"id": "vlen-array", "dtype": "<i4"}], "dtype": "|O"}, "'vlen-array'"),
        ({"filters": [{"id": "delta", "dtype": "|O", "astype": "<f4"}]}, r"the type '\|O'"),
        ({"compressor": {"id": "imagecodecs_jpeg"}}, "compressor 'imagecodecs_jpeg'"),
        ({"compressor": {"id": "lzma"}}, "compressor 'lzma'"),
        ({"compressor": {"id": ["x"]}}, r"compressor \['x'\]"),
        ({"dtype": "|O"}, r"the type '\|O'"),
        ({"dtype": [["a", "<f4"]]}, "the type"),
        ({"dtype": "|V8"}, "the type"),
        ({"shape": [2, 4]}, "which cannot be"),
        ({"shape": [2, -4, 6]}, "which cannot be"),
        ({"chunks": [0, 4, 6]}, "which cannot be"),
        ({"shape": [True, 4, 6]}, "which cannot be"),
        ({"shape": [10**6, 10**6, 10**6]}, "is cut into 41,666"),
        ({"shape": [10**6, 40, 60], "chunks": [10**6, 40, 60]}, "declares 9 GB"),
        ({"shape": [10**6, 4, 6], "chunks": [1, 1, 1]}, "cut into 24,000,000 chunks"),
        ({"shape": 7}, "cannot be read: it is damaged"),
        ({"zarr_format": 3}, "cannot be read: it is damaged"),
        ({"compressor": []}, "cannot be read: it is damaged"),
    ],
)
def test_what_metadata_may_not_say(folder: Path, new: dict[str, Any], said: str) -> None:
    edited(folder, "score", **new)
    tracemalloc.start()
    with pytest.raises(REFUSED, match=said) as error:
        valuebias.read(folder)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert len(str(error.value)) < 700


def test_a_chunk_that_unpacks_to_more_is_refused(folder: Path) -> None:
    import numcodecs

    bomb = np.zeros(2 * 1024**2, dtype=np.float32)
    for codec in (numcodecs.Blosc(), numcodecs.Zstd(), numcodecs.LZ4()):
        edited(folder, "score", compressor=codec.get_config())
        for chunk in ("0.0.0", "1.0.0"):
            (folder / "score" / chunk).write_bytes(codec.encode(bomb))
        with pytest.raises(REFUSED, match=r"chunk, 'score/[01].0.0', that unpacks to a greater"):
            valuebias.read(folder)
    (folder / "score" / "0.0.0").write_bytes(b"nothing of zstd's")
    edited(folder, "score", compressor={"id": "zstd"})
    with pytest.raises(REFUSED, match="that unpacks to another length"):
        valuebias.read(folder)


@pytest.mark.parametrize("size", [1, 200, 255, 256, 300, 65_791, 65_792, 100_000])
@pytest.mark.parametrize("name", ["blosc", "zstd", "lz4"])
def test_the_length_of_a_chunk_is_read_rightly(size: int, name: str, tmp_path: Path) -> None:
    """Data that these codecs have packed are read: neither more nor less is said."""
    import zarr

    codec = {"blosc": {"cname": "zstd"}, "zstd": {"level": 3}, "lz4": {}}[name]
    import numcodecs

    values = np.random.default_rng(size).integers(0, 9, size).astype(np.uint8)
    array = zarr.create_array(
        tmp_path / "a.zarr", data=values, chunks=(size,), zarr_format=2,
        compressors=numcodecs.get_codec({"id": name, **codec}), filters=None,
    )  # fmt: skip
    check_zarr(tmp_path / "a.zarr")
    header = tmp_path / "a.zarr" / ".zarray"
    header.write_text(json.dumps(json.loads(header.read_text()) | {"chunks": [size - 1 or 1]}))
    if size > 1:
        with pytest.raises(REFUSED, match="a greater length"):
            check_zarr(tmp_path / "a.zarr")
    assert array.shape == (size,)


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_folder_holds_files_only(folder: Path) -> None:
    os.mkfifo(folder / "score" / "1.0.0.pipe")
    with pytest.raises(REFUSED, match="neither a file nor a folder"):
        valuebias.read(folder)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_folder_where_a_chunk_belongs(tmp_path: Path, zarr_format: Any, nested: bool) -> None:
    """Zarr would read empty texts there, and zeros; the other way round likewise."""
    at = tmp_path / "own.zarr"
    separator = "/" if nested else "."
    array = zarr.create_array(
        at / "x", shape=(4, 4), chunks=(2, 2), dtype="i4", zarr_format=zarr_format,
        chunk_key_encoding={"name": "v2" if zarr_format == 2 else "default",
                            "separator": separator},
    )  # fmt: skip
    array[:] = np.arange(1, 17).reshape(4, 4)
    check_zarr(at)
    chunk = next(path for path in at.rglob("*1") if path.is_file())
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(REFUSED, match="as a folder, where a file belongs"):
        check_zarr(at)
    chunk.rmdir()
    check_zarr(at)
    if nested:
        (at / "x" / ("7" if zarr_format == 2 else "c/7")).write_bytes(b"numbers")
        with pytest.raises(REFUSED, match="as a file, where a folder belongs"):
            check_zarr(at)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_an_array_that_is_lost(tmp_path: Path, zarr_format: Any, consolidated: bool) -> None:
    """Of a folder that others wrote: Zarr would leave the array out, or read it as empty."""
    at = tmp_path / "own.zarr"
    scores().to_zarr(at, zarr_format=zarr_format, consolidated=consolidated)
    whole = valuebias.read(at)
    metadata = at / "superlative" / (".zarray" if zarr_format == 2 else "zarr.json")
    content = metadata.read_bytes()
    metadata.unlink()
    with pytest.raises(REFUSED, match="tell of the array" if consolidated else "without metadata"):
        valuebias.read(at)
    metadata.write_bytes(content)
    assert valuebias.read(at).identical(whole)
    for chunk in [path for path in (at / "n_params").rglob("[0c]") if path.is_file()]:
        chunk.unlink()
    with pytest.warns(ValueBiasWarning, match="no file with the values of 'n_params'"):
        assert np.isnan(valuebias.read(at)["n_params"]).all()
    shutil.rmtree(at / "superlative")
    if consolidated:
        with pytest.raises(REFUSED, match="tell of the array"):
            valuebias.read(at)
        zarr.consolidate_metadata(at)
        assert "superlative" not in valuebias.read(at)


def test_folders_without_end(folder: Path) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    with pytest.raises(REFUSED, match="without end"):
        valuebias.read(folder)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("text", [object, "U"])
def test_what_xarray_writes_is_read(tmp_path: Path, zarr_format: Any, text: Any) -> None:
    ds = scores()
    ds = ds.assign_coords(family=ds["family"].astype(text))
    ds.to_zarr(tmp_path / "x.zarr", zarr_format=zarr_format)
    xr.testing.assert_equal(valuebias.read(tmp_path / "x.zarr"), scores())


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("new", "said"),
    [
        ({"codecs": [{"name": "numcodecs.pickle"}]}, "codec 'pickle'"),
        ({"codecs": [{"name": "sharding_indexed"}]}, "codec"),
        ({"codecs": ["bytes", "zstd", "gzip"]}, "one compressor"),
        ({"data_type": {"name": "struct", "configuration": {}}}, "of the type"),
        ({"data_type": "variable_length_bytes"}, "of the type"),
        ({"chunk_grid": {"name": "rectilinear"}}, "chunk grid 'rectilinear'"),
        ({"storage_transformers": [{"name": "x"}]}, "storage transformer"),
        ({"shape": [10**9, 4, 6]}, "cut into 500,000,000"),
    ],
)
def test_what_metadata_of_format_3_may_not_say(
    tmp_path: Path, new: dict[str, Any], said: str
) -> None:
    path = tmp_path / "x.zarr"
    scores().to_zarr(path, zarr_format=3, consolidated=True)
    header = path / "score" / "zarr.json"
    whole = header.read_text()
    header.write_text(json.dumps(json.loads(whole) | new))
    with pytest.raises(REFUSED, match=said):
        valuebias.read(path)
    # What is gathered in the group's own file counts alike.
    header.write_text(whole)
    gathered = json.loads((path / "zarr.json").read_text())
    gathered["consolidated_metadata"]["metadata"]["score"] |= new
    (path / "zarr.json").write_text(json.dumps(gathered))
    if "shape" not in new:
        with pytest.raises(REFUSED, match=said):
            valuebias.read(path)


def test_deep_and_broken_metadata(folder: Path) -> None:
    for text in ("[" * 100_000, "{", "", "[]", '"x"', '{"zarr_format": 2}'):
        (folder / "score" / ".zarray").write_text(text)
        with pytest.raises(ValueBiasError, match="cannot be read: it is damaged"):
            valuebias.read(folder)


# --- netCDF ------------------------------------------------------------------------------------


@pytest.fixture
def netcdf(tmp_path: Path) -> Path:
    return valuebias.write(scores(), tmp_path / "scores.nc")


Edit = Callable[[h5py.File], Any]


def replaced(file: h5py.File, **how: Any) -> None:
    del file["family"]
    file.create_dataset("family", **how)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda f: f.create_dataset("x", data=np.zeros(2, dtype="V8")), "of the type"),
        (lambda f: replaced(f, data=np.zeros(2, dtype=[("a", "f4")])), "of the type"),
        (lambda f: f.create_dataset("x", (2,), dtype=h5py.vlen_dtype(np.int32)), "of the type"),
        (lambda f: f.create_dataset("x", (2,), dtype=h5py.ref_dtype), "of the type"),
        (lambda f: f.create_dataset("x", (2,), dtype="c16"), "of the type 'complex128'"),
        (lambda f: f.__setitem__("t", np.dtype("f4")), "defines a type of its own, 't'"),
        (lambda f: f.__setitem__("s", h5py.SoftLink("/score")), "has a link, 's'"),
        (lambda f: f.__setitem__("e", h5py.ExternalLink("a.nc", "/")), "has a link, 'e'"),
        (lambda f: f.create_group("g").__setitem__("again", f["/"]), "without end"),
        (
            lambda f: f.create_dataset("x", (4,), "f4", external=[("secret.bin", 0, 16)]),
            "that lie in another file",
        ),
        (
            lambda f: f.create_dataset("x", (4,), "f4", chunks=(4,), compression="lzf"),
            "HDF5's filter 32000",
        ),
        (lambda f: f.create_dataset("x", (10**12,), "f8", chunks=(1000,)), "declares|pieces"),
        (lambda f: f.create_dataset("x", (10**7,), "f4", chunks=(1,)), "1,000,000 pieces"),
        (
            lambda f: f.create_dataset("x", (1,), "f8", chunks=(5 * 10**8,), maxshape=(None,)),
            "declares 4 GB",
        ),
        (lambda f: f["score"].attrs.__setitem__("c", np.zeros(1, "c16")), "attribute 'c'"),
    ],
)
def test_what_a_netcdf_file_may_not_hold(netcdf: Path, edit: Edit, said: str) -> None:
    with h5py.File(netcdf, "r+") as file:
        edit(file)
    for read in (valuebias.read, valuebias.load):
        with pytest.raises(REFUSED, match=said):
            read(netcdf)


def test_one_text_named_a_thousand_times(tmp_path: Path) -> None:
    """A file holds a text once and points to it any number of times."""
    path = tmp_path / "x.nc"
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (20_000,), text)
        data[0] = 1024**2 * "x"
    content = path.read_bytes()
    with h5py.File(path, "r") as file:
        start = file["x"].id.get_offset()
    pointer = content[start : start + 16]
    content = content[:start] + 20_000 * pointer + content[start + 320_000 :]
    path.write_bytes(content)
    with pytest.raises(REFUSED, match="declares"):
        valuebias.read(path)


def test_what_was_written_is_compared_before_it_is_opened(netcdf: Path) -> None:
    """All of it: bits anywhere, what is cut off anywhere, and what is added."""
    content = netcdf.read_bytes()
    for place in range(0, len(content) - 48, 997):
        changed = bytearray(content)
        changed[place] ^= 16
        netcdf.write_bytes(changed)
        with pytest.raises(ValueBiasError, match="does not hold what was written"):
            valuebias.read(netcdf)
    for end in (47, 40, 32, 10, 1):
        netcdf.write_bytes(content[:-end])
        with pytest.raises(ValueBiasError, match="copied in part"):
            valuebias.read(netcdf)
    # Without its sum it is as earlier versions wrote it; whoever edits it by HDF5 cuts that off.
    netcdf.write_bytes(content[:-48])
    ds = valuebias.read(netcdf)
    netcdf.write_bytes(content)
    with h5py.File(netcdf, "r+") as file:
        del file.attrs["valuebias_sha256"]
    xr.testing.assert_identical(valuebias.read(netcdf), ds)


def test_texts_that_do_not_follow_one_another_are_not_opened(netcdf: Path) -> None:
    content = bytearray(netcdf.read_bytes()[:-48])
    heap = content.find(b"GCOL")
    # The length of the first text, which would then reach beyond the heap.
    content[heap + 24 : heap + 32] = (2**40).to_bytes(8, "little")
    netcdf.write_bytes(content)
    with pytest.raises(REFUSED, match="do not follow one another"):
        valuebias.read(netcdf)


@pytest.mark.parametrize("chunks", [None, (4,)])
def test_a_text_longer_than_its_file(tmp_path: Path, chunks: tuple[int] | None) -> None:
    path = tmp_path / "x.nc"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", (8,), h5py.string_dtype(), chunks=chunks)
        data[:] = "text"
    content = bytearray(path.read_bytes())
    with h5py.File(path, "r") as file:
        of = file["x"].id
        start = of.get_offset() if chunks is None else of.get_chunk_info(1).byte_offset
    content[start + 18] = 2  # the length of the second text: 131,076 bytes
    path.write_bytes(content)
    with pytest.raises(REFUSED, match="has a text in '/x' longer than itself"):
        valuebias.read(path)


def test_what_is_plain_is_read(tmp_path: Path) -> None:
    ds = scores()
    path = tmp_path / "plain.nc"
    ds.to_netcdf(path, engine="h5netcdf")
    xr.testing.assert_equal(valuebias.read(path), ds)


# --- numpy -------------------------------------------------------------------------------------


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    out = io.BytesIO()
    about = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, about)
    return out.getvalue()


def test_pickled_arrays_are_never_read(tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    np.save(tmp_path / "x.npy", np.array([Trap(trap)], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=np.array([Trap(trap)], dtype=object))
    with pytest.raises(REFUSED, match="pickled can run any code"):
        load_array(tmp_path / "x.npy")
    with pytest.raises(REFUSED, match="pickled can run any code"):
        load_arrays(tmp_path / "x.npz", ["x"])
    with pytest.raises(REFUSED, match="pickled can run any code"):
        valuebias.ablation.Head.load(_as_head(tmp_path, trap))
    assert not trap.exists()


def _as_head(folder: Path, trap: Path) -> Path:
    from dataclasses import fields

    names = [field.name for field in fields(valuebias.ablation.Head)]
    path = folder / "head.npz"
    np.savez(path, **{name: np.array([Trap(trap)], dtype=object) for name in names})
    return path


def test_declared_shapes_are_held_against_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for shape in ((10**12,), (10**6, 10**6, 10**6), (3,)):
        path.write_bytes(header(shape) + bytes(16))
        with pytest.raises(REFUSED, match="is only 144 bytes long"):
            load_array(path)
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("x.npy", header(shape) + bytes(16))
        with pytest.raises(REFUSED, match="is only 144 bytes long"):
            load_arrays(tmp_path / "x.npz", ["x"])


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    values = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(["x", "yz"]), "c": np.array(7)}
    np.savez_compressed(tmp_path / "x.npz", **values)
    for name, found in load_arrays(tmp_path / "x.npz", values).items():
        np.testing.assert_array_equal(found, values[name])
    np.save(tmp_path / "x.npy", values["a"])
    np.testing.assert_array_equal(load_array(tmp_path / "x.npy"), values["a"])
    with pytest.raises(ValueBiasError, match="does not hold what was expected"):
        load_arrays(tmp_path / "x.npz", ["d"])
