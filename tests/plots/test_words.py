"""The figure of words shows means of the scores as they are, and draws no word as code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.cbook import is_math_text
from matplotlib.text import Text
from scipy import stats

import valuebias
from valuebias import ValueBiasError
from valuebias.fitting.result import Fit


def rows(figure: Any) -> list[tuple[str, float]]:
    """Give what is written at each row, from the top down, and where the row is."""
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    return sorted(zip(labels, axes.get_yticks(), strict=True), key=lambda row: -row[1])


def marks(axes: Any, marker: str, y: float, within: float = 0.25) -> list[float]:
    """Give the numbers along x of a row's marks."""
    found = []
    for line in axes.get_lines():
        if line.get_marker() == marker:
            points = zip(line.get_xdata(), line.get_ydata(), strict=True)
            found += [float(a) for a, b in points if abs(b - y) < within]
    return found


def strings(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_implicit_rewards_are_shown_as_they_are(pairs: xr.Dataset) -> None:
    words = ["w3", " love", "w0"]
    figure = valuebias.plots.plot_chosen_words(pairs, words)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "positive framing", "negative framing",
    ]  # fmt: skip
    assert figure.axes[0].get_xlabel() == "implicit reward (nat)"
    for axes, first in zip(figure.axes, (0, 1), strict=True):
        shown = rows(figure)
        assert [label for label, _ in shown] == ["w3 (+1)", "␣love", "w0"]
        for word, (_, y) in zip(words, shown, strict=True):
            means = pairs["score"].sel(response=word).values[:, first::2].mean(axis=1)
            assert sorted(marks(axes, "o", y)) == pytest.approx(sorted(means))
            assert marks(axes, "D", y) == pytest.approx([means.mean()])
            stem = [ln for ln in axes.get_lines() if list(ln.get_ydata()) == [y, y]]
            assert list(stem[0].get_xdata()) == pytest.approx([0, means.mean()])


def test_pairs_of_two_families_are_coloured_by_their_numerator(pairs: xr.Dataset) -> None:
    figure = valuebias.plots.plot_chosen_words(pairs)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == r"\$a\$"
    assert labels[2] == "google/gemma"
    assert labels[-1] == "mean over 6 pairs"
    assert len(labels) == 4


def test_policies_are_models_and_no_pairs(pairs: xr.Dataset) -> None:
    policies = pairs.drop_vars(["numerator", "denominator"])
    policies = policies.assign_coords(reference=("model", ["sft"] * pairs.sizes["model"]))
    figure = valuebias.plots.plot_chosen_words(policies)
    assert figure.axes[0].get_xlabel() == "implicit reward (nat)"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-1] == "mean over 6 models"


def test_other_scores_are_normal_scores(simulated: xr.Dataset) -> None:
    word = "agency_0003"
    figure = valuebias.plots.plot_chosen_words(simulated, word, framing="negative")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "reward: normal score (SD)"
    ranks = stats.rankdata(simulated["score"].values, axis=-1)
    normal = stats.norm.ppf((ranks - 0.5) / 27)
    at = simulated["response"].values.tolist().index(word)
    means = normal[:, simulated["framing"].values == "negative", at].mean(axis=1)
    assert sorted(marks(axes, "o", 0.0)) == pytest.approx(sorted(means))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Gemma", "Llama", "mean over 7 models"]


def test_the_words_with_the_largest_mean_of_each_category(pairs: xr.Dataset) -> None:
    figure = valuebias.plots.plot_chosen_words(pairs, n=3, framing="positive")
    values = pairs["score"].values[:, ::2].mean(axis=(0, 1))
    member = pairs["membership"].values
    taken: list[int] = []
    for c in (0, 1):
        best = [i for i in np.argsort(-values) if member[i, c]][:3]
        taken += [i for i in best if i not in taken]
    shown = [marks(figure.axes[0], "D", y)[0] for _, y in rows(figure)]
    assert shown == pytest.approx(values[taken])
    headers = [text.get_text() for text in figure.axes[0].texts]
    assert headers == [r"ag\$en\$cy", "<com>munion"]


def test_words_without_categories(pairs: xr.Dataset) -> None:
    bare = pairs.isel(category=[])
    figure = valuebias.plots.plot_chosen_words(bare, n=4)
    best = np.sort(pairs["score"].values.mean(axis=(0, 1)))[::-1][:4]
    shown = [np.mean([marks(axes, "D", y)[0] for axes in figure.axes]) for _, y in rows(figure)]
    assert shown == pytest.approx(best)
    assert not figure.axes[0].texts


