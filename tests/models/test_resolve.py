"""Tests of valuebias.models.resolve and what it stands on: facts, weights, hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")

import every_class
import gguf_models
import hub_server
import small_models
import tiny_models

from valuebias.errors import ValueBiasError
from valuebias.models import weights
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give tiny models: a reward model of one label, one of three, and a language model."""
    if tiny_models.missing():
        pytest.skip(str(tiny_models.missing()))
    root = tmp_path_factory.mktemp("models")
    return {
        "rm": tiny_models.tiny("llama", "reward", root / "rm"),
        "rm3": tiny_models.tiny("llama", "reward", root / "rm3", labels=3),
        "lm": tiny_models.tiny("llama", "logprob", root / "lm"),
        "gemma3": tiny_models.tiny("gemma3_text", "reward", root / "gemma3"),
        "qwen2": tiny_models.tiny("qwen2", "logprob", root / "qwen2"),
    }


@pytest.fixture
def rm(made: dict[str, Path], tmp_path: Path) -> Path:
    """Give a copy of the reward model, to be spoilt."""
    return shutil.copytree(made["rm"], tmp_path / "rm")


def configure(folder: Path, **changed: Any) -> None:
    path = folder / "config.json"
    kept = {k: v for k, v in json.loads(path.read_text()).items() if k not in changed}
    kept |= {k: v for k, v in changed.items() if v is not None}
    path.write_text(json.dumps(kept))


def reward(folder: Path, **fields: Any) -> Resolved:
    return resolve(Model(str(folder), **fields), kind="reward")


def test_a_folder_says_all_that_is_needed(made: dict[str, Path]) -> None:
    found = reward(made["rm"], dtype="bfloat16")
    source, model_config = found.source, found.model_config
    assert (source.folder, source.file, source.kind) == (made["rm"], None, "reward")
    assert (source.name, source.dtype, source.label) == ("rm", "bfloat16", 0)
    assert (found.tokenizer, found.commit) == (made["rm"], None)
    assert model_config.architecture == "LlamaForSequenceClassification"
    assert (model_config.layers, model_config.hidden, model_config.intermediate) == (2, 32, 48)
    assert (model_config.heads, model_config.kv_heads, model_config.head_dim) == (4, 2, 16)
    assert (model_config.vocab_size, model_config.window, model_config.max_length) == (
        320,
        None,
        1024,
    )
    assert (model_config.pad_token_id, model_config.labels) == (0, ("LABEL_0",))
    model = found.model
    assert (model.family, model.base, model.stage) == ("Llama", None, "reward")
    assert found.base_said_by == ""
    assert reward(made["gemma3"]).model_config.window == tiny_models.WINDOW


def test_parameters_and_operations_are_those_of_the_loaded_model(made: dict[str, Path]) -> None:
    from transformers import AutoModelForCausalLM

    found = resolve(Model(str(made["lm"])), kind="logprob")
    model = AutoModelForCausalLM.from_pretrained(made["lm"])
    parameters = dict(model.named_parameters())
    assert found.model.n_params == sum(p.numel() for p in parameters.values())
    linear = [p.numel() for n, p in parameters.items() if ".layers." in n and p.ndim == 2]
    assert found.model_config.flop_per_token == 2 * sum(linear)
    assert found.model_config.vocabulary_flop(3) == 3 * 2 * model.lm_head.weight.numel()
    assert found.model_config.attention_flop(5) == 5 * 2 * (2 * 4 * 16) * 2
    given = resolve(Model(str(made["lm"]), n_params=8e9), kind="logprob")
    assert given.model.n_params == 8e9


