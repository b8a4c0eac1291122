"""Heads compute in float32, whatever the body computes in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuebias.backends import Source
from valuebias.backends.testing.samples import lay_out, random_conversations, write_model
from valuebias.backends.torch_backend import TorchBackend
from valuebias.errors import ValueBiasError

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

_MADE = random_conversations(seed=3, vocabulary=160, branches=5)
# None that begins another: computed within that, its body would round otherwise.
CONVERSATIONS = [ids for ids in _MADE if not any(o[: len(ids)] == ids and o != ids for o in _MADE)]
HALVES = ("bfloat16", "float16")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("heads") / "m"
    write_model(folder, "llama", kind="reward")
    return Source(name="m", folder=folder, kind="reward", as_own=True)


def states(folder: Path, dtype: str, *, autocast: bool = False) -> Any:
    """Give the last hidden state of each conversation, by plain transformers."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=getattr(torch, dtype)
    ).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = [model.model(torch.tensor([ids])).last_hidden_state[0, -1] for ids in CONVERSATIONS]
    return torch.stack(found).float(), model.score.weight.detach().float()


def rewards(source: Source, **options: Any) -> np.ndarray:
    pack, output = lay_out(CONVERSATIONS)
    return TorchBackend(device="cpu", **options).load(source).forward(pack)[output]


def rounded(values: np.ndarray) -> int:
    """Count the different rewards that a head in bfloat16 could have given."""
    return len(set(torch.from_numpy(values).bfloat16().tolist()))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("attention", ["whole", "tree"])
def test_the_classification_head(source: Source, dtype: str, attention: Any) -> None:
    hidden, weight = states(source.folder, dtype)
    expected = (hidden @ weight[0]).numpy()
    found = rewards(replace(source, dtype=dtype), attention=attention)
    # A tree's body rounds in another order.
    gap = {"whole": 1e-5, "tree": 0.05}[attention] * expected.std()
    np.testing.assert_allclose(found, expected, atol=gap)
    assert len(set(found.tolist())) == len(CONVERSATIONS)
    assert dtype == "float16" or rounded(expected) < len(CONVERSATIONS)


@pytest.mark.parametrize("prepacked", [False, True])
def test_under_autocast(source: Source, prepacked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from valuebias.backends import prepacked as module

    if not prepacked:
        monkeypatch.setattr(module, "possible", lambda dtype: False)
    hidden, weight = states(source.folder, "float32", autocast=True)
    expected = (hidden @ weight[0]).numpy()
    found = rewards(source, autocast=True, attention="tree" if prepacked else "whole")
    gap = (0.05 if prepacked else 1e-5) * expected.std()
    np.testing.assert_allclose(found, expected, atol=gap)
    assert len(set(found.tolist())) == len(CONVERSATIONS)


class Bilinear(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first = torch.nn.Linear(32, 16)
        self.dropout = torch.nn.Dropout(0.5)
        self.second = torch.nn.Linear(16, 1, bias=False)

    def forward(self, hidden: Any) -> Any:
        assert hidden.dtype == torch.float32
        return self.second(self.dropout(self.first(hidden).tanh()))[:, 0]


HEADS: dict[str, Callable[[Any], Any]] = {
    "a module": lambda head: head,
    "its method": lambda head: head.forward,
}


@pytest.mark.parametrize("as_given", HEADS)
@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_modules_of_the_users(source: Source, as_given: str, dtype: str) -> None:
    """Their weights are brought to float32, they drop nothing out, and stay as they were."""
    half = Bilinear().to(torch.bfloat16)
    hidden, _ = states(source.folder, dtype)
    with torch.no_grad():
        expected = Bilinear().to(torch.bfloat16).float().eval()(hidden).numpy()
    head = HEADS[as_given](half)
    given = replace(source, head=head, dtype=dtype, as_own=False)
    found = rewards(given, attention="whole")
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.std())
    assert half.training
    assert half.first.weight.dtype == torch.bfloat16


def test_functions_that_bring_another_dtype_are_told_what_to_do(source: Source) -> None:
    weight = torch.ones(32, dtype=torch.bfloat16)
    given = replace(source, head=lambda hidden: hidden @ weight, dtype="bfloat16", as_own=False)
    with pytest.raises(ValueBiasError, match=r"function given as head=.*by \.float\(\)"):
        rewards(given)


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an array": (lambda h: h.sum(-1).numpy(), r"a numpy\.ndarray of shape \(\d+,\)"),
    "a list": (lambda h: h.sum(-1).tolist(), "a list"),
    "a tuple": (lambda h: (h.sum(-1),), "a tuple"),
    "nothing": (lambda h: None, "None"),
    "a number": (lambda h: 1.0, "a float"),
    "a scalar": (lambda h: h.sum(), r"a tensor of torch\.float32 of shape \(\)"),
    "a row": (lambda h: h.sum(-1)[None], r"of shape \(1, \d+\)"),
    "two columns": (lambda h: h[:, :2], r"of shape \(\d+, 2\)"),
    "one too few": (lambda h: h.sum(-1)[1:], r"of shape \(\d+,\)"),
    "complex": (lambda h: h.sum(-1).to(torch.complex64), r"torch\.complex64"),
    "truths": (lambda h: h.sum(-1) > 0, r"torch\.bool"),
    "sparse": (lambda h: h.sum(-1).to_sparse(), r"torch\.sparse_coo"),
    "no content": (lambda h: h.sum(-1).to("meta"), "a tensor"),
}


