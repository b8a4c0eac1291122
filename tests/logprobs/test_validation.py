"""Known changes, and which method finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

import valuebias
from valuebias import ValueBiasError
from valuebias.logprobs.injection.report import recovery
from valuebias.plots import plot_validation
from valuebias.schema import build

QUICK: dict[str, Any] = {"vocabulary": 400, "n_words": 8, "n_seeds": 6, "progress": False}


def test_without_noise_the_log_ratio_finds_every_word() -> None:
    table = valuebias.validate_implicit(noise=0, methods=["log_ratio"], **QUICK).table
    assert (table["auc"] == 1).all()
    assert (table["recall"] == 1).all()


def test_where_nothing_is_to_be_found_the_ranking_is_by_chance() -> None:
    made = valuebias.validate_implicit(
        noise=1, boost=1e-9, methods=["log_ratio"], vocabulary=1000, n_words=100, n_seeds=20,
        likeliest=1, progress=False,
    )  # fmt: skip
    assert made.table["auc"].mean() == pytest.approx(0.5, abs=0.05)


def test_noise_in_unlikely_words_fills_the_top_of_the_log_ratio_not_of_mwlr() -> None:
    made = valuebias.validate_implicit(
        noise=1, methods=["mwlr", "log_ratio"], vocabulary=5000, n_words=20, progress=False
    )
    found = made.summary().set_index("method")
    assert found.loc["mwlr", "recall_lower"] > found.loc["log_ratio", "recall_upper"]
    assert found.loc["mwlr", "recall"] > 10 * 20 / 5000


def test_recovery_against_its_definition() -> None:
    rng = np.random.default_rng(1)
    rewards = rng.integers(0, 5, size=40).astype(float)  # with ties
    raised = rng.random(40) < 0.3
    above = rewards[raised][:, None] - rewards[~raised][None]
    found = recovery(rewards, raised)
    assert found["auc"] == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean())


def test_the_same_seed_gives_the_same() -> None:
    one, two, other = (
        valuebias.validate_implicit(noise=1, seed=s, **QUICK).table for s in (3, 3, 30)
    )
    pd.testing.assert_frame_equal(one, two)
    assert not one["auc"].equals(other["auc"])


def logprobs(words: int) -> Any:
    rng = np.random.default_rng(0)
    models = pd.DataFrame({"family": ["F"], "base": ["B"], "stage": ["pretrained"]}, index=["m"])
    return build(
        np.log(rng.dirichlet(np.full(words, 0.2), size=(1, 2)) + 1e-9),
        models=models,
        prompts=pd.DataFrame({"text": ["a", "b"], "framing": "positive"}, index=["a", "b"]),
        responses=[f"w{i}" for i in range(words)],
        kind="logprob",
    )


def test_on_log_probs_of_ones_own() -> None:
    made = valuebias.validate_implicit(logprobs(500), noise=[0, 1], **QUICK)
    assert len(made.table) == 6 * 2 * len(valuebias.implicit_methods())
    assert made.summary()["auc"].between(0, 1).all()


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    made = valuebias.validate_implicit(noise=[0, 1], **QUICK | {"vocabulary": [200, 400]})
    figure = plot_validation(made)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "200 texts",
        "400 texts",
        "",
        "",
    ]
    figure.savefig(tmp_path / "validation.png")
    assert imread(tmp_path / "validation.png").std() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": -1}, "noise is -1"),
        ({"noise": []}, "need at least one value each"),
        ({"boost": 0}, "boost is 0; expected a number of nats above 0"),
        ({"n_words": 400}, "n_words is 400; expected at least 1 and below 400"),
        ({"likeliest": 2}, "likeliest is 2"),
        ({"n_seeds": 0}, "n_seeds is 0"),
        ({"methods": ["mlwr"]}, "Did you mean 'mwlr'"),
        ({"methods": []}, "no method to validate"),
        ({"logprobs": logprobs(100)}, "has 100 scored words .* asks for 400"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.validate_implicit(**QUICK | options)
