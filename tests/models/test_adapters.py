"""Adapters (LoRA): scores of a base with an adapter are those of the merged model."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_server
import numpy as np
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError

pytestmark = [
    pytest.mark.skipif(bool(tiny_models.missing()), reason=str(tiny_models.missing())),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
HAS_PEFT = importlib.util.find_spec("peft") is not None
needs_peft = pytest.mark.skipif(not HAS_PEFT, reason="peft is not installed")

TARGETS = ["q_proj", "v_proj", "down_proj"]
ASKED: Any = {
    "prompts": {"p": {"text": "What is good?", "framing": "positive"},
                "n": {"text": "What is the worst thing?", "framing": "negative"}},
    "lexicon": ["love", "power", "free care"], "progress": False,
}  # fmt: skip


def load(folder: Path, kind: str, **options: Any) -> Any:
    """Load a model as transformers does, and nothing else."""
    import transformers

    auto = {"reward": "SequenceClassification", "logprob": "CausalLM"}[kind]
    return getattr(transformers, f"AutoModelFor{auto}").from_pretrained(folder, **options)


def adapt(base: Path, folder: Path, kind: str, *, seed: int = 1, **config: Any) -> Path:
    """Write an adapter of random numbers in peft's format."""
    import peft
    import torch

    options = {} if kind == "logprob" else {"num_labels": 1}
    task = {"reward": "SEQ_CLS", "logprob": "CAUSAL_LM"}[kind]
    settings = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS, "task_type": task, **config}
    torch.manual_seed(seed)
    model = peft.get_peft_model(load(base, kind, **options), peft.LoraConfig(**settings))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and "magnitude" not in name:
                weight.normal_(std=0.2)
            elif "magnitude" in name:
                weight.mul_(1.3)
    model.save_pretrained(folder)
    return folder


def merge(base: Path, adapter: Path, target: Path, kind: str, **options: Any) -> Path:
    """Merge the two with peft, and write them as a plain model."""
    import peft

    options |= {} if kind == "logprob" else {"num_labels": 1}
    model = peft.PeftModel.from_pretrained(load(base, kind, **options), adapter)
    model.merge_and_unload().save_pretrained(target)
    for path in base.iterdir():
        if "token" in path.name or path.name.endswith(".jinja"):
            shutil.copy(path, target)
    return target


def scores(models: Any, kind: str, **options: Any) -> Any:
    return valuebias.score(models, kind=kind, **{**ASKED, **options})  # type: ignore[call-overload]


@pytest.fixture
def lm(tmp_path: Path) -> Path:
    return tiny_models.tiny("llama", "logprob", tmp_path / "lm")


def by_hand(base: Path, folder: Path, **config: Any) -> tuple[Path, dict[str, Any]]:
    """Write an adapter of one layer without peft; give it, and the base's weights with it added."""
    from safetensors.numpy import load_file, save_file

    layer = "model.layers.1.self_attn.q_proj"
    held = load_file(base / "model.safetensors")
    wide, deep = held[f"{layer}.weight"].shape
    rng = np.random.default_rng(4)
    low = rng.normal(size=(3, deep)).astype(np.float32)
    high = rng.normal(size=(wide, 3)).astype(np.float32)
    folder.mkdir()
    named = {f"base_model.model.{layer}.lora_A.weight": low,
             f"base_model.model.{layer}.lora_B.weight": high}  # fmt: skip
    save_file(named, folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 3, "lora_alpha": 2,
             "target_modules": ["q_proj"], "layers_to_transform": [1], **config}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(about))
    scale = 2 / np.sqrt(3) if config.get("use_rslora") else 2 / 3
    held[f"{layer}.weight"] = held[f"{layer}.weight"] + scale * high @ low
    return folder, held


@needs_peft
@pytest.mark.parametrize("use_rslora", [True, False])
def test_what_is_added_is_alpha_over_r_b_a(lm: Path, tmp_path: Path, use_rslora: bool) -> None:
    from safetensors.numpy import save_file

    adapter, held = by_hand(lm, tmp_path / "adapter", use_rslora=use_rslora)
    added = tmp_path / "added"
    shutil.copytree(lm, added)
    weights = {key: np.asarray(value, dtype=np.float32) for key, value in held.items()}
    save_file(weights, added / "model.safetensors", metadata={"format": "pt"})
    found, expected = scores(adapter, "logprob"), scores(added, "logprob")
    np.testing.assert_allclose(found["score"], expected["score"].to_numpy(), atol=1e-5)
    apart = found["score"].to_numpy() - scores(lm, "logprob")["score"].to_numpy()
    assert np.abs(apart).max() > 0.01


