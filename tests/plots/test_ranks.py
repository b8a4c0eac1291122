"""Figures of median ranks show the numbers that R gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.image import imread

import valuebias
from valuebias import ValueBiasError
from valuebias.datasets.simulate import simulate
from valuebias.fitting.result import Fit
from valuebias.schema import build, model_table, prompt_table

ORACLE = Path(__file__).parents[1] / "oracles" / "big2_r.json"


def drawn(figure: Any, marker: str) -> dict[str, list[list[float]]]:
    """Give the numbers along x that each panel shows with a mark, from the top row down."""
    found = {}
    for axes in figure.axes:
        lines = [line for line in axes.get_lines() if line.get_marker() == marker]
        lines.sort(key=lambda line: -float(np.atleast_1d(line.get_ydata())[0]))
        found[axes.get_title(loc="left")] = [
            np.asarray(line.get_xdata()).tolist() for line in lines
        ]
    return found


@pytest.mark.released_data
def test_the_diamonds_are_rs_means_of_medians(big2: xr.Dataset, tmp_path: Path) -> None:
    rows = json.loads(ORACLE.read_text(encoding="utf-8"))["big2"]["avg_median_rank"]
    figure = valuebias.plots.plot_ranks(big2)
    shown = drawn(figure, "D")
    for framing in ("positive", "negative"):
        expected = [row["mean_rank"] for row in rows if row["prompt_framing"] == framing]
        assert np.ravel(shown[f"{framing} framing"]).tolist() == pytest.approx(expected, abs=1e-9)
    dots = drawn(figure, "o")["positive framing"]
    assert [len(row) for row in dots] == [4, 6, 4, 6]
    for suffix in ("png", "pdf", "svg"):
        figure.savefig(tmp_path / f"ranks.{suffix}")
        assert (tmp_path / f"ranks.{suffix}").stat().st_size > 1000
    assert imread(tmp_path / "ranks.png").std() > 0.01


def test_the_moral_foundations_with_words_in_several(released_data: Path) -> None:
    foundations = valuebias.lexicon("mfd2")
    categories = foundations.categories
    words = list(foundations.words[::10])
    ds = simulate(
        n_models={"Gemma": 2, "Llama": 3}, n_prompts=4, n_words=len(words), seed=1
    ).assign_coords(response=np.array(words))
    member = foundations.membership(words)
    # Version 2.0 has each word once; other dictionaries have some in several foundations.
    member.iloc[::10] |= member.iloc[::10].shift(axis=1, fill_value=False)
    ds = (
        ds.drop_dims("category")
        .assign(membership=(("response", "category"), member.to_numpy()))
        .assign_coords(category=np.array(member.columns, dtype="U"))
    )
    assert (ds["membership"].sum("category") > 1).any()
    figure = valuebias.plots.plot_ranks(ds)
    assert len(drawn(figure, "D")["positive framing"]) == len(categories) * 2


@pytest.mark.released_data
def test_the_moral_foundations_of_the_released_dictionary(released_data: Path) -> None:
    path = next((released_data / "corpora").glob("*.dicx"))
    foundations = valuebias.lexicon(path)
    words = list(foundations.words)
    ds = simulate(n_models={"Gemma": 2, "Llama": 3}, n_prompts=4, n_words=len(words), seed=1)
    # Each word is in one foundation; some are put into the next as well, as other versions have.
    member = foundations.membership(words)
    member.iloc[::9] |= member.iloc[::9].shift(axis=1, fill_value=False)
    ds = build(
        ds["score"].values, models=model_table(ds), prompts=prompt_table(ds), responses=words,
        lexicon=member,
    )  # fmt: skip
    shown = drawn(valuebias.plots.plot_ranks(ds), "D")
    rows = [
        {"family": family, "framing": framing, "category": category, "rank": rank}
        for framing, family, score in zip(
            np.tile(ds["framing"].values, 5), np.repeat(ds["family"].values, 4),
            ds["score"].values.reshape(20, -1), strict=True,
        )
        for long in [member.set_axis(score, axis=0).stack()]
        for ranks in [long[long].reset_index().set_axis(["score", "category", "in"], axis=1)]
        for category, rank in zip(
            ranks["category"], ranks["score"].rank(ascending=False), strict=True
        )
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    # Pooled over the two prompts of a framing, model by model: their rows come in this order.
    frame["model"] = np.repeat(np.arange(5), len(frame) // 5)
    pooled = frame.groupby(["framing", "category", "family", "model"])["rank"].median()
    mean = pooled.groupby(["framing", "category", "family"]).mean()
    for framing in ("positive", "negative"):
        expected = [mean[framing, c, f] for c in foundations.categories for f in ("Gemma", "Llama")]
        found = np.ravel(shown[f"{framing} framing"]).tolist()
        assert found == pytest.approx(expected, abs=1e-9)
    assert len(foundations.categories) == 10


def test_a_fit_gives_the_families_means_beside(simulated: xr.Dataset, fit: Fit) -> None:
    figure = valuebias.plots.plot_ranks(simulated, fit=fit)
    shown = drawn(figure, "D")
    leans = fit.contrasts().query("estimand == 'family lean'").set_index(["name", "framing"])
    for framing in ("positive", "negative"):
        # Relative to the mean of two categories, each is half the lean away.
        half = [leans.loc[(name, framing), "mean"] / 2 for name in ("Gemma", "Llama")]
        expected = [*half, *(-value for value in half)]
        assert np.ravel(shown[f"posterior, {framing}"]).tolist() == pytest.approx(expected)
        assert len(shown[f"{framing} framing"]) == 4
    assert [axes.xaxis_inverted() for axes in figure.axes] == [True, True, False, False]


def test_names_that_are_hostile_or_long() -> None:
    ds = simulate(n_models={"$x$": 2, "<b>" * 20: 2}, n_prompts=4, n_words=20, seed=1)
    figure = valuebias.plots.plot_ranks(ds)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert all(len(label) < 25 for label in labels)


def test_without_categories_there_is_nothing_to_rank(simulated: xr.Dataset) -> None:
    bare = simulated.isel(category=[])
    with pytest.raises(ValueBiasError, match=r"0 categories .* at least 1"):
        valuebias.plots.plot_ranks(bare)
