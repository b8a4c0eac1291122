"""The collapsed model against the same model with every random effect sampled.

Both sides have Monte Carlo error, so a difference counts in units of that of both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from explicit import Explicit, compare, quantities_of

from valuebias import fit
from valuebias.datasets.simulate import simulate

MODELS = {"Gemma": [3, 1], "Llama": [3, 2, 1]}


@pytest.fixture
def simulated_part() -> xr.Dataset:
    """Draw ten models on five bases, 12 prompts and 40 words; bases as the paper's scores show."""
    return simulate(
        n_models=MODELS,
        n_prompts=12,
        n_words={"agency": 20, "communion": 20},
        sd={"base_category": 0.1, "base_word": (0.3, 0.44)},
        seed=1,
    )


@pytest.fixture
def big2_part(big2: xr.Dataset) -> xr.Dataset:
    """Give the paper's ten models with every ninth word and prompt or so: 6 + 6 and 20 + 20."""
    framing = big2["framing"].to_numpy()
    member = big2["membership"].transpose("response", "category").to_numpy()
    only = member & (member.sum(axis=1, keepdims=True) == 1)
    prompts = [spaced(framing == name, 6) for name in ("positive", "negative")]
    words = [spaced(mask, 20) for mask in only.T]
    return big2.isel(prompt=np.concatenate(prompts), response=np.concatenate(words))


def spaced(mask: np.ndarray, n: int) -> np.ndarray:
    """Give ``n`` evenly spaced positions of those that are true."""
    places = np.flatnonzero(mask)
    return places[np.linspace(0, len(places) - 1, n).astype(int)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize(
    "data",
    ["simulated_part", pytest.param("big2_part", marks=pytest.mark.released_data)],
)
def test_every_parameter_agrees_with_the_model_written_out(
    data: str, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    dataset = request.getfixturevalue(data)
    assert dataset["score"].transpose("model", "prompt", "response").shape == (10, 12, 40)
    table = compared(dataset, seed=1)
    record_property(data, described(table))
    assert table["rhat"].max() < 1.02
    far = beyond(table)
    if far.any():
        # Of so many, one or two are beyond three by chance; by chance they are not so again.
        again = compared(dataset, seed=2)
        record_property(f"{data}, again", described(again))
        far &= beyond(again)
    assert not far.any(), table[far].to_string()


TAILED = {
    "word": "word", "word:family": "word", "model_category": "model", "base_category": "base",
}  # fmt: skip
"""Components with heavy tails, and what their levels are."""


@pytest.fixture
def odd_part() -> xr.Dataset:
    """Draw seven models on four bases, of which one leans the other way; one hates a word."""
    ds = simulate(
        n_models={"Gemma": [2, 1], "Llama": [2, 2]},
        n_prompts=12,
        n_words={"agency": 10, "communion": 10},
        sd={"base_category": 0.1, "base_word": (0.3, 0.44)},
        seed=1,
    )
    sign = np.where(ds["framing"].to_numpy() == "positive", 1, -1)[:, None]
    values = ds["score"].transpose("model", "prompt", "response").to_numpy().copy()
    values[4] += sign * np.where(ds["membership"].sel(category="agency"), 1, -1)
    values[:3, :, 7] -= 3 * sign[:, 0]
    return ds.assign(score=(("model", "prompt", "response"), values))


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_heavy_tailed_effects_agree_with_the_model_written_out(
    odd_part: xr.Dataset, record_property: Callable[[str, object], None]
) -> None:
    table = compared(odd_part, seed=1, heavy=True)
    record_property("heavy tails", described(table))
    # With every effect sampled chains are slow to agree on the SDs of what few levels tell.
    sure = table["rhat"] < 1.02
    assert (~sure).sum() <= 4
    far = beyond(table) & sure
    if far.any():
        again = compared(odd_part, seed=2, heavy=True)
        record_property("heavy tails, again", described(again))
        far &= beyond(again)
    assert not far.any(), table[far].to_string()


def compared(dataset: xr.Dataset, *, seed: int, heavy: bool = False) -> pd.DataFrame:
    """Sample both models, from seeds of their own."""
    explicit = Explicit(dataset, tailed=TAILED if heavy else {})
    # Funnels of scale mixtures take smaller steps.
    steps = {"accept": 0.95} if heavy else {}
    posterior = explicit.sample(draws=1500, tune=1500, seed=seed, **steps)
    tails = ("words", "models", "bases") if heavy else None
    draws = 1500 if heavy else 2500
    collapsed = fit(dataset, draws=draws, seed=seed, progress=False, heavy_tails=tails)
    return compare(explicit.quantities(posterior), quantities_of(collapsed))


def beyond(table: pd.DataFrame) -> pd.Series:
    """Say which quantities differ by more than three Monte Carlo errors."""
    return (table[["z_mean", "z_sd"]].abs() > 3).any(axis=1)


def described(table: pd.DataFrame) -> str:
    """Write down how far the two are apart."""
    said = [
        f"{what}s of {len(z)} quantities: rms z {np.sqrt((z**2).mean()):.2f}, largest "
        f"{z.abs().max():.2f} ({z.abs().idxmax()})"
        for what, z in (("mean", table["z_mean"]), ("sd", table["z_sd"]))
    ]
    ess = f"bulk ESS at least {table['ess'].min():.0f} of the one, {table['ess_2'].min():.0f}"
    return "; ".join([*said, f"{ess} of the other"])