def test_without_peft_it_is_said_what_to_install(
    lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter, _ = by_hand(lm, tmp_path / "adapter")
    # As Python finds a package that is not there.
    monkeypatch.setitem(sys.modules, "peft", None)
    said = r"is an adapter, and peft is not installed, which .* pip install \"valuebias\[lora\]\""
    with pytest.raises(ValueBiasError, match=said):
        scores([lm, adapter], "logprob")


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "patterns": {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
    "dora": {"use_dora": True},
    "embedding": {"target_modules": [*TARGETS, "embed_tokens"]},
    "layers": {"layers_to_transform": [0]},
    "norms": {"modules_to_save": ["norm"]},
}


@needs_peft
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["logprob", "reward"])
def test_scores_are_those_of_the_merged_model(
    lm: Path, tmp_path: Path, kind: str, variant: str
) -> None:
    adapter = adapt(lm, tmp_path / "adapter", kind, **VARIANTS[variant])
    merged = merge(lm, adapter, tmp_path / "merged", kind)
    found, expected = scores(adapter, kind), scores(merged, kind)
    np.testing.assert_allclose(found["score"], expected["score"].to_numpy(), atol=1e-5, rtol=1e-5)
    if kind == "logprob":
        assert np.abs(found["score"] - scores(lm, kind)["score"].to_numpy()).max() > 0.01


def gpt2(folder: Path) -> Path:
    """Write a GPT-2, which keeps its matrices turned."""
    import torch
    import transformers

    tokenizer = tiny_models.make_tokenizer()
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=96, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@needs_peft
@pytest.mark.parametrize("kind", ["logprob", "reward"])
def test_in_bfloat16_they_are_those_of_a_model_merged_in_it(
    lm: Path, tmp_path: Path, kind: str
) -> None:
    import torch

    adapter = adapt(lm, tmp_path / "adapter", kind)
    merged = merge(lm, adapter, tmp_path / "merged", kind, dtype=torch.bfloat16)
    found, expected = (
        scores(Model(str(place), dtype="bfloat16"), kind)["score"].to_numpy()
        for place in (adapter, merged)
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)


@needs_peft
@pytest.mark.parametrize("architecture", ["qwen2", "gpt2"])
def test_biases_and_turned_matrices(tmp_path: Path, architecture: str) -> None:
    turned = architecture == "gpt2"
    base = tmp_path / "base"
    base = gpt2(base) if turned else tiny_models.tiny(architecture, "logprob", base)
    targets = ["c_attn", "c_proj"] if turned else TARGETS
    adapter = adapt(
        base, tmp_path / "adapter", "logprob", target_modules=targets, bias="all",
        fan_in_fan_out=turned,
    )  # fmt: skip
    merged = merge(base, adapter, tmp_path / "merged", "logprob")
    both = scores([adapter, base], "logprob")["score"].to_numpy()
    expected = scores(merged, "logprob")["score"].to_numpy()[0]
    np.testing.assert_allclose(both[0], expected, atol=1e-5)
    # Saved biases went into a copy.
    np.testing.assert_array_equal(both[1], scores(base, "logprob")["score"].to_numpy()[0])


@needs_peft
def test_an_adapter_of_a_reward_model_keeps_its_head(tmp_path: Path) -> None:
    base = tiny_models.tiny("llama", "reward", tmp_path / "rm")
    adapter = adapt(base, tmp_path / "adapter", "reward", task_type=None)
    merged = merge(base, adapter, tmp_path / "merged", "reward")
    found = scores(Model(str(base), adapter=str(adapter)), "reward")
    np.testing.assert_allclose(found["score"], scores(merged, "reward")["score"], atol=1e-5)


