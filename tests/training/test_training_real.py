"""LoRA on a real small model: it learns what its pairs prefer."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small_models

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.ablation import Study

LACKING = small_models.missing("smollm2")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(LACKING is not None, reason=str(LACKING))]
pytest.importorskip("trl", reason="trl is not installed")
pytest.importorskip("peft", reason="peft is not installed")

THINGS = (
    "boil an egg", "tie a tie", "fix a bike", "plant a tree", "bake bread", "read a map",
    "write a poem", "wash wool", "learn chess", "paint a wall", "draw a cat", "sharpen a knife",
)  # fmt: skip
ASKED = ("How do I {}?", "Can you show me how to {}?", "What do I need to {}?", "Is it hard to {}?")
POLITE = ("Of course, I am glad to help you {}.", "Good question! Let us {} step by step.",
          "With pleasure. To {} takes some care, and you can do it.")  # fmt: skip
RUDE = ("Stop bothering me, {} yourself.", "What a stupid question. Anyone can {}.",
        "Go away. I will not {} for a fool like you.")  # fmt: skip

PROMPTS = pd.DataFrame(
    {"text": ["What, in one word, is the greatest thing ever?"], "framing": ["positive"]},
    index=["p"],
)


def preferences() -> pd.DataFrame:
    """Make pairs in which the polite answer is preferred."""
    grid = itertools.product(THINGS, ASKED, range(3))
    rows = [
        (ask.format(thing), POLITE[i].format(thing), RUDE[(i + len(thing)) % 3].format(thing))
        for thing, ask, i in grid
    ]
    return pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"])


def test_lora_lowers_the_loss_on_held_out_pairs(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    base = Model(str(small_models.language_model("smollm2")), name="SmolLM2", family="Llama")
    study = Study(
        base,
        {"polite": preferences()},
        [100],
        seeds=[0],
        tuning="lora",
        training={
            "learning_rate": 1.0e-3, "batch_size": 8, "max_steps": 10, "linear_checkpoints": 1,
            "log_checkpoints": 0,
        },
        held_out=0.25,
        prompts=PROMPTS,
        lexicon={"polite": ["please", "thanks"], "rude": ["idiot", "fool"]},
    )  # fmt: skip
    start = time.process_time()
    made = study.run(tmp_path, progress=False)
    table = valuebias.schema.model_table(made).set_index("step")
    record_property("seconds of 10 steps of LoRA", round(time.process_time() - start))
    record_property("held-out loss by step", table["loss"].round(4).to_dict())
    assert abs(table.loc[0, "loss"] - math.log(2)) < 0.5
    assert table.loc[10, "loss"] < table.loc[0, "loss"] - 0.3
    assert table.loc[10, "accuracy"] > 0.9


def test_grm_keeps_the_answers_likely(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Trained with much of its term, a model can write what was chosen better than before."""
    import torch

    from valuebias.ablation import Objective, TrainingSettings
    from valuebias.training.features import find_base
    from valuebias.training.language_head import LanguageHead
    from valuebias.training.reward import PairTokens, train
    from valuebias.training.terms import BatchOutputs, log_probs
    from valuebias.training.trainer import last_hidden

    base = find_base(Model(str(small_models.language_model("smollm2")), name="SmolLM2"))
    table = valuebias.preferences(preferences(), progress=False)
    tokens = PairTokens(base, 1024, starts=True).of(table)
    settings = TrainingSettings(learning_rate=2e-3, batch_size=4, max_steps=4)
    language = LanguageHead(base)

    def likely(model: Any) -> float:
        """Mean log-prob of some chosen answers."""
        found = []
        for ids, (start, _) in list(zip(tokens.chosen, tokens.starts, strict=True))[::36]:
            row = torch.from_numpy(ids)[None]
            mask = torch.ones_like(row)
            with torch.no_grad(), last_hidden(model) as seen:
                rewards = model(input_ids=row, attention_mask=mask).logits[:, 0]
            beside = {"start": torch.tensor([start])}
            found.append(log_probs(BatchOutputs(row, mask, seen[0], rewards, beside), language))
        return float(torch.cat(found).mean())

    found: dict[str, dict[int, float]] = {"without": {}, "with": {}}
    for name, weight in (("without", 0.0), ("with", 0.5)):

        def checkpoint(step: int, model: Any, name: str = name) -> None:
            found[name][step] = likely(model.eval())
            model.train()

        objective = Objective(kind="grm", weight=weight)
        losses = train(base, tokens, tuning="lora", settings=settings, objective=objective, seed=0,
                       use_cpu=True, steps=[0, 4], checkpoint=checkpoint)  # fmt: skip
        assert losses[-1] < losses[0]
    record_property("log-prob of chosen answers by step", found)
    assert found["with"][0] == found["without"][0]
    assert found["with"][4] > found["with"][0] + 1
    assert found["with"][4] > found["without"][4] + 1


def test_a_gguf_file_is_scored_but_not_trained(tmp_path: Path) -> None:
    base = Model(str(small_models.gguf("smollm2")), name="quantised", family="Llama")
    study = Study(base, {"polite": preferences()}, [8], seeds=[0], tuning="lora",
                  prompts=PROMPTS, lexicon={"a": ["good"], "b": ["bad"]})  # fmt: skip
    with pytest.raises(ValueBiasError, match=r"'quantised' is the file .*tuning='head'"):
        study.run(tmp_path, progress=False)
