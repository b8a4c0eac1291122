"""Contrast sets from the command line: made, scored, fitted, and fitted again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models
from click.testing import Result

import valuebias

Run = Callable[..., Result]
QUICK = ("--draws", "50", "--tune", "50", "--chains", "2", "--seed", "1")
LACKING = tiny_models.missing()
requires_models = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))


@pytest.fixture
def scores(tmp_path: Path) -> str:
    """Write scores of eight models, of which those of B like length."""
    answers = {"right": "4", "right, at length": "That is 4.", "wrong": "5"}
    row = {"prompt": "2 + 2?", "answers": answers, "correct": [True, True, False]}
    sums = valuebias.contrast_set({f"q{i}": row for i in range(12)})
    models = pd.DataFrame({"family": [*"AAAABBBB"], "stage": "reward"}, index=[*"abcdefgh"])
    shown = np.random.default_rng(1).normal(size=(8, 12, 3)) + np.array([1.0, 1.0, 0.0])
    shown[4:, :, 1] += 2
    made = valuebias.schema.build_contrasts(shown, models=models, contrasts=sums)
    return str(valuebias.write(made, tmp_path / "scores.nc"))


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_fits_compare_variants_and_their_settings_give_them_again(run: Run, scores: str) -> None:
    done = run("fit", scores, *QUICK, "--variants-by", "correct", "--out", "one.nc")
    assert done.exit_code == 0, done.output
    one = valuebias.load("one.nc")
    assert one.settings["by"] == "correct"
    assert "right − wrong" in done.output
    assert run("settings", "one.nc", "--out", "fit.yaml").exit_code == 0
    assert 'variants_by: "correct"' in Path("fit.yaml").read_text(encoding="utf-8")
    again = run("fit", scores, "--config", "fit.yaml", "--out", "two.nc")
    assert again.exit_code == 0, again.output
    pd.testing.assert_frame_equal(one.contrasts(), valuebias.load("two.nc").contrasts())
    other = run("fit", scores, *QUICK, "--variants-by", "colour")
    assert other.exit_code == 1
    assert "--variants-by 'colour' is unknown" in " ".join(other.output.split())
    assert other.output.count("'variant'") == 1


def test_words_have_no_variants(run: Run, tmp_path: Path) -> None:
    words = str(valuebias.write(valuebias.datasets.load("simulated"), tmp_path / "words.nc"))
    done = run("fit", words, *QUICK, "--variants-by", "correct")
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "--variants-by 'correct' groups the variants of a contrast set" in said
    assert "Leave --variants-by out" in said


def test_what_variants_are_like_is_no_variable_of_models(run: Run, scores: str) -> None:
    done = run("fit", scores, *QUICK, "--by", "correct")
    assert done.exit_code == 2
    assert "give --variants-by correct." in " ".join(done.output.replace("│", " ").split())


def test_items_have_no_framing(run: Run, scores: str) -> None:
    done = run("fit", scores, *QUICK, "--framing", "neutral")
    assert done.exit_code == 1
    assert "whose items have no framing. Leave --framing out" in " ".join(done.output.split())


def test_a_battery_of_what_the_models_know(run: Run) -> None:
    asked = ("--questions", "units", "--n", "3")
    made = valuebias.battery("answers", valuebias.questions("units", n=3, seed=0))
    right = made.table["correct"].unstack("variant")[list(made.variants)].to_numpy(copy=True)
    right[1] = ~right[1]  # this one it does not know
    models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/a"])
    scores = valuebias.schema.build_contrasts(
        right[None].astype(float), models=models, contrasts=made
    )
    valuebias.write(scores, "answers.nc")
    done = run("battery", "hedging", *asked, "--baseline", "answers.nc", "--out", "known.jsonl")
    assert done.exit_code == 0, done.output
    assert valuebias.contrast_set("known.jsonl").items == ("units 1", "units 3")


@requires_models
@pytest.mark.usefixtures("reward")
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_a_battery_is_planned_and_scored(run: Run) -> None:
    made = run("battery", "answers", "--questions", "arithmetic", "--n", "3", "--out", "set.jsonl")
    assert made.exit_code == 0, made.output
    n_variants = len(valuebias.contrast_set("set.jsonl").variants)
    planned = run("plan", "models.yaml", "--contrasts", "set.jsonl", "--json")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["models"][0]["pairs"] == 3 * n_variants
    done = run("score", "models.yaml", "--contrasts", "set.jsonl", "--store", "s.zarr", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["sizes"] == [{"model": 2, "item": 3, "variant": n_variants}]
    assert valuebias.read("s.zarr")["score"].notnull().all()
    along = ("--contrasts", "set.jsonl", "--store", "along.zarr", "--read", "all")
    assert run("score", "models.yaml", *along).exit_code == 0
    assert "token_reward" in valuebias.read("along.zarr")
    said = run("score", "models.yaml", *along, "--kind", "logprob").output
    assert "--read is all, and --kind is logprob" in " ".join(said.split())
    words = run("score", "models.yaml", "--store", "t.zarr", "--read", "all")
    assert "--read all is of a contrast set" in " ".join(words.output.split())
    for option in ("--prompts", "--lexicon"):
        refused = run(
            "score", "models.yaml", "--contrasts", "set.jsonl", "--store", "t.zarr", option, "x"
        )
        assert refused.exit_code == 1
        assert f"--contrasts and {option} are given" in refused.output