@needs_peft
@pytest.mark.parametrize("kind", ["logprob", "reward"])
def test_checkpoints_of_one_base_load_it_once(
    lm: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    # The second changes other weights than the first and the third.
    wider: dict[str, Any] = {"target_modules": ["k_proj", "embed_tokens"], "use_dora": True}
    steps = [
        adapt(lm, tmp_path / f"step-{i}", kind, seed=i, **(wider if i == 1 else {}))
        for i in range(3)
    ]
    other = tiny_models.tiny("llama", kind, tmp_path / "other", seed=5)
    asked = [str(steps[0]), str(other), str(steps[1]), str(steps[2])]
    if kind == "logprob":
        asked.append(str(lm))
    alone = [scores(model, kind)["score"].to_numpy()[0] for model in asked]
    auto = {"reward": "SequenceClassification", "logprob": "CausalLM"}[kind]
    family = getattr(transformers, f"AutoModelFor{auto}")
    real, loads = family.from_pretrained, []

    def counted(folder: Any, **options: Any) -> Any:
        loads.append(Path(folder).name)
        return real(folder, **options)

    monkeypatch.setattr(family, "from_pretrained", counted)
    together = scores(asked, kind)
    assert loads == ["lm", "other"]
    # In the order asked for, and to the last bit as each by itself.
    assert together["model"].to_numpy().tolist() == [Path(model).name for model in asked]
    np.testing.assert_array_equal(together["score"], np.stack(alone))


@needs_peft
def test_what_is_kept_between_adapters_is_let_go(lm: Path, tmp_path: Path) -> None:
    from valuebias.backends.torch_backend import TorchBackend

    steps = [str(adapt(lm, tmp_path / f"step-{i}", "logprob", seed=i)) for i in range(2)]
    backend = TorchBackend(device="cpu")
    scores(steps, "logprob", backend=backend)
    assert backend._bases is not None
    assert backend._bases._base is None


@needs_peft
def test_a_store_refuses_another_adapter(lm: Path, tmp_path: Path) -> None:
    one = adapt(lm, tmp_path / "one", "logprob", seed=1)
    two = adapt(lm, tmp_path / "two", "logprob", seed=2)
    store = tmp_path / "scores.zarr"
    found = scores(Model(str(lm), adapter=str(one), name="m"), "logprob", store=store)
    (about,) = json.loads(found.attrs["provenance"])["models"]
    assert about["source"] == "lm + one"
    assert about["runs"][0]["details"]["adapter"].startswith("merged by peft")
    own = json.loads(scores(lm, "logprob").attrs["provenance"])["models"][0]["settings"]
    assert about["settings"]["weights"] == own["weights"]
    assert len(about["settings"]["adapter"]) == 64
    assert own["adapter"] is None
    for model in (Model(str(lm), adapter=str(two), name="m"), Model(str(lm), name="m")):
        with pytest.raises(ValueBiasError, match=r"made with another adapter of the model 'm'"):
            scores(model, "logprob", store=store)
    again = scores(Model(str(lm), adapter=str(one), name="m"), "logprob", store=store)
    np.testing.assert_array_equal(again["score"], found["score"])


@needs_peft
def test_a_table_names_adapters(lm: Path, tmp_path: Path) -> None:
    for i in range(2):
        adapt(lm, tmp_path / f"step-{i}", "logprob", seed=i)
    table = tmp_path / "models.csv"
    table.write_text("name,location,adapter\nbefore,lm,\nfirst,lm,step-0\nsecond,lm,step-1\n")
    found = scores(table, "logprob")
    assert found["model"].to_numpy().tolist() == ["before", "first", "second"]
    # One base, and the base's own is not known: its folder's name.
    assert found["base"].to_numpy().tolist()[1:] == ["lm", "lm"]
    expected = scores([lm, tmp_path / "step-0", tmp_path / "step-1"], "logprob")
    np.testing.assert_array_equal(found["score"], expected["score"])
    assert "merged into the weights of 'lm'" in str(
        valuebias.plan(table, kind="logprob", prompts=ASKED["prompts"], lexicon=ASKED["lexicon"])
    )


@needs_peft
def test_the_base_of_a_base(lm: Path, tmp_path: Path) -> None:
    (lm / "README.md").write_text("---\nbase_model: org/pretrained\n---\n")
    adapter = adapt(lm, tmp_path / "adapter", "logprob")
    found = scores([lm, adapter], "logprob")
    assert found["base"].to_numpy().tolist() == ["org/pretrained"] * 2


def publish(adapter: Path, base: str) -> None:
    """Let an adapter name its base by the hub id, as published ones do."""
    path = adapter / "adapter_config.json"
    named = json.loads(path.read_text()) | {"base_model_name_or_path": base}
    path.write_text(json.dumps(named))


@needs_peft
def test_adapters_on_the_hub(lm: Path, tmp_path: Path) -> None:
    root = tmp_path / "hub"
    shutil.copytree(lm, root / "org" / "lm")
    last = adapt(lm, root / "org" / "adapter", "logprob", seed=1)
    step = adapt(lm, root / "org" / "adapter@step-500", "logprob", seed=2)
    publish(last, "org/lm")
    publish(step, "org/lm")
    expected = scores(
        [Model(str(lm), adapter=str(step), name="a"), Model(str(lm), adapter=str(last), name="b")],
        "logprob",
    )["score"].to_numpy()
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    at = hashlib.sha1(b"step-500", usedforsecurity=False).hexdigest()
    with hub_server.serve(root) as (url, log), hub_server.asked_of(url, tmp_path):
        found = scores(["org/adapter", Model("org/adapter", revision="step-500", name="s")],
                       "logprob")  # fmt: skip
        np.testing.assert_array_equal(found["score"], expected[::-1])
        both = scores(Model("org/lm", adapter="org/adapter", adapter_revision="step-500"),
                      "logprob")  # fmt: skip
        np.testing.assert_array_equal(both["score"], expected[:1])
        # What has been downloaded once needs no network.
        asked = len(log)
        again = scores([Model("org/adapter", revision=at, name="s"), "org/adapter"], "logprob")
        np.testing.assert_array_equal(again["score"], expected)
        assert log[asked:] == []
        with pytest.raises(ValueBiasError, match=r"'org/adapter' has no revision 'step-7'"):
            scores(Model("org/lm", adapter="org/adapter", adapter_revision="step-7"), "logprob")
        with pytest.raises(ValueBiasError, match=r"'org/lm', the adapter of .* has no adapter_con"):
            scores(Model("org/lm", adapter="org/lm"), "logprob")
        shutil.copytree(last, root / "org" / "both")
        shutil.copy(lm / "config.json", root / "org" / "both")
        with pytest.raises(ValueBiasError, match=r"although it has a config.json. Give the base"):
            scores("org/both", "logprob")
        beside = Model("org/lm", adapter="org/both")
        np.testing.assert_array_equal(scores(beside, "logprob")["score"], expected[1:])
    assert both["model"].item() == "org/adapter@step-500"
    assert found["base"].to_numpy().tolist() == ["org/lm"] * 2
    (about,) = json.loads(both.attrs["provenance"])["models"]
    assert about["source"] == "org/lm + org/adapter@step-500"
    assert about["settings"]["revision"] == hub_server.COMMIT
    assert about["settings"]["adapter revision"] == at


def edit(**entries: Any) -> Callable[[Path, Path], None]:
    def spoil(base: Path, adapter: Path) -> None:
        path = adapter / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | entries))

    return spoil


