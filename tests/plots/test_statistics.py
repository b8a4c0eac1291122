"""The figure of statistics of contrast sets shows the numbers of their tables."""

from __future__ import annotations

import numpy as np
import pytest
from contrast_worlds import world

import valuebias
from valuebias import ValueBiasError
from valuebias.analysis.contrasting.statistics import ContrastStatistics
from valuebias.plots import plot_statistics


@pytest.fixture(scope="module")
def found() -> dict[str, ContrastStatistics]:
    return {
        "long $x$": valuebias.contrast_statistics(world(1, families=(2, 3), gap=1.0).scores),
        "none": valuebias.contrast_statistics(world(2, families=(2, 3)).scores),
    }


def dots(axes: object) -> np.ndarray:
    marked = [line for line in axes.lines if line.get_marker() == "o"]  # type: ignore[attr-defined]
    return np.array([line.get_xdata()[0] for line in marked])


@pytest.mark.parametrize("level", ["model", "family"])
def test_dots_lines_and_labels_are_the_tables(
    found: dict[str, ContrastStatistics], level: str
) -> None:
    figure = plot_statistics(found, level=level)
    figure.canvas.draw()
    axes = figure.axes[0]
    tables = [one.to_frame("gap", level=level) for one in found.values()]
    np.testing.assert_allclose(dots(axes), np.concatenate([one["estimate"] for one in tables]))
    spans = [line.get_xdata() for line in axes.lines if line.get_marker() == "None"]
    ends = np.concatenate([one[["lower", "upper"]].to_numpy() for one in tables])
    for low, high in ends[np.isfinite(ends).all(1)]:
        assert any(np.allclose(span, (low, high)) for span in spans)
    labels = [text.get_text() for text in axes.get_yticklabels()]
    assert labels == [name for one in tables for name in one["name"]]
    titles = [text.get_text() for text in axes.texts]
    assert titles == [r"long \$x\$: a − b", "none: a − b"]
    low, high = axes.get_xlim()
    assert low < ends.min()
    assert high > ends.max()


def test_dots_are_hollow_where_the_interval_covers_the_null_value(
    found: dict[str, ContrastStatistics],
) -> None:
    axes = plot_statistics(found).axes[0]
    marked = [line for line in axes.lines if line.get_marker() == "o"]
    hollow = [line.get_markerfacecolor() != line.get_color() for line in marked]
    tables = [one.to_frame("gap", level="model") for one in found.values()]
    covers = [bool((row.lower <= 0) & (row.upper >= 0)) for t in tables for row in t.itertuples()]
    assert hollow == covers
    assert 0 < sum(covers) < len(covers)


def test_one_set_alone_and_shares_around_one_half() -> None:
    made = world(3, gap=0.5, correct=[True, False] * 40)
    one = valuebias.contrast_statistics(made.scores)
    axes = plot_statistics(one, statistic="P(wrong > right)").axes[0]
    assert axes.get_xlabel() == "P(wrong > right)"
    assert [text.get_text() for text in axes.texts] == ["right − wrong"]
    assert any(np.allclose(line.get_xdata(), 0.5) for line in axes.lines)


def test_what_is_not_there_is_refused(found: dict[str, ContrastStatistics]) -> None:
    with pytest.raises(ValueBiasError, match="There is no statistic 'accuracy'"):
        plot_statistics(found, statistic="accuracy")
    with pytest.raises(ValueBiasError, match="'model' or 'family'"):
        plot_statistics(found, level="base")  # type: ignore[arg-type]
    for wrong in ({}, {"a": 1}, "gap"):
        with pytest.raises(ValueBiasError, match="expected what valuebias"):
            plot_statistics(wrong)  # type: ignore[arg-type]


def test_long_titles_stay_inside_the_figure() -> None:
    sides = ("opinion none, answer wrong", "opinion none, answer right")
    scores = world(4, families=(2, 3), variants=sides).scores
    names = [f"somebody/some-reward-model-of-{size}B-v0.2" for size in (2, 9, 27, 3, 8)]
    found = valuebias.contrast_statistics(scores.assign_coords(model=names))
    figure = plot_statistics({"sycophancy": found})
    figure.canvas.draw()
    box = figure.axes[0].texts[0].get_window_extent()
    assert "answer right" in figure.axes[0].texts[0].get_text()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
