"""The figure of reliability shows the numbers of its table."""

from __future__ import annotations

import numpy as np
import pytest
from contrast_worlds import world

import valuebias
from valuebias import ValueBiasError
from valuebias.analysis.contrasting.statistics import ContrastStatistics
from valuebias.plots import plot_reliability


@pytest.fixture(scope="module")
def found() -> ContrastStatistics:
    made = world(1, n_items=60, families=(2, 3), gap=1.0, correct=[True, False] * 60)
    scores = made.scores.assign_coords(family=("model", ["$a$", "$a$", "B", "B", "B"]))
    return valuebias.contrast_statistics(scores, bins=6)


@pytest.mark.parametrize("level", ["family", "model"])
def test_dots_stand_at_confidence_and_accuracy(found: ContrastStatistics, level: str) -> None:
    figure = plot_reliability(found, level=level)
    figure.canvas.draw()
    axes = figure.axes[0]
    table = found.reliability[found.reliability["level"] == level]
    drawn = [dots.get_offsets() for dots in axes.collections]
    assert len(drawn) == table["name"].nunique()
    for dots, (_, rows) in zip(drawn, table.groupby("name", sort=False), strict=True):
        np.testing.assert_allclose(dots, rows[["confidence", "accuracy"]].to_numpy())
    low, high = axes.get_ylim()
    assert low < table["accuracy"].min()
    assert table["accuracy"].max() < high
    legend = figure.legends[0].get_texts()
    assert [text.get_text().split(" (")[0] for text in legend] == [r"\$a\$", "B"]
    errors = found.to_frame("calibration error", level="family").set_index("name")["estimate"]
    assert f"(error {errors['B']:.2f}, 6 bins)" in legend[1].get_text()


def test_without_right_answers_there_is_none(found: ContrastStatistics) -> None:
    without = valuebias.contrast_statistics(world(2).scores)
    with pytest.raises(ValueBiasError, match="correct='correct'"):
        plot_reliability(without)
    with pytest.raises(ValueBiasError, match="'family' or 'model'"):
        plot_reliability(found, level="base")  # type: ignore[arg-type]
