"""Figures of two models show means, intervals and tests as others compute them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.cbook import is_math_text
from matplotlib.text import Text
from scipy import stats

import valuebias
from valuebias import ValueBiasError
from valuebias.datasets.simulate import simulate
from valuebias.fitting.result import Fit
from valuebias.plots.logprobs import anova_cells


@pytest.fixture(scope="module")
def two() -> xr.Dataset:
    return simulate(
        n_models={"Llama": 1, "Gemma": 1},
        n_prompts=18,
        n_words={"agency": 12, "communion": 15},
        overlap=0.2,
        effects={"Gemma": {"agency": 0.25}, "Llama": {"agency": -0.15}},
        seed=9,
    )


def medians(ds: xr.Dataset) -> pd.DataFrame:
    """Rank every model and prompt anew, a word once for each of its categories."""
    member = ds["membership"].transpose("response", "category").to_numpy()
    word, category = np.nonzero(member)
    rows = []
    for m, model in enumerate(ds["model"].values):
        for p, framing in enumerate(ds["framing"].values):
            ranks = stats.rankdata(-ds["score"].values[m, p, word])
            rows += [
                {
                    "model": str(model),
                    "framing": str(framing),
                    "category": str(name),
                    "rank": np.median(ranks[category == c]),
                }
                for c, name in enumerate(ds["category"].values)
            ]
    return pd.DataFrame(rows)


def cell(table: pd.DataFrame, *names: str) -> np.ndarray:
    rows = (table[["framing", "category", "model"]] == list(names)).all(axis=1)
    return table["rank"][rows].to_numpy()


def single(axes: Any, *, size: float) -> list[float]:
    """Give the numbers along x of marks of a size, from the top row down."""
    lines = [ln for ln in axes.get_lines() if ln.get_markersize() == size and ln.get_marker()]
    lines = [ln for ln in lines if len(ln.get_xdata()) == 1]
    lines.sort(key=lambda ln: -ln.get_ydata()[0])
    return [float(ln.get_xdata()[0]) for ln in lines]


def intervals(axes: Any, width: float) -> list[list[float]]:
    lines = [ln for ln in axes.get_lines() if ln.get_linewidth() == width]
    lines.sort(key=lambda ln: -ln.get_ydata()[0])
    return [sorted(ln.get_xdata()) for ln in lines]


def strings(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_means_intervals_and_dots(two: xr.Dataset) -> None:
    figure = valuebias.plots.plot_logprobs(two)
    table = medians(two)
    for axes, framing in zip(figure.axes, ("positive", "negative"), strict=False):
        assert axes.get_title(loc="left") == f"{framing} framing"
        # Categories from the top, and in each the families by the alphabet.
        cells = [
            cell(table, framing, c, m)
            for c in ("agency", "communion")
            for m in ("simulated/gemma-1", "simulated/llama-1")
        ]
        assert single(axes, size=6) == pytest.approx([c.mean() for c in cells])
        expected = [stats.t.interval(0.9, 8, loc=c.mean(), scale=stats.sem(c)) for c in cells]
        np.testing.assert_allclose(intervals(axes, 2.4), expected)
        dots = [ln for ln in axes.get_lines() if len(ln.get_xdata()) == 9]
        dots.sort(key=lambda ln: -max(ln.get_ydata()))
        for line, ranks in zip(dots, cells, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), ranks)
        assert axes.xaxis_inverted()


def test_stars_are_welchs_tests_with_the_false_discovery_rate(two: xr.Dataset) -> None:
    table = medians(two)
    p = [
        stats.ttest_ind(
            *(cell(table, f, c, m) for m in ("simulated/gemma-1", "simulated/llama-1")),
            equal_var=False,
        ).pvalue
        for f in ("positive", "negative")
        for c in ("agency", "communion")
    ]
    adjusted = stats.false_discovery_control(p)
    expected = ["***" if q < 0.001 else "**" if q < 0.01 else "*" if q < 0.05 else "n.s."
                for q in adjusted]  # fmt: skip
    figure = valuebias.plots.plot_logprobs(two)
    shown = [
        text.get_text()
        for axes in figure.axes[:2]
        for text in axes.texts
        if set(text.get_text()) <= set("*n.s")
    ]
    assert shown == expected
    assert set(shown) == {"*", "**", "***"}
    assert any("* p < .05" in text for text in strings(figure))


def test_the_table_is_the_type_two_anova(two: xr.Dataset) -> None:
    table = medians(two)
    code = {
        "family": np.where(table["model"] == "simulated/gemma-1", 1, -1),
        "category": np.where(table["category"] == "agency", 1, -1),
        "framing": np.where(table["framing"] == "positive", 1, -1),
    }
    names = ["family", "category", "framing", "family × category", "family × framing",
             "category × framing", "family × category × framing"]  # fmt: skip
    columns = [np.prod([code[f] for f in name.split(" × ")], axis=0) for name in names]
    # The cells are of one size, so the columns are orthogonal and types of sums of squares agree.
    y, n = table["rank"].to_numpy(), len(table)
    squares = np.array([(column @ y) ** 2 / n for column in columns])
    rest = ((y - y.mean()) ** 2).sum() - squares.sum()
    f = squares / (rest / (n - 8))
    p = stats.f.sf(f, 1, n - 8)
    expected = [
        (name, f"{one:.2f}", f"1, {n - 8}",
         "< .001" if q < 0.001 else f"{q:.3f}".replace("0.", ".", 1))
        for name, one, q in zip(names, f, p, strict=True)
    ]  # fmt: skip
    figure = valuebias.plots.plot_logprobs(two)
    below = [text.get_text() for text in figure.axes[-1].texts]
    assert below[0].startswith("Type-II ANOVA")
    for row in expected:
        at = below.index(row[0])
        assert tuple(below[at : at + 4]) == row


def test_two_models_of_one_family_are_two_groups(simulated: xr.Dataset) -> None:
    pair = ["simulated/llama-2", "simulated/llama-1"]
    figure = valuebias.plots.plot_logprobs(simulated, models=pair)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == sorted(pair) * 2
    texts = strings(figure)
    assert "model × category" in texts
    assert not [text for text in texts if text.startswith("family")]
    expected = medians(simulated.sel(model=pair))
    mean = expected.groupby(["framing", "category", "model"])["rank"].mean()
    assert single(figure.axes[0], size=6) == pytest.approx(mean["positive"].tolist())


def test_one_framing_has_one_panel_and_no_term_of_framing(two: xr.Dataset) -> None:
    one = two.isel(prompt=np.flatnonzero(two["framing"].values == "negative"))
    figure = valuebias.plots.plot_logprobs(one)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["negative framing", ""]
    texts = strings(figure)
    assert "family × category" in texts
    assert "framing" not in texts


def test_one_prompt_a_framing_gives_no_tests(two: xr.Dataset) -> None:
    figure = valuebias.plots.plot_logprobs(two.isel(prompt=[0, -1]))
    assert [text for text in strings(figure) if text.startswith("Not estimated.")]
    assert "n.s." not in strings(figure)


def test_the_axis_says_what_is_ranked(logprobs: xr.Dataset, pairs: xr.Dataset) -> None:
    models = ["google/gemma", "meta/llama"]
    figure = valuebias.plots.plot_logprobs(logprobs, models=models)
    assert figure.axes[0].get_xlabel() == "median rank  (1 = most likely)"
    names = pairs["model"].values[:2].tolist()
    figure = valuebias.plots.plot_logprobs(pairs, models=names)
    assert figure.axes[0].get_xlabel() == "median rank  (1 = highest implicit reward)"


def test_hostile_names_are_drawn_as_they_are(logprobs: xr.Dataset) -> None:
    figure = valuebias.plots.plot_logprobs(logprobs, models=["<i>" * 30, "\u4e2d"])
    texts = strings(figure)
    assert not [text for text in texts if is_math_text(text)]
    assert "U+4E2D" in texts


def test_a_fit_gives_each_models_means_beside(simulated: xr.Dataset, fit: Fit) -> None:
    pair = ["simulated/gemma-1", "simulated/llama-4"]
    figure = valuebias.plots.plot_logprobs(simulated, models=pair, fit=fit)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["positive framing", "negative framing", "posterior, positive",
                      "posterior, negative", ""]  # fmt: skip
    draws = fit.contrast_draws
    for axes, framing in zip(figure.axes[2:4], ("positive", "negative"), strict=True):
        lean = [
            draws.sel(estimand=f"model lean | {m} | {framing} | agency − communion").values.ravel()
            for m in pair
        ]
        # Relative to the mean of two categories, each is half the lean away.
        cells = [lean[0] / 2, lean[1] / 2, -lean[0] / 2, -lean[1] / 2]
        assert single(axes, size=6) == pytest.approx([c.mean() for c in cells])
        np.testing.assert_allclose(
            intervals(axes, 1.6), [np.quantile(c, [0.05, 0.95]) for c in cells], atol=1e-12
        )
        above = (lean[0] > lean[1]).mean()
        p = max(above, 1 - above)
        assert [t.get_text() for t in axes.texts] == ["> 99%" if p > 0.995 else f"{p:.0%}"] * 2
        assert "normal score (SD), 90% interval" in axes.get_xlabel()
        assert not axes.xaxis_inverted()


def test_a_fit_of_the_two_models_alone_does_as_well(pairs: xr.Dataset, pair_fit: Fit) -> None:
    # These two share no model, so nothing warns.
    two = pairs.isel(model=[0, 3])
    fit = valuebias.fit(two, "~ 1", draws=20, tune=50, chains=2, seed=1, progress=False)
    figure = valuebias.plots.plot_logprobs(pairs, models=two["model"].values.tolist(), fit=fit)
    assert len(figure.axes) == 5
    with pytest.raises(ValueBiasError, match=r"other data: the model .* is in the fit only"):
        valuebias.plots.plot_logprobs(two, fit=pair_fit)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (None, r"has 7 models, and the figure compares two\. Name them with models="),
        ("simulated/gemma-1", "expected two different models"),
        (["simulated/gemma-1"], "expected two different models"),
        (["simulated/gemma-1"] * 2, "expected two different models"),
        (["simulated/gemma-1", "simulated/lama-1"], "Did you mean 'simulated/llama-1'"),
    ],
)
def test_models_that_are_no_pair(simulated: xr.Dataset, models: Any, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.plots.plot_logprobs(simulated, models=models)


def test_what_cannot_be_compared(simulated: xr.Dataset, two: xr.Dataset) -> None:
    with pytest.raises(ValueBiasError, match="has one model"):
        valuebias.plots.plot_logprobs(simulated.isel(model=[0]))
    with pytest.raises(ValueBiasError, match=r"0 categories .* at least 2"):
        valuebias.plots.plot_logprobs(two.isel(category=[]))


def test_a_table_without_rows() -> None:
    assert anova_cells(pd.DataFrame(), by="family") == []


@pytest.mark.released_data
def test_two_released_models(big2: xr.Dataset) -> None:
    pair = [
        str(big2["model"].values[big2["family"].values == name][0]) for name in ("Gemma", "Llama")
    ]
    figure = valuebias.plots.plot_logprobs(big2, models=pair)
    table = medians(big2.sel(model=pair)).groupby(["framing", "category", "model"])["rank"].mean()
    for axes, framing in zip(figure.axes, ("positive", "negative"), strict=False):
        expected = [table[framing, c, m] for c in big2["category"].values for m in pair]
        assert single(axes, size=6) == pytest.approx(expected)
