"""Heads given as functions: what makes them another, and which no store takes."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.models.fingerprint import Unknowable, fingerprint

W = np.arange(3.0)


def made(source: str, **scope: Any) -> Any:
    """Run the text of a notebook's cell, and give the head that it defines."""
    exec(source, scope)  # noqa: S102
    return scope["head"]


def closure(weight: Any, by: float = 2.0) -> Callable[[Any], Any]:
    def head(hidden: Any, *, scale: float = by) -> Any:
        return (hidden @ weight) * scale

    return head


class Linear:
    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def __call__(self, hidden: Any) -> Any:
        return hidden @ self.weight

    def rate(self, hidden: Any) -> Any:
        return -self(hidden)


class Twice(Linear):
    def __call__(self, hidden: Any) -> Any:
        return 2 * super().__call__(hidden)


def marked(scale: float) -> Any:
    head = made("def head(h):\n    return h * head.scale")
    head.scale = scale
    return head


def metaclassed(scale: float) -> Any:
    kind: Any = type("Kind", (type,), {"scale": scale, "__module__": "own"})
    return kind("Head", (Linear,), {"__call__": lambda self, h: h * type(self).scale})(W)


def new_class(scale: float) -> Any:
    return types.new_class("Head", (Linear,), {}, lambda space: space.update(scale=scale))(W)


