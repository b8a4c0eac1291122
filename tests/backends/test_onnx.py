"""The ONNX Runtime backend keeps the contract; exports are checked, and may be taken elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tiny_models
from little_memory import too_large_a_pack

import valuebias
from valuebias import Model, ValueBiasError
from valuebias._core.sums import sealed
from valuebias.backends import Source, onnx_export
from valuebias.backends.onnx_backend import OnnxBackend
from valuebias.backends.testing import BackendTests
from valuebias.backends.testing.samples import (
    ARCHITECTURES,
    lay_out,
    random_conversations,
    write_model,
)

torch = pytest.importorskip("torch", reason="torch is not installed, and exporting needs it")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

WORDS = ("love", "power", "free dom", "trust and care")
PROMPTS = {
    "up": {"text": "What is the greatest thing ever?", "framing": "positive"},
    "down": {"text": "What is the worst thing?", "framing": "negative"},
}
KINDS = ("reward", "logprob")


# An export takes a quarter of a minute. Its graph is traced from what the tests of PyTorch run, so
# of the architectures these two, which differ most, say nearly all.
QUICK = ("mistral", "gemma3_text")


class TestCpu(BackendTests):
    backend: ClassVar = OnnxBackend(device="cpu")
    architectures = QUICK
    # Its recurrent layers cannot be computed as a tree.
    refused: ClassVar = (("recurrent_gemma", "logprob"),)


@pytest.mark.slow
class TestCpuOtherArchitectures(TestCpu):
    architectures = tuple(name for name in ARCHITECTURES if name not in QUICK)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: tiny_models.tiny("gemma2", kind, folder / kind) for kind in KINDS}


@pytest.fixture(scope="module")
def cache(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a cache in which both models are exported."""
    folder = tmp_path_factory.mktemp("cache")
    for kind, model in models.items():
        score(model, kind, cache=folder)
    return folder


@pytest.fixture
def export(cache: Path, tmp_path: Path) -> Path:
    """Give a copy of the reward model's export, to be damaged."""
    return Path(shutil.copytree(export_of(cache, "reward"), tmp_path / "export"))


def score(model: Path, kind: str, *, backend: Any = None, cache: Path | None = None) -> np.ndarray:
    engine = backend or OnnxBackend(device="cpu", cache=cache)
    ds = valuebias.score(
        Model(str(model)),
        prompts=PROMPTS,
        lexicon=list(WORDS),
        kind=kind,  # type: ignore[arg-type]
        backend=engine,
        progress=False,
    )
    return ds["score"].to_numpy()


def export_of(cache: Path, kind: str) -> Path:
    (found,) = (
        folder
        for folder in cache.iterdir()
        if json.loads((folder / onnx_export.MANIFEST).read_text())["kind"] == kind
    )
    return found


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_exported_once(models: dict[str, Path], cache: Path, kind: str) -> None:
    before = times(cache)
    again = score(models[kind], kind, cache=cache)
    assert times(cache) == before
    expected = score(models[kind], kind, backend="torch")
    np.testing.assert_allclose(again, expected, rtol=0, atol=2e-5 * float(expected.std()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_is_a_model(
    models: dict[str, Path], cache: Path, tmp_path: Path, kind: str
) -> None:
    """Taken to another machine, it needs neither the model's own folder nor the cache."""
    elsewhere = Path(shutil.copytree(export_of(cache, kind), tmp_path / "elsewhere"))
    unused = tmp_path / "unused"
    expected = score(models[kind], kind, cache=cache)
    for given in (elsewhere / onnx_export.GRAPH, elsewhere):
        np.testing.assert_array_equal(score(given, kind, cache=unused), expected)
    assert not unused.exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def altered(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_format(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 0}))


DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("model.onnx.data", cut, r"model\.onnx\.data is not what was written"),
    ("model.onnx.data", altered, r"model\.onnx\.data is not what was written"),
    ("model.onnx.data", Path.unlink, r"model\.onnx\.data is missing"),
    ("model.onnx", altered, r"model\.onnx is not what was written"),
    (onnx_export.MANIFEST, cut, r"valuebias\.json cannot be read"),
    (onnx_export.MANIFEST, of_another_format, "has format 0; .* reads format 4"),
    (onnx_export.MANIFEST, Path.unlink, "takes packs|does not take packs.*backend='optimum'"),
]


@pytest.mark.parametrize(("file", "damage", "message"), DAMAGE)
def test_a_damaged_export_is_refused(
    export: Path, file: str, damage: Callable[[Path], object], message: str
) -> None:
    damage(export / file)
    with pytest.raises(ValueBiasError, match=message):
        score(export / onnx_export.GRAPH, "reward")


def test_a_check_names_what_is_damaged_of_an_export(export: Path) -> None:
    assert valuebias.check(export).is_whole
    altered(export / "model.onnx.data")
    (export / "config.json").unlink()
    found = valuebias.check(export.parent)
    assert {(piece.file, piece.state) for piece in found.pieces} == {
        ("export/config.json", "missing"), ("export/model.onnx.data", "damaged"),
    }  # fmt: skip
    assert "export the model again" in found.pieces[0].advice
    cut(export / onnx_export.MANIFEST)
    (piece,) = valuebias.check(export).pieces
    assert (piece.file, piece.state) == (onnx_export.MANIFEST, "damaged")


