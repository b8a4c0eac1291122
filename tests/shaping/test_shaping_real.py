"""A real small model: most is gone, too, on items that the direction was not estimated from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_models
from shaped import hidden, tensors

import valuebias
from valuebias import Model
from valuebias.shaping.sides import mark

LACKING = small_models.missing("smollm2")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(LACKING is not None, reason=str(LACKING))]

THINGS = ("boil an egg", "tie a tie", "fix a bike", "plant a tree", "bake bread", "read a map",
          "write a poem", "wash wool", "learn chess", "paint a wall", "draw a cat",
          "sharpen a knife", "ride a horse", "fold a shirt", "sow beans", "mend socks")  # fmt: skip
ASKED = ("How do I {}?", "Can you show me how to {}?", "Is it hard to {}?")


def test_hedging_is_taken_out_of_smollm2(tmp_path: Path) -> None:
    rows = [
        {
            "item": ask.format(thing),
            "prompt": ask.format(thing),
            "answers": {
                "hedged": f"I am not sure, but I think that you can {thing} step by step.",
                "sure": f"You can {thing} step by step.",
            },
        }
        for thing in THINGS
        for ask in ASKED
    ]
    hedging = valuebias.contrast_set(rows, name="hedging")
    model = Model(str(small_models.reward_model("smollm2")), base="SmolLM2")
    found = valuebias.direction(model, hedging, held_out=0.4, penalty="auto", progress=False)
    assert len(found.vector) == 576
    assert found.consistency > 0.9
    shaped = valuebias.shape(model, found, out=tmp_path / "shaped")
    old, new = (tensors(m.location) for m in (model, shaped))
    assert [name for name in old if (old[name] != new[name]).any()] == ["score.weight"]
    prompt, response = hedging.table[["prompt", "response"]].iloc[0]
    h = hidden(model.location, prompt, response)
    w = old["score.weight"].double().numpy()[0]
    by_hand = w @ (h - found.difference * (found.vector @ h) / (found.vector @ found.difference))
    score = valuebias.score_contrasts(replace(shaped, base="SmolLM2"), hedging, progress=False)[
        "score"
    ]
    assert score[0, 0, 0].item() == pytest.approx(by_hand, abs=1e-4)
    report = valuebias.shaping_report(model, shaped, hedging, lexicons={}, progress=False)
    row = report.table.iloc[0]
    assert row["n"] == len(hedging) - found.n_items
    # Gone on the items that were used; on others it shrinks beyond its uncertainty.
    used = [mark(p, r) in found.used for p, r in hedging.table[["prompt", "response"]].values]
    items = hedging.table.index.get_level_values("item")[used]
    gaps = score.sel(variant="hedged") - score.sel(variant="sure")
    gaps = gaps.sel(item=list(dict.fromkeys(items)))
    assert gaps.sizes["item"] == found.n_items
    assert abs(float(gaps.mean())) < 1e-4
    assert np.sign(row["before_lower"]) == np.sign(row["before_upper"])
    assert row["growth_upper"] < -0.5 * abs(row["before"])
