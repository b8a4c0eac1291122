"""What models are called: names of other people become folders, and never leave theirs."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import tiny_models
import xarray as xr
from hypothesis import example, given, settings
from naive_backend import NaiveBackend
from stores import unseal

import valuebias
from valuebias import Model, ValueBiasError
from valuebias._core.folder_names import folder_of

pytestmark = pytest.mark.skipif(tiny_models.missing() is not None, reason="needs PyTorch")

PROMPTS = {"p": {"text": "Which?", "framing": "positive"}}
HOSTILE = [
    ".",
    "..",
    "../out",
    "../../../../out",
    "/out",
    "a\\..\\b",
    ".hidden",
    ".zgroup",
    ".zattrs",
    ".zmetadata",
    "zarr.json",
    ".valuebias-000000000000.part",
    "x.part",
    "score",
    "model",
    "con",
    "NUL.txt",
    "a:b*c?",
    "ends in a dot.",
    " ",
    "~",
    "%2E.",
    250 * "x",
    300 * "é",
    "[red]bold[/red]",
    "家族",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_models.tiny("llama", "logprob", tmp_path_factory.mktemp("models") / "lm"))


def score(models: Any, store: Path | None = None, lexicon: Any = "vocabulary") -> Any:
    return valuebias.score(
        models, store=store, progress=False, prompts=PROMPTS, lexicon=lexicon, backend=NaiveBackend,
        kind="logprob",
    )  # fmt: skip


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_any_name_stays_in_its_store(source: str, tmp_path: Path) -> None:
    store = tmp_path / "in" / "here" / "scores.zarr"
    store.parent.mkdir(parents=True)
    before = set(files(tmp_path))
    made = score([Model(source, name=name, base="org/b") for name in HOSTILE], store)
    assert all(store in path.parents for path in set(files(tmp_path)) - before)
    tree = valuebias.read_vocabulary(store)
    names = {str(node["model"].item()): node for node in tree.children.values()}
    assert sorted(names) == sorted(HOSTILE)
    assert tree.identical(made)
    again = score([Model(source, name=name, base="org/b") for name in HOSTILE], store)
    assert again.identical(made)
    aligned = valuebias.align(tree)
    assert aligned["model"].to_numpy().tolist() == [
        str(node["model"].item()) for node in tree.children.values()
    ]


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=300))
@example("..")
@example("nul")
@example("%2E.")
def test_a_folder_is_safe_and_one_name_has_it(name: str) -> None:
    made = folder_of(name)
    assert made not in ("", ".", "..")
    assert len(made.encode()) <= 200
    assert not set(made) & set('/\\:*?"<>|')
    assert all(unicodedata.category(character) not in ("Cc", "Cs") for character in made)
    assert made[0] != "."
    assert made[-1] not in ". "


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(alphabet="%2E.:a ", max_size=5), min_size=2, max_size=2, unique=True))
def test_two_names_have_two_folders(names: list[str]) -> None:
    assert folder_of(names[0]) != folder_of(names[1])


@pytest.mark.parametrize(
    ("one", "other"),
    [("org/m", "org--m"), ("Llama", "llama"), ("straße", "STRASSE"), ("é", "e\u0301")],
)
def test_two_names_of_one_folder(one: str, other: str, source: str, tmp_path: Path) -> None:
    store = tmp_path / "scores.zarr"
    with pytest.raises(ValueBiasError, match=f"'{one}' and '{other}' would be kept in one folder"):
        score([Model(source, name=one, base="b"), Model(source, name=other, base="b")], store)
    assert not store.exists()
    score(Model(source, name=one), store)
    with pytest.raises(ValueBiasError, match=r"would be kept in one|keeps the model 'org/m'"):
        score(Model(source, name=other), store)
    (node,) = valuebias.read_vocabulary(store).children.values()
    assert node["model"].item() == one


def test_folders_of_earlier_versions_go_on(source: str, tmp_path: Path) -> None:
    store = tmp_path / "scores.zarr"
    made = score(Model(source, name="org/a:b", base="org/b"), store).load()
    # As they were named before: only slashes were replaced.
    (store / "org--a%3Ab").rename(store / "org--a:b")
    unseal(store)
    attrs = json.loads((store / ".zattrs").read_bytes())
    attrs["provenance"] = attrs["provenance"].replace("org--a%3Ab", "org--a:b")
    (store / ".zattrs").write_text(json.dumps(attrs))
    found = valuebias.read_vocabulary(store)
    assert list(found.children) == ["org--a:b"]
    xr.testing.assert_equal(found["org--a:b"].to_dataset(), made["org--a%3Ab"].to_dataset())
    score([Model(source, name=name, base="org/b") for name in ("org/a:b", "c:d")], store)
    assert sorted(valuebias.read_vocabulary(store).children) == ["c%3Ad", "org--a:b"]


@pytest.mark.parametrize("listed", [["../other.zarr/m"], [".."], ["/etc"], ["a\\b"], [7], ""])
def test_a_record_that_names_folders_elsewhere(listed: Any, source: str, tmp_path: Path) -> None:
    store, other = tmp_path / "scores.zarr", tmp_path / "other.zarr"
    for each in (store, other):
        score(Model(source, name="m"), each)
    unseal(store)
    attrs = json.loads((store / ".zattrs").read_bytes())
    attrs["provenance"] = json.dumps(json.loads(attrs["provenance"]) | {"groups": listed})
    (store / ".zattrs").write_text(json.dumps(attrs))
    for read in (valuebias.read_vocabulary, lambda path: score(Model(source, name="m"), path)):
        with pytest.raises(ValueBiasError, match=r"names groups that are no folders of the store"):
            read(store)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "\x1b[31mred", "\ud800", "a\x7f", "\x85"])
@pytest.mark.parametrize("lexicon", ["vocabulary", ["love", "power"]])
def test_names_that_nothing_can_show(name: str, lexicon: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"holds (control characters|half a character)") as e:
        valuebias.score({name: {"location": "org/m"}}, lexicon=lexicon, prompts=PROMPTS)
    assert name not in str(e.value)


@pytest.mark.parametrize(
    "revision",
    ["..", "../../x", "a/../b", "/etc/passwd", "a//b", ".git", "a/.b", "x\0", "a b", "a\n", "x~1",
     "a:b", "a\\b", "x/", "x.", 300 * "x", "\ud800", "main@{1}"],
)  # fmt: skip
def test_revisions_that_cannot_be(revision: str) -> None:
    with pytest.raises(ValueBiasError, match="no commit, tag or branch can be called"):
        Model("org/m", revision=revision)


@pytest.mark.parametrize("revision", ["main", "v1.0.2", "refs/pr/12", "step-1000", "0" * 40])
def test_revisions_that_can(revision: str) -> None:
    assert Model("org/m", revision=revision).revision == revision


@pytest.mark.parametrize("source", ["../nowhere", "a/..", "a/b/../../x.gguf", "a//b", "./x/y"])
def test_sources_that_are_no_hub_ids(source: str) -> None:
    with pytest.raises(ValueBiasError, match="is no folder, no file and no hub id"):
        valuebias.plan({"m": {"location": source}})


@pytest.mark.parametrize("name", ["../x.csv", "a/../../x.csv", "a//x.csv", "./x.csv"])
def test_files_of_datasets_that_go_up(name: str) -> None:
    path = f"hf://datasets/owner/name@{40 * '0'}/{name}"
    with pytest.raises(ValueBiasError, match=r"names a file by '.', '..' or nothing"):
        valuebias.read_logprobs({"m": path}, models={"m": {"location": "org/m"}}, download=False)


def test_names_of_a_lexicon_s_store_are_as_given(source: str, tmp_path: Path) -> None:
    models = [Model(source, name=n, base="org/b") for n in [*HOSTILE[::4], "Llama", "llama"]]
    made = score(models, tmp_path / "scores.zarr", ["love", "power"])
    assert made["model"].to_numpy().tolist() == [model.name for model in models]
    found = valuebias.read(tmp_path / "scores.zarr")
    np.testing.assert_array_equal(found["score"], made["score"])