_CACHED = "@functools.lru_cache\ndef head(h):\n    return h * 2\n"
_CELL = "def head(hidden):\n    return hidden @ weight\n"
PAIRS: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "code": (lambda: made(_CELL, weight=W), lambda: made(_CELL.replace("@", "-"), weight=W)),
    "a constant": (
        lambda: made("def head(h):\n    return h * 2"),
        lambda: made("def head(h):\n    return h * 3"),
    ),
    "a set of constants": (
        lambda: made("def head(h):\n    return h in {'a', 'b', 'c'}"),
        lambda: made("def head(h):\n    return h in {'a', 'b', 'd'}"),
    ),
    "a method's name": (
        lambda: made("def head(h):\n    return h.mean()"),
        lambda: made("def head(h):\n    return h.max()"),
    ),
    "a global": (lambda: made(_CELL, weight=W), lambda: made(_CELL, weight=W + 1)),
    "a global's own code": (
        lambda: made("def f(h):\n    return h\ndef head(h):\n    return f(h)"),
        lambda: made("def f(h):\n    return -h\ndef head(h):\n    return f(h)"),
    ),
    "a function within": (
        lambda: made("def head(h):\n    return [x for x in h if x > 1]"),
        lambda: made("def head(h):\n    return [x for x in h if x > 2]"),
    ),
    "a closure": (lambda: closure(W), lambda: closure(W + 1)),
    "a default": (lambda: closure(W), lambda: closure(W, by=3.0)),
    "a dtype": (lambda: closure(W), lambda: closure(W.astype(np.float32))),
    "an instance": (lambda: Linear(W), lambda: Linear(-W)),
    "a class": (lambda: Linear(W), lambda: Twice(W)),
    "a method": (lambda: Linear(W).rate, lambda: Linear(-W).rate),
    "a partial": (
        lambda: functools.partial(lambda h, w: h @ w, w=W),
        lambda: functools.partial(lambda h, w: h @ w, w=W + 1),
    ),
    "what a cache was put round": (
        lambda: made(_CACHED, functools=functools),
        lambda: made(_CACHED.replace("2", "3"), functools=functools),
    ),
    "what a cache within was put round": (
        lambda: made(_CACHED + "f = head\ndef head(h):\n    return f(h)", functools=functools),
        lambda: made(
            _CACHED.replace("2", "3") + "f = head\ndef head(h):\n    return f(h)",
            functools=functools,
        ),
    ),
    "an attribute of a function": (lambda: marked(1.0), lambda: marked(2.0)),
    "an attribute of a class of classes": (lambda: metaclassed(1.0), lambda: metaclassed(2.0)),
    "a class that a package made": (lambda: new_class(1.0), lambda: new_class(2.0)),
    "a function of a package": (lambda: np.mean, lambda: np.max),
    "an attribute of a package": (
        lambda: made("def head(h):\n    return np.mean(h)", np=np),
        lambda: made("def head(h):\n    return np.max(h)", np=np),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_makes_another_head(name: str) -> None:
    first, second = PAIRS[name]
    assert fingerprint(first()) == fingerprint(first())
    assert fingerprint(first()) != fingerprint(second())


def test_what_does_not() -> None:
    moved = made("# a remark\n\n\n" + _CELL, weight=W.copy())
    assert fingerprint(made(_CELL, weight=W, other=5)) == fingerprint(moved)


def test_what_a_module_of_ones_own_holds_counts_as_far_as_it_is_used() -> None:
    module = types.ModuleType("not_installed_anywhere")
    vars(module).update(weight=W, other=1)
    head = made("def head(h):\n    return h @ own.weight", own=module)
    first = fingerprint(head)
    vars(module)["other"] = 2
    assert fingerprint(head) == first
    vars(module)["weight"] = W + 1
    assert fingerprint(head) != first


def test_another_process_gives_the_same() -> None:
    code = (
        "from valuebias.models.fingerprint import fingerprint\n"
        "scope = {}\n"
        "exec(\"def head(h, w=(1, 'a')):\\n    return h in {'a', 'b', 'c'}\", scope)\n"
        "print(fingerprint(scope['head']))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


def _body(line: str, before: str = "") -> str:
    return f"{before}\ndef head(h):\n    return h * {line}"


OUTSIDE = [
    (_body("float(os.environ['SCALE'])", "import os"), r"environ"),
    (_body("float(environ['SCALE'])", "from os import environ"), "environ"),
    (_body("float(found['SCALE'])", "from os import environ as found"), "found is the process's"),
    (_body("float(getenv('SCALE'))", "from os import getenv as getenv"), r"getenv\(\)"),
    (_body("float(found('SCALE'))", "from os import getenv as found"), r"getenv\(\)"),
    (_body("getattr(os, 'environ')['SCALE']", "import os"), "reads environ"),
    (_body("sys.modules['own'].S", "import sys"), "sys.modules"),
    (_body("loaded['own'].S", "from sys import modules as loaded"), "loaded is the process's own"),
    (_body("importlib.import_module('own').S", "import importlib"), r"import_module"),
    (_body("f('own').S", "from importlib import import_module as f"), r"import_module\(\)"),
    (_body("float(Path('w').open().read())", "from pathlib import Path"), r"open\(\)"),
    (_body("float(io.open('w').read())", "import io"), r"open\(\)"),
    (_body("float(f('w').read())", "from io import open as f"), r"open\(\)"),
    (_body("float(os.fdopen(3).read())", "import os"), "os.fdopen"),
    (_body("pd.read_json('w').iloc[0, 0]", "import pandas as pd"), r"read_json\(\)"),
    (_body("f('w').iloc[0, 0]", "from pandas import read_pickle as f"), r"read_pickle\(\)"),
    (_body("f('w')", "from numpy import fromfile as f"), r"fromfile\(\)"),
    (_body("np.ndarray.tofile and f('w')", "import numpy as np\nf = np.load"), r"load\(\)"),
    (_body("zipfile.ZipFile('w').namelist()", "import zipfile"), "'zipfile'"),
    (_body("head.__globals__['w']"), "reads __globals__"),
    ("def head(h):\n    import os\n    return h", "imports 'os'"),
    ("def made():\n    import os\n    return lambda h: os.stat\nhead = made()", "os.stat"),
    ("def head(h):\n    import subprocess as s\n    return s", "imports 'subprocess'"),
    ("import functools\nhead = functools.partial(open, 'w')", r"open\(\)"),
]


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (lambda: closure(threading.Lock()), "weight is a _thread.lock"),
        (lambda: closure(iter([1])), None),
        (lambda: closure(i for i in range(3)), "weight is a generator"),
        (lambda: made("def head(h):\n    return open('w').read()"), r"calls open\(\)"),
        (lambda: made("def head(h):\n    return np.load('w.npy') @ h", np=np), r"calls load\(\)"),
        (lambda: made("def head(h):\n    import own_one\n    return h"), "imports 'own_one'"),
        (lambda: made("def head(h):\n    return f(own)", own=types.ModuleType("own_two")), "own"),
        *((lambda text=text: made(text), reason) for text, reason in OUTSIDE),
    ],
)
def test_what_cannot_be_told(head: Callable[[], Any], reason: str | None) -> None:
    if reason is None:
        assert fingerprint(head())
        return
    with pytest.raises(Unknowable, match=reason):
        fingerprint(head())


