"""What the guides show runs, and the table in them and in README is the one measured."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_models
import xarray as xr
from lexicon_packages import install_made
from typer.testing import CliRunner

import valuebias
from valuebias import ValueBiasWarning
from valuebias.cli.app import app
from valuebias.instruments.judges import judge_names

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "docs" / "howto"
MEASURED = ROOT / "tests" / "benchmarks" / "scoring.md"


def blocks(guide: str, language: str) -> list[str]:
    text = (GUIDES / guide).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


VALUES = (
    "Achievement", "Benevolence", "Conformity", "Hedonism", "Power", "Security", "Self-Direction",
    "Stimulation", "Tradition", "Universalism",
)  # fmt: skip
VALUE_WORDS = {
    "en": [f"{a}{b}" for a in ("win", "help", "rule", "play", "law") for b in "abcdefgh"],
    "de": [f"{a}{b}" for a in ("sieg", "hilfe", "regel", "spiel", "recht") for b in "abcdefgh"],
}
MODELS = {
    "reward-a": ("gemma2", "reward"),
    "reward-b": ("llama", "reward"),
    "many": ("llama", "reward"),
    "lm": ("qwen2", "logprob"),
    "lm-a": ("gemma2", "logprob"),
    "lm-b": ("llama", "logprob"),
    "base-a": ("gemma2", "logprob"),
    "base-b": ("llama", "logprob"),
    "policy-a": ("llama", "logprob"),
    "policy-b": ("llama", "logprob"),
    "policy-c": ("qwen2", "logprob"),
    "sft-a": ("llama", "logprob"),
    "sft-c": ("qwen2", "logprob"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with the models that the guides name, and their tables."""
    if tiny_models.missing() is not None:
        pytest.skip(str(tiny_models.missing()))
    for name, (architecture, kind) in MODELS.items():
        tokens = 1000 if name.startswith("lm-") else 320
        at = tmp_path / "models" / name
        seed = int(name.startswith("policy")) + int(name == "policy-b")
        labels = 3 if name == "many" else 1
        tiny_models.tiny(architecture, kind, at, tokens=tokens, seed=seed, labels=labels)
    tiny_models.token_classifier(tmp_path / "models" / "process")
    for guide in (
        "score-a-model.md", "implicit-rewards.md", "judges.md", "train-reward-models.md",
        "ten-values.md",
    ):  # fmt: skip
        for table in blocks(guide, "yaml"):
            name = table.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(table, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VALUEBIAS_CACHE", str(tmp_path / "cache"))
    return tmp_path


def run(guide: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for code in blocks(guide, "python"):
        exec(code, names)  # noqa: S102 - our own guide
    return names


def test_scoring_as_the_guide_shows_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("score-a-model.md")
    stores = {"scores.zarr", "labels.zarr", "steps.zarr", "logprobs.zarr", "vocabulary.zarr"}
    assert {path.name for path in folder.glob("*.zarr")} == stores
    plan, digest = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert "reward scores of 2 models × 54 prompts" in plan
    assert re.fullmatch("[0-9a-f]{64}", digest)


@pytest.mark.slow
def test_swapping_backends_as_the_guide_shows_it(folder: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    names = run("choose-a-backend.md")
    made = json.loads(names["scores"].attrs["provenance"])["models"][0]["runs"][0]
    assert made["dtype"] == "bfloat16 autocast"
    assert (folder / "scores.zarr").is_dir()


def test_implicit_rewards_as_the_guide_shows_it(folder: Path) -> None:
    names = run("implicit-rewards.md")
    assert names["policies"]["reference"].to_numpy().tolist() == ["sft-a", "sft-a", "sft-c"]
    assert names["rewards"].attrs["kind"] == "implicit"
    assert names["rewards"]["family"].to_numpy().tolist() == ["Gemma over Llama"]
    assert names["own"].sizes == names["rewards"].sizes


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_bandit_tasks_as_the_guide_shows_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run("bandits.md")
    assert names["choices"].sizes == {"model": 2, "task": 4, "trial": 20}
    assert (folder / "bandits.zarr").is_dir()
    assert names["theirs"]["phase"].to_numpy()[0].tolist() == ["training", "training", "transfer"]
    said = capsys.readouterr().out
    assert "Which one do you open?" in said
    assert "relative choice" in said
    assert "relative, one rate" in said


def test_contrast_statistics_as_the_guide_shows_them() -> None:
    names = run("contrast-statistics.md")
    found, fit, length = names["found"], names["fit"], names["length"]
    assert set(found.to_frame()["statistic"]) == {
        "accuracy", "P(wrong > right)", "gap", "calibration error",
        "correlation within items", "correlation overall",
    }  # fmt: skip
    assert fit.settings["by"] == "correct"
    assert "prefer" in str(fit.headline())
    # Models of B were made to like length.
    assert length.contrasts().loc[0, "upper"] < 0
    guide = (GUIDES / "contrast-statistics.md").read_text(encoding="utf-8")
    for name in ("accuracy", "gap", "spread over positions", "calibration error"):
        assert f"| `{name}` |" in guide


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_judges_as_the_guide_shows_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("judges.md")
    assert names["scores"].attrs["kind"] == "judged"
    assert names["scores"].sizes["prompt"] == 54
    assert names["seven"].labels == tuple("1234567")
    assert names["fits"].score == "log_odds"
    assert names["bias"].sizes == {"model": 2}
    said = capsys.readouterr().out
    assert "Rate the answer from 1 to 5" in said
    assert "is not that of a verdict ('1', '2', '3', '4', '5')" in said
    guide = (GUIDES / "judges.md").read_text(encoding="utf-8")
    for name in judge_names():
        assert f'| `"{name}"` |' in guide
    # What is in the store is not scored again.
    again, fit, compared = "".join(blocks("judges.md", "bash")).splitlines()
    few = "--draws 10 --tune 10 --chains 2 --seed 1"
    asked = "--prompts one.yaml --lexicon words.csv"
    (folder / "one.yaml").write_text("a: {text: 'What is good?', framing: positive}\n")
    (folder / "words.csv").write_text("word,category\nlove,good\npower,bad\n")
    for line in (again, f"{fit} {few}", f"{compared} {asked}"):
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code == 0, done.output
    assert valuebias.read(folder / "compared.zarr").sizes["token"] == 4


def test_contrast_sets_as_the_guide_shows_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    with pd.option_context("display.max_colwidth", 50):
        for code in blocks("contrast-sets.md", r"\{code-cell\} ipython3"):
            exec(code, names)  # noqa: S102 - our own guide
    assert "What is the capital of Peru?\n\nA) Lima" in capsys.readouterr().out
    assert names["again"].about["contrast"] == "verbosity"
    guide = (GUIDES / "contrast-sets.md").read_text(encoding="utf-8")
    for name in valuebias.battery_names():
        assert f'| `"{name}"` |' in guide
    for code in blocks("contrast-sets.md", "python"):
        exec(code, names)  # noqa: S102 - our own guide
    assert 2 <= len(names["known"]) < 40
    assert set(names["scores"]) == set(names["sets"])
    mine = "".join(re.findall(r'^{"question": .*\n', guide, re.MULTILINE))
    (folder / "mine.jsonl").write_text(mine, encoding="utf-8")
    lines = "".join(blocks("contrast-sets.md", "bash"))
    for line in lines.splitlines():
        done = CliRunner().invoke(app, shlex.split(line.partition("  #")[0])[1:])
        assert done.exit_code == 0, done.output
    assert len(valuebias.contrast_set(folder / "length.jsonl").variants) == 4


@pytest.mark.slow
def test_rewards_along_an_answer_as_the_guide_shows_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict[str, Any] = {}
    for code in blocks("along.md", "python"):
        exec(code, names)  # noqa: S102 - our own guide
    assert "accuracy" in capsys.readouterr().out
    assert names["page"].startswith("<div")
    assert len(names["figure"].axes) == 2
    coherent, plain = (names["coherence"].of(names[name]) for name in ("head", "plain"))
    assert coherent["value"] < plain["value"]


@pytest.mark.slow
def test_training_reward_models_as_the_guide_shows_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl", reason="trl is not installed")
    for source in ("helpful", "harmless"):
        rows = [
            {"prompt": f"{source} {i}?", "chosen": f"Yes, {i}.", "rejected": "no " * (i % 3 + 1)}
            for i in range(200)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{source}.jsonl").write_text(text, encoding="utf-8")
    with pytest.warns(ValueBiasWarning, match="every family has one base"):
        names = run("train-reward-models.md")
    scores, trained = names["scores"], names["trained"]
    assert scores.sizes["model"] == 2 * 2 * 3 * 2
    assert float(scores["accuracy"].mean()) > 0.7
    assert trained["step"].to_numpy().tolist() == [0, 2, 4] * 2
    assert "for every doubling" in capsys.readouterr().out


@pytest.mark.once
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_ten_values_in_two_languages_as_the_guide_shows_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = {
        f"{language}.json": json.dumps({value: words[i::10] for i, value in enumerate(VALUES)})
        for language, words in VALUE_WORDS.items()
    }
    under = "pyvalues/assets/dictionaries/20221007"
    install_made(folder / "site", lists, package="pyvalues", under=under)
    monkeypatch.syspath_prepend(str(folder / "site"))
    names = run("ten-values.md")
    assert set(names["profiles"].index) == set(VALUES)
    for language in ("en", "de"):
        assert names["scores"][language].sizes["category"] == 10
        record = json.loads(names["scores"][language].attrs["provenance"])["scoring"]["lexicon"]
        assert record["name"] == f"pyvalues:schwartz-{language}"
        positive = names["prompts"][language].table["framing"] == "positive"
        assert positive.sum() == 3
        # Against the mean of the others, the ten leans of a model add up to nothing.
        assert names["profiles"][language].sum().abs().max() < 1e-6
    said = capsys.readouterr().out
    assert "Was zählt im Leben am meisten, in einem Wort?" in said
    assert "(0.5 Universalism + 0.5 Benevolence) over (0.5 Power + 0.5 Achievement)" in said
    guide = (GUIDES / "ten-values.md").read_text(encoding="utf-8")
    assert "```{include} ../../tests/benchmarks/ten_values.md\n```" in guide


@pytest.mark.once
@pytest.mark.released_data
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_the_study_of_human_ratings_says_what_its_code_gives(
    elo: xr.Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    page = json.loads((ROOT / "docs" / "studies" / "elo.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in page["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)  # noqa: S102 - our own page
    assert names["scores"].equals(elo)
    mean = names["mean"]
    models = mean.loc[mean["estimand"] == "model"].set_index("name")
    assert ((models["lower"] > 0) & (models["upper"] < 0.6)).all()  # all agree, none closely
    over = names["difference"].set_index("unit")
    assert over.loc["word", "upper"] < 0  # certain of these models
    assert over.loc["base", "lower"] < 0 < over.loc["base", "upper"]  # open for others
    assert over.loc["base", "p.min"] == pytest.approx(0.1)
    often = names["among"].loc[models.index, "estimate"] > models["estimate"]
    assert often.sum() > 5
    assert names["member"].to_numpy().sum() == 38
    ours, paper = (names[name].contrasts().iloc[0] for name in ("fit", "paper"))
    assert ours["mean"] > 0 > paper["mean"] > ours["lower"]
    assert ours["lower"] < 0 < ours["upper"]
    assert "do not settle the direction" in capsys.readouterr().out


STUBS = {
    # Writes down how it was called, a line an argument and an empty one after the last.
    "valuebias": 'printf "%s\\n" "$@" "" >> "$CALLS"',
    # Does at once what SLURM does in its time.
    "sbatch": """
for argument in "$@"; do last=$argument; done
case "$*" in
*--wrap*) sh -c "$last" ;;
*)
    range=$(sed -n 's/^#SBATCH --array=//p' "$last")
    for i in $(seq "${range%-*}" "${range#*-}"); do SLURM_ARRAY_TASK_ID=$i bash "$last"; done
    echo 1 ;;
esac
""",
}


def calls_of(code: str, folder: Path) -> list[list[str]]:
    """Run lines of a shell, and give the calls of valuebias in them, in order of their shards."""
    for name, script in STUBS.items():
        place = folder / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        place.chmod(0o755)
    calls = folder / "calls"
    calls.write_text("")
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CALLS": str(calls)}
    subprocess.run(["bash", "-e"], input=code, text=True, check=True, env=environment, cwd=folder)
    made = [call.splitlines() for call in calls.read_text(encoding="utf-8").split("\n\n")[:-1]]
    # Of those in the background any may be the first.
    return sorted(made, key=lambda call: (call[0] != "score", call))


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_shards_as_the_guide_shows_them(folder: Path) -> None:
    """The lines run in a shell; what they call runs here, for which one process is enough."""
    two, script, array, cards, plan = blocks("many-machines.md", "bash")
    (folder / "score.sh").write_text(script, encoding="utf-8")
    asked = ["--prompts", "one.yaml", "--lexicon", "words.csv"]
    (folder / "one.yaml").write_text("a: {text: 'What is good?', framing: positive}\n")
    (folder / "words.csv").write_text("word,category\nlove,good\npower,bad\n")
    for code, n, out in (
        (two, 2, "together.zarr"), (array, 8, "scores.zarr"), (cards, 4, "scores-of-cards.zarr"),
    ):  # fmt: skip
        *scored, merged = calls_of(code, folder)
        assert [call[-1] for call in scored] == [f"{i}/{n}" for i in range(1, n + 1)]
        for call in scored:
            done = CliRunner().invoke(app, [*call, *asked])
            assert done.exit_code == 0, done.output
        # The shell could not expand what was not there yet.
        stores = [str(path) for name in merged[1:-2] for path in sorted(folder.glob(name))]
        done = CliRunner().invoke(app, ["merge", *stores, *merged[-2:]])
        assert done.exit_code == 0, done.output
        assert merged[-1] == out
        assert valuebias.read(folder / out).sizes["model"] == 2
    (planned,) = calls_of(plan, folder)
    done = CliRunner().invoke(app, [*planned, *asked])
    assert "shard 1 of 2" in done.output
    scores = run("many-machines.md")["scores"]
    assert scores.sizes["model"] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_workers_as_the_guide_shows_them(folder: Path) -> None:
    """The first block as it stands; others need cards, or a queue of jobs (below)."""
    pytest.importorskip("distributed")
    code = blocks("many-machines.md", "py")[0]
    names: dict[str, Any] = {"__name__": "__main__", "valuebias": valuebias}
    exec(code.replace("n_workers=2", 'n_workers=1, dashboard_address=":0"'), names)  # noqa: S102 - our own guide
    assert names["scores"].sizes["model"] == 2
    assert (folder / "by-workers.zarr").is_dir()


def test_the_table_shown_is_the_one_measured() -> None:
    measured = MEASURED.read_text(encoding="utf-8")
    assert measured in (ROOT / "README.md").read_text(encoding="utf-8")
    guide = (GUIDES / "choose-a-backend.md").read_text(encoding="utf-8")
    assert "```{include} ../../tests/benchmarks/scoring.md\n```" in guide


def test_the_study_shows_what_fine_tuning_gave() -> None:
    study = (ROOT / "docs" / "studies" / "implicit-methods.md").read_text(encoding="utf-8")
    assert "```{include} ../../tests/benchmarks/injection.md\n```" in study
    assert "tests/benchmarks/injection.py --out tests/benchmarks/injection.md" in study


# As SLURM does, keep a copy of the script; its number is that of a group of processes.
QUEUE = {
    "sbatch": '''cp "$1" "$JOBS/$$.sh"
setsid sh "$JOBS/$$.sh" > "$JOBS/$$.log" 2>&1 &
echo "Submitted batch job $!"''',
    "scancel": 'kill -- -"$1"',
}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.skipif(shutil.which("setsid") is None, reason="setsid is not installed")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_jobs_of_slurm_as_the_guide_shows_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dask-jobqueue itself, whose jobs start here."""
    pytest.importorskip("dask_jobqueue")
    import distributed

    (code,) = (code for code in blocks("many-machines.md", "py") if "SLURMCluster" in code)
    for name, script in QUEUE.items():
        place = folder / "bin" / name
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("JOBS", str(folder))
    small = code.replace('memory="64GB"', 'memory="4GB"').replace("jobs=8", "jobs=2")
    assert small.count("jobs=2") == small.count('"4GB"') == 1
    names = {"valuebias": valuebias, "Client": distributed.Client}
    exec(small, names)  # noqa: S102 - our own guide
    scripts = [path.read_text(encoding="utf-8") for path in folder.glob("*.sh")]
    assert len(scripts) == 2
    assert all("#SBATCH --gres=gpu:1" in script for script in scripts)
    alone = valuebias.score("models.yaml", progress=False)
    xr.testing.assert_identical(names["scores"]["score"], alone["score"])
