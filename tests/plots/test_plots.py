from __future__ import annotations

import io
import warnings
from contextlib import nullcontext, suppress
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.cbook import is_math_text
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

import valuebias
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError
from valuebias.fitting.result import Fit
from valuebias.plots import KINDS, forest, plot, specs
from valuebias.plots.labels import drawable, shortened, visible
from valuebias.posterior.compare import compare


def fitted(ds: xr.Dataset, formula: str = "~ family", **settings: object) -> Fit:
    fit = valuebias.fit(
        ds, formula, draws=60, tune=150, chains=2, seed=1, progress=False, **settings
    )
    assert isinstance(fit, Fit)
    return fit


@pytest.fixture(scope="module")
def five() -> Fit:
    """Give a fit of three families and five categories, some words in two."""
    words = dict.fromkeys(("care", "fairness", "loyalty", "authority", "sanctity"), 6)
    models = {"A": 3, "B": 2, "C": 3}
    return fitted(simulate(n_models=models, n_prompts=6, n_words=words, overlap=0.2, seed=5))


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    found = figure.findobj(Text)
    return [t.get_text() for t in found if isinstance(t, Text) and t.get_text()]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_hostile_names_as_they_are(hostile_fit: Fit, kind: str) -> None:
    before = dict(mpl.rcParams)
    figure = plot(hostile_fit, kind)
    assert isinstance(figure, Figure)
    # A dollar sign must not start a formula, nor a missing glyph warn (warnings are errors).
    assert not [text for text in texts(figure) if is_math_text(text)]
    after = dict(mpl.rcParams)
    # Matplotlib itself settles on a backend when somebody first asks.
    assert {k: after[k] for k in after if k != "backend"} == {
        k: before[k] for k in before if k != "backend"
    }


@pytest.mark.parametrize("kind", ["forest", "families", "words", "specs"])
def test_three_families_five_categories(five: Fit, kind: str) -> None:
    figure = plot(five, kind)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert len(drawn) == {"forest": 5, "families": 10, "words": 2, "specs": 10}[kind]


KINDS_OF_FIT: dict[str, dict[str, object]] = {
    "words": {"words": "~ rarity"},
    "interaction": {"formula": "~ family * size"},
    "no family": {"formula": "~ 1"},
    "a number alone": {"formula": "~ size"},
    "groups": {"formula": "~ family + (1 | recipe)"},
    "heavy tails": {"family": "student", "heavy_tails": ("words", "models")},
    "own residuals": {"residual": "model"},
    "one framing": {"framing": "negative"},
    "weights": {"contrast": {"x": 1.0, "y": -0.5, "z": -0.5}},
}


@pytest.mark.once
@pytest.mark.parametrize("of", KINDS_OF_FIT)
def test_every_figure_and_report_of_every_kind_of_fit(of: str, tmp_path: Path) -> None:
    ds = simulate(
        n_models={"A": 3, "B": 3}, n_prompts=4, n_words={"x": 6, "y": 6, "z": 6}, seed=1
    ).assign_coords(
        size=("model", [1.0, 2.0, 3.0, 1.5, 2.5, 3.5]),
        recipe=("model", list("ababab")),
        rarity=("response", np.tile([1.0, 2.0, 4.0], 6)),
    )
    settings = dict(KINDS_OF_FIT[of])
    framing = settings.pop("framing", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.ValueBiasWarning)
        made = fitted(ds, str(settings.pop("formula", "~ family")), **settings)
        made = made if framing is None else made.focused(framing=str(framing))
        for kind in KINDS:
            # Some have no pair of families, no two categories or no quick refits, and say so.
            always = kind in ("forest", "ppc", "trace", "sensitivity")
            with nullcontext() if always else suppress(ValueBiasError):
                assert plot(made, kind).axes
        made.report(tmp_path / "report.html")
    assert made.headline().text.split(":")[0][:40] in (tmp_path / "report.html").read_text()


def test_misspelt_kind(hostile_fit: Fit) -> None:
    with pytest.raises(ValueBiasError, match="Did you mean 'forest'"):
        plot(hostile_fit, "forrest")


