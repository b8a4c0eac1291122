"""The contract suite passes a backend that is right, and fails each one that is wrong."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from naive_backend import NaiveBackend, NaiveModel

import valuebias
from valuebias.backends import LoadedModel, Pack, Source, conversations
from valuebias.backends.testing import BackendTests
from valuebias.backends.testing.models import Models
from valuebias.backends.testing.samples import lay_out, random_conversations, write_model

needs_torch = pytest.mark.skipif(tiny_models.missing() is not None, reason="torch is not installed")


class TestNaive(BackendTests):
    backend = NaiveBackend


# --- backends that are wrong, each in one way ---------------------------------------------------


class AddsBeginning(NaiveModel):
    def run(self, ids: Any) -> Any:
        import torch

        return super().run(torch.nn.functional.pad(ids, (1, 0), value=1))[1:]


class SeesSiblings(NaiveModel):
    """Reads the pack as one text: what a missing mask does."""

    def forward(self, pack: Pack) -> Any:
        flat = replace(pack, end=np.full(len(pack), len(pack)), position=np.arange(len(pack)))
        return super().forward(flat)


class ForgetsWindow(NaiveModel):
    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.model.config.sliding_window = 10**6


class SkipsPadding(NaiveModel):
    def run(self, ids: Any) -> Any:
        rows = super().run(ids).clone()
        padding = ids[0, 1:] == 0
        rows[1:][padding] = rows[:-1][padding]
        return rows


class IgnoresLabel(NaiveModel):
    def __init__(self, source: Source) -> None:
        super().__init__(replace(source, label=0))


class ComputesRoughly(NaiveModel):
    def run(self, ids: Any) -> Any:
        return super().run(ids).bfloat16().float()


class AddsOneByOne(NaiveModel):
    """Normalises as torch.log_softmax does on a CPU."""

    def run(self, ids: Any) -> Any:
        return self.model(ids).logits[0].log_softmax(-1)


class DependsOnPack(NaiveModel):
    def forward(self, pack: Pack) -> Any:
        return super().forward(pack) + np.float32(1e-4 * len(pack))


class CountsCalls(NaiveModel):
    calls = 0

    def forward(self, pack: Pack) -> Any:
        self.calls += 1
        return super().forward(pack) + np.float32(1e-6 * self.calls)


class ReusesBuffer(NaiveModel):
    def forward(self, pack: Pack) -> Any:
        result = super().forward(pack)
        if not hasattr(self, "buffer"):
            self.buffer = np.empty(10**6, dtype=np.float32)
        self.buffer[: result.size] = result.ravel()
        return self.buffer[: result.size].reshape(result.shape)


class WritesIntoPack(NaiveModel):
    def forward(self, pack: Pack) -> Any:
        pack.position[:] += 1
        pack.position[:] -= 1
        return super().forward(pack)


class ReturnsDoubles(NaiveModel):
    def forward(self, pack: Pack) -> Any:
        return super().forward(pack).astype(np.float64)


class ReturnsColumn(NaiveModel):
    def forward(self, pack: Pack) -> Any:
        return super().forward(pack)[:, None]


class HidesNonsense(NaiveModel):
    def forward(self, pack: Pack) -> Any:
        return np.nan_to_num(super().forward(pack))


class MiscountsVocabulary(NaiveModel):
    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.vocabulary += 1


class NamesOtherDevice(NaiveModel):
    device = "tpu"


class RoundsRewards(ComputesRoughly):
    """Computes its head in bfloat16, as the body."""


class Forgiving(NaiveModel):
    """Loads whatever it is given."""


REWARD = {"kind": "reward"}
OWN_CLASS = {"architecture": "llama", "padding": None}
WRONG: list[tuple[type[NaiveModel], str, dict[str, Any]]] = [
    (AddsBeginning, "test_no_token_is_added", REWARD),
    (SeesSiblings, "test_rewards_are_those_of_whole_conversations", {"architecture": "llama"}),
    (SeesSiblings, "test_logprobs_are_those_of_whole_conversations", {"architecture": "llama"}),
    (SeesSiblings, "test_pack_mates_do_not_matter", {"architecture": "llama"}),
    (SeesSiblings, "test_order_does_not_matter", {"architecture": "llama"}),
    (ForgetsWindow, "test_what_the_window_hides_does_not_matter", {}),
    (ForgetsWindow, "test_rewards_are_those_of_whole_conversations", {"architecture": "mistral"}),
    (ForgetsWindow, "test_rewards_are_those_of_whole_conversations", {"architecture": "gemma2"}),
    (SkipsPadding, "test_rewards_are_read_where_the_pack_says", {}),
    (SkipsPadding, "test_rewards_are_those_of_the_models_own_class", OWN_CLASS),
    (RoundsRewards, "test_heads_compute_in_float32", {}),
    (Forgiving, "test_what_a_models_own_code_puts_out_is_its_own", {}),
    (IgnoresLabel, "test_each_label_of_several", {}),
    (ComputesRoughly, "test_rewards_are_those_of_whole_conversations", {"architecture": "qwen2"}),
    (AddsOneByOne, "test_large_vocabularies_are_summed_exactly", {}),
    (DependsOnPack, "test_pack_mates_do_not_matter", {"architecture": "gemma"}),
    (CountsCalls, "test_forward_is_a_pure_function", {"read": "rewards"}),
    (ReusesBuffer, "test_forward_is_a_pure_function", {"read": "rows"}),
    (WritesIntoPack, "test_forward_is_a_pure_function", {"read": "targets"}),
    (ReturnsDoubles, "test_results_have_the_right_shape", {"read": "rewards"}),
    (ReturnsColumn, "test_results_have_the_right_shape", {"read": "rewards"}),
    (HidesNonsense, "test_a_model_that_computes_nonsense_is_not_hidden", REWARD),
    (MiscountsVocabulary, "test_the_loaded_model_says_what_it_is", REWARD),
    (NamesOtherDevice, "test_the_loaded_model_says_what_it_is", REWARD),
    (Forgiving, "test_unknown_arithmetic_is_an_error", {}),
    (Forgiving, "test_heads_given_as_functions", {}),
    (Forgiving, "test_what_is_not_supported_is_refused", {}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wrong")


@needs_torch
@pytest.mark.parametrize(
    ("model", "test", "given"), WRONG, ids=[f"{model.__name__}-{test}" for model, test, _ in WRONG]
)
def test_a_wrong_backend_fails(
    model: type[NaiveModel], test: str, given: dict[str, Any], folder: Path
) -> None:
    class Wrong(NaiveBackend):
        def dtypes(self) -> tuple[str, ...]:
            return ("float32", "bfloat16") if model is RoundsRewards else ("float32",)

        def load(self, source: Source) -> LoadedModel:
            if model not in (Forgiving, RoundsRewards):
                super().load(source)
            return model(source)

    class Tests(BackendTests):
        backend = Wrong
        refused = (("qwen3", "logprob"),)

    models = Models(Tests(), Wrong(), folder)
    # Failed is what pytest.raises in the suite raises when nothing is raised.
    with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
        getattr(Tests(), test)(models=models, **given)


@needs_torch
def test_what_a_backend_does_not_support_is_skipped(folder: Path) -> None:
    class Refusing(NaiveBackend):
        kinds = frozenset({"logprob"})

        def load(self, source: Source) -> LoadedModel:
            if source.kind == "reward" or "qwen3" in source.name:
                raise valuebias.ValueBiasError("no")
            return super().load(source)

    class Tests(BackendTests):
        backend = Refusing
        refused = (("qwen3", "logprob"),)

    tests, models = Tests(), Models(Tests(), Refusing(), folder)
    with pytest.raises(pytest.skip.Exception, match="does not compute kind='reward'"):
        tests.test_pack_mates_do_not_matter(models, "llama")
    with pytest.raises(pytest.skip.Exception, match="does not support qwen3"):
        tests.test_logprobs_are_those_of_whole_conversations(models, "qwen3")
    tests.test_what_is_not_supported_is_refused(models)


def test_a_backend_that_loads_an_engine_when_made_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    # Made here too, not only in the process looked at: the module must not outlive the test.
    monkeypatch.setitem(sys.modules, "jax", types.ModuleType("jax"))
    with pytest.raises(AssertionError):
        BackendTests().test_it_is_listed_without_loading_an_engine(Heavy())


class Heavy(NaiveBackend):
    def __init__(self) -> None:
        # Any of the names that the suite looks for; a module of that name is not needed.
        sys.modules.setdefault("jax", types.ModuleType("jax"))


# --- samples ------------------------------------------------------------------------------------


def subtrees(pack: Pack) -> Iterator[tuple[int, int]]:
    yield from zip(range(len(pack)), pack.end.tolist(), strict=True)


@pytest.mark.parametrize("seed", range(5))
def test_packs_hold_the_conversations(seed: int) -> None:
    made = random_conversations(seed=seed, vocabulary=7, shared=(3, 1), branches=3)
    pack, output = lay_out(made)
    paths, which, place = conversations(pack)
    for ids, at in zip(made, output, strict=True):
        assert pack.ids[paths[which[at]]][: place[at] + 1].tolist() == ids
    assert np.all(np.diff(pack.gather) > 0)
    # Subtrees nest: none ends inside a later one that it contains the start of.
    for start, end in subtrees(pack):
        assert np.all(pack.end[start:end] <= end)


@pytest.mark.parametrize("seed", range(5))
def test_packs_with_targets_hold_the_tokens(seed: int) -> None:
    made = random_conversations(seed=seed, vocabulary=7, shared=(3, 1), branches=3)
    first = [max(1, len(ids) - 2) for ids in made]
    pack, output = lay_out(made, first=first)
    assert pack.row is not None
    assert pack.target is not None
    wanted = [
        (ids[:at], ids[at]) for ids, f in zip(made, first, strict=True) for at in range(f, len(ids))
    ]
    paths, which, place = conversations(pack)
    for (before, token), at in zip(wanted, output, strict=True):
        r = pack.row[at]
        assert pack.ids[paths[which[r]]][: place[r] + 1].tolist() == before
        assert pack.target[at] == token


def test_an_unknown_architecture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(valuebias.ValueBiasError, match="Did you mean 'llama'"):
        write_model(tmp_path / "model", "lama", kind="reward")
    assert not (tmp_path / "model").exists()
