"""Which trouble of the chains condemns an answer, and which is one parameter's own."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from valuebias.analysis.estimands.diagnostics import Diagnostics, describe_draws, diagnose

CHAINS, DRAWS = 4, 1000


def table(values: np.ndarray, *names: str) -> pd.DataFrame:
    """Describe draws (chain, draw, quantity)."""
    draws = xr.DataArray(values, dims=("chain", "draw", "item"), coords={"item": list(names)})
    return describe_draws(draws, 0.9)


def independent(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((CHAINS, DRAWS, *shape))


def slow(seed: int, memory: float) -> np.ndarray:
    """Give chains in which each draw keeps most of the last, so that few are effective."""
    noise = independent(seed, 1)
    chain = noise.copy()
    for i in range(1, DRAWS):
        chain[:, i] = memory * chain[:, i - 1] + np.sqrt(1 - memory**2) * noise[:, i]
    return chain


def sampler(divergent: int = 0) -> xr.Dataset:
    diverging = np.zeros(CHAINS * DRAWS, dtype=bool)
    diverging[:divergent] = True
    return xr.Dataset({"diverging": (("chain", "draw"), diverging.reshape(CHAINS, DRAWS))})


@pytest.fixture(scope="module")
def contrasts() -> pd.DataFrame:
    return table(independent(1, 2), "gap | A − B | signed", "lean | A | signed")


@pytest.fixture(scope="module")
def sds() -> pd.DataFrame:
    return table(np.exp(independent(2, 2)), "sd[word]", "sd[prompt]")


def test_good_chains_raise_nothing(contrasts: pd.DataFrame, sds: pd.DataFrame) -> None:
    found = diagnose(contrasts, sds, sampler())
    assert found.converged
    assert not found.messages
    assert not found.cautions
    assert found.max_rhat == contrasts["rhat"].max()
    assert found.min_ess_bulk == contrasts["ess_bulk"].min()
    assert found.table["contrast"].tolist() == [True, True, False, False]
    assert "<valuebias.Diagnostics: converged>" in repr(found)
    assert "0 of 4,000 transitions diverged" in repr(found)


def test_a_slow_nuisance_sd_is_a_caution_that_says_which_and_what_to_do(
    contrasts: pd.DataFrame,
) -> None:
    sd = table(np.exp(slow(3, 0.9)), "sd[prompt]")
    assert sd["ess_bulk"].iloc[0] < 400
    found = diagnose(contrasts, sd, sampler())
    assert found.converged
    assert not found.messages
    (bulk,) = (text for text in found.cautions if "in the bulk" in text)
    assert f"is {sd['ess_bulk'].iloc[0]:.0f} for 'sd[prompt]'" in bulk
    assert "before reporting this parameter" in bulk
    # As many draws as it asks for would do: sizes grow in proportion.
    wanted = int(bulk.rsplit("draws=", 1)[1].split()[0])
    assert sd["ess_bulk"].iloc[0] * wanted / DRAWS >= 400
    assert "caution: " in repr(found)


def test_the_same_trouble_of_a_contrast_condemns_the_fit(sds: pd.DataFrame) -> None:
    gap = table(slow(3, 0.9), "gap | A − B | signed")
    found = diagnose(gap, sds, sampler())
    assert not found.converged
    assert any("'gap, A − B, signed'" in text for text in found.messages)
    assert "problem: " in repr(found)


def test_chains_that_hardly_move_are_not_told_to_go_on(contrasts: pd.DataFrame) -> None:
    stuck = diagnose(contrasts, table(np.exp(slow(3, 0.999)), "sd[word]"), sampler())
    (bulk,) = (text for text in stuck.cautions if "in the bulk" in text)
    assert "tune=2000" in bulk
    assert "draws=" not in bulk


def test_bulk_and_tail_are_told_apart(sds: pd.DataFrame) -> None:
    # Which draws are far out changes slowly, on which side they are does not.
    scale = np.exp(1.5 * slow(4, 0.98))
    gap = table(scale * independent(5, 1), "gap")
    assert gap["ess_bulk"].iloc[0] > 400 > gap["ess_tail"].iloc[0]
    (message,) = diagnose(gap, sds, sampler()).messages[-1:]
    assert "in the tail is" in message
    assert "ends of its interval" in message


def test_chains_apart_condemn_whatever_shows_it(contrasts: pd.DataFrame) -> None:
    apart = np.exp(independent(6, 1))
    near = apart.copy()
    near[0] += 0.45
    mild = diagnose(contrasts, table(near, "sd[word]"), sampler())
    assert 1.01 < mild.table["rhat"].max() < 1.05
    assert mild.converged
    assert "R-hat is" in mild.cautions[0]
    apart[0] += 4
    far = diagnose(contrasts, table(apart, "sd[word]"), sampler())
    assert not far.converged
    assert "'sd[word]' (should be at most 1.05)" in far.messages[0]


@pytest.mark.parametrize(
    ("divergent", "converged"), [(0, True), (1, True), (4, True), (5, False), (400, False)]
)
def test_divergences_condemn_from_one_in_a_thousand_on(
    contrasts: pd.DataFrame, sds: pd.DataFrame, divergent: int, converged: bool
) -> None:
    found = diagnose(contrasts, sds, sampler(divergent))
    assert found.converged is converged
    said = [*found.messages, *found.cautions]
    assert (f"{divergent} of 4,000 transitions diverged" in "".join(said)) is (divergent > 0)
    assert f"{divergent} of 4,000 transitions diverged" in repr(found)


def test_draws_that_stand_still(contrasts: pd.DataFrame, sds: pd.DataFrame) -> None:
    still = table(np.ones((CHAINS, DRAWS, 1)), "sd[word]")
    found = diagnose(contrasts, still, sampler())
    assert found.converged
    assert "R-hat is undefined for 'sd[word]'" in found.cautions[0]
    gap = diagnose(still.rename(index={"sd[word]": "gap"}), sds, sampler())
    assert not gap.converged
    assert "R-hat is undefined for 'gap'" in gap.messages[0]


def test_one_chain_cannot_be_judged() -> None:
    one = table(independent(1, 1)[:1], "gap")
    found: Diagnostics = diagnose(one, one, sampler())
    assert not found.converged
    assert "R-hat needs two chains" in found.messages[0]
