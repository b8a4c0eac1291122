"""The optimum backend: the contract suite where optimum is installed, and what it refuses.

`make optimum` runs this file in the environment that optimum needs. Elsewhere most of it skips.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from valuebias import ValueBiasError
from valuebias.backends import Source, get_backend
from valuebias.backends.optimum_backend import OptimumBackend
from valuebias.backends.optimum_files import _older_form, check_file, export
from valuebias.backends.testing import BackendTests
from valuebias.backends.testing.models import sample
from valuebias.backends.testing.reference import WholeConversations
from valuebias.backends.testing.samples import lay_out, write_model

needs_optimum = pytest.mark.skipif(
    OptimumBackend().available() is not None, reason=str(OptimumBackend().available())
)
# The exporter and the libraries it calls warn of their own use of torch.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore:Converting a tensor"),
]


class TestOptimum(BackendTests):
    backend = OptimumBackend(threads=1)
    reads_padding = False
    refused = (
        ("gemma3_text", "reward"),
        ("modernbert-decoder", "logprob"),
        ("recurrent_gemma", "logprob"),
    )

    def prepare(self, source: Source) -> Source:
        target = source.folder.with_name(f"{source.folder.name}-onnx")
        if not target.exists():
            export(source.folder, target, kind=source.kind)
        return replace(source, folder=target)


def plain_export(folder: Path, target: Path, task: str) -> None:
    """Export as optimum's own command does."""
    from optimum.exporters.onnx import main_export

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main_export(str(folder), str(target), task=task, do_validation=False)


# --- rotary embeddings: what version 5 of transformers writes, and older ones do not read -------


def newer_form(config: dict[str, Any]) -> dict[str, Any]:
    """Write a configuration as transformers 5 does, whichever version wrote it."""
    config = dict(config)
    if "rope_parameters" in config:
        return config
    rope = {"rope_theta": config.pop("rope_theta"), "rope_type": "default"}
    rope |= config.pop("rope_scaling", None) or {}
    if "rope_local_base_freq" in config:
        local = {"rope_theta": config.pop("rope_local_base_freq"), "rope_type": "default"}
        rope = {"sliding_attention": local, "full_attention": rope}
    return {**config, "rope_parameters": rope}


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A tiny language model with the configuration of version 5."""
    folder = tmp_path / "model"
    write_model(folder, request.param, kind="logprob", special={"pad_token_id": 0})
    path = folder / "config.json"
    path.write_text(json.dumps(newer_form(json.loads(path.read_text()))))
    return folder


@needs_optimum
@pytest.mark.parametrize("model", ["llama", "gemma", "qwen2"], indirect=True)
def test_a_file_with_the_wrong_angles_is_refused(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "exported"
    plain_export(model, target, "text-generation")
    # What optimum writes beside the file says what the exporter believed; the model's own is right.
    (target / "config.json").write_text((model / "config.json").read_text())
    with pytest.raises(ValueBiasError, match=r"theta = 10000, but its configuration says \d+"):
        check_file(Source(name="model", folder=target, kind="logprob"))


@needs_optimum
@pytest.mark.parametrize("model", ["llama", "llama3", "gemma", "gemma3_text"], indirect=True)
def test_our_export_turns_by_the_right_angles(model: Path, tmp_path: Path) -> None:
    export(model, tmp_path / "exported", kind="logprob")
    source = Source(name="model", folder=tmp_path / "exported", kind="logprob")
    # transformers would misread the newer form here, so the reference is given the older one.
    config = json.loads((tmp_path / "exported" / "config.json").read_text())
    assert "rope_theta" in config
    (model / "config.json").write_text(json.dumps(config))
    conversations = sample(seed=1)
    pack, output = lay_out(conversations)
    found = OptimumBackend(threads=1).load(source).forward(pack)[output]
    expected = WholeConversations(model, "logprob").rows(conversations)
    np.testing.assert_allclose(found, expected, atol=2e-5 * expected.std())


@pytest.mark.skipif(tiny_models.missing() is not None, reason="torch is not installed")
@pytest.mark.parametrize("architecture", ["llama", "llama3", "gemma3_text"])
def test_the_older_form_says_the_same(architecture: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model", architecture, kind="logprob")
    config = newer_form(json.loads((tmp_path / "model" / "config.json").read_text()))
    older = _older_form(config, tmp_path)
    assert older["rope_theta"] == 5000
    assert older.get("rope_local_base_freq") == (100 if architecture == "gemma3_text" else None)
    scaling = older.get("rope_scaling")
    assert (scaling["factor"] if scaling else None) == (4 if architecture == "llama3" else None)
    assert newer_form({key: older[key] for key in older if key != "rope_parameters"}) == config


def test_configurations_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    config = {"rope_theta": 10000.0, "rope_parameters": {"rope_theta": 500000.0}}
    with pytest.raises(ValueBiasError, match=r"rope_theta is 10000.0 there, and 500000.0"):
        _older_form(config, tmp_path)


def test_configurations_without_an_older_form_are_refused(tmp_path: Path) -> None:
    config = {"rope_parameters": {"a": {"rope_theta": 1.0}, "b": {"rope_theta": 2.0}}}
    with pytest.raises(ValueBiasError, match="differ between layers"):
        _older_form(config, tmp_path)


# --- soft-capped attention ----------------------------------------------------------------------


@needs_optimum
def test_a_file_without_the_soft_cap_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "gemma2", kind="reward", special={"pad_token_id": 0})
    plain_export(tmp_path / "model", tmp_path / "exported", "text-classification")
    with pytest.raises(
        ValueBiasError, match=r"attn_logit_softcapping = 2.0\), and the ONNX file do"
    ):
        check_file(Source(name="model", folder=tmp_path / "exported", kind="reward"))
    export(tmp_path / "model", tmp_path / "again", kind="reward")
    check_file(Source(name="model", folder=tmp_path / "again", kind="reward"))


# --- which file, and whether it will do ---------------------------------------------------------


def onnx_file(path: Path, *, rank: int = 2, operation: str = "Identity") -> Path:
    """Write a file with one operation, whose output has that many dimensions."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node(operation, ["x"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("x", kind, [1] * rank)],
        [helper.make_tensor_value_info("logits", kind, [1] * rank)],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


