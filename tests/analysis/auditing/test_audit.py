from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

from valuebias import Audit, ValueBiasError, audit
from valuebias.analysis.auditing.audit import CHECKS, SEVERITIES
from valuebias.datasets.simulate import simulate


def clean(**changes) -> xr.Dataset:
    arguments = {"n_models": {"A": 2, "B": 3}, "n_prompts": 6, "n_words": 60, "seed": 7}
    return simulate(**{**arguments, **changes})


def found(ds: xr.Dataset, check: str) -> list[dict[str, str]]:
    rows = audit(ds).findings.to_dict("records")
    assert {row["check"] for row in rows} <= set(CHECKS)
    return [row for row in rows if row["check"] == check]


def test_clean_data_give_no_finding():
    made = audit(clean())
    assert isinstance(made, Audit)
    assert made.ok
    assert made.findings.empty
    assert made.findings.columns.tolist() == ["severity", "check", "where", "detail"]


def described(**coords) -> xr.Dataset:
    ds = clean().assign_attrs(provenance="{}")
    return ds.assign_coords({name: ("model", values) for name, values in coords.items()})


def test_bases_that_are_missing_or_doubtful():
    sizes = {"n_params": [2.6e9, 27.2e9, 8.0e9, 7.5e9, 3.2e9]}
    sound = ["org/a-2b", "org/a-27b", "org/b-8b", "org/b-8b", "org/b-3b"]
    assert found(described(base=sound, **sizes), "bases") == []
    (row,) = found(described(base=["A 2", "A 2", *sound[2:]], **sizes), "bases")
    assert (row["severity"], row["where"]) == ("warning", "base 'A 2'")
    names = "'simulated/a-1' and 'simulated/a-2'"
    assert f"from 2.6e+09 to 2.7e+10 parameters: {names}" in row["detail"]
    unknown = {"n_params": [np.nan] * 5}
    (row,) = found(described(base=["a", "A 2", *["b"] * 3], **unknown), "bases")
    assert row["where"] == "base 'b'"
    assert "has the name of a family" in row["detail"]
    (row,) = found(described(base=["", "A 2", "", "b1", "b2"], **unknown), "bases")
    assert "2 of 5 models have no base: 'simulated/a-1' and 'simulated/b-1'. " in row["detail"]
    (row,) = found(described(base=["org/a-1", "Org/A 1", *sound[2:]], **unknown), "bases")
    assert "'Org/A 1' and 'org/a-1' differ in capitals, spaces or punctuation only" in row["detail"]
    (row,) = found(described().drop_vars("base"), "contract")
    assert found(described().drop_vars("base"), "bases") == []
    assert found(described(base=[""] * 5).isel(model=[0]), "bases") == []
    # Nobody can look up what an invented model was trained from.
    assert found(clean().assign_coords(base=("model", [""] * 5)), "bases") == []


def test_identical_models():
    ds = clean(missing=0.05)
    ds["score"][4] = ds["score"][1]
    (row,) = found(ds, "identical models")
    assert row["severity"] == "problem"
    assert "'simulated/a-2' and 'simulated/b-3'" in row["detail"]
    assert not audit(ds).ok
    ds["score"][4, 0, 0] += 1
    assert found(ds, "identical models") == []


def test_signed_zeros_are_the_same_score():
    ds = clean()
    ds["score"][0, 0, 0] = 0.0
    ds["score"][1] = ds["score"][0]
    ds["score"][1, 0, 0] = -0.0
    assert len(found(ds, "identical models")) == 1


@pytest.mark.parametrize("nested", [False, True])
def test_identical_files(nested):
    ds = clean()
    files = [{"name": f"{name}.csv", "sha256": sha} for name, sha in zip("abc", "xyx", strict=True)]
    record = {"files": files}
    # The parts of a concatenation may share a file; that is one file.
    record = {"parts": [record, {"files": files[:1]}]} if nested else record
    ds.attrs["provenance"] = json.dumps(record)
    (row,) = found(ds, "identical files")
    assert row["severity"] == "problem"
    assert "2 source files are byte for byte the same: 'a.csv' and 'c.csv'" in row["detail"]


