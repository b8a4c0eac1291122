"""The answer in words: what goes first, what it rests on, and what it does not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias.analysis.notes import Note, as_notes, as_records
from valuebias.datasets.simulate import simulate
from valuebias.fitting.result import Fit
from valuebias.posterior.headline import (
    _interval,
    make_headline,
    prior_flips,
    scale_name,
    verdict_of,
)

SIZE = {
    "n_models": {"Gemma": 3, "Llama": 4},
    "n_prompts": 8,
    "n_words": {"agency": 12, "communion": 15},
    "effects": {"Gemma": 0.8, "Llama": -0.8},
    "seed": 11,
}
SETTINGS = {"draws": 1000, "tune": 400, "chains": 2, "seed": 1, "progress": False}
CLAUSE = "Families differ in base, data and size together"


def fitted(ds: xr.Dataset, formula: str = "~ family") -> Fit:
    fit = valuebias.fit(ds, formula, outcome="raw", **SETTINGS)  # type: ignore[call-overload]
    assert isinstance(fit, Fit)
    return fit


@pytest.fixture(scope="module")
def fit() -> Fit:
    return fitted(simulate(**SIZE))  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["positive", "negative"])
def one_framing(request: pytest.FixtureRequest) -> Fit:
    ds = simulate(**SIZE)  # type: ignore[arg-type]
    chosen = np.flatnonzero(ds["framing"].to_numpy() == request.param)
    with pytest.warns(valuebias.ValueBiasWarning, match="framing"):
        return fitted(ds.isel(prompt=chosen))


@pytest.fixture
def noted(fit: Fit) -> Callable[..., str]:
    """Give the headline of the fit with other notes."""

    def made(*notes: Note) -> str:
        spec = {**fit.settings, "notes": as_records(notes)}
        other = Fit(fit.data, spec, fit.prior, fit.tree, fit.provenance, fit.problem)
        return str(other.headline())

    return made


FIRST = Note("one base a family", "…", "Each family has one base here.", first=True)
THEN = [Note("a", "…", "Note a."), Note("b", "…", "Note b."), Note("c", "…", "Note c.")]
SILENT = Note("d", "Silent.")


def test_what_qualifies_everything_goes_first(noted: Callable[..., str]) -> None:
    text = noted(SILENT, THEN[0], FIRST)
    assert text.startswith("Each family has one base here. Models of the Gemma family")
    assert text.endswith("matters. Note a.")
    assert "Silent" not in text


def test_two_notes_speak_and_the_others_are_counted(noted: Callable[..., str]) -> None:
    text = noted(*THEN, FIRST)
    assert text.startswith("Each family has one base here.")
    assert text.endswith("Note a. And 2 more notes: see fit.notes or the report.")
    assert "Note b." not in text
    assert noted(*THEN[:2]).endswith("Note a. Note b.")
    three = [FIRST, Note("e", "…", "Second.", first=True), Note("f", "…", "Third.", first=True)]
    assert noted(*three).startswith("Each family has one base here. Second. Models of")
    assert noted(*three).endswith("And 1 more note: see fit.notes or the report.")


def test_notes_are_kept_as_records_also_those_of_before() -> None:
    assert as_notes(as_records([FIRST, SILENT])) == [FIRST, SILENT]
    assert as_notes([{"code": "a", "text": "b", "headline": ""}]) == [Note("a", "b")]


def test_families_differ_in_more_than_their_name(fit: Fit) -> None:
    assert CLAUSE in str(fit.headline())
    sized = fitted(fit.data, "~ family + log10(n_params)")
    assert "Families differ in base and data together" in str(sized.headline())
    kind = fit.data.assign_coords(recipe=("model", list("xyxyxyx")))
    for formula in ("~ recipe", "~ 1", "~ log10(n_params)"):
        assert "Families differ" not in str(fitted(kind, formula).headline())


@pytest.mark.parametrize(
    ("p", "verdict"),
    [(0.975, "little doubt"), (0.9749, "suggested"), (0.9, "suggested"), (0.8999, "open")],
)
def test_verdicts(p: float, verdict: str) -> None:
    assert verdict_of(p) == verdict


def test_a_direction_that_no_draw_contradicts_is_a_bound(fit: Fit) -> None:
    row = fit.contrasts().iloc[0]
    assert row["p_direction"] == 1
    assert fit.headline().verdict == "little doubt"
    # 1,000 draws at most: none is surer than one in a thousand.
    assert "The probability that it is positive is above 99." in str(fit.headline())
    assert "100" not in str(fit.headline())


def sensitivity(index: pd.Index, p: list[float], mean: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"p_direction": p, "mean": mean, "median": mean}, index=index)


def test_a_verdict_that_flips_with_the_prior_is_said(fit: Fit) -> None:
    index = pd.MultiIndex.from_product([["all"], [1.0, 0.5, 2.0]], names=["scale", "variable"])
    calm = sensitivity(index, [0.99, 0.98, 0.999], [0.2, 0.2, 0.2])
    assert prior_flips(calm) == []
    assert str(make_headline(fit, calm)) == str(fit.headline())
    flips = sensitivity(index, [0.98, 0.93, 0.6], [0.2, 0.15, -0.1])
    text = str(make_headline(fit, flips))
    assert (
        "That depends on the prior: with all prior scales doubled the sign is the other, and the "
        "data do not settle the direction (60.0%); with all prior scales halved the data suggest "
        "the direction but do not settle it (93.0%)."
    ) in text
    # After the answer, before what families differ in.
    assert text.index("little doubt") < text.index("depends on the prior") < text.index(CLAUSE)


def test_all_scales_are_named_only_where_no_single_one_flips_it() -> None:
    entries = [("all", 1.0), ("all", 2.0), ("base_category", 2.0)]
    index = pd.MultiIndex.from_tuples(entries, names=["scale", "variable"])
    both = prior_flips(sensitivity(index, [0.95, 0.8, 0.85], [0.2, 0.1, 0.12]))
    assert both == [
        "with the prior scale of base_category doubled the data do not settle the direction (85.0%)"
    ]
    together = prior_flips(sensitivity(index, [0.95, 0.8, 0.95], [0.2, 0.1, 0.2]))
    assert together[0].startswith("with all prior scales doubled")


def test_a_flip_names_its_scale(fit: Fit) -> None:
    scales = ["model_category", "base_category", "effect"]
    entries = [("all", 1.0)] + [(scale, f) for scale in scales for f in (0.5, 2.0, 3.0)]
    index = pd.MultiIndex.from_tuples(entries, names=["scale", "variable"])
    p = [0.95, *([0.95] * 3), 0.95, 0.8, 0.7, 0.99, 0.95, 0.95]
    mean = [0.2, *([0.2] * 3), 0.2, 0.15, 0.1, 0.21, 0.2, 0.2]
    table = sensitivity(index, p, mean)
    found = prior_flips(table)
    text = str(make_headline(fit, table))
    assert f"That depends on the prior: {found[0]}; {found[1]}; and 1 more of the scales" in text
    # The largest move first.
    assert [text.split(" the data")[0] for text in found] == [
        "with the prior scale of base_category × 3",
        "with the prior scale of base_category doubled",
        "with the prior scale of effect halved",
    ]
    assert scale_name(("all", 1.0)) == "this fit"


def test_prompts_of_one_framing_sign_nothing(one_framing: Fit) -> None:
    (framing,) = one_framing.problem.crossing.framings
    table = one_framing.contrasts()
    first = {"positive": "positive", "negative": "negative, turned"}[framing]
    assert table["framing"].iloc[0] == first
    assert set(table["framing"]) == {first, framing}
    assert not table.duplicated(["estimand", "name", "framing", "category"]).any()
    # Gemma was given the liking for agency, whichever way it was asked.
    assert table["mean"].iloc[0] > 0
    text = str(one_framing.headline())
    assert "Models of the Gemma family value agency over communion more" in text
    assert f"lean under {framing} prompts" in text
    assert ("sign turned" in text) is (framing == "negative")
    assert f"All prompts are {framing}, so that a preference cannot be told from" in text
    assert "signed" not in repr(one_framing)
    leans = table[table["estimand"] == "family lean"].set_index(["framing", "name"])["mean"]
    sign = {"positive": 1, "negative": -1}[framing]
    np.testing.assert_allclose(leans[first], sign * leans[framing])
    words = one_framing.words().set_index("word")["mean"]
    agency = one_framing.data["membership"].sel(category="agency").to_numpy()
    names = one_framing.data["response"].to_numpy()
    assert words[names[agency]].mean() > words[names[~agency]].mean()


def test_figures_of_one_framing_say_which(one_framing: Fit) -> None:
    (framing,) = one_framing.problem.crossing.framings
    for kind in ("forest", "families", "words", "trace"):
        figure = one_framing.plot(kind)
        said = [t.get_text() for t in figure.findobj(match=lambda a: hasattr(a, "get_text"))]
        assert not [text for text in said if "signed" in text]
        assert any(framing in text for text in said)


# Names that the package itself puts together, or that mean something to what it writes.
ODD = [
    ("A − 2", "Birch"),
    ("x lean", "y difference"),
    ("family difference", "predicted lean, these words"),
    ("a, b | c", "[d] (e) − [f]"),
    ("−", "difference in slope"),
]


@pytest.mark.once
@pytest.mark.parametrize("names", ODD, ids=str)
def test_names_are_never_taken_apart(names: tuple[str, str], tmp_path: Path) -> None:
    """A family, or a category, may be called anything, also what an estimand is called."""
    small = {"n_models": {"Gemma": 2, "Llama": 2}, "n_prompts": 4}
    ds = simulate(**{**SIZE, **small, "n_words": {"agency": 5, "communion": 6}})  # type: ignore[arg-type]
    family = np.where(ds["family"] == "Gemma", *names)
    ds = ds.assign_coords(family=("model", family), category=[names[1], names[0]])
    few = {**SETTINGS, "draws": 300, "tune": 150}
    fit = valuebias.fit(ds, outcome="raw", **few)  # type: ignore[call-overload]
    first, second = sorted(names)
    row = fit.contrasts().iloc[0]
    assert (row["form"], row["variable"]) == ("difference", "family")
    assert (row["first"], row["second"]) == (first, second)
    assert (row["over"], row["against"]) == (names[1], names[0])
    more = "more" if row["mean"] > 0 else "less"
    said = f"odels of the {first} family value {names[1]} over {names[0]} {more} than those of "
    assert said + second in str(fit.headline())
    assert fit.models()["name"].nunique() == 4
    assert fit.words().attrs["pair"] == (first, second)
    for kind in ("forest", "families", "words"):
        fit.plot(kind)
    page = fit.report(tmp_path / "fit.md").read_text(encoding="utf-8")
    assert "compares no groups" not in page


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_where_the_prior_alone_sets_the_width_nothing_would_have_been_found() -> None:
    power = "would have been found with a probability of 80%"
    null = {**SIZE, "n_models": {"Gemma": 3, "Llama": 3}, "effects": {}, "seed": 5}
    assert power in str(fitted(simulate(**null)).headline())  # type: ignore[arg-type]
    single = {**null, "n_models": {"Gemma": 1, "Llama": 1}}
    few = fitted(simulate(**single))  # type: ignore[arg-type]
    headline = few.headline()
    assert headline.verdict == "open"
    assert power not in str(headline)
    assert str(headline).startswith(
        "The formula has as many columns as there are models, so that the prior alone says how "
        "much models of a kind differ, and how wide intervals are. Whether models of"
    )
    ds = simulate(**null)  # type: ignore[arg-type]
    one_base = ds.assign_coords(base=("model", ds["family"].to_numpy()))
    alike = fitted(one_base).headline()
    assert alike.verdict == "open"
    assert power not in str(alike)


def test_what_rounds_to_zero_has_no_sign(fit: Fit) -> None:
    row = fit.contrasts().iloc[0].copy()
    row["lower"], row["upper"] = -0.01, -0.004
    assert _interval(row) == "90% interval −0.01 to 0.00"
    written = valuebias.shown(pd.DataFrame({"mean": [-0.001, 0.001, -0.01], "p_direction": 0.6}))
    assert written["mean"].tolist() == ["0.00", "0.00", "-0.01"]
