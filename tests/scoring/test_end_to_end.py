"""From two real models to a store, to a fit that says what two models cannot carry."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import small_models

import valuebias
from valuebias import Model, ValueBiasWarning

LACKING = next(filter(None, map(small_models.missing, small_models.NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
]

ORIGINS = {
    "smollm2": ("SmolLM", "HuggingFaceTB/SmolLM2-135M"),
    "gemma3": ("Gemma", "google/gemma-3-270m"),
}
"""Family and base."""
KEPT = ["best_ever_one", "good_world_please", "worst_ever_one", "bad_world_please"]
LOOKED_AT = ["love", "competent", "trustworthy"]


def models(kind: str) -> list[Model]:
    made = []
    for name, (family, base) in ORIGINS.items():
        made_of = small_models.reward_model if kind == "reward" else small_models.language_model
        # The pretrained Gemma has no chat template of its own.
        plain = kind == "logprob" and name == "gemma3"
        template = "plain" if plain else "chat"
        source = str(made_of(name))
        made.append(Model(source, name=name, family=family, base=base, template=template))
    return made


@pytest.mark.parametrize("kind", ["reward", "logprob"])
def test_from_models_to_a_fit(tmp_path: Path, kind: Any) -> None:
    prompts = valuebias.prompts(valuebias.prompts().table.loc[KEPT], name="four")
    store = tmp_path / "scores.zarr"
    valuebias.score(models(kind), prompts=prompts, kind=kind, store=store, progress=False)
    ds = valuebias.read(store)
    assert dict(ds.sizes)["response"] == len(valuebias.lexicon())
    words = [word for word in LOOKED_AT if word in ds["response"]]
    text = ds["text"].to_numpy()[0]
    for model in models(kind):
        found = ds["score"].sel(model=model.name, response=words).to_numpy()[0]
        folder = Path(model.location)
        if kind == "reward":
            expected = naive.word_rewards(folder, text, words)
        else:
            chat = model.template == "chat"
            each = naive.word_logprobs(folder, text, words, chat=chat)
            expected = np.array([tokens.sum() for tokens in each])
        tolerance = 5e-5 if kind == "reward" else 1e-4
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ValueBiasWarning)
        fit = valuebias.fit(ds, draws=100, tune=200, chains=2, seed=1, progress=False)
    messages = [str(warning.message) for warning in told]
    assert any("cannot carry a claim about families" in message for message in messages)
    assert "two models cannot carry a claim about a family" in str(fit.headline())