def test_words_that_differ_in_case():
    ds = clean()
    words = ds["response"].to_numpy().tolist()
    words[0], words[1], words[2] = "Straße", " STRASSE", "love"
    (row,) = found(ds.assign_coords(response=np.array(words)), "repeated words")
    assert "1 words occur more than once, apart from case and blanks" in row["detail"]
    assert "'Straße' = ' STRASSE'" in row["detail"]


def test_prompts_with_one_text():
    ds = clean()
    texts = ds["text"].to_numpy().astype(object)
    texts[2] = f"  {texts[0].upper()} "
    (row,) = found(ds.assign_coords(text=("prompt", texts)), "identical texts")
    assert "2 prompts have the same text: 'best_ever_one' and 'best_ever_please'" in row["detail"]


def test_prompts_with_one_column_of_scores():
    ds = clean()
    ds["score"][:, 3] = ds["score"][:, 0]
    (row,) = found(ds, "identical prompts")
    assert row["where"] == "prompt"
    assert "from every model" in row["detail"]
    ds["score"][2, 5] = ds["score"][2, 4]
    everywhere, one = found(ds, "identical prompts")
    assert everywhere["where"] == "prompt"
    assert one["where"] == "model 'simulated/b-1'"


def test_columns_without_variation():
    ds = clean()
    ds["score"][1, 2:4] = 1.5
    ds["score"][1, 3] = 2.5
    (row,) = found(ds, "constant columns")
    assert (row["severity"], row["where"]) == ("warning", "model 'simulated/a-2'")
    assert "under 2 of 6 prompts" in row["detail"]
    assert found(ds, "identical prompts") == []
    ds["score"][1] = np.arange(6, dtype=np.float32)[:, None]
    (row,) = found(ds, "constant columns")
    assert row["severity"] == "problem"


def test_missing_cells_are_counted_where_they_gather():
    ds = clean()
    ds["score"][0, 0, :10] = np.nan
    whole, model, prompt, _ = found(ds, "missing cells")
    assert "10 of 1,800 cells (0.6%)" in whole["detail"]
    assert whole["severity"] == model["severity"] == prompt["severity"] == "note"
    assert "'simulated/a-1' 2.8%" in model["detail"]
    assert "'best_ever_one' 3.3%" in prompt["detail"]


def test_missing_at_random_is_one_finding():
    rows = found(clean(missing=0.2), "missing cells")
    assert [row["where"] for row in rows] in (["dataset"], ["dataset", "response"])
    assert rows[0]["severity"] == "warning"


def test_whole_prompts_words_and_models_without_scores():
    ds = clean()
    ds["score"][:, 1] = np.nan
    ds["score"][:, :, 7] = np.nan
    rows = {row["where"]: row for row in found(ds, "missing cells")}
    assert "1 of 6 have no score at all: 'best_ever_single'" in rows["prompt"]["detail"]
    assert "1 of 60 have no score at all" in rows["response"]["detail"]
    assert rows["prompt"]["severity"] == "warning"
    ds["score"][3] = np.nan
    assert any(
        row["severity"] == "problem" and "'simulated/b-2'" in row["detail"]
        for row in found(ds, "missing cells")
    )


def test_words_outside_the_lexicon_and_in_several_categories():
    ds = clean(overlap=0.1)
    (row,) = found(ds, "several categories")
    assert row["detail"].startswith("6 words are in more than one category")
    ds["membership"][:3] = False
    (row,) = found(ds, "outside the lexicon")
    assert row["severity"] == "note"
    assert "3 of 60 words are in no category" in row["detail"]


def test_small_categories():
    rows = found(clean(n_words={"x": 9, "y": 10, "z": 1}), "small categories")
    assert [row["where"] for row in rows] == ["category 'x'", "category 'z'"]
    assert "It has 1 word;" in rows[1]["detail"]


