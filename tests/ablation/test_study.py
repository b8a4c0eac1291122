"""A study from preferences to scores, on tiny models: every number checked against another way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_models
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError, ValueBiasWarning
from valuebias.ablation import Study

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

WORDS = {"agency": ["power", "control", "mastery"], "communion": ["love", "trust", "care"]}
PROMPTS = pd.DataFrame(
    {"text": ["The best?", "The worst?"], "framing": ["positive", "negative"]}, index=["b", "w"]
)
ANSWERS = ("yes it is", "no", "never ever", "all of it", "some", "why not")


def pairs(n: int, seed: int = 0, *, turns: bool = False) -> pd.DataFrame:
    """Make prompts whose longer answer is preferred, nine times out of ten."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        a, b = rng.choice(len(ANSWERS), 2, replace=False)
        longer, shorter = sorted((ANSWERS[a], ANSWERS[b]), key=len, reverse=True)
        chosen, rejected = (longer, shorter) if rng.random() < 0.9 else (shorter, longer)
        text = f"Question {i} of {seed}?"
        before = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
        prompt: Any = [*before, {"role": "user", "content": text}] if turns else text
        if turns:
            chosen, rejected = (
                [*prompt, {"role": "assistant", "content": answer}] for answer in (chosen, rejected)
            )
            rows.append({"chosen": chosen, "rejected": rejected})
        else:
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("bases")
    tiny_models.tiny("llama", "logprob", made / "llama")
    tiny_models.tiny("gemma2", "logprob", made / "gemma", seed=1)
    return made


def bases(folder: Path) -> list[Model]:
    return [
        Model(str(folder / "llama"), family="Llama", base="L"),
        Model(str(folder / "gemma"), family="Gemma", base="G"),
    ]


def study(folder: Path, **changes: Any) -> Study:
    asked: dict[str, Any] = {
        "bases": bases(folder),
        "sources": {"plain": pairs(160), "turns": pairs(160, 1, turns=True)},
        "n_pairs": [20, 80],
        "seeds": [0, 1],
        "prompts": PROMPTS,
        "lexicon": WORDS,
    }
    return Study(**asked | changes)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study") / "out"


@pytest.fixture(scope="module")
def scores(folder: Path, out: Path) -> xr.Dataset:
    return study(folder).run(out, progress=False)


def test_a_model_a_cell(scores: xr.Dataset, folder: Path) -> None:
    runs = study(folder).runs()
    assert len(runs) == scores.sizes["model"] == 16
    assert scores["n_pairs"].to_numpy().tolist() == runs["n_pairs"].tolist()
    assert scores["source"].to_numpy().tolist() == runs["source"].tolist()
    assert scores["seed"].to_numpy().tolist() == runs["seed"].tolist()
    assert set(scores["family"].to_numpy()) == {"Llama", "Gemma"}
    assert set(scores["stage"].to_numpy()) == {"reward"}
    assert set(scores["tuning"].to_numpy()) == {"head"}
    assert np.isfinite(scores["score"]).all()


def test_heads_learn_what_is_preferred(scores: xr.Dataset) -> None:
    most = scores["accuracy"].where(scores["n_pairs"] == 80, drop=True)
    assert float(most.mean()) > 0.7
    loss = scores["loss"].where(scores["n_pairs"] == 80, drop=True)
    assert float(loss.mean()) < np.log(2)


def test_the_scores_are_those_of_the_packed_scorer_with_that_head(
    scores: xr.Dataset, folder: Path, out: Path
) -> None:
    import torch

    from valuebias.ablation import Head

    rows = scores["score"].to_numpy()
    for file in sorted((out / "heads").glob("*.npz"))[::3]:
        weights = torch.from_numpy(Head.load(file).weights.astype(np.float32))
        found = [
            valuebias.score(
                Model(str(folder / name), head=lambda hidden, w=weights: hidden @ w),
                prompts=PROMPTS, lexicon=WORDS, progress=False,
            )["score"].to_numpy()[0]
            for name in ("llama", "gemma")
            if weights.shape[0] == _hidden(folder / name)
        ]  # fmt: skip
        gaps = [np.abs(rows - one).max(axis=(1, 2)).min() for one in found]
        assert min(gaps) < 1e-4


