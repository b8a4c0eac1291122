"""Messages of the commands name options, and fields of files, where Python's name arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from advice import commands, named
from click.testing import Result

import valuebias
from valuebias.cli.spoken import spoken
from valuebias.datasets.simulate import simulate

Run = Callable[..., Result]
FIT = {option.strip("-").replace("-", "_") for option in commands()["fit"]}
SCORE = {option.strip("-").replace("-", "_") for option in commands()["score"]}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Ask for draws=420, or tune=.", "Ask for --draws 420, or --tune."),
        ("leave sampler= out (family='student')", "leave --sampler out (--family student)"),
        ("a tighter prior: prior={'sd': {'word': 0.5}}.", "a tighter prior: --prior sd.word=0.5."),
        ("base=None leaves bases out", "--no-base leaves bases out"),
        ("give pair=('A b', 'C')", "give --pair 'A b' 'C'"),
        ("spread=False", "--no-spread"),
        ("heavy_tails=", "--heavy-tails"),
        ("valuebias.fit_ablation(dataset) says", "'valuebias fit --ablation' says"),
        # Code is left alone, and so are options and what is no argument.
        ("valuebias.read(path, kind='reward') or kind='reward'",
         "valuebias.read(path, kind='reward') or --kind reward"),
        ("--prior effect=0.25, --at family=Gemma", "--prior effect=0.25, --at family=Gemma"),
        ("n = 3, tune == 4, unknown=5", "n = 3, tune == 4, unknown=5"),
    ],
)  # fmt: skip
def test_arguments_become_options(said: str, expected: str) -> None:
    assert spoken(said, FIT) == expected


def test_fields_of_a_model_are_said_to_stand_in_its_table() -> None:
    said = spoken("Give template='plain' or reward_at=; or kind='reward'.", SCORE, "score")
    assert said.startswith("Give 'template: plain' or 'reward_at'; or --kind reward. Fields of a")
    assert spoken("Give template='plain'.", FIT, "fit") == "Give template='plain'."
    assert "in the file of the study" in spoken("tuning='head'", (), "ablate")


@pytest.mark.parametrize("command", ["fit", "score"])
def test_no_message_is_spoilt(command: str) -> None:
    # A message that has no argument of the command is the same in a shell.
    options = {"fit": FIT, "score": SCORE}[command]
    for text in set(named().values()):
        said = spoken(text, options)
        if not re.search(rf"\b(?:{'|'.join(options)}|categories)=", text):
            assert "=" not in text or said.count("=") <= text.count("=")
        assert not re.search(r"--\w+--|-- |--no-no", said), said


CHOSEN = ("--draws", "20", "--tune", "20", "--chains", "2", "--seed", "1")


def test_a_fit_that_did_not_converge_says_which_options_help(run: Run, tmp_path: Path) -> None:
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=10, seed=1)
    valuebias.write(ds, tmp_path / "scores.nc")
    done = run("fit", "scores.nc", *CHOSEN)
    assert "(--tune, --draws)" in done.stdout
    assert not re.search(r"\b(?:tune|draws|prior)=", done.output)


def test_a_column_source_is_no_ablation(run: Run, tmp_path: Path) -> None:
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=10, seed=1)
    ds = ds.assign_coords(source=("model", ["x", "y", "x", "y", "x", "y"]))
    valuebias.write(ds, tmp_path / "scores.nc")
    done = run("fit", "scores.nc", *CHOSEN)
    assert done.exit_code == 0, done.output
    assert "ablation" not in done.output
    asked = run("fit", "scores.nc", "--ablation", *CHOSEN)
    told = " ".join(asked.stderr.split())
    assert asked.exit_code == 1
    assert "no coordinate 'n_pairs', 'seed' and 'step'" in told
    assert "--no-ablation" in told
    assert "assign_coords" not in told


@pytest.mark.parametrize("command", ["lexicons show", "data read", "plan"])
def test_a_part_of_a_lexicon_is_taken(run: Run, tmp_path: Path, command: str) -> None:
    (tmp_path / "weighed.csv").write_text("word,care,fair,n\nkind,0.9,0.2,8\njust,0.1,0.7,9\n")
    part = ("--threshold", "0.5", "--category", "care", "--category", "fair")
    if command == "lexicons show":
        done = run("lexicons", "show", "weighed.csv", *part, "--csv")
        assert done.stdout.splitlines() == ["word,category", "kind,care", "just,fair"]
        return
    if command == "plan":
        whole = run("plan", "christian2026-rms", "--lexicon", "vocabulary", *part)
        assert whole.exit_code == 2
        assert "give --lexicon" in " ".join(whole.stderr.replace("│", " ").split())
        return
    rng = np.random.default_rng(1)
    (tmp_path / "scores").mkdir()
    for model in ("org_a", "org_b"):
        table = pd.DataFrame(
            rng.normal(size=(2, 2)), columns=["up", "down"], index=["kind", "just"]
        )
        table.to_csv(tmp_path / "scores" / f"x_rewards_{model}.csv", index_label="word")
    (tmp_path / "about.csv").write_text("model,family,stage\norg/a,A,reward\norg/b,B,reward\n")
    read = ("data", "read", "scores", "--models", "about.csv", "--prompts", "prompts.yaml")
    done = run(*read, "--lexicon", "weighed.csv", *part, "--out", "scores.nc")
    assert done.exit_code == 0, done.output
    member = valuebias.read("scores.nc")["membership"]
    assert member.dtype == bool
    assert member.sel(response="kind").to_numpy().tolist() == [True, False]
    done = run(*read, *part, "--out", "scores.nc")
    assert done.exit_code == 2
