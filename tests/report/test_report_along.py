"""Where rewards were read along answers, a report shows one, token by token."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from along_worlds import read
from typer.testing import CliRunner

import valuebias
from valuebias import Fit, ValueBiasError
from valuebias.cli.app import app
from valuebias.schema.contrast_scores import CONTRAST_DIMS

# Of few items, one of which differs far more than the others.
pytestmark = pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    """Six models, of which the last differs most in the third item."""
    found = read(n_items=6, families=(3, 3)).assign_coords(base=("model", list("abcdef")))
    where = {"model": "org/m5", "item": "q2", "variant": "chosen"}
    found["score"].loc[where] += 60.0
    found["token_reward"].loc[where] += 60.0
    return found


@pytest.fixture(scope="module")
def fit(scores: xr.Dataset) -> Fit:
    return valuebias.fit(
        scores, contrast=("chosen", "rejected"), outcome="raw", seed=1, progress=False
    )


def test_the_page_has_the_strip_of_the_item_that_differs_most(
    fit: Fit, scores: xr.Dataset, tmp_path: Path
) -> None:
    top = fit.items()["item"].iloc[0]
    page = fit.report(tmp_path / "r.html", along=scores, progress=False).read_text("utf-8")
    assert top == "q2"
    assert "An answer, token by token" in page
    assert "read by org/m5" in page
    assert "Nine million live there." in page
    assert "Heat strip: the answer &#39;chosen&#39; to the item &#39;q2&#39;" in page
    plain = fit.report(tmp_path / "plain.html", progress=False).read_text("utf-8")
    assert "token by token" not in plain
    assert page.count("<svg") == plain.count("<svg") + 1


def test_the_table_is_that_of_the_sentences(fit: Fit, scores: xr.Dataset, tmp_path: Path) -> None:
    folder = fit.report(tmp_path / "tables", along=scores, progress=False)
    table = pd.read_csv(folder / "along.csv")
    expected = valuebias.along(scores).sentences(item="q2", variant="chosen", model="org/m5")
    np.testing.assert_allclose(table["change"], expected["change"], atol=1e-6)
    for name in ("r.md", "r.tex"):
        text = fit.report(tmp_path / name, along=scores, progress=False).read_text("utf-8")
        assert "An answer, token by token" in text


def test_groups_of_variants_choose_an_answer_of_the_first(tmp_path: Path) -> None:
    lines = {
        f"q{i}": {
            "prompt": f"{i}?",
            "answers": {"a": "Yes. No.", "b": "Yes. Oh.", "c": "So. So."},
            "tone": ["mild", "firm", "firm"],
        }
        for i in range(4)
    }
    made = valuebias.contrast_set(lines)
    names = [f"m{i}" for i in range(4)]
    models = pd.DataFrame({"family": list("AABB"), "base": names, "stage": "reward"}, index=names)
    rewards = np.random.default_rng(0).normal(size=(4, 4, 3, 2))
    dims = ("model", "item", "variant", "token")
    ends = np.broadcast_to([4, 8], (4, 4, 3, 2)).copy()
    ends[:, :, 2] = (3, 7)
    scores = valuebias.schema.build_contrasts(rewards[..., -1], models=models, contrasts=made)
    scores = scores.assign(token_reward=(dims, rewards), token_end=(dims, ends))
    fit = valuebias.fit(scores, by="tone", contrast=("firm", "mild"), seed=1, progress=False)
    text = fit.report(tmp_path / "r.tex", along=scores, progress=False).read_text("utf-8")
    assert "the answer one of firm" in text
    assert re.search(r"Yes\.|So\.", text)


@pytest.mark.parametrize(
    ("by", "values", "contrast", "text"),
    [
        ("length", [1, 2, 2], ("2", "1"), "No."),
        ("polite", [False, True, True], ("polite", "not polite"), "No."),
        ("tone", ["x", "y", "z"], {"y": 0.5, "z": 0.5, "x": -1.0}, "No."),
    ],
)
def test_numbers_truths_and_weights_choose_an_answer_too(
    tmp_path: Path, by: str, values: list[Any], contrast: Any, text: str
) -> None:
    answers = {"a": "Yes. Yes.", "b": "No. No.", "c": "Oh. Oh."}
    lines = {f"q{i}": {"prompt": f"{i}?", "answers": answers, by: values} for i in range(4)}
    names = [f"m{i}" for i in range(4)]
    models = pd.DataFrame({"family": list("AABB"), "base": names, "stage": "reward"}, index=names)
    rewards = np.random.default_rng(0).normal(size=(4, 4, 3, 2))
    made = valuebias.contrast_set(lines)
    scores = valuebias.schema.build_contrasts(rewards[..., -1], models=models, contrasts=made)
    ends = np.broadcast_to([[4, 9], [3, 7], [3, 7]], rewards.shape)
    scores = scores.assign(
        token_reward=((*CONTRAST_DIMS, "token"), rewards),
        token_end=((*CONTRAST_DIMS, "token"), ends),
    )
    asked: dict[str, Any] = {"by": by, "contrast": contrast, "draws": 200, "tune": 300}
    fit = valuebias.fit(scores, seed=1, progress=False, **asked)
    folder = fit.report(tmp_path / "r", along=scores, progress=False)
    table = pd.read_csv(folder / "along.csv")
    assert table["text"].to_numpy().tolist() == [text] * 2
    assert set(table["variant"]) == {"b"}


def test_some_models_and_items_of_the_fit_are_enough(
    fit: Fit, scores: xr.Dataset, tmp_path: Path
) -> None:
    # In another order, and without the model and the item that differ most.
    part = scores.isel(model=[3, 0], item=[5, 4, 1])
    folder = fit.report(tmp_path / "r", along=part, progress=False)
    table = pd.read_csv(folder / "along.csv")
    read_items = [name for name in fit.items()["item"] if name in ("q1", "q4", "q5")]
    assert set(table["item"]) == {read_items[0]}
    own = scores["score"].sel(item=read_items[0], model=["org/m0", "org/m3"])
    gaps = own.sel(variant="chosen") - own.sel(variant="rejected")
    in_sds = abs(gaps / fit.data["score_sd"].sel(model=gaps["model"]))
    assert set(table["model"]) == {
        str(in_sds["model"].to_numpy()[int(np.argmax(in_sds.to_numpy()))])
    }
    unknown = scores.copy(deep=True)
    unknown["token_end"].loc[{"model": "org/m5"}] = -1
    folder = fit.report(tmp_path / "unknown", along=unknown, progress=False)
    assert "org/m5" not in set(pd.read_csv(folder / "along.csv")["model"])


def test_the_command_line_takes_the_scores(fit: Fit, scores: xr.Dataset, tmp_path: Path) -> None:
    fit.save(tmp_path / "fit.nc")
    valuebias.write(scores, tmp_path / "scores.zarr")
    told = tmp_path / "told.md"
    asked = ["report", str(tmp_path / "fit.nc"), "--out", str(told)]
    done = CliRunner().invoke(app, [*asked, "--along", str(tmp_path / "scores.zarr")])
    assert done.exit_code == 0, done.output
    assert "An answer, token by token" in told.read_text("utf-8")


def test_what_has_no_rewards_along_its_answers_is_refused(
    fit: Fit, scores: xr.Dataset, tmp_path: Path
) -> None:
    def refused(match: str, along: Any, of: Any = fit, name: str = "r.html") -> None:
        with pytest.raises(ValueBiasError, match=match):
            of.report(tmp_path / name, along=along, progress=False)
        assert not (tmp_path / name).exists()

    refused("rewards were read at the end only", scores.drop_vars("token_reward"))
    refused("of type str; expected the dataset", "scores.zarr")
    others = scores.assign_coords(model=[f"other/{i}" for i in range(6)])
    refused("no model of this fit, but such as 'other/0'", others)
    items = scores.assign_coords(item=[f"other {i}" for i in range(6)])
    refused("no item of this fit, but such as 'other 0'", items)
    refused("would be the fit itself", scores, name="r.nc")
    refused(
        "other scores than this fit.*'q0' by 'org/m0'", scores.assign(score=scores["score"] + 9)
    )
    refused("no coordinate 'response', the texts", scores.drop_vars("response"))
    named = scores.assign_coords(variant=["first", "second"])
    refused("no variant whose variant is 'chosen'", named)
    words = valuebias.datasets.load("simulated")
    of_words = valuebias.fit(words, draws=50, tune=200, chains=2, seed=1, progress=False)
    refused("and this fit is of words", scores, of_words)