def _hidden(path: Path) -> int:
    import json

    return int(json.loads((path / "config.json").read_text())["hidden_size"])


def test_features_are_the_last_hidden_states_of_whole_conversations(
    folder: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from valuebias.backends import get_backend
    from valuebias.training.features import Conversation, features, find_base

    asked = [Conversation.after("Why?", ("yes", "no way")), Conversation.after("Who?", ("I", "u"))]
    base = find_base(bases(folder)[0])
    made = features(base, asked, folder=tmp_path, backend=get_backend("torch"))
    assert made.shape[:2] == (2, 2)
    tokenizer = AutoTokenizer.from_pretrained(folder / "llama")
    model = AutoModel.from_pretrained(folder / "llama").eval()
    for row, conversation in zip(made, asked, strict=True):
        for vector, answer in zip(row, conversation.answers, strict=True):
            chat = [*conversation.messages(), {"role": "assistant", "content": answer}]
            text = tokenizer.apply_chat_template(chat, tokenize=False)
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            with torch.no_grad():
                expected = model(ids).last_hidden_state[0, -1].numpy()
            np.testing.assert_allclose(vector, expected, atol=2e-5)


def test_what_is_there_is_not_made_again(folder: Path, out: Path, scores: xr.Dataset) -> None:
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.np?")}
    again = study(folder).run(out, progress=False)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.np?")} == made
    xr.testing.assert_identical(again.drop_attrs(), scores.drop_attrs())
    xr.testing.assert_identical(valuebias.read(out / "scores.nc").drop_attrs(), again.drop_attrs())


def test_a_larger_study_adds_to_a_smaller_one(folder: Path, tmp_path: Path) -> None:
    small = study(folder, n_pairs=[20]).run(tmp_path, progress=False)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "heads").iterdir()}
    large = study(folder, n_pairs=[20, 40]).run(tmp_path, progress=False)
    now = {path: path.stat().st_mtime_ns for path in (tmp_path / "heads").iterdir()}
    assert kept.items() <= now.items()
    few = large.isel(model=np.flatnonzero(large["n_pairs"] == 20))
    np.testing.assert_array_equal(few["score"], small["score"])


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from test_study import study
study(Path({folder!r})).run({out!r}, progress=False)
"""


def test_kill_9_loses_nothing_that_was_finished(
    folder: Path, tmp_path: Path, scores: xr.Dataset
) -> None:
    tests = Path(__file__).parent
    paths = [str(tests), str(tests.parent / "support")]
    target = tmp_path / "out"
    code = SCRIPT.format(paths=paths, folder=str(folder), out=str(target))
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        deadline = time.monotonic() + 120
        while len(list(target.glob("heads/*.npz"))) < 3 and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in target.rglob("*.np?")
            if not path.name.startswith(".")}  # fmt: skip
    assert kept
    again = study(folder).run(target, progress=False)
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in target.rglob("*.np?")}.items()
    np.testing.assert_array_equal(again["score"], scores["score"])


def test_a_cell_that_fails_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    # Without a penalty few pairs are separable, and have no optimum; many noisy ones are not.
    noisy = pairs(600, 5)
    rng = np.random.default_rng(6)
    turn = rng.random(len(noisy)) < 0.5
    columns = ["chosen", "rejected"]
    noisy.loc[turn, columns] = noisy.loc[turn, columns[::-1]].to_numpy()
    asked = study(
        folder, sources={"noise": noisy}, n_pairs=[5, 500], seeds=[0], penalty=0.0
    )  # fmt: skip
    with pytest.warns(ValueBiasWarning, match="5 · seed 0 failed"):
        made = asked.run(tmp_path, progress=False)
    assert set(made["n_pairs"].to_numpy()) == {500}


def test_a_plan_counts_what_a_run_does(folder: Path, scores: xr.Dataset) -> None:
    plan = study(folder).plan()
    assert len(plan.runs) == 16
    words = plan.table.xs("words", level="reads")
    assert (words["conversations"] == 2 * 6).all()
    assert "16 reward models" in str(plan)
    assert (plan.table[["tokens", "seconds", "megabytes"]] > 0).all(axis=None)


def test_a_study_in_yaml_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from valuebias.cli.app import app

    pairs(60).to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    pd.DataFrame(
        [(w, c) for c, words in WORDS.items() for w in words], columns=["word", "category"]
    ).to_csv(tmp_path / "words.csv", index=False)
    (tmp_path / "study.yaml").write_text(
        f"""
