"""Preferences in every form, from every kind of source, and what is done with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import valuebias
from valuebias import Preferences, ValueBiasError, preferences
from valuebias.preference_data.filters import id_of

Rows = list[dict[str, Any]]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def plain(n: int = 6) -> Rows:
    return [
        {"prompt": f"Ask {i}?", "chosen": f"Good {i}", "rejected": f"Bad {i}"} for i in range(n)
    ]


def conversations(n: int = 6) -> Rows:
    return [
        {
            "chosen": [user(f"Ask {i}?"), says(f"Good {i}")],
            "rejected": [user(f"Ask {i}?"), says(f"Bad {i}")],
        }
        for i in range(n)
    ]


def rated(ratings: list[tuple[float | None, float | None]]) -> Rows:
    """As Unified-Feedback has them; the better of two unequal ones is said to be good."""
    rows = []
    for i, (first, second) in enumerate(ratings):
        is_first = first is not None and second is not None and first > second
        texts = (f"Good {i}", f"Bad {i}") if is_first else (f"Bad {i}", f"Good {i}")
        a, b = ([user(f"Ask {i}?"), says(text)] for text in texts)
        rows.append({"conv_A": a, "conv_B": b, "conv_A_rating": first, "conv_B_rating": second})
    return rows


def read(source: Any, **options: Any) -> Preferences:
    return preferences(source, progress=False, **options)


def to_jsonl(rows: Rows, folder: Path) -> Path:
    path = folder / "mine.jsonl"
    # A byte-order mark, a blank line, and no new line at the end.
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\ufeff" + "\n\n".join(lines), encoding="utf-8")
    return path


def to_parquet(rows: Rows, folder: Path) -> Path:
    path = folder / "mine.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return path


def to_folder(rows: Rows, folder: Path) -> Path:
    """As the hub has it: shards of a split, other splits, and files of other kinds."""
    data = folder / "data"
    data.mkdir()
    half = len(rows) // 2
    pq.write_table(pa.Table.from_pylist(rows[:half]), data / "train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(rows[half:]), data / "train-00001-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist(plain(1)), data / "test-00000-of-00001.parquet")
    (folder / "README.md").touch()
    return folder


def to_frame(rows: Rows, folder: Path) -> pd.DataFrame:
    return pd.DataFrame(rows, index=[7] * len(rows))


def to_frame_of_arrays(rows: Rows, folder: Path) -> pd.DataFrame:
    """As pandas reads Parquet, with an array of messages in each cell."""
    return pd.read_parquet(to_parquet(rows, folder))


def to_dataset(rows: Rows, folder: Path) -> Any:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    return datasets.Dataset.from_list(rows)


WRITERS = [to_jsonl, to_parquet, to_folder, to_frame, to_frame_of_arrays, to_dataset]
FORMS = {
    "plain": plain(),
    "conversations": conversations(),
    "prompt repeated": [row | {"prompt": row["chosen"][0]["content"]} for row in conversations()],
    "prompt apart": [
        {"prompt": row["chosen"][:-1], "chosen": row["chosen"][1:], "rejected": row["rejected"][1:]}
        for row in conversations()
    ],
    "prompt in messages": [
        row | {"prompt": [user(row["prompt"])], "more": i} for i, row in enumerate(plain())
    ],
    "rated": rated([(1.0, 0.0), (0.0, 3.5), (2.0, 1.0), (0.0, 1.0), (1.0, 0.0), (1.0, 0.5)]),
}


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("row_format", FORMS)
def test_every_form_from_every_source_is_the_same(
    row_format: str, write: Callable[[Rows, Path], Any], tmp_path: Path
) -> None:
    found = read(write(FORMS[row_format], tmp_path))
    assert found.pairs["prompt"].map(json.loads).tolist() == [[user(f"Ask {i}?")] for i in range(6)]
    assert found.pairs["chosen"].tolist() == [f"Good {i}" for i in range(6)]
    assert found.pairs["rejected"].tolist() == [f"Bad {i}" for i in range(6)]
    assert found.sha256 == read(pd.DataFrame(plain())).sha256
    assert found.report["dropped"].sum() == 0
    assert found.conversations("rejected")[2] == [user("Ask 2?"), says("Bad 2")]


def test_ids_are_those_of_the_texts() -> None:
    found = read(pd.DataFrame(plain(2)))
    first = found.pairs.iloc[0]
    assert first["id"] == id_of('[{"role": "user", "content": "Ask 0?"}]', "Good 0", "Bad 0")
    assert first["id"] == "953ea0fee8123a51cedd12cd63456450"
    assert len(set(found.pairs["id"])) == 2


def test_names_and_provenance(tmp_path: Path) -> None:
    path = to_jsonl(plain(), tmp_path)
    found = read(path, every=2)
    assert found.name == "mine"
    assert read(path, name="other").name == "other"
    assert found.provenance["files"][0]["name"] == "mine.jsonl"
    assert found.provenance["filters"]["every"] == 2
    assert repr(found) == "<Preferences 'mine': 3 pairs, 3 prompts>"


def test_ties_are_dropped_before_every_so_many_are_kept() -> None:
    ratings = [(1, 1), (1, 0), (None, 1), (0, 1), (2, 2), (1, 0), (3, 0), (0, 1)]
    found = read(pd.DataFrame(rated(ratings)), every=2)
    # Rows 1, 3, 5, 6, 7 are rated and no ties; the first, third and fifth of them are kept.
    assert found.pairs["chosen"].tolist() == ["Good 1", "Good 5", "Good 7"]
    nullable = pd.DataFrame(rated(ratings)).convert_dtypes()
    assert read(nullable, every=2).sha256 == found.sha256
    counts = found.report.set_index("step")
    assert counts.loc[["read", "rated", "ties", "every"], "kept"].tolist() == [8, 7, 5, 3]
    assert "first: row 2" in counts.loc["rated", "reason"]


def test_a_table_of_all_that_is_dropped() -> None:
    asked = [user("Ask?")]
    half = chr(0xD83D)
    rows = [
        {"chosen": [*asked, says("yes")], "rejected": [*asked, says("no")]},
        {"chosen": [*asked, says("yes")], "rejected": [*asked, says("no")]},
        {"chosen": [*asked, says("no")], "rejected": [*asked, says("yes")]},
        {"chosen": [*asked, says("same")], "rejected": [*asked, says("same")]},
        {"chosen": [*asked, says(" ")], "rejected": [*asked, says("no")]},
        {"chosen": [*asked, says(half)], "rejected": [*asked, says("no")]},
        {"chosen": [*asked], "rejected": [*asked, says("no")]},
        {"chosen": [], "rejected": [*asked, says("no")]},
        {"chosen": [says("a")], "rejected": [says("b")]},
        {"chosen": [user("x"), says("a")], "rejected": [user("y"), says("b")]},
        {"chosen": [*asked, says("x" * 96)], "rejected": [*asked, says("y" * 97)]},
        {"chosen": [*asked, says("x" * 96)], "rejected": [*asked, says("y" * 96)]},
    ]
    found = read(pd.DataFrame(rows), max_chars=100)
    dropped = found.report.set_index("step")["dropped"].to_dict()
    assert dropped == {
        "read": 0, "answered": 2, "shared": 1, "prompted": 1, "empty": 1, "unicode": 1,
        "different": 1, "length": 1, "unique": 1,
    }  # fmt: skip
    assert found.report["kept"].iloc[-1] == len(found) == 3
    report = found.report
    assert (report["kept"].diff().iloc[1:] == -report["dropped"].iloc[1:]).all()
    assert "first: row 3 of the DataFrame" in report.set_index("step").loc["different", "reason"]


def test_longer_conversations_share_their_first_turns() -> None:
    turns = [{"role": "system", "content": "Be kind."}, user("A?"), says("a"), user("B?")]
    row = {"prompt": "A?", "chosen": [*turns, says("b")], "rejected": [*turns, says("c")]}
    found = read(pd.DataFrame([row]))
    assert json.loads(found.pairs["prompt"][0]) == turns


LEXICON = {"good": ["love", "self-made", "ris*"], "bad": ["hate"]}


def leaky() -> pd.DataFrame:
    texts = [
        ("What is Love?", "A word.", "Self-made hate."),
        ("Glove?", "It rises.", "Haters."),
        ("Plain?", "Tourists.", "No."),
        ("Plain?", "Tourists.", "No."),
        ("What is Love?", "A word.", "Self-made hate."),
    ]
    return pd.DataFrame(texts, columns=["prompt", "chosen", "rejected"])


def test_accents_are_letters_however_they_are_typed() -> None:
    boy, its_stem = "\u0932\u0921\u093c\u0915\u093e", "\u0932\u0921\u093c*"
    texts = ["Un cafe\u0301.", "CAF\u00c9!", "x\u0302y", "auto-cafe\u0301", boy]
    frame = pd.DataFrame({"prompt": texts, "chosen": "Yes.", "rejected": "No."})
    terms = ["caf\u00e9", "cafe*", "x*", "auto-cafe", boy[:-1], its_stem]
    found = read(frame, lexicon={"x": terms})
    assert found.leakage is not None
    # The Hindi word for a boy without its vowel sign is another word; with a wildcard it is not.
    assert found.leakage["prompt"].tolist() == [3, 0, 0, 0, 0, 1]


def test_words_of_a_lexicon_are_counted() -> None:
    found = read(leaky(), lexicon=LEXICON)
    assert found.leakage is not None
    expected = {"love": [1, 0, 0], "self-made": [0, 0, 1], "ris*": [0, 1, 0], "hate": [0, 0, 1]}
    assert found.leakage.T.to_dict("list") == expected
    assert len(found) == 3
    last = found.report.iloc[-1]
    assert (last["step"], last["dropped"]) == ("lexicon", 0)
    assert "1 prompts, 1 chosen and 1 rejected answers: kept" in last["reason"]


def test_pairs_with_words_of_a_lexicon_are_dropped_if_wanted() -> None:
    found = read(leaky(), lexicon=LEXICON, drop_leaks=True)
    assert found.pairs["prompt"].map(json.loads).tolist() == [[user("Plain?")]]
    counts = found.report.set_index("step")["dropped"]
    assert (counts["unique"], counts["lexicon"]) == (2, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"prompt": "a", "chosen": "b"', "Line 1 of 'bad.jsonl' is not JSON"),
        (b'\n{"prompt": "a", "chosen": "b", "rejected": "c"}\nnope', "Line 3 .* is not JSON"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n\n[1]', "Line 3 .* is a JSON list"),
        (b"[" * 100_000, "Line 1 .* is not JSON"),
        (b'{"a": "\xff"}', "Line 1 .* is not UTF-8 text .byte 7"),
        ('{"prompt": "a"}'.encode("utf-16"), "Line 1 .* is not UTF-8"),
        (b'{"chosen": "b", "Rejected": "c"}', "no column 'rejected'.*Did you mean 'Rejected'"),
        (b'{"conv_A": [], "conv_B": [], "conv_A_ratings": 1, "conv_B_rating": 1}',
         "no column 'conv_A_rating'.*Did you mean 'conv_A_ratings'"),
        (b'{"question": "b", "answer": "c"}', "no column 'chosen' and no column 'rejected'"),
        (b'{"Prompt": "a", "chosen": "b", "rejected": "c"}', "Did you mean 'prompt'|no column 'pr"),
        (b'{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "a", "chosen": "b"}',
         "Line 2 of 'bad.jsonl' has no 'rejected'"),
        (b'{"prompt": "a", "chosen": 3, "rejected": "c"}', "line 1 of 'bad.jsonl' is 3 .int"),
        (b'{"prompt": null, "chosen": "b", "rejected": "c"}', "is null .NoneType"),
        (b'{"chosen": [{"from": "gpt", "value": "b"}], "rejected": []}', "expected a role and"),
        (b'{"chosen": [{"role": "user", "content": null}], "rejected": []}', "expected text for"),
        (b"", "'bad' has no rows"),
        (b"\n\n", "'bad' has no rows"),
    ],
)  # fmt: skip
def test_bad_lines(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueBiasError, match=message):
        read(path)


def test_a_rating_that_is_no_number() -> None:
    rows = rated([(1, 0)])
    rows[0]["conv_B_rating"] = "low"
    with pytest.raises(ValueBiasError, match=r"'conv_B_rating' of row 0 .* is 'low'"):
        read(pd.DataFrame(rows))


def test_nothing_left() -> None:
    rows = [row | {"rejected": row["chosen"]} for row in plain()]
    with pytest.raises(ValueBiasError, match="of 6 rows, 6 dropped because chosen and rejected"):
        read(pd.DataFrame(rows), name="mine")
    with pytest.raises(ValueBiasError, match="6 dropped because prompt and an answer have more"):
        read(pd.DataFrame(plain()), max_chars=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every is 0"),
        ({"max_chars": -1}, "max_chars is -1"),
        ({"drop_leaks": True}, "Give lexicon="),
        ({"lexicon": "agency-comunion"}, "Did you mean 'agency-communion'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        read(pd.DataFrame(plain()), **options)


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    for source, message in (
        (tmp_path / "x.csv", "not a preference file"),
        (tmp_path / "empty", "no .jsonl and no .parquet"),
        (tmp_path / "x.parquet", "cannot be read as Parquet"),
        (tmp_path / "none.jsonl", "There is no file or folder .*Check the path"),
        ("Skywork/Skywork-Reward", "hf://datasets/Skywork/Skywork-Reward@<revision>"),
        ("hf://datasets/org/name@main", "the revision 'main', which can change"),
        ([1, 2], "found list"),
        (pd.DataFrame(), "has no rows"),
        (pd.DataFrame([["a", "b"]], columns=["chosen", "chosen"]), "two columns 'chosen'"),
    ):
        with pytest.raises(ValueBiasError, match=message):
            read(source)


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = to_parquet(plain(500), tmp_path)
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)  # the footer is whole, the pages are not
    path.write_bytes(content)
    with pytest.raises(ValueBiasError, match="cannot be read as Parquet"):
        read(path)


def test_folders_of_several_tables(tmp_path: Path) -> None:
    for folder in ("all", "Nectar"):
        (tmp_path / folder).mkdir()
        to_folder(plain(), tmp_path / folder)
    with pytest.raises(ValueBiasError, match=r"several tables: Nectar/data \(.parquet\), all/data"):
        read(tmp_path)
    assert len(read(tmp_path / "all")) == 6
    assert len(read(tmp_path / "all", split="test")) == 1
    with pytest.raises(ValueBiasError, match=r"split 'tests'\. Did you mean 'test'"):
        read(tmp_path / "all", split="tests")


def test_a_dataset_of_several_splits() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    whole = datasets.DatasetDict({"test": datasets.Dataset.from_list(plain())})
    with pytest.raises(ValueBiasError, match=r"Give dataset\['test'\]"):
        read(whole)
    assert read(whole["test"]).provenance["dataset"]["fingerprint"]


def test_progress_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    preferences(pd.DataFrame(plain(2500)))
    assert "Reading preferences" in capsys.readouterr().err
    read(pd.DataFrame(plain(2500)))
    assert not capsys.readouterr().err


@given(
    st.lists(
        st.fixed_dictionaries({name: st.text() for name in ("prompt", "chosen", "rejected")}),
        min_size=1,
    )
)
def test_any_texts_are_kept_as_they_are_or_counted(rows: Rows) -> None:
    try:
        found = read(pd.DataFrame(rows))
    except ValueBiasError as error:
        assert "Nothing is left" in str(error)  # noqa: PT017
        return
    assert len(found) + found.report["dropped"].sum() == len(rows)
    texts = {(row["prompt"], row["chosen"], row["rejected"]) for row in rows}
    for prompt, chosen, rejected in found.pairs[["prompt", "chosen", "rejected"]].to_numpy():
        assert (json.loads(prompt)[0]["content"], chosen, rejected) in texts


READ = """
import json, sys
import valuebias
found = valuebias.preferences(sys.argv[1], progress=False, **json.loads(sys.argv[2]))
print(json.dumps([found.name, found.sha256, found.provenance["hub"]]))
"""


def test_a_dataset_on_the_hub_is_read_as_a_folder_is(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    import hub_server

    folder = tmp_path / "hub" / "datasets" / "org" / "prefs"
    folder.mkdir(parents=True)
    to_folder(plain(), folder)
    places = {"HF_HOME": str(tmp_path / "hf"), "VALUEBIAS_CACHE": str(tmp_path / "vb")}

    def ask(url: str, source: str, **options: Any) -> Any:
        made = subprocess.run(
            [sys.executable, "-c", READ, source, json.dumps(options)],
            env=os.environ | {"HF_ENDPOINT": url} | places,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return json.loads(made.stdout)

    pinned = f"hf://datasets/org/prefs@{hub_server.COMMIT}"
    with hub_server.serve(tmp_path / "hub") as (url, log):
        name, digest, about = ask(url, pinned)
    assert (name, digest) == ("prefs", read(folder).sha256)
    files = [f"data/train-0000{i}-of-00002.parquet" for i in range(2)]
    assert about == {"dataset": "org/prefs", "revision": hub_server.COMMIT, "files": files}
    assert not any("README" in line or "test-" in line for line in log)
    offline = ask("http://127.0.0.1:9", f"{pinned}/data", download=False)
    assert offline == [name, digest, about]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, valuebias.ablation; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    assert valuebias.preferences is preferences