@pytest.mark.parametrize("attention", ["whole", "tree"])
@pytest.mark.parametrize("named", WRONG)
def test_heads_that_return_something_else_are_told_what(
    source: Source, named: str, attention: Any
) -> None:
    head, said = WRONG[named]
    given = replace(source, head=head, as_own=False)
    match = rf"m: the function given as head= returns .*{said}.*expected a torch\.Tensor.*one each"
    with pytest.raises(ValueBiasError, match=match):
        rewards(given, attention=attention)


def test_a_head_may_return_a_column(source: Source) -> None:
    """As any linear layer does."""
    torch.manual_seed(6)
    layer = torch.nn.Linear(32, 1)
    column, flat = (
        rewards(replace(source, head=head, as_own=False))
        for head in (layer, lambda hidden: layer(hidden)[:, 0])
    )
    np.testing.assert_array_equal(column, flat)
    assert column.std() > 0.1


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
    BODY = "model"

    def __init__(self, config):
        super().__init__(config)
        setattr(self, self.BODY, LlamaModel(config))
        self.regression = torch.nn.Linear(config.hidden_size, 3, bias=False)
        self.mix = torch.nn.Parameter(torch.randn(3))
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **kwargs):
        made = getattr(self, self.BODY)(input_ids, attention_mask=attention_mask, return_dict=False)
        return Rating(score=self.regression(made[0][:, -1]) @ self.mix)
"""


@pytest.mark.parametrize("body", ["model", "decoder"])
@pytest.mark.parametrize("dtype", HALVES)
def test_heads_of_a_models_own_code(tmp_path: Path, dtype: str, body: str) -> None:
    """Also where the class calls its body as transformers would not."""
    folder = tmp_path / f"rater_{body}_{dtype}"
    code = OWN_CODE.replace('"model"', f'"{body}"')
    namespace: dict[str, Any] = {"__name__": "rating"}
    exec(compile(code, "rating.py", "exec"), namespace)  # noqa: S102
    write_model(folder, "llama", kind="logprob")
    config = transformers.AutoConfig.from_pretrained(folder)
    config.auto_map = {"AutoModelForSequenceClassification": "rating.Rater"}
    torch.manual_seed(5)
    namespace["Rater"](config).save_pretrained(folder)
    (folder / "rating.py").write_text(code)
    model = namespace["Rater"].from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    with torch.no_grad():
        rows = [torch.tensor([ids]) for ids in CONVERSATIONS]
        hidden = [getattr(model, body)(row).last_hidden_state[0, -1].float() for row in rows]
        made = [model.regression.weight.float() @ state for state in hidden]
        expected = np.array([float(row @ model.mix.float()) for row in made])
    source = Source(
        name="rater", folder=folder, kind="reward", head="score", dtype=dtype,
        trust_remote_code=True,
    )  # fmt: skip
    found = rewards(source)
    np.testing.assert_allclose(found, expected, atol=2e-2 * expected.std())
    assert len(set(found.tolist())) == len(CONVERSATIONS)
    (folder / "rating.py").write_text(code.replace("score=self", "score=None and self"))
    with pytest.raises(ValueBiasError, match=r"rater: the output of its own code has .* None for"):
        rewards(source)
