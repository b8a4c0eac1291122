"""The collapsed model against the same model with every random effect sampled.

Both sides have Monte Carlo error, so a difference counts in units of that of both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from explicit import Explicit, compare, quantities_of

from valuebias import fit
from valuebias.simulate import simulate

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
    explicit = Explicit(dataset)
    posterior = explicit.sample(draws=4000, tune=2000, seed=1)
    collapsed = fit(dataset, draws=4000, seed=1, progress=False)
    table = compare(explicit.quantities(posterior), quantities_of(collapsed))
    said = []
    for what in ("mean", "sd"):
        z = table[f"z_{what}"]
        said.append(
            f"{what}s of {len(z)} quantities: rms z {np.sqrt((z**2).mean()):.2f}, largest "
            f"{z.abs().max():.2f} ({z.abs().idxmax()})"
        )
    said.append(
        f"bulk ESS at least {table['ess'].min():.0f} of the one, {table['ess_2'].min():.0f} of the "
        f"other; {int(posterior['diverging'].sum())} divergences"
    )
    record_property(data, "; ".join(said))
    assert table["rhat"].max() < 1.02
    for what in ("mean", "sd"):
        z = table[f"z_{what}"].abs()
        assert (z <= 3).all(), table[z > 3].to_string()