@pytest.mark.parametrize(
    ("name", "kind", "template", "expected"),
    [
        ("rm", "reward", "chat", ("Llama", "reward")),
        ("gemma3", "reward", "plain", ("Gemma", "reward")),
        ("lm", "logprob", "chat", ("Llama", "instruct")),
        ("qwen2", "logprob", "plain", ("Qwen", "pretrained")),
    ],
)
def test_blanks_are_filled_and_what_is_given_stays(
    made: dict[str, Path], name: str, kind: Any, template: str, expected: tuple[str, str]
) -> None:
    model = Model(str(made[name]), template=template)
    found = resolve(model, kind=kind).model
    assert (found.family, found.stage) == expected
    given = Model(str(made[name]), family="F", base="B", stage="pretrained", template=template)
    found = resolve(given, kind=kind).model
    assert (found.family, found.base, found.stage) == ("F", "B", "pretrained")


def test_the_base_is_what_is_given_or_what_the_files_say_or_a_pretrained_model_itself(
    made: dict[str, Path], rm: Path
) -> None:
    (rm / "README.md").write_text("---\nbase_model: org/lm-2b-it\n---\n")
    found = reward(rm)
    assert (found.model.base, found.base_said_by) == ("org/lm-2b-it", "README.md")
    found = reward(rm, base="org/other")
    assert (found.model.base, found.base_said_by) == ("org/other", "the specification")
    instruct = resolve(Model(str(made["lm"])), kind="logprob")
    assert (instruct.model.base, instruct.base_said_by) == (None, "")
    pretrained = resolve(Model(str(made["lm"]), template="plain"), kind="logprob")
    assert (pretrained.model.base, pretrained.base_said_by) == ("lm", "its stage")


def test_planning_needs_no_weights(rm: Path) -> None:
    (rm / "model.safetensors").unlink()
    found = resolve(Model(str(rm)), kind="reward", with_weights=False)
    assert found.source.weights_sha256 == ""
    assert found.model_config.n_params == pytest.approx(30_000, rel=0.5)


@pytest.mark.parametrize("label", [2, "LABEL_2"])
def test_one_of_several_labels_must_be_named(made: dict[str, Path], label: int | str) -> None:
    assert reward(made["rm3"], label=label).source.label == 2
    with pytest.raises(ValueBiasError, match=r"has 3 labels and none is named.*'LABEL_0'"):
        reward(made["rm3"])
    with pytest.raises(ValueBiasError, match=r"no label 'LABEL_7'. Did you mean 'LABEL_"):
        reward(made["rm3"], label="LABEL_7")
    with pytest.raises(ValueBiasError, match=r"label=3, but its labels are numbered 0 to 2"):
        reward(made["rm3"], label=3)
    # A model whose own output has the score, or a function of ours, needs no label.
    assert reward(made["rm3"], head="score").source.label == 0
    assert reward(made["rm3"], head=abs).source.head is abs


def test_labels_are_counted_in_the_weights_where_the_configuration_is_silent(rm: Path) -> None:
    configure(rm, id2label=None, label2id=None)
    assert reward(rm).model_config.labels == ("LABEL_0",)


def test_a_missing_head_is_noticed_before_anything_is_loaded(
    made: dict[str, Path], rm: Path
) -> None:
    with pytest.raises(ValueBiasError, match=r"no classification head .*kind='logprob'"):
        reward(made["lm"])
    config = json.loads((rm / "config.json").read_text()) | {"architectures": ["LlamaForCausalLM"]}
    (rm / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueBiasError, match=r"no language-model head .*kind='reward'"):
        resolve(Model(str(rm)), kind="logprob")
    assert reward(made["lm"], head=abs).source.kind == "reward"


@pytest.mark.parametrize(
    ("architecture", "head"),
    [
        ("rembert", "cls.predictions.decoder"),
        ("roberta", "lm_head.decoder"),
        ("modernbert-decoder", "decoder"),
        ("biogpt", "output_projection"),
        ("electra", "generator_lm_head"),
        ("xlm", "pred_layer.proj"),
    ],
)
def test_a_head_that_has_another_name_is_found(
    tmp_path: Path, architecture: str, head: str
) -> None:
    from safetensors.numpy import load_file, save_file

    model = every_class.make(architecture, "logprob", decoder=True).model
    model.save_pretrained(tmp_path)
    assert resolve(Model(str(tmp_path)), kind="logprob").source.kind == "logprob"
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    # The bias and what stands before the head are no head.
    del tensors[f"{head}.weight"]
    save_file(tensors, file)
    with pytest.raises(ValueBiasError, match="no language-model head"):
        resolve(Model(str(tmp_path)), kind="logprob")


