"""Prompts that ask for neither good nor bad: under their own name, never signed."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import valuebias
from valuebias.cli.app import app
from valuebias.errors import ValueBiasError, ValueBiasWarning

NOTE = "they ask for neither good nor bad, so that scores do not say what is liked"
WORDS = {"agency": 15, "caring": 15}


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    return valuebias.simulate(n_models={"A": 4, "B": 4}, n_prompts=6, n_words=WORDS, seed=1)


def framed(ds: xr.Dataset, *framings: str) -> xr.Dataset:
    return ds.assign_coords(framing=("prompt", list(framings)))


def fitted(ds: xr.Dataset, note: str = "") -> valuebias.Fit:
    with pytest.warns(ValueBiasWarning, match=note) if note else nullcontext():
        return valuebias.fit(ds, draws=100, chains=2, seed=1, progress=False)


@pytest.fixture(scope="module")
def neutral(scores: xr.Dataset) -> valuebias.Fit:
    return fitted(framed(scores, *["neutral"] * 6), NOTE)


def test_neutral_prompts_have_their_own_name_and_no_sign(
    scores: xr.Dataset, neutral: valuebias.Fit
) -> None:
    rows = neutral.contrasts()
    assert set(rows["framing"]) == {"neutral"}
    positive = fitted(framed(scores, *["positive"] * 6), "all prompts have positive").contrasts()
    np.testing.assert_array_equal(rows["mean"], positive["mean"])
    assert "under neutral prompts" in str(neutral.headline())
    assert "signed" not in str(neutral.headline())
    found = [
        neutral.word_draws(framing=name).mean(("chain", "draw")) for name in ("neutral", "signed")
    ]
    np.testing.assert_allclose(*found, atol=0.2)  # by other random numbers


@pytest.mark.once
def test_their_report_says_what_they_cannot_tell(neutral: valuebias.Fit, tmp_path: Path) -> None:
    text = neutral.report(tmp_path / "r.md").read_text(encoding="utf-8")
    assert "they ask for neither good nor bad" in text
    assert "All prompts are of neutral framing." in text
    assert "sign turned" not in text


def test_beside_others_they_are_refused_with_what_keeps_them_apart(
    scores: xr.Dataset, tmp_path: Path
) -> None:
    dataset = framed(scores, *["positive", "negative", "neutral"] * 2)
    with pytest.raises(ValueBiasError, match="2 positive, 2 negative and 2 neutral") as caught:
        fitted(dataset)
    for part in ("== 'neutral'", "!= 'neutral'"):
        assert f"dataset.isel(prompt=dataset['framing'].to_numpy() {part})" in str(caught.value)
    # What the error advises.
    signed = dataset.isel(prompt=dataset["framing"].to_numpy() != "neutral")
    assert fitted(signed).contrasts()["framing"].iloc[0] == "signed"
    alone = dataset.isel(prompt=dataset["framing"].to_numpy() == "neutral")
    assert set(fitted(alone, NOTE).contrasts()["framing"]) == {"neutral"}
    path = valuebias.write(dataset, tmp_path / "scores.nc")

    def run(*options: str) -> tuple[int, str]:
        few = ["--draws", "30", "--chains", "2", "--seed", "1"]
        with warnings.catch_warnings():
            result = CliRunner().invoke(app, ["fit", str(path), *few, *options])
        return result.exit_code, " ".join(f"{result.stdout} {result.stderr}".split())

    status, said = run()
    assert status == 1
    assert "--framing signed, --framing neutral" in said
    assert "isel" not in said
    for option, named in (("neutral", "under neutral prompts"), ("signed", "signed by framing")):
        status, said = run("--framing", option)
        assert status == 0
        assert named in said


def test_a_framing_that_no_prompt_has_is_named(scores: xr.Dataset, tmp_path: Path) -> None:
    path = valuebias.write(scores, tmp_path / "scores.nc")
    result = CliRunner().invoke(app, ["fit", str(path), "--framing", "neutral"])
    assert result.exit_code == 1
    assert "There is no neutral prompt; the framings are 'positive' and 'negative'" in " ".join(
        result.stderr.split()
    )


def test_audit_and_the_papers_analysis_keep_them_apart(scores: xr.Dataset) -> None:
    mixed = framed(scores, *["positive", "negative", "neutral"] * 2)
    signed = mixed.isel(prompt=mixed["framing"].to_numpy() != "neutral")
    valuebias.audit(mixed)
    both = valuebias.classical(mixed, n_permutations=19, progress=False)
    only = valuebias.classical(signed, n_permutations=19, progress=False)
    permuted = [one.family_permutation.set_index("framing")["difference"] for one in (both, only)]
    assert set(permuted[0].index) == {"signed", "positive", "negative", "neutral"}
    assert permuted[0]["signed"].tolist() == permuted[1]["signed"].tolist()
    alone = mixed.isel(prompt=mixed["framing"].to_numpy() == "neutral")
    found = valuebias.classical(alone, n_permutations=19, progress=False)
    assert set(found.contrasts()["framing"]) == {"neutral"}
    assert set(found.family_permutation["framing"]) == {"neutral"}
    assert str(found)


def test_plots_draw_them(neutral: valuebias.Fit) -> None:
    for kind in ("forest", "families", "words"):
        neutral.plot(kind)
