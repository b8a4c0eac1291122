"""Tests of valuebias.io.wide: the authors' CSVs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml  # noqa: TID251
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from valuebias._core.provenance import sha256
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.io import read, write
from valuebias.io.quick import read_numbers
from valuebias.io.wide import read_scores
from valuebias.io.wide_sheets import WideSheet
from valuebias.schema import word_table

GEMMA = "Skywork/Skywork-Reward-Gemma-2-27B"
LLAMA = "Skywork/Skywork-Reward-Llama-3.1-8B-v0.2"
BASES = ["google/gemma-2-27b-it", "meta-llama/Llama-3.1-8B-Instruct"]
SHEET = "response,best_ever_one,bad_ever_one\nwin,1.5,-1\nlove,2,\nhope,NA,0.25\n"


def sheet(folder: Path, model: str = GEMMA, text: str = SHEET) -> Path:
    path = folder / f"big2_rewards_{model.replace('/', '_')}.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_a_file_files_and_a_mapping_are_read_alike(tmp_path: Path) -> None:
    paths = [sheet(tmp_path), sheet(tmp_path, LLAMA)]
    folder = read_scores(tmp_path)
    assert folder["model"].values.tolist() == [GEMMA, LLAMA]
    assert folder["family"].values.tolist() == ["Gemma", "Llama"]
    assert folder["base"].values.tolist() == BASES
    assert folder["nickname"].values.tolist() == ["S-Gem-27B", "S-Lla-8B-v0.2"]
    np.testing.assert_array_equal(folder["score"][0], [[1.5, 2, np.nan], [-1, np.nan, 0.25]])
    for other in (read_scores(paths), read_scores({GEMMA: paths[0], LLAMA: str(paths[1])})):
        assert other.equals(folder)
    assert read_scores(str(paths[1])).equals(folder.isel(model=[1]))
    files = json.loads(folder.attrs["provenance"])["files"]
    assert files[0] == {"name": paths[0].name, "sha256": sha256(paths[0])}


def test_prompts_come_in_the_order_of_the_set_and_words_in_that_of_the_first_file(
    tmp_path: Path,
) -> None:
    sheet(tmp_path)
    sheet(tmp_path, LLAMA, "response,bad_ever_one,best_ever_one\nhope,1,2\nlove,3,4\nwin,5,6\n")
    ds = read_scores(tmp_path)
    assert ds["prompt"].values.tolist() == ["best_ever_one", "bad_ever_one"]
    assert ds["response"].values.tolist() == ["win", "love", "hope"]
    np.testing.assert_array_equal(ds["score"].sel(model=LLAMA), [[6, 4, 2], [5, 3, 1]])


def test_words_that_look_like_something_else_stay_words(tmp_path: Path) -> None:
    words = ["NA", "null", "nan", "True", "1e5", "=cmd()", " x", "'tis", "\ud83d"]
    text = "response,best_ever_one\n" + "".join(f'"{w}",{i}\n' for i, w in enumerate(words))
    path = tmp_path / "x_rewards_Ray2333_GRM-gemma2-2B-rewardmodel-ft.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    assert read_scores(path)["response"].values.tolist() == words


def test_a_lexicon_gives_memberships_and_is_recorded(tmp_path: Path) -> None:
    path = sheet(tmp_path, text=SHEET.replace("win", "success"))
    ds = read_scores(path, lexicon="agency-communion")
    assert ds["membership"].sel(response="love").values.tolist() == [False, True]
    assert json.loads(ds.attrs["provenance"])["lexicon"]["name"] == "agency-communion"
    assert read_scores(sheet(tmp_path)).sizes["category"] == 0


@pytest.mark.parametrize("suffix", [".zarr", ".nc", ".parquet", ".csv"])
def test_a_frequency_joined_by_word_survives(tmp_path: Path, suffix: str) -> None:
    ds = read_scores(sheet(tmp_path), lexicon={"x": ["love", "win"]})
    table = pd.DataFrame({"frequency": [0.5, 7.0], "kind": ["verb", "noun"]}, index=["win", "love"])
    joined = table.reindex(ds["response"].to_index())
    ds = ds.assign_coords(
        frequency=("response", joined["frequency"]),
        kind=("response", joined["kind"].fillna("").to_numpy().astype("U")),
    )
    again = read(write(ds, tmp_path / f"a{suffix}"))
    assert again.identical(ds)
    assert word_table(again).loc["love"].to_dict() == {
        "frequency": 7.0,
        "kind": "noun",
        "length": 4,
    }


ABOUT = {"family": "Qwen", "base": "Qwen/Qwen2.5-3B", "stage": "reward", "n_params": 3e9, "seed": 7}


@pytest.mark.parametrize("form", ["frame", "index", "csv", "yaml list", "yaml mapping"])
def test_an_unknown_model_can_be_described(tmp_path: Path, form: str) -> None:
    path = tmp_path / "run_1_rewards_my_org_my_model_v2.csv"
    path.write_text(SHEET)
    model = "my_org/my_model_v2"
    with pytest.raises(ValueBiasError, match=r"Describe it: models=pandas.DataFrame"):
        read_scores(path)
    table: Any = pd.DataFrame([{"model": model, **ABOUT}])
    if form == "index":
        table = table.set_index("model")
    elif form == "csv":
        table.to_csv(tmp_path / "models.csv", index=False)
        table = tmp_path / "models.csv"
    elif form.startswith("yaml"):
        content = [{"model": model, **ABOUT}] if form == "yaml list" else {model: ABOUT}
        table = tmp_path / "models.yaml"
        table.write_text(yaml.safe_dump(content))
    ds = read_scores(path, models=table)
    assert {name: ds[name].item() for name in ABOUT} == ABOUT
    assert ds["model"].item() == model
    assert "nickname" not in ds.coords


def test_a_column_of_half_a_character_is_named(tmp_path: Path) -> None:
    # As a damaged file may have it.
    path, models = tmp_path / "org_a.csv", tmp_path / "models.csv"
    path.write_text(SHEET)
    text = "model,family,stage,\ud83d\norg/a,Qwen,reward,x\n"
    models.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueBiasError, match=r"holds '.ud83d', in which a letter is damaged"):
        read_scores(path, models=models)


def test_your_table_goes_before_the_known_facts(tmp_path: Path) -> None:
    sheet(tmp_path)
    sheet(tmp_path, LLAMA)
    table = pd.DataFrame([{**ABOUT, "base": "mine"}], index=[GEMMA])
    ds = read_scores(tmp_path, models=table)
    assert ds["base"].values.tolist() == ["mine", BASES[1]]
    np.testing.assert_array_equal(ds["seed"], [7, np.nan])
    assert ds["nickname"].values.tolist() == ["", "S-Lla-8B-v0.2"]
    for given_ in (table.drop(columns="base"), table.assign(base=""), table.assign(base=None)):
        assert read_scores(tmp_path, models=given_)["base"].values.tolist() == BASES


def test_a_base_is_what_is_given_or_what_files_say_or_asked_for(tmp_path: Path) -> None:
    names = ["given", "rm", "tuned", "pretrained", "unknown"]
    paths = {}
    for name in names:
        paths[name] = tmp_path / f"{name}.csv"
        paths[name].write_text(SHEET)
    for name, base in {"given": "org/not-this-1", "rm": "org/lm-2b-it", "tuned": "org/rm"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(f"---\nbase_model: {base}\n---\n")
    stages = {"given": "reward", "rm": "reward", "tuned": "reward", "pretrained": "pretrained"}
    table = pd.DataFrame({"family": "F", "stage": {n: stages.get(n, "reward") for n in names}})
    table["base"] = ["org/lm-7b-it", "", "", "", ""]
    table.to_csv(tmp_path / "models.csv", index_label="model")
    with pytest.warns(ValueBiasWarning, match="base is known for 1 of 5 models: 'unknown'") as told:
        ds = read_scores(paths, models=tmp_path / "models.csv")
    assert [warning.filename for warning in told] == [__file__]
    assert ds["base"].values.tolist() == [
        "org/lm-7b-it",
        "org/lm-2b-it",
        "org/rm",
        "pretrained",
        "",
    ]
    assert json.loads(ds.attrs["provenance"])["bases"] == {
        "rm": "README.md", "tuned": "README.md", "pretrained": "its stage",
    }  # fmt: skip
    # A base that is itself one of the models stands on what that one stands on.
    renamed = table.rename(index={"rm": "org/rm"}).drop(columns="base").assign(base="")
    renamed.loc["org/rm", "base"] = "org/lm-2b-it"
    renamed.to_csv(tmp_path / "models.csv", index_label="model")
    some = {"org/rm": paths["rm"], "tuned": paths["tuned"]}
    ds = read_scores(some, models=tmp_path / "models.csv")
    assert ds["base"].values.tolist() == ["org/lm-2b-it"] * 2
    # A single model has none to share a base with.
    assert read_scores({"unknown": paths["unknown"]}, models=table)["base"].item() == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("response,best_ever_one\n", "no rows"),
        (SHEET.rstrip().rpartition(",")[0], "Line 4 .* has 2 cells, the header 3"),
        ("noun,best_ever_one\nwin,1\n", "first column .* is 'noun'"),
        ("response\nwin\n", "no column of scores"),
        (SHEET + "win,1,1\n", "word 'win' more than once"),
        (SHEET.replace("1.5", "high"), "'high' for the word 'win' and the prompt 'best_ever_one'"),
        (SHEET.replace("1.5", "1_5"), "'1_5' for the word 'win'.*expected a number"),
        (SHEET.replace("1.5", "\u0661"), "for the word 'win'.*expected a number"),
        (SHEET.replace("1.5", "inf"), "is inf"),
        (SHEET.replace("1.5", "1e99"), "is inf"),
        (SHEET.replace("bad_ever_one", "bad_evr_one"), "Did you mean 'bad_ever_one'"),
        ("response,best_ever_one\nwin,NA\nlove,\n", "has no score at all"),
        ("response,best_ever_one\nwin,3\nlove,3\n", "same score, 3.0"),
        ("response,best_ever_one\n,3\nlove,2\n", "named ''"),
    ],
)
def test_a_bad_sheet_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        read_scores(sheet(tmp_path, text=text))


def test_files_that_differ_are_named(tmp_path: Path) -> None:
    sheet(tmp_path)
    sheet(tmp_path, LLAMA, SHEET.replace("hope", "fear"))
    with pytest.raises(ValueBiasError, match=r"Llama.*has the word 'fear', which .*Gemma.* lacks"):
        read_scores(tmp_path)
    sheet(tmp_path, LLAMA, SHEET.replace("bad_ever_one", "bad_time_one"))
    with pytest.raises(ValueBiasError, match="has the prompt 'bad_ever_one', which"):
        read_scores(tmp_path)


def test_two_files_of_one_model_are_named(tmp_path: Path) -> None:
    one = sheet(tmp_path)
    other = tmp_path / f"again_rewards_{GEMMA.replace('/', '_')}.csv"
    other.write_text(SHEET)
    with pytest.raises(ValueBiasError, match=f"are both of the model '{GEMMA}'"):
        read_scores([one, other])


def test_bad_arguments_are_named(tmp_path: Path) -> None:
    path = sheet(tmp_path)
    (tmp_path / "none").mkdir()
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (tmp_path / "absent.csv", {}, "is unknown"),
        (tmp_path / "none", {}, "has no .csv files"),
        ([], {}, "No files"),
        ({"me/mine": path}, {}, "model 'me/mine' is unknown"),
        (path, {"models": pd.DataFrame({"family": ["x"]})}, "no column 'stage'"),
        (path, {"models": pd.DataFrame([ABOUT, ABOUT], index=["a", "a"])}, "'a' more than once"),
        (path, {"models": tmp_path / "absent.csv"}, "cannot be read"),
        (path, {"prompts": "superlativs"}, "Did you mean 'superlatives'"),
        (path, {"lexicon": "big2-noun"}, "Did you mean 'big2-nouns'"),
        (path, {"kind": "score"}, "'kind' is 'score'"),
        (path, {"lexicon": {"x": ["zebra"]}}, "None of the 3 words"),
    ]
    for paths, given_, said in cases:
        with pytest.raises(ValueBiasError, match=said):
            read_scores(paths, **given_)


ODD = [
    "1", " 1", "1 ", "+1", "-1.5", "1e5", "1E-5", ".5", "5.", "1.5.", "0x10", "1_0", "1d5", "1f",
    "1e", "1e400", "1e-400", "0.1234567890123456789", "nan", "NaN", "-nan", "nan(1)", "inf",
    "-Infinity", "", " ", "NA", "na ", "None", "NONE", "N/A", "#N/A", "null", "\u0663", "\uff11",
    "\t1", "\x0b1", "\x0c1", "\u00a01", "'1", '"1"', "1,2", "1;2", "--1", "1-", "true", "$1", "1%",
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    cells=st.lists(st.sampled_from(ODD) | st.floats().map(repr), min_size=1, max_size=4),
    words=st.lists(
        st.sampled_from(["win", " love", "NA", "é", "'tis", "", "a b", "1"]),
        min_size=1,
        unique=True,
    ),
    delimiter=st.sampled_from(",;\t"),
    ending=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    behind=st.sampled_from(["", "\n", ",", " "]),
)
def test_what_is_read_fast_is_what_is_read_with_care(
    tmp_path: Path, cells: list[str], words: list[str], delimiter: str, ending: str, behind: str
) -> None:
    rows = [["response", *(f"p{i}" for i in range(len(cells)))], *([w, *cells] for w in words)]
    path = tmp_path / "a.csv"
    path.write_bytes((ending.join(delimiter.join(row) for row in rows) + behind).encode())
    found = read_numbers(path, "response")
    if found is None:
        return
    columns, fast, numbers = found
    path.write_bytes(path.read_bytes().replace(b"response", b'"response"'))
    assert read_numbers(path, "response") is None
    slow = WideSheet(path, None)
    assert (slow.words, slow.columns) == (fast, columns)
    np.testing.assert_array_equal(slow.scores(fast, columns).T, numbers)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=60)
    | st.text(st.sampled_from('response,best_ev1."\n'), max_size=60).map(str.encode)
)
def test_any_bytes_are_read_or_refused_clearly(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / f"fuzz_rewards_{GEMMA.replace('/', '_')}.csv"
    path.write_bytes(raw)
    try:
        ds = read_scores(path)
    except ValueBiasError:
        return
    assert ds["model"].values.tolist() == [GEMMA]


@pytest.mark.released_data
def test_the_released_scores_are_read_to_the_digit(released_data: Path) -> None:
    folder = released_data / "reward_scores_big2"
    ds = read_scores(folder, lexicon=released_data / "corpora" / "dict_big2_nouns.csv")
    assert dict(ds.sizes) == {"model": 10, "prompt": 54, "response": 265, "category": 2}
    for path in folder.iterdir():
        table = pd.read_csv(path, keep_default_na=False, index_col="response").astype(np.float32)
        model = path.stem.removeprefix("big2_rewards_").replace("_", "/", 1)
        found = ds["score"].sel(model=model).transpose("response", "prompt")
        np.testing.assert_array_equal(found, table[ds["prompt"].values].loc[ds["response"].values])


@pytest.mark.released_data
def test_the_known_facts_agree_with_the_authors_table(released_data: Path) -> None:
    theirs = yaml.safe_load((released_data / "reward_models.yaml").read_text(encoding="utf-8"))
    ds = read_scores(released_data / "reward_scores_big2")
    assert ds.sizes["model"] == len(theirs) == 10
    for entry in theirs:
        mine = ds.sel(model=entry["name"])
        assert mine["nickname"].item() == entry["nickname"]
        assert mine["family"].item() == entry["base_model"]
        family, version, size = (entry[key] for key in ("base_model", "base_version", "size"))
        assert f"{family}-{version}-{size}".lower() in mine["base"].item().lower()
        assert mine["stage"].item() == "reward"
        nominal = float(entry["size"].removesuffix("B")) * 1e9
        assert nominal == pytest.approx(mine["n_params"].item(), rel=0.35)
