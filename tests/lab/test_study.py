"""The laboratory's claims: leans are inherited, and preferences that say otherwise shrink them."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laboratory
import numpy as np
import pandas as pd
import pytest
import tiny_models
import tiny_studies
import xarray as xr

import valuebias
from valuebias import AblationFit, Fit, ValueBiasWarning, lab

LACKING = tiny_models.missing()
if LACKING is not None:
    pytest.skip(LACKING, allow_module_level=True)

pytestmark = pytest.mark.slow

SOURCES = {"neutral": 0.0, "communion": 0.25}
GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "laboratory.md"


@dataclass(frozen=True)
class Results:
    """Where the study lies, the log-probs of its bases, and its rewards with their fit."""

    folder: Path
    logprobs: xr.Dataset
    rewards: xr.Dataset
    fit: AblationFit


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("guide") / "lab"
    bases = laboratory.pretrained(folder)
    study = laboratory.study(bases, SOURCES)
    rewards = study.run(folder / "study", progress=False)
    return Results(folder, laboratory.logprobs(bases), rewards, laboratory.fitted(rewards))


def fitted(rewards: xr.Dataset, **cell: Any) -> Fit:
    """Fit the reward models of one source and number of pairs."""
    for name, value in cell.items():
        rewards = rewards.isel(model=rewards[name].to_numpy() == value)
    return valuebias.fit(rewards, "~ family", seed=1, progress=False)


def difference(fit: Fit) -> pd.Series:
    """Give the signed difference of the families with its 90 % interval."""
    rows = fit.contrasts(prob=0.9)
    rows = rows[(rows["estimand"] == "family difference") & (rows["framing"] == "signed")]
    assert len(rows) == 1
    assert rows["name"].iloc[0] == "Gemma − Llama"
    assert fit.diagnostics().converged
    return rows.iloc[0]


def test_the_bases_have_the_planted_leans(results: Results) -> None:
    leans = laboratory.leans(results.logprobs)
    assert len(leans) == 6
    for name, lean in leans.items():
        planted = lab.about(results.folder / name)["truth"]["lean"]
        assert planted == laboratory.LEANS[name.split("-")[0]]
        assert lean == pytest.approx(planted, rel=0.45), name


def test_a_larger_lean_is_larger_in_the_log_probs(results: Results, tmp_path: Path) -> None:
    large = lab.pretrain(tmp_path / "large", lean=3.0, seed=0, progress=False)
    lean = laboratory.leans(laboratory.logprobs([large]))["large"]
    assert lean > laboratory.leans(results.logprobs)["llama-0"] + 0.5


@pytest.mark.parametrize("n_pairs", laboratory.N_PAIRS)
def test_a_gap_outlasts_neutral_preferences(results: Results, n_pairs: int) -> None:
    gap = difference(fitted(results.rewards, source="neutral", n_pairs=n_pairs))
    assert gap["upper"] < 0


def test_every_neutral_reward_model_has_its_bases_sign(results: Results) -> None:
    neutral = results.rewards.isel(model=results.rewards["source"].to_numpy() == "neutral")
    assert neutral.sizes["model"] == 6 * 3 * 2
    for base, lean in zip(
        neutral["base"].to_numpy(), laboratory.leans(neutral).values(), strict=True
    ):
        assert np.sign(lean) == np.sign(laboratory.LEANS[base.split("-")[0]]), base


def test_an_opposite_lean_shrinks_the_gap_with_every_doubling(results: Results) -> None:
    table = results.fit.trajectories(prob=0.9)
    table = table[table["estimand"] == "family difference"].set_index(["source", "n_pairs"])
    shrinking = table.loc["communion"].sort_index()
    assert shrinking.index.tolist() == list(laboratory.N_PAIRS)
    # Gemma − Llama is negative; each interval lies above the one before.
    assert (shrinking["lower"].to_numpy()[1:] > shrinking["upper"].to_numpy()[:-1]).all()
    assert (shrinking["lower"] > table.loc["neutral", "upper"]).tolist()[1:] == [True, True]
    slope = results.fit.slope(prob=0.9).set_index("source")
    assert slope.loc["communion", "lower"] > 0
    assert slope.loc["communion", "p_shrinks"] > 0.95
    assert slope.loc["neutral", "lower"] < 0 < slope.loc["neutral", "upper"]


def test_the_ablation_is_fitted_as_a_whole(results: Results) -> None:
    assert results.fit.fit is not None
    diagnostics = results.fit.fit.diagnostics()
    assert diagnostics.converged, diagnostics.messages
    assert results.fit.formula == "~ family * source * log2(n_pairs) + (log2(n_pairs) | base)"
    gaps = results.fit.gaps(prob=0.9).set_index("source")
    assert len(gaps) == 2 * 3
    assert (gaps["n_models"] == 6).all()
    assert (gaps.loc["neutral", "upper"] < 0).all()
    assert not any(note.code.startswith("one base") for note in results.fit.notes)


def test_where_no_lean_is_planted_the_interval_covers_zero(tmp_path: Path) -> None:
    bases = laboratory.pretrained(tmp_path, dict.fromkeys(laboratory.LEANS, 0.0))
    rewards = laboratory.study(bases, {"neutral": 0.0}).run(tmp_path / "study", progress=False)
    leans = laboratory.leans(laboratory.on_one_scale(rewards))
    assert max(map(abs, leans.values())) < 0.3
    with warnings.catch_warnings():
        # Bases that hardly differ have an SD near zero, where some transitions may diverge.
        warnings.simplefilter("ignore", ValueBiasWarning)
        gaps = laboratory.fitted(rewards).gaps(prob=0.9)
    assert gaps["rhat"].max() < 1.01
    assert len(gaps) == 3
    assert ((gaps["lower"] < 0) & (gaps["upper"] > 0)).all()


def test_the_guide_runs_as_it_stands(
    results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(results.folder.parent)
    stamps, names = tiny_studies.files(results.folder), {}
    for block in re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.M | re.S):
        exec(block, names)  # noqa: S102 - our own guide
    # Models, hidden states and heads of the same settings are there, and none is made again.
    assert tiny_studies.files(results.folder) == stamps
    np.testing.assert_array_equal(names["rewards"]["score"], results.rewards["score"])
    assert "Gemma − Llama" in capsys.readouterr().out
