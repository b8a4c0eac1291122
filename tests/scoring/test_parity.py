"""Scores of two real models, from text to number, against whole conversations in transformers."""

from __future__ import annotations

from collections.abc import Callable

import naive
import numpy as np
import pytest
import small_models

import valuebias
from valuebias.backends import Backend, get_backend

PROMPTS = ("best_ever_one", "worst_world_please", "terrible_time_single")
# How many of the prompts, and which of the words.
FEW, MANY = (1, list(valuebias.lexicon().words[::30])), (3, list(valuebias.lexicon().words[::7]))
# Absolute; the scores' standard deviation is about 0.4 (rewards) and 2 (log-probs).
TOLERANCE = {"reward": 5e-5, "logprob": 1e-4}

slow = pytest.mark.slow


@pytest.fixture(scope="module", params=["torch", pytest.param("onnx", marks=slow)])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Give a backend that keeps its exports from one run of the tests to the next."""
    if request.param == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        from valuebias.backends.onnx_backend import OnnxBackend

        return OnnxBackend(cache=small_models.folder() / "onnx")
    pytest.importorskip("torch", reason="torch is not installed")
    return get_backend(request.param)


@pytest.mark.parametrize("name", small_models.CASES)
@pytest.mark.parametrize("kind", ["reward", "logprob"])
@pytest.mark.parametrize(
    ("n_prompts", "words"),
    [pytest.param(*FEW, id="few"), pytest.param(*MANY, id="many", marks=slow)],
)
def test_real_models(
    backend: Backend,
    name: str,
    kind: str,
    n_prompts: int,
    words: list[str],
    record_property: Callable[[str, object], None],
) -> None:
    reason = small_models.missing(name)
    if reason is not None:
        pytest.skip(reason)
    rewards = kind == "reward"
    folder = small_models.reward_model(name) if rewards else small_models.language_model(name)
    chat = rewards or name == "smollm2"
    model = valuebias.Model(folder, template="chat" if chat else "plain")
    prompts = valuebias.prompts()
    chosen = valuebias.prompts(prompts.table.loc[list(PROMPTS[:n_prompts])], name="some")

    ds = valuebias.score(
        model, prompts=chosen, lexicon=words, kind=kind, backend=backend, progress=False
    )

    for prompt in PROMPTS[:n_prompts]:
        text = str(prompts.table["text"][prompt])
        if rewards:
            expected = naive.word_rewards(folder, text, words)
        else:
            tokens = naive.word_logprobs(folder, text, words, chat=chat)
            expected = np.array([values.sum() for values in tokens])
        found = ds["score"].sel(prompt=prompt, response=words).to_numpy()[0]
        gap = float(abs(found - expected).max())
        record_property(f"{backend.name} {name} {kind} {prompt}: largest difference", gap)
        assert expected.std() > 0.1
        assert gap <= TOLERANCE[kind]