def source(folder: Path, **settings: Any) -> Source:
    (folder / "config.json").write_text("{}")
    return Source(**{"name": "model", "folder": folder, "kind": "reward", **settings})


def test_the_file_is_found(tmp_path: Path) -> None:
    path = onnx_file(tmp_path / "onnx" / "model.onnx")
    assert check_file(source(tmp_path)) == path
    other = onnx_file(tmp_path / "onnx" / "model_fp16.onnx")
    assert check_file(source(tmp_path)) == path
    assert check_file(source(tmp_path, file="onnx/model_fp16.onnx")) == other


def test_missing_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"holds no ONNX file.*optimum_files.export"):
        check_file(source(tmp_path))
    with pytest.raises(ValueBiasError, match="there is no file"):
        check_file(source(tmp_path, file="model.onnx"))


def test_files_that_will_not_do_are_refused(tmp_path: Path) -> None:
    onnx_file(tmp_path / "a.onnx")
    onnx_file(tmp_path / "b.onnx", operation="DynamicQuantizeLinear")
    onnx_file(tmp_path / "c.onnx", rank=3)
    (tmp_path / "d.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueBiasError, match=r"several ONNX files \(a.onnx, b.onnx"):
        check_file(source(tmp_path))
    with pytest.raises(ValueBiasError, match=r"quantises while it runs \(DynamicQuantizeLinear\)"):
        check_file(source(tmp_path, file="b.onnx"))
    with pytest.raises(ValueBiasError, match="needs the ONNX file of a classifier; this is a lang"):
        check_file(source(tmp_path, file="c.onnx"))
    with pytest.raises(
        ValueBiasError, match="needs the ONNX file of a language model; this is a c"
    ):
        check_file(source(tmp_path, file="a.onnx", kind="logprob"))
    with pytest.raises(ValueBiasError, match="cannot be read as an ONNX file"):
        check_file(source(tmp_path, file="d.onnx"))
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueBiasError, match=r"config.json' cannot be read"):
        check_file(Source(name="model", folder=tmp_path, file="a.onnx", kind="reward"))


@needs_optimum
def test_what_the_backend_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match="found head='score'"):
        OptimumBackend().load(source(tmp_path, head="score"))
    with pytest.raises(ValueBiasError, match=r"device='tpu'; here there is .*cpu"):
        OptimumBackend(device="tpu").load(source(tmp_path))
    write_model(tmp_path / "model", "llama", kind="reward", special={"pad_token_id": 0})
    export(tmp_path / "model", tmp_path / "exported", kind="reward")
    asked = Source(name="model", folder=tmp_path / "exported", kind="reward")
    with pytest.raises(ValueBiasError, match=r"label=1, but the ONNX file has 1"):
        OptimumBackend().load(replace(asked, label=1))
    with pytest.raises(ValueBiasError, match=r"computes in float32, but dtype='float16'"):
        OptimumBackend().load(replace(asked, dtype="float16"))
    write_model(tmp_path / "gemma", "gemma3_text", kind="reward", special={"pad_token_id": 0})
    with pytest.raises(ValueBiasError, match="optimum cannot export"):
        export(tmp_path / "gemma", tmp_path / "no", kind="reward")
    assert not (tmp_path / "no").exists()


