"""A reward model of a frozen base is that base with the head that the pairs give."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models
from shaped import hidden

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.ablation import fit_head, reward_model

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

WORDS = ("love", "power", "friendship", "ambition", "freedom", "competence", "kindness", "harmony")
TEMPLATE = "User: {prompt}\nAssistant: {response}\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tiny_models.tiny("llama", "logprob", tmp_path_factory.mktemp("frozen") / "lm")
    return Model(str(folder), name="tiny", family="Llama", base="tiny")


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    rows = [(f"What is {a}?", f"It is {a} and {b}", a) for a in WORDS for b in WORDS[:3] if a != b]
    return pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"])


def rewards(model: Model, pairs: pd.DataFrame) -> np.ndarray:
    items = [{"prompt": p, "answers": {"chosen": c, "rejected": r}} for p, c, r in pairs.to_numpy()]
    scores = valuebias.score_contrasts(model, items, progress=False)["score"]
    return np.asarray(scores.transpose("item", "variant", "model").to_numpy()[..., 0])


def test_rewards_are_those_of_a_head_on_what_transformers_reads(
    base: Model, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    made = reward_model(base, pairs, out=tmp_path / "rm", penalty=3, progress=False)
    assert (made.name, made.family, made.base, made.stage) == ("rm", "Llama", "tiny", "reward")
    states = np.array(
        [[hidden(base.location, row["prompt"], row[side]) for side in ("chosen", "rejected")]
         for _, row in pairs.iterrows()]
    )  # fmt: skip
    head = fit_head(states[:, 0], states[:, 1], penalty=3)
    np.testing.assert_allclose(rewards(made, pairs), head.score(states), atol=2e-4)
    about = json.loads((tmp_path / "rm" / "head.json").read_text())
    assert about["accuracy"] == head.accuracy > 0.9


def test_the_base_stays_as_it_was(base: Model, pairs: pd.DataFrame, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    made = reward_model(base, pairs, out=tmp_path / "rm", progress=False)
    before = load_file(Path(base.location) / "model.safetensors")
    after = load_file(Path(made.location) / "model.safetensors")
    assert "score.weight" in after
    for name in set(after) - {"score.weight"}:
        assert bool((after[name] == before[name]).all()), name


def test_a_template_is_the_reward_models_too(
    base: Model, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    plain = replace(base, template=TEMPLATE)
    made = reward_model(plain, pairs, out=tmp_path / "rm", progress=False)
    assert made.template == TEMPLATE
    both = rewards(made, pairs)
    assert (both[:, 0] > both[:, 1]).mean() > 0.9


def test_what_is_there_is_not_made_again_nor_lost(
    base: Model, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    out = tmp_path / "rm"
    made = reward_model(base, pairs, out=out, progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert reward_model(base, pairs, out=out, progress=False) == made
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(ValueBiasError, match="of another pairs and penalty"):
        reward_model(base, pairs[1:], out=out, penalty=2, progress=False)
    (tmp_path / "own").mkdir()
    with pytest.raises(ValueBiasError, match="holds no such model"):
        reward_model(base, pairs, out=tmp_path / "own", progress=False)
    (out / "head.json").write_text("[]")
    with pytest.raises(ValueBiasError, match="Remove the folder"):
        reward_model(base, pairs, out=out, progress=False)


def test_it_is_of_one_base(base: Model, pairs: pd.DataFrame, tmp_path: Path) -> None:
    two = [base, replace(base, name="other")]
    with pytest.raises(ValueBiasError, match="There are 2 bases"):
        reward_model(two, pairs, out=tmp_path / "rm", progress=False)
