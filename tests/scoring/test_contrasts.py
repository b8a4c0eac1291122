"""Contrast sets: their scores are those of plain transformers, however they are computed."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_models
import xarray as xr

import valuebias
from valuebias import ValueBiasError

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

ROWS: dict[str, Any] = {
    "sum": {
        "prompt": "What is 2 + 2?",
        "answers": {"right": "4", "wrong": "5, as everybody says", "odd": "love"},
        "correct": [True, False, False],
        "length": [1, 4, 1],
    },
    "same words": {
        "prompt": ["What is best?", "I like power. What is best?"],
        "answers": {"right": "love and trust", "wrong": "love and trust"},
        "correct": [True, False],
        "length": 3,
    },
    "again": {
        "prompt": "What is 2 + 2?",
        "answers": {"wrong": "five", "right": "four"},
        "correct": [False, True],
        "length": [1, 1],
    },
}
CONTRASTS = valuebias.contrast_set(ROWS, name="three")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_models.tiny("llama", "reward", folder / "rm")
    tiny_models.tiny("llama", "reward", folder / "rm2", seed=1)
    tiny_models.tiny("llama", "logprob", folder / "lm")
    tiny_models.tiny("llama", "logprob", folder / "policy", seed=1)
    return folder


def told(folder: Path) -> Any:
    return {"location": str(folder), "base": "x"}


def score(models: Any, **options: Any) -> Any:
    return valuebias.score_contrasts(models, CONTRASTS, **{"progress": False, **options})


def conversation(folder: Path, prompt: str, response: str) -> Any:
    from transformers import AutoTokenizer

    said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)["input_ids"]


def plain_rewards(folder: Path) -> pd.Series:
    """Score each conversation by itself, with transformers and nothing of this package."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    model.config.pad_token_id = None
    rows = CONTRASTS.table
    with torch.no_grad():
        values = [
            float(model(conversation(folder, row["prompt"], row["response"])).logits[0, 0])
            for _, row in rows.iterrows()
        ]
    return pd.Series(values, index=rows.index)


def plain_logprobs(folder: Path) -> pd.Series:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    values = []
    for _, row in CONTRASTS.table.iterrows():
        asked = [{"role": "user", "content": row["prompt"]}]
        text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        before = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = tokenizer(text + row["response"], add_special_tokens=False)["input_ids"]
        assert ids[: len(before)] == before
        with torch.no_grad():
            logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        places = range(len(before), len(ids))
        values.append(sum(float(logprobs[i - 1, ids[i]]) for i in places))
    return pd.Series(values, index=CONTRASTS.table.index)


def by_cell(found: xr.Dataset, model: int = 0) -> np.ndarray:
    """Give the scores in the order of the contrast set's rows."""
    return np.array(
        [
            found["score"].isel(model=model).sel(item=item, variant=variant).item()
            for item, variant in CONTRASTS.table.index
        ]
    )


def test_rewards_equal_transformers(folder: Path) -> None:
    found = score(told(folder / "rm"))
    assert found["score"].dims == ("model", "item", "variant")
    assert found["variant"].to_numpy().tolist() == ["right", "wrong", "odd"]
    np.testing.assert_allclose(by_cell(found), plain_rewards(folder / "rm"), atol=5e-5)
    # Items that lack a variant have no score of it, and no text.
    assert np.isnan(found["score"].sel(item=["same words", "again"], variant="odd")).all()
    assert found["response"].sel(item="again", variant="odd").item() == ""
    assert found["response"].sel(item="again", variant="right").item() == "four"
    # The same answer to two questions is two conversations.
    one, other = found["score"].sel(item="same words", variant=["right", "wrong"]).to_numpy()[0]
    assert one != other
    assert found["correct"].dims == ("variant",)
    assert found["length"].dims == ("item", "variant")


