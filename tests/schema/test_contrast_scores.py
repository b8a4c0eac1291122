"""Scores of contrast sets: how they are laid out, checked, and seen as scores of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ContrastSet, ValueBiasError, ValueBiasWarning, contrast_set, schema
from valuebias.schema.contrast_scores import (
    CONTRAST_DIMS,
    CONTRAST_SCHEMA,
    as_contract,
    build_contrasts,
    from_contract,
    is_contrasts,
    present,
    validate_contrasts,
)

MODELS = pd.DataFrame({"family": ["A", "B"], "stage": "reward"}, index=["org/a", "org/b"])


def ragged() -> ContrastSet:
    return contrast_set(
        [
            {"item": "q1", "prompt": "One?", "answers": {"x": "a", "y": "b"}, "correct": [1, 0],
             "category": ["u", "v"], "length": [1, 2], "text": "sky", "polite": [True, False]},
            {"item": "q2", "prompt": ["Two?", "Three?"], "answers": {"x": "c", "z": "d"},
             "correct": [1, 0], "category": ["u", "u"], "length": [1, 4], "text": "sea",
             "polite": [True, True]},
        ],
        name="ragged",
    )  # fmt: skip


@pytest.fixture
def ds() -> xr.Dataset:
    score = np.arange(12.0).reshape(2, 2, 3)
    score[:, [0, 1], [2, 1]] = np.nan
    return build_contrasts(score, models=MODELS, contrasts=ragged(), provenance={"by": "hand"})


def test_items_and_variants_are_dims_and_columns_coords(ds: xr.Dataset) -> None:
    made = ragged()
    assert ds["score"].dims == ("model", "item", "variant")
    assert ds["item"].to_numpy().tolist() == list(made.items)
    assert ds["variant"].to_numpy().tolist() == list(made.variants)
    assert {name: ds[name].dims for name in made.coords} == made.coords
    assert ds["prompt"].sel(item="q2").to_numpy().tolist() == ["Two?", "", "Three?"]
    for (item, variant), row in made.table.iterrows():
        at: dict[str, Any] = {"item": item, "variant": variant}
        for name, value in row.items():
            found = ds[name]
            found = found.sel({dim: at[dim] for dim in found.dims})
            assert found.item() == value, (at, name)
    assert ds.attrs["schema"] == CONTRAST_SCHEMA
    assert ds.attrs["provenance"] == '{"by": "hand"}'
    assert is_contrasts(ds)
    assert not is_contrasts(made)
    assert present(made).tolist() == [[True, True, False], [True, False, True]]
    assert (present(made) == ds["score"].notnull().all("model").to_numpy()).all()


def test_what_an_item_lacks_is_nothing_of_its_kind(ds: xr.Dataset) -> None:
    absent = {"item": "q2", "variant": "y"}
    assert ds["correct"].dtype == bool
    assert ds["response"].sel(absent).item() == ""
    wide = contrast_set(
        [
            {"item": "a", "prompt": "?", "answers": {"x": "1", "y": "2"}, "n": [1, 2],
             "ok": [True, False], "tone": ["p", "q"]},
            {"item": "b", "prompt": "?", "answers": {"x": "1", "z": "2"}, "n": [3, 4],
             "ok": [False, True], "tone": ["r", "s"]},
        ]
    )  # fmt: skip
    two = build_contrasts(np.arange(12.0).reshape(2, 2, 3), models=MODELS, contrasts=wide)
    at = two.sel(item="a", variant="z")
    assert np.isnan(at["n"].item())
    assert at["ok"].item() is False
    assert at["tone"].item() == ""


@pytest.mark.parametrize("by", [None, "category", "polite", "variant"])
def test_there_and_back_nothing_is_lost(ds: xr.Dataset, by: str | None) -> None:
    if by is not None and ds[by].dims != ("variant",):
        # As where all items have the same in a variant.
        ds = ds.assign_coords({by: ("variant", ["u", "v", "u"])})
    contract = as_contract(ds, by=by)
    assert schema.validate(contract) is contract
    assert contract["text"].to_numpy().tolist() == ["One?", "Two?"]
    if by is None:
        assert contract.sizes["category"] == 0
    else:
        values = [str(value) for value in ds[by].to_numpy().tolist()]
        assert contract["category"].to_numpy().tolist() == list(dict.fromkeys(values))
        member = contract["membership"].sel(category=values[0])
        assert member.to_numpy().tolist() == [value == values[0] for value in values]
    xr.testing.assert_identical(from_contract(contract), ds)


def test_a_set_without_columns_has_scores(ds: xr.Dataset) -> None:
    bare = contrast_set([{"prompt": "?", "answers": ["a", "b"]}])
    made = build_contrasts(
        -np.arange(4.0).reshape(2, 1, 2), models=MODELS, contrasts=bare, kind="logprob"
    )
    assert made.attrs["kind"] == "logprob"
    assert as_contract(made.drop_vars(["prompt", "response"]))["text"].to_numpy().tolist() == [
        "item 1"
    ]


def broken(ds: xr.Dataset) -> dict[str, tuple[xr.Dataset, str]]:
    score = ds["score"]
    return {
        "schema": (ds.assign_attrs(schema="valuebias/1"), "'schema' is 'valuebias/1'; expected"),
        "dim": (ds.rename(item="items"), "The dim 'item' is missing; found .*Did you mean 'items'"),
        "coord": (ds.drop_vars("variant"), "The coord 'variant' is missing: each variant needs"),
        "twice": (ds.assign_coords(item=["q", "q"]), "'q'"),
        "order": (
            ds.assign(score=score.transpose("item", "model", "variant")),
            r"'score' has the dims \('item', 'model', 'variant'\); expected \('model', 'item'",
        ),
        "no score": (
            ds.drop_vars("score").assign(x=score),
            "'score' has the dims no such variable",
        ),
        "one variant": (ds.isel(variant=[0]), "one variant only, which is in contrast to nothing"),
        "kind": (ds.assign_attrs(kind="rewards"), "kind.*Did you mean 'reward'"),
        "type": (ds.assign(score=score.astype(float)), "float32"),
        "infinite": (ds.assign(score=score.fillna(np.inf)), "inf"),
        "family": (ds.drop_vars("family"), "family"),
    }


def test_datasets_that_are_refused(ds: xr.Dataset) -> None:
    assert validate_contrasts(ds) is ds
    for case, (wrong, said) in broken(ds).items():
        with pytest.raises(ValueBiasError, match=said):
            validate_contrasts(wrong)
        assert case


def test_scores_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueBiasError, match="shape"):
        build_contrasts(np.arange(8.0).reshape(2, 2, 2), models=MODELS, contrasts=ragged())


def test_messages_speak_of_items_and_variants() -> None:
    def refused(score: Any, match: str) -> None:
        with pytest.raises(ValueBiasError, match=match):
            build_contrasts(score, models=MODELS, contrasts=ragged())

    n_models, shape = len(MODELS), (len(ragged().items), len(ragged().variants))
    values = np.arange(float(n_models * shape[0] * shape[1])).reshape(n_models, *shape)
    even = values.copy()
    even[0] = 1.0
    refused(even, r"every item and variant the same score.*drop_sel\(model=\['")
    infinite = values.copy()
    infinite[0, 1, 0] = np.inf
    item, variant = ragged().items[1], ragged().variants[0]
    refused(infinite, f"'item': '{item}', 'variant': '{variant}'}} is inf")


def test_scores_of_several_sets_are_no_scores_of_one() -> None:
    made = ragged()
    shape = (len(MODELS), len(made.items), len(made.variants))
    scores = build_contrasts(np.random.default_rng(0).normal(size=shape), models=MODELS,
                             contrasts=made)  # fmt: skip
    for call in (valuebias.contrast_statistics, validate_contrasts):
        with pytest.raises(ValueBiasError, match=r"of 2 contrast sets, 'a' and 'b'.*scores\['a'\]"):
            call({"a": scores, "b": scores})  # type: ignore[operator]
        with pytest.raises(ValueBiasError, match=r"found the text 'scores\.nc'"):
            call("scores.nc")  # type: ignore[operator]


class TestJoined:
    """Models that were scored in several calls."""

    def scores(self, names: str, seed: int = 0, n_tokens: int = 4, **columns: Any) -> xr.Dataset:
        models = pd.DataFrame({"family": "A", "stage": "reward", **columns}, index=list(names))
        rng = np.random.default_rng(seed)
        made = contrast_set(
            {
                f"q{i}": {
                    "prompt": f"{i}?", "topic": "sums",
                    "answers": {"right": "Yes.", "wrong": "No."}, "correct": [True, False],
                }
                for i in range(3)
            }
        )  # fmt: skip
        rewards = rng.normal(size=(len(names), 3, 2, n_tokens))
        ends = np.broadcast_to(np.arange(n_tokens), rewards.shape)
        dims = (*CONTRAST_DIMS, "token")
        ds = build_contrasts(rewards[..., -1], models=models, contrasts=made)
        return ds.assign(
            token_reward=(dims, rewards.astype(np.float32)),
            token_end=(dims, ends.astype(np.int32)),
        )

    def test_every_score_stands_where_it_stood(self) -> None:
        one, two = self.scores("ab", size=[1.0, 2.0]), self.scores("c", 1, 6)
        turned = two.isel(item=[2, 0, 1], variant=[1, 0])
        both = schema.concat([one, turned])
        assert both["model"].to_numpy().tolist() == ["a", "b", "c"]
        for part in (one, two):
            own = both.sel(model=part["model"])
            for name in ("score", "prompt", "response", "correct", "topic", "family"):
                np.testing.assert_array_equal(own[name], part[name], err_msg=name)
            n = part.sizes["token"]
            for name, beyond in (("token_reward", np.nan), ("token_end", -1)):
                np.testing.assert_array_equal(own[name][..., :n], part[name])
                assert own[name].dtype == part[name].dtype
                np.testing.assert_array_equal(own[name][..., n:], beyond)
        assert both["size"].to_numpy().tolist()[:2] == [1.0, 2.0]
        assert np.isnan(both["size"].to_numpy()[2])
        assert schema.concat([one]).drop_attrs().equals(one.drop_attrs())

    def test_tokens_may_be_numbered_and_stand_first(self) -> None:
        one, two = self.scores("ab"), self.scores("c", 1, 6)
        numbered = [ds.assign_coords(token=np.arange(ds.sizes["token"])) for ds in (one, two)]
        numbered[1]["token_reward"] = numbered[1]["token_reward"].transpose("token", ...)
        both, plain = schema.concat(numbered), schema.concat([one, two])
        for name in ("token_reward", "token_end"):
            np.testing.assert_array_equal(both[name], plain[name])
            assert both[name].dims == plain[name].dims

    def test_what_only_some_have_is_left_out_with_a_word(self) -> None:
        one, two = self.scores("ab"), self.scores("c", 1)
        with pytest.warns(ValueBiasWarning, match=r"Only 1 of 2 .*dataset 2; it") as told:
            both = schema.concat([one.drop_vars(["token_reward", "token_end"]), two])
        assert "token_reward" not in both
        assert len(told) == 2  # the rewards, and where tokens end
        assert {Path(each.filename).name for each in told} == {Path(__file__).name}

    def test_what_one_lacks_is_named(self) -> None:
        one, two = self.scores("ab"), self.scores("c", 1)

        def refused(match: str, *parts: xr.Dataset, **settings: Any) -> None:
            with pytest.raises(ValueBiasError, match=match):
                schema.concat(parts, **settings)

        refused("Model 'a' is in dataset 1 and in dataset 2", one, one)
        refused("item 'q2' is in the first dataset, not in dataset 2", one, two.isel(item=[0, 1]))
        refused("item 'q2' is in dataset 2, not in the first", one.isel(item=[0, 1]), two)
        refused("Only dataset 2 has the coord 'topic'", one.drop_vars("topic"), two)
        other = two.assign_coords(response=two["response"].copy(data=np.full((3, 2), "Oh.")))
        refused("'response' is 'Yes.' in the first dataset and 'Oh.' in another", one, other)
        along = two.assign_coords(topic=("item", ["sums"] * 3))
        refused(r"'topic' is along \('variant',\) in the first", one, along)
        refused("join='outer' is for words and prompts", one, two, join="outer")
        refused("has kind 'implicit', the first 'reward'", one,
                two.assign_attrs(kind="implicit", units="nat"))  # fmt: skip
        words = valuebias.datasets.load("simulated")
        with pytest.raises(ValueBiasError, match="attribute 'schema' is 'valuebias/1'"):
            schema.concat([one, words])
