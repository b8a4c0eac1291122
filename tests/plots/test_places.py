"""Every public figure can be put in its place, keeps to the user's settings, and can be asked.

The functions are collected by introspection, so that a new one cannot be left out.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import along_worlds
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from contrast_worlds import world
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

import valuebias
from valuebias import ValueBiasError, plots, simulate
from valuebias.analysis.changes import accuracy_change, lean_change
from valuebias.plots.theme import FAINT, GREY, INK, PAPER

FUNCTIONS = sorted(name for name in plots.__all__ if name.startswith("plot_"))

SELECTED = {
    "plot_agreement": {"framing"},
    "plot_along": set(),
    "plot_choices": set(),
    "plot_chosen_words": {"framing"},
    "plot_families": {"pair", "framing", "contrast"},
    "plot_forest": {"pair", "framing", "contrast"},
    "plot_gaps": {"pair", "framing"},
    "plot_influence": {"pair", "framing", "contrast"},
    "plot_learning": set(),
    "plot_logprobs": {"framing", "contrast"},
    "plot_multiverse": set(),
    "plot_ppc": set(),
    "plot_ranks": {"pair", "framing", "contrast"},
    "plot_reliability": set(),
    "plot_sensitivity": {"pair", "framing", "contrast"},
    "plot_shaping": set(),
    "plot_specs": {"pair", "contrast"},
    "plot_statistics": set(),
    "plot_trace": {"pair", "framing", "contrast"},
    "plot_trajectories": {"framing"},
    "plot_validation": set(),
    "plot_word_changes": {"framing"},
    "plot_words": {"pair", "framing"},
}
# There are two families, so that a figure of both shows the same; fits turn their difference round.
ALL_THERE_IS = {(f"plot_{kind}", "pair") for kind in ("forest", "gaps", "ranks")}
QUIET = {"plot_influence", "plot_sensitivity"}
ASKED = {"pair": ("Birch", "Alder"), "framing": "positive", "contrast": ("communion", "agency")}
ABLATED = {"pair": ("B", "A")}
WRONG = {"pair": ("Birch", "Elder"), "framing": "postive", "contrast": ("agency", "communism")}


@cache
def subjects() -> dict[str, Any]:
    """Give what each figure is of."""
    scores = valuebias.datasets.load("simulated")
    fit = valuebias.fit(scores, draws=60, tune=150, chains=2, seed=1, progress=False)
    ds = simulate(n_models={"A": 8, "B": 8}, n_prompts=4, n_words=20, seed=1)
    ds = ds.assign_coords(
        base=("model", [f + n for f in "AB" for n in "12" for _ in range(4)]),
        source=("model", ["s"] * 16), n_pairs=("model", [1e3, 1e3, 2e3, 2e3] * 4),
        seed=("model", [1, 2] * 8), step=("model", [60, 60, 120, 120] * 4),
    )  # fmt: skip
    ablation = valuebias.fit_ablation(ds, draws=60, tune=150, chains=2, seed=1, progress=False)
    human = scores["score"].mean(["model", "prompt"])
    made = {
        "plot_agreement": valuebias.rank_agreement(scores, human, n_resamples=9, progress=False),
        "plot_along": along_worlds.read(n_items=2),
        "plot_chosen_words": scores,
        "plot_logprobs": scores.isel(model=[0, -1]),
        "plot_multiverse": valuebias.multiverse(
            scores, outcomes=["normal", "z"], lexicons=None, prompts=None, formulas=["~ family"],
            priors={"default": None}, workers=1, seed=1, progress=False,
        ),
        "plot_ranks": scores,
        "plot_validation": valuebias.validate_implicit(
            vocabulary=300, n_words=20, n_seeds=2, progress=False
        ),
    }  # fmt: skip
    statistics = valuebias.contrast_statistics(
        world(1, families=(2, 3), gap=0.5, correct=[True, False] * 40).scores
    )
    task = valuebias.bandit_task(trials=6, tasks=4, seed=1)
    choices = valuebias.simulate_choices(task, n_models={"A": 3, "B": 3}, seed=1)
    learned = valuebias.fit_choices(choices, starts=2)
    made |= {"plot_choices": choices, "plot_learning": learned.summary()}
    made |= dict.fromkeys(("plot_reliability", "plot_statistics"), statistics)
    made["plot_shaping"] = shaped()
    of_ablations = ("plot_gaps", "plot_trajectories", "plot_word_changes")
    made |= dict.fromkeys(of_ablations, ablation)
    return {name: made.get(name, fit) for name in FUNCTIONS}


def shaped() -> valuebias.ShapingReport:
    """Give what shaping did to two leans and to accuracy, of made-up rewards."""
    rng = np.random.default_rng(2)
    before, after = rng.normal(1, 1, 60), rng.normal(0, 0.3, 60)
    leans = [lean_change((before,), (after,), 0.9), lean_change((after,), (before,), 0.9)]
    table = pd.DataFrame([change.columns() for change in leans]).assign(
        axis=["length", "hedging"], first="long", second="plain", target=[True, False]
    )
    right = (rng.random((2, 100)) < 0.8).astype(float)
    accuracy = pd.DataFrame([accuracy_change(*right, 0.9).columns()])
    return valuebias.ShapingReport(table, accuracy, ("rm", "shaped"), {"length": 1.0}, 0.9, 0.05)


def draw(name: str, **options: Any) -> Figure:
    options |= {"progress": False} if name in QUIET else {}
    figure: Figure = getattr(plots, name)(subjects()[name], **options)
    return figure


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(plots, name)).parameters)


def empty(width: float = 8, height: float = 6) -> Figure:
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def content(axes: Axes) -> int:
    return len(axes.lines) + len(axes.patches) + len(axes.collections) + len(axes.texts)


def texts(figure: Figure) -> list[Text]:
    figure.canvas.draw()
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_text().strip() and text.get_visible()
    ]


def luminance(colour: Any) -> float:
    """As WCAG 2 has it."""
    parts = np.array(to_rgba(colour)[:3])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: Any, other: Any) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_every_figure_is_tried() -> None:
    assert list(SELECTED) == FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_figure_has_a_size_and_can_go_into_another(name: str) -> None:
    known = parameters(name)
    for option in ("figure", "figsize"):
        assert known[option].kind is inspect.Parameter.KEYWORD_ONLY
    before = dict(mpl.rcParams)
    assert tuple(draw(name, figsize=(9, 7)).get_size_inches()) == (9, 7)
    whole = empty(14, 7)
    left, right = whole.subfigures(1, 2)
    assert draw(name, figure=left) is whole
    assert left.axes
    assert not right.axes
    own = empty()
    assert draw(name, figure=own) is own
    assert own.axes
    assert dict(mpl.rcParams) == before
    for options, said in (
        ({"figure": own, "figsize": (3, 2)}, "figure and figsize were given"),
        ({"figure": own.axes[0]}, "figure is of type Axes"),
        ({"figsize": 3}, r"figsize is 3; expected width and height"),
        ({"figsize": (3, -1)}, r"expected width and height in inches"),
        ({"figsize": ("a", 1)}, r"expected width and height in inches"),
    ):
        with pytest.raises(ValueBiasError, match=said):
            draw(name, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_figure_of_one_panel_goes_into_the_users_axes(name: str) -> None:
    whole = draw(name)
    if "ax" not in parameters(name):
        assert len(whole.axes) > 1
        return
    assert len(whole.axes) == 1
    figure = empty()
    first, second = figure.subplots(1, 2)
    assert draw(name, ax=second) is figure
    assert figure.axes == [first, second]
    assert content(second) == content(whole.axes[0])
    assert not content(first)
    assert second.get_xlabel() == whole.axes[0].get_xlabel()
    # What a figure says below itself is said below the axes.
    assert bool(whole.legends) == (second.get_legend() is not None)
    for options, said in (
        ({"ax": figure}, "ax is of type Figure; expected one Axes"),
        ({"ax": [first, second]}, "ax is of type list; expected one Axes"),
        ({"ax": first, "figsize": (3, 2)}, "ax and figsize were given"),
    ):
        with pytest.raises(ValueBiasError, match=said):
            draw(name, **options)  # type: ignore[arg-type]


def test_several_panels_do_not_go_into_one() -> None:
    scores = simulate(
        n_models={"A": 3, "B": 3}, n_prompts=4, n_words={"x": 9, "y": 9, "z": 9}, seed=1
    )
    fit = valuebias.fit(scores, draws=60, tune=150, chains=2, seed=1, progress=False)
    axes = empty().subplots()
    for kind in ("forest", "specs"):
        with pytest.raises(ValueBiasError, match=r"there are 3 to draw\. Choose two categories"):
            fit.plot(kind, ax=axes)
        fit.plot(kind, ax=axes, contrast=("x", "z"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_figure_keeps_to_the_users_settings(name: str) -> None:
    plain = draw(name)
    with mpl.rc_context({"font.size": 17.0, "figure.dpi": 41, "text.color": "#123456"}):
        set_up = draw(name)
        before = dict(mpl.rcParams)
        draw(name)
        assert dict(mpl.rcParams) == before
    assert set_up.dpi == 41
    # A figure grows with its letters, which are 8.5 points large in our own.
    assert set_up.get_size_inches() == pytest.approx(2 * plain.get_size_inches())
    sizes, larger = ([text.get_fontsize() for text in texts(made)] for made in (plain, set_up))
    assert np.median(larger) == pytest.approx(2 * np.median(sizes), rel=0.05)
    assert max(sizes) < 12
    with mpl.rc_context({"figure.figsize": (9.5, 7.5), "font.family": "DejaVu Serif"}):
        sized = draw(name)
    assert tuple(sized.get_size_inches()) == (9.5, 7.5)
    assert {text.get_fontfamily()[0] for text in texts(sized)} == {"DejaVu Serif"}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("sheet", ["default", "dark_background", "ggplot", "grayscale"])
def test_texts_can_be_read_under_any_style_sheet(name: str, sheet: str) -> None:
    with style.context(sheet):
        figure = draw(name)
    ground = figure.get_facecolor()
    for text in texts(figure):
        behind = text.axes.get_facecolor() if text.axes is not None else ground
        inside = to_rgba(behind)[3] > 0 and text.get_transform() == getattr(
            text.axes, "transData", None
        )
        least = contrast(text.get_color(), behind if inside else ground)
        assert least >= 1.9, text.get_text()
    drawn = {*_colours(figure)}
    ours = {INK, GREY, FAINT, PAPER}
    if sheet == "default":
        assert drawn & ours
    if sheet == "dark_background":
        assert not drawn & ours
        assert luminance(ground) < 0.01


def _colours(figure: Figure) -> set[str]:
    return {
        mpl.colors.to_hex(text.get_color()) for text in texts(figure)
    } | {
        mpl.colors.to_hex(line.get_color()) for axes in figure.axes for line in axes.lines
    }  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_figure_can_be_asked_where_that_has_a_meaning(name: str) -> None:
    known = parameters(name)
    assert SELECTED[name] == {"pair", "framing", "contrast"} & set(known)
    plain = _shown(draw(name))
    asked = ASKED | (ABLATED if name == "plot_gaps" else {})
    for option in SELECTED[name]:
        figure = draw(name, **{option: asked[option]})
        if (name, option) not in ALL_THERE_IS:
            assert _shown(figure) != plain, option
        with pytest.raises(ValueBiasError):
            draw(name, **{option: WRONG[option]})


def _shown(figure: Figure) -> list[Any]:
    """What a figure says, and where its marks are."""
    marks = [line.get_xydata() for axes in figure.axes for line in axes.lines]
    numbers = [np.round(np.asarray(mark, float), 9).tolist() for mark in marks]
    said = [axes.get_xlabel() + axes.get_title(loc="left") for axes in figure.axes]
    words = [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes]
    return [said, words, numbers]


# --- tables, headlines and reports -----------------------------------------------------------


def test_a_fit_answers_as_its_focused_view() -> None:
    fit = subjects()["plot_forest"]
    asked = {"pair": ("Birch", "Alder"), "framing": "negative", "contrast": ("communion", "agency")}
    view = fit.focused(**asked)
    assert str(fit.headline(**asked)) == str(view.headline())
    assert "lean under negative prompts, sign turned," in str(view.headline())
    table = fit.contrasts(**asked)
    assert set(table["framing"]) == {"negative, turned"}
    assert set(table["category"]) == {"communion − agency"}
    assert table.loc[0, "name"] == "Birch − Alder"
    # Both the pair and the categories are turned round, and so is the sign of negative prompts.
    plain = fit.contrasts()
    raw = plain[(plain["framing"] == "negative") & (plain["estimand"] == "family difference")]
    assert table.loc[0, "mean"] == pytest.approx(-float(raw["mean"].iloc[0]))
    assert table.attrs["draws"] == plain.attrs["draws"]
    models = fit.models(framing="positive")
    assert len(models) == 8
    assert set(models["framing"]) == {"positive"}
    gap = fit.placebo(n=19, **asked).table().iloc[0]
    assert gap[["name", "category"]].tolist() == ["Birch − Alder", "communion − agency"]
    ablation = subjects()["plot_gaps"]
    said = str(ablation.headline(framing="positive"))
    assert said == str(ablation.at_framing("positive").headline()) != str(ablation.headline())
    for method in (fit.influence, fit.prior_sensitivity):
        made = method(framing="positive", progress=False)
        whole = fit.contrasts(framing="positive").iloc[0]
        assert made["mean"].iloc[0] == pytest.approx(whole["mean"])


def test_words_of_a_framing_are_those_of_its_prompts() -> None:
    fit = subjects()["plot_words"]
    signed, positive, negative = (
        fit.words(framing=framing).set_index("word")["mean"]
        for framing in ("signed", "positive", "negative")
    )
    # But for the random numbers that each is drawn with.
    both = (positive + negative[positive.index]) / 2
    np.testing.assert_allclose(both, signed[both.index], atol=0.05)
    assert fit.words().equals(fit.words(framing="signed"))


def test_a_framing_is_kept_with_a_saved_fit_and_said_in_reports(tmp_path: Any) -> None:
    fit = subjects()["plot_forest"]
    view = fit.focused(framing="positive")
    view.save(tmp_path / "fit.nc")
    again = valuebias.load(tmp_path / "fit.nc")
    assert str(again.headline()) == str(view.headline())
    page = fit.report(tmp_path / "report.md", framing="positive", progress=False)
    text = page.read_text(encoding="utf-8")
    assert "lean under positive prompts" in text
    # There are negative ones as well.
    assert "All prompts here are positive" not in text
    assert "These are the positive prompts" in text
    assert fit.focused(framing="positive").focused(framing="signed").focus.framing is None


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_of_prompts_of_one_framing_there_is_nothing_else_to_ask() -> None:
    scores = subjects()["plot_ranks"]
    positive = scores.isel(prompt=(scores["framing"] == "positive").values)
    fit = valuebias.fit(positive, draws=60, tune=150, chains=2, seed=1, progress=False)
    for framing in ("signed", "positive"):
        assert str(fit.headline(framing=framing)) == str(fit.headline())
    with pytest.raises(ValueBiasError, match=r"no framing 'negative'\. .*Known: 'signed', 'pos"):
        fit.headline(framing="negative")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda fit: fit.plot("ppc", pair=("Alder", "Birch")), r"'ppc' takes no pair=.*figsize"),
        (lambda fit: fit.plot("words", ax=empty().subplots()), r"'words' takes no ax="),
        (lambda fit: fit.plot("forest", framing=3), r"no framing 3"),
        (lambda fit: fit.contrasts(pair="Alder"), r"pair must be two different levels"),
        (lambda fit: fit.headline(contrast=("agency", "agency")), r"name two categories"),
    ],
)
def test_what_cannot_be_asked_is_explained(make: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        make(subjects()["plot_forest"])


def test_the_fits_own_method_passes_everything_on() -> None:
    fit: Any = subjects()["plot_forest"]
    assert isinstance(fit.data, xr.Dataset)
    figure = empty()
    axes = figure.subplots()
    asked = {"pair": ("Alder", "Birch"), "framing": "negative", "contrast": ("agency", "communion")}
    assert fit.plot(ax=axes, **asked) is figure
    assert "sign turned" in axes.get_xlabel()
    assert tuple(fit.plot("trace", figsize=(8, 9)).get_size_inches()) == (8, 9)
    ablation: Any = subjects()["plot_gaps"]
    assert ablation.plot("gaps", framing="positive", ax=axes) is figure
    assert "positive" in axes.get_ylabel()


def test_a_report_looks_the_same_whatever_the_users_settings(tmp_path: Any) -> None:
    fit = subjects()["plot_forest"]

    def written(name: str) -> str:
        text = fit.report(tmp_path / name, progress=False).read_text(encoding="utf-8")
        return re.sub(r"\d\d:\d\d UTC", "", text)  # the minute may change in between

    plain = written("plain.html")
    with style.context("dark_background"), mpl.rc_context({"font.size": 20, "figure.dpi": 30}):
        other = written("other.html")
    assert other == plain