@needs_optimum
@pytest.mark.parametrize("architecture", ["llama", "gemma", "qwen3"])
def test_files_for_generation_are_read_too(architecture: str, tmp_path: Path) -> None:
    """The hub's language models have inputs for a cache, which stay empty here."""
    folder, target = tmp_path / "model", tmp_path / "exported"
    write_model(folder, architecture, kind="logprob", special={"pad_token_id": 0})
    plain_export(folder, target, "text-generation-with-past")
    conversations = sample(seed=2)
    pack, output = lay_out(conversations)
    loaded = OptimumBackend(threads=1).load(Source(name="m", folder=target, kind="logprob"))
    expected = WholeConversations(folder, "logprob").rows(conversations)
    found = loaded.forward(pack)[output]
    np.testing.assert_allclose(found, expected, atol=2e-5 * expected.std())


@pytest.mark.skipif(OptimumBackend().available() is None, reason="optimum is installed here")
def test_elsewhere_it_says_why_not() -> None:
    with pytest.raises(
        ValueBiasError, match=r"older than 4.58.*pip install \"valuebias\[optimum\]"
    ):
        get_backend("optimum")


# --- tokens ---------------------------------------------------------------------------------------


@pytest.mark.skipif(tiny_models.missing() is not None, reason="torch is not installed")
@pytest.mark.parametrize(
    ("bos", "settings", "first"),
    [
        (False, {}, []),
        (True, {}, [1]),
        (False, {"add_bos_token": True}, [1]),
        (True, {"add_bos_token": False}, []),
    ],
)
@pytest.mark.parametrize("stated", ["LlamaTokenizerFast", "GemmaTokenizerFast"])
def test_either_version_of_transformers_gives_the_tokens_of_the_file(
    stated: str, bos: bool, settings: dict[str, Any], first: list[int], tmp_path: Path
) -> None:
    from tokenizers import Tokenizer as HFTokenizer

    from valuebias.models.tokenizer import Tokenizer

    folder = tiny_models.write_tokenizer(tmp_path, bos=bos)
    file = folder / "tokenizer_config.json"
    content = {**json.loads(file.read_text()), "tokenizer_class": stated, **settings}
    file.write_text(json.dumps(content))
    own = HFTokenizer.from_file(str(folder / "tokenizer.json"))
    expected = [*first, *own.encode("Why,  of all?\nlove", add_special_tokens=False).ids]
    (made,) = Tokenizer(folder, template="plain").rewards("Why,  of all?", ["love"])
    assert made.tolist() == expected
