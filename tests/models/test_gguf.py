"""Models in GGUF files, from text to number: language models, reward models, files in parts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("transformers")

import gguf
import gguf_models
import published_tokenizers
import tiny_models
import torch
from tokenizers import Tokenizer as HFTokenizer
from transformers import (
    AutoTokenizer,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers import LlamaForSequenceClassification as LlamaReward

import valuebias
from valuebias.backends.gguf.tokenizer import mended
from valuebias.errors import ValueBiasError
from valuebias.models.resolve import resolve
from valuebias.models.spec import Model

PROMPT = "What, in one word, is the greatest thing ever?"
WORDS = ["love", "power", "kindness"]
ROPE = {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}
ENTRIES = {
    "rope.freq_base": 1e4, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0,
    "rope.dimension_count": 16,
}  # fmt: skip


def make(kind: Any, **more: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Make a lively model of scaled positions, its tokenizer, and the entries of its file."""
    tokenizer = tiny_models.make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0,
        rope_parameters=dict(ROPE), **more,
    )  # fmt: skip
    model = kind(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model, tokenizer, {**gguf_models.sizes(config), **ENTRIES}


def scores(path: Path, kind: str) -> np.ndarray:
    ds = valuebias.score(
        Model(str(path), template="plain"),
        kind=kind,  # type: ignore[arg-type]
        lexicon=WORDS,
        prompts=valuebias.prompts({"p": PROMPT}, framing="positive"),
        backend="torch",
        store=None,
        progress=False,
    )
    return ds["score"].to_numpy().ravel()


def test_scaled_positions_reach_log_probs(tmp_path: Path) -> None:
    model, tokenizer, entries = make(LlamaForCausalLM)
    path = gguf_models.write(model, tmp_path / "a.gguf", "llama", entries, tokenizer=tokenizer)
    expected = []
    for word in WORDS:
        before, ids = (tokenizer(f"{PROMPT}\n{end}")["input_ids"] for end in ("", word))
        with torch.no_grad():
            rows = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        expected.append(sum(rows[i - 1, ids[i]].item() for i in range(len(before), len(ids))))
    np.testing.assert_allclose(scores(path, "logprob"), expected, atol=1e-4)


def test_rewards_are_those_of_the_classifier(tmp_path: Path) -> None:
    model, tokenizer, entries = make(LlamaReward, num_labels=1)
    entries |= {"pooling_type": 4, "classifier.output_labels": ["good"]}
    bias = {"cls.output.bias": np.array([0.7])}
    path = gguf_models.write(
        model, tmp_path / "rm.gguf", "llama", entries, tokenizer=tokenizer, extra=bias
    )
    expected = []
    for word in WORDS:
        ids = tokenizer(f"{PROMPT}\n{word}")["input_ids"]
        with torch.no_grad():
            expected.append(model(torch.tensor([ids])).logits.item() + 0.7)
    np.testing.assert_allclose(scores(path, "reward"), expected, atol=1e-4)
    assert resolve(Model(str(path)), kind="reward").model_config.labels == ("good",)
    # It has no output over the vocabulary, and the embeddings are not meant to be one.
    with pytest.raises(ValueBiasError, match=r"no language-model head .*kind='reward'"):
        resolve(Model(str(path)), kind="logprob")


def test_labels_are_named_by_the_file(tmp_path: Path) -> None:
    model, _, entries = make(LlamaReward, num_labels=2)
    entries["classifier.output_labels"] = ["yes", "no"]
    path = gguf_models.write(model, tmp_path / "two.gguf", "llama", entries)
    with pytest.raises(ValueBiasError, match=r"2 labels and none is named.*yes"):
        resolve(Model(str(path)), kind="reward")
    assert resolve(Model(str(path), label="no"), kind="reward").source.label == 1


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    model, tokenizer, entries = make(LlamaForCausalLM)
    folder = tmp_path / "m"
    folder.mkdir()
    gguf_models.write(
        model, folder / "lm.gguf", "llama", entries, tokenizer=tokenizer, max_tensors=12
    )
    return sorted(folder.glob("*.gguf"))


def test_parts_are_one_model(parts: list[Path]) -> None:
    assert [path.name for path in parts] == [f"lm-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    whole = [resolve(Model(str(path)), kind="logprob") for path in (parts[0].parent, *parts)]
    for found in whole:
        assert found.source.file == parts[0].name
        assert found.tokenizer == parts[0]
        assert found.source.weights_sha256 == whole[0].source.weights_sha256
    assert whole[1].model.name == "lm"
    first = scores(parts[1], "logprob")
    # The last part has weights that count, and so have all others.
    content = bytearray(parts[2].read_bytes())
    content[-4:] = np.float32(3).tobytes()
    parts[2].write_bytes(content)
    changed = resolve(Model(str(parts[0])), kind="logprob").source.weights_sha256
    assert changed != whole[0].source.weights_sha256
    assert np.abs(scores(parts[0], "logprob") - first).max() > 1e-4
    parts[1].unlink()
    for place in (parts[0], parts[2], parts[0].parent):
        with pytest.raises(ValueBiasError, match=r"1 of them are not beside it: lm-00002-of-00003"):
            resolve(Model(str(place)), kind="logprob")


def test_what_the_file_does_not_say_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    from transformers import Gemma3ForCausalLM

    config = Gemma3TextConfig(
        vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=6, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    entries = {**gguf_models.sizes(config), "rope.freq_base": 1e6}
    path = gguf_models.write(Gemma3ForCausalLM(config), tmp_path / "g.gguf", "gemma3", entries)
    for with_weights in (True, False):
        with pytest.raises(ValueBiasError, match=r"'g' has no entry for .*query_pre_attn_scalar"):
            resolve(Model(str(path)), kind="logprob", with_weights=with_weights)


def test_gguf_is_read_without_torch_being_imported(tmp_path: Path) -> None:
    model, _, entries = make(LlamaForCausalLM)
    path = gguf_models.write(model, tmp_path / "a.gguf", "llama", entries)
    code = (
        "import sys; from pathlib import Path; from valuebias.backends.gguf.files import read_gguf;"
        f"read_gguf(Path({str(path)!r})); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- tokenizers -------------------------------------------------------------------------------


def tokenizer_alone(path: Path, tokenizer: Any, arch: str, way: str, begins: bool | None) -> Path:
    """Write a file that has a tokenizer, and next to nothing else."""
    writer = gguf.GGUFWriter(path, arch)
    gguf_models.add_tokenizer(writer, tokenizer, way, begins)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    return finished(writer, path)


@pytest.mark.parametrize("ends", [None, False, True])
@pytest.mark.parametrize("begins", [False, True])
def test_the_last_token_of_rewards_is_that_of_the_file(
    tmp_path: Path, begins: bool, ends: bool | None
) -> None:
    from valuebias.models.tokenizer import Tokenizer

    own = tiny_models.make_tokenizer()
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    gguf_models.add_tokenizer(writer, own, "smollm", begins)
    if ends is not None:
        writer.add_add_eos_token(ends)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    tokenizer = Tokenizer(finished(writer, tmp_path / "a.gguf"), template="{prompt} {response}")
    text = own("Good is love", add_special_tokens=False)["input_ids"]
    (found,) = tokenizer.rewards("Good is", ["love"])
    assert found.tolist() == [*[1] * begins, *text, *[2] * (ends is True)]


def finished(writer: Any, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("way", "begins", "first"),
    [
        ("llama-bpe", None, 1),
        ("llama-bpe", False, None),
        ("smollm", None, None),
        ("qwen2", True, 1),
    ],
)
def test_the_first_token_is_that_of_the_file(
    tmp_path: Path, way: str, begins: bool | None, first: int | None
) -> None:
    own = tiny_models.make_tokenizer()
    path = tokenizer_alone(tmp_path / "a.gguf", own, "llama", way, begins)
    found = mended(AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf"), path, "a")
    assert found(PROMPT)["input_ids"][:1] == ([first] if first else own(PROMPT)["input_ids"][1:2])


@pytest.mark.parametrize(
    ("way", "begins", "said"),
    [
        ("deepseek-v3", True, r"tokenizer\.ggml\.pre = 'deepseek-v3'.*by tokenizer="),
        ("default", True, r"tokenizer\.ggml\.pre = 'default'"),
        ("tekken", None, r"no word on whether its first token stands before every text"),
    ],
)
def test_a_way_that_transformers_does_not_know_is_refused(
    tmp_path: Path, way: str, begins: bool | None, said: str
) -> None:
    model, tokenizer, entries = make(LlamaForCausalLM)
    path = gguf_models.write(
        model, tmp_path / "a.gguf", "llama", entries, tokenizer=tokenizer, way=way, begins=begins
    )
    with pytest.raises(ValueBiasError, match=said):
        scores(path, "logprob")


@pytest.mark.parametrize("stated", [True, False])
def test_the_blank_before_texts_is_that_of_the_file(tmp_path: Path, stated: bool) -> None:
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    words = ["<unk>", "<s>", "</s>", "\u2581", "a", "\u2581a", "b"]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(words)
    writer.add_token_scores([float(-i) for i in range(len(words))])
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(stated)
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), dtype=np.float32))
    path = finished(writer, tmp_path / "a.gguf")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf")
    if stated:
        assert mended(tokenizer, path, "a")("ab")["input_ids"] == [1, 5, 6]
    else:
        with pytest.raises(
            ValueBiasError, match=r"add_space_prefix = False, .* puts a blank before"
        ):
            mended(tokenizer, path, "a")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arch", "way"),
    [("llama3_1", "llama", "llama-bpe"), ("qwen3", "qwen3", "qwen2"), ("gpt4o", "llama", "gpt-4o")],
)
def test_published_tokenizers_come_out_of_a_file_as_they_went_in(
    name: str, arch: str, way: str, tmp_path: Path
) -> None:
    folder = published_tokenizers.published(name)
    own = HFTokenizer.from_file(str(folder / "tokenizer.json"))
    whole = PreTrainedTokenizerFast(
        tokenizer_object=own,
        bos_token="<|begin_of_text|>" if name == "llama3_1" else None,
    )
    path = tokenizer_alone(tmp_path / "a.gguf", whole, arch, way, None)
    found = mended(AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf"), path, "a")
    texts = [own.decode([i], skip_special_tokens=False) for i in range(0, own.get_vocab_size(), 9)]
    for text in [*texts, PROMPT, " love\n\nfreedom 2023", "na\u00efve cafe\u0301"]:
        assert found(text)["input_ids"] == own.encode(text).ids, text
