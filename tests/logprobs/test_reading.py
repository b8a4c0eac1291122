"""Log-probs in the form in which the paper's authors release them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning
from valuebias.logprobs import reading

PROMPTS = list(valuebias.prompts().table.index)
# As tokenizers have them: text that tables take for missing, separators, quotes, new lines.
TOKENS = ["<pad>", "NaN", "null", "", "a,b", '"', "line\nbreak", "Ġlove", "NaN", "\ufffd", "é"]
TEXTS = ["<pad>", "NaN", "null", "", "a,b", '"', "line\nbreak", " love", "nan", "\ufffd", "é"]


def table(seed: int = 0) -> pd.DataFrame:
    mass = np.random.default_rng(seed).dirichlet(np.ones(len(TOKENS)), size=len(PROMPTS))
    frame = pd.DataFrame(np.log(mass).T, columns=PROMPTS)
    frame.insert(0, "token_decoded", TEXTS)
    frame.insert(0, "token_name", TOKENS)
    frame.insert(0, "token_id", np.arange(len(TOKENS)) * 3)
    return frame


def written(folder: Path, name: str, frame: pd.DataFrame | None = None) -> Path:
    path = folder / name
    (table() if frame is None else frame).to_csv(path, index=False)
    return path


def test_every_token_is_read_as_the_text_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_ROWS", 4)  # several chunks of so small a file
    frame = table()
    path = written(tmp_path, "google_gemma-2-2b-it_logprobs.csv", frame)
    tree = valuebias.read_logprobs(path)
    ds = valuebias.validate(tree["google--gemma-2-2b-it"].to_dataset())
    assert ds["decoded"].to_numpy().tolist() == TEXTS
    assert ds["token_id"].to_numpy().tolist() == frame["token_id"].tolist()
    assert ds["response"].to_numpy().tolist()[:4] == ["<pad>", "NaN (id 3)", "null", " (id 9)"]
    np.testing.assert_allclose(ds["score"].to_numpy()[0].T, frame[PROMPTS], rtol=1e-6)
    assert ds["family"].to_numpy().tolist() == ["Gemma"]
    assert ds["stage"].to_numpy().tolist() == ["instruct"]


def test_a_folder_gives_a_group_a_model(tmp_path: Path) -> None:
    written(tmp_path, "meta-llama--Llama-3.2-3B.csv", table(1))
    written(tmp_path, "Llama-3.2-3B-Instruct.csv", table(2))
    tree = valuebias.read_logprobs(tmp_path)
    assert set(tree.children) == {"meta-llama--Llama-3.2-3B", "meta-llama--Llama-3.2-3B-Instruct"}
    aligned = valuebias.align(tree)
    assert aligned.sizes["model"] == 2
    assert "NaN" in aligned["response"].to_numpy()
    assert "nan" in aligned["response"].to_numpy()
    rewards = valuebias.implicit(
        aligned,
        numerator="meta-llama/Llama-3.2-3B-Instruct",
        denominator="meta-llama/Llama-3.2-3B",
    )
    assert rewards["family"].to_numpy().tolist() == ["Llama over Llama"]


def test_models_of_ones_own(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv")
    models = {"mine": {"family": "F", "base": "B", "template": "plain"}}
    tree = valuebias.read_logprobs({"mine": path}, models=models)
    assert tree["mine"]["stage"].to_numpy().tolist() == ["pretrained"]


def test_models_without_a_base_are_named(tmp_path: Path) -> None:
    models = {
        "a": {"family": "F"},
        "b": {"family": "F", "template": "plain"},
        "c": {"family": "F", "base": "org/lm-2b"},
    }
    paths = {name: written(tmp_path, f"{name}.csv") for name in models}
    with pytest.warns(ValueBiasWarning, match="No base is known for 1 of 3 models: 'a'"):
        tree = valuebias.read_logprobs(paths, models=models)
    assert [tree[name]["base"].item() for name in models] == ["", "b", "org/lm-2b"]
    assert valuebias.read_logprobs({"a": paths["a"]}, models=models)["a"]["base"].item() == ""


def test_cells_without_a_score(tmp_path: Path) -> None:
    frame = table().astype({PROMPTS[0]: object})
    frame.loc[0, PROMPTS[0]] = ""
    frame.loc[1, PROMPTS[0]] = "NA"
    tree = valuebias.read_logprobs(written(tmp_path, "gemma-2-2b.csv", frame))
    score = tree["google--gemma-2-2b"]["score"].to_numpy()
    assert np.argwhere(np.isnan(score)).tolist() == [[0, 0, 0], [0, 0, 1]]


def with_text(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.astype({PROMPTS[3]: object})
    frame.loc[2, PROMPTS[3]] = "high"
    return frame


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: f.drop(columns="token_decoded"), {}, "no column 'token_decoded'"),
        (lambda f: f.drop(columns=PROMPTS), {}, "no column of the prompt set"),
        (with_text, {}, "cannot be read as log-probs: .*high"),
        (
            lambda f: f.assign(token_id=1),
            {},
            "The token id of 'gemma-2-2b.csv' '1' occurs 11 times",
        ),
        (lambda f: f.iloc[:0], {}, "There is no response"),
        (lambda f: f.assign(**{PROMPTS[0]: 0.5}), {}, "Log-probs in nat are at most 0"),
        (lambda f: f, {"models": {"a": {"family": "F"}}}, "names no model that models= describes"),
        (
            lambda f: f,
            {"models": {"gemma-2-2b": {"base": "B"}}},
            "'gemma-2-2b' has no family; it is not guessed",
        ),
    ],
)
def test_bad_files(tmp_path: Path, change: Any, options: dict[str, Any], message: str) -> None:
    path = written(tmp_path, "gemma-2-2b.csv", change(table()))
    with pytest.raises(ValueBiasError, match=message):
        valuebias.read_logprobs(path, **options)


def test_bad_places(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"has no \.csv file"):
        valuebias.read_logprobs(tmp_path)
    with pytest.raises(ValueBiasError, match="cannot be read"):
        valuebias.read_logprobs(tmp_path / "gemma-2-2b.csv")
    with pytest.raises(ValueBiasError, match="'org/x' is not described"):
        valuebias.read_logprobs({"org/x": tmp_path / "x.csv"})
    (tmp_path / "gemma-2-2b.csv").write_text("")
    with pytest.raises(ValueBiasError, match="cannot be read"):
        valuebias.read_logprobs(tmp_path)
