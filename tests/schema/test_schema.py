"""Tests of valuebias.schema: the contract, and every way to break it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError
from valuebias.instruments import lexicon, prompts
from valuebias.schema import build, concat, model_table, prompt_table, validate, word_table
from valuebias.schema.spelling import look_alike
from valuebias.schema.uncovered import uncovered

MODELS = pd.DataFrame(
    {"family": ["Gemma", "Llama"], "base": ["Gemma 2", "Llama 3"], "stage": "reward"},
    index=["org/a", "org/b"],
)
PROMPTS = pd.DataFrame(
    {"text": ["Best?", "Worst?"], "framing": ["positive", "negative"]}, index=["best", "worst"]
)
WORDS = ["win", "love", "spoon"]
LEXICON = {"agency": ["win"], "communion": ["love"]}
SCORE = np.arange(12, dtype=np.float64).reshape(2, 2, 3)


def made(**changed: Any) -> xr.Dataset:
    given: dict[str, Any] = {
        "score": SCORE,
        "models": MODELS,
        "prompts": PROMPTS,
        "lexicon": lexicon(LEXICON),
        "responses": WORDS,
    }
    given.update(changed)
    return build(given.pop("score"), **given)


# --- build -----------------------------------------------------------------------------------


def test_build_lays_out_what_the_contract_says() -> None:
    ds = made(provenance={"note": "by hand"})
    assert ds["score"].dims == ("model", "prompt", "response")
    assert ds["score"].dtype == np.float32
    assert ds["membership"].values.tolist() == [[True, False], [False, True], [False, False]]
    assert ds["category"].values.tolist() == ["agency", "communion"]
    assert ds["n_params"].isnull().all()
    assert ds.attrs == {
        "schema": "valuebias/1",
        "kind": "reward",
        "units": "1",
        "provenance": '{"note": "by hand"}',
    }
    assert float(ds["score"].sel(model="org/b", prompt="best", response="love")) == 7


def test_build_takes_named_scores_in_any_order() -> None:
    array = xr.DataArray(
        SCORE,
        dims=("model", "prompt", "response"),
        coords={"model": MODELS.index, "prompt": PROMPTS.index, "response": WORDS},
    )
    turned = array.transpose("response", "model", "prompt").isel(model=[1, 0])
    ds = made(score=turned, responses=None, models=MODELS.assign(n_params=[2e9, 3e9]))
    assert ds["family"].values.tolist() == ["Llama", "Gemma"]
    assert ds["n_params"].values.tolist() == [3e9, 2e9]
    assert float(ds["score"].sel(model="org/b", prompt="best", response="love")) == 7


def test_build_takes_the_tables_that_the_package_makes() -> None:
    both = prompts({"up": "Good?", "down": "Bad?"}, framing={"up": "positive", "down": "negative"})
    table = lexicon(LEXICON).membership(WORDS)
    assert made(prompts=both)["text"].values.tolist() == ["Good?", "Bad?"]
    assert made(lexicon=table).equals(made())
    assert made(lexicon=None).sizes["category"] == 0


def test_further_columns_become_coords_of_their_own_type() -> None:
    models = MODELS.assign(
        seed=[1, 2],
        share=[0.5, np.nan],
        trained=[True, False],
        note=["x", None],
        steps=pd.array([5, None], dtype="Int64"),
        mixed=pd.Series([1, 2.5], dtype=object).values,
    )
    ds = made(models=models)
    assert [ds[name].dtype.kind for name in ("seed", "share", "trained", "note")] == list("ifbU")
    assert ds["note"].values.tolist() == ["x", ""]
    assert ds["steps"].values.tolist()[0] == 5.0
    assert ds["mixed"].values.tolist() == [1.0, 2.5]


def test_words_with_a_lone_surrogate_are_kept() -> None:
    odd = ["win", "love", "\ud83d"]
    ds = made(responses=odd)
    assert ds["response"].values.tolist() == odd
    assert float(ds["score"].sel(response="\ud83d").sum()) == 2 + 5 + 8 + 11


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"score": SCORE[:, :, :2]}, r"shape \(2, 2, 2\); expected .* = \(2, 2, 3\)"),
        ({"score": SCORE.astype(str)}, "dtype <U.*; expected numbers"),
        ({"score": xr.DataArray(SCORE)}, "has the dims"),
        ({"responses": None}, "does not name its responses.*responses="),
        ({"responses": ["win", "love", "win"]}, "response 'win' occurs 2 times"),
        ({"responses": ["win", "love", 3]}, "is 3 .*expected text"),
        ({"responses": ["win", "love", "a\0"]}, "NUL"),
        ({"responses": ["win", "love", ""]}, "named ''"),
        ({"responses": ["x", "y", "z"]}, "None of the 3 words .* is in the lexicon"),
        ({"responses": ["win", "y", "z"]}, "No word is in the category 'communion'"),
        ({"models": MODELS.set_axis(["m", "m"], axis=0)}, "model 'm' occurs 2 times"),
        ({"models": MODELS.reset_index(drop=True)}, "named 0, which is no text"),
        ({"models": {"a": 1}}, "expected a pandas.DataFrame"),
        ({"models": MODELS.drop(columns="stage")}, "coord 'stage' is missing"),
        ({"words": {"love": 1}}, "responses are a dict; expected a pandas.DataFrame"),
        ({"words": pd.DataFrame({"n": [1, 2]}, index=["win", "win"])}, "'win' occurs 2 times"),
        ({"words": pd.DataFrame({"n": [1]}, index=[np.nan])}, "named nan, which is no text"),
        ({"words": pd.DataFrame({"score": [1]}, index=["win"])}, "may not be called 'score'"),
        ({"words": pd.DataFrame({"base": [1]}, index=["win"])}, "'base', and so has the model"),
        ({"models": MODELS.assign(score=1)}, "may not be called 'score'"),
        ({"models": MODELS.assign(n_params="big")}, "n_params is 'big'"),
        ({"models": MODELS.assign(n_params=-1.0)}, "n_params -1.0; expected a positive count"),
        ({"models": MODELS.assign(family="")}, "family ''; expected text"),
        ({"models": MODELS.assign(stage="instrct")}, "Did you mean 'instruct'"),
        ({"prompts": PROMPTS.assign(framing="good")}, "framing 'good'. Known: 'positive'"),
        ({"prompts": PROMPTS.drop(columns="text")}, "coord 'text' is missing"),
        ({"kind": "logprobs"}, "Did you mean 'logprob'"),
        ({"kind": "logprob", "units": "bit"}, "units 'bit'; expected 'nat'"),
        ({"kind": "logprob"}, "'best', 'response': 'love'.* is 1.0. Log-probs in nat are at most"),
        ({"provenance": {"x": object()}}, "cannot be written as JSON"),
        ({"lexicon": pd.DataFrame({"a": [1]}, index=["win"])}, "dtype int64; expected bool"),
    ],
)
def test_what_build_cannot_use_is_named(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        made(**changed)


def test_a_model_without_description_is_named() -> None:
    array = xr.DataArray(
        SCORE,
        dims=("model", "prompt", "response"),
        coords={"model": ["org/a", "org/c"], "prompt": PROMPTS.index, "response": WORDS},
    )
    with pytest.raises(ValueBiasError, match="model 'org/c', but the model table has no such row"):
        made(score=array, responses=None)


# --- validate --------------------------------------------------------------------------------


def cell(value: float) -> Callable[[xr.Dataset], xr.Dataset]:
    def change(ds: xr.Dataset) -> xr.Dataset:
        ds["score"][1, 0, 2] = value
        return ds

    return change


def whole_model(value: float) -> Callable[[xr.Dataset], xr.Dataset]:
    def change(ds: xr.Dataset) -> xr.Dataset:
        ds["score"][1] = value
        return ds

    return change


def attr(name: str, value: object) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda ds: ds.assign_attrs({name: value})


BROKEN: list[tuple[Callable[[xr.Dataset], Any], str]] = [
    (lambda _: [[1.0]], "Expected an xarray.Dataset, found list"),
    (lambda ds: ds["score"], "found DataArray"),
    (lambda ds: ds.to_dataframe(), "found DataFrame"),
    (attr("schema", "valuebias/2"), "'schema' is 'valuebias/2'; expected 'valuebias/1'"),
    (attr("kind", None), "'kind' is None"),
    (attr("kind", "rewards"), "Did you mean 'reward'"),
    (attr("units", "bit"), "units 'bit'; expected '1'"),
    (attr("kind", "logprob"), "units '1'; expected 'nat'"),
    (
        lambda ds: ds.assign_attrs(kind="implicit", units="bit"),
        "units 'bit'; expected 'nat' or '1'",
    ),
    (attr("provenance", "hand-made"), "'provenance' is absent or no JSON object"),
    (lambda ds: ds.rename(response="word"), "dim 'response' is missing; found .*'word'"),
    (lambda ds: ds.drop_vars("score"), "variable 'score' is missing"),
    (lambda ds: ds.drop_vars("membership"), "dim 'category' is missing|'membership' is missing"),
    (lambda ds: ds.drop_vars("model"), "coord 'model' is missing"),
    (lambda ds: ds.drop_vars("family"), "coord 'family' is missing"),
    (lambda ds: ds.drop_vars("framing"), "coord 'framing' is missing"),
    (lambda ds: ds.transpose("response", ...), "has the dims .*in this order"),
    (
        lambda ds: ds.assign(score=ds["score"].astype("float64")),
        "'score' has dtype float64; expected float32",
    ),
    (
        lambda ds: ds.assign(membership=ds["membership"].astype(int)),
        "'membership' has dtype int64; expected bool",
    ),
    (lambda ds: ds.assign_coords(n_params=("model", [1, 2])), "'n_params' has dtype int64"),
    (lambda ds: ds.assign_coords(n_params=("model", [np.inf, 2.0])), "n_params inf"),
    (lambda ds: ds.assign_coords(model=["m", "m"]), "model 'm' occurs 2 times"),
    (lambda ds: ds.assign_coords(response=["win", "win", "x"]), "response 'win' occurs 2 times"),
    (lambda ds: ds.assign_coords(prompt=["p", "p"]), "prompt 'p' occurs 2 times"),
    (lambda ds: ds.assign_coords(prompt=[1, 2]), "prompt is named 1"),
    (lambda ds: ds.assign_coords(category=["c", "c"]), "category 'c' occurs 2 times"),
    (
        lambda ds: ds.assign_coords(framing=("prompt", ["positive", "negativ"])),
        "Did you mean 'negative'",
    ),
    (lambda ds: ds.assign_coords(stage=("model", ["reward", "chat"])), "stage 'chat'"),
    (lambda ds: ds.isel(model=[]), "no model: the dim 'model' has length 0"),
    (cell(np.inf), "'org/b', 'prompt': 'best', 'response': 'spoon'.* is inf"),
    (cell(-np.inf), "is -inf"),
    (whole_model(np.nan), "'org/b' has no score at all"),
    (whole_model(3.0), "'org/b' gives every prompt and word the same score, 3.0"),
]


@pytest.mark.parametrize(("breaking", "said"), BROKEN)
def test_the_first_offence_is_named(breaking: Callable[[xr.Dataset], Any], said: str) -> None:
    sound = made()
    assert validate(sound) is sound
    with pytest.raises(ValueBiasError, match=said):
        validate(breaking(sound.copy(deep=True)))


def test_missing_cells_and_a_constant_column_are_allowed() -> None:
    ds = made()
    ds["score"][0, 0, 0] = np.nan
    ds["score"][1, 1, :] = 4.0
    assert validate(ds) is ds


def test_implicit_rewards_may_be_positive() -> None:
    assert made(kind="implicit").attrs["units"] == "nat"


def test_the_number_of_categories_needed_can_be_demanded() -> None:
    with pytest.raises(ValueBiasError, match=r"There are 2 categories .* at least 3"):
        validate(made(), min_categories=3)


def test_a_dataset_that_xarray_made_from_pandas_text_is_fine() -> None:
    ds = made()
    again = ds.assign_coords(
        model=pd.Index(ds["model"].values.tolist()),
        family=("model", pd.Series(ds["family"].values.tolist()).to_numpy()),
    )
    assert validate(again) is again


# --- tables ----------------------------------------------------------------------------------


def test_tables_give_back_what_build_was_given() -> None:
    ds = made(models=MODELS.assign(seed=[1, 2]))
    again = build(
        ds["score"], models=model_table(ds), prompts=prompt_table(ds), lexicon=lexicon(LEXICON)
    )
    assert again.identical(ds.assign_attrs(provenance="{}"))


def test_a_base_may_be_unknown() -> None:
    for models in (MODELS.drop(columns="base"), MODELS.assign(base=None), MODELS.assign(base="")):
        assert made(models=models)["base"].values.tolist() == ["", ""]
    half = made(models=MODELS.assign(base=["org/lm-2b", np.nan]))
    assert half["base"].values.tolist() == ["org/lm-2b", ""]


def test_what_is_known_of_words_is_joined_by_word() -> None:
    table = pd.DataFrame(
        {"frequency": [3.5, 1.0, 2.0], "rank": [1, 2, 3], "kind": ["noun", "verb", "x"]},
        index=["love", "win", "other"],
    ).assign(animate=[True, False, True])
    ds = made(words=table)
    np.testing.assert_array_equal(ds["frequency"], [1.0, 3.5, np.nan])
    np.testing.assert_array_equal(ds["rank"], [2, 1, np.nan])
    np.testing.assert_array_equal(ds["animate"], [0, 1, np.nan])
    assert ds["kind"].values.tolist() == ["verb", "noun", ""]
    whole = made(words=table.rename(index={"other": "spoon"}).rename_axis("response").reset_index())
    assert [whole[name].dtype.kind for name in ("rank", "animate", "kind")] == list("ibU")
    assert whole["frequency"].values.tolist() == [1.0, 3.5, 2.0]


def test_the_word_table_has_every_coord_and_the_length() -> None:
    # Composed, decomposed, beyond the first plane, half of a pair, with a blank.
    words = ["caf\u00e9", "cafe\u0301", "\U0001f600", "\ud83d", "free will"]
    score = np.arange(20).reshape(2, 2, 5)
    ds = made(score=score, responses=words, lexicon=None)
    table = word_table(ds)
    assert table.index.tolist() == words
    assert table.to_dict("list") == {"length": [4, 4, 1, 1, 9]}
    more = ds.assign_coords(
        n_tokens=("response", [1.0, 2, 1, 3, 2]),
        kind=("response", list("abcde")),
        of_model=("model", [1, 2]),
        both=(("model", "response"), score[:, 0]),
    )
    assert word_table(more).columns.tolist() == ["n_tokens", "kind", "length"]
    own = ds.assign_coords(length=("response", [9, 8, 7, 6, 5]))
    assert word_table(own)["length"].tolist() == [9, 8, 7, 6, 5]


# --- concat ----------------------------------------------------------------------------------


def test_concat_undoes_a_split_whatever_the_order(simulated: xr.Dataset) -> None:
    shuffled = simulated.isel(
        model=[3, 4, 5, 6], prompt=slice(None, None, -1), response=slice(None, None, -1)
    )
    both = concat([simulated.isel(model=[0, 1, 2]), shuffled])
    assert both.equals(simulated)
    assert len(json.loads(both.attrs["provenance"])["parts"]) == 2


def test_an_outer_join_fills_missing_words_with_nan(simulated: xr.Dataset) -> None:
    one = simulated.isel(model=[0, 1], response=slice(0, 20))
    other = simulated.isel(model=[2], response=slice(5, None))
    with pytest.raises(ValueBiasError, match=r"lacks 7 of the 27 words.*join='outer'"):
        concat([one, other])
    both = concat([one, other], join="outer")
    assert both["response"].values.tolist() == simulated["response"].values.tolist()
    assert both["membership"].equals(simulated["membership"])
    expected = simulated["score"].isel(model=[0, 1, 2]).copy()
    expected[:2, :, 20:] = np.nan
    expected[2:, :, :5] = np.nan
    np.testing.assert_array_equal(both["score"], expected)


def test_a_coord_that_one_part_lacks_is_left_empty(simulated: xr.Dataset) -> None:
    one = simulated.isel(model=[0]).assign_coords(seed=("model", [4]), nickname=("model", ["x"]))
    both = concat([one, simulated.isel(model=[1])])
    np.testing.assert_array_equal(both["seed"], [4, np.nan])
    assert both["nickname"].values.tolist() == ["x", ""]


def test_what_is_known_of_words_is_put_together(simulated: xr.Dataset) -> None:
    frequency = np.arange(27.0)
    frequency[3] = np.nan
    known = simulated.assign_coords(
        frequency=("response", frequency),
        kind=("response", ["", *["noun"] * 26]),
        rank=("response", np.arange(27)),
        n_tokens=("response", np.full(27, 1.0)),
    )
    one = known.isel(model=[0])
    other = known.isel(model=[1, 2, 3], response=slice(None, None, -1))
    both = concat([one, other])
    for name in ("frequency", "kind", "rank", "n_tokens"):
        assert both[name].identical(known[name])
    # One part knows nothing, another knows a word that the first one does not.
    filled = other["frequency"].fillna(8.5).to_numpy()
    part = other.drop_vars("kind").assign_coords(
        frequency=("response", filled), n_tokens=("response", np.full(27, 3.0))
    )
    both = concat([one.isel(response=slice(0, 20)), part.drop_vars("rank")], join="outer")
    # Words that only the second part has come in its order.
    assert both["frequency"].values.tolist() == [0, 1, 2, 8.5, *range(4, 20), *range(26, 19, -1)]
    assert both["kind"].values.tolist() == ["", *["noun"] * 19, *[""] * 7]
    np.testing.assert_array_equal(both["rank"], [*range(20), *[np.nan] * 7])
    assert both["n_tokens"].values.tolist() == [2.5] * 20 + [3.0] * 7
    assert concat([one, simulated.isel(model=[1])])["kind"].identical(one["kind"])
    wrong = other.assign_coords(frequency=("response", filled + 1))
    said = r"'communion_0015' has frequency 26.0 in one .* 27.0 in another.*vars\('frequency'\)"
    with pytest.raises(ValueBiasError, match=said):
        concat([one, wrong])
    assert "frequency" in concat([one, wrong.drop_vars("frequency")]).coords


def renamed(ds: xr.Dataset, dim: str, index: int, name: str) -> xr.Dataset:
    names = ds[dim].values.astype("U40")
    names[index] = name
    return ds.assign_coords({dim: names})


def flipped(ds: xr.Dataset) -> xr.Dataset:
    member = ds["membership"].copy()
    member[0] = ~member[0]
    return ds.assign(membership=member)


@pytest.mark.parametrize(
    ("breaking", "said"),
    [
        (
            lambda ds: renamed(ds, "model", 0, "simulated/gemma-1"),
            "'simulated/gemma-1' is in dataset 1 and in dataset 2",
        ),
        (
            lambda ds: renamed(ds, "prompt", 0, "new"),
            "prompt 'best_ever_one' is in the first dataset, not dataset 2",
        ),
        (lambda ds: renamed(ds, "category", 0, "zeal"), "category 'agency' is in the first"),
        (lambda ds: ds.assign_coords(text=("prompt", [*"abcdefgh"])), "has text 'a' in dataset 2"),
        (
            lambda ds: ds.assign_coords(framing=ds["framing"][::-1].variable),
            "has framing 'negative' in dataset 2",
        ),
        (flipped, "word 'agency_0001' is in other categories in dataset 2"),
        (
            lambda ds: ds.assign_attrs(kind="implicit", units="nat"),
            "kind 'implicit', the first 'reward'",
        ),
    ],
)
def test_parts_that_differ_are_named(
    simulated: xr.Dataset, breaking: Callable[[xr.Dataset], xr.Dataset], said: str
) -> None:
    one, other = simulated.isel(model=[0]), simulated.isel(model=[1])
    with pytest.raises(ValueBiasError, match=said):
        concat([one, breaking(other)])


def test_concat_of_nothing_or_with_another_join_is_an_error(simulated: xr.Dataset) -> None:
    with pytest.raises(ValueBiasError, match="nothing to concatenate"):
        concat([])
    with pytest.raises(ValueBiasError, match="join is 'inner'"):
        concat([simulated], join="inner")


@given(st.permutations(range(5)), st.permutations(range(4)), st.permutations(range(6)), st.data())
def test_concat_keeps_every_score(
    models: list[int], prompts_: list[int], words: list[int], data: st.DataObject
) -> None:
    ds = simulate(n_models={"A": 2, "B": 3}, n_prompts=4, n_words=6, missing=0.2, seed=9)
    cut = data.draw(st.integers(1, 4))
    parts = [
        ds.isel(model=models[:cut]),
        ds.isel(model=models[cut:], prompt=prompts_, response=words),
    ]
    both = concat(parts)
    assert both.sel(model=ds["model"].values).equals(ds)


def test_messages_do_not_depend_on_the_order_of_sets() -> None:
    one = made()
    with pytest.raises(ValueBiasError) as caught:
        concat([one, renamed(renamed(one, "model", 0, "x"), "model", 1, "y").isel(response=[0, 1])])
    assert re.search("being 'spoon'", str(caught.value))


def _mended(error: ValueBiasError, dataset: xr.Dataset) -> xr.Dataset:
    """Do as the message says."""
    line = str(error).rpartition("or here: ")[2].removesuffix(".")
    scope: dict[str, xr.Dataset] = {"dataset": dataset}
    exec(line, scope)  # noqa: S102
    return scope["dataset"]


@pytest.mark.parametrize("coord", ["family", "base", "reward_model"])
def test_names_that_differ_in_capitals_or_spaces_only_are_refused(coord):
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=2, n_words=6, seed=1)
    for other in ("a 1", "A  1", "A 1 "):
        given = ds.assign_coords({coord: ("model", ["A 1", other, "B 1", "B 2"])})
        with pytest.raises(ValueBiasError, match=f"'A 1' and '{other}' differ in cap") as caught:
            validate(given)
        assert f"column {coord!r} of the table" in caught.value.in_shell
        mended = validate(_mended(caught.value, given))
        assert mended[coord].to_numpy().tolist() == ["A 1", "A 1", "B 1", "B 2"]
    validate(ds.assign_coords(base=("model", ["", "", "b", "c"])))


def test_names_that_look_alike_are_found():
    names = ["org/A1", "A1", "a-1", "llama-3.1", "llama-31", "", "", "x/b", "y/b", "c"]
    assert look_alike(names) == [["org/A1", "A1", "a-1"]]
    assert look_alike(["google/gemma2", "Google/gemma-2"]) == [["google/gemma2", "Google/gemma-2"]]
    assert look_alike(["x/b", "y/b", "m-1-1", "m-11"]) == []


@pytest.mark.parametrize(("n", "out", "warns"), [
    (265, 202, True), (265, 27, True), (265, 26, False), (30, 9, False), (5_000, 4_900, False),
    (40, 40, False), (40, 0, False),
])  # fmt: skip
def test_many_words_in_no_category_are_counted(n, out, warns):
    member = np.zeros((n, 2), dtype=bool)
    member[out:, 0] = True
    said = uncovered(xr.Dataset({"membership": (("response", "category"), member)}))
    assert bool(said) == warns
    if warns:
        assert said.startswith(f"{out} of the {n} words scored ({out / n:.0%}) are in no category")
        assert f"the {n - out} others" in said
