"""Tests of valuebias.datasets."""

from __future__ import annotations

import json
import subprocess
import sys
import timeit
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
import valuebias.data
from valuebias import datasets
from valuebias._core.provenance import sha256
from valuebias.ablation import synthetic_preferences
from valuebias.datasets.elo import read_elo
from valuebias.datasets.released import read_training
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments import lexicon
from valuebias.preference_data.synthetic import KINDS
from valuebias.schema import validate


def test_every_dataset_is_described() -> None:
    for name in datasets.names():
        about = datasets.info(name)
        assert about.name == name
        assert about.title
        assert about.citation
        assert about.licence
        assert bool(about.files) == bool(about.url) == (name not in ("demo", "simulated"))
    assert datasets.info("christian2026-mfd2").size is None
    assert any("recorded at the first" in n for n in datasets.info("christian2026-mfd2").notes)


def test_a_misspelt_name_is_corrected() -> None:
    for function in (datasets.info, datasets.load):
        with pytest.raises(ValueBiasError, match="Did you mean 'christian2026-big2'"):
            function("christian-2026-big2")


# --- simulated ------------------------------------------------------------------------------------


def test_it_is_small_quick_and_says_that_it_is_simulated() -> None:
    folder = Path(valuebias.data.__path__[0])
    assert (folder / "simulated.npz").stat().st_size < 150_000
    ds = datasets.load("simulated")
    # The best of three: another process may take the machine for a moment.
    times = [timeit.timeit(lambda: datasets.load("simulated"), number=1) for _ in range(3)]
    assert min(times) < 0.3
    validate(ds, min_categories=2)
    assert dict(ds.sizes) == {"model": 8, "prompt": 12, "response": 182, "category": 2}
    assert tuple(ds["response"].values) == lexicon().words
    assert json.loads(ds.attrs["provenance"])["simulated"] is True
    assert all(name.startswith("simulated/") for name in ds["model"].values.tolist())
    assert "SIMULATED" in datasets.info("simulated").title