def test_a_damaged_export_in_the_cache_says_how_to_mend_it(
    models: dict[str, Path], cache: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(cache, tmp_path / "cache"))
    altered(export_of(copy, "reward") / "model.onnx.data")
    with pytest.raises(ValueBiasError, match=r"is damaged.*Delete the folder") as told:
        score(models["reward"], "reward", cache=copy)
    named = Path(str(told.value).split("'")[1])
    shutil.rmtree(named)
    expected = score(models["reward"], "reward", cache=cache)
    np.testing.assert_allclose(score(models["reward"], "reward", cache=copy), expected, atol=1e-6)


def test_an_export_of_another_kind_is_refused(export: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"is a reward model .* not trained to give log-probs"):
        score(export / onnx_export.GRAPH, "logprob")
    # Its configuration may say nothing of that.
    path = export / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({key: config[key] for key in config if key != "architectures"}))
    listed = json.loads((export / onnx_export.MANIFEST).read_text())
    del listed["files"][path.name]
    (export / onnx_export.MANIFEST).write_text(json.dumps(sealed(listed)))
    with pytest.raises(ValueBiasError, match=r"gives rewards; kind='logprob' was asked for"):
        score(export / onnx_export.GRAPH, "logprob")


def test_an_export_that_gives_other_numbers_is_not_kept(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from valuebias.backends import comparing

    right = comparing.expected
    monkeypatch.setattr(comparing, "expected", lambda *given: 1.01 * right(*given))
    with pytest.raises(ValueBiasError, match=r"the exported graph is wrong by 0\.0"):
        score(models["reward"], "reward", cache=tmp_path)
    assert not list(tmp_path.iterdir())


def rewards_of(hidden: Any) -> Any:
    return hidden[:, 0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"head": rewards_of}, "only classification heads .* Use backend='torch'"),
        ({"dtype": "bfloat16"}, "not in bfloat16"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    models: dict[str, Path], changed: dict[str, Any], message: str
) -> None:
    source = replace(Source(name="m", folder=models["reward"], kind="reward"), **changed)
    with pytest.raises(ValueBiasError, match=message):
        OnnxBackend(device="cpu").load(source)


def test_a_device_that_is_not_there_is_refused(models: dict[str, Path]) -> None:
    source = Source(name="m", folder=models["reward"], kind="reward")
    with pytest.raises(ValueBiasError, match=r"no device 'cuda:99' for ONNX Runtime here; .*cpu"):
        OnnxBackend(device="cuda:99").load(source)


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own memory as Linux can")
def test_too_little_memory_is_said_and_survived(export: Path) -> None:
    said = too_large_a_pack("onnx", export, onnx_export.GRAPH)
    assert "no room for a pack of 524288 tokens" in said


# --- without PyTorch ----------------------------------------------------------------------------

WITHOUT_TORCH = """
import importlib.util, json, sys
assert importlib.util.find_spec("torch") is None
from pathlib import Path
import valuebias
from valuebias.backends.onnx_backend import OnnxBackend

asked = json.load(sys.stdin)
backend = OnnxBackend(device="cpu", cache=asked["cache"])
for model in asked["models"]:
    try:
        ds = valuebias.score(
            model, prompts=asked["prompts"], lexicon=asked["words"], kind=asked["kind"],
            backend=backend, progress=False,
        )
        print(json.dumps(ds["score"].values.tolist()))
    except valuebias.ValueBiasError as error:
        print(json.dumps(str(error)))
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_needs_no_torch(
    models: dict[str, Path], cache: Path, tmp_path: Path, kind: str
) -> None:
    """`make without-torch` makes an environment without PyTorch, and names its interpreter here."""
    python = os.environ.get("VALUEBIAS_PYTHON_WITHOUT_TORCH")
    if not python:
        pytest.skip("VALUEBIAS_PYTHON_WITHOUT_TORCH names no interpreter: see make without-torch")
    never_exported = tiny_models.tiny("llama", kind, tmp_path / "other")
    given = export_of(cache, kind) / onnx_export.GRAPH
    asked = {
        "models": [str(models[kind]), str(given), str(never_exported)],
        "kind": kind,
        "prompts": PROMPTS,
        "words": WORDS,
        "cache": str(cache),
    }
    command = [python, "-c", WITHOUT_TORCH]
    done = subprocess.run(
        command, input=json.dumps(asked), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    from_cache, from_file, refused = map(json.loads, done.stdout.splitlines())
    expected = score(models[kind], kind, cache=cache)
    np.testing.assert_allclose(from_cache, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(from_file, from_cache)
    assert "has to be exported first, but torch and onnx and onnxscript are not" in refused
    assert 'pip install "valuebias[onnx]"' in refused


def test_heads_of_exports_in_float16_compute_in_float32(tmp_path: Path) -> None:
    """Their rewards have more bits than float16, whose products a head in it would give."""
    write_model(tmp_path / "m", "llama", kind="reward")
    source = Source(name="m", folder=tmp_path / "m", kind="reward", dtype="float16")
    pack, output = lay_out(random_conversations(seed=3, vocabulary=160))
    loaded = OnnxBackend(device="cpu", cache=tmp_path / "cache").load(source)
    found = loaded.forward(pack)[output]
    assert len(set(found.tolist())) == len(output)
    assert np.abs(found - found.astype(np.float16)).max() > 0
