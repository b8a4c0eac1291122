"""Tests of valuebias.models.spec."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml  # noqa: TID251
from hypothesis import given
from hypothesis import strategies as st

from valuebias.errors import ValueBiasError
from valuebias.models.spec import Model, model_tables, read_models
from valuebias.schema.contract import STAGES


def test_the_bundled_reward_models_agree_with_those_of_the_released_scores() -> None:
    with resources.as_file(resources.files("valuebias") / "data" / "reward_models.csv") as path:
        known = pd.read_csv(path).set_index("model")
    models = {model.name: model for model in read_models("christian2026-rms")}
    assert set(models) == set(known.index)
    for name, row in known.iterrows():
        model = models[str(name)]
        found = [model.family, model.base, model.stage, model.n_params]
        assert found == [row["family"], row["base"], row["stage"], row["n_params"]]


@pytest.mark.released_data
def test_the_bundled_tables_agree_with_what_the_authors_ran(released_data: Path) -> None:
    rms = yaml.safe_load((released_data / "reward_models.yaml").read_text(encoding="utf-8"))
    models = {model.name: model for model in read_models("christian2026-rms")}
    assert set(models) == {entry["name"] for entry in rms}
    for entry in rms:
        model, asked = models[entry["name"]], entry["params"]
        assert model.dtype == asked["torch_dtype"]
        assert model.revision == asked.get("revision")
        assert model.trust_remote_code == asked.get("trust_remote_code", False)
        # Code of its own means an output of its own.
        assert (model.head == "score") == model.trust_remote_code
        assert model.family == entry["base_model"]
        family, version, size = (entry[key] for key in ("base_model", "base_version", "size"))
        assert f"{family}-{version}-{size}".lower() in str(model.base).lower()
    lms = yaml.safe_load((released_data / "models.yaml").read_text(encoding="utf-8"))
    models = {model.name: model for model in read_models("christian2026-lms")}
    assert set(models) == {entry["name"] for entry in lms}
    for entry in lms:
        model = models[entry["name"]]
        pretrained = entry["type"] == "pretrained"
        assert model.stage == ("pretrained" if pretrained else "instruct")
        assert model.template == ("plain" if pretrained else "chat")
        assert str(model.family).lower() == entry["family"]
        # Llama 3.3 has no pretrained model of its own.
        pretrained_name = entry["name"].removesuffix("-it").removesuffix("-Instruct")
        assert model.base == pretrained_name.replace("3.3", "3.1")
        assert model.dtype == entry["dtype"]


def test_the_bundled_tables_are_named_and_complete() -> None:
    assert [len(read_models(name)) for name in model_tables()] == [10, 12]
    for name in model_tables():
        for model in read_models(name):
            assert model.stage in STAGES
            assert str(model.family).lower() in str(model.base).lower()
            assert model.location == model.name
            assert model.n_params is not None


def test_the_bundled_models_stand_on_five_and_nine_bases() -> None:
    found = {name: Counter(m.base for m in read_models(name)) for name in model_tables()}
    assert found["christian2026-rms"] == {
        "google/gemma-2-27b-it": 3,
        "google/gemma-2-2b-it": 1,
        "meta-llama/Llama-3.1-8B-Instruct": 3,
        "meta-llama/Meta-Llama-3-8B-Instruct": 2,
        "meta-llama/Llama-3.2-3B-Instruct": 1,
    }
    assert sorted(found["christian2026-lms"].values()) == [1] * 6 + [2] * 3
    assert found["christian2026-lms"]["meta-llama/Llama-3.1-70B"] == 2


def test_every_form_gives_the_same_models(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"location": "org/a", "name": "a", "family": "Llama", "label": 1, "n_params": 8e9},
        {"location": "org/b", "name": "b", "dtype": "bfloat16", "trust_remote_code": True},
    ]
    expected = tuple(Model(**row) for row in rows)
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "models.csv", index=False)
    frame.to_csv(tmp_path / "models.tsv", index=False, sep="\t")
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(rows))
    named = {row["name"]: {k: v for k, v in row.items() if k != "name"} for row in rows}
    (tmp_path / "named.yml").write_text(yaml.safe_dump(named))
    made = [
        read_models(expected),
        read_models(rows),
        read_models(named),
        read_models(frame),
        read_models(frame.set_index("name")),
        read_models([frame.iloc[:1], expected[1]]),
        read_models(tmp_path / "models.csv", trust_remote_code=True),
        read_models(str(tmp_path / "models.tsv"), trust_remote_code=True),
        read_models(tmp_path / "list.yaml", trust_remote_code=True),
        read_models(str(tmp_path / "named.yml"), trust_remote_code=True),
        read_models([tmp_path / "models.csv"], trust_remote_code=True),
    ]
    for found in made:
        assert found == expected
    assert read_models(rows[0]) == expected[:1]


def test_a_name_in_a_mapping_is_the_source_where_none_is_given(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("org/a: {dtype: float16}\norg/b:\n")
    assert read_models(path) == (Model("org/a", dtype="float16"), Model("org/b"))
    path.write_text("- org/a\n- {location: org/b, n_params: 8e9, n_pairs: '100', label: '2'}\n")
    model = read_models(path)[1]
    assert (model.n_params, model.n_pairs, model.label) == (8e9, 100, 2)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("org/model", "org/model"),
        ("gpt2", "gpt2"),
        ("~/models/mine.gguf", "mine"),
        ("/somewhere/export/model.onnx", "model"),
        ("./models/mine", "mine"),
        ("org/repository/mine.Q4.gguf", "mine.Q4"),
    ],
)
def test_a_model_is_named_after_its_source(source: str, name: str) -> None:
    assert read_models(source) == (Model(source),)
    assert Model(source).name == name


def test_a_whole_path_in_a_mapping_is_no_name(tmp_path: Path) -> None:
    path, other = str(tmp_path / "rm"), str(tmp_path / "lm.gguf")
    found = read_models({path: None, other: {"family": "F"}, "./x": {"location": path}})
    assert [(m.name, m.location) for m in found] == [("rm", path), ("lm", other), ("./x", path)]


def test_a_folder_is_named_and_found_beside_its_table(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert read_models(tmp_path / "mine")[0].name == "mine"
    (tmp_path / "models.yaml").write_text("- {location: mine, tokenizer: mine}\n- other\n")
    mine, other = read_models(tmp_path / "models.yaml")
    assert mine.location == mine.tokenizer == str(tmp_path / "mine")
    assert (mine.name, other.location) == ("mine", "other")


def test_coords_say_what_is_known() -> None:
    assert Model("org/a").coords() == {}
    trained = Model("x", family="Llama", n_params=1e9, source="hh", seed=0, tuning="bt")
    assert trained.coords() == {
        "family": "Llama",
        "n_params": 1e9,
        "source": "hh",
        "seed": 0,
        "tuning": "bt",
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("christian2026-rm", "no table .* Did you mean 'christian2026-rms'"),
        ({"a": {"sauce": "org/a"}}, "no field 'sauce'. Did you mean 'source'"),
        ({"a": "org/a"}, "'a' is 'org/a'; expected a mapping"),
        ([{"family": "Llama"}], "has no 'location'"),
        ([{"name": "a", "family": "Llama"}], "'a' has no 'location'"),
        (["org/a", "org/a"], "'org/a' occurs 2 times"),
        ([], "no model to score"),
        (7, "given as 7"),
        ("absent.yaml", "cannot be read"),
        ({"location": ""}, "location ''"),
        ({"location": "org/a", "dtype": "float23"}, "Did you mean 'float32'"),
        ({"location": "org/a", "head": "logit"}, "Did you mean 'logits'"),
        ({"location": "org/a", "reward_at": "lastt"}, "Did you mean 'last'"),
        ({"location": "org/a", "stage": "rewards"}, "Did you mean 'reward'"),
        ({"location": "org/a", "n_params": "8B"}, "expected a number such as"),
        ({"location": "org/a", "n_params": -1}, "cannot be negative"),
        ({"location": "org/a", "n_pairs": 1.5}, "expected a whole number"),
        ({"location": "org/a", "label": -1}, "expected a label's number, from 0"),
        ({"location": "org/a", "label": True}, "expected a label's number"),
        ({"location": "org/a", "trust_remote_code": "perhaps"}, "expected true or false"),
        ({"location": "org/a", "family": 3}, "expected text"),
        ({"location": "org/a", "revision": 1234}, "expected text"),
        ({"location": "org/a", "template": "chatt"}, "expected 'chat', 'plain', 'pair', a text"),
        ({"location": "org/a", "template": "{prompt}"}, "once each"),
        ({"location": "org/a", "template": "{response} {prompt}"}, r"Put \{prompt\} first"),
    ],
)
def test_a_bad_specification_is_named(source: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        read_models(source)


def test_a_bad_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("3")
    with pytest.raises(ValueBiasError, match="must hold a list of models"):
        read_models(path)
    (tmp_path / "models.csv").write_text("source,famly\norg/a,Llama\n")
    with pytest.raises(ValueBiasError, match=r"no field 'famly'. Did you mean 'family'"):
        read_models(tmp_path / "models.csv")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
)
def test_any_content_is_taken_or_refused_clearly(content: Any) -> None:
    try:
        models = read_models(content)
    except ValueBiasError:
        return
    assert all(isinstance(model, Model) for model in models)


@pytest.mark.parametrize("source", ["x" * 5000, "./" + "y" * 300, "org/" + "z" * 300])
def test_a_source_too_long_to_be_looked_for(tmp_path: Path, source: str) -> None:
    """It is a hub id that nobody has, which is said where it is looked for."""
    table = tmp_path / "models.csv"
    table.write_text(f"location,family\n{source},A\n", encoding="utf-8")
    assert read_models(table)[0].location == source


def test_a_source_that_no_system_knows() -> None:
    with pytest.raises(ValueBiasError, match="expected a hub id"):
        Model("./a\0b")


def test_a_field_of_nothing_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    table = tmp_path / "models.yaml"
    table.write_text("org/one: {location: null, family: A}\n", encoding="utf-8")
    assert read_models(table)[0].location == "org/one"
    table.write_text("- {location: null, family: A}\n", encoding="utf-8")
    with pytest.raises(ValueBiasError, match="has no 'location'"):
        read_models(table)
