"""Reward models whose head has several labels: rows of one model, computed together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import tiny_models
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.backends import LoadedModel, Source
from valuebias.backends.torch_backend import TorchBackend

pytestmark = pytest.mark.skipif(
    tiny_models.missing() is not None, reason=str(tiny_models.missing())
)

WORDS = ("love", "power", "free dom", "x", "trust and care")
PROMPTS = {
    "up": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"},
    "down": {"text": "What is the worst thing?", "framing": "negative"},
}
LABELS = ("helpful", "honest", "brief")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("labels")
    tiny_models.tiny("llama", "reward", made / "many", labels=3)
    tiny_models.tiny("gemma2", "reward", made / "one", seed=1)
    named = json.loads((made / "many" / "config.json").read_text())
    named |= {"id2label": dict(enumerate(LABELS)), "label2id": {n: i for i, n in enumerate(LABELS)}}
    (made / "many" / "config.json").write_text(json.dumps(named))
    return made


def score(models: Any, **options: Any) -> xr.Dataset:
    options = {"prompts": PROMPTS, "lexicon": WORDS, "progress": False} | options
    return valuebias.score(models, **options)  # type: ignore[no-any-return]


class Counting(TorchBackend):
    """The torch backend; it counts the packs that it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[Source] = []

    def load(self, source: Source) -> LoadedModel:
        self.loads.append(source)
        return super().load(source)


class OneByOne(Counting):
    """A backend that reads one label at a time."""

    several_labels = False


def expected(folder: Path, name: str, label: int = 0) -> np.ndarray:
    """Score with plain transformers, a conversation at a time."""
    rows = [
        naive.word_rewards(folder / name, p["text"], WORDS, label=label) for p in PROMPTS.values()
    ]
    return np.array(rows)


def test_all_labels_equal_transformers_in_one_pass(folder: Path, tmp_path: Path) -> None:
    backend = Counting()
    models = [
        Model(str(folder / "many"), label="all", base="a"),
        Model(str(folder / "one"), base="b"),
    ]
    found = score(models, backend=backend, store=tmp_path / "s.zarr")
    assert found["model"].to_numpy().tolist() == [*(f"many: {name}" for name in LABELS), "one"]
    assert found["label"].to_numpy().tolist() == [*LABELS, ""]
    (owner, *others, none) = found["reward_model"].to_numpy().tolist()
    assert re.fullmatch(r"many \([0-9a-f]{8}\)", owner)
    assert (others, none) == ([owner] * 2, "")
    assert [source.read_labels for source in backend.loads] == [(0, 1, 2), ()]
    for k in range(3):
        np.testing.assert_allclose(found["score"][k], expected(folder, "many", k), atol=5e-5)
    np.testing.assert_allclose(found["score"][3], expected(folder, "one"), atol=5e-5)
    assert not np.allclose(found["score"][0], found["score"][1], atol=1e-3)
    # The store says so as well, and gives it all back.
    xr.testing.assert_identical(valuebias.read(tmp_path / "s.zarr"), found)


@pytest.mark.parametrize("lexicon", [WORDS, "vocabulary"])
def test_labels_are_the_same_bits_one_by_one(folder: Path, lexicon: Any) -> None:
    models = [Model(str(folder / "many"), label="all")]
    alone = OneByOne()
    found, each = (
        score(models, lexicon=lexicon, backend=backend) for backend in (Counting(), alone)
    )
    assert [source.label for source in alone.loads] == [0, 1, 2]
    if lexicon == "vocabulary":
        assert {str(group.ds["model"][0].item()) for group in found.values()} == {
            f"many: {name}" for name in LABELS
        }
        for name in found:
            xr.testing.assert_equal(found[name].ds["score"], each[name].ds["score"])
    else:
        xr.testing.assert_equal(found, each)


def test_a_label_asked_for_later_is_added(folder: Path, tmp_path: Path) -> None:
    """What is there is kept, and a store that lost a block gets that alone."""
    store, many = tmp_path / "s.zarr", str(folder / "many")
    first = score([Model(many, label=["honest"])], store=store)
    assert first["model"].to_numpy().tolist() == ["many: honest"]
    kept = {p: p.stat().st_mtime_ns for p in (store / "score").glob("0.*.0")}
    assert kept
    whole = score([Model(many, label="all")], store=store)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    fresh = score([Model(many, label="all")])
    xr.testing.assert_equal(whole["score"].sel(model=fresh["model"]), fresh["score"])
    (store / "score" / "1.0.0").unlink()
    with pytest.warns(valuebias.ValueBiasWarning, match="damaged"):
        again = score([Model(many, label="all")], store=store)
    xr.testing.assert_identical(again, whole)
    backend = Counting()
    score([Model(many, label="all")], store=store, backend=backend)
    assert not backend.loads


def test_folders_of_one_name_are_two_models(tmp_path: Path) -> None:
    models = [
        Model(
            str(tiny_models.tiny("llama", "reward", tmp_path / f"{i}" / "final", labels=2, seed=i)),
            name=f"rm-{i}", label="all", base=f"org/{i}",
        )
        for i in range(2)
    ]  # fmt: skip
    found = score(models)
    assert found["model"].to_numpy().tolist()[0] == "rm-0: LABEL_0"
    assert found["label"].to_numpy().tolist() == ["LABEL_0", "LABEL_1"] * 2
    assert len(set(found["reward_model"].to_numpy().tolist())) == 2


