"""The figure of agreement with a reference shows the numbers of its table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.colors import to_hex

import valuebias
from valuebias import ValueBiasError
from valuebias.plots import plot_agreement


def agreement(scores: xr.Dataset, **options: int) -> pd.DataFrame:
    rating = np.random.default_rng(1).normal(size=scores.sizes["response"])
    reference = xr.DataArray(rating, dims="response", name="$hu$mans")
    return valuebias.rank_agreement(scores, reference, n_resamples=20, progress=False, **options)


def test_every_model_and_family_stands_at_its_estimate(simulated: xr.Dataset) -> None:
    table = agreement(simulated)
    for framing in (None, "positive", "negative"):
        axes = plot_agreement(table, framing=framing).axes[0]
        shown = table[(table["framing"] == (framing or "signed")) & (table["prompt"] == "")]
        models = shown[shown["estimand"] == "model"].set_index("name")
        families = shown[(shown["estimand"] == "family") & (shown["unit"] == "base")]
        marks = {
            round(float(line.get_ydata()[0]), 6): line
            for line in axes.get_lines()
            if line.get_marker() in ("o", "D")
        }
        labels = dict(zip(axes.get_yticks(), axes.get_yticklabels(), strict=True))
        assert len(marks) == len(labels) == len(models) + len(families)
        for y, label in labels.items():
            line = marks[round(float(y), 6)]
            name, _, mean = label.get_text().partition(": mean of ")
            row = families.set_index("name").loc[name] if mean else models.loc[name]
            assert line.get_xdata()[0] == pytest.approx(row["estimate"])
            assert (line.get_marker() == "D") == bool(mean)
            if mean:
                assert to_hex(label.get_color()) == to_hex(line.get_color())
                assert mean == f"{row['n_bases']} base{'' if row['n_bases'] == 1 else 's'}"


def test_hostile_names_and_models_without_an_estimate_are_drawn(logprobs: xr.Dataset) -> None:
    score = logprobs["score"].copy()
    # Equal under each prompt, and so without a ranking, but not the same throughout.
    score[0] = -np.arange(1.0, 7.0)[:, None]
    table = agreement(logprobs.assign(score=score))
    figure = plot_agreement(table)
    figure.canvas.draw()
    assert r"\$hu\$mans" in figure.axes[0].get_xlabel()
    dead = table[(table["estimand"] == "model") & table["estimate"].isna()]
    assert set(dead["name"]) == {"google/gemma"}
    assert len(figure.axes[0].get_yticks()) == 7


def test_another_table_or_framing_is_explained(simulated: xr.Dataset) -> None:
    with pytest.raises(ValueBiasError, match=r"no column 'estimand'; expected what"):
        plot_agreement(pd.DataFrame({"a": [1]}))
    table = agreement(simulated)
    with pytest.raises(ValueBiasError, match=r"has no rows"):
        plot_agreement(table.iloc[:0])
    with pytest.raises(ValueBiasError, match=r"framing is 'neutral'; the table has \['signed'"):
        plot_agreement(table, framing="neutral")