def test_words_that_some_lack(simulated: xr.Dataset) -> None:
    scores = simulated.copy(deep=True)
    scores["score"][2, :, 0] = np.nan
    scores["score"][1, 0, 1] = np.nan
    words = scores["response"].values
    figure = valuebias.plots.plot_chosen_words(scores, n=99)
    shown = {label for label, _ in rows(figure)}
    # A model that lacks a word would make its mean one of other models.
    assert shown == set(words[1:])
    figure = valuebias.plots.plot_chosen_words(scores, [words[0]], framing="positive")
    assert np.isfinite(marks(figure.axes[0], "o", 0.0)).sum() == 6
    scores["score"][:, :4, 0] = np.nan
    with pytest.raises(ValueBiasError, match="'agency_0001' has no scores after positive prompts"):
        valuebias.plots.plot_chosen_words(scores, [words[0]])


def test_hostile_words_are_drawn_as_they_are(pairs: xr.Dataset, pair_fit: Fit) -> None:
    words = pairs["response"].values.tolist()
    figure = valuebias.plots.plot_chosen_words(pairs, words, fit=pair_fit)
    texts = strings(figure)
    assert not [text for text in texts if is_math_text(text)]
    assert "<script>alert(1)</script> (+1)" not in texts  # cut in the middle, with room for "(+1)"
    assert max(len(label) for label, _ in rows(figure)) < 32
    assert "\u202e" not in "".join(texts)
    assert len(rows(figure)) == 24


def test_a_fit_gives_what_is_expected_of_words(pairs: xr.Dataset, pair_fit: Fit) -> None:
    words = ["w8", "w1", "=cmd()"]
    figure = valuebias.plots.plot_chosen_words(pairs, words, fit=pair_fit)
    assert [axes.get_title(loc="left") for axes in figure.axes[2:]] == [
        "posterior, positive", "posterior, negative",
    ]  # fmt: skip
    for axes, framing in zip(figure.axes[2:], ("positive", "negative"), strict=True):
        draws = pair_fit.word_draws(framing=framing)
        for word, (_, y) in zip(words, rows(figure), strict=True):
            at = pair_fit.data["response"].values.tolist().index(word)
            values = draws.values[..., at].ravel()
            assert marks(axes, "D", y) == pytest.approx([values.mean()])
            line = next(ln for ln in axes.get_lines() if list(ln.get_ydata()) == [y, y])
            assert list(line.get_xdata()) == pytest.approx(np.quantile(values, [0.05, 0.95]))


def test_a_word_outside_the_lexicon_has_no_estimate(simulated: xr.Dataset) -> None:
    wider = simulated.copy(deep=True)
    wider["membership"][-1] = False
    fit = valuebias.fit(wider, draws=20, tune=60, chains=2, seed=1, progress=False)
    words = wider["response"].values[[0, -1]].tolist()
    figure = valuebias.plots.plot_chosen_words(wider, words, fit=fit, framing="positive")
    assert "no category" in strings(figure)
    assert [text.get_text() for text in figure.axes[1].texts] == ["outside the lexicon"]
    assert len([ln for ln in figure.axes[1].get_lines() if ln.get_marker() == "D"]) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"words": ["agency_003"]}, r"no word 'agency_003' among its 27\. Did you mean 'agency_00"),
        ({"words": [" AGENCY_0003 "]}, "Did you mean 'agency_0003'"),
        ({"words": ["\ud83d\u202e"]}, r"no word '\\ud83d\\u202e'.*with their spaces"),
        ({"words": []}, "words is empty"),
        ({"framing": "positiv"}, "Did you mean 'positive'"),
        ({"n": 0}, "n is 0"),
        ({"n": "3"}, "n is '3'"),
        ({"n": True}, "n is True"),
    ],
)
def test_bad_input(simulated: xr.Dataset, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.plots.plot_chosen_words(simulated, **settings)


@pytest.mark.released_data
def test_released_words(big2: xr.Dataset) -> None:
    figure = valuebias.plots.plot_chosen_words(big2, ["love", "freedom"], framing="positive")
    ranks = stats.rankdata(big2["score"].values, axis=-1)
    normal = stats.norm.ppf((ranks - 0.5) / big2.sizes["response"])
    part = normal[:, big2["framing"].values == "positive"].mean(axis=(0, 1))
    words = big2["response"].values.tolist()
    shown = [marks(figure.axes[0], "D", y)[0] for _, y in rows(figure)]
    assert shown == pytest.approx([part[words.index(word)] for word in ("love", "freedom")])