def test_forest_shows_the_numbers(five: Fit) -> None:
    axes = forest.plot_forest(five).axes[1]
    dots = {float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o"}  # type: ignore[index,arg-type]
    models = five.models()
    shown = models[(models["framing"] == "signed") & (models["category"] == "fairness − others")]
    assert len(shown) == 8
    assert set(shown["mean"]) <= dots


def test_families_keep_their_colour(five: Fit) -> None:
    def by_label(figure: Figure) -> dict[str, object]:
        labels = figure.axes[0].get_yticklabels()
        return {label.get_text(): label.get_color() for label in labels}

    found = by_label(plot(five, "forest"))
    assert len({found[f"{name}: mean"] for name in "ABC"}) == 3
    two = by_label(plot(fitted(five.data.isel(model=slice(0, 5))), "forest"))
    assert two["A: mean"] == found["A: mean"]


@pytest.mark.parametrize("kind", ["families", "words", "specs"])
def test_without_groups_the_reason_is_given(simulated: xr.Dataset, kind: str) -> None:
    fit = fitted(simulated, "~ 1")
    assert "all models: mean" in texts(plot(fit, "forest"))
    with pytest.raises(ValueBiasError, match="'~ 1'"):
        plot(fit, kind)


def test_one_framing(simulated: xr.Dataset) -> None:
    positive = simulated.isel(prompt=np.flatnonzero(simulated["framing"].to_numpy() == "positive"))
    with pytest.warns(valuebias.ValueBiasWarning, match="framing"):
        fit = fitted(positive)
    for kind in ("forest", "families", "words", "trace", "specs"):
        assert plot(fit, kind).axes


def test_specs_have_one_sign_and_unit(simulated: xr.Dataset) -> None:
    fit = fitted(simulated, contrast=("communion", "agency"))
    found = compare(fit)
    table = found.headline().set_index("spec")
    paper = valuebias.classical(simulated).contrasts()
    same = paper[(paper["name"] == "Gemma − Llama") & (paper["framing"] == "signed")]
    first = same.drop_duplicates("spec").set_index("spec")
    # The paper's tables have agency − communion; this fit asks for the reverse.
    for spec in ("random slopes", "random intercept"):
        assert table.loc[spec, "estimate"] == pytest.approx(-first.loc[spec, "estimate"])
        assert table.loc[spec, "lower"] == pytest.approx(-first.loc[spec, "upper"])
    # Gemma was given a lean of +0.3 towards agency and Llama one of −0.3, of 27 words.
    assert table["estimate"].max() < 0
    assert table["estimate"].between(-12, -1).all()
    assert (table["lower"] < table["estimate"]).all()
    assert specs.plot_specs(fit, found).axes


def test_specs_on_ranks_do_not_refit(simulated: xr.Dataset) -> None:
    fit = fitted(simulated, outcome="rank")
    own = fit.contrasts().iloc[0]
    row = compare(fit).table.iloc[0]
    assert row["spec"] == "hierarchical"
    # The same draws, summed in another order.
    for name, same in (("estimate", "mean"), ("lower", "lower"), ("upper", "upper")):
        assert row[name] == pytest.approx(own[same], rel=1e-12)


def test_visible() -> None:
    assert visible("caf\u00e9 \U0001f600") == "caf\u00e9 \U0001f600"
    assert visible("a\nb\ud800\u202e\x00") == r"a\nb\ud800\u202e\x00"


def test_shortened() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert len(shortened("x" * 300, 48)) == 48


def test_drawable() -> None:
    assert drawable("$x$") == r"\$x\$"
    assert not is_math_text(drawable(r"\$x$ and $"))
    assert drawable("\u4e2d") == "U+4E2D"
    assert drawable("\ud83d") == r"\ud83d"
    turned = drawable("ab \u05d0\u05d1\u05d2")
    assert turned in ("ab \u05d2\u05d1\u05d0", "ab \u05d0\u05d1\u05d2")


def test_notebooks_show_the_picture() -> None:
    figure = valuebias.plots.plot_ranks(valuebias.datasets.load("simulated"))
    # What IPython looks for.
    assert imread(io.BytesIO(figure._repr_png_())).std() > 0.01