def shard(folder: Path) -> None:
    """Split the weights into two files with an index."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, folder / file)
    (folder / weights.INDEX).write_text(json.dumps({"weight_map": files}))


def test_weights_in_several_files_are_found_counted_and_hashed(rm: Path) -> None:
    whole = reward(rm)
    shard(rm)
    found = reward(rm)
    assert found.model_config.n_params == whole.model_config.n_params
    assert found.source.weights_sha256 != whole.source.weights_sha256
    (rm / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueBiasError, match=r"lacks 'model-00002-of-00002.safetensors'"):
        reward(rm)
    long = "x" * 300 + ".safetensors"
    (rm / weights.INDEX).write_text(
        json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": long}})
    )
    with pytest.raises(ValueBiasError, match=r"lacks 'xxx"):
        reward(rm)
    (rm / weights.INDEX).write_text("{")
    with pytest.raises(ValueBiasError, match=r"index of the weights of 'rm'.*cannot be read"):
        reward(rm)
    (rm / weights.INDEX).write_text('{"weight_map": {"a": "../../elsewhere.safetensors"}}')
    with pytest.raises(ValueBiasError, match=r"names no proper file"):
        reward(rm)


def rename_to_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def make_adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')


def two_gguf(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "a.gguf")
    (folder / "b.gguf").touch()


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def write(file: str, text: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / file).write_text(text)

    return spoil


def remove(file: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / file).unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (rename_to_pickle, r"pickled weights only.*Save them as safetensors"),
        (
            make_adapter,
            r"names no base model .*Model\(location='the base', adapter='the adapter'\)",
        ),
        (two_gguf, r"Say which file is meant: .*'\.\.\./a\.gguf'"),
        (remove("model.safetensors"), r"no weights of 'rm' in .*expected 'model.safetensors'"),
        (truncate, r"truncated or no safetensors file"),
        (write("model.safetensors", "no safetensors file at all"), r"truncated or no safetensors"),
        (write("model.safetensors", ""), r"truncated or no safetensors"),
        (remove("config.json"), r"no config.json in"),
        (write("config.json", "{"), r"config.json of 'rm' cannot be read"),
        (write("config.json", "[]"), r"config.json of 'rm' does not hold a mapping"),
        (write("config.json", '{"model_type": "lama"}'), r"configuration of 'rm' cannot be read"),
        (write("config.json", '{"model_type": "t5"}'), r"\(t5\) has an encoder and a decoder"),
        (write("config.json", '{"model_type": "vit"}'), r"\(vit\) is not for text alone"),
        (write("config.json", '{"model_type": "llava"}'), r"\(llava\) is not for text alone"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(
    rm: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(rm)
    with pytest.raises(ValueBiasError, match=said):
        reward(rm)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"model_type": "bert", "architectures": ["BertForMaskedLM"]},
            r"\(BertForMaskedLM\) is an",
        ),
        (
            {"model_type": "bert", "architectures": ["BertLMHeadModel"]},
            r"\(BertLMHeadModel\) is an",
        ),
        ({"model_type": "modernbert", "hidden_size": 32}, r"\(modernbert\) is an encoder"),
        ({"model_type": "deberta-v2"}, r"\(deberta-v2\) is an encoder"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "an encoder and a decoder"),
        (
            {
                "model_type": "t5",
                "is_encoder_decoder": False,
                "architectures": ["T5EncoderModel"],
            },
            r"\(T5EncoderModel\) is an encoder",
        ),
    ],
)
def test_an_encoder_has_no_log_probs(rm: Path, config: dict[str, Any], said: str) -> None:
    (rm / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueBiasError, match=said):
        resolve(Model(str(rm)), kind="logprob")


def test_a_reward_model_has_no_log_probs(rm: Path) -> None:
    # With the input's embeddings for a head it would give some.
    config = json.loads((rm / "config.json").read_text()) | {"tie_word_embeddings": True}
    (rm / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueBiasError, match=r"'rm' is a reward model \(.*\): it was not trained"):
        resolve(Model(str(rm)), kind="logprob")


def test_an_encoder_that_is_configured_as_a_decoder_is_one(rm: Path) -> None:
    (rm / "config.json").write_text(json.dumps({"model_type": "bert", "is_decoder": True}))
    assert resolve(Model(str(rm)), kind="logprob", with_weights=False)


def test_pickled_weights_beside_sound_ones_do_not_matter(rm: Path) -> None:
    (rm / "pytorch_model.bin").write_bytes(b"anything")
    assert reward(rm)


def test_code_that_comes_with_a_model_must_be_trusted(rm: Path) -> None:
    auto = {"AutoModelForSequenceClassification": "modeling.GatedReward"}
    configure(rm, auto_map=auto, architectures=["GatedReward"])
    with pytest.raises(ValueBiasError, match=r"\(GatedReward\) needs code.*trust_remote_code=True"):
        reward(rm)
    # In a local folder the code cannot change unseen, so no revision is asked for.
    assert reward(rm, trust_remote_code=True).source.trust_remote_code
    # Code for another purpose, or for what transformers has itself, is not run.
    configure(rm, architectures=["LlamaForSequenceClassification"])
    assert not reward(rm).source.trust_remote_code
    configure(rm, auto_map={"AutoModelForCausalLM": "x.Y"}, architectures=["GatedReward"])
    assert not reward(rm).source.trust_remote_code


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("./absent", r"'./absent' is no folder, no file and no hub id"),
        ("/absent/model.gguf", r"is no folder, no file"),
        ("~nobody-at-all/model", r"is no folder, no file"),
        ("two words", r"is no folder, no file"),
    ],
)
def test_a_path_to_nothing_is_named(source: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        resolve(Model(source), kind="reward")


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.touch()
    with pytest.raises(ValueBiasError, match=r"expected a .gguf or .onnx file"):
        reward(path)


def test_the_hash_names_what_is_computed(rm: Path, tmp_path: Path) -> None:
    found = reward(rm).source.weights_sha256
    moved = shutil.copytree(rm, tmp_path / "elsewhere")
    assert reward(moved).source.weights_sha256 == found
    configure(moved, rms_norm_eps=1e-3)
    assert reward(moved).source.weights_sha256 != found


def test_hashes_of_large_files_are_kept_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VALUEBIAS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes(9 << 20))
    before = weights.digest([path])
    (kept,) = (tmp_path / "cache" / "digests").iterdir()
    # What is kept is used: the file is not read again.
    kept.write_text("0" * 64)
    assert weights.digest([path]) != before
    kept.write_text("half of a ha")
    assert weights.digest([path]) == before
    times = path.stat()
    path.write_bytes(bytes([1]) * (9 << 20))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert weights.digest([path]) != before


def test_an_onnx_file_is_taken_with_its_weights_and_its_configuration(
    made: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(made["rm"], tmp_path / "rm", ignore=lambda *_: ["model.safetensors"])
    file = tmp_path / "rm" / "onnx" / "model.onnx"
    file.parent.mkdir()
    file.write_bytes(b"graph")
    found = reward(file)
    assert (found.source.folder, found.source.file) == (tmp_path / "rm", "onnx/model.onnx")
    assert (found.model.name, found.tokenizer) == ("model", tmp_path / "rm")
    (file.parent / "model.onnx.data").write_bytes(b"weights")
    assert reward(file).source.weights_sha256 != found.source.weights_sha256
    assert reward(tmp_path / "rm").source.file == "onnx/model.onnx"
    (tmp_path / "rm" / "config.json").unlink()
    with pytest.raises(ValueBiasError, match=r"has no config.json"):
        reward(file)


@pytest.mark.slow
def test_a_gguf_file_has_everything_in_it() -> None:
    if small_models.missing("smollm2"):
        pytest.skip(str(small_models.missing("smollm2")))
    path = small_models.gguf("smollm2")
    found = resolve(Model(str(path)), kind="logprob")
    assert (found.source.folder, found.source.file) == (path.parent, path.name)
    assert (found.tokenizer, found.model.family) == (path, "Llama")
    expected = resolve(
        Model(str(small_models.language_model("smollm2"))), kind="logprob"
    ).model_config
    assert found.model_config.flop_per_token == expected.flop_per_token
    assert found.model_config.n_params == pytest.approx(expected.n_params, rel=1e-3)
    with pytest.raises(ValueBiasError, match=r"no classification head .*or cls\.output\.weight"):
        reward(path)


def test_the_tokenizer_may_lie_elsewhere(made: dict[str, Path], rm: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (rm / file).unlink()
    assert reward(rm, tokenizer=str(made["lm"])).tokenizer == made["lm"]
    with pytest.raises(ValueBiasError, match=r"no folder, no file"):
        reward(rm, tokenizer="./absent")


def ask(home: Path, url: str, *models: dict[str, Any]) -> list[Any]:
    """Resolve models with the hub at `url`."""
    made: list[Any] = []
    with hub_server.asked_of(url, home):
        for fields in models:
            rest = dict(fields)
            download, kind = rest.pop("download", True), rest.pop("kind", "reward")
            try:
                found = resolve(Model(**rest), kind=kind, download=download)
                place = str(found.source.folder)
                made.append(
                    [place, found.source.weights_sha256, found.commit, str(found.tokenizer)]
                )
            except ValueBiasError as error:
                made.append(str(error))
    return made


ASK = """
import json, sys
from valuebias.errors import ValueBiasError
from valuebias.models.spec import Model
from valuebias.models.resolve import resolve
for fields in json.loads(sys.argv[1]):
    download, kind = fields.pop("download", True), fields.pop("kind", "reward")
    try:
        found = resolve(Model(**fields), kind=kind, download=download)
        made = [str(found.source.folder), found.source.weights_sha256, found.commit]
        print(json.dumps(made + [str(found.tokenizer)]))
    except ValueBiasError as error:
        print(json.dumps(str(error)))