@pytest.mark.parametrize(
    "text",
    [
        _body("np.exp(math.pi) + np.float32(len(os.path.join('a', 'b')))", "import os, math"),
        _body("np.linalg.norm(h) + sys.float_info.max", "import sys"),
        _body("expit(h)", "from scipy.special import expit"),
        _body("json.loads('1')", "import json, functools"),
        _body("pattern.findall('a')", "import re\npattern = re.compile('a', re.I)"),
        "import numpy\ndef made():\n    import os\n    return lambda h: os.sep\nhead = made()",
    ],
)
def test_what_only_computes_can_be_told(text: str) -> None:
    assert fingerprint(made(text, np=np)) == fingerprint(made(text, np=np))


needs_torch = pytest.mark.skipif(
    tiny_models.missing() is not None, reason=str(tiny_models.missing())
)


@needs_torch
def test_modules() -> None:
    import torch

    def net(seed: int = 0, *, more: bool = False) -> Any:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(3, 2), torch.nn.ReLU(), *[torch.nn.ReLU()] * more
        )

    first = fingerprint(net())
    assert fingerprint(net()) == first
    assert len({first, *map(fingerprint, (net(1), net(more=True), net().eval()))}) == 4
    hooked = net()
    hooked.register_forward_hook(lambda module, given, out: -out)
    assert fingerprint(hooked) != first
    assert fingerprint(net().forward) == fingerprint(net().forward)
    half = closure(torch.ones(3, dtype=torch.bfloat16))
    assert fingerprint(half) != fingerprint(closure(torch.ones(3)))
    for name in ("from_file", "load"):
        for head in (made(f"f = torch.{name}\ndef head(h):\n    return f('w')", torch=torch),
                     made(f"def head(h):\n    return torch.{name}('w')", torch=torch)):  # fmt: skip
            with pytest.raises(Unknowable, match=rf"{name}\(\)"):
                fingerprint(head)
    text = (
        "def head(h):\n    return torch.nn.functional.max_pool1d(torch.relu(h.to(torch.half)), 2)"
    )
    assert fingerprint(made(text, torch=torch)) == fingerprint(made(text, torch=torch))
    assert fingerprint(closure(torch.half)) != fingerprint(closure(torch.float))
    with pytest.raises(Unknowable, match="Tensor"):
        fingerprint(closure(torch.ones(3, device="meta")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny("llama", "reward", tmp_path_factory.mktemp("heads") / "m")


def score(folder: Path, store: Path | None = None, **fields: Any) -> np.ndarray:
    made = valuebias.score(
        Model(str(folder), name="m", **fields),
        prompts=valuebias.prompts({"p": "What is good?"}, framing="positive"),
        lexicon=["love", "power", "x"],
        store=store,
        progress=False,
    )
    return made["score"].to_numpy().ravel()


@needs_torch
def test_a_store_never_gives_the_scores_of_another_head(folder: Path, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(2)
    first, second = torch.randn(32), torch.randn(32)
    store = tmp_path / "s.zarr"
    kept = score(folder, store, head=closure(first))
    np.testing.assert_array_equal(score(folder, store, head=closure(first.clone())), kept)
    with pytest.raises(ValueBiasError, match="another head of the model 'm'"):
        score(folder, store, head=closure(second))
    other = score(folder, tmp_path / "t.zarr", head=closure(second))
    assert np.abs(other - kept).max() > 0.5


@needs_torch
def test_a_head_that_cannot_be_told_is_scored_without_a_store(folder: Path, tmp_path: Path) -> None:
    lock = threading.Lock()

    def head(hidden: Any) -> Any:
        with lock:
            return hidden[:, 0]

    with pytest.raises(ValueBiasError, match=r"head of 'm'.*lock is a _thread\.lock.*without"):
        score(folder, tmp_path / "s.zarr", head=head)
    assert not (tmp_path / "s.zarr").exists()
    np.testing.assert_array_equal(score(folder, head=head), score(folder, head=lambda h: h[:, 0]))


# --- files ---------------------------------------------------------------------------------------


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


FILES = {
    "configuration": ("config.json", '"rms_norm_eps": 1e-06', '"rms_norm_eps": 0.1'),
    "template": ("chat_template.jinja", "<|end|>", "<|end|><|end|>"),
    # The template's text stays as it is, and writes another token.
    "set of files": ("tokenizer_config.json", '"bos_token": "<s>"', '"bos_token": "</s>"'),
    "tokenizer": ("tokenizer.json", '"add_prefix_space": false', '"add_prefix_space": true'),
}


@needs_torch
@pytest.mark.parametrize("named", FILES)
def test_a_store_knows_every_file_that_can_change_a_number(
    folder: Path, tmp_path: Path, named: str
) -> None:
    mine, store = tmp_path / "m", tmp_path / "s.zarr"
    shutil.copytree(folder, mine)
    before = score(mine, store)
    for name in ("README.md", "generation_config.json", "trainer_state.json"):
        (mine / name).write_text("{}", encoding="utf-8")
    np.testing.assert_array_equal(score(mine, store), before)
    file, old, new = FILES[named]
    change(mine / file, old, new)
    with pytest.raises(ValueBiasError, match=f"another {named} of the model 'm'"):
        score(mine, store)
    assert np.abs(score(mine) - before).max() > 1e-3


@needs_torch
def test_further_chat_templates_are_known_too(folder: Path, tmp_path: Path) -> None:
    mine, store = tmp_path / "m", tmp_path / "s.zarr"
    shutil.copytree(folder, mine)
    score(mine, store)
    (mine / "additional_chat_templates").mkdir()
    (mine / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages }}")
    with pytest.raises(ValueBiasError, match="another set of files of the model 'm'"):
        score(mine, store)


@needs_torch
def test_of_several_weights_those_are_hashed_that_are_loaded(folder: Path, tmp_path: Path) -> None:
    """A file beside an index goes before it, and what the configuration names before both."""
    from safetensors.torch import load_file, save_file

    from valuebias.models.resolve import resolve

    mine = tmp_path / "m"
    shutil.copytree(folder, mine)
    tensors = load_file(mine / "model.safetensors")
    tensors["score.weight"] = -tensors["score.weight"]
    save_file(tensors, mine / "other.safetensors", metadata={"format": "pt"})
    own = score(mine)
    index = {"metadata": {}, "weight_map": dict.fromkeys(tensors, "other.safetensors")}
    (mine / "model.safetensors.index.json").write_text(json.dumps(index))

    def hashed() -> str:
        return resolve(Model(str(mine)), kind="reward").source.weights_sha256

    np.testing.assert_array_equal(score(mine), own)
    first = hashed()
    (mine / "model.safetensors").rename(mine / "model.safetensors.aside")
    np.testing.assert_allclose(score(mine), -own, atol=1e-5)
    assert hashed() != first
    (mine / "model.safetensors.aside").rename(mine / "model.safetensors")
    change(
        mine / "config.json",
        '"vocab_size"',
        '"transformers_weights": "other.safetensors",\n  "vocab_size"',
    )
    np.testing.assert_allclose(score(mine), -own, atol=1e-5)


@needs_torch
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["reward", "logprob"])
def test_an_adapter_beside_the_weights_is_not_put_on_top(tmp_path: Path, kind: Any) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    import torch
    import transformers

    folder = tiny_models.tiny("llama", kind, tmp_path / "m")
    auto = {"reward": "SequenceClassification", "logprob": "CausalLM"}[kind]
    load = getattr(transformers, f"AutoModelFor{auto}").from_pretrained
    asked: Any = {
        "prompts": valuebias.prompts({"p": "What is good?"}, framing="positive"),
        "lexicon": ["love", "power"], "kind": kind, "progress": False,
    }  # fmt: skip
    before = valuebias.score(str(folder), **asked)["score"].to_numpy()
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    model = peft.get_peft_model(load(folder), config)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    model.save_pretrained(folder)
    assert (folder / "adapter_model.safetensors").is_file()
    # transformers itself puts the two together.
    ids = torch.tensor([[1, 9, 30, 40]])
    with torch.no_grad():
        both = load(folder, dtype=torch.float32)(ids).logits
        (folder / "adapter_config.json").rename(tmp_path / "aside.json")
        alone = load(folder, dtype=torch.float32)(ids).logits
    assert (both - alone).abs().max() > 1e-3
    shutil.copy(tmp_path / "aside.json", folder / "adapter_config.json")
    found = valuebias.score(str(folder), **asked)
    np.testing.assert_array_equal(found["score"].to_numpy(), before)
    (about,) = json.loads(found.attrs["provenance"])["models"]
    assert "not applied" in about["runs"][0]["details"]["adapter"]
    asked.pop("progress")
    assert "an adapter (adapter_config.json) lies beside" in str(
        valuebias.plan(str(folder), **asked)
    )
