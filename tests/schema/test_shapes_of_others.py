"""Tables of other libraries, and datasets that xarray has turned, chunked or joined."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError
from valuebias._core.frames import as_frame
from valuebias.schema import DIMS, build, concat, validate

QUICK: dict[str, Any] = {"draws": 10, "tune": 20, "chains": 2, "seed": 1, "progress": False}


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return valuebias.simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=12, seed=1)


def by_polars(**columns: Any) -> Any:
    return pytest.importorskip("polars").DataFrame(columns)


def by_pyarrow(**columns: Any) -> Any:
    return pa.table(columns)


MAKERS = pytest.mark.parametrize("table", [by_pyarrow, by_polars])


@MAKERS
def test_tables_of_other_libraries_say_the_same(table: Callable[..., Any], tmp_path: Path) -> None:
    words = {"word": ["win", "love"], "agency": [True, False], "communion": [False, True]}
    given = valuebias.lexicon(table(**words))
    plain = valuebias.lexicon(pd.DataFrame(words).set_index("word"))
    assert given.table.equals(plain.table)
    assert given.sha256 == plain.sha256
    long = table(word=["win", "love"], category=["agency", "communion"])
    assert valuebias.lexicon(long).table.equals(plain.table)
    weighed = table(word=["win", "love"], agency=[0.5, 0.0], other=[0.0, 1.0], source=["x", "y"])
    assert valuebias.lexicon(weighed, categories=["agency"]).table["agency"].tolist() == [0.5]

    asked = {"prompt": ["a", "b"], "text": ["Best?", "Worst?"], "framing": ["positive", "negative"]}
    prompts = valuebias.prompts(table(**asked))
    assert prompts.table.equals(valuebias.prompts(pd.DataFrame(asked)).table)
    about = {"model": ["org/x"], "family": ["A"], "stage": ["reward"], "n_params": [None]}
    described = {**about, "base": ["org/b"]}
    file = tmp_path / "a_rewards_org_x.csv"
    file.write_text("word,a,b\nwin,1,2\nlove,3,4\n")
    read = valuebias.read_scores(
        file, models=table(**described), prompts=prompts, lexicon=table(**words)
    )
    same = valuebias.read_scores(
        file, models=pd.DataFrame(described), prompts=prompts, lexicon=plain
    )
    xr.testing.assert_identical(read.drop_attrs(), same.drop_attrs())
    built = build(
        read["score"].to_numpy(),
        models=table(**described),
        prompts=table(**asked),
        lexicon=table(**words),
        responses=["win", "love"],
        words=table(response=["love"], frequency=[2.5]),
    )
    assert np.isnan(built["frequency"].to_numpy()[0])
    assert built["frequency"].to_numpy()[1] == 2.5
    xr.testing.assert_identical(built.drop_vars("frequency").drop_attrs(), same.drop_attrs())

    (model,) = valuebias.read_models(table(location=["org/x"], family=["A"], revision=[None]))
    assert (model.location, model.family, model.revision) == ("org/x", "A", None)
    pairs = {"prompt": ["Hi?", "Yo?"], "chosen": ["a", "b"], "rejected": ["c", "d"]}
    assert len(valuebias.preferences(table(**pairs))) == 2


@MAKERS
def test_models_to_predict_are_taken_from_such_a_table(
    table: Callable[..., Any], ds: xr.Dataset
) -> None:
    fit = valuebias.fit(ds, "~ family", **QUICK)
    given = fit.predict(table(family=["A", "B"]))
    plain = fit.predict(pd.DataFrame({"family": ["A", "B"]}))
    xr.testing.assert_identical(given.draws, plain.draws)


def test_rows_that_are_not_there_yet_are_asked_for() -> None:
    polars = pytest.importorskip("polars")
    lazy = polars.LazyFrame({"word": ["win"], "agency": [True]})
    with pytest.raises(ValueBiasError, match=r"A polars LazyFrame .* table\.collect\(\)"):
        valuebias.lexicon(lazy)
    assert valuebias.lexicon(lazy.collect()).words == ("win",)


def test_what_is_no_table_is_left_as_it_is() -> None:
    series = pd.Series([1, 2])
    array = xr.DataArray([1.0])
    for given in ("a.csv", Path("a.csv"), series, array, None, {"a": ["b"]}, ["a"]):
        assert as_frame(given) is given


def lazily(dataset: xr.Dataset) -> xr.Dataset:
    pytest.importorskip("dask")
    return dataset.chunk({"model": 1})


def test_chunks_are_computed_once_and_give_the_same(ds: xr.Dataset, tmp_path: Path) -> None:
    chunked = lazily(ds)
    fit = valuebias.fit(chunked, **QUICK)
    assert fit.data["score"].chunks is None
    assert chunked["score"].chunks is not None
    assert fit.contrasts().equals(valuebias.fit(ds, **QUICK).contrasts())
    assert valuebias.audit(chunked).findings.equals(valuebias.audit(ds).findings)
    again = valuebias.read(valuebias.write(chunked, tmp_path / "scores.nc"))
    xr.testing.assert_equal(again, ds)


def turned(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.transpose("response", "prompt", "model", "category")


def logprobs(dataset: xr.Dataset) -> xr.Dataset:
    score = dataset["score"] - float(dataset["score"].max()) - 1
    return dataset.assign(score=score).assign_attrs(kind="logprob", units="nat")


ENTRIES: dict[str, Callable[[xr.Dataset], Any]] = {
    "validate": validate,
    "fit": lambda ds: valuebias.fit(ds, **QUICK),
    "multiverse": lambda ds: valuebias.multiverse(ds, progress=False),
    "fit_ablation": valuebias.fit_ablation,
    "classical": valuebias.classical,
    "concat": lambda ds: concat([ds]),
    "write": lambda ds: valuebias.write(ds, "scores.nc"),
    "implicit": lambda ds: valuebias.implicit(logprobs(ds), numerator="A", denominator="B"),
    "plot_ranks": valuebias.plots.plot_ranks,
    "plot_chosen_words": valuebias.plots.plot_chosen_words,
    "plot_logprobs": lambda ds: valuebias.plots.plot_logprobs(logprobs(ds)),
    "token_table": valuebias.plots.token_table,
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_turned_dataset_is_refused_with_the_line_that_turns_it_back(
    entry: str, ds: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueBiasError, match=r"in this order\. Put them so: ds = ds\.transpose"):
        ENTRIES[entry](turned(ds))


def followed(message: str, ds: xr.Dataset) -> xr.Dataset:
    """Run the assignment that a message ends with."""
    (line,) = re.findall(r"ds = (ds\..*)\.$", message)
    return eval(line, {}, {"ds": ds})  # noqa: S307 - the advice of our own message


def refused(given: xr.Dataset) -> str:
    with pytest.raises(ValueBiasError) as caught:
        validate(given)
    return str(caught.value)


def test_the_advice_on_dims_works(ds: xr.Dataset) -> None:
    xr.testing.assert_identical(followed(refused(turned(ds)), turned(ds)), ds)
    runs = xr.concat([ds, ds], dim="run")
    xr.testing.assert_identical(validate(followed(refused(runs), runs)), ds)


def test_a_turned_dataset_is_audited_and_aligned(ds: xr.Dataset) -> None:
    (row,) = valuebias.audit(turned(ds)).findings.query("check == 'contract'").to_dict("records")
    assert "ds.transpose" in row["detail"]
    given = logprobs(ds)
    aligned = valuebias.align(given, merge="space")
    xr.testing.assert_equal(valuebias.align(turned(given), merge="space"), aligned)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("chosen", [{"data_vars": "all"}, {"data_vars": "minimal"}])
def test_what_xarray_joins_is_taken_or_refused_with_advice_that_works(
    dim: str, chosen: dict[str, Any], ds: xr.Dataset
) -> None:
    half = ds.sizes[dim] // 2
    parts = [ds.isel({dim: slice(half)}), ds.isel({dim: slice(half, None)})]
    rest: dict[str, Any] = {"compat": "equals", "join": "outer", "coords": "different"}
    joined = xr.concat(parts, dim=dim, **chosen, **rest)
    if chosen == {"data_vars": "minimal"} or dim == "response":
        xr.testing.assert_equal(validate(joined), ds)
        return
    said = refused(joined)
    assert f"xr.concat repeats it along {dim!r}" in said
    xr.testing.assert_equal(validate(followed(said, joined)), ds)
    if dim == "model":
        assert "join the datasets with valuebias.schema.concat([...])" in said
        xr.testing.assert_equal(concat(parts), ds)
    else:
        assert "xr.concat([...], dim='prompt', data_vars='minimal')" in said


def test_words_that_some_lack_are_joined_by_the_advice(ds: xr.Dataset) -> None:
    parts = [ds.isel(model=[0, 1], response=slice(9)), ds.isel(model=[2, 3], response=slice(3, 12))]
    joined = xr.concat(
        parts, dim="model", data_vars="minimal", coords="minimal", compat="override", join="outer"
    )
    said = refused(joined)
    assert "has no weight (NaN)" in said
    assert "valuebias.schema.concat([...], join='outer')" in said
    assert validate(concat(parts, join="outer")).sizes["response"] == 12


def test_a_turned_vocabulary_is_drawn_from_all_the_same(ds: xr.Dataset) -> None:
    asked: dict[str, Any] = {"vocabulary": 12, "n_words": 2, "n_seeds": 2, "progress": False}
    given = logprobs(ds)
    plain = valuebias.validate_implicit(given, **asked).table
    assert valuebias.validate_implicit(turned(given), **asked).table.equals(plain)


@MAKERS
def test_a_table_of_scores_becomes_a_file(
    table: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scores = {"word": ["win", "love"], "best_ever_one": [1.0, 2.0], "bad_ever_one": [0.5, 0.25]}
    for given in (table(**scores), pd.DataFrame(scores)):
        for read in (valuebias.read, valuebias.read_scores):
            with pytest.raises(
                ValueBiasError, match=r"expected a path\. Write the table"
            ) as caught:
                read(given)
        line = re.search(r"Write the table: (.*), and give that", str(caught.value))
        assert line is not None
        eval(line[1], {"table": given})  # noqa: S307 - the advice of our own message
        about = pd.DataFrame({"family": ["A"], "stage": ["reward"]}, index=["org/x"])
        read_back = valuebias.read_scores({"org/x": "scores.parquet"}, models=about)
        assert read_back["score"].sel(prompt="bad_ever_one").to_numpy().tolist() == [[0.5, 0.25]]
        Path("scores.parquet").unlink()


def test_datasets_are_joined_from_a_list(ds: xr.Dataset) -> None:
    with pytest.raises(ValueBiasError, match=r"given as Dataset; expected a list of them: \[ds\]"):
        concat(ds)  # type: ignore[arg-type]
    with pytest.raises(ValueBiasError, match=r"list\(parts\.values\(\)\)"):
        concat({"a": ds})  # type: ignore[arg-type]
    assert concat(list({"a": ds}.values())).equals(ds)