bases:
  - {folder / "llama"}
sources: {{mine: pairs.jsonl}}
n_pairs: [10, 20]
seeds: [3]
lexicon: {tmp_path / "words.csv"}
""",
        encoding="utf-8",
    )
    runner = CliRunner()
    study_file, target = str(tmp_path / "study.yaml"), str(tmp_path / "out")
    planned = runner.invoke(app, ["ablate", study_file, "--out", target, "--plan"])
    assert planned.exit_code == 0, planned.output
    assert "2 reward models" in planned.output
    assert not (tmp_path / "out").exists()
    done = runner.invoke(app, ["ablate", study_file, "--out", target])
    assert done.exit_code == 0, done.output
    made = valuebias.read(tmp_path / "out" / "scores.nc")
    assert made.sizes == {"model": 2, "prompt": 54, "response": 6, "category": 2}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_pairs": [1000]}, "'plain' has .* pairs to train on .* 1000 are needed"),
        ({"n_pairs": []}, "n_pairs is \\[\\]"),
        ({"n_pairs": [10, 10]}, "expected different whole numbers, 1 or more"),
        ({"seeds": [-1]}, "expected different whole numbers, 0 or more"),
        ({"sources": {}}, "expected a mapping from names to preferences"),
        ({"tuning": "hed"}, "Did you mean 'head'"),
        ({"held_out": 1}, "held_out is 1"),
    ],
)
def test_bad_settings(folder: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        study(folder, **changes).run(tmp_path, progress=False)


def test_a_base_without_a_chat_template_is_named(tmp_path: Path) -> None:
    plain = tiny_models.tiny("llama", "logprob", tmp_path / "plain", chat_template=None)
    with pytest.raises(ValueBiasError, match="'plain' has no chat template"):
        study(tmp_path, bases=[Model(str(plain), family="P")]).run(tmp_path / "o", progress=False)
    turns = study(tmp_path, bases=[Model(str(plain), family="P", template="plain")])
    with pytest.raises(ValueBiasError, match="room for one of the user only"):
        turns.run(tmp_path / "o", progress=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bases: x\nsources: {a: b}\nn_pair: [1]", "Did you mean 'n_pairs'"),
        ("bases: x\nsources: {a: b}", "lacks 'n_pairs'"),
        ("- 1", "is not a mapping"),
        ("a: [", "is no valid YAML"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueBiasError, match=message):
        Study.read(tmp_path / "study.yaml")


def test_files_that_a_study_names_lie_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / "words.csv").write_text("word,agency,communion\nlead,1,0\nlove,0,1\n")
    (folder / "asked.csv").write_text("prompt,framing,text\np,positive,Best word?\n")
    (folder / "study.yaml").write_text(
        "bases: x\nsources: {a: b}\nn_pairs: [1]\nprompts: asked.csv\nlexicon: words.csv\n"
    )
    made = Study.read(folder / "study.yaml")
    assert valuebias.lexicon(made.lexicon).words == ("lead", "love")
    assert valuebias.prompts(made.prompts).table["text"].tolist() == ["Best word?"]
    (folder / "study.yaml").write_text("bases: x\nsources: {a: b}\nn_pairs: [1]\n")
    assert Study.read(folder / "study.yaml").prompts == "superlatives"
