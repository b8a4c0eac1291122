"""A fit that holds itself to its preregistration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning, simulate
from valuebias.analysis.design.priors import Prior
from valuebias.posterior.prereg import describe_registration, judge, read_prereg

SETTINGS = {"draws": 300, "tune": 200, "chains": 2, "seed": 1, "progress": False}
REGISTERED = """formula: ~ family
outcome: rank
contrast: [communion, agency]
pair: [Birch, Alder]
rope: 2.5
decision: p_positive >= 0.9 and p_rope < 0.5
"""


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    effects = {"Alder": 0.6, "Birch": -0.6}
    return simulate(
        n_models={"Alder": 4, "Birch": 4}, n_prompts=4, n_words=20, effects=effects,
        sd={"word_family": 0.1}, seed=1,
    )  # fmt: skip


@pytest.fixture
def registered(tmp_path: Path) -> Path:
    path = tmp_path / "prereg.yaml"
    path.write_text(REGISTERED, encoding="utf-8")
    return path


def test_what_was_registered_is_what_is_fitted(
    scores: xr.Dataset, registered: Path, tmp_path: Path
) -> None:
    fit = valuebias.fit(scores, prereg=registered, **SETTINGS)  # type: ignore[call-overload,arg-type]
    plain = valuebias.fit(scores, outcome="rank", contrast=("communion", "agency"), **SETTINGS)  # type: ignore[call-overload,arg-type]
    row = fit.contrasts().iloc[0]
    assert (row["name"], row["category"]) == ("Birch − Alder", "communion − agency")
    assert row["mean"] == pytest.approx(-plain.contrasts().loc[0, "mean"])
    assert fit.contrasts().attrs["rope"] == 2.5
    text = str(fit.headline())
    assert "The registered rule, p_positive >= 0.9 and p_rope < 0.5, is met." in text
    assert "departs" not in text
    loaded = valuebias.load(fit.save(tmp_path / "fit.nc"))
    assert str(loaded.headline()) == text
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "It keeps to that." in report


def test_departures_are_said_first(scores: xr.Dataset, registered: Path, tmp_path: Path) -> None:
    with pytest.warns(ValueBiasWarning, match="departs from its preregistration"):
        fit = valuebias.fit(
            scores,
            outcome="z",
            base=None,
            prereg=registered,
            **SETTINGS,  # type: ignore[call-overload,arg-type]
        )
    assert fit.settings["outcome"] == "z"
    text = str(fit.headline())
    assert "This fit departs from its preregistration: outcome is 'z'" in text
    assert text.index("departs") < text.index("Models of")
    assert "registered was 'rank'" in text
    assert "base is None, which was not registered" in text
    assert "rope is 0.05 of the outcome's SD, registered was 2.5 ranks" in text
    assert fit.contrasts().attrs["rope"] == pytest.approx(0.05 * fit.problem.crossing.scale)
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "The fit departs from that: outcome is 'z'" in report
    assert "pair ['Birch', 'Alder'], rope 2.5, decision 'p_positive" in describe_registration(fit)


def test_a_rule_that_is_not_met_is_said(scores: xr.Dataset) -> None:
    rule = {"decision": "p_direction >= 0.9 and mean < 0"}
    fit = valuebias.fit(scores, prereg=rule, **SETTINGS)  # type: ignore[call-overload,arg-type]
    assert "mean < 0, is not met." in str(fit.headline())


def test_the_rule_is_judged_on_the_registered_question(scores: xr.Dataset, tmp_path: Path) -> None:
    """Another question in front of the fit leaves its verdict as it is, and is said."""
    rule = "p_positive >= 0.9"
    asked = {"pair": ["Birch", "Alder"], "contrast": ["agency", "communion"], "decision": rule}
    fit = valuebias.fit(scores, prereg=asked, **SETTINGS)  # type: ignore[call-overload,arg-type]
    assert f"The registered rule, {rule}, is not met." in str(fit.headline())
    as_registered = f"{rule}, judged on Birch − Alder in agency − communion as registered, is not"
    views = {
        "Alder − Birch instead of Birch − Alder": fit.focused(pair=("Alder", "Birch")),
        "communion − agency instead of": fit.focused(contrast=("communion", "agency")),
        "positive prompts instead of all": fit.focused(framing="positive"),
    }
    for departs, view in views.items():
        assert (view.contrasts().loc[0, "mean"] > 0) == ("prompts" not in departs)
        assert as_registered in str(view.headline())
        assert departs in describe_registration(view)
        assert "It keeps to that" not in describe_registration(view)
    back = views["communion − agency instead of"].focused(contrast={"agency": 2, "communion": -2})
    assert "instead of" in describe_registration(back)
    view = views["Alder − Birch instead of Birch − Alder"]
    loaded = valuebias.load(view.save(tmp_path / "view.nc"))
    assert as_registered in str(loaded.headline())
    said = describe_registration(fit)
    assert said.endswith(f"pair ['Birch', 'Alder'], decision '{rule}'. It keeps to that.")


@pytest.mark.once
def test_a_rule_is_judged_without_values_that_a_view_sets(scores: xr.Dataset) -> None:
    sized = scores.assign_coords(n_params=("model", [1e9, 2e9, 4e9, 8e9] * 2))
    registered = {"formula": "~ family * log10(n_params)", "decision": "p_positive > 0.5"}
    fit = valuebias.fit(sized, prereg=registered, **SETTINGS | {"draws": 50})  # type: ignore[call-overload]
    probability = float((fit.contrast_draws[..., 0] > 0).mean())
    view = fit.focused(at={"n_params": 1e12})
    other = float((view.contrast_draws[..., 0] > 0).mean())
    assert other != probability
    exact = {**fit.settings["prereg"], "decision": f"p_positive = {probability!r}"}
    exact["decision"] = f"p_positive >= {probability!r} and p_positive <= {probability!r}"
    view.settings = {**view.settings, "prereg": exact}
    assert "judged on Alder − Birch in agency − communion as registered, is met" in judge(view)
    assert "models with n_params = 1e+12 instead of all" in describe_registration(view)


@pytest.mark.once
def test_what_is_given_counts_also_where_it_is_a_default(scores: xr.Dataset) -> None:
    quick = SETTINGS | {"draws": 10, "tune": 10}
    registered = {"outcome": "rank", "words": "~ length", "base": "family", "spread": False}
    given = {"outcome": "normal", "words": None, "base": "base", "spread": None}
    with pytest.warns(ValueBiasWarning, match="departs from its preregistration"):
        fit = valuebias.fit(scores, prereg=registered, **given, **quick)  # type: ignore[call-overload]
    assert {name: fit.settings[name] for name in given} == given
    departures = fit.settings["prereg"]["departures"]
    assert [text.split(" is ")[0] for text in departures] == [*sorted(
        given, key=["outcome", "words", "base", "spread"].index
    )]  # fmt: skip
    assert "outcome is 'normal', registered was 'rank'" in departures


@pytest.mark.once
def test_two_ways_to_write_the_same_are_no_departure(scores: xr.Dataset) -> None:
    registered = {"formula": "~family", "contrast": ["agency", "communion"], "prior": {}}
    fit = valuebias.fit(
        scores,
        "~ family",
        contrast={"agency": 1, "communion": -1},
        prior=Prior(),
        base="base",
        prereg=registered,
        **SETTINGS | {"draws": 10, "tune": 10},  # type: ignore[call-overload,arg-type]
    )
    assert fit.settings["prereg"]["departures"] == []


@pytest.mark.once
def test_a_rule_without_a_pair_says_that_the_data_chose_it() -> None:
    ds = simulate(n_models={"A": 2, "B": 2, "C": 2}, n_prompts=4, n_words=10, seed=1)
    with pytest.warns(ValueBiasWarning, match="no pair was registered"):
        valuebias.fit(
            ds,
            prereg={"decision": "p_positive > 0.9"},
            **SETTINGS | {"draws": 10, "tune": 10},  # type: ignore[call-overload,arg-type]
        )


def test_saying_the_same_again_is_no_departure(scores: xr.Dataset, registered: Path) -> None:
    fit = valuebias.fit(
        scores,
        "~ family",
        outcome="rank",
        prereg=registered,
        **SETTINGS,  # type: ignore[call-overload,arg-type]
    )
    assert fit.settings["prereg"]["departures"] == []


@pytest.mark.parametrize(
    "rule",
    ["100 * p_positive >= 97.5", "mean / (upper - lower) > 0.5", "sqrt(p_direction - 0.5) > 0.6",
     "p_positive >= 1 and p_rope <= 0", "lower > 2.5"],
)  # fmt: skip
def test_rules_that_each_result_can_be_judged_by_are_taken(rule: str) -> None:
    assert read_prereg({"decision": rule}).decision == rule


def test_a_result_that_a_rule_has_no_value_for_is_neither(scores: xr.Dataset) -> None:
    quick = SETTINGS | {"draws": 10, "tune": 10}
    fit = valuebias.fit(scores, prereg={"decision": "mean > -9"}, **quick)  # type: ignore[call-overload]
    assert "mean > -9, is met." in judge(fit)
    # As an earlier version let it be registered.
    old = {**fit.settings["prereg"], "decision": "log(mean - 9) > 0"}
    fit.settings = {**fit.settings, "prereg": old}
    assert "cannot be judged, as log(mean - 9) > 0 is not finite." in judge(fit)


def test_numbers_of_numpy_are_kept_as_numbers(scores: xr.Dataset, tmp_path: Path) -> None:
    prior = {"mean": np.float32(2), "sd": {"word": np.int64(1)}}
    registered = {
        "prior": prior, "spread": np.bool_(False), "rope": np.float32(0.5),
        "contrast": {"agency": np.float32(1), "communion": np.int64(-1)},
    }  # fmt: skip
    quick = SETTINGS | {"draws": 10, "tune": 10}
    fit = valuebias.fit(scores, prereg=registered, **quick)  # type: ignore[call-overload]
    loaded = valuebias.load(fit.save(tmp_path / "fit.nc"))
    kept = loaded.settings["prereg"]["settings"]
    assert kept["prior"] == {"mean": 2.0, "sd": {"word": 1}}
    assert (kept["spread"], kept["rope"]) == (False, 0.5)
    plain = valuebias.fit(scores, prior=prior, **quick)  # type: ignore[call-overload]
    assert valuebias.load(plain.save(tmp_path / "plain.nc")).prior == loaded.prior


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "maps settings to values"),
        ([], "path of a YAML file"),
        (3, "path of a YAML file"),
        ({"spread": "yes"}, "spread must be True, False or None"),
        ({"formul": "~ family"}, "Did you mean 'formula'"),
        ({"pair": "Alder"}, "two levels"),
        ({"rope": -1}, "zero or more"),
        ({"decision": "p_positive"}, "must compare"),
        ({"decision": "p_positiv > 0.9"}, "Did you mean 'p_positive'"),
        ({"decision": "open('x') > 0"}, "not among the functions"),
        ({"decision": ["p_positive > 0.9"]}, "decision of the preregistration is text"),
        ({"decision": "poly(mean, 2) > 0"}, "learns from several rows"),
        ({"decision": "p_positive > 0.9 and center(mean) >= 0"}, "learns from several rows"),
        ({"decision": "scale(mean) > 1"}, "learns from several rows"),
        ({"decision": "bs(mean, 3) > 0"}, "learns from several rows"),
        ({"decision": "mean / 0 > 1"}, "not finite for some results"),
        ({"decision": "log(mean) > 0"}, "not finite for some results"),
        ({"decision": "mean > 1e308 * 10"}, "not finite for some results"),
        ({"decision": "1 > 0"}, "same for all results"),
        ({"decision": "p_rope >= 0"}, "met by every result"),
        ({"decision": "p_direction >= 0.5"}, "met by every result"),
        ({"decision": "upper > lower"}, "met by every result"),
        ({"decision": "lower > 0 and mean >= lower"}, "met by every result"),
        ({"decision": "lower > upper"}, "met by no result"),
        ({"decision": "p_direction < 0.5"}, "met by no result"),
        ({"decision": "upper < 0 and lower > 0"}, "exclude one another"),
        ({"decision": "mean - mean >= 0"}, "same for all results"),
        ({"decision": "p_positive >= 97.5"}, "probabilities lie between 0 and 1"),
        ({"decision": "-0.1 < p_rope"}, "probabilities lie between 0 and 1"),
        ({"decision": "mean > 0 # or not"}, "'#' outside of backticks"),
        ({"rope": int("9" * 350)}, "zero or more"),
        ({"rope": float("inf")}, "zero or more"),
        ({"base": ["a"]}, r"base=\['a'\] is not a coordinate"),
        ({"contrast": [["agency"], "communion"]}, "contrast must be a pair of categories"),
        ({"contrast": {"agency": 10**400, "communion": -(10**400)}}, "sum to zero"),
        ({"prior": {"mean": 10**400}}, "must be a positive number"),
        ({"prior": {"sd": {3: 1.0}}}, "prior sd names 3"),
        ({"pair": ["Alder", "Brich"]}, "Did you mean 'Birch'"),
    ],
)
def test_bad_registrations_are_errors(scores: xr.Dataset, wrong: object, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.fit(scores, prereg=wrong, **SETTINGS | {"draws": 10, "tune": 10})  # type: ignore[call-overload,arg-type]
