"""The laboratory's claims: leans are inherited, and preferences that say otherwise shrink them."""

from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laboratory
import numpy as np
import pandas as pd
import pytest
import tiny_models
import xarray as xr

import valuebias
from valuebias import AblationFit, Fit, ValueBiasWarning, lab

LACKING = tiny_models.missing()
if LACKING is not None:
    pytest.skip(LACKING, allow_module_level=True)

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "laboratory.md"


@dataclass(frozen=True)
class Study:
    """Where it lies, the log-probs of its bases and the scores of its reward models."""

    folder: Path
    logprobs: xr.Dataset
    rewards: xr.Dataset
    fit: AblationFit


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study") / "lab" / "grid"
    models = laboratory.train(folder)
    rewards = laboratory.scores(models, kind="reward")
    logprobs = laboratory.scores(laboratory.base_models(folder), kind="logprob")
    with warnings.catch_warnings():
        # Two bases a family are few, which is said; these are known to be alike.
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = laboratory.fitted(rewards)
    return Study(folder, logprobs, rewards, fit)


def fitted(rewards: xr.Dataset, **cell: Any) -> Fit:
    """Fit the reward models of one cell of the grid."""
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


def test_the_bases_have_the_planted_leans(study: Study) -> None:
    found = laboratory.leans(study.logprobs)
    assert len(found) == 4
    for name, lean in found.items():
        planted = lab.about(study.folder / "bases" / name)["truth"]["lean"]
        assert planted == laboratory.LEANS[name.split("-")[0]]
        assert lean == pytest.approx(planted, rel=0.45), name


def test_a_larger_lean_is_larger_in_the_log_probs(study: Study, tmp_path: Path) -> None:
    large = lab.pretrain(tmp_path / "large", lean=3.0, seed=0, progress=False)
    found = laboratory.leans(laboratory.scores([large], kind="logprob"))["large"]
    assert found > laboratory.leans(study.logprobs)["Llama-0"] + 0.5


@pytest.mark.parametrize("n_pairs", laboratory.QUANTITIES)
def test_a_gap_outlasts_neutral_preferences(study: Study, n_pairs: int) -> None:
    gap = difference(fitted(study.rewards, source="neutral", n_pairs=n_pairs))
    assert gap["upper"] < 0


def test_every_neutral_reward_model_has_its_bases_sign(study: Study) -> None:
    neutral = study.rewards.isel(model=study.rewards["source"].to_numpy() == "neutral")
    for name, lean in laboratory.leans(neutral).items():
        assert np.sign(lean) == np.sign(laboratory.LEANS[name.split("-")[0]]), name


def test_an_opposite_lean_shrinks_the_gap_with_every_doubling(study: Study) -> None:
    table = study.fit.trajectories(prob=0.9)
    table = table[table["estimand"] == "family difference"].set_index(["source", "n_pairs"])
    shrinking = table.loc["communion"].sort_index()
    assert shrinking.index.tolist() == list(laboratory.QUANTITIES)
    # Gemma − Llama is negative; each interval lies above the one before.
    assert (shrinking["lower"].to_numpy()[1:] > shrinking["upper"].to_numpy()[:-1]).all()
    assert (shrinking["lower"] > table.loc["neutral", "upper"]).tolist()[1:] == [True, True]
    slope = study.fit.slope(prob=0.9).set_index("source")
    assert slope.loc["communion", "lower"] > 0
    assert slope.loc["communion", "p_shrinks"] > 0.95
    assert slope.loc["neutral", "lower"] < 0 < slope.loc["neutral", "upper"]


def test_the_ablation_is_fitted_as_a_whole(study: Study) -> None:
    assert study.fit.fit is not None
    diagnostics = study.fit.fit.diagnostics()
    assert diagnostics.converged, diagnostics.messages
    assert study.fit.formula == "~ family * source * log2(n_pairs) + (log2(n_pairs) | base)"
    gaps = study.fit.gaps(prob=0.9).set_index("source")
    assert len(gaps) == 2 * 3
    assert (gaps["n_models"] == 2).all()
    assert (gaps.loc["neutral", "upper"] < 0).all()
    assert not any(note.code.startswith("one base") for note in study.fit.notes)


def test_where_no_lean_is_planted_the_interval_covers_zero(tmp_path: Path) -> None:
    models = lab.train_grid(
        tmp_path, leans={"Llama": 0.0, "Gemma": 0.0}, sources={"neutral": 0.0},
        n_pairs=laboratory.QUANTITIES, seeds=laboratory.SEEDS, progress=False,
    )  # fmt: skip
    rewards = laboratory.scores(models, kind="reward")
    scaled = rewards.assign(score=rewards["score"] / rewards["score"].std(("prompt", "response")))
    assert max(map(abs, laboratory.leans(scaled).values())) < 0.3
    with warnings.catch_warnings():
        # Bases that hardly differ have an SD near zero, where some transitions diverge.
        warnings.simplefilter("ignore", ValueBiasWarning)
        gaps = laboratory.fitted(rewards).gaps(prob=0.9)
    assert gaps["rhat"].max() < 1.01
    assert len(gaps) == 3
    assert ((gaps["lower"] < 0) & (gaps["upper"] > 0)).all()


@pytest.fixture
def beside(study: Study, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand where the guide's models are: those of the study are the same ones."""
    where = study.folder.parents[1]
    if not (where / "lab" / "agentic").exists():
        shutil.copytree(study.folder / "bases" / "Llama-0", where / "lab" / "agentic")
    monkeypatch.chdir(where)
    return where


def test_the_guide_runs_as_it_stands(
    study: Study, beside: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stamps() -> dict[str, int]:
        made = sorted(study.folder.rglob("lab.json"))
        return {str(path): path.stat().st_mtime_ns for path in made}

    before, names = stamps(), {}
    code = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        for block in code:
            exec(block, names)  # noqa: S102 - our own guide
    assert stamps() == before
    np.testing.assert_array_equal(names["rewards"]["score"], study.rewards["score"])
    assert "Gemma − Llama" in capsys.readouterr().out
