"""A fit of scores whose names are out to do harm, and its report in every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias.datasets.simulate import simulate
from valuebias.fitting.result import Fit
from valuebias.report import write_report

HOSTILE_WORDS = (
    "<script>alert(1)</script>",
    "=cmd()",
    r"\input{x}",
    "\U0001f600",
    "\u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645",
    "$x$",
    "&amp;",
    "a|b",
    "two\nlines",
    "`tick`",
    "\ud83d",
    "\u202eoverride",
    "-1+1",
    "_under_ *star* [link](javascript:alert(1))",
    "\u4e2d\u6587",
    "\"quoted\" 'text'",
    "{{ 7 * 7 }}<< 7 >>{% raw %}",
    "'; --,,~^#%",
    "\x1b[31mred",
    "</svg><img src=x onerror=alert(2)>",
)
HOSTILE_FAMILIES = ("<b>Gem$ma</b>", r"Lla|ma_%\&")
HOSTILE_MODELS = ("@SUM(A1)", "org/<i>one</i>", "=LINK(1)", "a_b^c~d#e", r"$\alpha$", "x" * 80)
HOSTILE_BASES = ("=HYPERLINK(1)", "<u>base</u>", "a|b_$c$", r"\input{y}")


def _hostile_dataset() -> xr.Dataset:
    """Give 6 models of 2 families, 8 prompts and 26 words, named as above."""
    ds = simulate(
        n_models={"A": [2, 1], "B": [2, 1]},
        n_prompts=8,
        n_words={"agency": 12, "communion": 14},
        effects={"A": 0.3, "B": -0.3},
        seed=11,
    )
    # Numpy's own text: pandas' refuses a lone surrogate.
    words = ds["response"].to_numpy().astype("U80")
    words[: len(HOSTILE_WORDS)] = HOSTILE_WORDS
    family = np.repeat(np.array(HOSTILE_FAMILIES), 3)
    number = np.unique(ds["base"].to_numpy(), return_inverse=True)[1]
    base = np.array(HOSTILE_BASES)[number]
    return ds.assign_coords(
        response=words,
        model=np.array(HOSTILE_MODELS),
        family=("model", family),
        base=("model", base),
    )


@pytest.fixture(scope="session")
def hostile_words() -> tuple[str, ...]:
    """Give words that would run as a script, a formula or a command where they are not escaped."""
    return HOSTILE_WORDS


@pytest.fixture(scope="session")
def hostile_fit() -> Fit:
    """Give a fit of too few draws, so that it does not converge and has to say so."""
    fit = valuebias.fit(_hostile_dataset(), draws=100, tune=200, chains=2, seed=3, progress=False)
    assert isinstance(fit, Fit)
    return fit


@pytest.fixture(scope="session")
def hostile_reports(hostile_fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with report.html, report.md, report.tex and the folder tables/."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("report.html", "report.md", "report.tex", "tables/"):
        write_report(hostile_fit, f"{folder}/{name}")
    return folder