def test_logprobs_equal_transformers(folder: Path) -> None:
    found = score(told(folder / "lm"), kind="logprob")
    np.testing.assert_allclose(by_cell(found), plain_logprobs(folder / "lm"), atol=5e-4)
    assert np.isnan(found["score"].sel(item="again", variant="odd")).all()
    mean = score(told(folder / "lm"), kind="logprob", pooling="mean")
    counts = np.isfinite(found["token_logprob"]).sum("token")
    np.testing.assert_allclose(
        mean["score"], (found["score"] / counts.where(counts > 0)), atol=1e-5
    )


def test_policies_are_scored_against_their_reference(folder: Path) -> None:
    model = {**told(folder / "policy"), "reference": str(folder / "lm"), "beta": 0.1}
    found = score(model, kind="implicit")
    expected = 0.1 * (plain_logprobs(folder / "policy") - plain_logprobs(folder / "lm"))
    np.testing.assert_allclose(by_cell(found), expected, atol=5e-5)
    assert np.isnan(found["score"].sel(item="again", variant="odd")).all()


@pytest.mark.filterwarnings("ignore:Of the probability of replies")
def test_judges_are_shown_each_answer(folder: Path) -> None:
    judge = valuebias.Judge(
        name="good", template="Good? {prompt} {response}", verdicts={"a": 1.0, "b": 0.0}
    )
    found = score(told(folder / "lm"), kind="judged", judge=judge)
    for (item, variant), row in CONTRASTS.table.iterrows():
        one = valuebias.score(
            told(folder / "lm"),
            kind="judged",
            judge=judge,
            prompts={"p": {"text": row["prompt"], "framing": "neutral"}},
            lexicon=[row["response"], "another"],
            progress=False,
        )
        here = found["score"].sel(item=item, variant=variant).to_numpy()
        np.testing.assert_allclose(here, one["score"].to_numpy()[:, 0, 0], atol=1e-6)
    assert np.isnan(found["score"].sel(item="again", variant="odd")).all()


