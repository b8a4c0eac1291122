"""A fit that holds itself to its preregistration."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning, simulate

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
    assert "base is None, registered was none" in text
    report = fit.report(tmp_path / "report.md", progress=False).read_text(encoding="utf-8")
    assert "It departs from that" in report


def test_a_rule_that_is_not_met_is_said(scores: xr.Dataset) -> None:
    rule = {"decision": "p_direction >= 0.9 and mean < 0"}
    fit = valuebias.fit(scores, prereg=rule, **SETTINGS)  # type: ignore[call-overload,arg-type]
    assert "mean < 0, is not met." in str(fit.headline())


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
    ("wrong", "message"),
    [
        ({}, "maps settings to values"),
        ({"formul": "~ family"}, "Did you mean 'formula'"),
        ({"pair": "Alder"}, "two levels"),
        ({"rope": -1}, "zero or more"),
        ({"decision": "p_positive"}, "must compare"),
        ({"decision": "p_positiv > 0.9"}, "Did you mean 'p_positive'"),
        ({"decision": "open('x') > 0"}, "not among the functions"),
        ({"pair": ["Alder", "Brich"]}, "Did you mean 'Birch'"),
    ],
)
def test_bad_registrations_are_errors(
    scores: xr.Dataset, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.fit(scores, prereg=wrong, **SETTINGS | {"draws": 10, "tune": 10})  # type: ignore[call-overload,arg-type]
