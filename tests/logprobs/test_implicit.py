"""Pairs of language models as implicit reward models."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning
from valuebias.logprobs.methods import get_method
from valuebias.schema import build

PROMPTS = pd.DataFrame(
    {"text": ["Best?", "Worst?"], "framing": ["positive", "negative"]}, index=["best", "worst"]
)
WORDS = ["love", "power", "x", "y", "z"]
LEXICON = pd.DataFrame(
    {"agency": [False, True, False, False, False], "communion": [True, *[False] * 4]}, index=WORDS
)
MODELS = pd.DataFrame(
    {"family": ["Gemma", "Gemma", "Llama"], "base": ["g2", "g3", "l3"], "stage": "pretrained"},
    index=["g2", "g3", "l3"],
)


def logprobs(seed: int = 0) -> xr.Dataset:
    mass = np.random.default_rng(seed).dirichlet(np.ones(len(WORDS)), size=(3, 2))
    return build(
        np.log(mass),
        models=MODELS,
        prompts=PROMPTS,
        lexicon=LEXICON,
        responses=WORDS,
        kind="logprob",
    )


def probabilities(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(size, 0.3)) + 1e-12, rng.dirichlet(np.full(size, 0.3)) + 1e-12


# --- the formulas, once more from probabilities ---------------------------------------------------


def m(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return (p + q) / 2


REFERENCE = {
    "mwlr": lambda p, q: (p + q) / 2 * np.log(p / q),
    "log_ratio": lambda p, q: np.log(p / q),
    "clipped_log_ratio": lambda p, q: np.log(np.maximum(p, 1e-6) / np.maximum(q, 1e-6)),
    "probability_difference": lambda p, q: p - q,
    "kl": rel_entr,
    "js": lambda p, q: np.where(p > q, 1, -1) * (rel_entr(p, m(p, q)) + rel_entr(q, m(p, q))) / 2,
}


@given(size=st.integers(2, 200), seed=st.integers(0, 2**32 - 1))
def test_methods_are_their_formulas(size: int, seed: int) -> None:
    p, q = probabilities(size, seed)
    assert set(REFERENCE) == set(valuebias.implicit_methods().index)
    for name, formula in REFERENCE.items():
        found = get_method(name)(np.log(p), np.log(q))
        np.testing.assert_allclose(found, formula(p, q), rtol=1e-6, atol=1e-12, err_msg=name)
        if get_method(name).antisymmetric:
            np.testing.assert_allclose(get_method(name)(np.log(q), np.log(p)), -found, atol=1e-15)


@given(size=st.integers(2, 200), seed=st.integers(0, 2**32 - 1))
def test_over_a_vocabulary_they_sum_to_divergences(size: int, seed: int) -> None:
    p, q = (x / x.sum() for x in probabilities(size, seed))
    total = {name: get_method(name)(np.log(p), np.log(q)).sum() for name in ("mwlr", "kl")}
    forward, backward = rel_entr(p, q).sum(), rel_entr(q, p).sum()
    np.testing.assert_allclose(total["mwlr"], (forward - backward) / 2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(total["kl"], forward, rtol=1e-9)


def test_words_that_are_all_but_impossible_stay_numbers() -> None:
    for name in valuebias.implicit_methods().index:
        found = get_method(name)([-800.0, -0.1, -700.0], [-0.2, -900.0, -700.0])
        assert np.isfinite(found).all()
        assert found[2] == 0


# --- pairs ---------------------------------------------------------------------------------------


def test_every_model_of_one_family_with_every_one_of_the_other() -> None:
    ds = logprobs()
    found = valuebias.implicit(ds, numerator="Gemma", denominator="Llama")
    assert found["model"].to_numpy().tolist() == ["g2 − l3", "g3 − l3"]
    assert set(found["family"].to_numpy()) == {"Gemma over Llama"}
    assert found["numerator"].to_numpy().tolist() == ["g2", "g3"]
    assert found.attrs["kind"] == "implicit"
    assert found.attrs["units"] == "nat"
    xr.testing.assert_equal(found["membership"], ds["membership"])
    p, q = (np.exp(ds["score"].sel(model=name).to_numpy().astype(float)) for name in ("g3", "l3"))
    np.testing.assert_allclose(found["score"][1], REFERENCE["mwlr"](p, q), rtol=1e-5)
    back = valuebias.implicit(ds, numerator="l3", denominator=["g2", "g3"])
    np.testing.assert_allclose(back["score"], -found["score"], rtol=1e-6)


def test_the_record_says_how() -> None:
    ds = valuebias.implicit(logprobs(), numerator="g2", denominator="l3", method="kl")
    record = json.loads(ds.attrs["provenance"])
    assert record["implicit"]["method"] == "kl"
    assert record["implicit"]["pairs"] == [["g2", "l3"]]


def test_a_method_of_ones_own() -> None:
    def doubled(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return 2 * (p - q)

    ds = logprobs()
    own = valuebias.implicit(ds, numerator="g2", denominator="l3", method=doubled)
    usual = valuebias.implicit(ds, numerator="g2", denominator="l3", method="log_ratio")
    np.testing.assert_allclose(own["score"], 2 * usual["score"], rtol=1e-6)
    assert json.loads(own.attrs["provenance"])["implicit"]["method"] == "doubled"


def test_differences_of_probabilities_have_no_unit() -> None:
    ds = valuebias.implicit(
        logprobs(), numerator="g2", denominator="l3", method="probability_difference"
    )
    assert valuebias.validate(ds).attrs["units"] == "1"


def test_words_that_one_side_lacks() -> None:
    ds = logprobs()
    ds["score"][0, 1, 2] = np.nan
    with pytest.raises(
        ValueBiasError, match=r"'x' has no log-prob for the model 'g2' after.*'worst"
    ):
        valuebias.implicit(ds, numerator="Gemma", denominator="Llama")
    found = valuebias.implicit(ds, numerator="Gemma", denominator="Llama", missing="nan")
    assert np.argwhere(np.isnan(found["score"].to_numpy())).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"numerator": "Gemma", "denominator": "g2"}, "'g2' is on both sides"),
        ({"numerator": "Lama"}, "numerator='Lama' is neither a model nor a family.*mean 'Llama'"),
        ({"numerator": []}, "numerator names no model"),
        ({"method": "ratio"}, "no method 'ratio'"),
        ({"method": 3}, "method is 3; expected a function or a name"),
        ({"method": lambda p, q: p[0]}, "gave an array of shape"),
        ({"method": lambda p, q: p * np.inf}, "numbers that are not finite"),
        ({"missing": "drop"}, "missing is 'drop'"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    usual = {"numerator": "Gemma", "denominator": "Llama"}
    with pytest.raises(ValueBiasError, match=message):
        valuebias.implicit(logprobs(), **usual | options)  # type: ignore[arg-type]


def test_rewards_are_no_logprobs(simulated: xr.Dataset) -> None:
    with pytest.raises(ValueBiasError, match="holds scores of kind 'reward'; expected log-probs"):
        valuebias.implicit(simulated, numerator="Gemma", denominator="Llama")


def test_pairs_that_share_a_model_are_no_independent_observations(tmp_path: Path) -> None:
    mass = np.random.default_rng(5).dirichlet(np.ones(12), size=(4, 2))
    words = [f"w{i}" for i in range(12)]
    ds = build(
        np.log(mass),
        models=pd.DataFrame(
            {"family": [*"GGLL"], "base": [*"abcd"], "stage": "pretrained"}, index=[*"abcd"]
        ),
        prompts=PROMPTS,
        lexicon=pd.DataFrame(
            {"agency": np.arange(12) < 6, "communion": np.arange(12) >= 6}, index=words
        ),
        responses=words,
        kind="logprob",
    )
    crossed = valuebias.implicit(ds, numerator="G", denominator="L")
    said = "4 pairs are made of 4 models, so that some share one"
    assert said in " ".join(valuebias.audit(crossed).findings["detail"])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ValueBiasWarning)
        fit = valuebias.fit(crossed, draws=20, tune=50, chains=2, seed=1, progress=False)
    assert "too narrow" not in " ".join(str(warning.message) for warning in told)
    assert fit.settings["formula"] == "~ 1"
    assert {"numerator_category", "denominator_word"} <= set(fit.priors().index.str[3:-1])
    report = fit.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "pairs share 2 numerators and 2 denominators" in report
    apart = crossed.sel(model=["a − c", "b − d"])
    assert "shared models" not in set(valuebias.audit(apart).findings["check"])
