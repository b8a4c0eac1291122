"""Log-probs of different vocabularies joined on text, against pandas on adversarial ones."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import valuebias
from valuebias import ValueBiasError
from valuebias.schema import build, word_table

PROMPTS = pd.DataFrame(
    {"text": ["Best?", "Worst?"], "framing": ["positive", "negative"]}, index=["best", "worst"]
)
# What tokenizers hold: variants in case and space, fragments, text that tables take for missing.
TEXTS = ["love", " love", "Love", " LOVE ", "NaN", "nan", "", " ", "\n", "\ufffd", "null", "a,b",
         '"', "é", "é", "ß", "SS", "İ", "power", "x"]  # fmt: skip
VOCABULARIES = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=25)


def vocabulary(name: str, texts: list[str], *, seed: int = 0, family: str = "F") -> xr.Dataset:
    """Make what scoring a whole vocabulary gives: unique tokens, texts that may repeat."""
    rng = np.random.default_rng([seed, len(texts)])
    mass = rng.dirichlet(np.full(len(texts), 0.5), size=2)
    models = pd.DataFrame(
        {"family": [family], "base": [name], "stage": ["pretrained"]}, index=[name]
    )
    ds = build(
        np.log(np.maximum(mass, 1e-30))[None],
        models=models,
        prompts=PROMPTS,
        responses=[f"token {i}" for i in range(len(texts))],
        kind="logprob",
    )
    return ds.assign_coords(
        token_id=("response", np.arange(len(texts))),
        decoded=("response", np.array(texts, dtype="U")),
    )


def by_pandas(
    parts: list[xr.Dataset], join: str, merge: tuple[str, ...], combine: str
) -> dict[str, pd.DataFrame]:
    """Align as one would with tables: one row a token, grouped by text, merged."""
    tables = {}
    for ds in parts:
        frame = pd.DataFrame(
            ds["score"].to_numpy()[0].T.astype(np.float64), columns=["best", "worst"]
        )
        frame["text"] = ds["decoded"].to_numpy().astype(object)
        frame = frame.groupby("text", sort=False).max().reset_index()
        key = frame.pop("text").astype(object)
        if "space" in merge:
            key = key.map(str.strip)
        if "case" in merge:
            key = key.map(str.lower)
        kept = (key != "").to_numpy()
        ways: dict[str, Any] = {
            "max": "max",
            "mean": "mean",
            "logsumexp": lambda column: np.logaddexp.reduce(column.to_numpy()),
        }
        grouped = frame[kept].groupby(key[kept].to_numpy(), sort=False)
        tables[str(ds["model"].to_numpy()[0])] = grouped.agg(ways[combine])
    shared = functools.reduce(lambda a, b: a.join(b, how=join, sort=False),
                              (t[[]] for t in tables.values()))  # fmt: skip
    return {name: table.reindex(shared.index) for name, table in tables.items()}


@given(
    one=VOCABULARIES,
    two=VOCABULARIES,
    join=st.sampled_from(("inner", "outer")),
    merge=st.sampled_from(((), ("space",), ("case",), ("space", "case"))),
    combine=st.sampled_from(("max", "mean", "logsumexp")),
)
def test_equals_pandas(
    one: list[str], two: list[str], join: Any, merge: tuple[str, ...], combine: Any
) -> None:
    parts = [vocabulary("a", [*one, "shared"], seed=1), vocabulary("b", [*two, "shared"], seed=2)]
    expected = by_pandas(parts, join, merge, combine)
    found = valuebias.align(parts, join=join, merge=merge, combine=combine)
    assert sorted(found["response"].to_numpy()) == sorted(expected["a"].index)
    for name, table in expected.items():
        scores = found["score"].sel(model=name, response=table.index.to_numpy()).to_numpy()
        np.testing.assert_allclose(scores.T, table[["best", "worst"]], rtol=1e-5)


def test_texts_come_in_the_order_of_the_first_model() -> None:
    parts = [vocabulary("a", ["z", "m", "a"]), vocabulary("b", ["a", "q", "z"])]
    assert valuebias.align(parts)["response"].to_numpy().tolist() == ["z", "a"]
    found = valuebias.align(parts, join="outer")["response"].to_numpy().tolist()
    assert found == ["z", "m", "a", "q"]


def test_tokens_without_a_score_take_part_in_nothing() -> None:
    ds = vocabulary("a", ["love", " love", "x"])
    ds["score"][0, 0, 0] = np.nan
    ds["score"][0, 1, :2] = np.nan
    for combine in ("max", "mean", "logsumexp"):
        found = valuebias.align(ds, merge="space", combine=combine)  # type: ignore[arg-type]
        scores = found["score"].sel(response="love").to_numpy()[0]
        np.testing.assert_allclose(scores, [float(ds["score"][0, 0, 1]), np.nan], rtol=1e-6)


def test_coords_of_ones_own_are_kept_and_those_of_tokens_are_not() -> None:
    a = vocabulary("a", ["love", " love", "x", "y"]).assign_coords(
        frequency=("response", [np.nan, 2.5, 1.0, 7.0]), kind=("response", ["", "noun", "z", ""])
    )
    b = vocabulary("b", ["y", "Love", "x"], seed=1)
    aligned = valuebias.align([a, b], merge=["space", "case"])
    assert aligned["response"].to_numpy().tolist() == ["love", "x", "y"]
    assert word_table(aligned).to_dict("list") == {
        "frequency": [2.5, 1.0, 7.0], "kind": ["noun", "z", ""], "length": [4, 1, 1],
    }  # fmt: skip
    pairs = valuebias.implicit(aligned, numerator="a", denominator="b")
    assert word_table(pairs).equals(word_table(aligned))
    other = b.assign_coords(frequency=("response", [7.0, 2.5, 1.5]))
    with pytest.raises(ValueBiasError, match=r"'x' has frequency 1\.0 in one dataset and 1\.5"):
        valuebias.align([a, other], merge=["space", "case"])


def test_every_form_gives_the_same(tmp_path: Path) -> None:
    parts = [vocabulary("org/a", ["x", "y"]), vocabulary("b", ["y", "x", "z"])]
    expected = valuebias.align(parts)
    tree = xr.DataTree.from_dict({"org--a": parts[0], "b": parts[1]})
    both = valuebias.schema.concat([part.drop_vars(["token_id", "decoded"]).assign_coords(
        response=part["decoded"].to_numpy()) for part in parts], join="outer")  # fmt: skip
    tree.to_zarr(tmp_path / "tree.zarr", zarr_format=2)
    for given_ in (tree, {"a": parts[0], "b": parts[1]}, xr.open_datatree(tmp_path / "tree.zarr")):
        found = valuebias.align(given_)
        # Groups on disk have no order, so that another model may come first.
        same = found.sel(model=["org/a", "b"], response=["x", "y"])
        xr.testing.assert_equal(same.drop_attrs(), expected.drop_attrs())
    xr.testing.assert_equal(
        valuebias.align(both)["score"].dropna("response"),
        expected["score"].sel(response=["x", "y"]),
    )


def test_the_report_counts_what_was_lost() -> None:
    lexicon = pd.DataFrame(
        {"agency": [True, False, True], "communion": [False, True, False]},
        index=["power", "love", "will"],
    )
    parts = [
        vocabulary("a", ["love", " love", "love", "", "power", "only"]),
        vocabulary("b", ["love", "will", "power"]),
    ]
    ds = valuebias.align(parts, merge="space", lexicon=lexicon.loc[["power", "love", "will"]])
    report = valuebias.alignment_report(ds)
    assert report.loc["a"].to_dict() == {
        "tokens": 6, "empty": 1, "alike": 1, "variants": 1, "texts": 3, "kept": 2, "lost": 1,
        "agency: words": 1, "agency: lost": 0, "communion: words": 1, "communion: lost": 0,
    }  # fmt: skip
    assert report.loc["b", "agency: lost"] == 1
    assert ds["membership"].sel(response="love").to_numpy().tolist() == [False, True]


def altered(ds: xr.Dataset, **attrs: str) -> xr.Dataset:
    return ds.assign_attrs(attrs)


A, B = vocabulary("a", ["x", "y"]), vocabulary("b", ["x", "z"])


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        (
            [altered(A, kind="reward", units="1")],
            {},
            "'a' holds scores of kind 'reward'.*log-probs",
        ),
        ([A.assign(score=np.exp(A["score"]))], {}, "probabilities, take their logarithm"),
        ([A.assign(score=A["score"] / 10)], {}, r"sum to 1\.\d+; expected 1"),
        ([A.assign(score=A["score"] - 5)], {}, r"sum to 0\.00\d+; expected 1"),
        ([A, vocabulary("b", ["p", "q"])], {}, "'b' shares no text.*join=\"outer\""),
        ([A, A], {}, "The model 'a' occurs 2 times"),
        ([A, B.isel(prompt=[0])], {}, "'worst' and 0 more are in one of them only"),
        (
            [A, B.assign_coords(text=("prompt", ["Best?", "Bad?"]))],
            {},
            r"'worst' has the text 'Bad\?'",
        ),
        ([], {}, "no log-probs to align"),
        ([A["score"]], {}, "given as DataArray"),
        ([A, B], {"join": "union"}, "join is 'union'"),
        ([A, B], {"merge": "cases"}, "merge is 'cases'. Did you mean 'case'"),
        ([A, B], {"combine": "sum"}, "combine is 'sum'"),
        ([A, B], {"lexicon": "agency-communion"}, r"None of the 1 words \(such as \['x'\]\)"),
    ],
)
def test_bad_input(parts: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.align(parts, **options)


@pytest.mark.parametrize("asked", [valuebias.fit, valuebias.audit, valuebias.classical])
def test_whole_vocabularies_are_to_be_joined_first(asked: Any, tmp_path: Path) -> None:
    groups = {
        name: vocabulary(name, [" love", " power", " win", " care"], seed=i, family=name)
        for i, name in enumerate("abc")
    }
    tree = xr.DataTree.from_dict(groups)
    with pytest.raises(ValueBiasError, match="scores of whole vocabularies") as caught:
        asked(tree)
    advice = "valuebias.align(tree, merge='space', lexicon='agency-communion')"
    assert advice in str(caught.value)
    aligned = valuebias.align(tree, merge="space", lexicon="agency-communion")
    assert aligned["membership"].any("response").all()
    with pytest.raises(ValueBiasError, match=r"valuebias\.align"):
        valuebias.write(tree, tmp_path / "scores.nc")  # type: ignore[arg-type]


def test_rewards_of_vocabularies_cannot_be_joined() -> None:
    rewards = vocabulary("a", [" love", " win"]).assign_attrs(kind="reward", units="reward")
    tree = xr.DataTree.from_dict({"a": rewards})
    with pytest.raises(ValueBiasError, match=r"Only log-probs .* valuebias\.score\(\.\.\., lexi"):
        valuebias.fit(tree)  # type: ignore[arg-type]
