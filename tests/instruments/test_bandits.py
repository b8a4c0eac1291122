"""Bandit tasks: what is drawn, what is told, and what is refused."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import valuebias
from valuebias import ValueBiasError
from valuebias.instruments.bandits import bandit_task


def told(text: str) -> list[tuple[str, float, str, float]]:
    """Read the rounds that a prompt tells of."""
    found = re.findall(r"Box (\w+) held (\S+) points, box (\w+) held (\S+) points\.", text)
    return [(a, float(x), b, float(y)) for a, x, b, y in found]


def test_a_prompt_tells_what_came_before_it_and_nothing_else() -> None:
    task = bandit_task(trials=5, tasks=3, seed=4)
    texts = task.prompts.table["text"]
    for _, rows in task.trials.groupby("task"):
        training = rows[rows["phase"] == "training"]
        history = [
            (row["first_label"], row["first_outcome"], row["second_label"], row["second_outcome"])
            for _, row in training.iterrows()
        ]
        for i, (_, row) in enumerate(rows.iterrows()):
            text = texts[row["prompt"]]
            assert told(text) == history[:i]
            asked = text.split("\n")[-1]
            assert f"Box {row['first_label']} and box {row['second_label']} are offered" in asked
            assert f"Round {min(i, 10) + 1}." in asked


def test_each_prompt_begins_as_the_one_before() -> None:
    task = bandit_task(trials=4, seed=2)
    texts = list(task.prompts.table["text"])
    for before, after in pairwise(texts):
        history, _, _ = before.rpartition("\n")
        assert after.startswith(history)


def test_comparisons_say_which_did_better() -> None:
    task = bandit_task(trials=20, seed=1, style="comparisons")
    last = str(task.prompts.table["text"].iloc[-1])
    lines = [line for line in last.split("\n") if " held " in line]
    kinds = set()
    for line in lines:
        ((a, x, b, y),) = told(line)
        better = re.search(r"Box (\w+) did better", line)
        if x == y:
            assert better is None
            assert "Both did the same." in line
        else:
            assert better is not None
            assert better.group(1) == (a if x > y else b)
        kinds.add(np.sign(x - y))
    assert kinds == {-1, 0, 1}
    plain = bandit_task(trials=20, seed=1)
    assert "better" not in str(plain.prompts.table["text"].iloc[-1])
    same = [c for c in plain.trials if c != "prompt"]
    assert plain.trials[same].equals(task.trials[same])


def test_outcomes_have_their_probabilities() -> None:
    task = bandit_task(trials=300, tasks=3, seed=3)
    training = task.trials[task.trials["phase"] == "training"]
    held = np.concatenate([
        training.loc[training[side] == "large 1", f"{side}_outcome"] for side in ("first", "second")
    ])  # fmt: skip
    assert len(held) == 900
    assert set(held) == {0.0, 10.0}
    assert abs((held == 10).mean() - 0.75) < 0.06
    assert task.options.loc["large 1", "value"] == 7.5
    assert task.options["relative_value"].tolist() == [2.5, -2.5, 0.25, -0.25]


def test_orders() -> None:
    for order, runs in (("interleaved", None), ("blocked", 1)):
        rows = bandit_task(trials=6, seed=1, order=order).trials.query("phase == 'training'")
        contexts = rows["context"].tolist()
        changes = sum(a != b for a, b in pairwise(contexts))
        if runs:
            assert changes == 1
        else:
            assert all(len(set(contexts[i : i + 2])) == 2 for i in range(0, 12, 2))


def test_transfer_pairs_stand_in_both_places() -> None:
    rows = bandit_task(trials=2, seed=1).trials.query("phase == 'transfer'")
    pairs = list(zip(rows["first"], rows["second"], strict=True))
    assert len(pairs) == 8
    assert {(b, a) for a, b in pairs} == set(pairs)
    assert all(a.split()[0] != b.split()[0] for a, b in pairs)
    chosen = bandit_task(trials=2, seed=1, transfer=[("large 2", "small 1")]).trials
    assert len(chosen.query("phase == 'transfer'")) == 2
    assert len(bandit_task(trials=2, transfer=False).trials) == 4


def test_the_seed_is_all_there_is_to_chance() -> None:
    one, same, other = (bandit_task(trials=3, tasks=2, seed=seed) for seed in (1, 1, 2))
    assert one.prompts.table.equals(same.prompts.table)
    assert not one.trials.equals(other.trials)
    more = bandit_task(trials=3, tasks=3, seed=1)
    assert more.trials.iloc[: len(one.trials)].equals(one.trials)


def test_every_text_is_asked_once() -> None:
    task = bandit_task(trials=1, tasks=60, seed=1)
    assert task.prompts.table["text"].is_unique
    assert len(task.prompts) < len(task.trials)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"contexts": {}}, "expected a mapping of names to two options each"),
        ({"contexts": {"a": (1, 2, 3)}}, "The context 'a' has (1, 2, 3); expected two options"),
        ({"contexts": {"a": (1, float("nan"))}}, "An outcome of the option 'a 2' is nan"),
        ({"contexts": {"a": (1, float("inf"))}}, "An outcome of the option 'a 2' is inf"),
        ({"contexts": {"a": (1, {2: 0.5})}}, "'a 2' sum to 0.5; expected 1"),
        ({"contexts": {"a": (1, {2: -1.0, 3: 2.0})}}, "The probability of 2 of the option 'a 2'"),
        ({"contexts": {"a": (1, {})}}, "The option 'a 2' has no outcomes"),
        ({"trials": 0}, "trials is 0"),
        ({"trials": 2000}, "of too much text"),
        ({"tasks": 1.5}, "tasks is 1.5"),
        ({"order": "mixed"}, "order is 'mixed'."),
        ({"style": "comparison"}, "Did you mean 'comparisons'?"),
        ({"transfer": [("large 1", "huge 1")]}, "The transfer offers the option 'huge 1'"),
        ({"transfer": [("large 1", "large 1")]}, "expected two different options"),
        ({"transfer": [("large 1", "small 1"), ("small 1", "large 1")]}, "occurs twice"),
        ({"transfer": "all"}, "expected True, False, or pairs of options"),
        ({"labels": "AAB"}, "expected 4 that differ"),
        ({"labels": ["A", "B", "", "D"]}, "The label is ''"),
        ({"unit": "a\nb"}, "The unit is"),
        ({"contexts": {f"c{i}": (1, 2) for i in range(14)}}, "Give labels="),
    ],
)
def test_what_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueBiasError) as raised:
        bandit_task(**given)
    assert said in str(raised.value)


def test_a_task_is_shown() -> None:
    task = valuebias.bandit_task(trials=2, tasks=2, seed=1)
    assert "2 tasks, 2 contexts, 4 trials of training and 8 of transfer" in repr(task)
    shown = task._repr_html_()
    assert "large 1" in shown
    assert "Which one do you open?" in shown