"""


def ask_afresh(home: Path, url: str, *models: dict[str, Any], **variables: str) -> list[Any]:
    """Resolve models in a process of its own, which reads the hub's address as users give it."""
    environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(home), **variables}
    made = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(models)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in made.stdout.splitlines()]


@pytest.fixture(scope="module")
def hub(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of repositories."""
    root = tmp_path_factory.mktemp("hub")
    for name in ("rm", "sharded", "pickled", "coded", "gguf", "gated", "closed"):
        shutil.copytree(made["rm"], root / "org" / name)
    (root / "org/rm/pytorch_model.bin").write_bytes(b"not wanted")
    (root / "org/rm/consolidated.safetensors").write_bytes(b"not wanted")
    shard(root / "org/sharded")
    rename_to_pickle(root / "org/pickled")
    auto = {"AutoModelForSequenceClassification": "modeling.GatedReward"}
    configure(root / "org/coded", auto_map=auto, architectures=["GatedReward"])
    (root / "org/coded/modeling.py").write_text("pass")
    (root / "org/gated/refused").write_text("GatedRepo")
    (root / "org/closed/refused").touch()
    (root / "org/gguf/model.safetensors").rename(root / "org/gguf/one.gguf")
    return root


def test_a_model_of_the_hub_is_downloaded_once_and_no_more_than_is_needed(
    hub: Path, tmp_path: Path, made: dict[str, Path]
) -> None:
    commit = hub_server.COMMIT
    with hub_server.serve(hub) as (url, log):
        (first,) = ask_afresh(tmp_path, url, {"location": "org/rm"})
        asked = len(log)
        pinned = {"location": "org/rm", "revision": commit}
        again = ask(tmp_path, url, {"location": "org/rm"}, pinned, {**pinned, "download": False})
        assert len([line for line in log[asked:] if "/org/" in line]) == 0
        sharded, gguf = ask(tmp_path, url, {"location": "org/sharded"}, {"location": "org/gguf"})
        fetched = [line for line in log if line.startswith("GET")]
    assert again == [first] * 3
    folder, sha256, found_commit, tokenizer = first
    assert (found_commit, tokenizer, Path(folder).name) == (commit, folder, commit)
    assert sha256 == reward(made["rm"]).source.weights_sha256
    assert len(sharded) == 4
    assert "has ['one.gguf'] and no safetensors" in gguf
    assert sum("model-0000" in line for line in fetched) == 2
    assert not any(".bin" in line for line in fetched)
    assert not any("consolidated" in line for line in fetched)


def test_parts_of_a_gguf_file_are_downloaded_together(
    made: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(made["lm"])
    folder = tmp_path / "hub" / "org" / "lm"
    folder.mkdir(parents=True)
    gguf_models.write(
        model, folder / "lm.gguf", "llama", gguf_models.sizes(model.config), max_tensors=8
    )
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3
    with hub_server.serve(tmp_path / "hub") as (url, log):
        wanted = {"location": f"org/lm/{names[1]}", "kind": "logprob"}
        (found,) = ask(tmp_path, url, wanted)
    assert Path(found[3]).name == names[0]
    assert sum(line.startswith("GET") and "-of-00003" in line for line in log) == 3


def test_what_the_hub_does_not_have_is_named(hub: Path, tmp_path: Path) -> None:
    with hub_server.serve(hub) as (url, log):
        found = ask(
            tmp_path,
            url,
            {"location": "org/none"},
            {"location": "org/rm", "revision": "v9"},
            {"location": "org/pickled"},
            {"location": "org/coded"},
            {"location": "org/coded", "trust_remote_code": True},
            {"location": "org/coded", "trust_remote_code": True, "revision": "main"},
            {"location": "org/rm", "download": False},
            {"location": "org/rm/absent.gguf"},
            {"location": "org/gated"},
            {"location": "org/closed"},
        )
        asked = list(log)
    for text, said in zip(
        found,
        (
            "the hub has no such repository",
            "has no revision 'v9'",
            "pickled weights only",
            "give trust_remote_code=True and the commit",
            "revision=None does not pin the code",
            "revision='main' does not pin the code",
            "not complete in the local cache, and nothing may be downloaded",
            "has no file 'absent.gguf'",
            "is gated. Accept its conditions",
            "cannot be downloaded (",
        ),
        strict=True,
    ):
        assert said in text
    # Neither pickles nor code are fetched to find that out.
    assert any(
        line.endswith("coded/resolve/" + hub_server.COMMIT + "/config.json") for line in asked
    )
    assert not any(line.endswith((".bin", ".py")) for line in asked)


def test_trusted_code_is_fetched_at_its_commit(hub: Path, tmp_path: Path) -> None:
    model = {"location": "org/coded", "revision": hub_server.COMMIT}
    with hub_server.serve(hub) as (url, _):
        refused, found = ask(tmp_path, url, model, {**model, "trust_remote_code": True})
    assert "needs code" in refused
    assert (Path(found[0]) / "modeling.py").is_file()


def test_without_a_network_the_error_says_so(tmp_path: Path) -> None:
    # Nothing listens there.
    for variables in ({}, {"HF_HUB_OFFLINE": "1"}):
        (found,) = ask_afresh(tmp_path, "http://127.0.0.1:9", {"location": "org/rm"}, **variables)
        assert "the hub cannot be reached" in found
        assert "give a local folder" in found


def test_without_transformers_the_error_says_what_to_install(made: dict[str, Path]) -> None:
    code = "import sys\nsys.modules['transformers'] = None\n" + ASK
    argument = json.dumps([{"location": str(made["rm"])}])
    made_ = subprocess.run(
        [sys.executable, "-c", code, argument], capture_output=True, text=True, check=True
    )
    assert 'pip install \\"valuebias[torch]\\"' in made_.stdout
