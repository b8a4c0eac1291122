"""How models are trained, and at which steps they are scored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuebias import ValueBiasError
from valuebias.ablation import TrainingSettings, checkpoint_steps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank is 0; expected a whole number of at least 1"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"dropout": 1}, "dropout is 1; expected a share"),
        ({"warmup": -0.1}, "warmup is -0.1"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"epochs": float("inf")}, "epochs is inf"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"batch_size": 16, "micro_batch": 3}, "expected a micro_batch that divides it"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"max_length": True}, "max_length is True"),
        ({"bf16": 1}, "bf16 is 1"),
        ({"center_rewards_coefficient": -1}, "center_rewards_coefficient is -1"),
        ({"target_modules": []}, "expected names of matrices"),
        ({"log_checkpoints": -1}, "log_checkpoints is -1"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        TrainingSettings(**settings)


@given(n=st.integers(1, 5000), linear=st.integers(0, 30), log=st.integers(0, 30))
def test_a_schedule_has_both_ends_and_no_more_than_asked(n: int, linear: int, log: int) -> None:
    steps = checkpoint_steps(n, linear=linear, log=log)
    assert steps[0] == 0
    assert steps[-1] == n
    assert list(steps) == sorted(set(steps))
    assert len(steps) <= linear + log + 2
    if linear:
        assert max(np.diff(steps)) <= n / linear + 1
