"""Heads trained for temporal coherence foresee the final reward, where what follows is known.

An answer of the rule "said" is a word and one of four endings, each as likely. So the final reward
that is to be expected after a beginning is known exactly: the mean over the four.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_models

import valuebias
from valuebias import Model, lab
from valuebias.ablation import Head, answer_states, fit_head, temporal_coherence
from valuebias.lab.language import KINDS, MANNERS, kind_questions

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

Floats = np.ndarray[Any, np.dtype[np.float64]]


def states(model: Model, pairs: pd.DataFrame) -> list[Floats]:
    return list(answer_states(model, valuebias.preferences(pairs, progress=False)))


def every_continuation() -> pd.DataFrame:
    """Give some questions with words of each kind and all endings, two of them a row."""
    return pd.DataFrame(
        [
            {"prompt": question, "chosen": word + first, "rejected": word + second}
            for question, _ in kind_questions()[::4]
            for words in KINDS.values()
            for word in words[:4]
            for first, second in (MANNERS[:2], MANNERS[2:])
        ]
    )


def rewarded(head: Head, of_each: list[Floats]) -> Floats:
    """Give the rewards of answers of three tokens, (answer, token)."""
    return np.stack([one @ head.weights for one in of_each])


def misses(rewards: Floats) -> Floats:
    """Give the mean squared error after one and two tokens, in variances of the final reward."""
    rewards = rewards.reshape(-1, len(MANNERS), 3)
    final = rewards[:, :, -1]
    # Beginnings that differ only in what is to follow are one and the same.
    np.testing.assert_allclose(rewards[:, :, 0], rewards[:, :1, 0].repeat(4, axis=1), atol=1e-3)
    expected = final.mean(axis=1)
    return np.asarray(((rewards[:, 0, :2] - expected[:, None]) ** 2).mean(axis=0) / final.var())


def accuracy(rewards: Floats) -> Floats:
    """Give the share of pairs in which the right answer is ahead of the wrong, after each token."""
    questions = kind_questions()[::4]
    rewards = rewards.reshape(len(questions), -1, len(MANNERS), 3)
    kinds = np.repeat(list(KINDS), rewards.shape[1] // len(KINDS))
    ahead = [
        (some[kinds == kind][:, None, :, None] > some[kinds != kind][None, :, None]).mean(
            (0, 1, 2, 3)
        )
        for (_, kind), some in zip(questions, rewards, strict=True)
    ]
    return np.mean(ahead, axis=0)


@dataclass(frozen=True)
class Trained:
    """Two heads on the same pairs, with states of answers that they have not seen."""

    coherent: Head
    plain: Head
    of_each: list[Floats]


def trained(model: Model) -> Trained:
    pairs = states(model, lab.generate_preferences(800, rules=("said",), seed=1))
    last = np.array([one[-1] for one in pairs])
    coherent = fit_head(last[::2], last[1::2], coherence=temporal_coherence(pairs))
    return Trained(coherent, fit_head(last[::2], last[1::2]), states(model, every_continuation()))


@pytest.mark.slow
def test_a_beginnings_reward_is_nearer_to_what_is_to_be_expected(bases: dict[str, Model]) -> None:
    for name, model in bases.items():
        made = trained(model)
        assert {len(one) for one in made.of_each} == {3}
        before, after = (misses(rewarded(h, made.of_each)) for h in (made.plain, made.coherent))
        assert after.mean() < before.mean() * 0.75, name
        assert after[0] < before[0] / 2, name
        # The price of both terms is a little of the fit to the pairs.
        assert made.coherent.loss > made.plain.loss


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2])
def test_right_answers_are_ahead_in_the_middle(tmp_path: Path, seed: int) -> None:
    """Of bases that can tell at the end; pretrained so briefly, some cannot."""
    model = lab.pretrain(tmp_path / "base", lean=0.0, seed=seed, progress=False)
    made = trained(model)
    found, had = (accuracy(rewarded(h, made.of_each)) for h in (made.coherent, made.plain))
    assert had[-1] > 0.99
    assert found[-1] > 0.99
    assert found[1] > 0.7
    assert found[1] > had[1] + 0.2
    before, after = (misses(rewarded(h, made.of_each)) for h in (made.plain, made.coherent))
    assert after.mean() < before.mean() / 4


@pytest.mark.slow
def test_weights_trained_for_coherence_foresee_the_final_reward(tmp_path: Path) -> None:
    """The same, of a base whose weights are trained as well, with the objective 'tcrm'."""
    pytest.importorskip("trl", reason="trl is not installed")
    import torch

    from valuebias.ablation import Objective, TrainingSettings
    from valuebias.training.features import Conversation, find_base
    from valuebias.training.reward import PairTokens, train

    base = find_base(lab.pretrain(tmp_path / "base", lean=0.0, seed=0, progress=False))
    table = valuebias.preferences(
        lab.generate_preferences(400, rules=("said",), seed=1), progress=False
    )
    pairs = PairTokens(base, 1024, starts=True).of(table)
    every = valuebias.preferences(every_continuation(), progress=False).pairs
    conversations = base.token_ids(Conversation.of_pairs(every))
    settings = TrainingSettings(learning_rate=2e-3, epochs=4, warmup=0.1)

    def trained_for(kind: str) -> Floats:
        found: list[Floats] = []

        def read(step: int, model: Any) -> None:
            model.eval()
            with torch.no_grad():
                for ids in conversations:
                    hidden = model.model(torch.from_numpy(ids)[None]).last_hidden_state
                    found.append(model.score(hidden)[0, -3:, 0].double().numpy())

        train(
            base, pairs, tuning="full", settings=settings, objective=Objective(kind=kind), seed=0,
            use_cpu=True, steps=[settings.n_steps(len(pairs))], checkpoint=read,
        )  # fmt: skip
        return np.stack(found)

    plain, coherent = trained_for("bradley-terry"), trained_for("tcrm")
    assert min(accuracy(plain)[-1], accuracy(coherent)[-1]) > 0.95
    assert accuracy(coherent)[1] > 0.9
    assert accuracy(coherent)[1] > accuracy(plain)[1] + 0.2
    assert (misses(coherent) < misses(plain) / 4).all()


@pytest.mark.slow
def test_states_are_those_of_transformers(bases: dict[str, Model]) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = bases["gemma-1.5"]
    pairs = lab.generate_preferences(40, rules=("said", "polite", "kind"), seed=3)
    found = states(model, pairs)
    assert len(found) == 80
    tokenizer = AutoTokenizer.from_pretrained(model.location)
    network = AutoModelForCausalLM.from_pretrained(model.location, dtype=torch.float32).eval()
    for place, row in enumerate(pairs.itertuples()):
        for side, answer in enumerate((row.chosen, row.rejected)):
            text = f"<s><|user|>{row.prompt}<|assistant|>{answer}"
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            n = len(tokenizer(answer, add_special_tokens=False)["input_ids"])
            with torch.no_grad():
                hidden = network.model(ids).last_hidden_state[0, -n:].numpy()
            np.testing.assert_allclose(found[2 * place + side], hidden, atol=2e-4)


def test_pairs_of_the_rule_said_follow_it() -> None:
    pairs = lab.generate_preferences(4000, rules=("said",), seed=4)
    assert set(pairs["rule"]) == {"said"}
    asked = dict(kind_questions())
    worth = {}
    for side in ("chosen", "rejected"):
        parts = pairs[side].str.split(",", expand=True)
        assert set("," + parts[1]) == set(MANNERS)
        right = [w in KINDS[asked[q]] for w, q in zip(parts[0], pairs["prompt"], strict=True)]
        worth[side] = 3.0 * np.array(right) + 1.5 * (parts[1] == " thanks").to_numpy()
    # Each ending is as likely, and half of the words are of the kind; over both sides, as choosing
    # takes nothing away.
    both = pd.concat([pairs["chosen"], pairs["rejected"]]).str.split(",").str[1]
    assert both.value_counts(normalize=True).to_numpy() == pytest.approx(0.25, abs=0.03)
    gap = worth["chosen"] - worth["rejected"]
    assert (gap == 0).mean() == pytest.approx(0.3125, abs=0.04)
    for size in (1.5, 3.0, 4.5):
        share = (gap == size).sum() / (np.abs(gap) == size).sum()
        assert share == pytest.approx(1 / (1 + np.exp(-size)), abs=0.05)


def test_states_are_of_one_base() -> None:
    models = [Model("org/a", name="a", family="A"), Model("org/b", name="b", family="A")]
    with pytest.raises(valuebias.ValueBiasError, match="There are 2 models"):
        answer_states(models, lab.generate_preferences(4, seed=1))