def test_a_store_is_finished_with_items_that_lack_variants(folder: Path, tmp_path: Path) -> None:
    models = [told(folder / "rm"), told(folder / "rm2")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score(models[0], store=tmp_path / "s.zarr")
        both = score(models, store=tmp_path / "s.zarr")
        xr.testing.assert_identical(valuebias.read(tmp_path / "s.zarr"), both)
        parts = [tmp_path / f"{i}.zarr" for i in (1, 2)]
        for i, part in enumerate(parts, 1):
            score(models, store=part, shard=(i, 2))
        merged = valuebias.merge(parts, out=tmp_path / "m.zarr")
    np.testing.assert_array_equal(both["score"][:1], found["score"])
    np.testing.assert_array_equal(merged["score"], both["score"])
    assert set(merged.coords) == set(both.coords)
    in_memory = score(models)
    np.testing.assert_array_equal(in_memory["score"], both["score"])


def test_another_contrast_set_is_refused(folder: Path, tmp_path: Path) -> None:
    score(told(folder / "rm"), store=tmp_path / "s.zarr")
    other = CONTRASTS.table.copy()
    other.loc[("again", "right"), "response"] = "4."
    with pytest.raises(ValueBiasError, match="was made with another contrast set"):
        valuebias.score_contrasts(
            told(folder / "rm"), other, store=tmp_path / "s.zarr", progress=False
        )
    with pytest.raises(ValueBiasError, match="was made with other prompts"):
        valuebias.score(told(folder / "rm"), store=tmp_path / "s.zarr", progress=False)


def test_an_answer_longer_than_the_context_is_refused(folder: Path) -> None:
    rows = {**ROWS, "again": {"prompt": "?", "answers": {"a": "love " * 600, "b": "power"}}}
    rows = {
        name: {k: v for k, v in row.items() if k in ("prompt", "answers")}
        for name, row in rows.items()
    }
    with pytest.raises(ValueBiasError, match=r"has \d+ tokens, but 'rm' takes \d+ at most"):
        valuebias.score_contrasts(told(folder / "rm"), rows, progress=False)


def test_scores_that_are_not_finite_name_item_and_variant(folder: Path) -> None:
    with pytest.raises(
        ValueBiasError, match=re.escape("for the variant 'right' of the item 'sum'")
    ):
        score({"location": str(folder / "rm"), "base": "x", "head": _nothing})


def _nothing(hidden: Any) -> Any:
    return hidden[:, 0] * float("nan")


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".parquet", ".csv"])
def test_files_give_everything_back(folder: Path, tmp_path: Path, suffix: str) -> None:
    found = score([told(folder / "rm"), told(folder / "rm2")])
    path = valuebias.write(found, tmp_path / f"scores{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_identical(valuebias.read(path), found)


def test_a_table_of_ones_own_is_read(tmp_path: Path) -> None:
    rows = [
        {"Model": m, "item": i, "variant": v, "score": 1.5 * i + (v == "a"), "family": m[0],
         "stage": "reward", "words": len(v) + i}
        for m in ("A1", "B1")
        for i in (1, 2)
        for v in ("a", "bb")
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "own.csv", index=False)
    found = valuebias.read(tmp_path / "own.csv", kind="reward")
    assert found["item"].to_numpy().tolist() == ["1", "2"]
    assert found["score"].sel(model="A1", item="2", variant="a").item() == 4.0
    assert found["words"].dims == ("item", "variant")
    assert found["family"].to_numpy().tolist() == ["A", "B"]
    with pytest.raises(ValueBiasError, match="what kind of scores"):
        valuebias.read(tmp_path / "own.csv")
    pd.DataFrame([*rows, rows[0]]).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(ValueBiasError, match="has 2 rows for"):
        valuebias.read(tmp_path / "own.csv", kind="reward")


def test_the_plan_counts_what_is_shared(folder: Path) -> None:
    plan = valuebias.plan(told(folder / "rm"), contrasts=CONTRASTS)
    assert "3 items × 3 variants" in plan.headline
    assert 0 < plan.table["tokens"].item() < plan.table["unpacked"].item()


def test_rewards_along_the_answer_are_those_of_its_beginnings(folder: Path, tmp_path: Path) -> None:
    """At each token the reward is that of a conversation that ends there, by plain transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    found = score(told(folder / "rm"), read="all", store=tmp_path / "s.zarr")
    last = score(told(folder / "rm"))
    np.testing.assert_allclose(found["score"], last["score"], atol=1e-6)
    xr.testing.assert_identical(valuebias.read(tmp_path / "s.zarr"), found)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "rm", dtype=torch.float32)
    model.eval().config.pad_token_id = None
    tokenizer = AutoTokenizer.from_pretrained(folder / "rm")
    for (item, variant), row in CONTRASTS.table.iterrows():
        here = found.sel(item=item, variant=variant).isel(model=0)
        ids = conversation(folder / "rm", row["prompt"], row["response"])
        asked = [{"role": "user", "content": row["prompt"]}]
        before = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)
        n = len(before["input_ids"])
        assert ids[0, :n].tolist() == before["input_ids"]
        with torch.no_grad():
            each = [model(ids[:, : i + 1]).logits[0, 0].item() for i in range(n, ids.shape[1])]
        rewards = here["token_reward"].to_numpy()
        np.testing.assert_allclose(rewards[: len(each)], each, atol=5e-5)
        assert np.isnan(rewards[len(each) :]).all()
        # Text is counted as it is read, and the answer is read whole before the conversation ends.
        ends = here["token_end"].to_numpy()
        read = [tokenizer.decode(ids[0, n : i + 1]) for i in range(n, ids.shape[1])]
        expected = [min(len(text), len(row["response"])) for text in read]
        assert ends[: len(each)].tolist() == expected
        assert (ends[len(each) :] == -1).all()


def test_along_the_answer_only_rewards_are_read(folder: Path) -> None:
    with pytest.raises(ValueBiasError, match="read is 'all', and kind is 'logprob'"):
        score(told(folder / "lm"), kind="logprob", read="all")
    with pytest.raises(ValueBiasError, match="read is 'each'"):
        score(told(folder / "rm"), read="each")


def test_warnings_point_at_the_call(folder: Path) -> None:
    with pytest.warns(valuebias.ValueBiasWarning, match="is known for 1 of 2") as said:
        score([told(folder / "rm"), str(folder / "rm2")])
    assert [warning.filename for warning in said] == [__file__]


def test_answers_that_the_template_s_own_text_holds_are_found_where_they_stand(
    folder: Path,
) -> None:
    rows = {"q": {"prompt": "Say end, in one word.", "answers": {"a": "end", "b": "d"}}}
    found = valuebias.score_contrasts(told(folder / "rm"), rows, read="all", progress=False)
    # At the first token of <|end|>, which comes after the answer, all of it has been read.
    ends = found["token_end"].isel(model=0, item=0)
    for variant, length in (("a", 3), ("b", 1)):
        of_answer = [int(end) for end in ends.sel(variant=variant).to_numpy() if end >= 0]
        assert of_answer[0] > 0
        assert of_answer == sorted(of_answer)
        assert of_answer[-1] == length


@pytest.mark.parametrize(
    ("model", "settings"),
    [("rm", {}), ("rm", {"read": "all"}), ("lm", {"kind": "logprob"})],
    ids=["last", "all", "logprob"],
)
def test_several_sets_are_scored_as_each_is_alone(
    folder: Path, tmp_path: Path, model: str, settings: dict[str, Any]
) -> None:
    sets = {
        "three": CONTRASTS,
        "opening": valuebias.battery("hedging", valuebias.questions("dates", n=2, seed=1)),
        "file": CONTRASTS.select(variants=["right", "wrong"]).to_jsonl(tmp_path / "two.jsonl"),
    }
    settings = {"progress": False, **settings}
    store = tmp_path / "all.zarr"
    found = valuebias.score_contrasts(told(folder / model), sets, store=store, **settings)
    assert list(found) == list(sets)
    for name, contrasts in sets.items():
        alone = valuebias.score_contrasts(told(folder / model), contrasts, **settings)
        # Packed with others, a score may differ in its last bits.
        xr.testing.assert_allclose(found[name], alone, atol=2e-5)
        assert found[name].drop_attrs().coords.equals(alone.drop_attrs().coords)
    whole = valuebias.read(store)
    assert whole["item"].to_numpy().tolist()[:2] == ["three: sum", "three: same words"]
    assert whole.sizes["item"] == 3 + 2 + 3


def test_shards_of_several_sets_are_refused(folder: Path, tmp_path: Path) -> None:
    sets = {"a": CONTRASTS, "b": CONTRASTS}
    store = tmp_path / "s.zarr"
    with pytest.raises(ValueBiasError, match=r"of several contrast sets.*one by one"):
        valuebias.score_contrasts(told(folder / "rm"), sets, shard=(1, 2), store=store)


def test_names_and_kinds_of_several_sets_are_looked_at_first(folder: Path) -> None:
    one = CONTRASTS.select(items=["sum"])

    def refused(match: str, sets: Any) -> None:
        with pytest.raises(ValueBiasError, match=match):
            valuebias.score_contrasts(told(folder / "rm"), sets, progress=False)

    refused("named 1; expected text", {1: one, "1": CONTRASTS})
    refused("named ''; expected text", {"": one})
    refused("named .*expected text", {"\ud800": one})
    refused("'b' is None; expected a ContrastSet, a file or a table", {"a": one, "b": None})
    renamed = valuebias.contrast_set({"x: sum": ROWS["sum"]})
    refused("'a: x' and 'a' would both be called 'a: x: sum'", {"a: x": one, "a": renamed})
    refused("has no items", {})
    with pytest.raises(ValueBiasError, match="store is 3; expected a path"):
        valuebias.score_contrasts(told(folder / "rm"), {"a": one}, store=3)  # type: ignore[arg-type]


def test_tables_are_scored_beside_sets(folder: Path) -> None:
    one = CONTRASTS.select(items=["sum"])
    sets = {"set": one, "table": CONTRASTS.to_frame()}
    found = valuebias.score_contrasts(told(folder / "rm"), sets, progress=False)
    assert isinstance(found, dict)
    assert found["table"]["item"].to_numpy().tolist() == list(CONTRASTS.items)
