"""The commands score, plan and backends."""

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
