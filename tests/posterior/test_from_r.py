"""What R reads of a fit, by the code of the guide: its numbers are those of the fit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image as mpimg
import numpy as np
import pandas as pd
import pytest

import valuebias

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "from-r.md"
pytestmark = [pytest.mark.r, pytest.mark.once]


def blocks(language: str) -> list[str]:
    text = GUIDE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def needs(*packages: str) -> None:
    """Skip where R or one of its packages is missing."""
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed")
    for package in packages:
        if rscript(f"library({package})", check=False).returncode:
            pytest.skip(f"R has no package {package} (Debian: r-cran-{package})")


def rscript(code: str, *, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", code],
        capture_output=True, text=True, check=False, env={**os.environ, **variables},
    )  # fmt: skip
    assert not (check and done.returncode), done.stderr
    return done


def r_code(*packages: str) -> str:
    """Join the guide's blocks that need no other packages than these."""
    return "\n".join(
        block for block in blocks("r") if set(re.findall(r"library\((\w+)\)", block)) <= {*packages}
    )


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the Python of the guide, and give its names and the folder."""
    needs()
    folder = tmp_path_factory.mktemp("guide")
    names: dict[str, Any] = {"folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in blocks("python"):
            exec(code, names)  # noqa: S102 - our own guide
    return names


@pytest.fixture
def folder(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(names["folder"])
    return Path(names["folder"])


def test_from_scores_to_a_plot(names: dict[str, Any], folder: Path) -> None:
    needs("ncdf4")
    rscript(r_code("ncdf4") + '\nwrite.csv(estimands, "back.csv", row.names = FALSE)')
    assert (folder / "leans.png").read_bytes().startswith(b"\x89PNG")
    back, table = pd.read_csv("back.csv"), names["fit"].contrasts()
    for name in ("mean", "lower", "upper", "p_direction", "rhat"):
        np.testing.assert_allclose(back[name], table[name], rtol=1e-12)
    assert back.loc[0, ["kind", "name", "category"]].tolist() == [
        "family difference", "Alder - Birch", "agency - communion",
    ]  # fmt: skip


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_rs_posterior_knows_the_chains(names: dict[str, Any], folder: Path, locale: str) -> None:
    needs("ncdf4", "posterior")
    measured = """
    stopifnot(nchains(draws) == 4, ndraws(draws) == 4000)
    label <- "family difference | Alder - Birch | signed | agency - communion"
    for (all in list(draws, as_draws_array(drawn))) {
      one <- extract_variable_matrix(all, label)
      cat(format(c(mean(one), rhat(one), ess_bulk(one)), digits = 12), "\\n")
    }
    """
    done = rscript(f"{r_code('ncdf4', 'posterior')}\n{measured}", LC_ALL=locale)
    row = names["fit"].contrasts().loc[0, ["mean", "rhat", "ess_bulk"]].to_numpy(float)
    wide, saved = (np.array(line.split(), float) for line in done.stdout.splitlines()[-2:])
    np.testing.assert_allclose(wide, row, rtol=1e-6)
    np.testing.assert_allclose(saved, row, rtol=1e-4)  # of 32-bit draws


def test_the_package_runs_within_r(names: dict[str, Any], folder: Path) -> None:
    needs("reticulate")
    python = {"RETICULATE_PYTHON": sys.executable}
    if (tried := rscript("reticulate::py_config()", check=False, **python)).returncode:
        pytest.skip(f"R's reticulate cannot load this Python: {tried.stderr.strip()[-200:]}")
    done = rscript(blocks("r")[-1] + "\ncat(dim(wide))", **python)
    fit = names["fit"]
    assert str(fit.headline()) in done.stdout
    assert done.stdout.splitlines()[-1].endswith(f"4000 {len(fit.draws(format='draws_df').T)}")


def test_long_names_of_models_are_whole_in_the_plot(
    names: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("ncdf4")
    monkeypatch.chdir(tmp_path)
    scores = names["scores"]
    long = [f"don/URM-LLaMa-3.1-8B-of-{i}-reward-models-ft" for i in range(scores.sizes["model"])]
    fit = valuebias.fit(
        scores.assign_coords(model=long), draws=50, tune=50, chains=1, seed=1, progress=False
    )
    fit.save("fit.nc")
    rscript(blocks("r")[0])
    image = mpimg.imread("leans.png")[..., :3]
    # What is cut off has ink at the edge.
    assert (image[:, :3] == 1).all()
    assert (image[:, :600] < 0.5).any()
