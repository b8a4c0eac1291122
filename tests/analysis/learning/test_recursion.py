"""The compiled recursion against a dozen lines of Python, and its gradient against differences."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias.analysis.learning.rules import VALUES, make_rule
from valuebias.analysis.learning.sequences import outcome_range, pack_sequences

RULES = [(value, n, split) for value in VALUES for n, split in
         ((1, "confirmation"), (2, "confirmation"), (2, "sign"))]  # fmt: skip


def reference(
    ds: xr.Dataset, m: int, t: int, value: str, free: dict[str, float], split: str
) -> Any:
    """Give the log-likelihood of one model's choices in one task, in plain Python."""
    rows = ds.isel(model=m, task=t)
    low = min(float(ds[f"{s}_outcome"].min()) for s in ("first", "second"))
    high = max(float(ds[f"{s}_outcome"].max()) for s in ("first", "second"))
    rate_1 = free.get("learning_rate", free.get("confirmatory_rate", free.get("positive_rate", 0)))
    rate_2 = free.get("disconfirmatory_rate", free.get("negative_rate", rate_1))
    q: dict[str, float] = {}
    total = 0.0
    for i in range(rows.sizes["trial"]):
        row = rows.isel(trial=i)
        names = [str(row["first"].item()), str(row["second"].item())]
        y = float(row["chose_first"].item())
        start = 0.0 if value == "centred" else 0.5
        values = [q.setdefault(name, start) for name in names]
        p = 1 / (1 + math.exp(-free["inverse_temperature"] * (values[0] - values[1])))
        total += y * math.log(p) + (1 - y) * math.log(1 - p)
        if row["phase"].item() != "training":
            continue
        raw = [float(row[f"{s}_outcome"].item()) for s in ("first", "second")]
        scaled = [(r - low) / (high - low) for r in raw]
        for k, name in enumerate(names):
            relative = 0.5 if raw[0] == raw[1] else float(raw[k] > raw[1 - k])
            reward = {
                "absolute": scaled[k], "relative": relative,
                "centred": scaled[k] - sum(scaled) / 2,
                "mixed": free.get("relative_weight", 0) * relative
                + (1 - free.get("relative_weight", 0)) * scaled[k],
            }[value]  # fmt: skip
            error = reward - q[name]
            chosen = y if k == 0 else 1 - y
            share = (chosen if error > 0 else 1 - chosen) if split == "confirmation" else error > 0
            q[name] += (share * rate_1 + (1 - share) * rate_2) * error
    return total


@pytest.fixture(scope="module", params=[True, False], ids=["expected", "sampled"])
def made(request: pytest.FixtureRequest) -> xr.Dataset:
    task = valuebias.bandit_task(trials=5, tasks=2, seed=3)
    ds = valuebias.simulate_choices(task, n_models=2, expected=request.param, seed=2)
    if request.param:
        noise = np.random.default_rng(1).uniform(size=ds["chose_first"].shape)
        ds = ds.assign(chose_first=(ds["chose_first"].dims, noise))
    return ds


@pytest.mark.parametrize(("value", "n", "split"), RULES)
def test_the_likelihood_is_that_of_plain_python(
    made: xr.Dataset, value: str, n: int, split: str
) -> None:
    rule = make_rule(value, n, split, None)
    rng = np.random.default_rng(7)
    free = rng.uniform(0.05, 0.95, (2, len(rule.names)))
    free[:, rule.names.index("inverse_temperature")] *= 8
    sequences = pack_sequences(made, rule, outcome_range(made, None))
    found, gradient, chance = sequences.run(rule, free)
    named = [dict(zip(rule.names, row, strict=True)) for row in free.tolist()]
    expected = [
        reference(made, m, t, value, named[m], split)
        for m, t in zip(sequences.owner, sequences.task, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert ((chance > 0) & (chance < 1)).all()
    for k in range(len(rule.names)):
        ends = []
        for side in (-1, 1):
            moved = free.copy()
            moved[:, k] += side * 1e-6
            ends.append(sequences.run(rule, moved)[0])
        np.testing.assert_allclose(gradient[:, k], (ends[1] - ends[0]) / 2e-6, rtol=1e-5, atol=1e-6)


def test_extreme_values_neither_overflow_nor_are_nan(made: xr.Dataset) -> None:
    rule = make_rule("absolute", 1, "confirmation", None)
    sequences = pack_sequences(made, rule, outcome_range(made, None))
    for free in ([1.0, 1e6], [0.0, 0.0], [1.0, 0.0]):
        value, gradient, _ = sequences.run(rule, np.array([free, free]))
        assert np.isfinite(value).all()
        assert np.isfinite(gradient).all()


def test_a_choice_that_is_missing_counts_for_nothing(made: xr.Dataset) -> None:
    rule = make_rule("relative", 1, "confirmation", None)
    free = np.full((2, 2), 0.4)
    dropped = made.copy(deep=True)
    dropped["chose_first"][0, 0, 6] = np.nan
    ends = outcome_range(made, None)
    (whole, _, chance), less = (
        pack_sequences(made, rule, ends).run(rule, free),
        pack_sequences(dropped, rule, ends).run(rule, free)[0],
    )
    y = float(made["chose_first"][0, 0, 6])
    np.testing.assert_allclose(
        whole[0] - less[0], y * np.log(chance[6]) + (1 - y) * np.log(1 - chance[6])
    )
    np.testing.assert_array_equal(whole[1:], less[1:])
