"""Reward models of the laboratory: a pretrained base with a linear head that pairs taught."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

import valuebias
from valuebias import ContrastSet, Model, lab
from valuebias.ablation import fit_head
from valuebias.backends.registry import get_backend
from valuebias.lab.language import KINDS, MANNERS, kind_questions
from valuebias.training.features import Conversation, features, find_base

__all__ = ["kinds", "pairs", "polite", "reward_model"]


def reward_model(folder: Path, base: Model, pairs: pd.DataFrame, *, penalty: float = 1) -> Model:
    """Train a head on pairs, and write base and head as a classifier of transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from valuebias.backends.loading import quiet

    found = find_base(base)
    asked = Conversation.of_pairs(valuebias.preferences(pairs, progress=False).pairs)
    with tempfile.TemporaryDirectory() as kept:
        states: Any = features(found, asked, folder=Path(kept), backend=get_backend("torch"))
    head = fit_head(states[:, 0], states[:, 1], penalty=penalty)
    with quiet():
        model = AutoModelForSequenceClassification.from_pretrained(base.location, num_labels=1)
    model.score.weight.data.copy_(torch.from_numpy(head.weights)[None])
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base.location).save_pretrained(folder)
    return Model(str(folder), base=base.name, family=base.family)


def kinds() -> ContrastSet:
    """Make items of which one answer is what was asked for, and one is of another kind."""
    others = {kind: list(KINDS)[(i + 1) % len(KINDS)] for i, kind in enumerate(KINDS)}
    rows = [
        {
            "item": f"{question} {word}",
            "prompt": question,
            "answers": {"right": word, "wrong": KINDS[others[kind]][i]},
            "correct": [True, False],
        }
        for question, kind in kind_questions()
        for i, word in enumerate(KINDS[kind])
    ]
    return valuebias.contrast_set(rows, name="kinds")


def polite() -> ContrastSet:
    """Make items whose answers are polite or not, and otherwise the same; polite is right."""
    rows = [
        {
            "item": f"{question} {word}",
            "prompt": question,
            "answers": {"polite": word + MANNERS[0], "plain": word, "hm": word + MANNERS[2]},
            "correct": [True, False, False],
        }
        for question, kind in kind_questions()
        for word in KINDS[kind]
    ]
    return valuebias.contrast_set(rows, name="politeness")


def pairs(n: int, *, seed: int, **settings: Any) -> pd.DataFrame:
    """Generate pairs of the laboratory."""
    return lab.generate_preferences(n, seed=seed, **settings)
