"""Tests of valuebias.io and the tidy tables: what is written is what is read, or a clear error."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_disk import small_disk

from valuebias._core.sums import json_sum
from valuebias._core.text import neutralise
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError
from valuebias.io import read, write
from valuebias.schema import build, word_table

SUFFIXES = (".zarr", ".nc", ".parquet", ".csv")
NASTY = [
    "love",
    "=cmd()",
    "+1",
    "-1",
    "@x",
    "\ttab",
    "'tis",
    "''",
    "a,b",
    'quo"te',
    "line\nbreak",
    "cr\rlf\r\n",
    "back\\slash",
    "\\ud83d",
    "NA",
    "nan",
    "null",
    "TRUE",
    "1.0",
    " blank ",
    "עברית",
    "😀",
    "<script>alert(1)</script>",
]
SURROGATES = ["\ud83d", "a\udc00b", "=\ud800"]


def dataset(words: list[str], **changed: Any) -> xr.Dataset:
    rng = np.random.default_rng(len(words))
    score = rng.normal(size=(2, 2, len(words)))
    score[0, 0, 0] = np.nan
    models = pd.DataFrame(
        {
            "family": ["Gemma", "=Llama"],
            "base": ["Gemma 2", "Llama 3"],
            "stage": ["reward", "instruct"],
            "n_params": [2.6e9, np.nan],
            "seed": [1, 2],
            "share": [0.1, np.nan],
            "tuned": [True, False],
            "note": ["", "'x"],
        },
        index=["org/a", "-org/b"],
    )
    table = pd.DataFrame(
        {"text": ["Best?", "=Worst?\n"], "framing": ["positive", "negative"], "step": [3, 4]},
        index=["best", "@worst"],
    )
    member = pd.DataFrame(
        {"=agency": [i % 2 == 0 for i in range(len(words))], "communion": [True] * len(words)},
        index=pd.Index(words, dtype=object),
    )
    given = {"lexicon": member, "kind": "reward", "provenance": {"note": "héé"}, **changed}
    return build(score, models=models, prompts=table, responses=words, **given)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("words", [NASTY, NASTY + SURROGATES], ids=["nasty", "surrogates"])
def test_a_round_trip_loses_nothing(tmp_path: Path, suffix: str, words: list[str]) -> None:
    ds = dataset(words)
    path = write(ds, tmp_path / f"scores{suffix}")
    again = read(path)
    xr.testing.assert_identical(again, ds)
    assert again["score"].dtype == np.float32
    assert {name: c.dtype.kind for name, c in again.coords.items()} == {
        name: c.dtype.kind for name, c in ds.coords.items()
    }
    expected = ["scores.csv", "scores.csv.json"] if suffix == ".csv" else [path.name]
    assert files(tmp_path) == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_dataset_without_categories_and_of_logprobs_survives(tmp_path: Path, suffix: str) -> None:
    ds = dataset(["a", "b"], lexicon=None)
    ds = ds.assign(score=-abs(ds["score"])).assign_attrs(kind="logprob", units="nat", extra="x")
    xr.testing.assert_identical(read(write(ds, tmp_path / f"a{suffix}")), ds)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_read_can_be_selected_from_and_written_again(tmp_path: Path, suffix: str) -> None:
    ds = read(write(dataset(NASTY + SURROGATES), tmp_path / f"a{suffix}"))
    part = ds.isel(model=[1], response=slice(3, 9))
    xr.testing.assert_identical(read(write(part, tmp_path / f"a{suffix}")), part)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_coords_on_response_survive(tmp_path: Path, suffix: str) -> None:
    ds = dataset(["a", "b", "c"]).assign_coords(
        token_id=("response", [5, 6, 7]),
        shown=("response", ["A", "=B", "\ud800"]),
        frequency=("response", [0.1, np.nan, 0.1]),
        valence=("response", np.array([1, -2, 0.3], dtype=np.float32)),
        concrete=("response", [True, False, True]),
        nothing=("response", ["", "", ""]),
        # What a table cannot tell from a coord on model or prompt by its values alone.
        constant=("response", [2, 2, 2]),
    )
    again = read(write(ds, tmp_path / f"a{suffix}"))
    xr.testing.assert_identical(again, ds)
    assert word_table(again).dtypes.to_dict() == word_table(ds).dtypes.to_dict()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_unknown_base_stays_unknown(tmp_path: Path, suffix: str) -> None:
    ds = dataset(["a", "b"])
    ds = ds.assign_coords(base=("model", ["", "org/lm-2b"]))
    xr.testing.assert_identical(read(write(ds, tmp_path / f"a{suffix}")), ds)


words_of_any_kind = st.lists(
    st.text(st.characters(exclude_characters="\0", exclude_categories=()), min_size=1, max_size=5)
    | st.text(st.sampled_from("=+-@'\\ud8\t\r\n,\"\ud800"), min_size=1, max_size=4),
    min_size=2,
    max_size=6,
    unique=True,
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=words_of_any_kind)
def test_any_words_survive(tmp_path: Path, suffix: str, words: list[str]) -> None:
    ds = dataset(words)
    xr.testing.assert_identical(read(write(ds, tmp_path / f"fuzz{suffix}")), ds)


def test_numbers_survive_to_the_last_bit(tmp_path: Path) -> None:
    ds = simulate(n_models={"A": 2}, n_prompts=6, n_words=200, missing=0.1, seed=4)
    for suffix in SUFFIXES:
        again = read(write(ds, tmp_path / f"a{suffix}"))
        np.testing.assert_array_equal(
            again["score"].values.view(np.uint32), ds["score"].values.view(np.uint32)
        )


# --- what others see -------------------------------------------------------------------------


def test_a_csv_has_every_text_as_it_is(tmp_path: Path) -> None:
    words = [word for word in NASTY if "\0" not in word]
    table = pd.read_csv(write(dataset(words), tmp_path / "a.csv"), dtype=str, keep_default_na=False)
    assert set(table["response"]) == set(words) >= {"=cmd()"}
    assert {"@worst"} < set(table["prompt"])
    assert "category.=agency" in table


def test_a_csv_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    ds = dataset(NASTY)
    path, side = write(ds, tmp_path / "a.csv"), tmp_path / "a.csv.json"
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    numbers = [name in ("score", "n_params", "seed", "share", "step") for name in header]
    rows = [
        [cell if plain else neutralise(cell) for cell, plain in zip(row, numbers, strict=True)]
        for row in [header, *rows]
    ]
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)
    about = json.loads(side.read_text()) | {"neutralised": True}
    del about["sum"]
    side.write_text(json.dumps(about))
    xr.testing.assert_identical(read(path), ds)


def test_a_tidy_table_reads_as_usual_elsewhere(tmp_path: Path) -> None:
    ds = dataset(["win", "love"])
    parquet = pd.read_parquet(write(ds, tmp_path / "a.parquet"))
    text = pd.read_csv(write(ds, tmp_path / "a.csv"), keep_default_na=False, na_values=[""])
    for table in (parquet, text):
        assert len(table) == ds["score"].size
        assert table["score"].isna().sum() == 1
        assert list(table.columns[:4]) == ["model", "prompt", "response", "score"]
        assert table["category.communion"].all()
        row = table[(table["prompt"] == "best") & (table["response"] == "love")].iloc[0]
        assert row["score"] == pytest.approx(
            float(ds["score"].sel(model="org/a", prompt="best", response="love"))
        )


def tidy_rows() -> pd.DataFrame:
    """Make a table as a user would in R: no metadata, rows in any order, one row missing."""
    table = pd.DataFrame(
        itertools.product(["m1", "m2"], ["p+", "p-"], ["win", "love"]),
        columns=["model", "prompt", "response"],
    )
    table["score"] = np.arange(8.0)
    table["family"] = table["model"].map({"m1": "Gemma", "m2": "Llama"})
    table["base"] = table["family"] + " 2"
    table["stage"] = "reward"
    table["seed"] = table["model"].map({"m1": 11, "m2": 12})
    table["text"] = table["prompt"].map({"p+": "Best?", "p-": "Worst?"})
    table["framing"] = table["prompt"].map({"p+": "positive", "p-": "negative"})
    table["length"] = table["response"].str.len()
    table["category.agency"] = table["response"] == "win"
    table["category.communion"] = table["response"] == "love"
    return table.drop(index=5).sample(frac=1, random_state=1)


def save(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        # As R writes it: row numbers, NA, TRUE and FALSE.
        flags = [name for name in table.columns if table[name].dtype == bool]
        upper = table.assign(**{f: table[f].map({True: "TRUE", False: "FALSE"}) for f in flags})
        upper.to_csv(path, na_rep="NA")
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_table_of_your_own_is_read(tmp_path: Path, suffix: str) -> None:
    ds = read(save(tidy_rows(), tmp_path / f"own{suffix}"), kind="reward")
    assert ds.attrs["kind"] == "reward"
    found = ds["score"].sel(model=["m1", "m2"], prompt=["p+", "p-"], response=["win", "love"])
    np.testing.assert_array_equal(found, [[[0, 1], [2, 3]], [[4, np.nan], [6, 7]]])
    assert ds["seed"].dims == ("model",)
    assert ds["length"].dims == ("response",)
    assert ds["framing"].sel(prompt="p-") == "negative"
    assert ds["membership"].sel(response="win").values.tolist() == [True, False]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize(
    ("breaking", "said"),
    [
        (lambda t: t.drop(columns="response"), "no column 'response'"),
        (
            lambda t: t.rename(columns={"score": "scores"}),
            "no column 'score'.*Did you mean 'scores'",
        ),
        (lambda t: t.drop(columns="family"), "'family' is missing"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: pd.concat([t, t.iloc[[2]]]), "has 2 rows for"),
        (lambda t: t.assign(score="high"), "score.*expected numbers|damaged"),
        (lambda t: t.assign(family=t["response"]), "'family' .* gives the model 'm[12]' both"),
        (lambda t: t.assign(odd=t.index), "'odd' .* gives the response"),
        (lambda t: t.assign(response=[None, *t["response"][1:]]), "'response' .* empty or no text"),
        (lambda t: t.assign(**{"category.agency": t["prompt"] == "p+"}), "both (True|False) and"),
        (lambda t: t.assign(**{"category.agency": "maybe"}), "true and false only"),
        (lambda t: t.assign(framing="natural"), "framing 'natural'.*Did you mean 'neutral'"),
        (lambda t: t.assign(score=[np.inf, *t["score"][1:]]), "is inf"),
    ],
)
def test_a_table_that_contradicts_itself_is_named(
    tmp_path: Path, suffix: str, breaking: Any, said: str
) -> None:
    path = save(breaking(tidy_rows()), tmp_path / f"own{suffix}")
    if suffix == ".csv" and "empty or no text" in said:
        said = "named 'NA'|'NA'|expected numbers|is missing|gives"  # NA is a word in a CSV
        assert "NA" in read(path, kind="reward")["response"].values
        return
    with pytest.raises(ValueBiasError, match=said):
        read(path, kind="reward")


def test_a_table_must_say_its_kind_and_not_contradict_it(tmp_path: Path) -> None:
    path = save(tidy_rows(), tmp_path / "own.csv")
    with pytest.raises(ValueBiasError, match="Give kind="):
        read(path)
    for suffix in SUFFIXES:
        with pytest.raises(ValueBiasError, match="of kind 'reward', not 'logprob'"):
            read(write(dataset(["a", "b"]), tmp_path / f"a{suffix}"), kind="logprob")


def test_rows_may_be_dropped_or_sorted_elsewhere(tmp_path: Path) -> None:
    ds = dataset(NASTY)
    path = write(ds, tmp_path / "a.parquet")
    table = pq.read_table(path)
    kept = table.take(np.flatnonzero([w != "love" for w in table["response"].to_pylist()])[::-1])
    pq.write_table(kept, path)
    again = read(path)
    expected = ds.isel(response=slice(1, None))
    names = {dim: expected[dim].values for dim in ("model", "prompt", "response")}
    xr.testing.assert_identical(again.sel(names), expected)


# --- damage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_empty_or_foreign_file_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(ValueBiasError, match="There is no file"):
        read(path)
    path.touch()
    with pytest.raises(ValueBiasError, match="is empty"):
        read(path)
    path.write_bytes(b"\x89PNG not what it says \xff\xfe" * 20)
    with pytest.raises(ValueBiasError, match=r"cannot be read|no column|no rows|it is a file"):
        read(path, kind="reward")
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueBiasError, match=r"cannot be read|it is a folder"):
        read(path, kind="reward")


@pytest.mark.parametrize("suffix", [".nc", ".parquet", ".csv"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.95, 0.999])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, share: float) -> None:
    path = write(dataset(NASTY), tmp_path / f"a{suffix}")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(ValueBiasError, match=r"truncated|damaged"):
        read(path)


@pytest.mark.parametrize("suffix", [".nc", ".parquet", ".csv"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_are_refused_or_leave_a_sound_dataset(
    tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    path = tmp_path / f"fuzz{suffix}"
    sound = dataset(["win", "love", "hope"])
    write(sound, path)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    try:
        ds = read(path)
    except ValueBiasError:
        return
    if suffix == ".csv":  # whatever still says the same, such as a digit more, is no damage
        xr.testing.assert_identical(ds, sound)
    assert ds.sizes["model"] == 2


@pytest.mark.filterwarnings("ignore:Object at score is not recognized")
@pytest.mark.parametrize(
    "removed",
    [".zgroup", ".zattrs", "score", "score/0.0.0", "score/.zarray", "model/0", "response"],
)
def test_a_zarr_folder_that_lost_a_part_is_named(tmp_path: Path, removed: str) -> None:
    path = write(dataset(["win", "love"]), tmp_path / "a.zarr")
    target = path / removed
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(
        ValueBiasError, match=r"damaged|missing|no score at all|named ''|'schema' is None"
    ):
        read(path)


def test_a_csv_and_its_description_must_fit(tmp_path: Path) -> None:
    path = write(dataset(["win", "love"]), tmp_path / "a.csv")
    side = tmp_path / "a.csv.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("love", "hate"), encoding="utf-8")
    with pytest.raises(ValueBiasError, match=r"not the file that 'a.csv.json' was written for"):
        read(path)
    side.write_text("{", encoding="ascii")
    with pytest.raises(ValueBiasError, match=r"describes 'a.csv', cannot be read: it is damaged"):
        read(path)
    side.unlink()
    assert "hate" in read(path, kind="reward")["response"].values


@pytest.mark.parametrize("seed", range(40))
def test_a_changed_csv_is_refused_or_says_the_same(tmp_path: Path, seed: int) -> None:
    sound = dataset(["win", "love", "hope", "+1"])
    path = write(sound, tmp_path / "a.csv")
    rng = np.random.default_rng(seed)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    at, other = rng.integers(1, len(lines), size=2)
    match seed % 4:
        case 0:
            lines[at], lines[other] = lines[other], lines[at]
        case 1:
            del lines[at]
        case 2:
            lines[at] = lines[other]
        case 3:
            lines[at] = lines[at][: rng.integers(len(lines[at]))]
    path.write_text("".join(lines), encoding="utf-8")
    try:
        xr.testing.assert_identical(read(path), sound)
    except ValueBiasError as error:
        assert "is not the file that 'a.csv.json' was written for" in str(error)  # noqa: PT017


def test_a_csv_of_an_earlier_version_is_read_by_the_hash_of_its_bytes(tmp_path: Path) -> None:
    sound = dataset(NASTY)
    path = write(sound, tmp_path / "a.csv")
    side = tmp_path / "a.csv.json"

    def make_older() -> None:
        about = json.loads(side.read_bytes())
        del about["content"], about["sum"]
        about["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        side.write_text(json.dumps(about), encoding="ascii")

    make_older()
    xr.testing.assert_identical(read(path), sound)
    text = path.read_bytes()
    path.write_bytes(text + b"\n")
    with pytest.raises(ValueBiasError, match="not the file that"):
        read(path)
    path.write_bytes(text)
    older = side.read_text(encoding="ascii")
    write(dataset(["a", "b"]), path)
    xr.testing.assert_identical(read(path), dataset(["a", "b"]))
    # A kill came before the table itself was replaced.
    about = json.loads(side.read_bytes())
    about["before"] = {"meta": json.loads(older), "sha256": None}
    about["sum"] = json_sum({name: value for name, value in about.items() if name != "sum"})
    side.write_text(json.dumps(about), encoding="ascii")
    path.write_bytes(text)
    xr.testing.assert_identical(read(path), sound)


def test_a_csv_and_its_description_are_replaced_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.csv"
    first, second = dataset(["a", "b"]), dataset(["c", "d"])
    write(first, path)
    real = Path.replace
    moved: list[Path] = []

    def stopped(part: Path, target: Path) -> Path:
        # As a kill between any two of the moves.
        if len(moved) == at:
            raise KeyboardInterrupt
        moved.append(target)
        return real(part, target)

    for at in range(4):
        write(first, path)
        moved.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stopped)
            try:
                write(second, path)
            except KeyboardInterrupt:
                assert at < 3
        xr.testing.assert_identical(read(path), second if at > 1 else first)
        # What is left over goes on being replaced.
        write(second, path)
        xr.testing.assert_identical(read(path), second)
    assert files(tmp_path) == ["a.csv", "a.csv.json"]


def test_every_part_of_a_parquet_file_has_a_checksum(tmp_path: Path) -> None:
    path = write(dataset(["win", "love"]), tmp_path / "a.parquet")
    whole = path.read_bytes()
    # The format itself has none for the footer, which says what columns are called.
    for place in range(0, len(whole), 13):
        turned = bytes([whole[place] ^ 1 << place % 8])
        path.write_bytes(whole[:place] + turned + whole[place + 1 :])
        with pytest.raises(ValueBiasError, match="damaged, truncated or no Parquet"):
            read(path)
    path.write_bytes(whole.replace(b"note", b"nota"))
    with pytest.raises(ValueBiasError, match="checksum is that of another content"):
        read(path)


def test_damaged_metadata_of_parquet_is_named(tmp_path: Path) -> None:
    path = write(dataset(["win", "love"]), tmp_path / "a.parquet")
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"valuebias"])
    for broken in (
        {},
        {**meta, "names": {}},
        {**meta, "coords": {"absent": {}}},
        {**meta, "attrs": 3},
    ):
        pq.write_table(table.replace_schema_metadata({b"valuebias": json.dumps(broken)}), path)
        with pytest.raises(ValueBiasError, match="says of itself cannot be read: it is damaged"):
            read(path)
    pq.write_table(table.replace_schema_metadata({b"valuebias": "{"}), path)
    with pytest.raises(ValueBiasError, match="cannot be read"):
        read(path)


# --- what is refused -------------------------------------------------------------------------


def test_a_misspelt_suffix_is_corrected(tmp_path: Path) -> None:
    for path in (tmp_path / "a.netcdf", tmp_path / "a"):
        with pytest.raises(ValueBiasError, match=r"names no format.*'.parquet'"):
            write(dataset(["a", "b"]), path)
        with pytest.raises(ValueBiasError, match="names no format"):
            read(path)


def test_what_breaks_the_contract_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match="'family' is missing"):
        write(dataset(["a", "b"]).drop_vars("family"), tmp_path / "a.nc")
    assert files(tmp_path) == []


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize(
    ("extend", "said"),
    [
        (lambda ds: ds.assign(se=ds["score"]), "variable 'se'"),
        (lambda ds: ds.assign_coords(weight=("category", [1, 2])), "coord 'weight'"),
        (lambda ds: ds.assign_coords(rank=1), "coord 'rank'"),
        (
            lambda ds: ds.assign_coords(when=("model", np.array(["2026", "2027"], "M8[ns]"))),
            "coord 'when' of dtype",
        ),
        (lambda ds: ds.assign_attrs(what=object()), "attributes as JSON"),
        (
            lambda ds: ds.assign_coords({"category.communion": ("model", [1, 2])}),
            "may not be called",
        ),
        (lambda ds: ds.assign_coords({"a\ud800": ("model", [1, 2])}), "ud800.*Rename it"),
    ],
)
def test_a_tidy_table_refuses_what_it_cannot_hold(
    tmp_path: Path, suffix: str, extend: Any, said: str
) -> None:
    with pytest.raises(ValueBiasError, match=said):
        write(extend(dataset(["a", "b"])), tmp_path / f"a{suffix}")
    assert files(tmp_path) == []


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_arrays_hold_further_variables_and_refuse_objects(tmp_path: Path, suffix: str) -> None:
    ds = dataset(["a", "b"])
    more = ds.assign(se=abs(ds["score"]) + 1)
    xr.testing.assert_identical(read(write(more, tmp_path / f"a{suffix}")), more)
    with pytest.raises(ValueBiasError, match="cannot hold"):
        write(ds.assign_attrs(what=object()), tmp_path / f"b{suffix}")
    assert files(tmp_path) == [f"a{suffix}"]


def test_a_folder_that_zarr_did_not_make_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "mine.txt").touch()
    with pytest.raises(ValueBiasError, match="Zarr did not make"):
        write(dataset(["a", "b"]), folder)
    assert files(folder) == ["mine.txt"]


def test_netcdf_on_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    # The HDF5 library itself would end the whole process.
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=20, n_words=200, seed=1)
    with small_disk(tmp_path / "disk", "64k") as place:
        with pytest.raises(ValueBiasError, match=r"no room .*No space left"):
            write(ds, place / "scores.nc")
        assert not list(place.iterdir())


@pytest.mark.parametrize("suffix", [".zarr", ".nc", ".parquet", ".csv"])
@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", "a/b", "/abs", "a\\b", ".zattrs", ".zmetadata", "zarr.json", 300 * "x",
     "a\0b", "a\nb", "\ud800", "score/x", 7],
)  # fmt: skip
@pytest.mark.parametrize("is_coord", [True, False])
def test_names_of_variables_that_would_be_lost(
    name: Any, suffix: str, is_coord: bool, tmp_path: Path
) -> None:
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=3, seed=1)
    more = {name: ("response", np.arange(3.0))}
    with pytest.raises(ValueBiasError, match=r"has a variable or dim called .*Rename it"):
        write(ds.assign_coords(more) if is_coord else ds.assign(more), tmp_path / f"o{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["SCORE", "Family"])
def test_variables_that_some_systems_take_for_one(name: str, tmp_path: Path) -> None:
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=3, seed=1)
    ds = ds.assign_coords({name: ("response", np.arange(3.0))})
    with pytest.raises(ValueBiasError, match="would be kept in one folder"):
        write(ds, tmp_path / "o.zarr")
    assert read(write(ds, tmp_path / "o.nc")).equals(ds)


@pytest.mark.parametrize("suffix", [".zarr", ".nc", ".parquet", ".csv"])
@pytest.mark.parametrize("name", ["a:b", "con", "log2(n)", "家族", "%41"])
def test_odd_names_of_variables_are_kept(name: str, suffix: str, tmp_path: Path) -> None:
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=3, seed=1)
    ds = ds.assign_coords({name: ("response", np.arange(3.0))})
    assert read(write(ds, tmp_path / f"o{suffix}")).equals(ds)
