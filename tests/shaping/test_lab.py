"""In the laboratory: a lean beside quality goes at little cost, one that is quality does not."""

from __future__ import annotations

import re
from pathlib import Path

import lab_rewards
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError, lab, plots

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

LEAN = "agency − communion"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("lab")
    return lab.pretrain(folder / "base", lean=0.0, seed=0, progress=False)


@pytest.fixture(scope="module")
def leaning(base: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A reward model that likes agency, and answers that are of the kind asked for."""
    pairs = lab_rewards.pairs(1500, seed=1, share_lean=0.3, favour="agency", rules=("kind",))
    return lab_rewards.reward_model(tmp_path_factory.mktemp("rm") / "leaning", base, pairs)


@pytest.mark.parametrize("penalty", [None, "auto"])
def test_a_lean_beside_quality_is_removed(
    leaning: Model, tmp_path: Path, penalty: str | None
) -> None:
    lean = valuebias.direction(
        leaning, lexicon="agency-communion", name=LEAN, held_out=0.4, penalty=penalty,
        progress=False,
    )  # fmt: skip
    assert lean.consistency > 0.9
    shaped = valuebias.shape(leaning, lean, out=tmp_path / "shaped")
    report = valuebias.shaping_report(leaning, shaped, accuracy=lab_rewards.kinds(), progress=False)
    row = report.table.set_index("axis").loc[LEAN]
    assert row["n"] == len(valuebias.lexicon()) - lean.n_items
    assert row["before_lower"] > 0
    assert row["after_lower"] < 0 < row["after_upper"]
    assert abs(row["after"]) < 0.1 * row["before"]
    assert row["verdict"] == "removed"
    assert report.removable
    accuracy = report.accuracy.iloc[0]
    assert accuracy["before"] > 0.9
    assert accuracy["change"] >= -0.05
    assert accuracy["change_lower"] < accuracy["change"] < accuracy["change_upper"]
    said = report.headline()
    assert "The interval covers zero: removed, as far as these words tell; up to" in said
    assert "No other axis was looked at" in said
    assert report.models == ("leaning", "shaped")


def test_what_moved_elsewhere_is_said(leaning: Model, tmp_path: Path) -> None:
    lean = valuebias.direction(
        leaning, lexicon="agency-communion", name=LEAN, held_out=0.4, progress=False
    )
    shaped = valuebias.shape(leaning, lean, out=tmp_path / "shaped")
    polite = {"politeness": (lab_rewards.polite(), ("polite", "plain"))}
    report = valuebias.shaping_report(leaning, shaped, polite, progress=False)
    row = report.table.set_index("axis").loc["politeness"]
    # By plain scores and plain arithmetic, on the same items.
    scores = valuebias.score_contrasts([leaning, shaped], polite["politeness"][0], progress=False)
    gap = (scores["score"].sel(variant="polite") - scores["score"].sel(variant="plain")).mean(
        "item"
    )
    assert [row["before"], row["after"]] == pytest.approx(gap.to_numpy().tolist(), abs=1e-4)
    assert row["growth"] == pytest.approx(abs(row["after"]) - abs(row["before"]))
    assert row["growth_lower"] > 0
    assert row["verdict"] == "grew"
    said = report.headline()
    assert "The bias may have moved: politeness grew by" in said
    assert "Accuracy was not looked at" in said
    assert report.removable is None
    figure = plots.plot_shaping(report)
    assert [t.get_text().split("\n")[0] for t in figure.axes[0].get_yticklabels()] == [
        LEAN, "politeness"
    ]  # fmt: skip


def test_a_lean_that_is_the_quality_is_not_removable(base: Model, tmp_path: Path) -> None:
    pairs = lab_rewards.pairs(1500, seed=1, rules=("polite",))
    model = lab_rewards.reward_model(tmp_path / "polite", base, pairs)
    polite = lab_rewards.polite()
    between = ("polite", ["plain", "hm"])
    direction = valuebias.direction(
        model, polite, between=between, held_out=0.4, penalty="auto", progress=False
    )
    shaped = valuebias.shape(model, direction, out=tmp_path / "shaped")
    report = valuebias.shaping_report(
        model, shaped, {"politeness": (polite, between)}, lexicons={}, accuracy=polite,
        progress=False,
    )  # fmt: skip
    assert report.accuracy["n"].item() == len(polite) - direction.n_items
    assert report.accuracy["before"].item() > 0.95
    assert report.accuracy["change"].item() < -0.05
    assert report.table["before_lower"].item() > 0
    assert report.table["verdict"].item() in ("entangled", "still there")
    assert report.removable is False
    assert "not removable" in report.headline()


def test_half_of_it_leaves_half_of_it(leaning: Model, tmp_path: Path) -> None:
    lean = valuebias.direction(
        leaning, lexicon="agency-communion", name=LEAN, held_out=0.4, progress=False
    )
    shaped = valuebias.shape(leaning, lean, out=tmp_path / "half", alpha=0.5)
    report = valuebias.shaping_report(leaning, shaped, progress=False)
    row = report.table.iloc[0]
    assert row["after"] == pytest.approx(row["before"] / 2, rel=0.1)
    assert row["verdict"] == "still there"
    said = report.headline()
    assert "(0.5 of it taken out)" in said
    assert re.search(r"excludes zero, (4|5)\d% of it is left: not all was taken out\.", said)
    assert report.removable is None


def test_what_a_direction_has_seen_is_no_evidence(leaning: Model, tmp_path: Path) -> None:
    whole = valuebias.direction(leaning, lexicon="agency-communion", progress=False)
    shaped = valuebias.shape(leaning, whole, out=tmp_path / "shaped")
    with pytest.raises(ValueBiasError, match=r"valuebias.direction\(..., held_out=0.5\)"):
        valuebias.shaping_report(leaning, shaped, progress=False)
    part = valuebias.direction(leaning, lexicon="agency-communion", held_out=0.5, progress=False)
    shaped = valuebias.shape(leaning, part, out=tmp_path / "shaped")
    valuebias.shaping_report(leaning, shaped, progress=False)
