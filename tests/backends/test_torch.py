"""The PyTorch backend keeps the contract, and does what only it can do."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import naive
import numpy as np
import pytest
import small_models
from little_memory import too_large_a_pack

from valuebias.backends import Source, conversations
from valuebias.backends.testing import BackendTests
from valuebias.backends.testing.samples import lay_out, random_conversations, write_model
from valuebias.backends.torch_backend import TorchBackend
from valuebias.errors import ValueBiasError

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

CONVERSATIONS = random_conversations(seed=3, vocabulary=160)


class TestTree(BackendTests):
    backend: ClassVar = TorchBackend(device="cpu", attention="tree")
    # Its recurrent layers cannot be computed as a tree.
    refused: ClassVar = (("recurrent_gemma", "logprob"),)


class TestWhole(BackendTests):
    backend: ClassVar = TorchBackend(device="cpu", attention="whole")


def write(folder: Path, kind: str = "reward", architecture: str = "llama") -> Source:
    write_model(folder, architecture, kind=kind)  # type: ignore[arg-type]
    return Source(name="tiny", folder=folder, kind=kind)  # type: ignore[arg-type]


def test_architectures_that_take_no_tree_are_computed_whole(tmp_path: Path) -> None:
    """Bloom counts positions by itself (ALiBi), so a tree would silently go wrong."""
    config = transformers.BloomConfig(
        vocab_size=160, hidden_size=32, n_layer=2, n_head=4, num_labels=1, pad_token_id=0
    )
    torch.manual_seed(1)
    model = transformers.BloomForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    source = Source(name="bloom", folder=tmp_path, kind="reward")

    loaded = TorchBackend(device="cpu").load(source)

    assert loaded.details()["attention"] == "whole"
    pack, output = lay_out(CONVERSATIONS)
    expected = naive.rewards(tmp_path, CONVERSATIONS)
    np.testing.assert_allclose(
        loaded.forward(pack)[output], expected, atol=2e-5 * float(expected.std())
    )
    with pytest.raises(ValueBiasError, match="needs attention='whole'"):
        TorchBackend(device="cpu", attention="tree").load(source)


OWN_CODE = """
import torch
from dataclasses import dataclass
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.utils import ModelOutput


@dataclass
class Rating(ModelOutput):
    score: torch.Tensor | None = None


class Rater(LlamaPreTrainedModel):
    config_class = LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.regression = torch.nn.Linear(config.hidden_size, 3, bias=False)
        self.gate = torch.nn.Linear(config.hidden_size, 3, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        hidden = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        # As in the multi-objective reward models: gated by an earlier token.
        weights = self.gate(hidden[:, 2]).softmax(-1)
        return Rating(score=(self.regression(hidden[:, -1]) * weights).sum(-1))
"""


def test_models_with_a_score_of_their_own(tmp_path: Path) -> None:
    """Some reward models put out ``score``, by code that comes with them."""
    folder = tmp_path / "rater"
    write_model(folder, "llama", kind="logprob")
    (folder / "rating.py").write_text(OWN_CODE)
    namespace: dict[str, object] = {"__name__": "rating"}
    exec(compile(OWN_CODE, "rating.py", "exec"), namespace)  # noqa: S102
    config = transformers.AutoConfig.from_pretrained(folder)
    torch.manual_seed(5)
    model = namespace["Rater"](config).eval()  # type: ignore[operator]
    config.auto_map = {"AutoModelForSequenceClassification": "rating.Rater"}
    model.config = config
    model.save_pretrained(folder)
    with torch.no_grad():
        expected = [float(model(torch.tensor([ids])).score) for ids in CONVERSATIONS]

    source = Source(
        name="rater", folder=folder, kind="reward", head="score", trust_remote_code=True
    )
    pack, output = lay_out(CONVERSATIONS)
    found = TorchBackend(device="cpu").load(source).forward(pack)[output]

    np.testing.assert_allclose(found, expected, atol=2e-5 * float(np.std(expected)))


def test_weights_reordered_for_the_cpu_give_the_same(tmp_path: Path) -> None:
    from valuebias.backends import prepacked

    if not prepacked.possible(torch.float32):
        pytest.skip("this machine or this PyTorch has no such operators")
    loaded = TorchBackend(device="cpu").load(write(tmp_path / "gemma2", "reward", "gemma2"))
    assert loaded.details()["prepacked_layers"] == 14
    weights = [p for name, p in loaded._model.named_parameters() if "_proj" in name]
    assert sum(weight.numel() for weight in weights) == 0


def test_a_head_whose_labels_only_the_weights_tell(tmp_path: Path) -> None:
    """Configurations of many reward models say nothing of labels; two would be assumed."""
    source = write(tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    lines = [line for line in config.read_text().splitlines() if "LABEL_0" not in line]
    text = "\n".join(lines).replace('"id2label": {\n  },', "").replace('"label2id": {\n  },', "")
    config.write_text(text)
    assert "id2label" not in text
    with pytest.raises(ValueBiasError, match=r"tiny: .* cannot be loaded by transformers"):
        TorchBackend(device="cpu").load(source)
    loaded = TorchBackend(device="cpu").load(replace(source, labels=1))
    pack, output = lay_out(CONVERSATIONS)
    assert loaded.forward(pack)[output].std() > 0


def test_a_model_without_a_head_is_refused(tmp_path: Path) -> None:
    source = replace(write(tmp_path / "lm", "logprob"), kind="reward")
    with pytest.raises(ValueBiasError, match=r"score\.weight.*kind='logprob'"):
        TorchBackend(device="cpu").load(source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda:99"}, "no device 'cuda:99' here; there is .*cpu"),
        ({"attention": "flash"}, "attention is 'flash'; expected 'auto', 'tree' or 'whole'"),
    ],
)
def test_options_that_do_not_exist(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        TorchBackend(**options).load(write(tmp_path / "model"))  # type: ignore[arg-type]


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux can")
def test_too_little_memory_is_said_and_survived(tmp_path: Path) -> None:
    write(tmp_path / "model")
    assert "no room for a pack of 524288 tokens" in too_large_a_pack("torch", tmp_path / "model")


@pytest.mark.slow
def test_gguf_files_give_what_their_folder_gives() -> None:
    reason = small_models.missing("smollm2")
    if reason is not None:
        pytest.skip(reason)
    file = small_models.gguf("smollm2")
    pack = lay_out([[1, 5, 9], [1, 5, 11, 4]], first=[1, 1])[0]
    folder = Source(name="folder", folder=small_models.language_model("smollm2"), kind="logprob")
    as_file = Source(name="file", folder=file.parent, file=file.name, kind="logprob")
    found = [TorchBackend(device="cpu").load(source).forward(pack) for source in (as_file, folder)]
    np.testing.assert_array_equal(found[0], found[1])


def test_conversations_of_a_pack() -> None:
    pack, _ = lay_out(CONVERSATIONS)
    paths, which, place = conversations(pack)
    read = [pack.ids[paths[w]][: p + 1].tolist() for w, p in zip(which, place, strict=True)]
    assert sorted(read) == sorted(CONVERSATIONS)
