"""LoRA on a real small model: it learns what its pairs prefer."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path

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


def test_a_gguf_file_is_scored_but_not_trained(tmp_path: Path) -> None:
    base = Model(str(small_models.gguf("smollm2")), name="quantised", family="Llama")
    study = Study(base, {"polite": preferences()}, [8], seeds=[0], tuning="lora",
                  prompts=PROMPTS, lexicon={"a": ["good"], "b": ["bad"]})  # fmt: skip
    with pytest.raises(ValueBiasError, match=r"'quantised' is the file .*tuning='head'"):
        study.run(tmp_path, progress=False)