def test_onnx_reads_all_labels_at_once(folder: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    models = [Model(str(folder / "many"), label=[2, "helpful"])]
    found, other = (score(models, backend=backend) for backend in ("onnx", "torch"))
    assert found["label"].to_numpy().tolist() == ["brief", "helpful"]
    np.testing.assert_allclose(found["score"], other["score"], atol=5e-5)


OWN_CODE = """
import torch
from dataclasses import dataclass
from transformers import LlamaModel, LlamaPreTrainedModel
from transformers.utils import ModelOutput

@dataclass
class Several(ModelOutput):
    rewards: torch.Tensor = None
    score: torch.Tensor = None

class Gated(LlamaPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.regression_layer = torch.nn.Linear(config.hidden_size, 4)
        self.post_init()
    def forward(self, input_ids, attention_mask=None, **_):
        hidden = self.model(input_ids, attention_mask=attention_mask).last_hidden_state[:, -1]
        rewards = self.regression_layer(hidden)
        return Several(rewards=rewards, score=rewards.mean(-1))
"""


def test_rewards_that_a_models_own_code_puts_out(folder: Path, tmp_path: Path) -> None:
    """As ArmoRM does: objectives beside a score, and a configuration that names none of them."""
    import torch
    from safetensors.torch import load_file, save_file

    own = tmp_path / "gated"
    tiny_models.tiny("llama", "reward", own)
    (own / "own_code.py").write_text(OWN_CODE)
    config = json.loads((own / "config.json").read_text())
    config |= {"auto_map": {"AutoModelForSequenceClassification": "own_code.Gated"}}
    for name in ("id2label", "label2id", "num_labels"):
        config.pop(name, None)
    (own / "config.json").write_text(json.dumps(config))
    weights = load_file(own / "model.safetensors")
    hidden = weights.pop("score.weight").shape[1]
    weights["regression_layer.weight"] = torch.randn(4, hidden, generator=torch.manual_seed(0))
    weights["regression_layer.bias"] = torch.arange(4.0)
    save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
    asked = {"head": "rewards", "trust_remote_code": True}
    found = score([Model(str(own), label=[0, 3], **asked)])
    assert found["model"].to_numpy().tolist() == ["gated: 0", "gated: 3"]
    single = [score([Model(str(own), name="x", label=k, **asked)])["score"] for k in (0, 3)]
    np.testing.assert_array_equal(found["score"], np.concatenate(single))
    mean = score([Model(str(own), head="score", trust_remote_code=True)])["score"][0]
    every = score([Model(str(own), label=range(4), **asked)])["score"]
    np.testing.assert_allclose(every.mean("model"), mean, atol=1e-5)
    with pytest.raises(ValueBiasError, match=r"neither its weights nor.*label=\[0, 1, 2\]"):
        score([Model(str(own), label="all", **asked)])
    with pytest.raises(ValueBiasError, match=r"puts out as rewards a tensor.*among them 4"):
        score([Model(str(own), label=[1, 4], **asked)])


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ([], "expected a label's number"),
        ([0, 0], "a list of different ones"),
        ([-1], "expected a label's number"),
        ([True], "expected a label's number"),
        (["helpfull"], "has no label 'helpfull'. Did you mean 'helpful'"),
        ([0, 3], "label=3, but its labels are numbered 0 to 2"),
        (1.5, "expected a label's number"),
    ],
)
def test_labels_that_are_not_there(folder: Path, label: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said.replace("[", r"\[")):
        score([Model(str(folder / "many"), label=label)])


def test_a_function_as_head_has_no_labels(folder: Path) -> None:
    with pytest.raises(ValueBiasError, match="gives one reward a conversation"):
        Model(str(folder / "many"), label="all", head=lambda hidden: hidden[:, 0])


def test_all_labels_of_a_head_of_one(folder: Path) -> None:
    found = score([Model(str(folder / "one"), label="all")])
    assert found["model"].to_numpy().tolist() == ["one"]
    assert "label" not in found.coords


def test_tables_plans_and_shards_take_labels(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "models.yaml"
    table.write_text(
        f"many: {{location: {folder / 'many'}, label: all}}\n"
        f"two: {{location: {folder / 'many'}, label: [honest, 0]}}\n"
    )
    planned = valuebias.plan(table, prompts=PROMPTS, lexicon=WORDS)
    counts = planned.table["tokens"]
    assert counts["many: helpful"] > 0
    assert counts.drop("many: helpful").eq(0).all()
    assert "'many: honest': this label is read from the passes of 'many: helpful'" in str(planned)
    whole = score(table)
    assert len(set(whole["reward_model"].to_numpy().tolist())) == 1
    shards = [score(table, store=tmp_path / f"{i}.zarr", shard=(i, 3)) for i in (1, 2, 3)]
    merged = valuebias.merge(shards, out=tmp_path / "all.zarr")
    xr.testing.assert_equal(merged["score"], whole["score"])
