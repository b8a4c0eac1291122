"""The commands score, merge, plan and backends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import xarray as xr
from typer.testing import Result

import valuebias

LACKING = tiny_models.missing()
requires_torch = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
Run = Callable[..., Result]

ASKED = ("models.yaml", "--prompts", "prompts.yaml", "--lexicon", "words.csv")


@requires_torch
def test_score(run: Run, reward: Path) -> None:
    done = run("score", *ASKED, "--store", "new/scores.zarr")
    assert done.exit_code == 0, done.output
    assert done.stdout == "new/scores.zarr\n"
    ds = valuebias.read("new/scores.zarr")
    assert dict(ds.sizes) == {"model": 2, "prompt": 2, "response": 2, "category": 2}
    assert ds["family"].to_numpy().tolist() == ["One", "Two"]
    again = run("score", *ASKED, "--store", "new/scores.zarr", "--json")
    assert json.loads(again.stdout)["sizes"][0]["model"] == 2


@requires_torch
def test_score_a_vocabulary(run: Run, reward: Path) -> None:
    options = ["--prompts", "prompts.yaml", "--lexicon", "vocabulary", "--store", "v.zarr"]
    done = run("score", "reward", *options, "--json")
    assert json.loads(done.stdout)["sizes"][0]["response"] == 320
    assert list(valuebias.read_vocabulary("v.zarr").children) == ["reward"]


@requires_torch
def test_score_policies(run: Run, tmp_path: Path) -> None:
    for seed, name in enumerate(("sft", "policy")):
        tiny_models.tiny("llama", "logprob", tmp_path / name, seed=seed)
    Path("policies.yaml").write_text("policy: {reference: sft, beta: 0.1}\n", encoding="utf-8")
    asked = ("policies.yaml", "--prompts", "prompts.yaml", "--lexicon", "words.csv")
    done = run("score", *asked, "--kind", "implicit", "--store", "p.zarr")
    assert done.exit_code == 0, done.output
    ds = valuebias.read("p.zarr")
    assert ds.attrs["kind"] == "implicit"
    assert (ds["reference"].item(), ds["beta"].item()) == ("sft", 0.1)
    assert "sft (reference)" in run("plan", *asked, "--kind", "implicit").stdout
    refused = run("score", *asked, "--store", "r.zarr")
    assert refused.exit_code == 1
    assert "--kind implicit" in " ".join(refused.stderr.split())


@requires_torch
def test_plan(run: Run, reward: Path) -> None:
    done = run("plan", *ASKED, "--batch-tokens", "100")
    assert done.exit_code == 0, done.output
    assert "2 models × 2 prompts × 2 words" in done.stdout
    told = json.loads(run("plan", *ASKED, "--json").stdout)
    assert [model["model"] for model in told["models"]] == ["a", "b"]
    assert not list(Path().glob("*.zarr"))


@requires_torch
def test_shards(run: Run, reward: Path) -> None:
    for i in (1, 2):
        store = f"shards/{i}.zarr"
        if i == 2:
            early = run("merge", "shards/1.zarr", "-o", "scores.zarr")
            assert early.exit_code == 1
            assert "Shard 2 of 2 is missing" in early.stderr
            assert "--shard 2/2" in early.stderr
        done = run("score", *ASKED, "--store", store, "--shard", f"{i}/2")
        assert done.exit_code == 0, done.output
        assert done.stdout == f"{store}\n"
        assert f"Shard {i} of 2 is finished: 4 scores (1 block), in '{store}'" in done.stderr
        assert "valuebias merge STORES... -o scores.zarr" in done.stderr
    told = json.loads(
        run("score", *ASKED, "--store", "shards/2.zarr", "--shard", "2/2", "--json").stdout
    )
    assert (told["shard"], told["blocks"], told["scores"]) == ([2, 2], 1, 4)
    merged = run("merge", "shards/1.zarr", "shards/2.zarr", "-o", "scores.zarr")
    assert merged.exit_code == 0, merged.output
    assert merged.stdout == "scores.zarr\n"
    run("score", *ASKED, "--store", "whole.zarr")
    xr.testing.assert_equal(valuebias.read("scores.zarr"), valuebias.read("whole.zarr"))
    again = run("merge", "shards/2.zarr", "shards/1.zarr", "--out", "scores.zarr", "--json")
    assert json.loads(again.stdout)["sizes"][0]["model"] == 2
    other = run("score", *ASKED, "--store", "shards/1.zarr")
    assert other.exit_code == 1
    assert "--shard 1/2" in other.stderr
    planned = run("plan", *ASKED, "--shard", "2/2")
    assert "shard 2 of 2" in planned.stdout
    assert "\na  " not in planned.stdout
    assert "\nb  " in planned.stdout


def test_backends(run: Run) -> None:
    done = run("backends")
    assert done.exit_code == 0, done.output
    for name in ("torch", "onnx", "optimum"):
        assert f"{name} " in done.stdout
    listed = {backend["name"]: backend for backend in json.loads(run("backends", "--json").stdout)}
    assert all(entry["available"] or entry["reason"] for entry in listed.values())
    assert listed["torch"]["available"] == (LACKING is None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "models.yaml", "--store", "scores.nc"], "ends in '.nc'"),
        (["score", "nothing.yaml", "--store", "s.zarr"], "nothing.yaml"),
        (["score", "models.yaml", "--store", "s.zarr", "--backend", "torhc"], "'torch'"),
        (["plan", "models.yaml", "--lexicon", "agency-comunion"], "'agency-communion'"),
        (["plan", "models.yaml", "--shard", "3"], "expected I/N"),
        (["score", "models.yaml", "--store", "s.zarr", "--shard", "3/2"], "(3, 2)"),
        (["merge", "s.zarr", "-o", "scores.zarr"], "no store 's.zarr'"),
    ],
)
def test_errors(run: Run, arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@requires_torch
def test_ctrl_c_says_how_to_go_on(run: Run, reward: Path, tmp_path: Path) -> None:
    options = ["--kind", "reward", "--lexicon", "vocabulary", "--store", "s.zarr"]
    command = [sys.executable, "-c", "from valuebias.cli import main; main()", "score", "reward"]
    with subprocess.Popen(
        [*command, *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    ) as process:
        while not list(tmp_path.glob("s.zarr/*/score/.finished.*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, told = process.communicate()
    assert process.returncode == 130
    assert out == ""
    assert "Traceback" not in told
    assert "What was finished is kept in 's.zarr'; run the same command again to go on." in told