def test_ties():
    ds = clean()
    ds["score"][0] = ds["score"][0].round(0)
    ds["score"][1, :, :12] = ds["score"][1, :, :1].values
    some, many = sorted(found(ds, "ties"), key=lambda row: row["severity"])
    assert (some["severity"], some["where"]) == ("note", "model 'simulated/a-2'")
    assert some["detail"].startswith("20% of its scores")
    assert (many["severity"], many["where"]) == ("warning", "model 'simulated/a-1'")


def test_extreme_scores_name_the_farthest():
    ds = clean(missing=0.02)
    ds["score"][2, 3, 11] = 80.0
    ds["score"][2, 4, 12] = -90.0
    (row,) = found(ds, "extreme scores")
    assert row["where"] == "model 'simulated/b-1'"
    assert row["detail"].startswith("2 scores")
    assert repr(str(ds["response"].values[12])) in row["detail"]
    assert repr(str(ds["prompt"].values[4])) in row["detail"]


def test_families():
    (row,) = found(clean(n_models={"A": 3}), "families")
    assert row["severity"] == "problem"
    (row,) = found(clean(n_models={"A": 3, "B": 1, "C": 1}), "families")
    assert row["severity"] == "warning"
    assert "One model only in 'B' and 'C'" in row["detail"]


def test_framings():
    ds = clean()
    (row,) = found(ds.isel(prompt=slice(3)), "framings")
    assert row["severity"] == "warning"
    (row,) = found(ds.isel(prompt=slice(4)), "framings")
    assert (row["severity"], row["detail"]) == (
        "note",
        "There are 1 negative and 3 positive prompts.",
    )


def test_no_category_is_a_problem():
    (row,) = found(clean().isel(category=slice(0)), "outside the lexicon")
    assert row["severity"] == "problem"


def test_a_breach_of_the_contract_is_a_finding():
    ds = clean()
    ds.attrs["units"] = "bit"
    (row,) = found(ds, "contract")
    assert row["severity"] == "problem"
    assert "'bit'" in row["detail"]
    ds = clean()
    ds["score"][0, 0, 0] = np.inf
    assert "inf" in found(ds, "contract")[0]["detail"]
    ds.attrs["provenance"] = "{"
    assert len(found(ds, "contract")) == 1


@pytest.mark.parametrize("bad", [None, xr.Dataset(), clean().drop_vars("family")])
def test_what_cannot_be_read_is_refused(bad):
    with pytest.raises(ValueBiasError):
        audit(bad)


def test_the_worst_comes_first():
    ds = clean(n_words={"x": 4, "y": 30}, overlap=0.1)
    ds["score"][1] = ds["score"][0]
    made = audit(ds)
    order = [SEVERITIES.index(severity) for severity in made.findings["severity"]]
    assert order == sorted(order)
    assert set(order) == {0, 1, 2}
    assert [made.count(severity) for severity in SEVERITIES] == [order.count(i) for i in range(3)]


def test_names_may_hold_anything():
    ds = clean(n_models={"A": 1, "B": 2}, n_words={"x": 5, "y": 30})
    family = np.where(ds["family"].values == "A", "\ud800", "B")
    ds = ds.assign_coords(family=("model", family), category=["<script>", "\udfff"])
    details = audit(ds).findings["detail"].tolist() + audit(ds).findings["where"].tolist()
    assert any("\\ud800" in text for text in details)
    assert any("<script>" in text for text in details)
    # repr() has escaped what cannot be written out.
    assert all(text.encode("utf-8") for text in details)


@pytest.mark.released_data
def test_the_papers_scores(big2):
    made = audit(big2)
    assert made.ok
    findings = made.findings
    outside = findings[findings["check"] == "outside the lexicon"]["detail"].item()
    assert "2 of 265 words" in outside
    assert "'discussion' and 'eagerness'" in outside
    ties = findings[findings["check"] == "ties"]
    assert (ties["severity"] == "warning").sum() == 5
    assert len(ties) == 8
    assert set(findings["check"]) == {"outside the lexicon", "ties", "extreme scores"}