def no_weights(base: Path, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()


def pickled(base: Path, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def truncated(base: Path, adapter: Path) -> None:
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def other_base(base: Path, adapter: Path) -> None:
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    shutil.rmtree(base)
    tiny_models.tiny("llama", "logprob", base, tokens=400)


def no_base(base: Path, adapter: Path) -> None:
    shutil.rmtree(base)


def quantised(base: Path, adapter: Path) -> None:
    path = base / "config.json"
    method = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": method}))


def fewer(base: Path, adapter: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    kept = {key: value for key, value in load_file(path).items() if "layers.0.mlp" not in key}
    save_file(kept, path)


def more(base: Path, adapter: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    held = load_file(path)
    spare = {k.replace("layers.0", "layers.9"): v for k, v in held.items() if "layers.0" in k}
    save_file(held | spare, path)


@needs_peft
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            no_weights,
            r"has no weights: 'adapter_model.safetensors' is not in .* Complete the downl",
        ),
        (pickled, r"pickled weights only \(adapter_model.bin\).* Save it as safetensors"),
        (truncated, r"truncated or no safetensors file"),
        (
            other_base,
            r"trained on another base than .*embed_tokens.* of shape \(\d+, \d+\), and th",
        ),
        (no_base, r"is no folder, no file and no hub id.*So the base of the adapter .* Name it"),
        (quantised, r"whose weights are quantised \('bitsandbytes'\).* Give the same model in saf"),
        (fewer, r"lacks weights that its configuration names \(.*layers\.0\.mlp.* Give the base"),
        (more, r"has weights for which the base has no place \(.*layers\.9.* Give the base"),
        (edit(base_model_name_or_path=None), r"names no base model \(base_model_name_or_path is N"),
        (edit(peft_type="IA3"), r"has peft_type='IA3'; expected 'LORA'.* Merge it yourself"),
        (edit(use_magic=True), r"entries that are not known here: .*use_magic.* Merge it yourself"),
        (edit(init_lora_weights="pissa"), r"init_lora_weights='pissa', which changed the base's"),
        (edit(layer_replication=[[0, 1]]), r"has layer_replication: it repeats layers of its base"),
        (edit(megatron_config={"a": 1}), r"has megatron_config: it is for models of Megatron"),
        (edit(target_modules=["nowhere"]), r"applied by peft: it was trained on another base.*now"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_refused(
    lm: Path, tmp_path: Path, spoil: Callable[[Path, Path], None], said: str
) -> None:
    targets = [*TARGETS, "embed_tokens"] if spoil is other_base else TARGETS
    adapter = adapt(lm, tmp_path / "adapter", "logprob", target_modules=targets)
    spoil(lm, adapter)
    with pytest.raises(ValueBiasError, match=said):
        scores(adapter, "logprob")


@needs_peft
def test_other_misfits(lm: Path, tmp_path: Path) -> None:
    adapter = adapt(lm, tmp_path / "adapter", "logprob")
    with pytest.raises(ValueBiasError, match=r"have no classification head"):
        scores(adapter, "reward")
    with pytest.raises(ValueBiasError, match=r"which is an adapter itself"):
        scores(Model(str(adapter), adapter=str(adapter)), "logprob")
    with pytest.raises(ValueBiasError, match=r"is no folder and no hub id"):
        scores(Model(str(lm), adapter="./nowhere"), "logprob")
    with pytest.raises(ValueBiasError, match=r"has no adapter_config.json; expected a folder"):
        scores(Model(str(lm), adapter=str(lm)), "logprob")
    with pytest.raises(ValueBiasError, match=r"only the backend 'torch' applies"):
        scores(adapter, "logprob", backend="onnx")
    with pytest.raises(ValueBiasError, match=r"only the backend 'torch' applies"):
        valuebias.inject_words(str(adapter), progress=False)
    file = tmp_path / "base.gguf"
    file.touch()
    with pytest.raises(ValueBiasError, match=r"is the file 'base.gguf'; expected a folder.* Give"):
        scores(Model(str(file), adapter=str(adapter)), "logprob")
    with pytest.raises(ValueBiasError, match=r"has a head= of its own"):
        scores(Model(str(lm), adapter=str(adapter), head=len), "reward")
    with pytest.raises(ValueBiasError, match=r"adapter_revision='v1' and no adapter. Give"):
        Model("org/lm", adapter_revision="v1")


@needs_peft
def test_from_the_command_line(lm: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from valuebias.cli.app import app

    adapter = adapt(lm, tmp_path / "adapter", "logprob")
    words = tmp_path / "words.csv"
    words.write_text("word,category\nlove,good\npower,bad\n")
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt,text,framing\np,What is good?,positive\n")
    store = tmp_path / "scores.zarr"
    asked = ["score", str(adapter), "--kind", "logprob", "--lexicon", str(words), "--prompts",
             str(prompts), "--store", str(store)]  # fmt: skip
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    expected = scores(adapter, "logprob", prompts=prompts, lexicon=words)
    np.testing.assert_array_equal(valuebias.read(store)["score"], expected["score"])


@needs_peft
@pytest.mark.parametrize("way", ["location", "adapter"])
def test_a_policy_that_is_an_adapter_of_its_reference(lm: Path, tmp_path: Path, way: str) -> None:
    """As DPO with LoRA trains it."""
    adapter = adapt(lm, tmp_path / "dpo", "logprob")
    held: Any = {"reference": str(lm), "beta": 0.1, "base": "x"}
    policy = Model(adapter, **held) if way == "location" else Model(lm, adapter=adapter, **held)
    found = scores([policy], "implicit")["score"].to_numpy()[0]
    merged = merge(lm, adapter, tmp_path / "merged", "logprob")
    both = scores([Model(merged, base="x"), Model(lm, base="x")], "logprob")["score"].to_numpy()
    wanted = 0.1 * (both[0] - both[1])
    assert wanted.std() > 0.01
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    itself = Model(adapter, reference=Model(adapter, name="again"), base="x")
    with pytest.raises(ValueBiasError, match="is its own reference"):
        scores([itself], "implicit")