def test_it_is_what_its_script_makes(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "data" / "make_simulated.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "simulated.npz")], check=True)
    with (
        np.load(tmp_path / "simulated.npz") as made,
        np.load(Path(valuebias.data.__path__[0]) / "simulated.npz") as kept,
    ):
        assert set(made) == set(kept)
        np.testing.assert_allclose(
            made["score"].astype(float), kept["score"].astype(float), atol=2e-3
        )
        assert all(np.array_equal(made[key], kept[key]) for key in set(made) - {"score"})


# --- demo ------------------------------------------------------------------------------------


def test_the_demo_is_a_study_of_real_models() -> None:
    folder = Path(valuebias.data.__path__[0])
    assert (folder / "demo.nc").stat().st_size < 1_200_000
    ds = datasets.load("demo")
    validate(ds, min_categories=2)
    assert dict(ds.sizes) == {"model": 48, "prompt": 54, "response": 182, "category": 2}
    assert tuple(ds["response"].values) == lexicon().words
    cells = ds[["base", "source", "n_pairs", "seed"]].to_dataframe()
    for column, n in {"base": 2, "source": 2, "n_pairs": 4, "seed": 3}.items():
        assert cells[column].nunique() == n
    assert len(cells[["base", "source", "n_pairs", "seed"]].drop_duplicates()) == 48
    known = json.loads(ds.attrs["provenance"])
    assert "simulated" not in known
    assert set(known["bases"]) == set(cells["base"])
    assert all(len(base["weights"]) == 64 for base in known["bases"].values())
    assert any("synthetic" in note for note in datasets.info("demo").notes)


def test_the_heads_of_the_demo_tell_held_out_pairs_apart() -> None:
    ds = datasets.load("demo")
    most = ds.isel(model=np.flatnonzero(ds["n_pairs"] == ds["n_pairs"].max()))
    # Most false answers are wrong sums, which small models know little of; a polite tone they know.
    assert (most["accuracy"] > np.where(most["source"] == "courteous", 0.95, 0.6)).all()
    assert (most["loss"] < 0.6).all()


def test_the_demos_preferences_are_those_that_can_be_made() -> None:
    known = json.loads(datasets.load("demo").attrs["provenance"])
    assert set(known["sources"]) == set(KINDS)
    for kind, source in known["sources"].items():
        n_pairs = source["pairs"] + source["held_out"]["pairs"]
        train, held_out = synthetic_preferences(kind, n_pairs).split(held_out=known["held_out"])
        assert train.sha256 == source["sha256"]
        assert held_out.sha256 == source["held_out"]["sha256"]


# --- christian2026-big2 ----------------------------------------------------------------------


@pytest.mark.released_data
def test_big2_is_complete_and_classified(big2: xr.Dataset) -> None:
    validate(big2, min_categories=2)
    assert dict(big2.sizes) == {"model": 10, "prompt": 54, "response": 265, "category": 2}
    assert big2["membership"].any("category").sum() == 263
    assert big2["membership"].sum("response").values.tolist() == [104, 159]
    assert not big2["score"].isnull().any()
    assert pd.Series(big2["family"].values).value_counts().to_dict() == {"Llama": 6, "Gemma": 4}
    record = json.loads(big2.attrs["provenance"])
    assert record["lexicon"]["name"] == "big2-nouns"
    assert record["dataset"]["name"] == "christian2026-big2"
    assert len(record["files"]) == 10


# --- christian2025-elo -----------------------------------------------------------------------


@pytest.mark.released_data
def test_elo_is_complete_and_has_the_human_ratings(elo: xr.Dataset) -> None:
    validate(elo)
    assert dict(elo.sizes) == {"model": 10, "prompt": 3, "response": 7530, "category": 0}
    assert not elo["score"].isnull().any()
    assert pd.Series(elo["family"].values).value_counts().to_dict() == {"Llama": 6, "Gemma": 4}
    assert len(set(elo["base"].values)) == 5
    assert all(text.endswith("?") for text in elo["text"].values.tolist())
    assert set(elo["framing"].values) == {"positive"}
    assert {"Universe", "0", "1", "The Holocaust", "Orange (colour)"} <= set(elo["response"].values)
    assert sorted(elo["elo_rank"].values) == list(range(1, 7531))
    in_order = elo.sortby("elo_rank")["elo_score"].values
    assert (np.diff(in_order) <= 0).all()
    assert elo["elo_matches"].values.min() == 6
    at = {"model": "nicolinho/QRM-Gemma-2-27B", "prompt": "prefer", "response": "Water"}
    assert float(elo["score"].sel(at)) == np.float32(1.0182547569274902)
    known = json.loads(elo.attrs["provenance"])
    assert known["dataset"]["licence"] == "MIT"
    assert len(known["files"]) == 3


@pytest.mark.released_data
def test_elo_and_big2_are_of_the_same_models(elo: xr.Dataset, big2: xr.Dataset) -> None:
    columns = ["nickname", "family", "base", "stage", "n_params"]
    tables = [valuebias.schema.model_table(ds)[columns].sort_index() for ds in (elo, big2)]
    pd.testing.assert_frame_equal(*tables)


def test_elo_is_read_cell_by_cell_and_files_must_agree(tmp_path: Path) -> None:
    header = "elo_rank,elo_score,name,elo_matches,nicolinho/QRM-Gemma-2-27B\n"
    rows = ['1,1669,"Yes, and",9,2.5', "2,1500,nan,8,-1", "3,900,1,7,0.25", "4,800,None,6,1e-3"]
    one, two = tmp_path / "a.csv", tmp_path / "b.csv"
    texts = {"a": "Best?", "b": "Better?"}
    for path in (one, two):
        path.write_text(header + "\n".join(rows) + "\n")
    ds = read_elo([one, two], texts)
    assert ds["response"].values.tolist() == ["Yes, and", "nan", "1", "None"]
    assert ds["elo_score"].values.tolist() == [1669.0, 1500.0, 900.0, 800.0]
    assert ds["text"].values.tolist() == ["Best?", "Better?"]
    for text, said in (
        (header.replace("elo_score", "elo") + "\n".join(rows), "no column 'elo_score'"),
        (header.replace("nicolinho", "x") + "\n".join(rows), "has the columns"),
        (header + "\n".join(rows[::-1]), "other things or other human ratings"),
        (header + "\n".join(rows).replace("0.25", "much"), "a cell that is no number"),
    ):
        two.write_text(text)
        with pytest.raises(ValueBiasError, match=said):
            read_elo([one, two], texts)
    one.write_text(header.replace("nicolinho", "x") + "\n".join(rows))
    with pytest.raises(ValueBiasError, match="none of the models"):
        read_elo([one], {"a": "Best?"})


# --- christian2026-training ------------------------------------------------------------------

# Final checkpoints as the paper's figure 4b shows them: agency, communion.
FINAL = {
    ("unified-feedback", 27_000): {
        "Gemma": (742.5, 696),
        "Llama": (657.5, 805),
        "Qwen": (858, 559),
    },
    ("unified-feedback", 53_000): {
        "Gemma": (741.5, 708),
        "Llama": (630.5, 829.5),
        "Qwen": (795, 647.5),
    },
    ("unified-feedback", 106_000): {
        "Gemma": (667, 779.5),
        "Llama": (700.5, 757),
        "Qwen": (806.5, 628.5),
    },
    ("skywork", 77_000): {"Gemma": (681.5, 763), "Llama": (616.5, 831.5), "Qwen": (832, 639)},
}


@pytest.fixture(scope="module")
def training(released_data: Path) -> pd.DataFrame:
    with pytest.warns(ValueBiasWarning) as caught:
        table = datasets.load("christian2026-training")
    said = [str(warning.message) for warning in caught]
    assert len(said) == 2
    assert "rank_results_uf_13.csv is byte-identical to rank_results_uf_27.csv" in said[0]
    assert "rank_results_uf_100.csv repeats its rows: of 60956, 84 differ" in said[1]
    assert all(warning.filename == __file__ for warning in caught)
    return table


@pytest.mark.released_data
def test_the_final_checkpoints_are_those_of_the_paper(training: pd.DataFrame) -> None:
    for (source, n_pairs), families in FINAL.items():
        run = training[(training["source"] == source) & (training["n_pairs"] == n_pairs)]
        last = run[run["checkpoint"] == run["checkpoint"].max()]
        found = last.pivot(index="family", columns="category", values="median_rank")
        assert {f: tuple(found.loc[f, ["agency", "communion"]]) for f in found.index} == families


@pytest.mark.released_data
def test_the_training_table_is_tidy_and_has_nothing_twice(training: pd.DataFrame) -> None:
    assert list(training.columns) == [
        "source",
        "n_pairs",
        "base",
        "family",
        "category",
        "checkpoint",
        "median_rank",
    ]
    assert len(training) == 60 + 24 + 42 + 84 + 4
    assert not training.duplicated(training.columns[:-1].tolist()).any()
    assert 13_000 not in training["n_pairs"].to_numpy()
    assert training.loc[training["n_pairs"].isna(), "source"].unique().tolist() == ["grm"]
    assert training["checkpoint"].dtype == np.int64
    # 16 pairs a step and two epochs: the last step tells the number of pairs.
    runs = training.dropna().groupby("n_pairs")["checkpoint"].max() * 8
    np.testing.assert_allclose(runs, runs.index, rtol=0.02)


def test_a_foreign_training_file_is_named(tmp_path: Path) -> None:
    header = "model_id,Category,checkpoint,base_model,sum_value\n"
    path = tmp_path / "rank_results_uf_27.csv"
    for text, said in (
        ("a,b\n1,2\n", "no column 'model_id'"),
        (header + "m,Agency,1,Mistral,3\n", "base_model 'Mistral'; expected one of"),
        (header + "m,Agency,1,NA,3\n", "base_model 'NA'"),
    ):
        path.write_text(text)
        with pytest.raises(ValueBiasError, match=said):
            read_training([path])
    other = tmp_path / "other.csv"
    other.write_text(header)
    with pytest.raises(ValueBiasError, match="not one of the released files"):
        read_training([other])


# --- christian2026-mfd2 ----------------------------------------------------------------------


@pytest.mark.released_data
def test_mfd2_is_read_where_it_is_at_hand(released_data: Path) -> None:
    if not (released_data / "reward_scores_mfd2").is_dir():
        pytest.skip(
            "VALUEBIAS_DATA has no folder reward_scores_mfd2 (its files are released, but large)"
        )
    ds = datasets.load("christian2026-mfd2")
    assert ds.sizes["model"] == 10
    assert ds.sizes["category"] == 5
    assert ds["membership"].any("category").sum() > 2000


@pytest.mark.released_data
def test_what_the_released_dictionary_has_lost_is_said(released_data: Path) -> None:
    table = lexicon("mfd2-virtue-vice").table
    assert (table.sum(axis=1) == 1).all()
    notes = " ".join(datasets.info("christian2026-mfd2").notes)
    assert "keeps one category per word" in notes
    assert f"loyalty vice has {table['loyalty.vice'].sum()} left" in notes
    assert f"leave out the {table['sanctity.vice'].sum()} words that are Sanctity vice" in notes


@pytest.mark.released_data
def test_mfd2_is_looked_for_under_its_own_folder(
    released_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stand-ins with the names and the layout of the released files, for where those are not.
    (tmp_path / "reward_scores_mfd2").mkdir()
    (tmp_path / "corpora").mkdir()
    dicx = tmp_path / "corpora" / "moral-foundations-dictionary-20.dicx"
    dicx.write_bytes((released_data / "corpora" / dicx.name).read_bytes())
    table = lexicon("mfd2").table
    words = [str(table.index[table[foundation]][0]) for foundation in table.columns]
    files = datasets.info("christian2026-mfd2").files
    for i, local in enumerate(files):
        rows = "".join(f"{word},{i + j}\n" for j, word in enumerate(words))
        (tmp_path / local).write_text("response,best_ever_one\n" + rows)
    monkeypatch.setenv("VALUEBIAS_DATA", str(tmp_path))
    ds = datasets.load("christian2026-mfd2")
    assert sorted(ds["family"].values.tolist()) == ["Gemma"] * 4 + ["Llama"] * 6
    np.testing.assert_array_equal(ds["membership"], np.eye(5, dtype=bool))
    assert json.loads(ds.attrs["provenance"])["files"][0]["sha256"] == sha256(tmp_path / files[0])
    dicx.write_bytes(dicx.read_bytes() + b"x,X\n")
    with pytest.raises(ValueBiasError, match=f"its SHA-256 is {sha256(dicx)}"):
        datasets.load("christian2026-mfd2")
