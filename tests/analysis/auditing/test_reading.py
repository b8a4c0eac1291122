"""Models that are read at different places: named in audits, fits and reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasWarning
from valuebias.analysis.auditing.reading import DIFFERENT, read_before_end, reading_notes
from valuebias.datasets.simulate import simulate

ANSWER, END = "end of answer", "end of conversation"


def models(*places: Any, families: str = "AABB") -> pd.DataFrame:
    table = {"family": list(families), "read_at": places, "read_token": ["", "'x' (7)", "", ""]}
    return pd.DataFrame(table, index=list("abcd"))


@pytest.mark.parametrize(
    "places",
    [
        (END, END, END, END),
        (ANSWER, ANSWER, ANSWER, ANSWER),
        # What is not known is no difference.
        (END, "", float("nan"), END),
        (END, END, "by its own code", END),
        (END, f"{END}; of 9 answers, 1 of them {ANSWER}", END, END),
    ],
)
def test_nothing_to_say(places: tuple[Any, ...]) -> None:
    assert reading_notes(models(*places)) == []


def test_datasets_that_do_not_say() -> None:
    silent = models(END, ANSWER, END, END).drop(columns=["read_at"])
    assert reading_notes(silent) == []
    assert read_before_end(silent) == ""


def test_families_read_at_different_places_reach_the_headline() -> None:
    (note,) = reading_notes(models(ANSWER, ANSWER, END, END))
    assert note.code == DIFFERENT
    assert "at the end of the answer: a, b; at the end of the conversation: c, d" in note.text
    assert note.headline == (
        "Rewards are read at different places: those of A at the end of the answer, of B at the "
        "end of the conversation."
    )


def test_models_within_families_do_not() -> None:
    (note,) = reading_notes(models(ANSWER, END, END, ANSWER))
    assert note.headline == ""


def test_the_token_is_named_for_each_model_that_is_not_read_at_the_end() -> None:
    assert read_before_end(models(END, END, END, END)) == ""
    said = read_before_end(models(ANSWER, "1 token before the end", "by its own code", END))
    assert said == (
        "Rewards were read at these places: a at the end of the answer; b 1 token before the end, "
        "'x' (7); c where its own code reads it; the others at the end of the conversation."
    )


def dataset() -> xr.Dataset:
    made = simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=30, seed=1)
    return made.assign_coords(
        read_at=("model", [ANSWER, ANSWER, END, END]), read_token=("model", ["", "", "x", "x"])
    )


def test_audits_say_so() -> None:
    found = valuebias.audit(dataset()).findings.set_index("check")
    assert found.loc["reading", "severity"] == "warning"
    assert "simulated/a-1" in found.loc["reading", "detail"]


def test_fits_and_their_reports_say_so(tmp_path: Path) -> None:
    with pytest.warns(ValueBiasWarning, match="read at different places"):
        fit = valuebias.fit(dataset(), draws=100, tune=100, chains=2, seed=1, progress=False)
    assert DIFFERENT in [note.code for note in fit.notes]
    from valuebias.report.methods import methods_text

    assert "simulated/a-1 at the end of the answer" in methods_text(fit)[0]
