"""Figures of ablations draw the numbers of the fit."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from ablations import N_PAIRS, ablation
from matplotlib.colors import to_hex
from matplotlib.image import imread

import valuebias
from valuebias import AblationFit, ValueBiasError, ValueBiasWarning, plots


@pytest.fixture(scope="module")
def made() -> AblationFit:
    """Give a short fit of three families, two sources, two checkpoints and hostile names."""
    ds = ablation(
        1, families=("<b>Gem$ma", "Lla_ma", "\u4e2d"), sources=("$s$", "_t"), seeds=1,
        shares=(0.5, 1.0), n_words=20,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit_ablation(ds, draws=100, tune=200, chains=2, seed=1, progress=False)


def test_trajectories_are_those_of_the_fit(made: AblationFit, tmp_path: Path) -> None:
    figure = plots.plot_trajectories(made)
    assert len(figure.axes) == 2 * len(N_PAIRS)
    table = made.trajectories()
    first = table[(table["estimand"] == "family lean") & (table["source"] == "$s$")]
    first = first[(first["n_pairs"] == N_PAIRS[0]) & (first["name"] == made.curves.families[0])]
    drawn = figure.axes[0].get_lines()[1]
    np.testing.assert_allclose(drawn.get_ydata(), first["mean"])
    np.testing.assert_allclose(drawn.get_xdata(), first["step"])
    assert len(figure.axes[0].collections) == 3
    figure.savefig(tmp_path / "a.png")
    assert imread(tmp_path / "a.png").std() > 0.01


def test_gaps_are_solid_as_far_as_they_were_tried_and_dashed_beyond(made: AblationFit) -> None:
    figure = plots.plot_gaps(made, ahead=4)
    assert len(figure.axes) == 3
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 25]
    styles = [line.get_linestyle() for line in lines]
    assert styles == ["-", "--", "-", "--"]
    assert lines[0].get_xdata()[-1] == pytest.approx(N_PAIRS[-1])
    assert lines[1].get_xdata()[-1] == pytest.approx(4 * N_PAIRS[-1])
    gaps = made.gaps()
    here = gaps[(gaps["name"] == gaps["name"].iloc[0]) & (gaps["source"] == made.curves.sources[0])]
    ends = here[here["progress"] == 1]["mean"]
    assert lines[0].get_ydata()[[0, -1]].tolist() == pytest.approx(ends.iloc[[0, -1]].tolist())
    assert (
        len(plots.plot_gaps(made, ahead=1).axes[0].get_lines())
        == len(figure.axes[0].get_lines()) - 2
    )


def test_words_are_those_that_moved(made: AblationFit) -> None:
    figure = plots.plot_word_changes(made, n=4)
    table = made.word_changes(n=4)
    labels = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert labels == table["word"].tolist()
    marks = [line for line in figure.axes[1].get_lines() if line.get_marker() == "o"]
    own = table[table["family"] == made.curves.families[1]]
    assert [float(m.get_xdata()[0]) for m in marks] == pytest.approx(own["mean"].tolist())
    assert len({to_hex(m.get_color()) for m in marks}) == own["categories"].nunique()


@pytest.mark.parametrize("framing", ["signed", "negative"])
def test_vertical_axes_name_the_framing_and_are_not_cut_off(framing: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit_ablation(
            ablation(2, n_pairs=N_PAIRS[:2], n_words=8), draws=20, tune=50, chains=1, seed=1,
            progress=False,
        )  # fmt: skip
    said = {"signed": "signed by framing", "negative": "negative prompts"}[framing]
    for draw in (plots.plot_gaps, plots.plot_trajectories):
        figure = draw(fit.at_framing(framing))
        label = figure.axes[0].yaxis.label
        assert f"lean,\nagency − communion,\n{said}\n" in label.get_text()
        box, whole = label.get_window_extent(), figure.bbox
        assert whole.x0 <= box.x0
        assert whole.y0 <= box.y0
        assert box.y1 <= whole.y1
    assert said in plots.plot_word_changes(fit.at_framing(framing)).axes[0].get_xlabel()


def test_other_things_are_refused(made: AblationFit) -> None:
    for draw in (plots.plot_trajectories, plots.plot_gaps, plots.plot_word_changes):
        with pytest.raises(ValueBiasError, match="fit_ablation"):
            draw("fit")
    with pytest.raises(ValueBiasError, match="ahead must be"):
        plots.plot_gaps(made, ahead=0.5)
