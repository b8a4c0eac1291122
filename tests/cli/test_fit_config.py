"""Priors, samplers and settings files of ``valuebias fit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from ablations import ablation
from click.testing import Result

import valuebias
from valuebias.cli.fit_config import read_config
from valuebias.datasets.simulate import simulate

Run = Callable[..., Result]
QUICK = ("--draws", "20", "--tune", "20", "--chains", "2")
ASKED = (
    "--formula", "~ family + log10(n_params)",
    "--prior", "effect=0.00001", "--prior", "sd.word=0.5",
    "--outcome", "rank", "--no-spread", "--no-base", "--seed", "3", "--pair", "Léon", 'B: "x"',
    "--at", "n_params=8e9", "--weight", "agency=1", "--weight", "communion=-1",
)  # fmt: skip


@pytest.fixture
def scores(tmp_path: Path) -> str:
    families = {'B: "x"': 2, "Léon": 3}
    ds = simulate(n_models=families, n_prompts=6, n_words=10, seed=1)
    return str(valuebias.write(ds, tmp_path / "scores.nc"))


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_the_settings_of_a_fit_give_it_again(run: Run, scores: str) -> None:
    done = run("fit", scores, *QUICK, *ASKED, "--out", "one.nc")
    assert done.exit_code == 0, done.output
    one = valuebias.load("one.nc")
    assert (one.prior.effect, one.prior.sd) == (1e-5, {"word": 0.5})
    assert run("settings", "one.nc", "--out", "fit.yaml").exit_code == 0
    assert run("settings", "one.nc").stdout == Path("fit.yaml").read_text(encoding="utf-8")
    assert run("fit", scores, "--config", "fit.yaml", "--out", "two.nc").exit_code == 0
    two = valuebias.load("two.nc")
    assert (two.prior, dict(two.settings)) == (one.prior, dict(one.settings))
    pd.testing.assert_frame_equal(two.contrasts(), one.contrasts())
    # What stands in the command line counts, also where it is the default.
    options = ("--base", "base", "--seed", "4", "--prior", "effect=0.5", "--chains", "4")
    done = run("fit", scores, "--config", "fit.yaml", *options, "--out", "three.nc")
    assert done.exit_code == 0, done.output
    three = valuebias.load("three.nc")
    assert (three.settings["seed"], three.settings["chains"], three.settings["base"]) == (
        4, 4, "base",
    )  # fmt: skip
    assert (three.prior.effect, three.prior.sd) == (0.5, {})
    assert (three.settings["spread"], three.settings["outcome"]) == (False, "rank")


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_the_prompts_that_were_fitted_are_among_the_settings(run: Run, tmp_path: Path) -> None:
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=10, seed=1)
    framing = ["neutral", *ds["framing"].to_numpy()[1:].tolist()]
    valuebias.write(ds.assign_coords(framing=("prompt", framing)), tmp_path / "scores.nc")
    for asked in ("signed", "negative", "neutral"):
        one = run("fit", "scores.nc", *QUICK, "--framing", asked, "--seed", "1", "--out", "one.nc")
        assert one.exit_code == 0, one.output
        assert run("settings", "one.nc", "--out", "fit.yaml").exit_code == 0
        assert f'framing: "{asked}"' in Path("fit.yaml").read_text(encoding="utf-8")
        two = run("fit", "scores.nc", "--config", "fit.yaml", "--out", "two.nc")
        assert two.exit_code == 0, two.output
        first, second = valuebias.load("one.nc"), valuebias.load("two.nc")
        pd.testing.assert_frame_equal(first.contrasts(), second.contrasts())
    # An option beside the file counts.
    done = run("fit", "scores.nc", "--config", "fit.yaml", "--framing", "signed", "--out", "3.nc")
    assert done.exit_code == 0, done.output
    assert valuebias.load("3.nc").data.sizes["prompt"] == 3


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize("rope", [(), ("--rope", "0.25")])
def test_the_settings_of_an_ablation_give_it_again(
    run: Run, tmp_path: Path, rope: tuple[str, ...]
) -> None:
    valuebias.write(ablation(1, n_pairs=(8_000, 16_000), seeds=2), tmp_path / "scores.nc")
    done = run("fit", "scores.nc", *QUICK, "--seed", "2", *rope, "--out", "one.nc")
    assert done.exit_code == 0, done.output
    assert run("settings", "one.nc", "--out", "fit.yaml").exit_code == 0
    config = read_config(Path("fit.yaml"))
    assert config["ablation"] is True
    assert config["rope"] == (0.25 if rope else None)
    assert run("fit", "scores.nc", "--config", "fit.yaml", "--out", "two.nc").exit_code == 0
    first, second = valuebias.load("one.nc"), valuebias.load("two.nc")
    assert isinstance(first, valuebias.AblationFit)
    pd.testing.assert_frame_equal(first.gaps(), second.gaps())
    assert first.rope == second.rope


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_the_sampler_is_chosen(run: Run, scores: str) -> None:
    done = run("fit", scores, *QUICK, "--seed", "1", "--sampler", "nutpie", "--out", "fit.nc")
    assert done.exit_code == 0, done.output
    assert valuebias.load("fit.nc").settings["sampler"] == "nutpie"
    assert "sampler" in run("fit", scores, "--sampler", "stan").stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drws: 3", "Did you mean 'draws'?"),
        ("draws: 1.5", "draws in 'fit.yaml' is 1.5; expected a whole number"),
        ("draws: true", "expected a whole number"),
        ("formula: 3", "expected a text such as '~ family'"),
        ("base: no", "expected the name of a coordinate, or null for none"),
        ("pair: [Gemma]", "expected two levels"),
        ("contrast: [1, 2]", "expected two categories"),
        ("prior: 0.5", "expected scales"),
        ("prior: {efect: 0.5}", "Did you mean 'effect'?"),
        ("family: studnt", "Did you mean 'student'?"),
        ("framing: best", "expected signed, positive, negative, neutral, or null"),
        ("ablation: 1", "expected true, false, or null"),
        ("rope: wide", "expected a number of zero or more"),
        ("- draws", "expected settings and their values"),
        ("", "is empty"),
        ("draws: 3\ndraws: 4", "draws"),
        ("draws: [", "'fit.yaml'"),
    ],
)
def test_what_is_wrong_in_the_file_is_said(run: Run, scores: str, text: str, said: str) -> None:
    Path("fit.yaml").write_text(text, encoding="utf-8")
    done = run("fit", scores, *QUICK, "--config", "fit.yaml")
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    assert said in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("effect", "takes NAME=VALUE"),
        ("effect=big", "'big' is not a number"),
        ("sd=0.5", "write sd.word=0.5"),
        ("efect=0.5", "Did you mean 'effect'?"),
        ("sd.wrd=0.5", "no component 'wrd'"),
        ("effect=-1", "must be a positive number"),
    ],
)
def test_a_wrong_prior_is_explained(run: Run, scores: str, entry: str, said: str) -> None:
    done = run("fit", scores, *QUICK, "--prior", entry)
    assert done.exit_code != 0
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_the_file_of_the_guide_is_read(tmp_path: Path) -> None:
    guide = Path(__file__).parents[2] / "docs" / "howto" / "command-line.md"
    text = guide.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (tmp_path / "fit.yaml").write_text(text, encoding="utf-8")
    config = read_config(tmp_path / "fit.yaml")
    assert config["prior"] == {"effect": 0.25, "sd": {"word": 0.5}}
    assert config["pair"] == ("Gemma", "Llama")
