"""Process reward models, which are read at the mark after each step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import xarray as xr

import valuebias
from valuebias import Model, ValueBiasError

pytestmark = pytest.mark.skipif(
    tiny_models.missing() is not None, reason=str(tiny_models.missing())
)

MARK = "</s>"
WORDS = ("love", "power", f"first{MARK} then", f"a{MARK} b{MARK} c")
PROMPTS = {
    "up": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"},
    "down": {"text": "What is the worst thing?", "framing": "negative"},
}
ASKED: dict[str, Any] = {
    "head": "steps", "step_mark": MARK, "template": "{prompt}\n{response}" + MARK,
}  # fmt: skip


def steps(folder: Path, label: int = -1) -> list[list[np.ndarray]]:
    """Give the probability at each mark by plain transformers, a conversation at a time."""
    import torch
    import transformers

    encode = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
    rows = []
    for prompt in PROMPTS.values():
        row = []
        for word in WORDS:
            ids = encode(f"{prompt['text']}\n{word}{MARK}", return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0].float()
            chance = logits.softmax(-1) if logits.shape[-1] > 1 else logits.sigmoid()
            row.append(chance[ids[0] == 2, label].numpy())
        rows.append(row)
    return rows


def score(models: Any, **options: Any) -> xr.Dataset:
    options = {"prompts": PROMPTS, "lexicon": WORDS, "progress": False} | options
    return valuebias.score(models, **options)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("over", "reduce"),
    [("last", lambda p: p[-1]), ("min", np.min), ("product", np.prod), ("mean", np.mean)],
)
def test_scores_are_what_transformers_says_at_the_marks(
    over: str, reduce: Any, tmp_path: Path
) -> None:
    folder = tiny_models.token_classifier(tmp_path / "prm")
    theirs = steps(folder)
    assert [len(of_word) for of_word in theirs[0]] == [1, 1, 2, 3]
    found = score([Model(str(folder), over_steps=over, **ASKED)], store=tmp_path / "s.zarr")
    expected = [[reduce(of_word) for of_word in row] for row in theirs]
    np.testing.assert_allclose(found["score"][0], expected, atol=2e-6)
    assert np.std(expected) > 1e-3


def test_ways_to_take_steps_together_are_kept_apart(tmp_path: Path) -> None:
    folder = str(tiny_models.token_classifier(tmp_path / "prm"))
    model = {over: Model(folder, over_steps=over, **ASKED)
             for over in ("min", "mean")}  # fmt: skip
    score([model["min"]], store=tmp_path / "s.zarr")
    with pytest.raises(ValueBiasError, match="steps"):
        score([model["mean"]], store=tmp_path / "s.zarr")


def test_another_label_and_one_alone(tmp_path: Path) -> None:
    folder = tiny_models.token_classifier(tmp_path / "prm")
    both = score([Model(str(folder), label="all", **ASKED)])
    np.testing.assert_allclose(both["score"].sum("model")[:, :2], 1, atol=1e-6)
    one = tiny_models.token_classifier(tmp_path / "one", labels=1)
    found = score([Model(str(one), **ASKED)])
    np.testing.assert_allclose(found["score"][0, 0, 0], steps(one)[0][0][-1], atol=2e-6)


def test_what_is_asked_wrongly(tmp_path: Path) -> None:
    folder = str(tiny_models.token_classifier(tmp_path / "prm"))
    with pytest.raises(ValueBiasError, match="A process reward model needs both"):
        Model(folder, head="steps")
    with pytest.raises(ValueBiasError, match="for other models leave both out"):
        Model(folder, step_mark=MARK)
    with pytest.raises(ValueBiasError, match="Did you mean 'min'"):
        Model(folder, over_steps="minn", **ASKED)
    with pytest.raises(ValueBiasError, match=r"is \d+ tokens .*expected one"):
        score([Model(folder, **ASKED | {"step_mark": "step by step"})])
    with pytest.raises(ValueBiasError, match=r"Put the mark after \{response\}"):
        score([Model(folder, **ASKED | {"template": "{prompt} {response}"})])
    sequences = tiny_models.tiny("llama", "reward", tmp_path / "rm", labels=2)
    with pytest.raises(ValueBiasError):
        score([Model(str(sequences), **ASKED)])
