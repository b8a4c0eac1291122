"""Tests of valuebias.models.bases: what a model was trained from, as its files say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from valuebias.errors import ValueBiasWarning
from valuebias.models.bases import NOWHERE, Origin, followed, local_base, stated_base, warn

GEMMA = "google/gemma-2-2b-it"


def card(front: str) -> dict[str, str]:
    return {"README.md": f"---\nlicense: mit\n{front}\n---\n# A model\nbase_model: no/body\n"}


def config(**fields: object) -> dict[str, str]:
    return {"config.json": json.dumps({"model_type": "llama", **fields})}


def adapter(base: object) -> dict[str, str]:
    return {"adapter_config.json": json.dumps({"base_model_name_or_path": base})}


def folder(place: Path, files: dict[str, str], name: str = "mine") -> Path:
    made = place / name
    made.mkdir()
    for file, text in files.items():
        (made / file).write_text(text, encoding="utf-8")
    return made


@pytest.mark.parametrize(
    ("files", "said_by"),
    [
        (adapter(GEMMA), "adapter_config.json"),
        (card(f"base_model: {GEMMA}"), "README.md"),
        (card(f"base_model:\n- {GEMMA}"), "README.md"),
        (config(_name_or_path=GEMMA), "config.json"),
        (config(base_model_name_or_path=GEMMA), "config.json"),
        # What is surest goes first, and what says nothing useful is passed over.
        (adapter(GEMMA) | card("base_model: a/b-1") | config(_name_or_path="c/d-2"), "adapter_"),
        (adapter("/home/me/base") | card(f"base_model: {GEMMA}"), "README.md"),
        (card("base_model: []") | config(_name_or_path=GEMMA), "config.json"),
    ],
)
def test_each_kind_of_file_names_the_base(
    tmp_path: Path, files: dict[str, str], said_by: str
) -> None:
    found = stated_base(folder(tmp_path, files))
    assert found.base == GEMMA
    assert found.said_by.startswith(said_by)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "/home/me/gemma-2-2b-it", "./gemma-2-2b-it", "../base/gemma", "~/models/gemma",
        "C:\\models\\gemma", "gemma-2-2b-it", "models/gemma-2-2b-it", "outputs/llama", "a/b/c",
        "org/checkpoint-1500", "me/final", "org/mine", "Org/MINE", "mine", None, 7, ["org/a-1"],
    ],
)  # fmt: skip
def test_a_path_or_the_model_itself_is_no_base(tmp_path: Path, name: object) -> None:
    here = folder(tmp_path, config(_name_or_path=name) | adapter(name))
    assert stated_base(here, ids=("org/mine",)) == NOWHERE


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"README.md": "# No front matter\nbase_model: a/b-1\n"},
        {"README.md": "---\nbase_model: a/b-1\nnever closed\n"},
        {"README.md": "---\n: : {\n---\n"},
        {"README.md": "---\n- base_model\n---\n"},
        {"README.md": ""},
        card("base_model: [a/b-1, c/d-2]"),
        {"config.json": "{", "adapter_config.json": "[]"},
    ],
)
def test_what_says_nothing_or_too_much_names_none(tmp_path: Path, files: dict[str, str]) -> None:
    assert stated_base(folder(tmp_path, files)) == NOWHERE


@pytest.mark.parametrize(
    ("entries", "base"),
    [
        ({"repo_url": f"https://huggingface.co/{GEMMA}"}, GEMMA),
        ({"organization": "Google", "name": "Gemma 2 2b It"}, "Google/Gemma-2-2b-It"),
        ({"name": "Gemma 2 2b It"}, ""),
        ({}, ""),
    ],
)
def test_a_gguf_file_names_its_base(tmp_path: Path, entries: dict[str, str], base: str) -> None:
    gguf = pytest.importorskip("gguf")
    here = folder(tmp_path, config(_name_or_path="not/this-one"))
    writer = gguf.GGUFWriter(here / "m.gguf", "llama")
    if entries:
        writer.add_uint32("general.base_model.count", 1)
    for key, value in entries.items():
        writer.add_string(f"general.base_model.0.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert stated_base(here, "m.gguf") == (Origin(base, "the GGUF file") if base else NOWHERE)
    (here / "README.md").write_text(card("base_model: a/b-1")["README.md"])
    assert stated_base(here, "m.gguf").base == (base or "a/b-1")
    (here / "n.gguf").write_bytes(b"GGUF no more")
    assert stated_base(here, "n.gguf").base == "a/b-1"


def test_a_model_is_looked_for_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folder(tmp_path, card(f"base_model: {GEMMA}"))
    expected = Origin(GEMMA, "README.md")
    assert local_base(str(made)) == local_base("mine", tmp_path) == expected
    assert local_base("absent", tmp_path) == local_base("no/where-1") == NOWHERE
    hub = pytest.importorskip("huggingface_hub")
    cache = tmp_path / "hub"
    snapshot = cache / "models--org--rm-1" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    (snapshot / "README.md").write_text(card(f"base_model: {GEMMA}")["README.md"])
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(cache))
    assert local_base("org/rm-1") == expected
    assert local_base("org/rm--1") == NOWHERE


def test_a_chain_of_bases_is_followed_to_its_end() -> None:
    known = {"rm/2": "rm/1", "rm/1": "lm/it", "lm/it": "lm/it", "a": "b", "b": "a", "c": ""}
    assert [followed(name, known) for name in ("rm/2", "lm/it", "other", "c")] == [
        "lm/it", "lm/it", "other", "c",
    ]  # fmt: skip
    assert followed("a", known) == "b"


def test_models_without_a_base_are_named_once() -> None:
    warn({"a": ""}, stacklevel=1)
    warn({"a": "x", "b": "y"}, stacklevel=1)
    many = {f"m{i}": "" for i in range(9)} | {"known": GEMMA}
    with pytest.warns(ValueBiasWarning) as caught:
        warn(many, stacklevel=1)
    (only,) = caught
    assert only.filename == __file__
    said = str(only.message)
    assert "No base is known for 9 of 10 models: 'm0', " in said
    assert "'m5' and 3 more" in said
    assert "column 'base'" in said
    assert "Model(..., base='google/gemma-2-2b-it')" in said
